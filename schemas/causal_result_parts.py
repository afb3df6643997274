"""What results of causal dimensionality are made of: autoencoders, thresholds, counts, fits (spec 3)."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = [
    "Cell",
    "FitForm",
    "Interval",
    "Number",
    "OpenModel",
    "RecallPoint",
    "ResultProvenance",
    "SaeReference",
    "Share",
    "Threshold",
    "WidthRow",
    "require",
    "require_near",
]

Number = float | None
"""In a list or mapping, where a number that is not finite is written as null."""
Share = Annotated[float, Field(ge=0, le=1)]

# How far numbers that are printed with a few digits may be from those that they are computed from (spec 3).
_INERT_TOLERANCE = 5e-4
_RECALL_TOLERANCE = 5.1e-4
_GROWTH_TOLERANCE = 0.01


class OpenModel(BaseModel):
    """Fields beyond the declared ones are kept."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=True)


class SaeReference(OpenModel):
    """Which autoencoder.

    Attributes:
        source: for example ``gemma-scope-2b-pt-res`` or ``random``; ``unknown`` if nothing says so.
        sae_id: its name there, such as ``layer_12/width_16k/average_l0_82``.
    """

    source: str
    sae_id: str | None = None
    arch: Literal["relu", "jumprelu", "topk", "batchtopk", "gated", "identity", "unknown"] = "unknown"
    d_in: int | None = None
    d_sae: int | None = None
    hook: Literal["embed", "attn_out", "mlp_out", "resid_post", "other"] = "other"
    layer: int | None = None


class Threshold(OpenModel):
    """From which score on a feature is called causal.

    Attributes:
        q: of a percentile: 0.98 makes the top 2 % causal.
        population: what the percentile is taken over.
        value: in units of the score.
        calibrated_on: the result that fixed the value.
    """

    kind: Literal["percentile", "absolute", "null", "effect_size", "mass", "unknown"] = "unknown"
    q: Share | None = None
    population: Literal["all_features", "firing_features", "unknown"] = "unknown"
    value: float | None = None
    calibrated_on: str | None = None


class ResultProvenance(OpenModel):
    """What a result was computed from; None is unknown.

    Attributes:
        metric: what of the model's output was attributed.
        atp_reduction: how the scores of tokens became one.
        software: versions by package.
        origin: "imported" from a file of somebody else, "transcribed" from a text, else "regenerated" here.
        path: of an imported file, in its repository.
        sha256: of an imported file.
    """

    model: str | None = None
    model_revision: str | None = None
    d_model: int | None = None
    dataset: str | None = None
    n_sequences: int | None = None
    seq_len: int | None = None
    n_tokens: int | None = None
    metric: Literal["ce_sum", "ce_mean", "logit_diff", "logit_top1", "kl", "other", "unknown"] = "unknown"
    atp_reduction: Literal["mean_abs", "max_abs", "abs_mean", "mean_abs_active", "unknown"] = "unknown"
    seed: int | None = None
    dtype: str | None = None
    software: dict[str, str] = Field(default_factory=dict)
    origin: Literal["regenerated", "imported", "transcribed"] = "regenerated"
    path: str | None = None
    sha256: str | None = None


class Interval(OpenModel):
    """A confidence interval.

    Attributes:
        unit: what was resampled.
        n_boot: how often.
    """

    lo: float
    hi: float
    level: Share = 0.95
    median: float | None = None
    method: Literal["percentile", "basic", "bca", "profile", "normal", "unknown"] = "unknown"
    unit: Literal["sequence", "feature", "width_point", "residual", "unknown"] = "unknown"
    n_boot: int | None = None

    @model_validator(mode="after")
    def _is_in_order(self) -> Self:
        require(self.lo <= self.hi, f"the interval ends at {self.hi}, before it begins at {self.lo}")
        return self


class WidthRow(OpenModel):
    """Counts of features of one autoencoder.

    Attributes:
        width: number of its features.
        n_repr: how many fire at all.
        n_causal: how many of those score above the threshold.
        mean_l0: features that fire at a token, on average.
        inert_fraction: 1 - n_causal / n_repr.
        tau: the threshold.
        recon_fvu: share of variance that the reconstruction leaves unexplained.
    """

    sae: SaeReference
    width: int
    n_repr: int
    n_causal: int
    mean_l0: float | None = None
    n_inert: int | None = None
    inert_fraction: Share | None = None
    tau: float | None = None
    recon_fvu: float | None = None

    @model_validator(mode="after")
    def _counts_fit(self) -> Self:
        in_order = 0 <= self.n_causal <= self.n_repr <= self.width
        require(in_order, f"not 0 <= {self.n_causal} causal <= {self.n_repr} firing <= {self.width} features")
        if self.inert_fraction is not None and self.n_repr:
            inert = 1 - self.n_causal / self.n_repr
            fits = abs(inert - self.inert_fraction) <= _INERT_TOLERANCE
            require(fits, f"inert_fraction is {self.inert_fraction}, but by the counts {inert:.5f}")
        return self


class FitForm(OpenModel):
    """One curve through the counts.

    Attributes:
        form: exp, mm, hill, weibull, exp_offset, power or another (spec 2.4).
        kappa: its asymptote; None if it has none.
        space: of the residuals.
        at_bound: whether a parameter ended at a bound of its search.
        extrapolated: whether kappa is more than 1.5 times the largest count.
        exceeds_d_model: whether kappa, or the end of its interval, is more than an effective rank can be.
    """

    form: str
    params: dict[str, Number]
    kappa: float | None
    sse: float | None = None
    aicc: float | None = None
    space: Literal["linear", "log", "unknown"] = "unknown"
    ci: Interval | None = None
    at_bound: bool | None = None
    extrapolated: bool | None = None
    exceeds_d_model: bool | None = None


class Cell(OpenModel):
    """Counts with a trained or random encoder and decoder; repeats of a cell are seeds (spec 2.6)."""

    encoder: Literal["trained", "random"]
    decoder: Literal["trained", "random"]
    n_repr: int
    n_causal: int
    mean_l0: float | None = None
    bias_policy: str | None = None
    threshold_policy: str | None = None
    scale_policy: str | None = None
    seed: int | None = None


class RecallPoint(OpenModel):
    """Which share of a circuit's features is above a percentile of scores."""

    q: Share
    n_hit: Annotated[int, Field(ge=0)]
    n_true: Annotated[int, Field(gt=0)]
    recall: Share
    random_baseline: float | None = None

    @model_validator(mode="after")
    def _is_a_share(self) -> Self:
        share = self.n_hit / self.n_true
        fits = abs(share - self.recall) <= _RECALL_TOLERANCE
        require(fits, f"recall is {self.recall}, but {self.n_hit} of {self.n_true} are {share:.5f}")
        return self


def require(holds: bool, message: str) -> None:  # noqa: FBT001 - reads as the assertion that it is
    """Raise ValueError with a message, which pydantic reports as a fault of the model, unless something holds."""
    if not holds:
        raise ValueError(message)


def require_near(name: str, stated: float | None, computed: float) -> None:
    """Require that a ratio is within 1 % of what the counts give, if it is stated."""
    if stated is None:
        return
    fits = abs(stated - computed) <= _GROWTH_TOLERANCE * abs(computed)
    require(fits, f"{name} is {stated}, but by the counts {computed:.4g}")
