"""SAE locality: the rows of every table (sae_locality spec 4 and 9; DESIGN 3).

Columns that come from a CSV file keep the name that they have there. Entropies are in bits. ``influence`` is the raw J
of a window, one value per token, not normalised. ``run`` is the run's folder in the repository, and joins every table
to ``runs.path``. ``extra`` is a JSON object of whatever the file holds beyond the known columns, null if nothing.
"""

from __future__ import annotations

from typing import Annotated

import pyarrow as pa
from pydantic import Field

from circuit_artifacts.schemas.common import ArtifactModel, Image, Int32, Vector

__all__ = [
    "AutocorrelationCurve",
    "AutocorrelationExample",
    "AutocorrelationFeature",
    "Candidate",
    "CaseStudy",
    "DecoderVector",
    "DepthFeature",
    "DepthWindow",
    "EntropyTarget",
    "Event",
    "Figure",
    "GeometryFeature",
    "GeometryNeighbour",
    "GeometryPair",
    "Influence",
    "NeuronpediaCheck",
    "NeuronpediaFeature",
    "Run",
    "SweepFeature",
    "SweepLength",
    "TopContext",
]

Float32 = Annotated[float, pa.float32()]
Floats = Annotated[list[float], pa.list_(pa.float32())]
Texts = Annotated[list[str], pa.list_(pa.string())]
Tokens = Annotated[list[int], pa.list_(pa.int64())]
Trace = Annotated[list[float], pa.list_(pa.float32(), 129)]


class Run(ArtifactModel):
    """One run folder, or one file that the path grammar does not know (strand ``unknown``)."""

    path: str
    strand: str
    preset: str | None
    dataset: str | None
    timestamp: str | None
    variant: str | None
    legacy: bool
    n_files: int
    complete: bool | None
    context_len: Int32 | None
    num_batches: Int32 | None
    seed: int | None
    threshold: float | None
    sae_arch: str | None
    torch_version: str | None
    gpu_name: str | None
    regenerated: bool
    config: str | None
    bench: str | None


class InRun(ArtifactModel):
    """What belongs to a run."""

    run: str


class DepthWindow(InRun):
    """One window of a depth run at one layer (spec 4.1).

    ``sae_arch`` is what the file says, which is the architecture that was found; the one of ``runs`` is a hint that
    is wrong for three presets (spec 3). ``sae_encode`` says how features were computed; published files were ``compat``
    and do not say so.
    """

    preset: str | None
    dataset: str
    layer: Int32
    batch_idx: Int32
    start_idx: int
    context_len: Int32 | None
    num_active_features: Int32
    token_entropy_bits: Float32 | None
    token_influence: Floats
    threshold: float | None
    total_features: Int32 | None
    sae_arch: str | None
    sae_source: str | None
    sae_encode: str | None
    extra: str | None


class DepthFeature(InRun):
    """One active feature of one window (spec 4.1).

    ``activation`` is that at the last token. The card speaks of one value per token: a file that has them fills
    ``activation_trace`` too.
    """

    preset: str | None
    dataset: str
    layer: Int32
    batch_idx: Int32
    start_idx: int
    feature_id: Int32
    entropy_bits: Float32
    activation: Float32 | None
    activation_trace: Floats | None
    J_sum: Float32
    influence: Floats


class SweepLength(InRun):
    """One context length of the sweep at one layer (spec 4.2), with the tokens of its window."""

    preset: str | None
    dataset: str
    layer: Int32
    context_len: Int32
    num_active_features: Int32
    token_entropy_bits: Float32 | None
    prompt_token_ids: Tokens | None
    prompt_tokens: Texts | None
    threshold: float | None
    total_features: Int32 | None
    sae_arch: str | None
    sae_source: str | None
    sae_encode: str | None
    extra: str | None


class SweepFeature(InRun):
    """One active feature at one context length (spec 4.2)."""

    preset: str | None
    dataset: str
    layer: Int32
    context_len: Int32
    feature_id: Int32
    entropy_bits: Float32
    activation: Float32 | None
    activation_trace: Floats | None
    influence: Floats | None


class Event(InRun):
    """One top-activating event of one feature at one context length (spec 4.8), under the names of the code.

    ``published_as`` maps these names to those of the file, where they differ. ``peak_token_idx`` of the card may count
    in the corpus or in the window; ``abs_peak`` is filled from it only if its values do not fit in a window.
    ``crosses_event`` says whether the window holds the start of another event; null where that cannot be told.
    """

    ctx: Int32
    feature_id: Int32
    tier: str | None
    description: str | None
    top_act_rank: Int32
    activation_value: float | None
    abs_peak: int | None
    peak_token_idx: int | None
    ctx_start: int | None
    H_pos_bits: float | None
    n_positions: Int32 | None
    J_max: float | None
    J_sum: float | None
    J_argmax: Int32 | None
    peak_token_str: str | None
    status: str | None
    crosses_event: bool | None
    published_as: str | None
    extra: str | None


class Influence(InRun):
    """The raw J of one event (spec 4.9); ``key`` is its name in the file."""

    ctx: Int32
    tier: str | None
    feature_id: Int32
    top_act_rank: Int32
    key: str
    influence: Floats


class TopContext(InRun):
    """One example on which a feature is most active (spec 4.10)."""

    layer: Int32
    feature_id: Int32
    rank: Int32
    max_activation: float | None
    activation: float | None
    token_idx: Int32
    window_start_token: int | None
    activating_token: str | None
    tokens: Texts
    neuronpedia_rank: Int32 | None
    neuronpedia_data_index: str | None
    extra: str | None


class GeometryFeature(InRun):
    """One feature of the geometry set (spec 4.14); ``row_idx`` is its row in both tensors."""

    row_idx: Int32
    feature_id: Int32
    tier: str | None
    description: str | None
    n_events: Int32
    H_pos_mean: float
    H_pos_std: float | None
    extra: str | None


class GeometryPair(InRun):
    """Two features of the geometry set (spec 4.15)."""

    fid_a: Int32
    fid_b: Int32
    cosine: float
    H_a: float
    H_b: float
    entropy_difference: float = Field(alias="dH")
    tier_a: str | None
    tier_b: str | None
    abs_cosine: float
    extra: str | None


class GeometryNeighbour(InRun):
    """A feature beside the mean of its ten nearest in the set (spec 4.16)."""

    feature_id: Int32
    tier: str | None
    H_pos: float
    neighbour_entropy: float | None = Field(alias="nbr10_H_mean")
    neighbour_abs_cosine: float | None = Field(alias="nbr10_abs_cos_mean")
    extra: str | None


class NeuronpediaCheck(InRun):
    """A cosine computed here beside Neuronpedia's (spec 4.17)."""

    fid: Int32
    neighbour_fid: Int32
    cosine_local: float
    cosine_neuronpedia: float
    abs_diff: float
    extra: str | None


class DecoderVector(InRun):
    """The decoder row of one feature, not normalised (spec 4.3)."""

    row_idx: Int32
    feature_id: Int32
    vector: Annotated[list[float], Vector(pa.float32())]


class AutocorrelationFeature(InRun):
    """A feature of the strand, from ``selected_features.csv`` or ``feature_summary.csv`` (spec 4.19)."""

    table: str
    feature_id: Int32
    extra: str | None


class AutocorrelationCurve(InRun):
    """The autocorrelation of one feature's activation at one lag in tokens (spec 4.19).

    Lag and value are null in a table of unknown form, which is then in ``extra``.
    """

    feature_id: Int32
    lag: Int32 | None
    autocorrelation: float | None
    extra: str | None


class AutocorrelationExample(InRun):
    """The activations of a feature from 64 tokens before to 64 after a peak, which is 1.0 (spec 4.19)."""

    feature_id: Int32
    example: Int32
    doc_id: str | None
    peak_position: int | None
    trace: Trace
    extra: str | None


class EntropyTarget(InRun):
    """The entropy of a feature at one active position, looking back 256 tokens (spec 4.19)."""

    feature_id: Int32
    H_pos_bits: float | None
    extra: str | None


class NeuronpediaFeature(ArtifactModel):
    """One cached answer of Neuronpedia (spec 4.21); ``raw`` is the whole of it."""

    model: str
    sae: str
    feature_id: Int32
    density: float | None
    max_activation: float | None
    description: str | None
    recall: float | None
    n_activations: Int32
    raw: str


class CaseStudy(InRun):
    """One feature of a case-study page (spec 4.13)."""

    preset: str | None
    layer: Int32 | None
    ctx: Int32 | None
    feature_id: Int32
    tier: str | None
    description: str | None
    mean_h_pos: float | None
    std_h_pos: float | None
    n_events: Int32 | None
    recall_alt: float | None
    extra: str | None


class Candidate(ArtifactModel):
    """One line of a curation list (spec 4.20)."""

    preset: str
    layer: Int32
    tier: str
    feature_id: Int32
    density: float | None
    recall: float | None
    explanation: str
    snippets: str


class Figure(InRun):
    """One published picture, with what its path says of it."""

    strand: str
    preset: str | None
    dataset: str | None
    layer: Int32 | None
    ctx: Int32 | None
    batch_idx: Int32 | None
    file: str
    image: Image
