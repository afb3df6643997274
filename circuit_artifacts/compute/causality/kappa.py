"""Causal dimensionality: the effective rank of a site's expected Jacobian outer product.

It is measured as it is defined (causal-dimensionality spec 2.1), not read off a curve of feature counts: `curves` does
that, and what it finds may exceed the width.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
from torch import Tensor, nn

from circuit_artifacts.compute.causality.jacobians import exact_outer_product
from circuit_artifacts.compute.causality.kappa_results import (
    CONVERGED,
    ENOUGH_SAMPLES,
    REFUSED_SAMPLES,
    Doubling,
    Kappa,
    doubling,
    has_settled,
    summary,
)
from circuit_artifacts.compute.causality.outer_products import (
    Estimator,
    OuterProductSums,
    added,
    pass_size,
    require_usable,
)
from circuit_artifacts.compute.causality.output_pullbacks import Output
from circuit_artifacts.compute.causality.sketches import sketched_outer_product
from circuit_artifacts.compute.causality.spectrum import Spectrum, require_spectrum
from circuit_artifacts.compute.locality.checkpoint import load_arrays, save_arrays, work_digest
from circuit_artifacts.errors import ModelError
from circuit_artifacts.progress import track

__all__ = [
    "CONVERGED",
    "ENOUGH_SAMPLES",
    "N_BOOT",
    "N_GROUPS",
    "REFUSED_SAMPLES",
    "Doubling",
    "Kappa",
    "exact_outer_product",
    "measure_kappa",
    "sketched_outer_product",
]

N_GROUPS: Final = 64
N_BOOT: Final = 200
_FEWEST_GROUPS: Final = 8  # that a bootstrap makes sense of


def measure_kappa(
    model: nn.Module,
    sequences: Sequence[Tensor] | Tensor,
    *,
    site: str,
    layer: int,
    output: Output = "centred_logits",
    estimator: Estimator = "vjp_sketch",
    n_probes: int = 1,
    spectrum: Spectrum = "eig",
    special_ids: Collection[int] = (),
    seed: int = 0,
    n_groups: int = N_GROUPS,
    n_boot: int = N_BOOT,
    stop_change: float | None = None,
    pass_tokens: int | None = None,
    checkpoint: Path | None = None,
    identity: str = "",
) -> Kappa:
    """Measure the causal dimensionality of a site on a task's texts.

    Sequences are summed in groups that follow each other. Groups are the unit of the doubling table, of resuming and
    of the bootstrap, so that memory is bounded: one matrix (d, d) in float64 per group, 2.7 GB for 64 groups at d 2304.
    With more sequences than groups the bootstrap thus resamples blocks of sequences.

    Args:
        model: a `CircuitTransformer`, or a `transformers` causal language model; left as it was found. In float32, if
            it fits: the tail of the spectrum matters.
        sequences: token ids (T,), int64, each, without padding; a tensor (S, T) serves. In an order in which a part
            stands for the whole: shuffle texts that are sorted.
        site: one of ``hooks.SITES``.
        layer: block number; 0 for ``embed``.
        output: see `output_pullbacks`.
        estimator: "exact_jacobian" (`exact_outer_product`), or one of those of `sketched_outer_product`.
        n_probes: probes per sequence; 1 for "exact_jacobian", which has none.
        spectrum: "eig" takes the eigenvalues of A, "sv" their square roots, which gives larger values.
        special_ids: tokens such as BOS and EOS, at whose positions nothing is measured.
        seed: of probes and bootstrap.
        n_groups: at most so many groups.
        n_boot: resamples of groups for the confidence intervals; 0 for none.
        stop_change: stop after 8, 16, 32 ... groups when there are enough samples (``ENOUGH_SAMPLES``) and the
            effective rank changed by less than this share per doubling; ``CONVERGED`` is usual. None measures all.
        pass_tokens: tokens in one pass; memory grows with it. None chooses by device.
        checkpoint: folder for finished groups, which a later call with equal arguments takes up; the caller removes it.
        identity: of the model, for the checkpoint.

    Raises:
        UnknownNameError: no such site, layer, output, estimator or spectrum.
        ModelError: there is no sequence, or one is longer than the model takes; the estimator has no such output; more
            probes than make sense; a checkpoint without an identity.
        SchemaError: gradients are not finite.
    """
    require_usable(model, sequences, output, estimator, n_probes)
    require_spectrum(spectrum)
    if checkpoint is not None and not identity:
        problem = "a checkpoint would be taken up with another model"
        raise ModelError(problem, where="identity", expected="the model's identity, where there is a checkpoint")
    groups = np.array_split(np.arange(len(sequences)), min(max(1, n_groups), len(sequences)))
    options: dict[str, Any] = {"site": site, "layer": layer, "output": output, "special_ids": sorted(special_ids)}
    options["pass_tokens"] = pass_tokens or pass_size(model)
    if estimator == "exact_jacobian":
        options["spectrum"] = spectrum
    else:
        options |= {"estimator": estimator, "n_probes": n_probes, "seed": seed}
    parts: list[OuterProductSums] = []
    rows: list[Doubling] = []
    for numbers in track(groups, f"{site} {layer}, {output}", total=len(sequences), step=len):
        group = [sequences[number] for number in numbers]
        first = {} if estimator == "exact_jacobian" else {"first": int(numbers[0])}
        parts.append(_group_sums(model, group, options | first, checkpoint, identity))
        if len(parts) == len(groups) or len(parts).bit_count() == 1:
            rows.append(doubling(added(parts), spectrum, rows[-1] if rows else None))
            may_stop = len(parts) >= _FEWEST_GROUPS
            if may_stop and stop_change is not None and has_settled(rows[-1], len(parts[0].total), stop_change):
                break
    facts = {"site": site, "layer": layer, "output": output, "estimator": estimator, "spectrum": spectrum}
    flags = ("stopped_early",) if len(parts) < len(groups) else ()
    return summary(parts, rows, flags, n_boot, **facts, n_probes=n_probes, seed=seed)


def _group_sums(
    model: nn.Module, group: list[Tensor], options: dict[str, Any], checkpoint: Path | None, identity: str
) -> OuterProductSums:
    """Measured now, or by an earlier call."""
    function = sketched_outer_product if "estimator" in options else exact_outer_product
    if checkpoint is None:
        return function(model, group, **options)
    ids = {str(number): ids.cpu().numpy() for number, ids in enumerate(group)}
    path = checkpoint / f"{work_digest(ids, identity, sorted(options.items()))}.npz"
    arrays = load_arrays(path)
    if arrays is not None:
        stored: dict[str, Any] = {name: array if array.ndim else array.item() for name, array in arrays.items()}
        return OuterProductSums(**stored)
    sums = function(model, group, **options)
    save_arrays(path, {name: np.asarray(value) for name, value in asdict(sums).items()})
    return sums
