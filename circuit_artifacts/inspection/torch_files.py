"""Torch files, zip and legacy form, and plain pickles: what they would build, without torch and without building it."""

from __future__ import annotations

import io
import re
import zipfile
from typing import Any

from circuit_artifacts.errors import FormatError
from circuit_artifacts.formats.archives import open_member
from circuit_artifacts.formats.bounded import BoundedReader
from circuit_artifacts.formats.pickle_opcodes import Pickle, read_pickle
from circuit_artifacts.formats.torch_calls import LEGACY_START, STORAGE_HEADER_BYTES
from circuit_artifacts.inspection.listing import Entry, Listing
from circuit_artifacts.inspection.pickled import describe, storages
from circuit_artifacts.remote import Location

__all__ = ["list_pickle", "list_torch_archive", "pickle_member"]

_LARGEST_PICKLE = 128 << 20  # bytes

_PLAIN = re.compile(
    r"torch\.(cuda\.)?(sparse\.)?\w+(Storage|Tensor)|torch\.Tensor|torch\.storage\.(Typed|Untyped)Storage"
    r"|torch\.(bool|bfloat16|q?u?int\w+|float\w+|complex\d+|bits\w+|per_\w+|Size|device)"
    r"|torch\._utils\._rebuild_\w+|torch\._tensor\._rebuild_from_type_v2|torch\.nn\.parameter\.Parameter"
    r"|torch\.serialization\._get_layout|collections\.(OrderedDict|Counter)|_codecs\.encode"
    r"|(builtins|__builtin__)\.(set|frozenset|bytearray|complex)"
)
"""What torch's own weights-only loading accepts by default."""
_NUMPY = re.compile(r"numpy\.(ndarray|dtype|dtypes\.\w+DType|_?core\.multiarray\.(_reconstruct|scalar))")
"""What arrays are made of; weights-only loading asks for permission by name."""


def pickle_member(archive: zipfile.ZipFile) -> zipfile.ZipInfo | None:
    """The pickle of a torch archive, None if it is not one."""
    found = [member for member in archive.infolist() if re.fullmatch(r"[^/]+/data\.pkl", member.filename)]
    return found[0] if len(found) == 1 else None


def list_torch_archive(archive: zipfile.ZipFile, member: zipfile.ZipInfo, file: Location) -> Listing:
    """List the tensors of a torch archive; its records, if its pickle is too large to be followed.

    Raises:
        FormatError: damaged, or its pickle is none.
    """
    folder = member.filename.removesuffix("data.pkl")
    records = {record.filename.removeprefix(folder): record for record in archive.infolist()}
    facts: dict[str, Any] = {"form": "TorchScript" if "constants.pkl" in records else "zip"}
    if member.file_size > _LARGEST_PICKLE:
        entries = [Entry(name, "record", stored_bytes=record.compress_size) for name, record in records.items()]
        return Listing("torch", entries, facts | {"note": "its pickle is too large to be followed"})
    with open_member(archive, member, file=file) as stream:
        # At once: asking an archive's stream for its position, as is done for each opcode, takes long.
        pickle = read_pickle(io.BytesIO(stream.read()), file=file, where=member.filename)
    sizes = {name.removeprefix("data/"): record.file_size for name, record in records.items()}
    lacking = [
        storage.key for storage in storages(pickle.kept_elsewhere) if sizes.get(storage.key, -1) < storage.n_bytes
    ]
    if lacking:
        problem = "the numbers of some tensors are not all there"
        raise FormatError(problem, file=file, where=f"{folder}data", found=", ".join(lacking[:5]))
    return Listing("torch", describe(pickle.value), facts | _code_facts([pickle]))


def list_pickle(file: Location, stream: BoundedReader) -> Listing:
    """List a legacy torch file, or a plain pickle.

    Raises:
        FormatError: truncated, or no pickle.
    """
    if not stream.peek(len(LEGACY_START)).startswith(LEGACY_START):
        pickle = read_pickle(stream, file=file)
        return Listing("pickle", describe(pickle.value), _code_facts([pickle]))
    header = [read_pickle(stream, file=file) for _ in range(3)]  # magic number, protocol, facts about the system
    content = read_pickle(stream, file=file)
    facts = {"form": "legacy"} | _code_facts([*header, content])
    if content.complete:
        keys = read_pickle(stream, file=file)
        expected = stream.tell() + sum(
            STORAGE_HEADER_BYTES + storage.n_bytes for storage in storages(content.kept_elsewhere)
        )
        facts |= _code_facts([*header, content, keys])
        if (n_bytes := stream.seek(0, 2)) < expected:
            problem = "the file is truncated: the numbers of its tensors are not all there"
            raise FormatError(problem, file=file, found=f"{n_bytes:,} bytes", expected=f"{expected:,}")
    return Listing("torch", describe(content.value), facts)


def _code_facts(pickles: list[Pickle]) -> dict[str, Any]:
    """What is named, and which of it is neither data of torch nor of numpy: loading would import and may call it."""
    names = sorted({name for pickle in pickles for name in pickle.globals})
    facts: dict[str, Any] = {
        "globals": names,
        "unsafe_globals": [name for name in names if not _PLAIN.fullmatch(name) and not _NUMPY.fullmatch(name)],
    }
    if not all(pickle.complete for pickle in pickles):
        facts["note"] = "the pickle has millions of opcodes; this is what the first of them say"
    return facts
