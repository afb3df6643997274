"""The arithmetic of every architecture in both modes, against formulas written out here (sae-locality spec 6)."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from circuit_artifacts.compute.saes import Gate, SaeDescription, SparseAutoencoder, TrainingFacts
from circuit_artifacts.errors import ModelError, UnknownNameError

D, S, K = 6, 20, 4


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


W_ENC, B_ENC, W_DEC, B_DEC = normal(D, S, seed=1), normal(S, seed=2), normal(S, D, seed=3), normal(D, seed=4)
THETA = normal(S, seed=5)  # some of them negative
X = normal(3, 5, D, seed=6)
PLAIN = TrainingFacts(apply_b_dec_to_input=False, normalization="none")


def facts(**changes: object) -> TrainingFacts:
    return dataclasses.replace(PLAIN, **changes)


def pre(x: Tensor = X) -> np.ndarray:
    return (x.double() @ W_ENC.double() + B_ENC.double()).numpy()


def kept_largest(values: np.ndarray) -> np.ndarray:
    kept = np.zeros_like(values)
    for place in np.ndindex(values.shape[:-1]):
        largest = np.argsort(-values[place])[:K]
        kept[place][largest] = np.maximum(values[place][largest], 0)
    return kept


def assert_equal(actual: Tensor, expected: np.ndarray) -> None:
    np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_relu_in_compat_mode_neither_subtracts_nor_normalises() -> None:
    for trained in (None, facts(apply_b_dec_to_input=True), facts(normalization="layer_norm")):
        sae = SparseAutoencoder("relu", W_ENC, B_ENC, W_DEC, B_DEC, trained=trained)
        assert_equal(sae.encode(X), np.maximum(pre(), 0))
        assert torch.equal(sae.encode(X, mode="compat"), sae.encode(X))


def test_relu_in_faithful_mode_subtracts_the_bias() -> None:
    sae = SparseAutoencoder("relu", W_ENC, B_ENC, W_DEC, B_DEC, trained=facts(apply_b_dec_to_input=True))
    assert_equal(sae.encode(X, mode="faithful"), np.maximum(pre(X - B_DEC), 0))


def test_jumprelu_passes_negative_values_above_a_negative_threshold_in_compat_mode_only() -> None:
    sae = SparseAutoencoder("jumprelu", W_ENC, B_ENC, W_DEC, B_DEC, THETA)
    above = pre() > THETA.numpy()
    compat = pre() * above
    assert (compat < 0).any()
    assert_equal(sae.encode(X), compat)
    assert_equal(sae.encode(X, mode="faithful"), np.maximum(pre(), 0) * above)


def test_a_value_at_its_threshold_is_not_active() -> None:
    sae = SparseAutoencoder(
        "jumprelu", torch.ones(1, 1), torch.zeros(1), torch.ones(1, 1), torch.zeros(1), torch.ones(1)
    )
    x = torch.tensor([[1.0], [1.5]])
    assert sae.encode(x).tolist() == sae.encode(x, mode="faithful").tolist() == [[0.0], [1.5]]


def test_top_k_chooses_before_relu() -> None:
    sae = SparseAutoencoder("topk", W_ENC, B_ENC - 4, W_DEC, B_DEC, k=K)
    expected = kept_largest(pre() - 4)
    assert (np.count_nonzero(expected, axis=-1) < K).any()
    assert_equal(sae.encode(X), expected)
    assert_equal(sae.encode(X, mode="faithful"), kept_largest(pre(X - B_DEC) - 4))


def test_ties_are_broken_as_torch_does() -> None:
    sae = SparseAutoencoder("topk", torch.ones(2, 9), torch.zeros(9), torch.ones(9, 2), torch.zeros(2), k=3)
    x = torch.tensor([[1.0, 2.0], [2.0, 2.0]])
    kept = torch.topk(x @ torch.ones(2, 9), 3).indices
    assert sae.encode(x).nonzero().tolist() == [[row, int(i)] for row in range(2) for i in kept[row].sort().values]


def test_top_k_with_decoder_norms() -> None:
    sae = SparseAutoencoder("topk", W_ENC, B_ENC, W_DEC, B_DEC, k=K, trained=facts(decoder_norm_rescaling=True))
    norms = np.linalg.norm(W_DEC.double().numpy(), axis=1)
    f = sae.encode(X, mode="faithful")
    assert_equal(f, kept_largest(pre() * norms))
    assert_equal(sae.encode(X), kept_largest(pre()))
    assert_equal(sae.decode(f, mode="faithful"), (f.numpy() / norms) @ W_DEC.numpy() + B_DEC.numpy())


def test_gated_in_faithful_mode_only() -> None:
    gate = Gate(normal(S, seed=7), normal(S, seed=8), normal(S, seed=9))
    trained = facts(apply_b_dec_to_input=True)
    sae = SparseAutoencoder("gated", W_ENC, None, W_DEC, B_DEC, gate=gate, trained=trained)
    product = ((X - B_DEC).double() @ W_ENC.double()).numpy()
    b_gate, r_mag, b_mag = (vector.double().numpy() for vector in gate)
    expected = np.where(product + b_gate > 0, np.maximum(product * np.exp(r_mag) + b_mag, 0), 0)
    assert_equal(sae.encode(X, mode="faithful"), expected)
    with pytest.raises(ModelError, match=r"reads b_enc, which gated autoencoders lack.*mode='faithful'"):
        sae.encode(X)


def mean_and_deviation() -> tuple[np.ndarray, np.ndarray]:
    x = X.double().numpy()
    return x.mean(-1, keepdims=True), x.std(-1, ddof=1, keepdims=True)


@pytest.mark.parametrize("subtract", [False, True])
def test_layer_norm_comes_before_the_bias_is_subtracted_and_is_undone(subtract: bool) -> None:
    trained = facts(normalization="layer_norm", apply_b_dec_to_input=subtract)
    sae = SparseAutoencoder("relu", W_ENC, B_ENC, W_DEC, B_DEC, trained=trained)
    mean, deviation = mean_and_deviation()
    normalised = torch.from_numpy((X.double().numpy() - mean) / (deviation + 1e-5))
    f = sae.encode(X, mode="faithful")
    assert_equal(f, np.maximum(pre(normalised - B_DEC if subtract else normalised), 0))
    reconstruction = f.numpy() @ W_DEC.numpy() + B_DEC.numpy()
    assert_equal(sae.decode(f, mode="faithful", x=X), reconstruction * deviation + mean)
    assert_equal(sae(X, "faithful"), reconstruction * deviation + mean)
    assert_equal(sae.decode(f), reconstruction)
    with pytest.raises(ModelError, match="undoing layer_norm takes the input"):
        sae.decode(f, mode="faithful")


def test_constant_norm_rescale() -> None:
    sae = SparseAutoencoder("relu", W_ENC, B_ENC, W_DEC, B_DEC, trained=facts(normalization="constant_norm_rescale"))
    factor = np.sqrt(D) / np.linalg.norm(X.double().numpy(), axis=-1, keepdims=True)
    f = sae.encode(X, mode="faithful")
    assert_equal(f, np.maximum(pre(X.double() * torch.from_numpy(factor)), 0))
    expected = (f.numpy() @ W_DEC.numpy() + B_DEC.numpy()) / factor
    assert_equal(sae.decode(f, mode="faithful", x=X), expected)


def test_one_factor_for_all_inputs() -> None:
    trained = facts(normalization="expected_average_only_in", activation_scale=2.5)
    sae = SparseAutoencoder("relu", W_ENC, B_ENC, W_DEC, B_DEC, trained=trained)
    f = sae.encode(X, mode="faithful")
    assert_equal(f, np.maximum(pre(X * 2.5), 0))
    assert_equal(sae.decode(f, mode="faithful"), (f.numpy() @ W_DEC.numpy() + B_DEC.numpy()) / 2.5)


def test_a_factor_that_nobody_stated_is_not_guessed() -> None:
    trained = facts(normalization="expected_average_only_in")
    sae = SparseAutoencoder("relu", W_ENC, B_ENC, W_DEC, B_DEC, trained=trained)
    with pytest.raises(ModelError, match=r"a factor that its file does not state\. Pass activation_scale="):
        sae.encode(X, mode="faithful")
    assert_equal(sae.encode(X), np.maximum(pre(), 0))


def test_what_is_assumed_about_bare_weights_is_on_record() -> None:
    sae = SparseAutoencoder("relu", W_ENC, B_ENC, W_DEC, B_DEC)
    assumed = ("apply_b_dec_to_input", "normalization")
    trained = TrainingFacts(apply_b_dec_to_input=True, normalization="none", assumed=assumed)
    assert sae.description == SaeDescription(architecture="relu", d_in=D, d_sae=S, k=None, trained=trained, origin=None)
    jump = SparseAutoencoder("jumprelu", W_ENC, B_ENC, W_DEC, B_DEC, THETA)
    assert not jump.trained.apply_b_dec_to_input


@pytest.mark.parametrize("features", [slice(3, 9), torch.tensor([7, 0, 7])])
@pytest.mark.parametrize("mode", ["compat", "faithful"])
def test_some_features_are_what_they_are_among_all(features: slice | Tensor, mode: str) -> None:
    for sae in (
        SparseAutoencoder("relu", W_ENC, B_ENC, W_DEC, B_DEC, trained=facts(apply_b_dec_to_input=True)),
        SparseAutoencoder("jumprelu", W_ENC, B_ENC, W_DEC, B_DEC, THETA),
    ):
        assert_equal(sae.restricted(features).encode(X, mode), sae.encode(X, mode)[..., features].numpy())
    gated = SparseAutoencoder("gated", W_ENC, None, W_DEC, B_DEC, gate=Gate(B_ENC, THETA, normal(S, seed=7)))
    assert_equal(gated.restricted(features).encode(X, "faithful"), gated.encode(X, "faithful")[..., features].numpy())


def test_top_k_cannot_be_restricted() -> None:
    with pytest.raises(ModelError, match="depends on all of them"):
        SparseAutoencoder("topk", W_ENC, B_ENC, W_DEC, B_DEC, k=K).restricted(slice(0, 3))


def test_gradients_reach_the_input_with_unit_slope_and_not_the_weights() -> None:
    x = X.clone().requires_grad_()
    for sae in (
        SparseAutoencoder("relu", W_ENC, B_ENC, W_DEC, B_DEC),
        SparseAutoencoder("jumprelu", W_ENC, B_ENC, W_DEC, B_DEC, THETA.abs()),
        SparseAutoencoder("topk", W_ENC, B_ENC, W_DEC, B_DEC, k=K),
    ):
        f = sae.encode(x)
        a = int(f[0, 0].argmax())
        (slope,) = torch.autograd.grad(f[0, 0, a], x)
        torch.testing.assert_close(slope[0, 0], W_ENC[:, a])
        assert not any(parameter.requires_grad for parameter in sae.parameters())


def test_weights_are_not_copied() -> None:
    stored = normal(S, D, seed=1)
    sae = SparseAutoencoder("relu", stored.T, B_ENC, W_DEC, B_DEC)
    assert sae.W_enc.data_ptr() == stored.data_ptr()
    assert sae.W_dec.data_ptr() == W_DEC.data_ptr()


def test_inputs_are_cast_to_the_weights() -> None:
    sae = SparseAutoencoder("relu", W_ENC, B_ENC, W_DEC, B_DEC)
    assert sae.encode(X.double()).dtype == torch.float32
    assert torch.equal(sae.encode(X.double()), sae.encode(X))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"W_enc": W_ENC.T},
            r"^W_enc: the matrix is transposed \(found \(20, 6\), expected \(6, 20\)",
        ),
        ({"W_dec": W_DEC.T}, "^W_dec: the matrix is transposed"),
        ({"W_enc": normal(D + 1, S, seed=0)}, r"^W_enc: the widths of the tensors disagree \(found \(7, 20\)"),
        (
            {"b_enc": B_ENC[None]},
            r"^b_enc: .*another number of axes \(found \(1, 20\), expected \(d_sae,\)\)",
        ),
        ({"threshold": THETA}, "^threshold: relu autoencoders have no threshold"),
        ({"k": 3}, "^k: relu autoencoders have no k"),
        ({"b_enc": None}, "^b_enc: relu autoencoders need a b_enc"),
        ({"arch": "jumprelu"}, "^threshold: jumprelu autoencoders need a threshold"),
        ({"arch": "jumprelu", "threshold": THETA[:-1]}, "^threshold: the widths of the tensors disagree"),
        (
            {"arch": "topk", "k": S + 1},
            r"^k: k is not between 1 and .*\(found 21, expected 1 to 20",
        ),
        ({"arch": "topk", "k": 0}, "^k: k is not between 1"),
        ({"arch": "gated"}, "^b_enc: gated autoencoders have no b_enc"),
        ({"b_dec": B_DEC.long()}, r"^b_dec: the tensor holds no floating-point numbers \(found torch.int64"),
        ({"W_enc": W_ENC[:, :0], "b_enc": B_ENC[:0], "W_dec": W_DEC[:0]}, "the tensor is empty"),
    ],
)
def test_parts_that_do_not_fit(changes: dict[str, object], message: str) -> None:
    parts = {"arch": "relu", "W_enc": W_ENC, "b_enc": B_ENC, "W_dec": W_DEC, "b_dec": B_DEC}
    with pytest.raises(ModelError, match=message):
        SparseAutoencoder(**parts | changes)


def test_unknown_names() -> None:
    sae = SparseAutoencoder("relu", W_ENC, B_ENC, W_DEC, B_DEC)
    with pytest.raises(UnknownNameError, match=r"mode: .*found 'exact', expected compat, faithful"):
        sae.encode(X, mode="exact")
    with pytest.raises(UnknownNameError, match="mode: "):
        sae.decode(sae.encode(X), mode="exact")
    with pytest.raises(UnknownNameError, match="found 'tanh', expected relu, jumprelu, topk, gated"):
        SparseAutoencoder("tanh", W_ENC, B_ENC, W_DEC, B_DEC)
    with pytest.raises(UnknownNameError, match="found 'batch_norm', expected none, layer_norm"):
        facts(normalization="batch_norm")


def test_inputs_of_another_width() -> None:
    sae = SparseAutoencoder("relu", W_ENC, B_ENC, W_DEC, B_DEC)
    with pytest.raises(ModelError, match=r"x: .*found \(3, 5, 5\), expected \(\.\.\., 6\)"):
        sae.encode(X[..., :-1])
    with pytest.raises(ModelError, match=r"f: .*expected \(\.\.\., 20\)"):
        sae.decode(X)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_factor_must_be_positive(scale: float) -> None:
    with pytest.raises(ModelError, match="activation_scale: the scale of the activations is not a positive number"):
        facts(normalization="expected_average_only_in", activation_scale=scale)


def test_a_factor_without_use() -> None:
    with pytest.raises(ModelError, match="whose normalization has no use for it"):
        facts(activation_scale=2.0)
