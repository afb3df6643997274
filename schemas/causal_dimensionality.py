"""Causal dimensionality: the rows of every table (causal-dimensionality spec 1, 3 and 4; DESIGN 3)."""

from __future__ import annotations

from typing import Annotated

import pyarrow as pa

from circuit_artifacts.schemas.common import ArtifactModel, Image, Int32, Vector

__all__ = ["Figure", "Headline", "Log", "Result", "SaeFeature", "SaeInventory"]

Float32 = Annotated[float, pa.float32()]
Floats = Annotated[list[float], Vector(pa.float32())]
Shape = Annotated[list[int], pa.list_(pa.int64())]
Texts = Annotated[list[str], pa.list_(pa.string())]


class SaeInventory(ArtifactModel):
    """One dictionary: a file with an autoencoder of one site of the model (spec 1.1 to 1.4).

    ``site`` is its folder, ``hook`` the site without the layer; ``set_id`` and ``d_sae`` are the two numbers of the
    folder below it. Norms are L2: of decoder columns and encoder rows, one per feature; ``bias_norm`` is that of the
    one vector that is subtracted before encoding and added after decoding.
    """

    site: str
    hook: str
    layer: Int32 | None
    path: str
    set_id: Int32
    d_in: Int32
    d_sae: Int32
    encoder_shape: Shape
    decoder_shape: Shape
    dtype: str
    container: str
    bytes: int
    sha256: str
    decoder_norm_min: float
    decoder_norm_mean: float
    decoder_norm_max: float
    encoder_norm_min: float
    encoder_norm_mean: float
    encoder_norm_max: float
    encoder_bias_min: float
    encoder_bias_mean: float
    encoder_bias_max: float
    bias_norm: float


class SaeFeature(ArtifactModel):
    """One feature of a dictionary: its row of the encoder and its column of the decoder (spec 1.2)."""

    index: Int32
    encoder_bias: Float32
    encoder: Floats
    decoder: Floats
    encoder_norm: float
    decoder_norm: float


class Result(ArtifactModel):
    """One JSON file of results (spec 3).

    ``status`` is "typed" where the file fits a kind of `schemas.causal_results`; "invalid" where its folder promises
    one and ``errors`` say why it does not fit; "unknown" else. ``typed`` is the JSON of the fitting result, ``raw`` the
    text of the file as it is, and ``changes`` are the readings that led from one to the other.
    """

    kind: str
    experiment: str | None
    path: str
    status: str
    typed: str | None
    raw: str
    sha256: str
    errors: Texts
    changes: Texts


class Headline(ArtifactModel):
    """One published number (spec 4), with the interval that its printed digits leave open.

    ``source`` is "card", "abstract" (of arXiv:2605.08740v1), or "config" for widths and sizes of the models concerned.
    ``experiment`` and ``note`` are empty where there is none.
    """

    id: str
    quantity: str
    published: float
    unit: str
    source: str
    experiment: str
    decimals: Int32 | None
    low: float | None
    high: float | None
    note: str


class Figure(ArtifactModel):
    """One published picture; ``experiment`` is the folder of results that it is in."""

    experiment: str | None
    file: str
    image: Image


class Log(ArtifactModel):
    """One log of a run. Timestamps are the first and the last that occur in its text, as they are written there."""

    path: str
    bytes: int
    sha256: str
    first_timestamp: str | None
    last_timestamp: str | None
