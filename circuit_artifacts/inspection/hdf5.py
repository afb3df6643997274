"""HDF5 files: every path with its type, shape, attributes and stored size."""

from __future__ import annotations

import json
from typing import Any

import h5py

from circuit_artifacts.errors import CircuitArtifactsError
from circuit_artifacts.formats.bounded import BoundedReader
from circuit_artifacts.formats.hdf5.attributes import attributes_json
from circuit_artifacts.formats.hdf5.objects import located, open_hdf5
from circuit_artifacts.formats.hdf5.tree import Node, walk
from circuit_artifacts.inspection.listing import Entry, Listing
from circuit_artifacts.remote import Location

__all__ = ["list_hdf5"]

_SIGNATURE_BYTES = 8


def list_hdf5(file: Location, stream: BoundedReader) -> Listing:
    """List an HDF5 file. Groups that hold something, and have no attributes, are left to the paths of their content."""
    with open_hdf5(file) as opened:
        tree = walk(opened)
        root_attributes, note = _attributes(opened, tree.nodes[0])
        parents = {node.parent for node in tree.nodes[1:]}
        kept = [node for node in tree.nodes[1:] if node.path not in parents or node.n_attributes]
        entries = [_entry(opened, node) for node in kept]
        user_block = int(opened.userblock_size)
    stream.seek(user_block + _SIGNATURE_BYTES)
    facts: dict[str, Any] = {
        "groups": len(tree.of_kind("group")),
        "datasets": len(tree.of_kind("dataset")),
        "superblock_version": stream.read(1)[0],
        "user_block_bytes": user_block,
        "metadata": root_attributes,
    }
    return Listing("hdf5", entries, facts | ({"metadata_note": note} if note else {}))


def _entry(file: h5py.File, node: Node) -> Entry:
    attributes, refusal = _attributes(file, node)
    notes = (_origin(node), refusal)
    return Entry(
        path=node.path.removeprefix("/"),
        kind=node.kind,
        dtype=node.dtype,
        shape=node.shape,
        stored_bytes=node.storage_bytes if node.kind == "dataset" else None,
        attributes=attributes,
        note="; ".join(note for note in notes if note),
    )


def _origin(node: Node) -> str:
    """Where the content of a node is, if not simply there."""
    if node.foreign:
        return f"{node.foreign}: the data are in other files, which are not opened"
    if node.kind == "external link":
        return f"to {node.target}, which is not opened"
    if node.kind == "dataset" and node.shape is None:
        return "a null dataspace: no value"
    if node.kind == "repeated":
        return f"is {node.target} again"
    return f"soft link to {node.target}" if node.target else ""


def _attributes(file: h5py.File, node: Node) -> tuple[dict[str, Any], str]:
    """The attributes of a node, or nothing and why they were not read."""
    if not node.n_attributes:
        return {}, ""
    try:
        with located(file, node.path):
            # The walk came this way without leaving the file; link by link again would take as long as all the rest.
            owner = file[node.path.encode("utf-8", "surrogateescape")]
        return json.loads(attributes_json(owner)), ""
    except CircuitArtifactsError as error:
        return {}, f"{node.n_attributes} attributes not read: {error.problem}{error.contrast}"
