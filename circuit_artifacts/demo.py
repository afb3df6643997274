"""``circuit-artifacts demo``: the whole path on the bundled model, offline, on a reduced grid of concepts."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table

from circuit_artifacts import catalog
from circuit_artifacts.compute.csp.decomposition import parse_target_checker
from circuit_artifacts.compute.csp.hierarchy import ward
from circuit_artifacts.csp_atlas import load_summary, load_target_checker, masks_array
from circuit_artifacts.errors import SchemaError
from circuit_artifacts.loading import load_dataset
from circuit_artifacts.parquet import convert
from circuit_artifacts.regeneration import regenerate
from circuit_artifacts.reports.causality.fields import extra_numbers
from circuit_artifacts.reports.causality.wedge import draw_wedge
from circuit_artifacts.reports.dendrogram import draw_dendrogram
from circuit_artifacts.reports.locality.depth import draw_depth
from circuit_artifacts.reports.pages.feature_table import build_feature_rows, write_feature_table
from circuit_artifacts.schemas.causal_results import WidthSweep, parse_result
from circuit_artifacts.sources import Sources
from circuit_artifacts.validation import validate

__all__ = ["run"]

MIRROR = "csp-atlas-mini"
CONFIG = "masks_eps0.5_cons0.8"
LOCALITY, LOCALITY_CONFIG = "sae-locality-mini", "entropy_mini_stdlib"
CAUSALITY = "causal-dimensionality-mini"
_NODES = "For While ListComp If IfExp FunctionDef ClassDef Return Assign Call Break Pass Import ImportFrom"
_BUILTINS = "_isolated_ ValueError dict enumerate int len list max print range set sorted str sum tuple zip"
PARAMETERS = {
    "ast_nodes": tuple(_NODES.split()),
    "builtin_objs": tuple(_BUILTINS.split()),
    "n_prompts": 20,
    "n_checkers": 20,
}


def run(out: Path, console: Console) -> None:
    """Regenerate, validate, load, convert and draw; say what was done and where it is.

    Args:
        out: folder to write.
        console: where to print.

    Raises:
        SchemaError: what was made does not pass its own validation, or the two ways to load it disagree.
    """
    started = time.monotonic()
    atlas, tables = out / "atlas", out / "parquet"
    console.print("The bundled model is small and its circuits are its own: these are not the published numbers.")

    _step(console, "1", f"regenerate stages 11-14 and the analyses into {atlas}")
    for step in regenerate(MIRROR, root=atlas, parameters=PARAMETERS):
        console.print(f"   {step.name}: {len(step.files)} file(s){', by the model' if step.model else ''}")

    _step(console, "2", "validate the folder")
    findings = list(validate(atlas, catalog.mirror(MIRROR)))
    faults = [finding for finding in findings if finding.level == "error"]
    if faults:
        problem = f"{len(faults)} violated rule(s), the first: {faults[0].message}"
        raise SchemaError(problem, file=faults[0].file, where=faults[0].where)
    console.print(f"   no error, {len(findings)} note(s)")

    _step(console, "3", f'load_dataset("{MIRROR}", "{CONFIG}"), whole and streaming')
    whole = load_dataset(MIRROR, CONFIG, data_root=str(atlas), cache_dir=str(out / "cache"))
    streamed = load_dataset(MIRROR, CONFIG, data_root=str(atlas), streaming=True)
    for split, rows in whole.items():
        if rows.to_list() != list(streamed[split]):
            problem = f"split {split} streams other rows than it loads"
            raise SchemaError(problem, file=atlas)
        console.print(f"   {split}: {len(rows):,} rows, the same both ways, in {streamed[split].num_shards} shards")

    _step(console, "4", f"convert to parquet in {tables}")
    files = convert(Sources(mirror=catalog.mirror(MIRROR), data_root=atlas), tables)
    console.print(f"   {len(files)} files and a dataset card")

    _step(console, "5", "what the model's circuits say")
    console.print(_summary_table(load_summary(data_root=atlas, mirror=MIRROR)))
    console.print(_specific_table(load_target_checker(data_root=atlas, mirror=MIRROR)))

    figure = out / "dendrogram.png"
    masks, concepts = masks_array(0.5, 0.8, data_root=atlas, mirror=MIRROR)
    # The published figure shows layer 3; which layers tell concepts apart is a matter of the model.
    layer = max(range(masks.shape[1]), key=lambda layer: len(np.unique(masks[:, layer], axis=0)))
    clustering = ward(masks[:, layer], concepts)
    title = f"Circuits of the bundled mini model at layer {layer}, where most of them differ (Ward on 1 - Jaccard)"
    draw_dendrogram(clustering.linkage, clustering.names, figure, title=title)

    _step(console, "6", f'load_dataset("{LOCALITY}", ...): how far back the features of its autoencoders look')
    features = load_dataset(LOCALITY, LOCALITY_CONFIG, split="features", cache_dir=str(out / "cache")).to_pandas()
    windows = load_dataset(LOCALITY, LOCALITY_CONFIG, split="windows", cache_dir=str(out / "cache")).to_pandas()
    console.print(_entropy_table(features))
    depth, page = out / "entropy_vs_depth.png", out / "features.html"
    note = "the bundled mini model; not the published data"
    draw_depth(features, windows, depth, note=note)
    events = load_dataset(LOCALITY, "events", split="train", cache_dir=str(out / "cache")).with_format("arrow")[:]
    ctx = max(pc.unique(events["ctx"]).to_pylist())
    write_feature_table(build_feature_rows(events, ctx=ctx), page, title=f"Features at {ctx} tokens", note=note)

    _step(console, "7", f'load_dataset("{CAUSALITY}", "results"): how many features fire, and how many matter')
    results = load_dataset(CAUSALITY, "results", split="train", cache_dir=str(out / "cache"))
    (sweep,) = (
        result
        for row in results
        if isinstance(result := parse_result(json.loads(row["typed"]), file=row["path"]), WidthSweep)
    )
    console.print(_width_table(sweep))
    widths = out / "width_sweep.png"
    draw_wedge(sweep, widths, note=note)

    console.print(f"[bold]Done in {time.monotonic() - started:.0f} s.[/bold] Where everything is:")
    for path, content in (
        (atlas, "files in the published layout, each with its provenance"),
        (tables, "parquet that stock datasets loads"),
        (figure, "the hierarchy of circuits"),
        (depth, "entropy of influence by layer"),
        (page, "features, to sort and filter"),
        (widths, "firing and causal features at growing widths"),
    ):
        console.print(f"   {path}  {content}", soft_wrap=True)


def _step(console: Console, number: str, text: str) -> None:
    console.print(f"[bold]{number}.[/bold] {text}", soft_wrap=True)


def _summary_table(summary: pd.DataFrame) -> Table:
    table = Table(title="Share of a concept's circuit that its keyword alone does not explain", title_justify="left")
    for header in ("epsilon", "consistency", "AST nodes", "builtins", "all", "mean size"):
        table.add_column(header, justify="right")
    for row in summary.to_dict("records"):
        fractions = [row[f"{kind}_concept_fraction"] for kind in ("ast", "blt", "mean")]
        cells = ["" if math.isnan(value) else f"{value:.3f}" for value in fractions]
        table.add_row(f"{row['epsilon']}", f"{row['consistency']}", *cells, f"{row['mean_A_size']:.1f}")
    return table


def _entropy_table(features: pd.DataFrame) -> Table:
    """Entropy of influence by layer: the deeper, the further back."""
    table = Table(title="Entropy of influence over 64 tokens, bits: 0 is one token, 6 all alike", title_justify="left")
    for header in ("layer", "active features", "lower quartile", "median", "upper quartile"):
        table.add_column(header, justify="right")
    for layer, entropies in features.groupby("layer")["entropy_bits"]:
        lower, median, upper = entropies.quantile([0.25, 0.5, 0.75])
        table.add_row(f"{layer}", f"{len(entropies):,}", f"{lower:.2f}", f"{median:.2f}", f"{upper:.2f}")
    return table


def _width_table(sweep: WidthSweep) -> Table:
    """Counts by every rule: one of them is fixed at the narrowest width, others are not."""
    by_rule = [extra_numbers(row, "n_causal_by_rule") for row in sweep.rows]
    table = Table(title=f"Features of layer {sweep.layer} that fire, and causal ones by rule", title_justify="left")
    for header in ("width", "firing", *by_rule[0]):
        table.add_column(header, justify="right")
    for row, counts in zip(sweep.rows, by_rule, strict=True):
        table.add_row(f"{row.width:,}", f"{row.n_repr:,}", *(f"{count:,.0f}" for count in counts.values()))
    return table


def _specific_table(cells: pd.DataFrame, n: int = 5) -> Table:
    """The concepts with the largest concept-only share over all layers, at the reference setting."""
    targets, parts = parse_target_checker(cells)
    layers = {"concept only": parts.concept_only, "shared": parts.shared, "token only": parts.token_only}
    totals = pd.DataFrame({part: counts.sum(axis=1) for part, counts in layers.items()}, index=targets)
    totals = totals[totals["concept only"] + totals["shared"] > 0]
    totals["fraction"] = totals["concept only"] / (totals["concept only"] + totals["shared"])
    table = Table(title=f"Most concept-specific circuits ({CONFIG})", title_justify="left")
    for header in ("concept", "fraction", "concept only", "shared", "token only"):
        table.add_column(header, justify="left" if header == "concept" else "right")
    for concept, row in totals.sort_values("fraction", ascending=False).head(n).iterrows():
        table.add_row(str(concept), f"{row['fraction']:.3f}", *(f"{int(row[part])}" for part in layers))
    return table
