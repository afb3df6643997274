"""Sites with gradients against finite differences and stubs; interventions; GradDrop against surgery by hand."""

from __future__ import annotations

import causal_models as tiny
import pytest
import torch
from torch import Tensor, nn

from circuit_artifacts.compute.causality.capture import (
    delta_at,
    metric_values,
    patched,
    positions_mask,
    site_values,
)
from circuit_artifacts.compute.hooks import capture
from circuit_artifacts.errors import ModelError, UnknownNameError

SITES = [("embed", 0), ("resid_post", 1), ("resid_post", 2), ("attn_out", 1), ("mlp_out", 0), ("mlp_neurons", 1)]
IDS = tiny.token_ids()


@pytest.fixture(scope="module")
def models() -> dict[str, nn.Module]:
    return {family: tiny.build(family) for family in tiny.FAMILIES}


def cross_entropy(logits: Tensor, ids: Tensor) -> Tensor:
    chosen = logits.log_softmax(dim=-1)[:, :-1].gather(2, ids[:, 1:, None])[..., 0]
    return -chosen.sum(dim=1)


@pytest.mark.parametrize(("site", "layer"), SITES)
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_gradient_is_what_finite_differences_say(
    models: dict[str, nn.Module], family: str, site: str, layer: int
) -> None:
    model = models[family]
    values = site_values(model, IDS, site=site, layer=layer)
    torch.testing.assert_close(values.activation, capture(model, IDS, site=site, layers=[layer])[layer])
    with torch.no_grad():
        torch.testing.assert_close(values.metric, cross_entropy(model(IDS).logits, IDS))
    rounded = family in {"llama", "gemma2"}  # their norms compute in float32 whatever the dtype
    step = torch.randn(values.activation.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    step *= 1e-3 if rounded else 1e-6
    with torch.no_grad():
        ends = []
        for sign in (1, -1):
            with delta_at(model, site, layer, sign * step):
                ends.append(metric_values(model(IDS).logits, IDS))
    expected = (ends[0] - ends[1]) / 2
    torch.testing.assert_close(
        (values.gradient * step).sum(dim=(1, 2)), expected, rtol=0.02 if rounded else 1e-4, atol=1e-11
    )


def test_nothing_flows_back_from_other_sequences(models: dict[str, nn.Module]) -> None:
    together = site_values(models["llama"], IDS, site="resid_post", layer=0)
    alone = site_values(models["llama"], IDS[2:3], site="resid_post", layer=0)
    torch.testing.assert_close(together.gradient[2:3], alone.gradient)


def test_metrics(models: dict[str, nn.Module]) -> None:
    with torch.no_grad():
        logits = models["neox"](IDS).logits
    answers = torch.tensor([[3, 4]] * len(IDS))
    torch.testing.assert_close(metric_values(logits, IDS, metric="ce_mean"), cross_entropy(logits, IDS) / 6)
    found = metric_values(logits, IDS, metric="logit_diff", answers=answers)
    torch.testing.assert_close(found, logits[:, -1, 3] - logits[:, -1, 4])
    torch.testing.assert_close(metric_values(logits, IDS, metric="logit_top1"), logits[:, -1].amax(dim=-1))
    first = metric_values(logits, IDS, metric="logit_top1", answers=answers[:, :1])
    torch.testing.assert_close(first, logits[:, -1, 3])


@pytest.mark.parametrize(
    ("metric", "answers", "message"),
    [
        ("ce_sum", torch.zeros(4, 2, dtype=torch.int64), r"other answers \(found \(4, 2\), expected none\)"),
        ("logit_diff", None, r"other answers \(found none, expected \(4, 2\)\)"),
        ("logit_diff", torch.zeros(2, 2, dtype=torch.int64), r"found \(2, 2\), expected \(4, 2\)"),
    ],
)
def test_answers_that_do_not_fit_the_metric_are_refused(metric: str, answers: Tensor | None, message: str) -> None:
    logits = torch.zeros(4, 7, tiny.VOCABULARY)
    with pytest.raises(ModelError, match=message):
        metric_values(logits, IDS, metric=metric, answers=answers)


def test_what_cannot_be_differentiated_is_refused(models: dict[str, nn.Module]) -> None:
    with pytest.raises(UnknownNameError, match="ce_sum, ce_mean, logit_top1, logit_diff"):
        site_values(models["gpt2"], IDS, site="embed", layer=0, metric="kl")
    with pytest.raises(ModelError, match="one token predicts nothing"):
        site_values(models["gpt2"], IDS[:, :1], site="embed", layer=0)
    with pytest.raises(ModelError, match="longer than the model takes"):
        site_values(models["gpt2"], torch.zeros(1, 33, dtype=torch.int64), site="embed", layer=0)
    with pytest.raises(UnknownNameError, match=r"variant.*plain, graddrop"):
        site_values(models["gpt2"], IDS, site="embed", layer=0, atp_variant="qk")


def test_divergence_from_the_unmodified_model_has_no_gradient_there(models: dict[str, nn.Module]) -> None:
    """Why it is no metric here: attribution patching with it gives zero everywhere."""
    model = models["neox"]
    clean = model(IDS).logits.detach().log_softmax(dim=-1)
    delta = torch.zeros(*IDS.shape, tiny.WIDTH, dtype=torch.float64, requires_grad=True)
    with delta_at(model, "resid_post", 1, delta):
        patched_logits = model(IDS).logits.log_softmax(dim=-1)
    divergence = (clean.exp() * (clean - patched_logits)).sum()
    (gradient,) = torch.autograd.grad(divergence, delta)
    reference = site_values(model, IDS, site="resid_post", layer=1).gradient
    assert gradient.abs().max() < 1e-12 * reference.abs().max()


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: (x, "cache")], ids=["tensor", "tuple"])
def test_outputs_may_be_tensors_or_tuples(wrap: object) -> None:
    """With a plain ``[0]``, a tensor's first sequence would be taken for the activation."""

    class Block(tiny.LinearHead.Block):
        def forward(self, x: Tensor) -> object:
            return wrap(super().forward(x))

    class Model(tiny.LinearHead):
        def forward(self, ids: Tensor) -> object:
            block = self.blocks[0]
            output = block(self.embed(ids))
            x = output if isinstance(output, Tensor) else output[0]
            assert isinstance(output, Tensor) or output[1] == "cache"
            return type("Output", (), {"logits": self.head(x)})

    model = Model()
    model.blocks[0] = Block(tiny.WIDTH).double()
    values = site_values(model, IDS, site="resid_post", layer=0)
    assert values.activation.shape == (*IDS.shape, tiny.WIDTH)
    with patched(model, "resid_post", 0, torch.zeros_like):
        logits = model(IDS).logits
    torch.testing.assert_close(logits, model.head.bias.expand_as(logits))


def test_shapes_of_activations_and_replacements_are_checked() -> None:
    model = tiny.LinearHead()
    with patched(model, "resid_post", 0, lambda x: x[:1]), pytest.raises(ModelError, match="another shape"):
        model(IDS)
    with patched(model, "resid_post", 0, lambda x: x), pytest.raises(ModelError, match=r"not .batch, tokens, width"):
        model(IDS[0])


def test_the_model_is_left_as_it_was_found() -> None:
    model = tiny.build("gpt2").train()
    with torch.no_grad():
        first = site_values(model, IDS, site="resid_post", layer=1, atp_variant="graddrop")
    assert model.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    second = site_values(model.eval(), IDS, site="resid_post", layer=1)
    assert torch.equal(first.gradient, second.gradient)  # dropout was off, too


def test_special_tokens_are_masked() -> None:
    ids = torch.tensor([[0, 5, 1], [7, 0, 0]])
    assert positions_mask(ids, {0, 1}).tolist() == [[False, True, False], [True, False, False]]
    assert positions_mask(ids, ()).all()


class TestGradDrop:
    @pytest.mark.parametrize("family", tiny.FAMILIES)
    def test_terms_are_the_layers_other_than_the_sites_own(self, models: dict[str, nn.Module], family: str) -> None:
        def shares(site: str, layer: int) -> list[float]:
            values = site_values(models[family], IDS, site=site, layer=layer, atp_variant="graddrop")
            return [round(share, 6) for share, _ in values.dropped]

        assert shares("embed", 0) == [pytest.approx(1 / 3, abs=1e-5)] * 3
        assert shares("resid_post", 0) == [0.5, 0.5]  # layers 1 and 2
        assert shares("resid_post", 1) == [0.5, 0.5]  # layer 2, and layer 0, which changes nothing
        assert shares("mlp_out", 2) == [1.0]  # layers 0 and 1 change nothing

    def test_plain_gradient_stands_for_layers_before_the_site(self, models: dict[str, nn.Module]) -> None:
        values = site_values(models["llama"], IDS, site="resid_post", layer=1, atp_variant="graddrop")
        assert torch.equal(values.dropped[-1][1], values.gradient)
        assert not torch.allclose(values.dropped[0][1], values.gradient)
        plain = site_values(models["llama"], IDS, site="resid_post", layer=1)
        assert plain.dropped == ()
        assert torch.equal(plain.gradient, values.gradient)

    @pytest.mark.parametrize("left_out", [1, 2])
    def test_against_surgery_by_hand(self, models: dict[str, nn.Module], left_out: int) -> None:
        """The blocks of our own family, written out, with a layer's writes detached."""
        model = models["ours"]
        trunk = model.transformer
        positions = trunk.wpe.weight[: IDS.shape[1]]
        x = trunk.h[0](trunk.wte(IDS), positions).detach().requires_grad_()
        stream = x
        for number in (1, 2):
            block = trunk.h[number]
            for norm, extra, part in ((block.ln_1, block.ln_p1, block.attn), (block.ln_2, block.ln_p2, block.mlp)):
                inner = torch.cat([norm(stream), extra(positions).expand(len(IDS), -1, -1)], dim=-1)
                write = part(inner)
                stream = stream + (write.detach() if number == left_out else write)
        logits = model.lm_head(trunk.ln_f(stream)) + model.final_logits_bias
        (expected,) = torch.autograd.grad(cross_entropy(logits, IDS).sum(), x)
        values = site_values(model, IDS, site="resid_post", layer=0, atp_variant="graddrop")
        torch.testing.assert_close(values.dropped[left_out - 1][1], expected)
