"""Mask files, each on its own: layout, metadata, intersections and metrics (csp_atlas spec 1.4-1.7, 5.2-5.4)."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from circuit_artifacts.compute.csp.masks import jaccard_matrices, universals
from circuit_artifacts.csp_atlas.checks.contents import Contents, MaskFile, PackedMasks, error, limited, note
from circuit_artifacts.csp_atlas.checks.stacks import read_stack
from circuit_artifacts.errors import CircuitArtifactsError, FormatError
from circuit_artifacts.formats.hdf5 import (
    child_names,
    open_dataset,
    open_group,
    open_hdf5,
    read_attributes,
    read_strings,
)
from circuit_artifacts.formats.hdf5.objects import located
from circuit_artifacts.schemas.csp_atlas import SETTING_ATTRIBUTES
from circuit_artifacts.schemas.csp_vocabulary import ISOLATED, ISOLATED_NODES, concept_key, split_pair
from circuit_artifacts.schemas.declaration import Config
from circuit_artifacts.validation import Finding

__all__ = ["check_counts", "check_mask_files", "check_pair_metadata"]

_OBJECT_FAMILIES = ("masks", "universal_106x50")
_CHECKER_FAMILIES = ("checker_masks", "token_checker_masks")
_SENTINEL_CONCEPTS = {concept_key("builtin", ISOLATED), *(concept_key("ast", node) for node in ISOLATED_NODES)}
_USUAL_ATTRIBUTE = {"masks": "consistency_thresh", "universal_106x50": "consistency_thresh"}
_JACCARD_TOLERANCE = 1e-9


def check_mask_files(contents: Contents) -> Iterator[Finding]:
    """Read every mask file once, keep what is sound, and check what needs no other file."""
    for config in contents.configs_of(*_OBJECT_FAMILIES, *_CHECKER_FAMILIES):
        try:
            with open_hdf5(contents.path(config)) as file:
                mask_file = yield from _read(contents, config, file)
        except CircuitArtifactsError as fault:
            yield Finding.of(fault, "readable" if isinstance(fault, FormatError) else "layout", config.file)
        else:
            contents.masks[config.name] = mask_file


def _read(contents: Contents, config: Config, file: h5py.File) -> Generator[Finding, None, MaskFile]:
    attributes = read_attributes(open_group(file, "metadata"))
    yield from _check_setting(config, attributes)
    if config.family.name in _CHECKER_FAMILIES:
        groups = yield from _read_groups(contents, config, file, "token_checker_masks")
        yield from _check_generation(contents, config, file)
        return MaskFile(config, attributes, _packed(groups))
    groups = yield from _read_groups(contents, config, file, "pair_masks", "universal_masks")
    if "pair_masks" in groups:
        yield from check_pair_metadata(contents, config, file, groups["pair_masks"][0])
    if len(groups) == 2:
        yield from _check_intersections(config, *groups["pair_masks"], *groups["universal_masks"])
    if "universal_masks" in groups:
        yield from _check_metrics(config, file, *groups["universal_masks"])
    metrics = tuple(child_names(open_group(file, "metrics"))) if "metrics" in file else ()
    return MaskFile(config, attributes, _packed(groups), metrics)


def _read_groups(
    contents: Contents, config: Config, file: h5py.File, *names: str
) -> Generator[Finding, None, dict[str, tuple[list[str], npt.NDArray[np.bool_]]]]:
    vocabulary, shape = contents.vocabulary(config), contents.shape(config)
    groups = {}
    for name in names:
        known = vocabulary.pairs if name == "pair_masks" else vocabulary.concepts
        stack = yield from read_stack(file, name, dtype=np.bool_, shape=shape, known=known)
        if stack is not None:
            groups[name] = stack
    return groups


def _packed(groups: Mapping[str, tuple[list[str], npt.NDArray[np.bool_]]]) -> dict[str, PackedMasks]:
    return {name: PackedMasks.of(*stack) for name, stack in groups.items()}


def _check_setting(config: Config, attributes: Mapping[str, Any]) -> Iterator[Finding]:
    """The metadata has a setting, and it is the one in the file's name; both names of the consistency will do."""
    for axis, names in SETTING_ATTRIBUTES.items():
        present = [name for name in names if attributes.get(name) is not None]
        if not present:
            yield error("setting", config.file, "/metadata", f"there is no attribute {' or '.join(names)}")
        for name in present if config.setting else ():
            found, expected = attributes[name], config.setting[axis]
            if not isinstance(found, int | float) or not np.isclose(found, expected, rtol=1e-6, atol=0):
                message = f"the attribute contradicts the file name: found {found}, expected {expected}"
                yield error("setting", config.file, f"/metadata@{name}", message)
        usual = _USUAL_ATTRIBUTE.get(config.family.name, "consistency_threshold")
        if axis == "cons" and present and usual not in present:
            message = f"this kind of file usually calls it {usual}; both names are read"
            yield note("attribute-name", config.file, f"/metadata@{present[0]}", message)


def check_pair_metadata(contents: Contents, config: Config, file: h5py.File, keys: list[str]) -> Iterator[Finding]:
    """The name lists and numbers in the metadata are those of the pairs."""
    metadata = open_group(file, "metadata")
    yield from check_counts(config, file, n_pairs=len(keys), n_layers=contents.shape(config).n_layers)
    pairs = [split_pair(key) for key in keys]
    for name, members in (("ast_nodes", {node for node, _ in pairs}), ("builtin_objs", {b for _, b in pairs})):
        where = f"/metadata/{name}"
        try:
            found = read_strings(open_dataset(metadata, name))
        except CircuitArtifactsError as fault:
            yield Finding.of(fault, "metadata-lists", config.file)
            continue
        if found != sorted(members):
            absent, surplus = sorted(members - set(found)), sorted(set(found) - members)
            parts = [f"without {absent[:5]}"] * bool(absent) + [f"with {surplus[:5]} too many"] * bool(surplus)
            message = f"the list is not that of the pairs in ASCII order: {' and '.join(parts) or 'another order'}"
            yield error("metadata-lists", config.file, where, message)


def check_counts(config: Config, file: h5py.File, **expected: int) -> Iterator[Finding]:
    """Attributes of the metadata against what they count."""
    attributes = read_attributes(open_group(file, "metadata"))
    for name, count in expected.items():
        if attributes.get(name) != count:
            message = f"found {attributes.get(name)}, expected {count}"
            yield error(name.replace("_", "-"), config.file, f"/metadata@{name}", message)


def _check_generation(contents: Contents, config: Config, file: h5py.File) -> Iterator[Finding]:
    """``/generation_stats`` of the token-checker file says how many prompts were used (csp_atlas spec 1.6)."""
    prompts = contents.prompts_per_group.get("token_checker_prompts")
    if config.family.name != "token_checker_masks" or "generation_stats" not in file or prompts is None:
        return
    for name, found in read_attributes(open_group(file, "generation_stats")).items():
        expected = prompts.get(name.removesuffix("_n_valid"), 0)
        if name.endswith("_n_valid") and found != expected:
            message = f"found {found}, expected the {expected} rows of token_checker_prompts.parquet"
            yield error("n-prompts", config.file, f"/generation_stats@{name}", message)


def _check_intersections(
    config: Config,
    pair_keys: list[str],
    pair_masks: npt.NDArray[np.bool_],
    concepts: list[str],
    universal: npt.NDArray[np.bool_],
) -> Iterator[Finding]:
    """Each universal mask is the AND of the pair masks of its concept; for the sentinel, of those with the sentinel."""
    expected_concepts, expected = universals(pair_masks, [split_pair(key) for key in pair_keys])
    differing = set(concepts) ^ set(expected_concepts)
    yield from limited(
        [
            error(
                "universal-keys",
                config.file,
                f"/universal_masks/layer_0/{concept}",
                "no pair of this concept is here" if concept in concepts else "the mask of this concept is missing",
            )
            for concept in sorted(differing)
        ]
    )
    common = [concept for concept in expected_concepts if concept not in differing]
    rows = [concepts.index(concept) for concept in common]
    expected_rows = [expected_concepts.index(concept) for concept in common]
    wrong = np.argwhere((universal[rows] != expected[expected_rows]).any(axis=-1)).tolist()
    faults = []
    for row, layer in wrong:
        concept = common[row]
        found_size, expected_size = universal[rows[row], layer].sum(), expected[expected_rows[row], layer].sum()
        sentinel = concept in _SENTINEL_CONCEPTS
        message = f"the mask ({found_size} dimensions) is not the AND of the concept's pairs ({expected_size})"
        where = f"/universal_masks/layer_{layer}/{concept}"
        faults.append(error("sentinel-identity" if sentinel else "universal-and", config.file, where, message))
    for rule in ("universal-and", "sentinel-identity"):
        yield from limited([fault for fault in faults if fault.rule == rule])


def _check_metrics(
    config: Config, file: h5py.File, concepts: list[str], universal: npt.NDArray[np.bool_]
) -> Iterator[Finding]:
    """The Jaccard matrices are those of the universal masks at layer 4."""
    for name, expected in jaccard_matrices(concepts, universal).items():
        where = f"/metrics/{name}"
        try:
            dataset = open_dataset(file, where)
            with located(dataset, where):
                found = dataset[()] if dataset.dtype.kind == "f" else np.empty(0)
                described = f"{dataset.dtype} {dataset.shape}"
        except CircuitArtifactsError as fault:
            yield Finding.of(fault, "metrics", config.file)
            continue
        if found.shape != expected.shape:
            yield error("metrics", config.file, where, f"found {described}, expected float64 {expected.shape}")
            continue
        wrong = np.argwhere(~(np.abs(found - expected) <= _JACCARD_TOLERANCE))
        if len(wrong):
            row, column = wrong[0]
            message = f"{len(wrong)} cells differ from the layer-4 masks; here {found[row, column]}, "
            yield error("metrics", config.file, f"{where}[{row}, {column}]", message + f"not {expected[row, column]}")
