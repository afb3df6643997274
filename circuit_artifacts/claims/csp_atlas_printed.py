"""CSP-Atlas: numbers that notebooks printed of an earlier mask file, and printed numbers held against each other.

``universal_106x50.h5`` was last seen at epsilon 0.001 and consistency 0.8, probably by another rule than the released
masks (csp_atlas spec 1.7): its numbers are measured on that file only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from circuit_artifacts.claims.arithmetic import arithmetic, result
from circuit_artifacts.claims.csp_atlas_circuits import read_masks
from circuit_artifacts.claims.data import Data
from circuit_artifacts.claims.model import Check, Claim, Interval, Outcome, no_data_if
from circuit_artifacts.compute.csp.layout import read_setting
from circuit_artifacts.compute.csp.masks import METRICS_LAYER, jaccard_matrices
from circuit_artifacts.formats.reader import Shape
from circuit_artifacts.schemas.csp_vocabulary import attempted_pairs, concept_key, split_pair

__all__ = ["ARITHMETIC", "NOTEBOOK"]

_FILE, _SETTING = "universal_106x50", (0.001, 0.8)
_3A = "output of notebook 3A"
_Floats = npt.NDArray[np.float64]


# Of the earlier file


def _require_setting(data: Data, configs: Sequence[str]) -> None:
    no_data_if(Shape.of(data.path(configs[0]), data.mirror).n_layers <= METRICS_LAYER, "there is no layer 4")
    found = read_setting(data.path(configs[0]))
    no_data_if(
        not np.allclose(found, _SETTING),
        f"the file is of epsilon {found[0]:g}, consistency {found[1]:g}, not {_SETTING[0]} and 0.8",
    )


def _jaccard(kind: str, statistic: Callable[[_Floats], float]) -> Check:
    def check(data: Data, configs: Sequence[str]) -> Outcome:
        _require_setting(data, configs)
        masks, concepts = read_masks(data, configs[0])
        matrix = jaccard_matrices(concepts, masks)[f"jaccard_{kind}_matrix"]
        no_data_if(len(matrix) < 2, f"fewer than two concepts are of the kind {kind}")
        value = float(statistic(matrix[np.triu_indices(len(matrix), k=1)]))
        return Outcome(f"{value:.6g} for {len(matrix)} concepts", value)

    return check


def _entanglement(statistic: Callable[[_Floats], float]) -> Check:
    """The share of a pair's mask that is in neither of its concepts' masks (csp_atlas spec 7.4)."""

    def check(data: Data, configs: Sequence[str]) -> Outcome:
        _require_setting(data, configs)
        masks, concepts = read_masks(data, configs[0])
        pair_masks, keys = read_masks(data, configs[0], "pair_masks")
        rows = {concept: row for row, concept in enumerate(concepts)}
        pairs = [split_pair(key) for key in keys]
        named = {concept_key(*of) for pair in pairs for of in zip(("ast", "builtin"), pair, strict=True)}
        no_data_if(not named <= rows.keys(), "a concept of the pairs has no universal mask")
        ast, builtin = (
            masks[[rows[concept_key(kind, pair[side])] for pair in pairs], METRICS_LAYER]
            for side, kind in enumerate(("ast", "builtin"))
        )
        pair = pair_masks[:, METRICS_LAYER]
        size = pair.sum(axis=-1)
        index = np.divide((pair & ~(ast | builtin)).sum(axis=-1), size, out=np.zeros(len(size)), where=size > 0)
        value = float(statistic(index))
        return Outcome(f"{value:.6g} for {len(index):,} pairs", value)

    return check


def _mean_size(group: str, kind: str = "") -> Check:
    def check(data: Data, configs: Sequence[str]) -> Outcome:
        _require_setting(data, configs)
        masks, keys = read_masks(data, configs[0], group)
        chosen = masks[[key.startswith(kind) for key in keys], METRICS_LAYER]
        value = float(chosen.sum(axis=-1).mean())
        return Outcome(f"{value:.6g} for {len(chosen):,} masks", value)

    return check


def _of_notebook(name: str, statement: str, printed: str, check: Check) -> Claim:
    return Claim(
        name=f"notebook_{name}",
        statement=f"{statement}, at layer 4 of universal_106x50.h5",
        source=_3A,
        published=Interval.printed(printed),
        needs=(_FILE,),
        check=check,
    )


def _above_half(values: _Floats) -> float:
    return float((values > 0.5).sum())


NOTEBOOK = (
    _of_notebook("ast_jaccard", "the mean Jaccard index of AST concepts", "0.5091", _jaccard("ast", np.mean)),
    _of_notebook("ast_jaccard_max", "the largest Jaccard index of AST concepts", "0.7861", _jaccard("ast", np.max)),
    _of_notebook("ast_jaccard_above_half", "pairs of AST concepts above 0.5", "585", _jaccard("ast", _above_half)),
    _of_notebook("builtin_jaccard", "the mean Jaccard index of builtins", "0.6440", _jaccard("builtin", np.mean)),
    _of_notebook("builtin_jaccard_max", "the largest of builtins", "0.8523", _jaccard("builtin", np.max)),
    _of_notebook(
        "builtin_jaccard_above_half", "pairs of builtins above 0.5", "1,794", _jaccard("builtin", _above_half)
    ),
    _of_notebook("entanglement", "the mean entanglement of pairs", "0.5682559", _entanglement(np.mean)),
    _of_notebook("entanglement_median", "its median", "0.5909091", _entanglement(np.median)),
    _of_notebook("entanglement_max", "its maximum", "0.718663", _entanglement(np.max)),
    _of_notebook("pair_size", "the mean size of pair masks", "247.7837", _mean_size("pair_masks")),
    _of_notebook(
        "ast_size", "the mean size of masks of AST concepts", "131.7209", _mean_size("universal_masks", "ast__")
    ),
)


# Among printed numbers

_CARD, _REPORT = "dataset card", "findings in the project report"
_N_ATTEMPTED = len(attempted_pairs())
_MEAN_OCKHAM, _N_PAIRS = 0.4908558, 1_276

ARITHMETIC = (
    arithmetic("sum_of_kinds", "106 concepts are 43 and 63", _CARD, result(43 + 63, "43 + 63"), "106"),
    arithmetic("sum_of_keywords", "58 concepts with and 48 without make 106", _CARD, result(58 + 48, "58 + 48"), "106"),
    arithmetic("sum_of_testable", "58 testable concepts are 24 and 34", _CARD, result(24 + 34, "24 + 34"), "58"),
    arithmetic("sum_of_tokenless", "48 tokenless concepts are 19 and 29", _CARD, result(19 + 29, "19 + 29"), "48"),
    arithmetic("sum_of_nodes", "43 AST nodes are 24 and 19", _CARD, result(24 + 19, "24 + 19"), "43"),
    arithmetic("settings_of_grid", "three epsilons and three consistencies make 9", _CARD, result(3 * 3, "3 x 3"), "9"),
    arithmetic(
        "prompts_of_pairs",
        "63,800 prompts are 50 of each of 1,276 pairs",
        _CARD,
        result(_N_PAIRS * 50, "1,276 x 50"),
        "63,800",
    ),
    arithmetic(
        "pairs_of_grid",
        "1,276 pairs are the grid of 43 AST nodes with 63 builtins",
        f"{_CARD}, layout",
        result(43 * 63, "43 x 63"),
        "1,276",
    ),
    arithmetic(
        "dropped_pairs",
        "21 pairs were dropped for their loss",
        "notes on module 2 in the paper's code",
        result(_N_ATTEMPTED - _N_PAIRS, f"{_N_ATTEMPTED:,} attempted pairs less 1,276"),
        "21",
    ),
    arithmetic(
        "checkers_of_objects",
        "2,848 and 2,861 checker prompts are up to 50 of each of 58 objects",
        _CARD,
        Outcome("58 x 50 = 2,900, of which 52 and 39 are missing", holds=max(2_848, 2_861) <= 58 * 50),
    ),
    arithmetic(
        "modularity_reproduced",
        "the relaxed analysis at p = 0 gives the scores of notebook 4, in which Import leads with 7 layers",
        "notebook 4B; the paper's test suite",
        Outcome(
            "by the test suite Break leads with 3: the notebook takes other dimensions and another null distribution",
            holds=False,
        ),
    ),
    arithmetic(
        "modularity_scorers",
        "12 concepts have a modular layer, two of them builtins with one, and 31 of 43 AST nodes have none",
        f"{_REPORT} and their first draft",
        result(43 - 31 + 2, "43 - 31 + 2"),
        "12",
    ),
    arithmetic("notebook_ast_pairs", "43 concepts form 903 pairs", _3A, result(43 * 42 // 2, "43 x 42 / 2"), "903"),
    arithmetic(
        "notebook_builtin_pairs", "63 builtins form 1,953 pairs", _3A, result(63 * 62 // 2, "63 x 62 / 2"), "1,953"
    ),
    arithmetic(
        "notebook_ockham",
        "a mean Ockham index of 0.4908558 goes with the mean Jaccard index of 0.5091",
        _3A,
        result(1 - _MEAN_OCKHAM, "1 - 0.4908558"),
        "0.5091",
    ),
    arithmetic(
        "notebook_sentinel_pairs",
        "a share of 0.0047022 of the pairs has an entanglement below 0.2: the six with the sentinel",
        _3A,
        result(6 / _N_PAIRS, "6 / 1,276"),
        "0.0047022",
    ),
    arithmetic(
        "model_heads",
        "128 heads of width 16 make the model's width of 2,048",
        "documentation of the paper's code",
        result(128 * 16, "128 x 16"),
        "2,048",
    ),
)
