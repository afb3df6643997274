"""Routes that only read: what a repository is, what is in it, and its files."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlencode

import yaml

from hub.exchange import Answer, Call, HubError, json_answer, route
from hub.store import Commit, File, Repository, git_sha1

_EXPANDED_PAGE = 50
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


@route("GET", "/")
def front(call: Call) -> Answer:
    return Answer()


@route("GET", "/api/whoami-v2")
def whoami(call: Call) -> Answer:
    if "authorization" not in call.headers:
        raise HubError(401, "Invalid username or password.")
    token = {"displayName": "loopback", "role": "write"}
    return json_answer(
        {
            "type": "user",
            "id": "0" * 24,
            "name": "user",
            "fullname": "User",
            "email": "user@localhost",
            "emailVerified": True,
            "isPro": False,
            "orgs": [],
            "auth": {"type": "access_token", "accessToken": token},
        }
    )


@route("GET", "/api/{kind}s/{repository}(?:/revision/{revision})?")
def info(call: Call) -> Answer:
    repository, commit = call.repository, call.commit
    with_blobs = call.flag("blobs")
    return json_answer(
        {
            "_id": repository.name.encode().hex()[:24],
            "id": repository.name,
            "author": repository.name.partition("/")[0],
            "sha": commit.sha,
            "private": repository.private,
            "gated": "manual" if repository.gated else False,
            "disabled": False,
            "lastModified": commit.date,
            "createdAt": commit.history[-1].date,
            "downloads": 0,
            "likes": 0,
            "tags": [],
            "cardData": card_data(commit),
            "siblings": [sibling(path, file, with_blobs=with_blobs) for path, file in sorted(commit.files.items())],
        }
    )


def card_data(commit: Commit) -> Any:
    """The YAML at the head of the README, if it has one."""
    readme = commit.files.get("README.md")
    head = re.match(r"---\r?\n(.*?)\r?\n---", readme.blob.read().decode(), re.DOTALL) if readme else None
    return yaml.safe_load(head[1]) if head else None


def sibling(path: str, file: File, *, with_blobs: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {"rfilename": path}
    if with_blobs:
        entry |= {"size": file.blob.size, "blobId": file.oid}
        if file.lfs:
            entry["lfs"] = {"sha256": file.blob.sha256, "size": file.blob.size, "pointerSize": len(file.pointer)}
    return entry


@route("GET", "/api/{kind}s/{repository}/tree/{revision}(?:/{path})?")
def tree(call: Call) -> Answer:
    commit, folder, expand = call.commit, call.path, call.flag("expand")
    if folder and not commit.under(folder):
        raise HubError(404, f"{folder} does not exist on {call.revision!r}", "EntryNotFound", repo_commit(commit))
    entries = list(commit.entries(folder, recursive=call.flag("recursive")))
    size = min(call.state.page_size, _EXPANDED_PAGE) if expand else call.state.page_size
    start = int(call.parameter("cursor") or 0)
    page = [entry(commit, path, expand=expand) for path in entries[start : start + size]]
    if start + size >= len(entries):
        return json_answer(page)
    query = {name: call.parameter(name) for name in ("recursive", "expand")} | {"cursor": start + size}
    return json_answer(page, headers={"Link": f'<{call.endpoint}{call.url}?{urlencode(query)}>; rel="next"'})


def entry(commit: Commit, path: str, *, expand: bool) -> dict[str, Any]:
    """What a tree tells about a file or folder."""
    file = commit.files.get(path)
    if file is None:
        listing = "\n".join(f"{below.oid} {name}" for name, below in sorted(commit.under(path).items()))
        told: dict[str, Any] = {"type": "directory", "oid": git_sha1(listing.encode()), "size": 0, "path": path}
    else:
        told = {"type": "file", "oid": file.oid, "size": file.blob.size, "path": path}
        if file.lfs:
            told["lfs"] = {"oid": file.blob.sha256, "size": file.blob.size, "pointerSize": len(file.pointer)}
    if expand:
        changed = commit.last_change(path)
        told["lastCommit"] = {"id": changed.sha, "title": changed.title, "date": changed.date}
    return told


@route("POST", "/api/{kind}s/{repository}/paths-info/{revision}")
def paths_info(call: Call) -> Answer:
    commit, form = call.commit, call.form()
    paths = [path.strip("/") for path in form.get("paths", [])]
    expand = form.get("expand", [""])[0].lower() == "true"
    known = [path for path in paths if path in commit.files or commit.under(path)]
    return json_answer([entry(commit, path, expand=expand) for path in known])


@route("GET", "/api/{kind}s/{repository}/refs")
def refs(call: Call) -> Answer:
    repository = call.repository
    groups = {"branches": "refs/heads/", "converts": "refs/convert/", "tags": "refs/tags/"}
    if call.flag("include_prs"):
        groups["pullRequests"] = "refs/pr/"
    return json_answer({group: named(repository, prefix) for group, prefix in groups.items()})


def named(repository: Repository, prefix: str) -> list[dict[str, str]]:
    return [
        {"name": ref.removeprefix(prefix), "ref": ref, "targetCommit": commit.sha}
        for ref, commit in repository.refs.items()
        if ref.startswith(prefix)
    ]


@route("GET", "/api/{kind}s/{repository}/commits/{revision}")
def commits(call: Call) -> Answer:
    author = {"user": call.parts["repository"].partition("/")[0]}
    return json_answer(
        [
            {
                "id": commit.sha,
                "title": commit.title,
                "message": commit.description,
                "authors": [author],
                "date": commit.date,
            }
            for commit in call.commit.history
        ]
    )


@route("GET", "/{prefix}{repository}/resolve/{revision}/{path}")
def resolve(call: Call) -> Answer:
    """A file, or the range of it that was asked for."""
    admit_to_files(call)
    commit = call.commit
    file = commit.files.get(call.path)
    if file is None:
        raise HubError(404, "Entry not found", "EntryNotFound", repo_commit(commit))
    size = file.blob.size
    headers = {
        **repo_commit(commit),
        "ETag": f'"{file.etag}"',
        "Accept-Ranges": "bytes",
        "Content-Type": "application/octet-stream" if file.lfs else "text/plain; charset=utf-8",
    }
    if file.lfs:
        headers |= {"X-Linked-Size": str(size), "X-Linked-ETag": f'"{file.etag}"'}
    bounds = byte_range(call.headers.get("range", ""), size)
    if bounds is None:
        return Answer(200, headers, file.blob, 0, size)
    start, stop = bounds
    if start >= stop:
        raise HubError(416, "Range not satisfiable", headers={"Content-Range": f"bytes */{size}"})
    return Answer(206, {**headers, "Content-Range": f"bytes {start}-{stop - 1}/{size}"}, file.blob, start, stop)


def repo_commit(commit: Commit) -> dict[str, str]:
    return {"X-Repo-Commit": commit.sha}


def admit_to_files(call: Call) -> None:
    """Let nobody read a gated repository's files without the token; what it holds, everybody may know."""
    if not call.repository.gated or (call.state.token is not None and call.state.admits(call.headers)):
        return
    status = 403 if "authorization" in call.headers else 401
    raise HubError(status, f"Access to {call.repository.address} is restricted.", "GatedRepo")


def byte_range(header: str, size: int) -> tuple[int, int] | None:
    """Start and stop of the one range that was asked for; None stands for the whole file."""
    found = _RANGE.fullmatch(header)
    if found is None or not any(found.groups()):
        return None
    first, last = found.groups()
    if not first:
        return max(0, size - int(last)), size
    return int(first), min(size, int(last) + 1) if last else size
