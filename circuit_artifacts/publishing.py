"""Upload of a converted folder to the Hub, by the real client."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from circuit_artifacts.errors import CircuitArtifactsError, SourceError
from circuit_artifacts.parquet import ORIGINALS

__all__ = ["push"]

_REFUSED = {401, 403}


def push(folder: Path, repository: str, *, private: bool = False) -> str:
    """Upload what the card of a folder describes, and the source files in ``raw``; nothing else.

    Files of the same configs that were uploaded before and are no longer part of them are deleted there. The same
    bytes again make no new commit. The token is that of ``hf auth login`` or ``$HF_TOKEN``.

    Args:
        folder: what `convert` wrote.
        repository: ``user/name`` of a dataset; created if there is none.
        private: create it as private.

    Returns:
        The address of the dataset.

    Raises:
        SourceError: the Hub refuses or cannot be reached, or the repository is public although `private` is asked for.
    """
    from huggingface_hub import DatasetCard, HfApi

    card, api = DatasetCard.load(folder / "README.md"), HfApi()
    files = [file["path"] for config in card.data.configs for file in config["data_files"]]
    place = f"hf://datasets/{repository}"
    with _located(place):
        url = api.create_repo(repository, repo_type="dataset", private=private or None, exist_ok=True)
        if private and not api.dataset_info(repository).private:
            problem = "the repository exists and is public"
            raise SourceError(problem, file=place, remedy="Make it private on the Hub, or choose another one.")
        api.upload_folder(
            repo_id=repository,
            repo_type="dataset",
            folder_path=folder,
            allow_patterns=["README.md", f"{ORIGINALS}/*", *files],
            ignore_patterns=[".*", "*/.*"],
            delete_patterns=files,
            commit_message="Convert with circuit-artifacts",
        )
    return str(url)


@contextmanager
def _located(place: str) -> Iterator[None]:
    """Turn whatever the client raises into one error that says what to do."""
    try:
        yield
    except CircuitArtifactsError:
        raise
    except Exception as error:  # the client's HTTP library, and so its errors, differ between versions
        problem = "the upload failed"
        # A malformed token is quoted by the HTTP library.
        found = re.sub(r"Bearer \S+", "Bearer ...", " ".join(f"{type(error).__name__}: {error}".split()))
        raise SourceError(problem, file=place, found=found, remedy=_remedy(error)) from error


def _remedy(error: Exception) -> str:
    from huggingface_hub.errors import HFValidationError, LocalTokenNotFoundError, OfflineModeIsEnabled

    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, LocalTokenNotFoundError) or status in _REFUSED:
        return "Log in with 'hf auth login' and a token that may write there, or set HF_TOKEN."
    if isinstance(error, HFValidationError):
        return "Name the repository user/name."
    if isinstance(error, OfflineModeIsEnabled):
        return "Unset HF_HUB_OFFLINE."
    return "Run the same command again: what is converted and uploaded is not done twice."
