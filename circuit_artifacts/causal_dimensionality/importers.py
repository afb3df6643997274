"""What may be in a result file of each kind, gathered under our field names (causal-dimensionality spec 3).

Each function takes a `Reading` and gives the fields of a model of `schemas.causal_results`, as far as they are found.
Nothing is filled in but "unknown": what is then missing fails validation, and the file is kept as unknown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from circuit_artifacts.causal_dimensionality.aliases import Group, Reading

__all__ = ["IMPORTERS", "guess_kind"]

Fields = dict[str, Any]

_FOLDERS = tuple(
    (kind, re.compile(pattern, re.IGNORECASE))
    for kind, pattern in (
        ("exp5b_encoder_ablation", r"exp_?5b"),
        ("exp0_atp_vs_exact", r"exp_?0(?!\d)"),
        ("exp1_width_sweep", r"exp_?1(?!\d)"),
        ("expB_curve_fit", r"exp_?b"),
        ("exp9_sva_recall", r"exp_?9(?!\d)"),
        ("cross_family", r".*(?:llama|pythia)"),
        ("exp_synthetic_gt", r".*(?:synth|ground)"),
    )
)
_PERCENTILES = re.compile(r"(?:recall_)?(?:at_)?p?(99|98|95)")
_LAYER = re.compile(r"layer_?(\d+)", re.IGNORECASE)
_ARMS = frozenset({"trained", "random"})


def guess_kind(experiment: str | None) -> str | None:
    """The kind of results in a folder of this name; None if it tells nothing. The first that fits is taken."""
    return next((kind for kind, pattern in _FOLDERS if pattern.match(experiment or "")), None)


def _known(**fields: Any) -> Fields:
    return {name: value for name, value in fields.items() if value is not None}


def _sae(reading: Reading) -> Fields:
    given = reading.mapping("sae")
    if given is not None and "source" in given:
        return given
    source = reading.text("sae")
    if source is None:
        reading.changes.append("sae: the file does not say which")
    return _known(source=source or "unknown", sae_id=reading.text("sae_id"))


def _threshold(reading: Reading) -> Fields:
    return reading.mapping("threshold") or _known(value=reading.number("tau"))


def _layer(reading: Reading) -> float | None:
    stated = reading.number("layer")
    if stated is None:
        numbers = {int(match[1]) for entry in reading.entries if (match := _LAYER.search(entry.key))}
        stated = numbers.pop() if len(numbers) == 1 else None
    return stated


def _width_rows(reading: Reading) -> list[Fields]:
    """Mappings with both counts; their key is the width, if it is a number and nothing in them is."""
    sae = _sae(reading)
    rows = [row for group in reading.groups if (row := _width_row(reading, group))]
    if not rows:
        columns = {name: reading.numbers(name) for name in ("width", "n_repr", "n_causal", "inert_fraction")}
        found = {name: values for name, values in columns.items() if values}
        if {"width", "n_repr", "n_causal"} <= found.keys() and len(set(map(len, found.values()))) == 1:
            rows = [dict(zip(found, values, strict=True)) for values in zip(*found.values(), strict=True)]
    return [{"sae": sae, **row} for row in rows]


def _width_row(reading: Reading, group: Group) -> Fields | None:
    names = ("n_repr", "n_causal", "width", "inert_fraction", "mean_l0", "n_inert", "recon_fvu")
    before = len(reading.changes)
    row = _known(**{name: reading.number(name, group.entries) for name in names})
    if not {"n_repr", "n_causal"} <= row.keys():
        del reading.changes[before:]
        return None
    if "width" not in row and group.key is not None and group.key.isdecimal():
        reading.changes.append(f"width: the key {group.key!r} is the number")
        row["width"] = int(group.key)
    tau = reading.number("tau", group.entries)
    return row | _known(tau=tau)


def _atp_versus_exact(reading: Reading) -> Fields:
    return _known(
        sae=_sae(reading),
        n_features=reading.number("n_features"),
        spearman_rho=reading.number("spearman_rho"),
        p_value=reading.number("p_value"),
        rho_ci=reading.interval(),
    )


def _width_sweep(reading: Reading) -> Fields:
    return _known(
        layer=_layer(reading),
        threshold=_threshold(reading),
        rows=_width_rows(reading),
        **{name: reading.number(name) for name in ("repr_growth", "causal_growth", "wedge_ratio")},
    )


def _curve_fit(reading: Reading) -> Fields:
    form, kappa = reading.text("form") or "unknown", reading.number("kappa_hat")
    return _known(
        d_model=reading.number("d_model"),
        widths=reading.numbers("width"),
        n_causal=reading.numbers("n_causal"),
        fits=[{"form": form, "params": reading.mapping("params") or {}, "kappa": kappa, "ci": reading.interval()}],
        selected=form,
        kappa_hat=kappa,
        kappa_over_dmodel=reading.number("kappa_over_dmodel"),
        kappa_pr=reading.number("kappa_pr"),
    )


def _encoder_cells(reading: Reading) -> Fields:
    cells = []
    for group in reading.groups:
        arms = {entry.key: entry.value for entry in group.entries if entry.key in {"encoder", "decoder"}}
        if len(arms) == 2 and all(isinstance(arm, str) and arm in _ARMS for arm in arms.values()):
            counts = {name: reading.number(name, group.entries) for name in ("n_repr", "n_causal", "mean_l0", "seed")}
            cells.append(_known(**arms, **counts))
    return _known(sae=_sae(reading), threshold=_threshold(reading), cells=cells, inflation=reading.number("inflation"))


def _sva_recall(reading: Reading) -> Fields:
    n_true = reading.number("n_true")
    points: dict[str, Fields] = {}
    for entry in reading.entries:
        if (match := _PERCENTILES.fullmatch(entry.key)) and match[1] not in points:
            point = _recall(entry.value, n_true)
            if point:
                reading.changes.append(f"recall at {match[1]} %: from {entry.place}, {point.pop('how')}")
                points[match[1]] = {"q": int(match[1]) / 100, **point}
    return _known(
        task=reading.text("task"), node_threshold=reading.number("node_threshold"), points=list(points.values())
    )


def _recall(value: Any, n_true: float | None) -> Fields | None:
    """A point from a mapping, or from a recall and the number of true features; ``how`` says in words."""
    if isinstance(value, dict):
        inside = Reading(value)
        found = {name: inside.number(name) for name in ("n_hit", "n_true", "recall")}
        return _known(**({"n_true": n_true} | _known(**found)), how="; ".join(inside.changes))
    inside = Reading({"recall": value})
    recall = inside.number("recall")
    if recall is None:
        return None
    percent = ", taken for percent" if len(inside.changes) > 1 else ""
    n_hit = None if n_true is None else round(recall * n_true)
    return _known(recall=recall, n_true=n_true, n_hit=n_hit, how=f"a share{percent}; hits are computed from it")


def _planted(reading: Reading) -> Fields:
    names = ("n_planted", "cos_threshold", "n_recovered", "ceiling_recovered", "subspace_overlap")
    return _known(**{name: reading.number(name) for name in names})


def _cross_family(reading: Reading) -> Fields:
    return {"rows": _width_rows(reading), "threshold": _threshold(reading)}


IMPORTERS: Mapping[str, Callable[[Reading], Fields]] = MappingProxyType(
    {
        "exp0_atp_vs_exact": _atp_versus_exact,
        "exp1_width_sweep": _width_sweep,
        "expB_curve_fit": _curve_fit,
        "exp5b_encoder_ablation": _encoder_cells,
        "exp9_sva_recall": _sva_recall,
        "exp_synthetic_gt": _planted,
        "cross_family": _cross_family,
    }
)
"""By kind."""
