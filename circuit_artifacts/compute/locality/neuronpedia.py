"""A client of Neuronpedia: one answer per feature, kept on disk in the published layout (locality spec 4.21, 5.8)."""

from __future__ import annotations

import http.client
import json
import os
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from circuit_artifacts.atomic import atomic_path
from circuit_artifacts.errors import FormatError, MissingArtifactError, SchemaError, SourceError, UnsafeContentError
from circuit_artifacts.sae_locality.json_files import read_object
from circuit_artifacts.sae_locality.neuronpedia import best_description, best_recall, shortened

__all__ = ["BASE_URL", "best_description", "best_recall", "cache_file", "feature", "shortened"]

BASE_URL: Final = "https://www.neuronpedia.org"

_TIMEOUT_SECONDS: Final = 30.0
_ATTEMPTS: Final = 3
_PAUSE_BASE: Final = 1.5  # seconds; raised to the number of the attempt, from 0 (which the published code leaves open)
_LARGEST: Final = 64 << 20  # bytes of one answer
_BUSY: Final = frozenset({408, 429})
_OFFLINE: Final = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")
_REMEDY: Final = "Put Neuronpedia's answers where they are looked for, or go online."


def cache_file(cache: Path, model: str, sae: str, index: int) -> Path:
    """Where the answer for a feature is kept: ``<model>/<sae>/<index>.json``, a slash of the SAE as two underscores.

    Args:
        cache: the folder ``neuronpedia_cache``.
        model: Neuronpedia's name of the model.
        sae: its name of the autoencoder.
        index: number of the feature.

    Raises:
        UnsafeContentError: a name that would lead elsewhere.
    """
    folders = model, sae.replace("/", "__")
    for name in folders:
        if name in {"", ".", ".."} or any(sign in name for sign in "/\\:\0"):
            problem = "not a name of a model or autoencoder on Neuronpedia"
            raise UnsafeContentError(problem, found=repr(name), expected="such as gemma-2-2b, 12-gemmascope-res-16k")
    return cache.joinpath(*folders, f"{index}.json")


def feature(
    model: str,
    sae: str,
    index: int,
    *,
    cache: Path,
    base_url: str = BASE_URL,
    opener: urllib.request.OpenerDirector | None = None,
) -> dict[str, Any]:
    """What Neuronpedia knows of a feature: from the cache, else asked for and kept there, byte for byte.

    Args:
        model: Neuronpedia's name of the model, ``gemma-2-2b``.
        sae: its name of the autoencoder, ``12-gemmascope-res-16k``.
        index: number of the feature.
        cache: the folder ``neuronpedia_cache``; written to.
        base_url: of another server with the same interface.
        opener: makes the request; None is the ordinary one, which honours proxies.

    Returns:
        The answer; every field is optional.

    Raises:
        MissingArtifactError: it is not in the cache, and Neuronpedia does not have it or may not be asked.
        SourceError: Neuronpedia refused, failed repeatedly, or cannot be reached.
        FormatError: the answer, or what is in the cache, is not JSON, or too large.
        SchemaError: it is not an object.
        UnsafeContentError: as :func:`cache_file`.
    """
    file = cache_file(cache, model, sae, index)
    if file.is_file():
        return read_object(file)
    url = f"{base_url}/api/feature/{quote(model, safe='')}/{quote(sae, safe='')}/{index}"
    if reason := next((name for name in _OFFLINE if _is_set(name)), None):
        problem = f"Neuronpedia was not asked, because {reason} is set"
        raise MissingArtifactError(problem, file=file, remedy=_REMEDY)
    data = _get(url, opener or urllib.request.build_opener(), file)
    answer = _parsed(data, url)
    with atomic_path(file) as temporary:
        temporary.write_bytes(data)
    return answer


def _is_set(name: str) -> bool:
    return os.environ.get(name, "").upper() in {"1", "ON", "YES", "TRUE"}


def _get(url: str, opener: urllib.request.OpenerDirector, file: Path) -> bytes:
    """The body of the answer, asked for again where a failure may pass."""
    if not url.startswith(("https://", "http://")):
        problem = "not a web address"
        raise SourceError(problem, file=url, expected=BASE_URL)
    headers = {"Accept": "application/json", "User-Agent": "circuit-artifacts"}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - it is a web address, see above
    last: SourceError | None = None
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_PAUSE_BASE ** (attempt - 1))
        try:
            with opener.open(request, timeout=_TIMEOUT_SECONDS) as response:
                data: bytes = response.read(_LARGEST + 1)
                if response.length and len(data) <= _LARGEST:  # a limited read does not notice by itself
                    raise http.client.IncompleteRead(data, response.length)
                return data
        except urllib.error.HTTPError as error:
            error.close()
            last = _refusal(error.code, url)
            if error.code < 500 and error.code not in _BUSY:
                raise last from error
        except (OSError, http.client.HTTPException) as error:
            problem = f"{url} could not be had in {_ATTEMPTS} attempts, and there is no answer in the cache"
            found = getattr(error, "reason", None) or f"{type(error).__name__} {error}".strip()
            last = SourceError(problem, file=file, found=found, remedy=_REMEDY)
    assert last is not None  # there is more than one attempt: for the type checker
    raise last


def _refusal(status: int, url: str) -> SourceError:
    if status == http.HTTPStatus.NOT_FOUND:
        problem = "Neuronpedia has no such feature"
        return MissingArtifactError(problem, file=url, remedy="Check the names of model and autoencoder.")
    problem = "Neuronpedia failed, or refused to answer"
    return SourceError(problem, file=url, found=f"HTTP {status}", remedy="Try again later; answers had are kept.")


def _parsed(data: bytes, url: str) -> dict[str, Any]:
    if len(data) > _LARGEST:
        problem = "the answer is too large"
        raise FormatError(problem, file=url, expected=f"at most {_LARGEST:,} bytes")
    try:
        answer = json.loads(data, parse_constant=lambda _: None)
    except (ValueError, RecursionError) as error:
        problem = "the answer is not JSON"
        raise FormatError(problem, file=url, found=error) from error
    if not isinstance(answer, dict):
        problem = "the answer is not a JSON object"
        raise SchemaError(problem, file=url, found=type(answer).__name__)
    return answer
