"""Where an autoencoder's files are: in a folder, in a zip archive, in this package, or on the Hub.

The dictionaries of Pythia are published as one archive, so a path may go on behind a ``.zip``, here and on the Hub.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Final

from circuit_artifacts import hub
from circuit_artifacts.compute.saes.formats import CONFIGS, WEIGHTS
from circuit_artifacts.errors import FormatError, MissingArtifactError, UnknownNameError, UnsafeContentError
from circuit_artifacts.formats.archives import duplicates, leads_out, open_archive, open_member
from circuit_artifacts.formats.bounded import open_bounded
from circuit_artifacts.hub import HubFile

__all__ = ["MINI_FOLDER", "Place", "locate_sae"]

MINI_FOLDER: Final = Path(__file__).parents[2] / "data" / "mini_saes"
"""The autoencoders of the bundled model."""

_MINI: Final = "mini"
_HUB: Final = "hf://"
_HUB_ID: Final = re.compile(r"[\w.-]+/[\w.-]+")
_WEIGHT_SUFFIXES: Final = frozenset({".pt", ".pth", ".npz", ".safetensors"})
_CHECKPOINTS: Final = "checkpoints"  # inside an autoencoder's folder, where a format has it
_ARCHIVE: Final = ".zip"
_LARGEST_MEMBER: Final = 32 << 30  # bytes
_PIECE: Final = 16 << 20
_SHOWN: Final = 10


@dataclass(frozen=True, kw_only=True)
class Place:
    """The files of one autoencoder, on this machine.

    Attributes:
        weights: the file with the tensors.
        folder: where its configuration lies.
        address: of the weights on the Hub, with the commit, or of the folder among the bundled ones; None for others.
    """

    weights: Path
    folder: Path
    address: str | None = None


@contextmanager
def locate_sae(
    ref: str | Path, path: str = "", *, revision: str | None = None, token: str | bool | None = None
) -> Iterator[Place]:
    """Find the files behind a reference, downloading or unpacking what is needed, for the time of the block.

    Args:
        ref: ``mini`` (the bundled ones), a folder, a file, an archive, ``hf://[datasets/]user/repository/path``, or a
            Hub id of a model repository.
        path: a folder or file inside of that.
        revision: Hub branch, tag or commit, if the address does not name one.
        token: for the Hub; None looks at the usual places.

    Raises:
        UnknownNameError: neither something on this machine, nor a possible address on the Hub.
        MissingArtifactError: no autoencoder is there; what is there is listed.
        FormatError: a folder with several of them, or a damaged archive.
        UnsafeContentError: a path that leads out of its archive or repository.
        SourceError: the Hub could not be reached (``HF_HUB_OFFLINE`` is honoured) or refused.
    """
    if ref == _MINI:
        yield _bundled(path)
        return
    local = Path(ref).expanduser() / path
    archive, inner = _split_archive(local.as_posix())
    with ExitStack() as stack:
        if inner is not None and Path(archive).is_file():
            yield _place(stack.enter_context(_unpacked(Path(archive), inner)) / inner)
        elif Path(ref).expanduser().exists():
            yield _place(local)
        else:
            file, inside = _on_the_hub(ref, path.strip("/"), revision=revision, token=token)
            archive, inner = _split_archive(inside)
            if inner is None:
                root = _snapshot(file, inside)
                place, commit, prefix = _place(root / inside), root.name, ""
            else:
                file = replace(file, file=archive)
                packed = hub.download(file)
                root = stack.enter_context(_unpacked(packed, inner))
                place, commit, prefix = _place(root / inner), _root(packed, file).name, f"{archive}/"
            relative = place.weights.relative_to(root).as_posix()
            yield replace(place, address=str(replace(file, file=f"{prefix}{relative}", revision=commit)))


def _split_archive(path: str) -> tuple[str, str | None]:
    """The path of an archive and what follows it; None in place of that if no part of the path is an archive."""
    parts = path.split("/")
    for index, part in enumerate(parts, start=1):
        if part.lower().endswith(_ARCHIVE):
            return "/".join(parts[:index]), "/".join(parts[index:])
    return path, None


def _bundled(path: str) -> Place:
    if leads_out(path):
        problem = "the path leads out of the bundled autoencoders"
        raise UnsafeContentError(problem, where=path)
    try:
        place = _place(MINI_FOLDER / path)
    except MissingArtifactError as error:
        there = sorted(file.parent.relative_to(MINI_FOLDER).as_posix() for file in MINI_FOLDER.rglob(WEIGHTS[0]))
        error.file, error.where, error.expected = _MINI, path, f"path= with one of {', '.join(there)}"
        raise
    return replace(place, address=f"{_MINI}/{place.folder.relative_to(MINI_FOLDER).as_posix()}")


def _place(path: Path) -> Place:
    if path.suffix == ".json" and path.is_file():
        path = path.parent
    if path.is_file():
        in_checkpoints = path.parent.name == _CHECKPOINTS
        return Place(weights=path, folder=path.parents[1] if in_checkpoints else path.parent)
    if not path.is_dir():
        problem = "there is no such file or folder"
        raise MissingArtifactError(problem, file=path)
    found = [path / name for name in WEIGHTS if (path / name).is_file()]
    found = found or sorted(file for file in path.iterdir() if file.suffix in _WEIGHT_SUFFIXES and file.is_file())
    if not found:
        problem = "there is no sparse autoencoder in the folder"
        there = sorted(entry.name for entry in path.iterdir())
        raise MissingArtifactError(problem, file=path, found=_some(there), expected=" or ".join(WEIGHTS))
    if len(found) > 1:
        problem = "the folder holds several files of weights"
        remedy = "Name one of them in place of the folder."
        raise FormatError(problem, file=path, found=_some([file.name for file in found]), remedy=remedy)
    return Place(weights=found[0], folder=path)


def _files_of(path: str) -> tuple[list[str], list[str]]:
    """The names under which the weights and the configuration of an autoencoder at a path may be published."""
    place = PurePosixPath(path)
    folders = [place.parent if place.suffix == ".json" else place]
    weights = [folders[0] / name for name in WEIGHTS]
    if place.suffix in _WEIGHT_SUFFIXES:  # of a file, or of a folder: v5_32k_layer_3.pt of GPT-2 is one
        folders.append(place.parents[1] if place.parent.name == _CHECKPOINTS else place.parent)
        weights.insert(0, place)
    return [str(file) for file in weights], [str(folder / name) for folder in folders for name in CONFIGS]


def _on_the_hub(ref: str | Path, path: str, *, revision: str | None, token: str | bool | None) -> tuple[HubFile, str]:
    """A file of the repository that is meant, and the path inside it."""
    text = str(ref).rstrip("/")
    if isinstance(ref, str) and text.startswith(_HUB):
        file = HubFile.parse(f"{text}/{path}" if path else text, token=token)
        return replace(file, revision=file.revision or revision), file.file
    if isinstance(ref, str) and _HUB_ID.fullmatch(text):
        file = HubFile(repository=text, file=path or WEIGHTS[0], kind="model", revision=revision, token=token)
        return file, path
    problem = "there is no such autoencoder"
    expected = (
        "mini, an existing folder or file, hf://user/repository/folder, sae_lens:RELEASE/ID, or a Hub id with path="
    )
    raise UnknownNameError(problem, found=repr(str(ref)), expected=expected)


def _snapshot(file: HubFile, path: str) -> Path:
    """The repository's folder in the Hub cache, once it holds the autoencoder at a path."""
    names, configs = _files_of(path)
    weights = [replace(file, file=name) for name in names]
    files = weights + [replace(file, file=name) for name in configs]
    if not any(map(hub.cached, weights)):
        hub.prefetch(files)
    if not any(map(hub.cached, weights)):
        try:
            return _root(hub.download(weights[0]), weights[0])
        except MissingArtifactError as error:
            error.expected = f"one of {', '.join(names)}"
            raise
    paths = [(hub.download(item), item) for item in files if hub.cached(item)]
    return _root(*paths[0])


def _root(path: Path, file: HubFile) -> Path:
    return path.parents[len(PurePosixPath(file.file).parts) - 1]


@contextmanager
def _unpacked(archive: Path, path: str) -> Iterator[Path]:
    """A folder for the time of the block, with the files of the one autoencoder at a path in an archive."""
    if leads_out(path):
        problem = "the path leads out of the archive"
        raise UnsafeContentError(problem, file=archive, where=path)
    # Where an open file can be deleted, its tensors go on living; elsewhere the folder may be left behind.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        with open_bounded(archive, largest=_LARGEST_MEMBER) as stream, open_archive(stream, file=archive) as opened:
            members = {member.filename: member for member in opened.infolist()}
            weights, configs = _files_of(path)
            if not members.keys() & set(weights):
                problem = "there is no sparse autoencoder at this path in the archive"
                there = [name for name in members if PurePosixPath(name).suffix in _WEIGHT_SUFFIXES]
                raise MissingArtifactError(problem, file=archive, where=path, expected=f"one of {_some(there)}")
            for name in members.keys() & {*weights, *configs}:
                if name in duplicates(opened) or members[name].file_size > _LARGEST_MEMBER:
                    problem = "the member occurs twice, or is larger than any autoencoder"
                    raise FormatError(problem, file=archive, where=name, found=f"{members[name].file_size:,} bytes")
                target = Path(folder, name)
                target.parent.mkdir(parents=True, exist_ok=True)
                with open_member(opened, members[name], file=archive) as source, target.open("wb") as copy:
                    shutil.copyfileobj(source, copy, _PIECE)
        yield Path(folder)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (", ".join(names[:_SHOWN]) or "nothing") + more
