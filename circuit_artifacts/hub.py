"""The Hub as a source: the cache without a request, then one whole-file download, by the real client.

HDF5 is downloaded whole, in streaming too: one request instead of hundreds (hub_and_viewer spec 2.2).
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from circuit_artifacts.errors import MissingArtifactError, SourceError

__all__ = ["cached", "download", "offline_reason"]

_PROBE_SECONDS = 5.0
_PROBE_VALID_SECONDS = 60.0
_last_probe: dict[str, tuple[float, str | None]] = {}


def cached(repository: str, file: str, revision: str | None) -> Path | None:
    """The file in the Hub cache, or None; no request is made."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, file, revision=revision, repo_type="dataset")
    return Path(found) if isinstance(found, str) else None


def offline_reason() -> str | None:
    """Why no download can happen now, or None.

    The client retries a dead network for more than twenty seconds per file, so one short probe answers for a minute.
    """
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session  # type: ignore[attr-defined]

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    if os.environ.get("HF_DATASETS_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        return "HF_DATASETS_OFFLINE is set"
    endpoint = constants.ENDPOINT
    asked, answer = _last_probe.get(endpoint, (float("-inf"), None))
    if time.monotonic() - asked > _PROBE_VALID_SECONDS:
        try:
            get_session().head(endpoint, timeout=_PROBE_SECONDS)
            answer = None
        except Exception as error:  # noqa: BLE001 - the client's HTTP library differs between its versions
            answer = f"{endpoint} cannot be reached ({type(error).__name__})"
        _last_probe[endpoint] = (time.monotonic(), answer)
    return answer


def download(repository: str, file: str, revision: str | None) -> Path:
    """Download one file into the Hub cache, or find it there unchanged.

    Raises:
        MissingArtifactError: the repository, revision or file does not exist.
        SourceError: anything else that kept the client from getting it.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        return Path(hf_hub_download(repository, file, revision=revision, repo_type="dataset"))
    except (EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError) as error:
        problem = f"the Hub has no such file ({type(error).__name__})"
        raise MissingArtifactError(problem, file=f"hf://datasets/{repository}/{file}") from error
    except (OSError, ValueError) as error:
        problem = f"the download failed: {error}"
        raise SourceError(problem, file=f"hf://datasets/{repository}/{file}") from error
