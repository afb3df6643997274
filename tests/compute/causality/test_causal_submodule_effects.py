from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch
from tiny_model import write_tiny_model
from torch import Tensor, nn

from circuit_artifacts.compute.causality.agreement_examples import AgreementBatch
from circuit_artifacts.compute.causality.capture import patched
from circuit_artifacts.compute.causality.submodule_effects import Submodule, SubmoduleEffects, submodule_effects
from circuit_artifacts.compute.hooks import capture
from circuit_artifacts.compute.models import load_model
from circuit_artifacts.compute.saes import SparseAutoencoder
from circuit_artifacts.errors import ModelError

D, M, BOS = 16, 40, 0


class Linear(nn.Module):
    """A model that is linear after the embedding; tokens look at all before them."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attn, self.mlp = nn.Linear(D, D), nn.Linear(D, D)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.attn(x).cumsum(dim=1) / 4 + self.mlp(x)

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(50, D)
        self.blocks = nn.ModuleList([self.Block(), self.Block()])
        self.head = nn.Linear(D, 50)

    def forward(self, ids: Tensor) -> SimpleNamespace:
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x)
        return SimpleNamespace(logits=self.head(x))


def make_sae(seed: int = 0) -> SparseAutoencoder:
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g) * 0.3

    return SparseAutoencoder("relu", normal(D, M), normal(M) - 0.2, normal(M, D), normal(D)).double()


def make_batch(n: int = 5, length: int = 4, seed: int = 0) -> AgreementBatch:
    g = torch.Generator().manual_seed(seed)
    clean, patch = (torch.randint(1, 50, (n, length), generator=g) for _ in range(2))
    clean[:, 0] = patch[:, 0] = BOS
    return AgreementBatch(clean, patch, torch.randint(0, 50, (n, 2), generator=g))


def metric(model: nn.Module, ids: Tensor, batch: AgreementBatch) -> Tensor:
    last = model(ids).logits[:, -1]
    positive, negative = last.gather(1, batch.answers).T
    return positive - negative


def total(model: nn.Module, batch: AgreementBatch) -> float:
    """What the whole patch does: the site determines everything that follows."""
    with torch.no_grad():
        return float((metric(model, batch.patch, batch) - metric(model, batch.clean, batch)).mean())


def measure(model: nn.Module, *batches: AgreementBatch, layer: int = 0, **options: object) -> SubmoduleEffects:
    (found,) = submodule_effects(model, [Submodule("resid_post", layer, make_sae())], batches, **options)
    return found


@pytest.fixture
def linear() -> Linear:
    return Linear().double().eval()


@pytest.fixture(scope="module")
def curved(tmp_path_factory: pytest.TempPathFactory) -> nn.Module:
    return load_model(write_tiny_model(tmp_path_factory.mktemp("model"), d_model=D), dtype=torch.float64)


def test_behind_the_site_all_linear_both_effects_are_the_exact_total(linear: Linear) -> None:
    batch = make_batch()
    for layer in (0, 1):
        found = measure(linear, batch, layer=layer, steps=3)
        torch.testing.assert_close(found.integrated, found.attributed)
        assert float(found.integrated.sum()) + found.integrated_error == pytest.approx(total(linear, batch))
        assert float(found.attributed.sum()) + found.attributed_error == pytest.approx(total(linear, batch))


def test_integrated_gradients_come_to_the_exact_total_with_many_steps(curved: nn.Module) -> None:
    batch = make_batch(n=3)
    exact = total(curved, batch)

    def gap(steps: int) -> float:
        found = measure(curved, batch, layer=1, steps=steps)
        return abs(float(found.integrated.sum()) + found.integrated_error - exact)

    assert gap(400) < 0.01 * abs(exact)
    assert gap(400) < gap(40) / 5, "the left rule's error falls with the step"
    one = measure(curved, batch, layer=1, steps=1)
    torch.testing.assert_close(one.integrated, one.attributed)
    assert abs(float(one.attributed.sum()) + one.attributed_error - exact) > 0.1 * abs(exact)


def test_each_effect_is_the_mean_gradient_of_features_and_error_interpolated_together(curved: nn.Module) -> None:
    batch, sae, steps = make_batch(n=2), make_sae(), 10
    found = measure(curved, batch, steps=steps)
    (x, patch) = (capture(curved, ids, site="resid_post", layers=[0])[0] for ids in (batch.clean, batch.patch))
    parts = []
    for activation in (x, patch):
        f = sae.encode(activation, "faithful")
        parts.append((f, activation - sae.decode(f, "faithful")))
    (f0, e0), (f1, e1) = parts
    sums = [torch.zeros_like(f0), torch.zeros_like(e0)]
    for k in range(steps):
        f, e = ((a + k / steps * (b - a)).requires_grad_() for a, b in ((f0, f1), (e0, e1)))
        with patched(curved, "resid_post", 0, lambda _, f=f, e=e: sae.decode(f, "faithful") + e):
            gradients = torch.autograd.grad(metric(curved, batch.clean, batch).sum(), (f, e))
        for place, gradient in enumerate(gradients):
            sums[place] += gradient / steps
    torch.testing.assert_close(found.integrated, (sums[0] * (f1 - f0)).sum(dim=1).mean(dim=0))
    assert found.integrated_error == pytest.approx(float((sums[1] * (e1 - e0)).sum() / 2))
    torch.testing.assert_close(found.activation, f0.sum(dim=1).mean(dim=0))
    assert torch.equal(found.fires, ((f0 > 0) | (f1 > 0)).flatten(0, 1).any(dim=0))


def test_batches_count_by_their_size(curved: nn.Module) -> None:
    whole = make_batch(n=5)
    parts = [AgreementBatch(*(tensor[where] for tensor in whole)) for where in (slice(0, 1), slice(1, 5))]
    one, several = measure(curved, whole), measure(curved, *parts)
    for name in ("integrated", "attributed", "activation"):
        torch.testing.assert_close(getattr(one, name), getattr(several, name))
    assert torch.equal(one.fires, several.fires)
    assert one.n_examples == several.n_examples == 5
    assert one.integrated_error == pytest.approx(several.integrated_error)
    assert one.attributed_error == pytest.approx(several.attributed_error)


def test_special_positions_count_for_nothing(linear: Linear) -> None:
    """At BOS nothing differs, so that effects stay, but features that fire only there are not alive."""
    batch = make_batch()
    with_bos, without = measure(linear, batch), measure(linear, batch, special_ids=[BOS])
    torch.testing.assert_close(with_bos.integrated, without.integrated)
    assert not torch.allclose(with_bos.activation, without.activation)
    assert int(without.fires.sum()) <= int(with_bos.fires.sum())


def test_submodules_are_loaded_one_at_a_time_and_named(linear: Linear) -> None:
    opened: list[str] = []

    def submodules() -> Iterator[Submodule]:
        for site, layer in (("embed", 0), ("attn_out", 1), ("mlp_out", 0)):
            opened.append(site)
            yield Submodule(site, layer, make_sae())

    effects = submodule_effects(linear, submodules(), [make_batch()])
    assert next(effects).name == "embed_0"
    assert opened == ["embed"]
    assert [one.name for one in effects] == ["attn_out_1", "mlp_out_0"]


def test_no_examples_are_an_error(linear: Linear) -> None:
    with pytest.raises(ModelError, match="no examples"):
        list(submodule_effects(linear, [], []))
