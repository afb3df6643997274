"""Routes that change something: repositories, refs, uploads and commits."""

from __future__ import annotations

import base64
import json
from pathlib import PurePosixPath
from typing import Any

import yaml

from hub.exchange import Answer, Call, HubError, json_answer, route
from hub.store import Commit, File, Kind, Repository, blob_of

_GITATTRIBUTES = "".join(
    f"*{extension} filter=lfs diff=lfs merge=lfs -text\n"
    for extension in (".h5", ".npz", ".parquet", ".pt", ".safetensors")
).encode()


@route("POST", "/api/validate-yaml")
def validate_yaml(call: Call) -> Answer:
    head = call.json()["content"].split("---\n")
    try:
        yaml.safe_load(head[1] if len(head) > 2 else "")
    except yaml.YAMLError as error:
        return json_answer({"errors": [{"message": str(error)}], "warnings": []}, status=400)
    return json_answer({"errors": [], "warnings": []})


def named_repository(call: Call) -> tuple[Kind, str]:
    """Kind and name in the body of a request that creates or deletes a repository."""
    asked = call.json()
    kind: Kind = "dataset" if asked.get("type") == "dataset" else "model"
    return kind, f"{asked.get('organization') or 'user'}/{asked['name']}"


@route("POST", "/api/repos/create", writes=True)
def create_repository(call: Call) -> Answer:
    kind, name = named_repository(call)
    url = f"{call.endpoint}/{'datasets/' if kind == 'dataset' else ''}{name}"
    if (kind, name) in call.state.repositories:
        error = "You already created this repo"
        return json_answer({"error": error, "url": url}, status=409, headers={"X-Error-Message": error})
    asked = call.json()
    private = bool(asked.get("private")) or asked.get("visibility") == "private"
    repository = Repository(name, kind, private)
    attributes = repository.file(".gitattributes", call.state.keep(blob_of(_GITATTRIBUTES)))
    repository.commit("refs/heads/main", {".gitattributes": attributes}, "initial commit")
    call.state.repositories[kind, name] = repository
    return json_answer({"url": url, "name": name, "id": name})


@route("DELETE", "/api/repos/delete", writes=True)
def delete_repository(call: Call) -> Answer:
    if call.state.repositories.pop(named_repository(call), None) is None:
        raise HubError(404, "Repository not found", "RepoNotFound")
    return Answer()


def new_ref(call: Call, ref: str, commit: Commit) -> Answer:
    if ref in call.repository.refs:
        raise HubError(409, f"Reference {ref} already exists")
    call.repository.set(ref, commit)
    return Answer(201)


def drop_ref(call: Call, ref: str) -> Answer:
    if call.repository.refs.pop(ref, None) is None:
        raise HubError(404, f"Invalid rev id: {ref}", "RevisionNotFound")
    return Answer()


def branch_ref(call: Call) -> str:
    """The full name of the path's branch; other refs, as those of the viewer, come with theirs."""
    return call.revision if call.revision.startswith("refs/") else f"refs/heads/{call.revision}"


@route("POST", "/api/{kind}s/{repository}/branch/{revision}", writes=True)
def create_branch(call: Call) -> Answer:
    start = call.json().get("startingPoint") or "main"
    commit = call.repository.find(start)
    if commit is None:
        raise HubError(404, f"Invalid rev id: {start}", "RevisionNotFound")
    return new_ref(call, branch_ref(call), commit)


@route("DELETE", "/api/{kind}s/{repository}/branch/{revision}", writes=True)
def delete_branch(call: Call) -> Answer:
    return drop_ref(call, branch_ref(call))


@route("POST", "/api/{kind}s/{repository}/tag/{revision}", writes=True)
def create_tag(call: Call) -> Answer:
    return new_ref(call, f"refs/tags/{call.json()['tag']}", call.commit)


@route("DELETE", "/api/{kind}s/{repository}/tag/{revision}", writes=True)
def delete_tag(call: Call) -> Answer:
    return drop_ref(call, f"refs/tags/{call.revision}")


@route("POST", "/api/{kind}s/{repository}/super-squash/{revision}", writes=True)
def super_squash(call: Call) -> Answer:
    """Replace a branch's history by one commit with the same files."""
    files, ref = call.commit.files, call.repository.ref(call.revision) or ""
    del call.repository.refs[ref]
    call.repository.commit(ref, files, call.json().get("message") or "Super-squash")
    return Answer()


@route("POST", "/api/{kind}s/{repository}/preupload/{revision}", writes=True)
def preupload(call: Call) -> Answer:
    """How each file is to be sent, and the hash of what is there: the client leaves out what has not changed."""
    repository, files = call.repository, call.commit.files

    def told(asked: dict[str, Any]) -> dict[str, Any]:
        path = asked["path"]
        mode = "lfs" if repository.is_lfs(path, asked["size"]) else "regular"
        present = {"oid": files[path].etag} if path in files else {}
        return {"path": path, "uploadMode": mode, "shouldIgnore": False, **present}

    return json_answer({"files": [told(asked) for asked in call.json()["files"]]})


@route("POST", r"/{prefix}{repository}\.git/info/lfs/objects/batch", writes=True)
def lfs_batch(call: Call) -> Answer:
    """Where each large file is to be sent; a content that is known need not come again."""
    address = f"{call.endpoint}/{call.repository.address}.git/info/lfs"

    def told(asked: dict[str, Any]) -> dict[str, Any]:
        if asked["oid"] in call.state.blobs:
            return asked
        upload = {"href": f"{call.endpoint}/lfs/{asked['oid']}", "header": {}}
        return {**asked, "actions": {"upload": upload, "verify": {"href": f"{address}/verify", "header": {}}}}

    return json_answer({"transfer": "basic", "objects": [told(asked) for asked in call.json()["objects"]]})


@route("PUT", "/lfs/{oid}")
def lfs_upload(call: Call) -> Answer:
    """Take a large file; the address was given to one who may write, so no token comes with it."""
    if call.body.sha256 != call.parts["oid"]:
        raise HubError(400, f"expected the content {call.parts['oid']}, got {call.body.sha256}")
    call.state.keep(call.body)
    return Answer()


@route("POST", r"/{prefix}{repository}\.git/info/lfs/verify", writes=True)
def lfs_verify(call: Call) -> Answer:
    asked = call.json()
    blob = call.state.blobs.get(asked["oid"])
    if blob is None or blob.size != asked["size"]:
        raise HubError(404, "Object not found")
    return Answer()


@route("POST", "/api/{kind}s/{repository}/commit/{revision}", writes=True)
def commit(call: Call) -> Answer:
    """Apply the lines of a commit, all or none."""
    repository, parent = call.repository, call.commit
    lines = [json.loads(line) for line in call.body.read().splitlines() if line]
    header = next(line["value"] for line in lines if line["key"] == "header")
    if header.get("parentCommit") not in {None, parent.sha}:
        raise HubError(412, "A commit has happened since. Please refresh and try again.")
    files = dict(parent.files)
    for line in lines:
        apply(call, files, line["key"], line["value"])
    ref = repository.ref(call.revision)
    if ref is None:
        raise HubError(400, f"{call.revision} is not a branch")
    number = 1 + sum(name.startswith("refs/pr/") for name in repository.refs)
    asks = call.flag("create_pr")
    if asks:
        ref = f"refs/pr/{number}"
        repository.set(ref, parent)
    made = repository.commit(ref, files, header["summary"], header.get("description", ""))
    address = f"{call.endpoint}/{repository.address}"
    return json_answer(
        {
            "success": True,
            "commitOid": made.sha,
            "commitUrl": f"{address}/commit/{made.sha}",
            "hookOutput": "",
            **({"pullRequestUrl": f"{address}/discussions/{number}"} if asks else {}),
        }
    )


def apply(call: Call, files: dict[str, File], key: str, value: dict[str, Any]) -> None:
    """One line of a commit, on the files so far."""
    path = value.get("path", "").rstrip("/")
    if key == "file":
        blob = call.state.keep(blob_of(base64.b64decode(value["content"])))
        files[path] = File(blob, lfs=False)
    elif key == "lfsFile":
        if value["oid"] not in call.state.blobs:
            raise HubError(400, f"LFS object {value['oid']} of {path} was not uploaded")
        files[path] = File(call.state.blobs[value["oid"]], lfs=True)
    elif key in {"deletedFile", "deletedFolder"}:
        gone = [name for name in files if name == path or PurePosixPath(path) in PurePosixPath(name).parents]
        if not gone:
            raise HubError(404, f"{path} does not exist", "EntryNotFound")
        for name in gone:
            del files[name]
