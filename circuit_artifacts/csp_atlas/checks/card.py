"""Where the card and the files differ, and what else a newcomer stumbles over (csp_atlas spec 10).

Each note is made only if the file that shows the difference is here, and only for published data.
"""

from __future__ import annotations

from collections.abc import Iterator

from circuit_artifacts.csp_atlas.checks.contents import Contents, MaskFile, note
from circuit_artifacts.schemas.csp_vocabulary import (
    DROPPED_PAIRS_PRESUMED,
    ISOLATED,
    attempted_pairs,
    pair_key,
    split_pair,
)
from circuit_artifacts.validation import Finding

__all__ = ["check_card"]

_CARD_TOKEN_CHECKER_SETTING = (0.5, 0.8)
_VARIATIONS = 50


def check_card(contents: Contents) -> Iterator[Finding]:
    """Name each known discrepancy that the files here show."""
    if not contents.published:
        return
    yield from _pairs(contents)
    yield from _attributes(contents)
    yield from _settings(contents)
    for config in contents.configs_of("object_activations", "checker_activations"):
        message = (
            "the card says raw activations; the file holds sums of |activation| and firing counts per group. "
            "Its scalar datasets are what stops the stock HDF5 loader"
        )
        yield note("card-activations", config.file, "/n_prompts", message)
    for config in contents.configs_of("checker_prompts", "token_checker_prompts"):
        sizes = contents.prompts_per_group.get(config.family.name, {})
        fewer = sorted(key for key, size in sizes.items() if size < _VARIATIONS)
        if fewer:
            message = f"the card says 0 to 49; {len(fewer)} objects have fewer prompts, such as {fewer[0]}"
            yield note("card-variations", config.file, "variation_id", message)
    prompts = contents.tables.get("object_prompts")
    if prompts is not None and (count := int((prompts["sequence_loss"] > 3.0).sum())):
        message = f"{count:,} kept rows exceed 3 nats: the filter looks at the mean of a pair only"
        yield note("card-loss-filter", "11A_object_prompts.parquet", "sequence_loss", message)
    for config in contents.configs_of("token_independence_summary"):
        if config.name in contents.tables:
            message = "the card names the columns A∩B, A\\B and B\\A; the file A_and_B, A_only and B_only"
            yield note("card-columns", config.file, "header", message)


def _pairs(contents: Contents) -> Iterator[Finding]:
    mask_file = next((m for m in contents.masks.values() if "pair_masks" in m.groups), None)
    if mask_file is None:
        return
    file, keys = mask_file.config.file, set(mask_file.groups["pair_masks"].keys)
    pairs = [split_pair(key) for key in keys]
    n_nodes, n_builtins = len({node for node, _ in pairs}), len({builtin for _, builtin in pairs})
    if any(builtin == ISOLATED for _, builtin in pairs):
        message = f"the card counts it among the builtins: they are {n_builtins - 1} and the sentinel"
        yield note("card-builtins", file, f"/metadata/builtin_objs: {ISOLATED}", message)
    attempted = {pair_key(*pair) for pair in attempted_pairs()}
    dropped = {pair_key(*pair) for pair in DROPPED_PAIRS_PRESUMED}
    others = sorted(attempted - keys - dropped)
    message = (
        f"{len(keys):,} pairs, not {n_nodes} x {n_builtins} = {n_nodes * n_builtins:,}: {len(keys & attempted):,} of "
        f"the {len(attempted):,} attempted; {len(dropped - keys)} of the {len(dropped)} presumed to be dropped are "
        f"absent, and {len(others):,} others, such as {', '.join(others[:3]) or 'none'}"
    )
    yield note("card-pairs", file, "/pair_masks", message)
    if set(mask_file.metrics) >= {"jaccard_ast_matrix", "jaccard_builtin_matrix"}:
        message = "the card says sizes and intersection counts per layer; it holds two Jaccard matrices of layer 4"
        yield note("card-metrics", file, "/metrics", message)


def _attributes(contents: Contents) -> Iterator[Finding]:
    checkers = [m for m in contents.masks.values() if "consistency_threshold" in m.attributes]
    if checkers:
        message = (
            "the card says consistency_thresh, n_layers and n_pairs, and groups as in object files; "
            f"in {len(checkers)} checker file(s) there are only this and epsilon, and one group, token_checker_masks"
        )
        yield note("card-checker-layout", checkers[0].config.file, "/metadata@consistency_threshold", message)


def _settings(contents: Contents) -> Iterator[Finding]:
    checker: MaskFile | None = contents.masks.get("token_checker_masks")
    if checker is not None and checker.setting not in (None, _CARD_TOKEN_CHECKER_SETTING):
        message = f"the card says {_CARD_TOKEN_CHECKER_SETTING} for epsilon and consistency; found {checker.setting}"
        yield note("card-token-checker-setting", checker.config.file, "/metadata", message)
    universal = contents.masks.get("universal_106x50")
    if universal is not None:
        message = f"not in the card's list of files; its epsilon and consistency are {universal.setting}"
        yield note("card-universal-106x50", universal.config.file, "/metadata", message)
