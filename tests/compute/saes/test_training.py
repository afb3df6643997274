"""Training finds the sparse features that data was made of, the same ones each time, with every architecture."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from circuit_artifacts.compute.saes import SparseAutoencoder, training
from circuit_artifacts.compute.saes.training import SaeRecipe, train_sae
from circuit_artifacts.errors import ModelError

D, PLANTED, ACTIVE = 16, 24, 2
OFFSET, SCALE = 5.0, 10.0  # neither centred nor of unit size, as residual streams are not
BRIEF = {"d_sae": 32, "steps": 1000, "batch_size": 128}
RECIPES = {
    "relu": SaeRecipe(arch="relu", penalty=0.05, **BRIEF),
    "jumprelu": SaeRecipe(arch="jumprelu", penalty=0.05, **BRIEF),
    "topk": SaeRecipe(arch="topk", k=ACTIVE, auxiliary=1 / 32, **BRIEF),
}
torch.set_num_threads(1)  # matrices this small only lose by sharing them out


def planted(seed: int = 7) -> tuple[Tensor, Tensor]:
    """Directions (PLANTED, D), other than training begins from, and activations (N, D): weighted sums of two each."""
    generator = torch.Generator().manual_seed(seed)
    directions = normalize(torch.randn(PLANTED, D, generator=generator), dim=1)
    chosen = torch.rand(8192, PLANTED, generator=generator).topk(ACTIVE, dim=1).indices
    sizes = 0.5 + torch.rand(8192, ACTIVE, generator=generator)
    features = torch.zeros(8192, PLANTED).scatter(1, chosen, sizes)
    return directions, SCALE * features @ directions + OFFSET


DIRECTIONS, X = planted()


@pytest.fixture(scope="module")
def trained() -> dict[str, SparseAutoencoder]:
    return {name: train_sae(X, recipe) for name, recipe in RECIPES.items()}


@pytest.mark.parametrize("arch", RECIPES)
def test_planted_features_are_found(arch: str, trained: dict[str, SparseAutoencoder]) -> None:
    cosines = DIRECTIONS @ trained[arch].W_dec.T
    assert cosines.max(dim=1).values.mean() > 0.95
    assert cosines.max(dim=1).values.min() > 0.7


@pytest.mark.parametrize("arch", RECIPES)
def test_reconstructions_are_sparse_and_near(arch: str, trained: dict[str, SparseAutoencoder]) -> None:
    features = trained[arch].encode(X)
    error = (X - trained[arch].decode(features)).square().sum()
    assert 1 - error / (X - X.mean(dim=0)).square().sum() > 0.9
    assert ACTIVE - 0.5 < (features > 0).sum(dim=1).double().mean() < 2.5 * ACTIVE


@pytest.mark.parametrize("arch", RECIPES)
def test_raw_activations_are_read_and_both_modes_agree(arch: str, trained: dict[str, SparseAutoencoder]) -> None:
    """The published code of sae-locality subtracts no bias and normalises nothing, whatever the format asks for."""
    sae = trained[arch]
    assert sae.compat_differences == ()
    assert torch.equal(sae.encode(X[:64], "compat"), sae.encode(X[:64], "faithful"))
    torch.testing.assert_close(sae.W_dec.norm(dim=1), torch.ones(32))
    assert (sae.arch, sae.k, sae.threshold is None) == (arch, RECIPES[arch].k, arch != "jumprelu")
    assert not any(parameter.requires_grad for parameter in sae.parameters())


@pytest.mark.parametrize("arch", RECIPES)
def test_equal_recipes_give_equal_weights(arch: str) -> None:
    recipe = replace(RECIPES[arch], steps=40)
    before = torch.get_rng_state()
    one, same, other = (train_sae(X, r).state_dict() for r in (recipe, recipe, replace(recipe, seed=1)))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["W_enc"], other["W_enc"])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("arch", RECIPES)
def test_the_scale_of_activations_changes_nothing_but_the_scale(arch: str) -> None:
    """So that one penalty serves all layers, however large their residual streams are. Powers of two round nothing."""
    recipe = replace(RECIPES[arch], steps=40)
    small, large = train_sae(X, recipe), train_sae(X * 4, recipe)
    torch.testing.assert_close(large.W_dec, small.W_dec)
    torch.testing.assert_close(large.encode(X[:64] * 4), 4 * small.encode(X[:64]))
    torch.testing.assert_close(large(X[:64] * 4), 4 * small(X[:64]))


def test_a_higher_penalty_gives_sparser_features() -> None:
    for arch in ("relu", "jumprelu"):
        recipe = replace(RECIPES[arch], steps=400)
        counts = [
            float((train_sae(X, replace(recipe, penalty=penalty)).encode(X) > 0).double().sum(dim=1).mean())
            for penalty in (0.001, 0.1)
        ]
        assert counts[0] > 1.5 * counts[1], arch


def begin_badly(monkeypatch: pytest.MonkeyPatch, change: Callable[[Any], object]) -> None:
    """Spoil the first 20 of 32 features before training."""
    initial = training._initial

    def spoilt(*arguments: Any) -> Any:
        weights = initial(*arguments)
        change(weights)
        return weights

    monkeypatch.setattr(training, "_initial", spoilt)


def found(sae: SparseAutoencoder) -> int:
    """How many planted features have a feature of their own."""
    return int(((DIRECTIONS @ sae.W_dec.T).max(dim=1).values > 0.9).sum())


def test_features_that_are_dead_begin_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """A feature below zero everywhere has no gradient, and would be lost for good."""
    begin_badly(monkeypatch, lambda weights: weights.b_enc[:20].fill_(-100))
    recipe = replace(RECIPES["relu"], steps=600)
    assert found(train_sae(X, recipe)) == PLANTED
    monkeypatch.setattr(training, "_BEGUN_ANEW_AT", ())
    assert found(train_sae(X, recipe)) <= 12


def test_the_auxiliary_loss_revives_features_that_never_are_among_the_top(monkeypatch: pytest.MonkeyPatch) -> None:
    begin_badly(monkeypatch, lambda weights: weights.W_enc[:, :20].mul_(1e-6))
    monkeypatch.setattr(training, "_BEGUN_ANEW_AT", ())
    recipe = replace(RECIPES["topk"], steps=600)
    assert found(train_sae(X, replace(recipe, auxiliary=0.0))) <= 12
    assert found(train_sae(X, recipe)) > 18


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ({"arch": "relu", "k": 3}, "k"),
        ({"arch": "topk"}, "k"),
        ({"arch": "topk", "k": 33}, "k"),
        ({"arch": "topk", "k": 2, "penalty": 0.1}, "penalty"),
        ({"arch": "jumprelu", "penalty": -0.1}, "penalty"),
        ({"arch": "relu", "auxiliary": 0.1}, "auxiliary"),
        ({"arch": "relu", "steps": 0}, "steps"),
    ],
)
def test_recipes_that_make_no_sense(wrong: dict[str, object], where: str) -> None:
    with pytest.raises(ModelError, match=rf"^{where}: no {wrong['arch']} autoencoder can be trained so"):
        SaeRecipe(**{"d_sae": 32, **wrong})


def test_activations_that_cannot_be_trained_on() -> None:
    recipe = replace(RECIPES["relu"], steps=1)
    with pytest.raises(ModelError, match=r"not a matrix .*found \(8192,\), torch.float32, expected \(N, d_in\)"):
        train_sae(X[:, 0], recipe)
    with pytest.raises(ModelError, match="all equal, or not all finite"):
        train_sae(torch.ones(10, 4), recipe)
    with pytest.raises(ModelError, match="found standard deviation nan"):
        train_sae(torch.full((10, 4), math.nan), recipe)
