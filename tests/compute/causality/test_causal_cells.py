from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from circuit_artifacts.compute.causality.capture import SiteValues
from circuit_artifacts.compute.causality.cells import CellCounts, CellSettings, FourCells, four_cells
from circuit_artifacts.compute.causality.random_parts import (
    matched_thresholds,
    random_decoder,
    random_encoder,
    with_decoder,
    with_encoder,
)
from circuit_artifacts.compute.saes import Gate, SparseAutoencoder, TrainingFacts
from circuit_artifacts.errors import ModelError, UnknownNameError

D, M = 8, 20


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def make_sae(arch: str = "relu", *, facts: TrainingFacts | None = None) -> SparseAutoencoder:
    """Random weights whose features fire at very different rates; the first never does."""
    bias = torch.linspace(-8, 1, M)
    bias[0] = -1e4
    more = {"threshold": normal(M, seed=3).abs()} if arch == "jumprelu" else {"k": 3} if arch == "topk" else {}
    return SparseAutoencoder(
        arch, normal(D, M, seed=1), bias, normal(M, D, seed=2), normal(D, seed=4), **more, trained=facts
    )


def make_batches(n_batches: int = 3) -> list[tuple[SiteValues, Tensor]]:
    batches = []
    for seed in range(n_batches):
        x = normal(2, 50, D, seed=10 + seed) + 0.5
        mask = torch.ones(2, 50, dtype=torch.bool)
        mask[:, 0] = False
        x[:, 0] = 1e3  # would change everything if it counted
        batches.append((SiteValues(x, normal(2, 50, D, seed=20 + seed), torch.zeros(2)), mask))
    return batches


def kept(batches: list[tuple[SiteValues, Tensor]]) -> tuple[Tensor, Tensor]:
    return tuple(torch.cat([getattr(v, name)[mask] for v, mask in batches]) for name in ("activation", "gradient"))


def test_blocks_are_orthogonal_and_as_long_as_the_trained_directions() -> None:
    sae = make_sae()
    W_enc = random_encoder(sae, "blocks", seed=0)
    assert W_enc.shape == (D, M)
    torch.testing.assert_close(W_enc.norm(dim=0), sae.W_enc.norm(dim=0))
    unit = W_enc / W_enc.norm(dim=0)
    for start in range(0, M, D):
        block = unit[:, start : start + D]
        torch.testing.assert_close(block.T @ block, torch.eye(block.shape[1]), atol=1e-5, rtol=0)
    assert (unit[:, :D].T @ unit[:, D : 2 * D]).abs().max() > 0.1, "blocks are drawn independently"


def test_semi_orthogonal_directions_are_a_tight_frame() -> None:
    W_enc = random_encoder(make_sae(), "semi", seed=0)
    torch.testing.assert_close(W_enc @ W_enc.T, torch.eye(D), atol=1e-5, rtol=0)
    assert W_enc.norm(dim=0).square().mean() == pytest.approx(D / M, rel=1e-5)
    narrow = SparseAutoencoder("relu", normal(D, 3, seed=1), torch.zeros(3), normal(3, D, seed=2), torch.zeros(D))
    W_enc = random_encoder(narrow, "semi", seed=0)
    torch.testing.assert_close(W_enc.T @ W_enc, torch.eye(3), atol=1e-5, rtol=0)


def test_orthogonal_matrices_do_not_keep_the_signs_of_the_decomposition() -> None:
    draws = torch.stack([random_encoder(make_sae(), "blocks", seed=seed)[0, 0] for seed in range(60)])
    assert 15 < int((draws > 0).sum()) < 45


def test_random_decoders() -> None:
    sae = make_sae()
    torch.testing.assert_close(random_decoder(sae, "haar", seed=0).norm(dim=1), torch.ones(M))
    permuted = random_decoder(sae, "permuted", seed=0)
    assert not torch.equal(permuted, sae.W_dec)
    assert sorted(map(tuple, permuted.tolist())) == sorted(map(tuple, sae.W_dec.tolist()))


def test_seeds_decide() -> None:
    sae = make_sae()
    for draw, kinds in ((random_encoder, ("blocks", "semi")), (random_decoder, ("haar", "permuted"))):
        for kind in kinds:
            assert torch.equal(draw(sae, kind, seed=5), draw(sae, kind, seed=5))
            assert not torch.equal(draw(sae, kind, seed=5), draw(sae, kind, seed=6))


def test_unknown_kinds_are_named() -> None:
    sae = make_sae()
    with pytest.raises(UnknownNameError, match="blocks, semi"):
        random_encoder(sae, "orthonormal", seed=0)  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="haar, permuted"):
        random_decoder(sae, "uniform", seed=0)  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="keep, zero, match_rate, topk"):
        with_encoder(sae, sae.W_enc, "rescale")  # type: ignore[arg-type]


@pytest.mark.parametrize("arch", ["relu", "jumprelu", "topk"])
@pytest.mark.parametrize("kind", ["blocks", "semi"])
def test_matched_features_fire_exactly_as_often_as_their_trained_partners(arch: str, kind: str) -> None:
    sae = make_sae(arch)
    x, _ = kept(make_batches())
    other = with_encoder(sae, random_encoder(sae, kind, seed=7), "match_rate", inputs=x)
    fires, fired = (one.encode(x, "faithful") > 0 for one in (other, sae))
    assert torch.equal(fires.sum(dim=0), fired.sum(dim=0))
    assert len(set(fired.sum(dim=0).tolist())) > 5, "rates differ"
    assert not torch.equal(fires, fired)
    assert other.arch == "jumprelu"
    assert torch.equal(other.W_dec, sae.W_dec)


def test_rates_from_never_to_always_are_matched_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    x, W_enc = normal(40, D, seed=0) + 2, normal(D, M, seed=1)
    counts = torch.linspace(0, 40, M).round().long()
    whole = matched_thresholds(x, W_enc, torch.zeros(M), counts)
    monkeypatch.setattr("circuit_artifacts.compute.causality.random_parts._ENTRIES", 120)
    for bias, threshold in (whole, matched_thresholds(x, W_enc, torch.zeros(M), counts)):
        pre = x @ W_enc + bias
        assert torch.equal(((pre > threshold) & (pre > 0)).sum(dim=0), counts)
        assert (threshold >= 0).all()
        assert (bias >= 0).all()
        assert (bias * threshold.nan_to_num(posinf=1.0) == 0).all(), "a bias moves only where the threshold cannot"


def test_equal_activations_fire_together_or_not_at_all() -> None:
    x = torch.tensor([[3.0], [2.0], [2.0], [1.0]])
    _, threshold = matched_thresholds(x, torch.ones(1, 2), torch.zeros(2), torch.tensor([2, 3]))
    assert ((x > threshold).sum(dim=0) == torch.tensor([1, 3])).all()


def test_policies_of_bias_and_threshold() -> None:
    sae, x = make_sae("jumprelu"), kept(make_batches())[0]
    W_enc = random_encoder(sae, "blocks", seed=0)
    keep = with_encoder(sae, W_enc, "keep")
    assert torch.equal(keep.b_enc, sae.b_enc)
    assert torch.equal(keep.threshold, sae.threshold)
    zero = with_encoder(sae, W_enc, "zero")
    assert not zero.b_enc.any()
    assert not zero.threshold.any()
    largest = with_encoder(sae, W_enc, "topk", inputs=x)
    l0 = (sae.encode(x, "faithful") > 0).sum() / len(x)
    assert (largest.arch, largest.k) == ("topk", round(float(l0)))
    with pytest.raises(ModelError, match="no activations to count on"):
        with_encoder(sae, W_enc, "match_rate")


def test_a_decoder_whose_norms_choose_the_top_k_can_be_exchanged() -> None:
    facts = TrainingFacts(apply_b_dec_to_input=True, normalization="none", decoder_norm_rescaling=True)
    sae, x = make_sae("topk", facts=facts), kept(make_batches())[0]
    other = with_decoder(sae, random_decoder(sae, "haar", seed=0))
    torch.testing.assert_close(other.encode(x, "faithful"), sae.encode(x, "faithful"))
    same = with_encoder(sae, sae.W_enc * sae.W_dec.norm(dim=1), "keep")
    torch.testing.assert_close(same(x, "faithful"), sae(x, "faithful"))


def test_gated_autoencoders_are_refused() -> None:
    gate = Gate(torch.zeros(M), torch.zeros(M), torch.zeros(M))
    sae = SparseAutoencoder("gated", normal(D, M, seed=1), None, normal(M, D, seed=2), torch.zeros(D), gate=gate)
    with pytest.raises(ModelError, match="gated"):
        four_cells(sae, make_batches(), tau=0.1)


def oracle(f: Tensor, W_dec: Tensor, gradient: Tensor, tau: float) -> tuple[int, int, float]:
    """n_repr, n_causal and L0 from dense products."""
    scores = (f * (gradient @ W_dec.T)).abs().mean(dim=0)
    fires = (f > 0).any(dim=0)
    return int(fires.sum()), int((fires & (scores > tau)).sum()), float((f > 0).sum() / len(f))


@pytest.mark.parametrize("policy", ["keep", "zero", "match_rate", "topk"])
def test_every_cell_counts_as_dense_products_do(policy: str) -> None:
    sae, batches = make_sae(), make_batches()
    x, gradient = kept(batches)
    settings = CellSettings(policy=policy, seeds=(0, 1), q=0.6)
    found = four_cells(sae, batches, settings)
    f = sae.encode(x, "faithful")
    scores = (f * (gradient @ sae.W_dec.T)).abs().mean(dim=0)
    assert found.tau == pytest.approx(float(np.quantile(scores.numpy(), 0.6)), rel=1e-5)
    assert found.n_tokens == len(x)
    cells = {(cell.encoder, cell.decoder, cell.seed): cell for cell in found.cells}
    assert len(cells) == 1 + 3 * 2
    for (encoder, decoder, seed), cell in cells.items():
        one = sae
        if encoder == "random":
            one = with_encoder(sae, random_encoder(sae, "blocks", seed=seed), policy, inputs=x)
        W_dec = sae.W_dec if decoder == "trained" else random_decoder(sae, "haar", seed=seed + (1 << 32))
        expected = oracle(one.encode(x, "faithful"), W_dec, gradient, found.tau)
        assert (cell.n_repr, cell.n_causal, cell.mean_l0) == (*expected[:2], pytest.approx(expected[2]))
    base = cells["trained", "trained", None]
    for seed in (0, 1):
        assert cells["trained", "random", seed].n_repr == base.n_repr
        assert cells["random", "random", seed].mean_l0 == cells["random", "trained", seed].mean_l0
        if policy == "match_rate":
            assert cells["random", "trained", seed].mean_l0 == base.mean_l0
            assert cells["random", "trained", seed].n_repr == base.n_repr


def test_inflation_is_the_mean_and_range_of_ratios_with_the_trained_decoder() -> None:
    def cell(encoder: str, decoder: str, n_causal: int) -> CellCounts:
        return CellCounts(encoder=encoder, decoder=decoder, seed=0, n_repr=99, n_causal=n_causal, mean_l0=1.0)

    cells = (
        cell("trained", "trained", 4),
        cell("random", "trained", 8),
        cell("trained", "random", 99),
        cell("random", "random", 77),
        cell("random", "trained", 32),
    )
    found = FourCells(settings=CellSettings(), tau=1.0, n_tokens=1, cells=cells)
    assert found.inflation == (5.0, 2.0, 8.0)
    assert replace(found, cells=(cell("trained", "trained", 0), *cells[1:])).inflation is None


def test_a_given_threshold_is_used() -> None:
    found = four_cells(make_sae(), make_batches(), CellSettings(seeds=()), tau=1e9)
    assert (found.tau, found.cells[0].n_causal, found.inflation) == (1e9, 0, None)


def test_a_percentile_of_zero_fails_loudly() -> None:
    sae = make_sae()
    sae.b_enc[:-1] = -1e4
    with pytest.raises(ModelError, match=r"percentile of the scores is zero.*0\.6; 1 of 20 features fire"):
        four_cells(sae, make_batches(), CellSettings(q=0.6))


def test_no_tokens_are_an_error() -> None:
    values, mask = make_batches(1)[0]
    for batches in ([], [(values, torch.zeros_like(mask))]):
        with pytest.raises(ModelError, match="no tokens"):
            four_cells(make_sae(), batches)
