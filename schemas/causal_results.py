"""Causal dimensionality: the results of its experiments, one model per kind (causal-dimensionality spec 3).

The key names of the published files are unknown. These are ours, and `causal_dimensionality.results` imports others.
Shares are fractions, not percent. Numbers that are not finite are accepted, and written as null. Fields beyond the
declared ones are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, ModelWrapValidatorHandler, TypeAdapter, ValidationError, model_validator

from circuit_artifacts.errors import SchemaError
from circuit_artifacts.schemas.causal_result_parts import (
    Cell,
    FitForm,
    Interval,
    Number,
    OpenModel,
    RecallPoint,
    ResultProvenance,
    SaeReference,
    Threshold,
    WidthRow,
    require,
    require_near,
)

__all__ = [
    "EXTRAPOLATED",
    "KINDS",
    "AtpVersusExact",
    "CrossFamily",
    "CurveFit",
    "DirectKappa",
    "EncoderCells",
    "Planted",
    "Result",
    "SvaRecall",
    "UnknownResult",
    "WidthSweep",
    "dump_result",
    "faults",
    "parse_result",
]

# How far numbers that are printed with a few digits may be from those that they are computed from (spec 3).
_RATIO_TOLERANCE = 5.1e-3
_RANK_TOLERANCE, _WIDTH_TOLERANCE = 1e-6, 1e-5
EXTRAPOLATED = 1.5
"""Times the largest count: an asymptote above it was extrapolated (spec 2.4, ours)."""


class _Result(OpenModel):
    schema_version: str = "cd-results/1"
    experiment: str
    provenance: ResultProvenance = ResultProvenance()
    notes: str | None = None

    @model_validator(mode="wrap")
    @classmethod
    def _representable(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(value)
        except OverflowError as error:  # JSON's integers have no end
            problem = "a number is too large to compute with"
            raise ValueError(problem) from error


class AtpVersusExact(_Result):
    """Attribution patching beside exact ablation, per feature (spec 2.5).

    Attributes:
        signed: whether effects were compared with their signs.
        per_feature: the compared pairs, as ``{"feature", "atp", "exact"}``.
    """

    kind: Literal["exp0_atp_vs_exact"] = "exp0_atp_vs_exact"
    sae: SaeReference
    n_features: Annotated[int, Field(ge=0)]
    sampling: Literal["uniform_firing", "stratified", "top_k", "unknown"] = "unknown"
    signed: bool | None = None
    spearman_rho: Annotated[float, Field(ge=-1, le=1)]
    p_value: float | None = None
    rho_ci: Interval | None = None
    per_feature: list[dict[str, Number]] | None = None

    @model_validator(mode="after")
    def _has_all_pairs(self) -> Self:
        found = self.n_features if self.per_feature is None else len(self.per_feature)
        require(found == self.n_features, f"{found} pairs of {self.n_features} features")
        return self


class WidthSweep(_Result):
    """Counts at growing widths of the autoencoder of one layer (spec 2.3).

    Attributes:
        repr_growth: of firing features, from the narrowest to the widest.
        causal_growth: likewise of causal ones.
        wedge_ratio: the first divided by the second.
    """

    kind: Literal["exp1_width_sweep"] = "exp1_width_sweep"
    layer: int
    threshold: Threshold
    rows: Annotated[list[WidthRow], Field(min_length=1)]
    repr_growth: float | None = None
    causal_growth: float | None = None
    wedge_ratio: float | None = None

    @model_validator(mode="after")
    def _growths_fit(self) -> Self:
        rows = sorted(self.rows, key=lambda row: row.width)
        first, last = rows[0], rows[-1]
        if len(rows) > 1 and first.n_repr and first.n_causal:
            require_near("repr_growth", self.repr_growth, last.n_repr / first.n_repr)
            require_near("causal_growth", self.causal_growth, last.n_causal / first.n_causal)
        return self


class CurveFit(_Result):
    """Kappa as the asymptote of a count of features (spec 2.4).

    Attributes:
        selected: the form whose kappa is kappa_hat; None, as kappa_hat then, where no form could be told apart.
        kappa_pr: the participation ratio, a lower bound of the effective rank.
        verdict: whether an asymptote was found at all; without one, kappa_hat means nothing.
    """

    kind: Literal["expB_curve_fit"] = "expB_curve_fit"
    d_model: Annotated[int, Field(gt=0)]
    widths: list[int]
    n_causal: list[float]
    fits: Annotated[list[FitForm], Field(min_length=1)]
    selected: str | None
    kappa_hat: float | None
    verdict: Literal["saturation", "no saturation detected", "too few widths"] | None = None
    kappa_over_dmodel: float | None = None
    kappa_pr: float | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        n_widths, n_counts = len(self.widths), len(self.n_causal)
        require(n_widths == n_counts, f"{n_counts} counts for {n_widths} widths")
        forms = [fit.form for fit in self.fits]
        known = self.selected is None or self.selected in forms
        require(known, f"{self.selected!r} was selected, but the fits are {', '.join(forms)}")
        if self.kappa_over_dmodel is not None and self.kappa_hat is not None:
            ratio = self.kappa_hat / self.d_model
            fits = abs(self.kappa_over_dmodel - ratio) <= _RATIO_TOLERANCE
            require(fits, f"kappa_over_dmodel is {self.kappa_over_dmodel}, but by its parts {ratio:.5f}")
        for fit in self.fits:
            self._check_flags(fit)
        return self

    def _check_flags(self, fit: FitForm) -> None:
        if fit.kappa is None:
            return
        largest = max([fit.kappa, *([fit.ci.hi] if fit.ci else [])])
        expected = {"exceeds_d_model": largest > self.d_model}
        if self.n_causal:
            expected["extrapolated"] = fit.kappa > EXTRAPOLATED * max(self.n_causal)
        for name, value in expected.items():
            found = getattr(fit, name)
            require(found in {None, value}, f"{name} of the form {fit.form} is {found}, but by its kappa {value}")


class EncoderCells(_Result):
    """The four cells (spec 2.6).

    Attributes:
        inflation: causal features with a random encoder divided by those with the trained one, decoders trained.
    """

    kind: Literal["exp5b_encoder_ablation"] = "exp5b_encoder_ablation"
    sae: SaeReference
    threshold: Threshold
    cells: list[Cell]
    inflation: float | None = None

    @model_validator(mode="after")
    def _has_four_cells(self) -> Self:
        counts: dict[tuple[str, str], list[int]] = {}
        for cell in self.cells:
            counts.setdefault((cell.encoder, cell.decoder), []).append(cell.n_causal)
        states = ("trained", "random")
        absent = [f"{e} encoder, {d} decoder" for e in states for d in states if (e, d) not in counts]
        require(not absent, f"there is no cell with {'; '.join(absent)}")
        base = _mean(counts["trained", "trained"])
        if base:
            require_near("inflation", self.inflation, _mean(counts["random", "trained"]) / base)
        return self


class SvaRecall(_Result):
    """How many features of a circuit for subject-verb agreement attribution patching finds (spec 2.8).

    Attributes:
        task: the structure of sentences: rc, within_rc, nounpp or simple.
        node_threshold: least effect of the circuit's features.
        percentile_scope: what scores the percentiles are taken over.
    """

    kind: Literal["exp9_sva_recall"] = "exp9_sva_recall"
    task: str
    split: Literal["train", "test", "unknown"] = "unknown"
    node_threshold: float | None = None
    ground_truth_method: Literal["ig", "attrib", "exact", "annotated", "unknown"] = "unknown"
    percentile_scope: Literal["per_submodule", "global", "unknown"] = "unknown"
    points: list[RecallPoint]

    @model_validator(mode="after")
    def _grows(self) -> Self:
        points = sorted(self.points, key=lambda point: -point.q)
        for one, lower in pairwise(points):
            message = f"recall falls from {one.recall} at q = {one.q} to {lower.recall} at the lower q = {lower.q}"
            require(one.recall <= lower.recall, message)
        return self


class Planted(_Result):
    """How many planted directions are found in a model whose causes are known (spec 2.7).

    Attributes:
        ceiling_recovered: by any feature of the dictionary, selected or not.
        subspace_overlap: mean squared cosine of principal angles.
    """

    kind: Literal["exp_synthetic_gt"] = "exp_synthetic_gt"
    n_planted: int
    cos_threshold: float
    n_recovered: Annotated[int, Field(ge=0)]
    ceiling_recovered: int | None = None
    subspace_overlap: float | None = None

    @model_validator(mode="after")
    def _is_below_the_ceiling(self) -> Self:
        counts = [self.n_recovered, self.ceiling_recovered, self.n_planted]
        known = [count for count in counts if count is not None]
        message = f"not recovered <= ceiling <= planted: {' <= '.join(map(str, known))}"
        require(known == sorted(known), message)
        return self


class CrossFamily(_Result):
    """Counts in models of other families (spec 2.9)."""

    kind: Literal["cross_family"] = "cross_family"
    rows: list[WidthRow]
    threshold: Threshold


class DirectKappa(_Result):
    """Kappa as it is defined: the effective rank of the expected Jacobian outer product (spec 2.1).

    Attributes:
        output: what of the model was differentiated.
        kappa: None, with the reason in ``refused``, where there were too few samples to state it.
        kappa_pr: the participation ratio of the same spectrum.
        eigenvalues: largest first.
        convergence: the estimate at growing numbers of probes.
    """

    kind: Literal["kappa_direct"] = "kappa_direct"
    layer: int
    d_model: int
    output: Literal["logits", "centred_logits", "logprobs", "ce", "fisher", "resid_final"]
    estimator: Literal["exact_jacobian", "vjp_sketch", "gradient_outer_product"]
    n_probes: int
    n_positions: int
    kappa: float | None
    kappa_pr: float | None
    refused: str | None = None
    eigenvalues: list[Number] | None = None
    convergence: list[dict[str, Number]] | None = None

    @model_validator(mode="after")
    def _is_a_rank(self) -> Self:
        if self.kappa is None or self.kappa_pr is None:
            require(self.refused is not None, "kappa is missing, and nothing says why")
            return self
        kappa = self.kappa * (1 + _RANK_TOLERANCE)
        in_order = self.kappa_pr <= kappa <= self.d_model * (1 + _WIDTH_TOLERANCE)
        message = f"not participation ratio {self.kappa_pr} <= effective rank {self.kappa} <= width {self.d_model}"
        require(in_order, message)
        return self


class UnknownResult(_Result):
    """Whatever fits no other kind; ``errors`` say why it does not fit the one that was expected."""

    kind: Literal["unknown"] = "unknown"
    raw: Any = None
    errors: list[str] = Field(default_factory=list)


Result = Annotated[
    AtpVersusExact
    | WidthSweep
    | CurveFit
    | EncoderCells
    | SvaRecall
    | Planted
    | CrossFamily
    | DirectKappa
    | UnknownResult,
    Field(discriminator="kind"),
]
"""Any result; ``kind`` tells which."""

KINDS: dict[str, type[BaseModel]] = {
    str(model.model_fields["kind"].default): model
    for model in (
        AtpVersusExact,
        WidthSweep,
        CurveFit,
        EncoderCells,
        SvaRecall,
        Planted,
        CrossFamily,
        DirectKappa,
        UnknownResult,
    )
}
"""Models by their kind."""

_ANY: TypeAdapter[Result] = TypeAdapter(Result)


def parse_result(value: Any, *, file: object = None) -> Result:
    """A result from JSON values.

    Args:
        value: an object with a ``kind``, as `json.loads` gives it.
        file: for the message.

    Raises:
        SchemaError: no such kind, a field is missing or has a wrong value, or fields contradict each other.
    """
    try:
        return _ANY.validate_python(value)
    except ValidationError as error:
        first, *more = faults(error)
        problem = "this is not a result of its kind"
        raise SchemaError(problem, file=file, found=first + f" and {len(more)} more" * bool(more)) from error


def dump_result(result: BaseModel) -> str:
    """One line of JSON, with null for numbers that are not finite."""
    return result.model_dump_json()


def faults(error: ValidationError) -> list[str]:
    """What is wrong, one sentence per field."""
    return [
        f"{place}: {item['msg']}" if (place := ".".join(map(str, item["loc"]))) else str(item["msg"])
        for item in error.errors(include_url=False, include_input=False)
    ]


def _mean(counts: Sequence[int]) -> float:
    return sum(counts) / len(counts)
