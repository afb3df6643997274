"""SAE locality: its families of files, how they are made from each other, and its mirrors (sae_locality spec).

Which files a family has is told by their paths: every run lies in a folder of its own, so `select` picks the files of
the wanted runs from a list.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from circuit_artifacts.schemas import sae_locality as rows
from circuit_artifacts.schemas.common import ArtifactModel
from circuit_artifacts.schemas.declaration import Family, Mirror, Split, Step

__all__ = ["DATASETS", "FAMILIES", "MINI_DATASET", "MINI_MIRROR", "MINI_PRESET", "MIRROR", "PRESETS"]

PRESETS = ("pythia-70m", "gpt2-small", "qwen2-0.5b", "llama-3.2-1b", "gemma-2-2b", "llama-3-8b")
"""The published models with their autoencoders (spec 3)."""
DATASETS = ("wikitext", "gsm8k", "code-python")
"""The corpora of the depth runs."""
MINI_PRESET, MINI_DATASET = "mini", "stdlib"

_STEPS = "circuit_artifacts.compute.locality"
_EVENTS, _GEOMETRY = "cherry_picked_feature_entropy/*", "feature_geometry_vs_entropy/*"
_AUTOCORRELATION = "feature_activation_autocorr/*"


def _family(
    name: str,
    summary: str,
    file: str,
    settings: tuple[Mapping[str, Any], ...] = (),
    splits: Mapping[str, type[ArtifactModel]] | None = None,
    row: type[ArtifactModel] | None = None,
    **more: Any,
) -> Family:
    rows_of = splits or {"train": row or ArtifactModel}
    return Family(
        name=name,
        summary=summary,
        file=file,
        reader="circuit_artifacts.sae_locality.reader:TableReader",
        select="circuit_artifacts.sae_locality.selection:select",
        splits=tuple(Split(name=split, row=of_split) for split, of_split in rows_of.items()),
        settings=settings,
        suffix="_{value}",
        optional=True,
        **more,
    )


def _depth(name: str, summary: str, file: str, settings: tuple[Mapping[str, Any], ...] = (), **more: Any) -> Family:
    splits: dict[str, type[ArtifactModel]] = {"features": rows.DepthFeature, "windows": rows.DepthWindow}
    return _family(name, summary, f"{file}/*/entropy_comparison_*.pt", settings, splits, **more)


def _sweep(name: str, summary: str, file: str, settings: tuple[Mapping[str, Any], ...] = (), **more: Any) -> Family:
    splits: dict[str, type[ArtifactModel]] = {"features": rows.SweepFeature, "lengths": rows.SweepLength}
    return _family(name, summary, f"ctxlen_xmodel*/*/{file}/entropy_vs_*.pt", settings, splits, **more)


_ENTROPY = "influence and entropy of each active feature in each window, by layer"
_LENGTHS = "influence and entropy of active features with more and more of the text before one token"
_OF_ALL = "of every model, published or not"

FAMILIES = (
    _family("runs", "every run, what it was told, and every unknown file", "**", row=rows.Run, is_inventory=True),
    _depth(
        "entropy",
        _ENTROPY,
        "{preset}/{dataset}",
        tuple({"preset": preset, "dataset": dataset} for preset in PRESETS for dataset in DATASETS),
    ),
    _depth("entropy_all", f"{_ENTROPY}, {_OF_ALL}", "*/*", by_name=True),
    _sweep("ctxlen", _LENGTHS, "{preset}", tuple({"preset": preset} for preset in PRESETS)),
    _sweep("ctxlen_all", f"{_LENGTHS}, {_OF_ALL}", "*", by_name=True),
    _family("events", "entropy at the peaks of chosen features", f"{_EVENTS}/ctx*.csv", row=rows.Event),
    _family("influences", "influence at those peaks, per token", f"{_EVENTS}/influences*.npz", row=rows.Influence),
    _family(
        "top_contexts", "where chosen features are most active", f"{_EVENTS}/top_contexts_*.json", row=rows.TopContext
    ),
    _family(
        "case_studies",
        "the features of the case-study pages",
        "feature_case_studies/*/manifest.json",
        row=rows.CaseStudy,
    ),
    _family(
        "geometry_features",
        "entropy of the features whose decoder directions are compared",
        f"{_GEOMETRY}/per_feature.csv",
        row=rows.GeometryFeature,
    ),
    _family(
        "geometry_pairs",
        "cosine and difference of entropy of every two of them",
        f"{_GEOMETRY}/pairwise.csv",
        row=rows.GeometryPair,
    ),
    _family(
        "geometry_neighbours",
        "each of them beside its ten nearest",
        f"{_GEOMETRY}/feature_neighbour_summary.csv",
        row=rows.GeometryNeighbour,
    ),
    _family(
        "neuronpedia_xcheck",
        "their cosines beside Neuronpedia's",
        f"{_GEOMETRY}/neuronpedia_xcheck.csv",
        row=rows.NeuronpediaCheck,
    ),
    _family("decoder_vectors", "their decoder rows", f"{_GEOMETRY}/decoder_vectors.pt", row=rows.DecoderVector),
    _family(
        "autocorr_features",
        "features whose activation was followed through documents",
        f"{_AUTOCORRELATION}/*features*.csv",
        row=rows.AutocorrelationFeature,
    ),
    _family(
        "autocorr_curves",
        "autocorrelation of their activation by lag",
        f"{_AUTOCORRELATION}/autocorr_curves.csv",
        row=rows.AutocorrelationCurve,
    ),
    _family(
        "autocorr_examples",
        "their activation around its peaks",
        f"{_AUTOCORRELATION}/activation_traces.npz",
        row=rows.AutocorrelationExample,
    ),
    _family(
        "entropy_targets",
        "entropy at their active positions, looking back 256 tokens",
        f"{_AUTOCORRELATION}/entropy_targets.csv",
        row=rows.EntropyTarget,
    ),
    _family(
        "neuronpedia", "cached answers of Neuronpedia", "neuronpedia_cache/*/*/*.json", row=rows.NeuronpediaFeature
    ),
    _family("candidates", "lists that features were chosen from", "*/candidate_features_l*.md", row=rows.Candidate),
    _family("figures", "published pictures, with what their paths say", "**/*.png", row=rows.Figure),
)

_LOCALITY_STEPS = (
    Step(name="depth run", makes=("entropy", "entropy_all"), needs=(), function=f"{_STEPS}.depth_step:run", model=True),
    Step(
        name="context-length sweep",
        makes=("ctxlen", "ctxlen_all"),
        needs=(),
        function=f"{_STEPS}.sweep_step:run",
        model=True,
    ),
    Step(
        name="events",
        makes=("events", "influences", "top_contexts"),
        needs=(),
        function=f"{_STEPS}.events_step:run",
        model=True,
    ),
    Step(
        name="case studies",
        makes=("case_studies",),
        needs=("events", "influences", "top_contexts"),
        function=f"{_STEPS}.case_studies_step:run",
    ),
    Step(
        name="decoder vectors",
        makes=("geometry_features", "decoder_vectors"),
        needs=("events",),
        function=f"{_STEPS}.geometry_steps:decoder_vectors",
        model=True,
    ),
    Step(
        name="geometry",
        makes=("geometry_pairs", "geometry_neighbours", "neuronpedia_xcheck"),
        needs=("geometry_features", "decoder_vectors"),
        uses=("neuronpedia",),
        function=f"{_STEPS}.geometry_steps:geometry",
    ),
    Step(
        name="autocorrelation",
        makes=("autocorr_features", "autocorr_curves", "autocorr_examples", "entropy_targets"),
        needs=(),
        function=f"{_STEPS}.autocorrelation_step:run",
        model=True,
    ),
    Step(
        name="figures",
        makes=("figures",),
        needs=(),
        uses=(
            "entropy_all",
            "ctxlen_all",
            "events",
            "influences",
            "top_contexts",
            "case_studies",
            "geometry_features",
            "decoder_vectors",
        ),
        function="circuit_artifacts.reports.locality.step:run",
    ),
)

MIRROR = Mirror(
    name="sae-locality",
    title="SAE locality: how far back the features of sparse autoencoders look, across six language models",
    families=FAMILIES,
    steps=_LOCALITY_STEPS,
    repositories=("lccqqqqq/sae-locality-data",),
    n_layers=26,
    width=2304,
    parameters={"preset": "gemma-2-2b"},
    options={"run": "latest", "legacy": False},
    default_config="runs",
    validator="circuit_artifacts.sae_locality.checks:check_folder",
    claims="circuit_artifacts.claims.sae_locality:claims",
    homepage="https://github.com/lccqqqqq/sae-analysis",
)

_MINI_SETTINGS: dict[str, tuple[Mapping[str, Any], ...]] = {
    "entropy": ({"preset": MINI_PRESET, "dataset": MINI_DATASET},),
    "ctxlen": ({"preset": MINI_PRESET},),
}
_NOT_OF_MINI = {"neuronpedia", "neuronpedia_xcheck", "candidates"}  # there is no Neuronpedia of the bundled model


def _in_mini(names: tuple[str, ...]) -> Iterator[str]:
    return (name for name in names if name not in _NOT_OF_MINI)


MINI_MIRROR = replace(
    MIRROR,
    name="sae-locality-mini",
    title="SAE locality of the bundled mini model: real results of a small model, not the published data",
    families=tuple(
        replace(family, settings=_MINI_SETTINGS.get(family.name, ()))
        for family in FAMILIES
        if family.name not in _NOT_OF_MINI
    ),
    steps=tuple(
        replace(step, makes=tuple(_in_mini(step.makes)), uses=tuple(_in_mini(step.uses))) for step in MIRROR.steps
    ),
    repositories=(),
    bundled="mini_locality",
    n_layers=8,
    width=64,
    parameters={
        "preset": MINI_PRESET,
        "dataset": MINI_DATASET,
        "layer": 4,
        "features": 20,
        "contexts": "scan",
        "top_k": 8,
        "scan_window": 128,
        "event_context_lens": (64, 32),
        "document_tokens": 256,
        "lookback": 64,
        "n_windows": 16,
    },
    default_config=f"entropy_{MINI_PRESET}_{MINI_DATASET}",
    homepage="",
)
