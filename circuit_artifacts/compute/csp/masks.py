"""Stage 13: which dimensions form the circuit of a pair, and of a concept (csp_atlas spec 5).

Arrays are over (group, layer, dimension), where a group is a pair of concepts or a checker concept. The width of the
last axis is the model's, whatever it is. Activations have no unit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from circuit_artifacts.errors import SchemaError, UnknownNameError
from circuit_artifacts.schemas.csp_vocabulary import concept_key, split_concept

__all__ = [
    "METRICS_LAYER",
    "MaskArray",
    "Rule",
    "binarize",
    "binarize_grid",
    "jaccard_matrices",
    "pairwise_jaccard",
    "require_masks",
    "universals",
]

MaskArray = npt.NDArray[np.bool_]
Rule = Literal["mean", "per_prompt"]
_Comparison = Literal["greater", "greater_equal"]

METRICS_LAYER = 4
"""The layer of the Jaccard matrices that mask files hold (csp_atlas spec 1.4)."""

# A block's quotients are compared while they are still in the processor's cache.
_BLOCK_ELEMENTS = 2**17


def require_masks(name: str, masks: npt.NDArray[Any], axes: str, names: Sequence[str] | None = None) -> None:
    """Check that an array is a stack of masks.

    Args:
        name: what to call the array in the error.
        masks: the array.
        axes: the expected axes, for example ``"concept, layer, dimension"``.
        names: if given, one name per index of the first axis.

    Raises:
        SchemaError: wrong dtype or number of axes, or names that do not match in number.
    """
    problem = "this is not a stack of masks"
    if masks.dtype != np.bool_ or masks.ndim != len(axes.split(",")):
        raise SchemaError(problem, where=name, found=f"{masks.dtype} {masks.shape}", expected=f"bool ({axes})")
    if names is not None and len(names) != len(masks):
        problem = "every mask of the first axis needs one name"
        raise SchemaError(problem, where=name, found=f"{len(names)} names", expected=f"{len(masks)}")


def binarize(
    activation_sum: npt.NDArray[np.float32],
    firing_count: npt.NDArray[np.int32],
    n_prompts: npt.NDArray[np.int64],
    *,
    epsilon: float | Sequence[float],
    consistency: float | Sequence[float],
    rule: Rule = "mean",
    exceedance_count: npt.NDArray[np.int32] | None = None,
) -> MaskArray:
    """Masks of all groups at one setting or at a grid of settings.

    ``rule="mean"`` is what made the published files (csp_atlas spec 5.1): a dimension is kept if
    ``activation_sum / n_prompts > epsilon`` and ``firing_count / n_prompts >= consistency``, in float32.
    ``rule="per_prompt"`` is the rule in the published prose: the fraction of prompts whose |activation| exceeds epsilon
    is at least the consistency. A group without prompts has empty masks.

    Args:
        activation_sum: float32 (G, L, W), sum over prompts of |activation|.
        firing_count: int32 (G, L, W), number of prompts with |activation| > 0.
        n_prompts: int64 (G,), number of prompts of each group.
        epsilon: threshold or thresholds on |activation|, exclusive.
        consistency: fraction or fractions of prompts, inclusive.
        rule: which of the two rules.
        exceedance_count: integers (G, L, W), or (n_epsilon, G, L, W) for several thresholds: number of prompts with
            |activation| > epsilon. Only ``rule="per_prompt"`` reads it.

    Returns:
        bool (G, L, W), or (n_epsilon, n_consistency, G, L, W) if either setting is a sequence.

    Raises:
        SchemaError: shapes disagree, or the counts that the rule needs are missing.
        UnknownNameError: no such rule.
    """
    grid = binarize_grid(
        activation_sum,
        firing_count,
        n_prompts,
        epsilon=epsilon,
        consistency=consistency,
        rule=rule,
        exceedance_count=exceedance_count,
    )
    if not isinstance(epsilon, Sequence) and not isinstance(consistency, Sequence):
        return next(grid)[2]
    settings = (len(_levels(epsilon)), len(_levels(consistency)))
    masks = np.empty((math.prod(settings), *activation_sum.shape), dtype=np.bool_)
    for index, (_, _, setting_masks) in enumerate(grid):
        masks[index] = setting_masks
    return masks.reshape(*settings, *activation_sum.shape)


def binarize_grid(
    activation_sum: npt.NDArray[np.float32],
    firing_count: npt.NDArray[np.int32],
    n_prompts: npt.NDArray[np.int64],
    *,
    epsilon: float | Sequence[float],
    consistency: float | Sequence[float],
    rule: Rule = "mean",
    exceedance_count: npt.NDArray[np.int32] | None = None,
) -> Iterator[tuple[float, float, MaskArray]]:
    """Masks of one setting after the other, so that they need not be in memory together.

    Arguments and errors are those of `binarize`; errors are raised by the call, before the first setting.

    Returns:
        An iterator of epsilon, consistency and masks bool (G, L, W); the consistency changes fastest.
    """
    epsilons, consistencies = _levels(epsilon), _levels(consistency)
    _require_statistics(activation_sum, firing_count, n_prompts)
    if rule not in get_args(Rule):
        problem = "there is no such rule"
        raise UnknownNameError(problem, where="rule", found=repr(rule), expected=" or ".join(get_args(Rule)))
    if rule == "mean":
        return _mean_rule(activation_sum, firing_count, n_prompts, epsilons, consistencies)
    if exceedance_count is None:
        problem = "the per-prompt rule needs the number of prompts that exceed each epsilon"
        remedy = "Regenerate the activations (stage 12) with exceedance counts at these epsilons, or use the mean rule"
        raise SchemaError(problem, where="exceedance_count", found="nothing", remedy=remedy)
    exceedance = exceedance_count if isinstance(epsilon, Sequence) else exceedance_count[None]
    if exceedance.shape != (expected := (len(epsilons), *firing_count.shape)):
        problem = "the exceedance counts do not match the epsilons and the groups"
        raise SchemaError(problem, where="exceedance_count", found=exceedance.shape, expected=expected)
    return _per_prompt_rule(exceedance, n_prompts, epsilons, consistencies)


def _levels(value: float | Sequence[float]) -> tuple[float, ...]:
    return tuple(float(level) for level in value) if isinstance(value, Sequence) else (float(value),)


def _require_statistics(
    activation_sum: npt.NDArray[Any], firing_count: npt.NDArray[Any], n_prompts: npt.NDArray[Any]
) -> None:
    problem = "the statistics of the groups do not match"
    if activation_sum.ndim != 3 or firing_count.shape != activation_sum.shape:
        found = f"sums {activation_sum.shape}, counts {firing_count.shape}"
        raise SchemaError(problem, where="activation_sum", found=found, expected="(group, layer, dimension) for both")
    if n_prompts.shape != activation_sum.shape[:1]:
        raise SchemaError(problem, where="n_prompts", found=n_prompts.shape, expected=activation_sum.shape[:1])


def _mean_rule(
    activation_sum: npt.NDArray[np.float32],
    firing_count: npt.NDArray[np.int32],
    n_prompts: npt.NDArray[np.int64],
    epsilons: Sequence[float],
    consistencies: Sequence[float],
) -> Iterator[tuple[float, float, MaskArray]]:
    frequent = _compare_ratio(firing_count, n_prompts, "greater_equal", consistencies)
    for epsilon in epsilons:
        (strong,) = _compare_ratio(activation_sum, n_prompts, "greater", (epsilon,))
        for consistency, frequent_enough in zip(consistencies, frequent, strict=True):
            yield epsilon, consistency, strong & frequent_enough


def _per_prompt_rule(
    exceedance_count: npt.NDArray[np.int32],
    n_prompts: npt.NDArray[np.int64],
    epsilons: Sequence[float],
    consistencies: Sequence[float],
) -> Iterator[tuple[float, float, MaskArray]]:
    for epsilon, counts in zip(epsilons, exceedance_count, strict=True):
        masks = _compare_ratio(counts, n_prompts, "greater_equal", consistencies)
        for consistency, setting_masks in zip(consistencies, masks, strict=True):
            yield epsilon, consistency, setting_masks


def _compare_ratio(
    numerator: npt.NDArray[Any], n_prompts: npt.NDArray[np.int64], comparison: _Comparison, thresholds: Sequence[float]
) -> MaskArray:
    """Compare ``numerator / n_prompts`` with each threshold, in float32: bool (threshold, G, L, W)."""
    compare = {"greater": np.greater, "greater_equal": np.greater_equal}[comparison]
    # Any quotient by nan is nan, and no comparison with nan holds: groups without prompts get empty masks.
    divisor = np.where(n_prompts > 0, n_prompts, np.nan).astype(np.float32)[:, None, None]
    result = np.empty((len(thresholds), *numerator.shape), dtype=np.bool_)
    step = max(1, _BLOCK_ELEMENTS // max(1, math.prod(numerator.shape[1:])))
    for start in range(0, len(numerator), step):
        block = slice(start, start + step)
        ratio = np.divide(numerator[block], divisor[block], dtype=np.float32, casting="same_kind")
        for index, threshold in enumerate(thresholds):
            compare(ratio, np.float32(threshold), out=result[index, block])
    return result


def universals(pair_masks: MaskArray, pairs: Sequence[tuple[str, str]]) -> tuple[list[str], MaskArray]:
    """Circuits of the concepts: what all pairs of a concept share (csp_atlas spec 5.2, 5.3).

    Pairs that do not exist are ignored, and the sentinel ``_isolated_`` is a builtin like any other. A concept with one
    pair has the mask of that pair.

    Args:
        pair_masks: bool (P, L, W).
        pairs: the P (AST node, builtin) pairs, in the order of the masks.

    Returns:
        The C concept keys, AST nodes before builtins and each in ASCII order, and their masks, bool (C, L, W).

    Raises:
        SchemaError: not a stack of masks, or not one pair per mask.
    """
    require_masks("pair_masks", pair_masks, "pair, layer, dimension", [str(pair) for pair in pairs])
    concepts: list[str] = []
    width = pair_masks.shape[-1]
    packed = np.packbits(pair_masks, axis=-1)  # the conjunction then handles eight dimensions per byte
    intersections = [packed[:0]]
    if pairs:
        for kind, members in zip(("ast", "builtin"), np.asarray(pairs).T, strict=True):
            names, group = np.unique(members, return_inverse=True)
            order = np.argsort(group, kind="stable")
            starts = np.searchsorted(group[order], np.arange(len(names)))
            intersections.append(np.bitwise_and.reduceat(packed[order], starts, axis=0))
            concepts += [concept_key(kind, str(name)) for name in names]
    masks = np.unpackbits(np.concatenate(intersections), axis=-1, count=width).view(np.bool_)
    return concepts, masks


def pairwise_jaccard(
    masks: MaskArray, *, dtype: type[np.float32 | np.float64] = np.float64
) -> npt.NDArray[np.floating[Any]]:
    """Jaccard index ``|A and B| / |A or B|`` of all pairs of masks; two empty masks have 0 (csp_atlas spec 1.4, 1.9).

    Args:
        masks: bool (..., N, W); leading axes, such as layers, are kept apart.
        dtype: of the result. The float32 result is the float64 one, rounded.

    Returns:
        Array (..., N, N) with a diagonal of 1, or 0 where the mask is empty.
    """
    # float32 counts exactly up to 2**24 and has the faster matrix product.
    numbers: npt.NDArray[Any] = masks.astype(np.float32 if masks.shape[-1] < 2**24 else np.float64)
    intersection = (numbers @ numbers.swapaxes(-1, -2)).astype(dtype, copy=False)
    size = np.diagonal(intersection, axis1=-2, axis2=-1)
    union = size[..., :, None] + size[..., None, :] - intersection
    jaccard: npt.NDArray[np.floating[Any]] = np.divide(
        intersection, union, out=np.zeros_like(intersection), where=union > 0
    )
    return jaccard


def jaccard_matrices(
    concepts: Sequence[str], masks: MaskArray, *, layer: int = METRICS_LAYER
) -> dict[str, npt.NDArray[np.float64]]:
    """The ``/metrics`` group of a mask file (csp_atlas spec 1.4).

    Args:
        concepts: the C concept keys; rows and columns follow their order within each kind.
        masks: universal masks, bool (C, L, W).
        layer: index of the layer. If the masks do not reach it, the matrices are zeros.

    Returns:
        ``jaccard_ast_matrix`` and ``jaccard_builtin_matrix``, float64 and square.

    Raises:
        SchemaError: not a stack of masks with one concept key each.
    """
    require_masks("masks", masks, "concept, layer, dimension", concepts)
    kinds = np.array([split_concept(concept)[0] for concept in concepts], dtype=np.str_)
    matrices = {}
    for kind in ("ast", "builtin"):
        rows = masks[kinds == kind]
        present = layer < masks.shape[1]
        matrix = pairwise_jaccard(rows[:, layer]) if present else np.zeros((len(rows), len(rows)))
        matrices[f"jaccard_{kind}_matrix"] = matrix.astype(np.float64, copy=False)
    return matrices
