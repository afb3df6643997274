"""CSP-Atlas: rows, files and how they are made from each other (csp_atlas spec 1; DESIGN 3)."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import pyarrow as pa
from pydantic import Field

from circuit_artifacts.schemas.common import ActiveDimensions, ArtifactModel, Int32, Vector
from circuit_artifacts.schemas.csp_vocabulary import CONSISTENCIES, EPSILONS
from circuit_artifacts.schemas.declaration import Family, Mirror, Split, Step

__all__ = ["MINI_MIRROR", "MIRROR", "SETTINGS", "SETTING_ATTRIBUTES"]

SETTINGS = tuple({"eps": eps, "cons": cons} for eps in EPSILONS for cons in CONSISTENCIES)
REFERENCE_SETTING = "eps0.5_cons0.8"


class ObjectPrompt(ArtifactModel):
    """One kept prompt of an (AST node, builtin) pair (spec 1.1)."""

    ast_node: str
    builtin_obj: str
    variation_id: int
    prompt_text: str
    sequence_loss: float
    token_length: int
    ast_verified: bool


class CheckerPrompt(ArtifactModel):
    """One prompt that holds a concept's keyword but not the concept (spec 1.2)."""

    object: str
    keyword: str
    variation_id: int
    prompt_text: str


class PairKey(ArtifactModel):
    """What a ``<Node>__<builtin>`` key names."""

    ast_node: str
    builtin_obj: str


class ConceptKey(ArtifactModel):
    """What an ``ast__<Node>`` or ``builtin__<name>`` key names."""

    concept: str
    kind: str
    name: str


class ActivationStatistics(ArtifactModel):
    """Running sums of one group of prompts at one layer (spec 1.3); activations have no unit."""

    layer: Int32
    n_prompts: int
    activation_sum: Annotated[list[float], Vector(pa.float32())]
    firing_count: Annotated[list[int], Vector(pa.int32())]


class Mask(ArtifactModel):
    """The active residual-stream dimensions of one circuit at one layer, sorted."""

    layer: Int32
    size: Int32
    active: ActiveDimensions


class PairActivations(ActivationStatistics, PairKey):
    """Statistics of a pair's prompts."""


class ConceptActivations(ActivationStatistics, ConceptKey):
    """Statistics of a concept's checker prompts."""


class PairMask(Mask, PairKey):
    """Circuit of a pair (spec 1.4)."""


class ConceptMask(Mask, ConceptKey):
    """Circuit of a concept: universal (spec 1.4) or checker (spec 1.5)."""


class MaskSimilarity(ArtifactModel):
    """One cell of a Jaccard matrix of universal masks (spec 1.4, ``/metrics``)."""

    kind: str
    concept_a: str
    concept_b: str
    layer: Int32
    jaccard: float


class Summary(ArtifactModel):
    """Means over all testable concepts and layers at one setting (spec 6)."""

    epsilon: float
    consistency: float
    n_testable: int
    n_ast: int
    n_builtin: int
    mean_concept_fraction: float | None
    mean_token_fraction: float | None
    ast_concept_fraction: float | None
    ast_token_fraction: float | None
    blt_concept_fraction: float | None
    blt_token_fraction: float | None
    mean_A_size: float | None
    mean_B_size: float | None


class TargetChecker(ArtifactModel):
    """One cell of a decomposition table: |A without B|, |A and B|, |B without A| (spec 6)."""

    target: str
    layer: Int32
    concept_only: Int32
    shared: Int32
    token_only: Int32
    concept_fraction: float


class ModularityScore(ArtifactModel):
    """Number of layers at which a concept is significantly modular, per trim level (spec 7.1)."""

    concept: str
    type: str
    p_0: int = Field(alias="p=0.0")
    p_5: int = Field(alias="p=0.05")
    p_10: int = Field(alias="p=0.1")
    p_25: int = Field(alias="p=0.25")


class ModularityDetail(ArtifactModel):
    """One concept, layer and trim level (spec 7.1)."""

    object: str
    type: str
    layer: int
    p_trim: float
    observed_trimmed_jaccard: float
    percentile: float
    significant: bool


class TokenIndependenceSummary(ArtifactModel):
    """One testable concept, means over its layers (spec 7.2)."""

    object: str
    type: str
    keyword: str
    concept_fraction: float
    token_fraction: float
    A_size: float
    A_and_B: float
    A_only: float
    B_only: float


class TokenIndependenceDetail(ArtifactModel):
    """One testable concept at one layer (spec 7.2)."""

    A_size: int
    B_size: int
    A_only: int
    A_and_B: int
    B_only: int
    token_fraction: float
    concept_fraction: float
    object: str
    type: str
    keyword: str
    layer: int


class NoKeyword(ArtifactModel):
    """A concept without a keyword, to which no checker applies (spec 2.5)."""

    object: str
    status: str


class Concept(ConceptKey):
    """A concept of the atlas; `n_pairs` is how many pair masks its universal mask is the intersection of."""

    keyword: str | None
    testable: bool
    n_pairs: int


_PAIR = "{ast_node}__{builtin_obj}"
_CONCEPT = "{kind}__{name}"
_HDF5 = "circuit_artifacts.formats.hdf5.leaves:LeafReader"
_PARQUET = "circuit_artifacts.formats.tabular:ParquetReader"
_CSV = "circuit_artifacts.formats.tabular:CsvReader"
_STAGES = "circuit_artifacts.compute.csp.stages"
SETTING_ATTRIBUTES = {"eps": ("epsilon",), "cons": ("consistency_thresh", "consistency_threshold")}


def _concept_split(group: str, name: str = "train") -> Split:
    return Split(name=name, row=ConceptMask, leaves={"active": f"{group}/layer_{{layer}}/{_CONCEPT}"}, key="concept")


def _activation_split(row: type[ArtifactModel], key_pattern: str, key: str | None = None) -> Split:
    leaves = {
        "activation_sum": f"activations/layer_{{layer}}/{key_pattern}",
        "firing_count": f"firing_counts/layer_{{layer}}/{key_pattern}",
        "n_prompts": f"n_prompts/{key_pattern}",
    }
    return Split(name="train", row=row, leaves=leaves, key=key)


def _table(name: str, summary: str, file: str, row: type[ArtifactModel], reader: str = _CSV) -> Family:
    return Family(name=name, summary=summary, file=file, reader=reader, splits=(Split(name="train", row=row),))


_OBJECT_MASK_SPLITS = (
    _concept_split("universal_masks", "universal"),
    Split(name="pair", row=PairMask, leaves={"active": f"pair_masks/layer_{{layer}}/{_PAIR}"}),
)
_OBJECT_MASK_FILE = "13_object_masks_eps{eps}_cons{cons}.h5"

FAMILIES = (
    _table(
        "object_prompts",
        "Python snippets for every (AST node, builtin) pair",
        "11A_object_prompts.parquet",
        ObjectPrompt,
        _PARQUET,
    ),
    _table(
        "checker_prompts",
        "snippets that hold a keyword but not its concept",
        "11B_checker_prompts.parquet",
        CheckerPrompt,
        _PARQUET,
    ),
    _table(
        "token_checker_prompts",
        "the same, with one more identifier template",
        "token_checker_prompts.parquet",
        CheckerPrompt,
        _PARQUET,
    ),
    Family(
        name="object_activations",
        summary="sums of |MLP output| and firing counts per pair and layer",
        file="12_object_activations.h5",
        reader=_HDF5,
        splits=(_activation_split(PairActivations, _PAIR),),
        optional=True,
    ),
    Family(
        name="checker_activations",
        summary="the same per checker concept",
        file="12_checker_activations.h5",
        reader=_HDF5,
        splits=(_activation_split(ConceptActivations, _CONCEPT, key="concept"),),
        optional=True,
    ),
    Family(
        name="masks",
        summary="circuits of pairs, and of concepts as their intersections",
        file=_OBJECT_MASK_FILE,
        reader=_HDF5,
        splits=_OBJECT_MASK_SPLITS,
        settings=SETTINGS,
        attributes=SETTING_ATTRIBUTES,
    ),
    Family(
        name="checker_masks",
        summary="circuits of the keyword without the concept",
        file="13_checker_masks_eps{eps}_cons{cons}.h5",
        reader=_HDF5,
        splits=(_concept_split("token_checker_masks"),),
        settings=SETTINGS,
        attributes=SETTING_ATTRIBUTES,
    ),
    Family(
        name="token_checker_masks",
        summary="circuits of the token-checker prompts, at one setting",
        file="token_checker_masks.h5",
        reader=_HDF5,
        splits=(_concept_split("token_checker_masks"),),
    ),
    Family(
        name="universal_106x50",
        summary="object masks at one setting, from an earlier writer",
        file="universal_106x50.h5",
        reader=_HDF5,
        splits=_OBJECT_MASK_SPLITS,
        optional=True,
    ),
    Family(
        name="mask_similarity",
        summary="pairwise Jaccard of universal masks at layer 4",
        file=_OBJECT_MASK_FILE,
        reader="circuit_artifacts.csp_atlas.tables:MaskSimilarityReader",
        splits=(Split(name="train", row=MaskSimilarity),),
        settings=SETTINGS,
        attributes=SETTING_ATTRIBUTES,
    ),
    _table("summary", "concept and token fractions per setting", "14_summary.csv", Summary),
    Family(
        name="target_checker",
        summary="concept-only, shared and token-only dimensions per concept and layer",
        file="14_target_checker_eps{eps}_cons{cons}.csv",
        reader="circuit_artifacts.csp_atlas.tables:TargetCheckerReader",
        splits=(Split(name="train", row=TargetChecker),),
        settings=SETTINGS,
    ),
    Family(
        name="modularity_scores",
        summary="significant layers per concept and trim level",
        file="relaxed_modularity_scores.csv",
        reader=_CSV,
        splits=(Split(name="train", row=ModularityScore, headers={"concept": ""}),),
    ),
    _table(
        "modularity_detail",
        "trimmed mean Jaccard and its rank, per layer",
        "relaxed_modularity_detail.csv",
        ModularityDetail,
    ),
    _table(
        "token_independence_summary",
        "concept against token, means over layers",
        "token_independence_summary.csv",
        TokenIndependenceSummary,
    ),
    _table(
        "token_independence_detail",
        "concept against token, per layer",
        "token_independence_detail.csv",
        TokenIndependenceDetail,
    ),
    _table(
        "token_independence_no_keyword", "concepts without a keyword", "token_independence_no_keyword.csv", NoKeyword
    ),
    Family(
        name="concepts",
        summary="the concepts, their keywords and how many pairs each is intersected over",
        file=_OBJECT_MASK_FILE.format(eps=0.5, cons=0.8),
        reader="circuit_artifacts.csp_atlas.tables:ConceptReader",
        splits=(Split(name="train", row=Concept),),
    ),
)

_MODEL_STEPS = (
    Step(name="object prompts", makes=("object_prompts",), needs=(), function=f"{_STAGES}:object_prompts", model=True),
    Step(
        name="checker prompts", makes=("checker_prompts",), needs=(), function=f"{_STAGES}:checker_prompts", model=True
    ),
    Step(
        name="token-checker prompts",
        makes=("token_checker_prompts",),
        needs=(),
        function=f"{_STAGES}:checker_prompts",
        model=True,
    ),
    Step(
        name="object activations",
        makes=("object_activations",),
        needs=("object_prompts",),
        function=f"{_STAGES}:activations",
        model=True,
    ),
    Step(
        name="checker activations",
        makes=("checker_activations",),
        needs=("checker_prompts",),
        function=f"{_STAGES}:activations",
        model=True,
    ),
    Step(
        name="token-checker masks",
        makes=("token_checker_masks",),
        needs=("token_checker_prompts",),
        function=f"{_STAGES}:token_checker_masks",
        model=True,
    ),
)
_ARRAY_STEPS = (
    Step(name="object masks", makes=("masks",), needs=("object_activations",), function=f"{_STAGES}:object_masks"),
    Step(
        name="checker masks",
        makes=("checker_masks",),
        needs=("checker_activations",),
        function=f"{_STAGES}:checker_masks",
    ),
    Step(
        name="universal 106x50",
        makes=("universal_106x50",),
        needs=("object_activations",),
        function=f"{_STAGES}:universal_masks",
    ),
    Step(
        name="decomposition",
        makes=("target_checker",),
        needs=("masks", "checker_masks"),
        function=f"{_STAGES}:target_checker",
    ),
    Step(name="summary", makes=("summary",), needs=("target_checker",), function=f"{_STAGES}:summary"),
    Step(
        name="relaxed modularity",
        makes=("modularity_scores", "modularity_detail"),
        needs=(f"masks_{REFERENCE_SETTING}",),
        function=f"{_STAGES}:modularity",
    ),
    Step(
        name="token independence",
        makes=("token_independence_summary", "token_independence_detail", "token_independence_no_keyword"),
        needs=("universal_106x50", "token_checker_masks"),
        function=f"{_STAGES}:token_independence",
    ),
)

MIRROR = Mirror(
    name="csp-atlas",
    title="CSP-Atlas: concept-specific circuits in a sparse Python transformer",
    families=FAMILIES,
    steps=_MODEL_STEPS + _ARRAY_STEPS,
    repositories=("piotrwilam/CSP-Atlas", "piotrwilam/AtlasCSP"),
    environment=("CSP_ATLAS_DATA_ROOT",),
    n_layers=8,
    width=2048,
    parameters={"model": "openai/circuit-sparsity"},
    default_config=f"masks_{REFERENCE_SETTING}",
    validator="circuit_artifacts.csp_atlas.checks:check_folder",
    claims="circuit_artifacts.claims.csp_atlas:claims",
    homepage="https://github.com/piotrwilam/AtlasCSP",
    license="apache-2.0",
    citation=(
        "@article{Wilam2026CSPAtlas,\n"
        "  title  = {CSP-Atlas: Concept-Specific Neural Circuits in a Sparse Python Transformer},\n"
        "  author = {Wilam, Piotr},\n"
        "  year   = {2026},\n"
        "  url    = {https://github.com/piotrwilam/AtlasCSP}\n"
        "}"
    ),
)

# The bundled statistics are stored as the rows of the two activation configs: 22,000 tiny HDF5 datasets would be
# thirty times their size. The published layout is written from them on first use.
_PACKED = tuple(
    Family(
        name=f"packed_{name}",
        summary=f"rows of {name}, as bundled",
        file=f"12_{name}.parquet",
        reader=_PARQUET,
        splits=(Split(name="train", row=row),),
        loadable=False,
    )
    for name, row in (("object_activations", PairActivations), ("checker_activations", ConceptActivations))
)

MINI_MIRROR = replace(
    MIRROR,
    name="csp-atlas-mini",
    title="The CSP-Atlas experiment on the bundled mini model: real results of a small model, not the published data",
    families=FAMILIES + _PACKED,
    steps=tuple(
        Step(name=f"unpack {name}", makes=(name,), needs=(f"packed_{name}",), function=f"{_STAGES}:unpack_activations")
        for name in ("object_activations", "checker_activations")
    )
    + MIRROR.steps,
    repositories=(),
    environment=(),
    bundled="mini_atlas",
    width=64,
    parameters={"model": "mini"},
    homepage="",
    citation="",
)
