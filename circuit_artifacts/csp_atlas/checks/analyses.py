"""Stage 14, modularity and token independence, recomputed from the masks and from each other (csp_atlas spec 6, 7)."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd

from circuit_artifacts.compute.csp.decomposition import (
    compare_concepts,
    summary_table,
    target_checker_table,
)
from circuit_artifacts.compute.csp.modularity import detail_table, relaxed_modularity, scores_table
from circuit_artifacts.compute.csp.tokens import token_independence
from circuit_artifacts.csp_atlas.checks.comparison import compare_tables
from circuit_artifacts.csp_atlas.checks.contents import Contents, MaskFile, error, guarded, limited, note
from circuit_artifacts.schemas.csp_vocabulary import KEYWORDS
from circuit_artifacts.schemas.declaration import Config
from circuit_artifacts.validation import Finding

__all__ = ["check_analyses"]

_REFERENCE = "masks_eps0.5_cons0.8"
_SIGNIFICANCE = 0.05
_Labelled = tuple[list[str], npt.NDArray[np.bool_]]
_Candidate = tuple[MaskFile, _Labelled]

_CARD_SETTINGS = ((0.5, 0.8), (0.001, 0.8))


def check_analyses(contents: Contents) -> Iterator[Finding]:
    """Check the CSV files against the masks and each other, as far as these are here."""
    for config in contents.configs_of("target_checker"):
        if config.name in contents.decompositions:
            yield from guarded("target-checker", config.file, _check_cells(contents, config))
    for family, check in (
        ("summary", _check_summary),
        ("modularity_detail", _check_modularity_detail),
        ("modularity_scores", _check_modularity_scores),
        ("token_independence_summary", _check_independence_means),
    ):
        for config in contents.configs_of(family):
            if config.name in contents.tables:
                yield from guarded(family.replace("_", "-"), config.file, check(contents, config))
    yield from _check_token_independence(contents)


def _check_cells(contents: Contents, config: Config) -> Iterator[Finding]:
    """Each cell is |A without B| / |A and B| / |B without A| of the masks of the same setting."""
    suffix = config.name.removeprefix("target_checker")
    universal = _group(contents.masks.get(f"masks{suffix}"), "universal_masks")
    checker = _group(contents.masks.get(f"checker_masks{suffix}"), "token_checker_masks")
    if universal is None or checker is None:
        return
    expected = target_checker_table(*compare_concepts(*universal, *checker))
    targets, counts = contents.decompositions[config.name]
    found = target_checker_table(targets, counts)
    differing = sorted(set(found.index) ^ set(expected.index))
    if differing:
        message = f"targets are missing or have no masks: {differing[:5]}"
        yield error("target-checker", config.file, "target", message)
    elif list(found.index) != list(expected.index):
        yield error("target-checker", config.file, "target", "the targets are not in ASCII order")
    common = [target for target in expected.index if target in set(targets)]
    found, expected = found.loc[common], expected.loc[common]
    wrong = np.argwhere(found.to_numpy() != expected.to_numpy()).tolist()
    yield from limited(
        [
            error(
                "target-checker",
                config.file,
                f"{common[row]}, L{layer}",
                f"found {found.iat[row, layer]!r}, expected {expected.iat[row, layer]!r} from the masks",
            )
            for row, layer in wrong
        ]
    )


def _check_summary(contents: Contents, config: Config) -> Iterator[Finding]:
    """Each row is the mean over the cells of its setting; settings whose table is not here are left out."""
    tables = {
        (c.setting["eps"], c.setting["cons"]): contents.tables[c.name]
        for c in contents.configs_of("target_checker")
        if c.name in contents.decompositions
    }
    found = contents.tables[config.name]
    here = pd.Series(
        list(zip(found["epsilon"].tolist(), found["consistency"].tolist(), strict=True)), index=found.index
    )
    yield from compare_tables(
        config.file, "summary", found[here.isin(list(tables))], summary_table(tables), ["epsilon", "consistency"]
    )


def _check_modularity_detail(contents: Contents, config: Config) -> Iterator[Finding]:
    """The rank test of each layer and trim; by rank, only few concepts can be significant."""
    detail = contents.tables[config.name]
    cap = math.ceil(_SIGNIFICANCE * detail["object"].nunique()) - 1
    significant = detail[detail["significant"]]
    counts = significant.groupby(["layer", "p_trim"], as_index=False).agg(n_significant=("object", "size"))
    for row in counts[counts["n_significant"] > cap].itertuples():
        message = f"{row.n_significant} concepts are significant, at most {cap} can be"
        yield error("modularity-cap", config.file, f"layer {row.layer}, p_trim {row.p_trim}", message)
    masks = _group(contents.masks.get(_REFERENCE), "universal_masks")
    if masks is not None:
        expected = detail_table(masks[0], relaxed_modularity(masks[1]))
        yield from compare_tables(config.file, "modularity-detail", detail, expected, ["object", "layer", "p_trim"])


def _check_modularity_scores(contents: Contents, config: Config) -> Iterator[Finding]:
    """Each score is the number of significant layers, by the detail table and by the masks."""
    scores = contents.tables[config.name]
    detail = contents.tables.get("modularity_detail")
    if detail is not None:
        sums = detail.pivot_table(index=["object", "type"], columns="p_trim", values="significant", aggfunc="sum")
        sums = sums.astype("int64").rename(columns=lambda trim: f"p={trim}").reset_index()
        expected = sums.rename(columns={"object": "concept"}).rename_axis(columns=None)
        yield from compare_tables(config.file, "scores-from-detail", scores, expected, ["concept"])
    masks = _group(contents.masks.get(_REFERENCE), "universal_masks")
    if masks is not None:
        expected = scores_table(masks[0], relaxed_modularity(masks[1])).rename_axis("concept").reset_index()
        yield from compare_tables(config.file, "modularity-scores", scores, expected, ["concept"])


def _check_independence_means(contents: Contents, config: Config) -> Iterator[Finding]:
    """The summary holds the means over layers of the detail table, in descending order."""
    summary = contents.tables[config.name]
    fractions = summary["concept_fraction"].to_numpy()
    for row in np.flatnonzero(np.diff(fractions) > 0)[:1].tolist():
        message = f"{fractions[row + 1]} after {fractions[row]}; rows are in descending order of it"
        yield error("token-independence-order", config.file, f"concept_fraction, row {row + 1}", message)
    detail = contents.tables.get("token_independence_detail")
    if detail is not None:
        keys = ["object", "type", "keyword"]
        values = [name for name in summary.columns if name not in keys]
        expected = detail.groupby(keys, as_index=False)[values].mean().round(4)
        yield from compare_tables(config.file, "token-independence-summary", summary, expected, ["object"])


def _check_token_independence(contents: Contents) -> Iterator[Finding]:
    """Find the two mask files that the tables were made from: their settings are not stated (csp_atlas spec 7.2)."""
    detail = contents.tables.get("token_independence_detail")
    unnamed = contents.tables.get("token_independence_no_keyword")
    candidates = list(_candidates(contents))
    if not candidates:
        return
    if detail is not None:
        config = contents.configs_of("token_independence_detail")[0]
        results: list[tuple[str, list[Finding]]] = []
        for (universal, universal_masks), (checker, checker_masks) in candidates:
            pair = f"A from {universal.config.file} {universal.setting}, B from {checker.config.file} {checker.setting}"
            expected = token_independence(*universal_masks, *checker_masks)
            faults = list(
                compare_tables(config.file, "token-independence-detail", detail, expected.detail, ["object", "layer"])
            )
            if not any(fault.level == "error" for fault in faults):
                yield note("token-independence-source", config.file, "", f"reproduced with {pair}")
                break
            results.append((pair, faults))
        else:
            tried = "; ".join(pair for pair, _ in results)
            message = f"no two mask files that are here reproduce the table. Tried: {tried}"
            yield error("token-independence-detail", config.file, "", message)
            yield from min((faults for _, faults in results), key=len)
    if unnamed is not None:
        (universal, (concepts, _)), _ = candidates[0]
        config = contents.configs_of("token_independence_no_keyword")[0]
        expected_names = sorted(set(concepts) - KEYWORDS.keys())
        differing = sorted(set(unnamed["object"]) ^ set(expected_names))
        if differing or unnamed["object"].tolist() != expected_names:
            what = f"missing or too many: {differing[:5]}" if differing else "not in ASCII order"
            message = f"not the concepts of {universal.config.file} without a keyword; {what}"
            yield error("token-independence-no-keyword", config.file, "object", message)
        for row in np.flatnonzero(unnamed["status"] != "no_keyword").tolist():
            message = f"found {unnamed['status'].iloc[row]!r}, expected 'no_keyword'"
            yield error("token-independence-no-keyword", config.file, f"status, row {row}", message)


def _candidates(contents: Contents) -> Iterator[tuple[_Candidate, _Candidate]]:
    """Mask files that token independence may come from, the most likely first: of one setting, and the files of 5B."""
    settings = [*_CARD_SETTINGS]
    files = contents.masks.values()
    dedicated = [m for m in files if m.config.family.name in ("token_checker_masks", "universal_106x50")]
    settings += [m.setting for m in dedicated if m.setting is not None and m.setting not in settings]
    wanted = [*dedicated, *(m for m in files if m not in dedicated and m.setting in settings)]
    universals = [(m, labelled) for m in wanted if (labelled := _group(m, "universal_masks"))]
    checkers = [(m, labelled) for m in wanted if (labelled := _group(m, "token_checker_masks"))]
    pairs = [(a, b) for a in universals for b in checkers]
    yield from sorted(pairs, key=lambda pair: pair[0][0].setting != pair[1][0].setting)


def _group(mask_file: MaskFile | None, name: str) -> _Labelled | None:
    if mask_file is None or name not in mask_file.groups:
        return None
    packed = mask_file.groups[name]
    return packed.keys, packed.masks
