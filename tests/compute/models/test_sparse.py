"""Compressed rows give what dense weights give, gradients included, and stay away where they do not pay."""

import pytest
import torch
from torch import nn

from circuit_artifacts.compute.models import CircuitConfig, CircuitTransformer, sparsify_linear
from circuit_artifacts.compute.models.sparse import SparseLinear
from circuit_artifacts.errors import ModelError


def thinned(layer: nn.Linear, density: float, seed: int = 0) -> nn.Linear:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        layer.weight.mul_(torch.rand(layer.weight.shape, generator=generator) < density)
    return layer.requires_grad_(requires_grad=False)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(7,), (3, 7), (2, 3, 7)])
def test_results_and_input_gradients_equal_the_dense_layer(bias: bool, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    dense = thinned(nn.Linear(7, 5, bias=bias), 0.3)
    x, y = (torch.randn(shape, generator=torch.Generator().manual_seed(1)).requires_grad_() for _ in range(2))
    expected, found = dense(x), SparseLinear(dense)(y)
    torch.testing.assert_close(found, expected)
    assert found.is_contiguous()
    expected.square().sum().backward()
    found.square().sum().backward()
    torch.testing.assert_close(y.grad, x.grad)


def test_a_row_without_any_weight_gives_its_bias() -> None:
    dense = thinned(nn.Linear(4, 3), 1.0)
    dense.weight[1] = 0
    assert torch.equal(SparseLinear(dense)(torch.ones(2, 4))[:, 1], dense.bias[1].expand(2))


def test_only_large_and_sparse_layers_are_replaced_and_their_dense_weights_freed() -> None:
    model = nn.Sequential(
        thinned(nn.Linear(64, 64), 0.05), thinned(nn.Linear(64, 64), 0.5), thinned(nn.Linear(64, 8), 0.05)
    )
    x = torch.randn(5, 64)
    expected = model(x)
    replaced = sparsify_linear(model, min_entries=1024)
    assert list(replaced) == ["0"]
    assert replaced["0"] == pytest.approx(0.05, abs=0.015)
    assert [type(layer) for layer in model] == [SparseLinear, nn.Linear, nn.Linear]
    torch.testing.assert_close(model(x), expected)
    assert sum(parameter.numel() for parameter in model.parameters()) == 64 * 64 + 64 + 64 * 8 + 8
    stored = model[0].weight
    assert stored.values().numel() == round(replaced["0"] * 64 * 64)
    assert stored.col_indices().dtype == torch.int32


def test_a_whole_model_keeps_its_logits() -> None:
    torch.manual_seed(3)
    config = CircuitConfig(n_layer=2, d_model=32, n_head=2, vocab_size=50, rms_norm=True, tied_unembed=False, sink=True)
    model = CircuitTransformer(config).requires_grad_(requires_grad=False)
    for layer in model.modules():
        if type(layer) is nn.Linear:
            thinned(layer, 0.08, seed=layer.out_features)
    ids = torch.randint(0, 50, (2, 9))
    expected = model(ids).logits
    assert len(sparsify_linear(model, min_entries=0, max_density=0.2)) == 9
    torch.testing.assert_close(model(ids).logits, expected, rtol=1e-4, atol=1e-5)


def test_a_model_without_weights_is_refused() -> None:
    with torch.device("meta"):
        model = nn.Linear(300, 300)
    with pytest.raises(ModelError, match="no weights yet"):
        sparsify_linear(nn.Sequential(model))
