"""The Hub as a source: the cache without a request, then one whole-file download, by the real client.

What the client leaves open is done here: a busy or failing Hub is asked again, the content is compared with the hash
that the Hub states, and every failure becomes one error that says what to do. A connection that breaks is resumed by
the client.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import re
import socket
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar
from urllib.parse import unquote, urlsplit

from circuit_artifacts.errors import FormatError, MissingArtifactError, SourceError, UnsafeContentError
from circuit_artifacts.settings import Settings

__all__ = [
    "HubFile",
    "Metadata",
    "cached",
    "download",
    "list_repository",
    "metadata",
    "offline_reason",
    "prefetch",
    "snapshot",
    "verified",
]

logger = logging.getLogger(__name__)
Answer = TypeVar("Answer")

_PROBE_SECONDS = 5.0
_PROBE_VALID_SECONDS = 60.0
_FAILURE_VALID_SECONDS = 10.0  # of a Hub that failed repeatedly: enough not to wait for each of many files
_last_probe: dict[str, tuple[float, str | None]] = {}

_PAUSES = (0.5, 1.0, 2.0, 4.0)  # seconds between attempts
_PATIENCE = 20.0  # seconds after which no further attempt begins: the client has retried by itself meanwhile
_LONGEST_PAUSE = 60.0  # that a busy Hub may ask for
_BUSY = {408, 429}
_LOG_IN = "Log in with 'hf auth login', set HF_TOKEN, or pass token="
_PREFIXES = {"dataset": "datasets/", "model": "", "space": "spaces/"}
_REFERENCE = re.compile(
    r"hf://(?P<prefix>datasets/|spaces/|)(?P<repository>[^/@]+/[^/@]+)"
    r"(?:@(?P<revision>refs/(?:convert|pr)/[^/]+|[^/]+))?/(?P<file>.+)",
    flags=re.DOTALL,
)


@dataclass(frozen=True, kw_only=True)
class HubFile:
    """One file of one repository at one revision.

    Attributes:
        repository: ``user/name``.
        file: its path in the repository.
        revision: a commit, branch or tag; None is the main branch.
        kind: of the repository.
        token: None looks at the usual places.

    Raises:
        UnsafeContentError: the path would leave the repository.
    """

    repository: str
    file: str
    revision: str | None = None
    kind: Literal["dataset", "model", "space"] = "dataset"
    token: str | bool | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        parts = self.file.split("/")
        if not all(parts) or {".", ".."} & set(parts) or "\\" in self.file or "\0" in self.file:
            problem = "the path leaves the repository, or is no path"
            raise UnsafeContentError(problem, file=self.repository, found=repr(self.file), expected="folder/file")

    def __str__(self) -> str:
        return f"hf://{_PREFIXES[self.kind]}{self.repository}@{self.revision or 'main'}/{self.file}"

    @classmethod
    def parse(cls, reference: str, *, token: str | bool | None = None) -> HubFile:
        """The file that ``hf://[datasets/|spaces/]user/name[@revision]/path`` names.

        Raises:
            SourceError: it is of another form.
        """
        match = _REFERENCE.fullmatch(reference)
        if match is None:
            problem = "this is not the address of a file on the Hub"
            raise SourceError(problem, file=reference, expected="hf://datasets/user/repository/file")
        kinds: dict[str, Literal["dataset", "model", "space"]] = {"datasets/": "dataset", "spaces/": "space"}
        revision = match["revision"] and unquote(match["revision"])
        kind = kinds.get(match["prefix"], "model")
        return cls(repository=match["repository"], file=match["file"], revision=revision, kind=kind, token=token)

    @property
    def _address(self) -> dict[str, Any]:
        names = {"repo_id": self.repository, "filename": self.file, "repo_type": self.kind, "revision": self.revision}
        return {name: value for name, value in names.items() if value is not None}


class Metadata(NamedTuple):
    """What the Hub says of a file: its commit, the hash of its content, and its size in bytes."""

    commit: str
    etag: str
    size: int


def cached(file: HubFile) -> Path | None:
    """The file in the Hub cache, or None; no request is made."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(**file._address)
    return Path(found) if isinstance(found, str) else None


def snapshot(file: HubFile) -> Path | None:
    """The folder that the Hub cache has of a file's repository at its revision, or None; no request is made."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    folder = Path(constants.HF_HUB_CACHE, repo_folder_name(repo_id=file.repository, repo_type=file.kind))
    revision = file.revision or constants.DEFAULT_REVISION
    with contextlib.suppress(OSError):
        revision = (folder / "refs" / revision).read_text().strip()
    found = folder / "snapshots" / revision
    return found if found.is_dir() else None


def offline_reason() -> str | None:
    """Why no download can happen now, or None.

    The client retries a dead network for more than twenty seconds per file, so one short probe answers for a minute.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    if os.environ.get("HF_DATASETS_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        return "HF_DATASETS_OFFLINE is set"
    endpoint = constants.ENDPOINT
    asked, answer = _last_probe.get(endpoint, (float("-inf"), None))
    if time.monotonic() - asked > _PROBE_VALID_SECONDS:
        answer = _unreachable(endpoint)
        _last_probe[endpoint] = (time.monotonic(), answer)
    return answer


def download(file: HubFile) -> Path:
    """Have one file in the Hub cache, whole: without a request if it is there, else downloaded and checked.

    Raises:
        MissingArtifactError: the repository, revision or file does not exist.
        SourceError: anything else that kept the client from getting it.
    """
    from huggingface_hub import hf_hub_download

    path = cached(file)
    if path is not None and verified(path):
        return path
    damaged = path is not None
    _require_online(file)

    def get() -> Path:
        nonlocal damaged
        path = Path(hf_hub_download(**file._address, token=file.token, force_download=damaged))
        if not verified(path):
            damaged = True
            _discard(path)
            problem = "the content does not have the hash that the Hub states"
            raise FormatError(problem, file=file)
        return path

    return _patiently(file, get)


def prefetch(files: Sequence[HubFile]) -> None:
    """Download several files of one revision of one repository together, as far as they exist.

    One listing stands for a question per file, and all come from one commit. Nothing is reported: who needs a file
    calls :func:`download`, which finds it in the cache or says what is wrong.
    """
    from huggingface_hub import snapshot_download

    first = files[0]
    try:
        snapshot_download(
            first.repository,
            repo_type=first.kind,
            revision=first.revision,
            token=first.token,
            allow_patterns=[re.sub(r"([*?[])", r"[\1]", file.file) for file in files],
        )
    except Exception as error:  # noqa: BLE001 - see above
        logger.debug("fetching %d files of %s together failed: %s", len(files), first.repository, error)


def list_repository(file: HubFile) -> tuple[str, tuple[str, ...]]:
    """The commit of a file's repository at its revision, and the paths of all files there, sorted.

    Raises:
        MissingArtifactError: the repository or revision does not exist.
        SourceError: the Hub could not be asked.
    """
    from huggingface_hub import HfApi

    def ask() -> tuple[str, tuple[str, ...]]:
        found = HfApi(token=file.token).repo_info(file.repository, revision=file.revision, repo_type=file.kind)
        return str(found.sha), tuple(sorted(item.rfilename for item in getattr(found, "siblings", None) or ()))

    _require_online(file)
    return _patiently(file, ask)


def metadata(file: HubFile) -> Metadata:
    """What the Hub says of a file, in one request.

    Raises:
        MissingArtifactError: the repository, revision or file does not exist.
        SourceError: the Hub could not be asked.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    def ask() -> Metadata:
        found = get_hf_file_metadata(hf_hub_url(**file._address), token=file.token)
        return Metadata(str(found.commit_hash), str(found.etag), int(found.size or 0))

    _require_online(file)
    return _patiently(file, ask)


def verified(path: Path) -> bool:
    """Whether a file of the Hub cache has the content that its name there promises; hashed once per content.

    The cache names a blob after the hash that the Hub states: sha256, or git's for small files. Where the cache has no
    links to blobs, the hash is not known.
    """
    blob = path.resolve()
    if re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", blob.name) is None:
        return True
    status = blob.stat()
    stamp = f"{status.st_size} {status.st_mtime_ns}"
    record = Settings().verified / blob.name
    with contextlib.suppress(OSError):
        if record.read_text() == stamp:
            return True
    content = hashlib.sha256() if len(blob.name) == 64 else hashlib.sha1(b"blob %d\0" % status.st_size)  # noqa: S324
    with blob.open("rb") as stream:
        if hashlib.file_digest(stream, lambda: content).hexdigest() != blob.name:
            return False
    with contextlib.suppress(OSError):  # a cache of ours that cannot be written costs time, nothing else
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(stamp)
    return True


def _require_online(file: HubFile) -> None:
    if reason := offline_reason():
        problem = f"the Hub was not asked, because {reason}"
        raise SourceError(problem, file=file)


def _discard(path: Path) -> None:
    """Take a damaged download out of the cache, where others would trust it."""
    for damaged in (path.resolve(), path):
        damaged.unlink(missing_ok=True)


def _unreachable(endpoint: str) -> str | None:
    """Why the endpoint, or the proxy on the way to it, accepts no connection; None if it does."""
    target = urlsplit(endpoint)
    proxies = urllib.request.getproxies()
    proxy = proxies.get(target.scheme) or proxies.get("all")
    if proxy and target.hostname and not urllib.request.proxy_bypass(target.hostname):
        target = urlsplit(proxy if "//" in proxy else f"//{proxy}")
    port = target.port or (443 if target.scheme == "https" else 80)
    try:
        socket.create_connection((target.hostname or "", port), timeout=_PROBE_SECONDS).close()
    except OSError as error:
        return f"{endpoint} cannot be reached ({type(error).__name__})"
    return None


def _patiently(file: HubFile, request: Callable[[], Answer]) -> Answer:
    """The answer to a request, which is made again when it fails for a reason that may pass.

    Raises:
        MissingArtifactError: the repository, revision or file does not exist.
        SourceError: any other failure, or the last of several.
    """
    started = time.monotonic()
    for attempt in range(1, len(_PAUSES) + 2):
        try:
            return request()
        except Exception as error:  # the client's HTTP library, and so its errors, differ between its versions
            if lasting := _lasting(file, error):
                raise lasting from error
            pauses = _PAUSES[attempt - 1 :]
            if not pauses or time.monotonic() - started > _PATIENCE:
                _remember_failure(error)
                problem = f"the Hub failed {attempt} time(s)"
                remedy = "Try again later; finished files are kept. Local files can be used with data_root="
                raise SourceError(problem, file=file, found=_first_line(error), remedy=remedy) from error
            logger.debug("%s: %s; asking again", file, error)
            time.sleep(max(pauses[0], _asked_pause(error)))
    raise AssertionError  # the last attempt returns or raises


def _remember_failure(error: Exception) -> None:
    from huggingface_hub import constants

    if not isinstance(error, FormatError):  # which is about one file
        reason = f"{constants.ENDPOINT} failed a moment ago ({_first_line(error)})"
        asked = time.monotonic() - _PROBE_VALID_SECONDS + _FAILURE_VALID_SECONDS
        _last_probe[constants.ENDPOINT] = (asked, reason)


def _lasting(file: HubFile, error: Exception) -> SourceError | None:
    """Our error for a failure that asking again will not mend; None for one that may pass."""
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if isinstance(error, LocalEntryNotFoundError):  # the client's word for "I could not ask"
        offline = isinstance(error.__cause__, OfflineModeIsEnabled)
        return SourceError("the Hub may not be asked: offline mode is on", file=file) if offline else None
    missing: dict[type[Exception], tuple[str, str | None]] = {  # the more special first
        GatedRepoError: ("the repository is gated", f"Accept the terms on the repository's page. {_LOG_IN}"),
        RepositoryNotFoundError: ("the Hub has no such repository, or it is private", _LOG_IN),
        RevisionNotFoundError: ("the repository has no such revision", None),
        EntryNotFoundError: ("the repository has no such file", None),
    }
    for kind, (problem, remedy) in missing.items():
        if isinstance(error, kind):
            return MissingArtifactError(problem, file=file, remedy=remedy)
    status = _status(error) if isinstance(error, HfHubHTTPError) else None
    if status in {401, 403}:
        return SourceError(f"the Hub refused access ({status})", file=file, remedy=_LOG_IN)
    refused = status is not None and status < 500 and status not in _BUSY
    on_this_machine = isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EACCES, errno.EROFS}
    usage = isinstance(error, ValueError | OfflineModeIsEnabled) and not isinstance(error, FormatError | OSError)
    if refused or on_this_machine or usage:
        return SourceError("the download failed", file=file, found=_first_line(error))
    return None


def _status(error: Exception) -> int | None:
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def _asked_pause(error: Exception) -> float:
    """Seconds that the Hub asks to wait, within reason."""
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    text = headers.get("retry-after", "")
    return min(float(text), _LONGEST_PAUSE) if text.isdecimal() else 0.0


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
