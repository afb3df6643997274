"""Causal dimensionality: its families of files and its mirror (causal-dimensionality spec 1; DESIGN 3).

Which files a family has is told by their paths, as `causal_dimensionality.paths` reads them. The published numbers need
no file of the repository: they come with the package.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from circuit_artifacts.schemas import causal_dimensionality as rows
from circuit_artifacts.schemas.causal_agreement import AgreementItem
from circuit_artifacts.schemas.common import ArtifactModel
from circuit_artifacts.schemas.declaration import Family, Mirror, Split, Step

__all__ = ["FACTS_FILE", "FACTS_FOLDER", "FAMILIES", "HOOKS", "MINI_MIRROR", "MIRROR", "SITES", "STRUCTURES", "sites"]

HOOKS = ("attn_out", "mlp_out", "resid_out")
"""Sites that every layer has, in the order in which a forward pass comes to them."""


def sites(n_layers: int) -> tuple[str, ...]:
    """Names of all sites of a model, in forward order (spec 1.1)."""
    return ("embed", *(f"{hook}_layer{layer}" for layer in range(n_layers) for hook in HOOKS))


_N_LAYERS, _WIDTH = 6, 512  # of Pythia-70m-deduped
SITES = sites(_N_LAYERS)
"""Where the published dictionaries read the model."""
STRUCTURES = ("simple", "nounpp", "within_rc", "rc")
"""Of sentences for subject-verb agreement (spec 6)."""
FACTS_FOLDER, FACTS_FILE = "causal_dimensionality", "published_facts.csv"
"""Of the published numbers, below `circuit_artifacts.data`."""

_DICTIONARIES = "pythia-70m-deduped"


def _family(
    name: str,
    summary: str,
    file: str,
    row: type[ArtifactModel],
    *,
    reader: str = "FileReader",
    splits: tuple[str, ...] = ("train",),
    settings: tuple[Mapping[str, Any], ...] = (),
    **more: Any,
) -> Family:
    return Family(
        name=name,
        summary=summary,
        file=file,
        reader=f"circuit_artifacts.causal_dimensionality.reader:{reader}",
        select="circuit_artifacts.causal_dimensionality.selection:select",
        splits=tuple(Split(name=split, row=row) for split in splits),
        settings=settings,
        suffix="_{value}",
        optional=True,
        **more,
    )


FAMILIES = (
    Family(
        name="headline",
        summary="the published numbers, and what their digits leave open",
        file=FACTS_FILE,
        reader="circuit_artifacts.formats.tabular:CsvReader",
        splits=(Split(name="train", row=rows.Headline),),
    ),
    _family(
        "sae_inventory",
        "the dictionaries: shapes, hashes, norms",
        f"{_DICTIONARIES}/*/*/ae.pt",
        rows.SaeInventory,
    ),
    _family(
        "sae_features",
        "every feature of the dictionaries, by site",
        f"{_DICTIONARIES}/*/*/ae.*",
        rows.SaeFeature,
        reader="FeatureReader",
        splits=SITES,
    ),
    _family(
        "dictionary",
        "one dictionary",
        f"{_DICTIONARIES}/{{site}}/*/ae.pt",
        rows.SaeInventory,
        settings=tuple({"site": site} for site in SITES),
        loadable=False,
    ),
    _family("results", "results of the experiments", "results/**/*.json", rows.Result, telling=r"results/(?i:exp)\w.*"),
    _family(
        "agreement",
        "sentences of one structure, whose verb agrees with one of their nouns",
        "**/{structure}_*.json",
        AgreementItem,
        reader="AgreementReader",
        splits=("train", "test"),
        settings=tuple({"structure": structure} for structure in STRUCTURES),
        telling=None,
    ),
    _family("figures", "published pictures", "results/**/*.png", rows.Figure, telling=None),
    _family("logs", "logs of the runs: size, hash, time", "logs/**", rows.Log, telling=None),
)

_STEPS = (
    Step(
        name="experiments",
        makes=("results",),
        needs=(),
        function="circuit_artifacts.compute.causality.experiments_step:run",
        model=True,
    ),
    Step(
        name="figures",
        makes=("figures",),
        needs=("results",),
        function="circuit_artifacts.reports.causality.step:run",
    ),
)

MIRROR = Mirror(
    name="causal-dimensionality",
    title="Causal dimensionality of transformer layers: autoencoders of Pythia, results and published numbers",
    families=FAMILIES,
    steps=_STEPS,
    repositories=("nileshsarkar-ai/causal-dimensionality-sae",),
    bundled=FACTS_FOLDER,
    n_layers=_N_LAYERS,
    width=_WIDTH,
    default_config="headline",
    validator="circuit_artifacts.causal_dimensionality.checks:check_folder",
    claims="circuit_artifacts.claims.causal_dimensionality:claims",
    homepage="https://github.com/nileshsarkar-ai/NeurIPS-Causal-Capacity-in-SAEs",
    license="mit",
    citation=(
        "@misc{causaldim2026,\n"
        "  title  = {Causal Dimensionality of Transformer Layers:\n"
        "            SAE Encoder Filtering and AtP Recall Collapse},\n"
        "  author = {Sarkar, Nilesh and Deka, Dawar Jyoti},\n"
        "  year   = {2026},\n"
        "  note   = {ICML 2026 Mechanistic Interpretability Workshop;\n"
        "            companion NeurIPS 2026 submission under review}\n"
        "}"
    ),
)

_OF_MINI = {"results", "figures"}

MINI_MIRROR = replace(
    MIRROR,
    name="causal-dimensionality-mini",
    title="Causal dimensionality of the bundled mini model: real results of a small model, not the published data",
    families=tuple(family for family in FAMILIES if family.name in _OF_MINI),
    repositories=(),
    bundled="mini_causality",
    n_layers=8,
    width=64,
    parameters={
        "model": "mini",
        "layer": 4,
        "saes": tuple(f"mini/resid_post/layer_4/relu_{width}" for width in (64, 128, 256, 512, 1024)),
        "layer_sae": "mini/resid_post/layer_{layer}/relu_256",
        "layers": tuple(range(8)),
        "dataset": "stdlib",
        "seq_len": 128,
        "quantile": 0.75,  # of 64 features: 16, where 2 % would be one
        "n_exact": 120,
        "n_exact_sequences": 8,
        "structures": ("within_rc", "simple"),
        "lexicon": "code",
    },
    default_config="results",
    homepage="",
    license="",
    citation="",
)
