"""Scores from streams of batches against dense arrays, and resampled sequences against scoring them anew."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import causal_models as tiny
import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from circuit_artifacts.compute.causality.attribution import attribution
from circuit_artifacts.compute.causality.capture import SiteValues, positions_mask, site_values
from circuit_artifacts.compute.causality.null_scores import NullKind, null_scores
from circuit_artifacts.compute.causality.scores import REDUCTIONS, FeatureScores, Reduction, score_features
from circuit_artifacts.compute.saes import SparseAutoencoder
from circuit_artifacts.errors import SchemaError, UnknownNameError

Batch = tuple[SiteValues, Tensor]
Floats = npt.NDArray[np.float64]

IDS = tiny.token_ids(9)
SPECIAL = {int(IDS[0, 0]), int(IDS[1, 3]), int(IDS[5, 2])}


class Dense(NamedTuple):
    """All effects (sequences, tokens, features), activations likewise, tokens that count, and errors."""

    effects: Floats
    values: Floats
    mask: npt.NDArray[np.bool_]
    error: Floats

    def scores(self, reduction: Reduction) -> Floats:
        if reduction == "mean_abs":
            return np.abs(self.effects)[self.mask].mean(axis=0)
        if reduction == "max_abs":
            return np.abs(self.effects).max(axis=(0, 1))
        if reduction == "abs_mean":
            return np.abs(self.effects.sum(axis=1)).mean(axis=0)
        firing = (self.values > 0).sum(axis=(0, 1))
        return np.abs(self.effects).sum(axis=(0, 1)) / np.maximum(firing, 1)


@pytest.fixture(scope="module")
def batches() -> list[Batch]:
    model = tiny.build("neox")
    return [
        (site_values(model, ids, site="resid_post", layer=1), positions_mask(ids, SPECIAL))
        for ids in (IDS[:4], IDS[4:5], IDS[5:])
    ]


def dense(batches: list[Batch], sae: SparseAutoencoder) -> Dense:
    parts = []
    for values, mask in batches:
        f = sae.encode(values.activation, "faithful") * mask[:, :, None]
        error = (values.activation - sae(values.activation, "faithful")) * mask[:, :, None]
        effects = -f * (values.gradient @ sae.W_dec.T)
        parts.append((effects, f, mask, -(values.gradient * error).sum(dim=-1)))
    return Dense(*(torch.cat(column).numpy() for column in zip(*parts, strict=True)))


def sparse() -> SparseAutoencoder:
    """Features that are on at few tokens, some at none."""
    return tiny.autoencoder("jumprelu", n_features=40, shift=-5.0)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_scores_are_those_of_dense_arrays(batches: list[Batch], reduction: Reduction) -> None:
    sae = sparse()
    (scores,) = score_features(batches, [sae], reduction=reduction)
    expected = dense(batches, sae)
    np.testing.assert_allclose(scores.scores, expected.scores(reduction), rtol=1e-10)
    assert scores.scores.shape == (40,)
    assert scores.total == pytest.approx(expected.scores(reduction).sum())
    np.testing.assert_array_equal(scores.firing, (expected.values > 0).sum(axis=(0, 1)))
    assert 0 < np.count_nonzero(scores.firing) < 40
    np.testing.assert_array_equal(scores.features, np.flatnonzero(scores.firing))
    assert (scores.n_sequences, scores.n_tokens) == (9, expected.mask.sum())
    assert scores.l0 == pytest.approx((expected.values > 0).sum() / expected.mask.sum())
    as_feature = Dense(expected.error[..., None], expected.mask[..., None] * 1.0, expected.mask, expected.error)
    assert scores.error_score == pytest.approx(as_feature.scores(reduction)[0])


def test_unexplained_variance(batches: list[Batch]) -> None:
    sae = sparse()
    (scores,) = score_features(batches, [sae])
    x = torch.cat([values.activation[mask] for values, mask in batches])
    unexplained = (x - sae(x, "faithful")).square().sum() / (x - x.mean(dim=0)).square().sum()
    assert scores.fvu == pytest.approx(float(unexplained))


def test_several_autoencoders_are_scored_in_one_pass(batches: list[Batch]) -> None:
    saes = [tiny.autoencoder("relu", seed=1), sparse(), tiny.autoencoder("topk", n_features=30, seed=2)]
    together = score_features(iter(batches), saes)
    for sae, scores in zip(saes, together, strict=True):
        np.testing.assert_array_equal(scores.scores, score_features(batches, [sae])[0].scores)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_streams_that_are_merged_are_one_stream(batches: list[Batch], reduction: Reduction) -> None:
    (whole,) = score_features(batches, [sparse()], reduction=reduction)
    (merged,) = score_features(batches[:1], [sparse()], reduction=reduction)
    merged.merge(score_features(batches[1:], [sparse()], reduction=reduction)[0])
    np.testing.assert_array_equal(merged.scores, whole.scores)
    np.testing.assert_array_equal(merged.firing, whole.firing)
    assert (merged.fvu, merged.error_score, merged.l0) == (whole.fvu, whole.error_score, whole.l0)
    for ours, theirs in zip(merged.firing_curve(), whole.firing_curve(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_resampled_sequences_are_as_if_scored_anew(batches: list[Batch], reduction: Reduction) -> None:
    sae = sparse()
    (scores,) = score_features(batches, [sae], reduction=reduction)
    weights = np.random.default_rng(0).multinomial(9, np.full(9, 1 / 9), size=5)
    values = [torch.cat([getattr(v, name) for v, _ in batches]) for name in ("activation", "gradient", "metric")]
    mask = torch.cat([mask for _, mask in batches])
    for row, found in zip(weights, scores.resampled(weights), strict=True):
        drawn = torch.from_numpy(np.repeat(np.arange(9), row))
        again = FeatureScores(40, reduction)
        again.add(attribution(SiteValues(*(value[drawn] for value in values)), sae, mask[drawn]))
        np.testing.assert_allclose(found, again.scores[scores.features], rtol=1e-10)


def test_how_many_features_have_fired_after_each_sequence(batches: list[Batch]) -> None:
    (scores,) = score_features(batches, [sparse()])
    expected = dense(batches, sparse())
    fires = (expected.values > 0).any(axis=1)
    tokens, features = scores.firing_curve()
    np.testing.assert_array_equal(features, np.logical_or.accumulate(fires).sum(axis=1))
    np.testing.assert_array_equal(tokens, expected.mask.sum(axis=1).cumsum())
    assert features[-1] == np.count_nonzero(scores.firing)


def test_a_feature_that_is_always_off_scores_nothing(batches: list[Batch]) -> None:
    (scores,) = score_features(batches, [tiny.autoencoder("relu", shift=-1e6)])
    assert not scores.scores.any()
    assert scores.firing_curve()[1].tolist() == [0] * 9
    assert scores.l0 == 0


def test_what_does_not_add_up_is_refused(batches: list[Batch]) -> None:
    scores = FeatureScores(24)
    with pytest.raises(SchemaError, match="no batch"):
        scores.scores  # noqa: B018 - it is computed when it is asked for
    with pytest.raises(SchemaError, match=r"another number of features .found 40, expected 24"):
        scores.add(attribution(batches[0][0], sparse(), batches[0][1]))
    with pytest.raises(SchemaError, match="different reductions"):
        scores.merge(FeatureScores(24, "max_abs"))
    with pytest.raises(UnknownNameError, match="mean_abs, max_abs, abs_mean, mean_abs_active"):
        FeatureScores(24, "median")


class TestNull:
    @pytest.mark.parametrize("kind", ["permuted", "haar"])
    def test_random_directions_carry_activations_and_lengths(self, batches: list[Batch], kind: NullKind) -> None:
        """Each null score is the score of an autoencoder with other decoder rows of the same lengths."""
        sae = sparse()
        (scores,) = score_features(batches, [sae])
        features = scores.features
        found = null_scores(batches, sae, features, kind=kind, n_seeds=3, seed=5)
        assert found.shape == (3, len(features))
        lengths = sae.W_dec[features].norm(dim=1)
        for number, row in enumerate(found):
            generator = torch.Generator().manual_seed(5 + number)
            if kind == "permuted":
                drawn = sae.W_dec[features][torch.randperm(len(features), generator=generator)]
            else:
                drawn = torch.randn(len(features), tiny.WIDTH, generator=generator, dtype=torch.float64)
            rows = sae.W_dec.clone()
            rows[features] = drawn / drawn.norm(dim=1, keepdim=True) * lengths[:, None]
            expected = np.zeros(len(features))
            for values, mask in batches:
                f = sae.encode(values.activation, "faithful")[..., features]
                expected += (f * (values.gradient @ rows[features].T)).abs()[mask].sum(dim=0).numpy()
            np.testing.assert_allclose(row, expected / scores.n_tokens, rtol=1e-10)
        assert len(np.unique(found[:, 0])) == 3

    def test_permuting_rows_keeps_the_set_of_directions(self, batches: list[Batch]) -> None:
        """With one feature there is nothing to permute it with."""
        sae = sparse()
        (scores,) = score_features(batches, [sae])
        one = scores.features[:1]
        found = null_scores(batches, sae, one, n_seeds=2)
        np.testing.assert_allclose(found, scores.scores[one][None].repeat(2, axis=0))

    def test_reductions(self, batches: list[Batch]) -> None:
        sae = sparse()
        (scores,) = score_features(batches, [sae], reduction="abs_mean")
        found = null_scores(batches, sae, scores.features[:1], n_seeds=1, reduction="abs_mean")
        np.testing.assert_allclose(found[0], scores.scores[scores.features[:1]])

    def test_unknown_kind(self, batches: list[Batch]) -> None:
        with pytest.raises(UnknownNameError, match="permuted, haar"):
            null_scores(batches, sparse(), np.array([0]), kind="gaussian")


def test_graddrop_scores_never_cancel(batches: list[Batch]) -> None:
    model = tiny.build("neox")
    values = site_values(model, IDS, site="resid_post", layer=0, atp_variant="graddrop")
    mask = positions_mask(IDS, SPECIAL)
    (scores,) = score_features([(values, mask)], [sparse()])
    parts = [
        score_features([(replace(values, gradient=gradient, dropped=()), mask)], [sparse()])[0].scores
        for _, gradient in values.dropped
    ]
    np.testing.assert_allclose(scores.scores, np.mean(parts, axis=0), rtol=1e-10)
