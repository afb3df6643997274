"""Stage-12 sums, and the masks recomputed from them (csp_atlas spec 1.3, 5.1, 11.5)."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import h5py
import numpy as np
import numpy.typing as npt

from circuit_artifacts.compute.csp.layout import read_activations
from circuit_artifacts.compute.csp.masks import Rule, binarize
from circuit_artifacts.compute.csp.statistics import ActivationStatistics
from circuit_artifacts.csp_atlas.checks.contents import Contents, MaskFile, PackedMasks, error, guarded, limited, note
from circuit_artifacts.csp_atlas.checks.masks import check_counts, check_pair_metadata
from circuit_artifacts.csp_atlas.checks.stacks import read_stack
from circuit_artifacts.errors import CircuitArtifactsError, FormatError
from circuit_artifacts.formats.hdf5 import open_group, open_hdf5, read_scalars
from circuit_artifacts.schemas.declaration import Config
from circuit_artifacts.validation import Finding

__all__ = ["check_activations"]

_MADE_FROM = {
    "object_activations": ("object_prompts", ("masks", "universal_106x50"), "pair_masks"),
    "checker_activations": ("checker_prompts", ("checker_masks",), "token_checker_masks"),
}


def check_activations(contents: Contents) -> Iterator[Finding]:
    """Check both stage-12 files, one after the other, and the masks that were made from each."""
    for config in contents.configs_of(*_MADE_FROM):
        try:
            with open_hdf5(contents.path(config)) as file:
                loaded = yield from _read(contents, config, file)
        except CircuitArtifactsError as fault:
            yield Finding.of(fault, "readable" if isinstance(fault, FormatError) else "layout", config.file)
            continue
        if loaded is None:
            continue
        keys, statistics = loaded
        yield from _check_sums(config, keys, statistics, contents.shape(config).width)
        prompts, families, group = _MADE_FROM[config.family.name]
        yield from _check_prompt_counts(contents, config, keys, statistics, prompts)
        for mask_file in contents.masks.values():
            if mask_file.config.family.name in families and group in mask_file.groups:
                yield from _recompute(contents, config, keys, statistics, mask_file, group)


def _read(
    contents: Contents, config: Config, file: h5py.File
) -> Generator[Finding, None, tuple[list[str], ActivationStatistics] | None]:
    vocabulary, shape = contents.vocabulary(config), contents.shape(config)
    known = vocabulary.pairs if config.family.name == "object_activations" else vocabulary.concepts
    sums = yield from read_stack(file, "activations", dtype=np.float32, shape=shape, known=known)
    counts = yield from read_stack(file, "firing_counts", dtype=np.int32, shape=shape, known=known)
    if sums is None or counts is None:
        return None
    if sums[0] != counts[0]:
        differing = sorted(set(sums[0]) ^ set(counts[0]))
        yield error("keys", config.file, "/firing_counts", f"other keys than in /activations: {differing[:3]}")
        return None
    yield from guarded("layout", config.file, _check_metadata(contents, config, file, sums[0]))
    n_prompts = read_scalars(open_group(file, "n_prompts"), sums[0], dtype=np.int64)
    return sums[0], ActivationStatistics(sums[1], counts[1], n_prompts)


def _check_metadata(contents: Contents, config: Config, file: h5py.File, keys: list[str]) -> Iterator[Finding]:
    if config.family.name == "object_activations":
        yield from check_pair_metadata(contents, config, file, keys)
        return
    yield from check_counts(config, file, n_pairs=len(keys), n_layers=contents.shape(config).n_layers)


def _check_sums(config: Config, keys: list[str], statistics: ActivationStatistics, width: int) -> Iterator[Finding]:
    """No count below 0 or above the prompts, no negative sum, and a sum exactly where there is a count."""
    sums, counts, n_prompts = statistics.activation_sum, statistics.firing_count, statistics.n_prompts
    n = n_prompts[:, None, None]
    for group, wrong, message in (
        ("n_prompts", (n < 1), "a group without prompts"),
        ("firing_counts", (counts < 0) | (counts > n), "a count below 0 or above the number of prompts"),
        ("activations", ~(sums >= 0) | ~np.isfinite(sums), "a sum of magnitudes that is negative or not finite"),
        ("activations", (sums > 0) != (counts > 0), "a sum where nothing fires, or none where something does"),
    ):
        places = np.argwhere(wrong.any(axis=-1)).tolist()
        yield from limited(
            [
                error(
                    "statistics",
                    config.file,
                    f"/{group}/{keys[row]}" if group == "n_prompts" else f"/{group}/layer_{layer}/{keys[row]}",
                    f"{message}, at {int(wrong[row, layer].sum())} place(s)",
                )
                for row, layer in places
            ]
        )
    # The published model keeps a quarter of the dimensions per token; another may keep more (spec 4.1, inferred).
    above = np.argwhere(counts.sum(axis=-1, dtype=np.int64) > (width // 4) * n_prompts[:, None])
    if len(above):
        row, layer = above[0]
        message = f"more dimensions fire than a quarter of {width} per prompt, in {len(above)} groups and layers"
        yield note("firing-cap", config.file, f"/firing_counts/layer_{layer}/{keys[row]}", message)


def _check_prompt_counts(
    contents: Contents, config: Config, keys: list[str], statistics: ActivationStatistics, prompts: str
) -> Iterator[Finding]:
    rows = contents.prompts_per_group.get(prompts)
    if rows is None:
        return
    found = dict(zip(keys, statistics.n_prompts.tolist(), strict=True))
    source = contents.mirror.family_by_name[prompts].file
    yield from limited(
        [
            error(
                "n-prompts",
                config.file,
                f"/n_prompts/{key}",
                f"found {found.get(key, 'nothing')}, expected the {rows.get(key, 0)} rows of {source}",
            )
            for key in sorted(found.keys() | rows.keys())
            if found.get(key) != rows.get(key)
        ]
    )


def _recompute(
    contents: Contents,
    config: Config,
    keys: list[str],
    statistics: ActivationStatistics,
    mask_file: MaskFile,
    group: str,
) -> Iterator[Finding]:
    """Apply both comparisons again. ``universal_106x50.h5`` came from another writer, so it only gets a note."""
    parameters, setting = contents.parameters(mask_file.config), mask_file.setting
    if parameters is None or setting is None:
        return
    found, name = mask_file.groups[group], mask_file.config.file
    if set(found.keys) != set(keys):
        differing = sorted(set(found.keys) ^ set(keys))
        yield error("same-keys", name, f"/{group}", f"{config.file} holds other keys: {differing[:3]}")
    masks = _masks(contents, config, statistics, setting, parameters.rule)
    if masks is None:
        message = f"{config.file} lacks the counts that rule {parameters.rule!r} needs, so the masks are not recomputed"
        yield note("masks-from-activations", name, f"/{group}", message)
        return
    common, found_bits, expected_bits = found.common(PackedMasks.of(keys, masks))
    wrong = np.argwhere((found_bits != expected_bits).any(axis=-1)).tolist()
    if mask_file.config.family.name == "universal_106x50":
        answer = "are" if not wrong else f"are not (in {len(wrong):,} of {found_bits[..., 0].size:,} cases)"
        message = f"its pair masks {answer} those that rule {parameters.rule!r} gives from {config.file} at {setting}"
        yield note("universal-106x50-rule", name, f"/{group}", message)
        return
    faults = (
        error(
            "masks-from-activations",
            name,
            f"/{group}/layer_{layer}/{common[row]}",
            f"the mask differs in {int(np.unpackbits(found_bits[row, layer] ^ expected_bits[row, layer]).sum())} "
            f"dimensions from that recomputed from {config.file}",
        )
        for row, layer in wrong
    )
    yield from limited(faults, total=len(wrong))


def _masks(
    contents: Contents, config: Config, statistics: ActivationStatistics, setting: tuple[float, float], rule: Rule
) -> npt.NDArray[np.bool_] | None:
    """Masks at one setting; None if the file lacks what the rule needs."""
    eps, cons = setting
    exceedance = None
    if rule == "per_prompt":
        _, complete = read_activations(contents.path(config), contents.shape(config))
        exceedance = complete.exceedance(eps)
        if exceedance is None:
            return None
    return binarize(
        statistics.activation_sum,
        statistics.firing_count,
        statistics.n_prompts,
        epsilon=eps,
        consistency=cons,
        rule=rule,
        exceedance_count=exceedance,
    )
