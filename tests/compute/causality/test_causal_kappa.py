"""Outer products against whole Jacobians of the plain kind, and what is said about the rank of their mean."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, Gemma2Config, GPT2Config, GPTNeoXConfig, LlamaConfig

from circuit_artifacts.compute.causality import kappa as measuring
from circuit_artifacts.compute.causality.capture import delta_at
from circuit_artifacts.compute.causality.kappa import (
    Kappa,
    exact_outer_product,
    measure_kappa,
    sketched_outer_product,
)
from circuit_artifacts.compute.causality.spectrum import eigenvalues
from circuit_artifacts.compute.models import CircuitConfig, CircuitTransformer
from circuit_artifacts.errors import ModelError, SchemaError, UnknownNameError

V, D, T, LAYERS = 19, 8, 5, 2
IDS = torch.randint(0, V, (3, T), generator=torch.Generator().manual_seed(0))
MANY = torch.randint(0, V, (16, T), generator=torch.Generator().manual_seed(1))
GENERAL = {"vocab_size": V, "hidden_size": D, "intermediate_size": 12, "num_hidden_layers": LAYERS}
GENERAL |= {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": None}
HEADS = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4}
FAMILIES = {
    "neox": GPTNeoXConfig(**GENERAL, num_attention_heads=2),
    "gpt2": GPT2Config(vocab_size=V, n_embd=D, n_layer=LAYERS, n_head=2, n_inner=12, bos_token_id=0, eos_token_id=1),
    "llama": LlamaConfig(**GENERAL, **HEADS),
    "gemma2": Gemma2Config(**GENERAL, **HEADS, attn_implementation="eager", final_logit_softcapping=3.0),
}
LAYER_NORM = ("neox", "gpt2")
torch.set_num_threads(1)

Matrix = npt.NDArray[np.float64]


def build(family: str) -> Any:
    torch.manual_seed(1)
    if family == "ours":
        settings = {"n_layer": LAYERS, "d_model": D, "n_head": 2, "d_mlp": 12, "vocab_size": V, "block_size": 16}
        sites = "mlp_neuron,attn_out"
        model: Any = CircuitTransformer(
            CircuitConfig(**settings, rms_norm=True, d_pos_emb=4, sink=True, afrac=0.5, afrac_loctypes=sites)
        )
    else:
        model = AutoModelForCausalLM.from_config(FAMILIES[family])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.4 + (parameter.ndim == 1))
    return model.eval()


@pytest.fixture(scope="module", params=[*FAMILIES, "ours"])
def family(request: pytest.FixtureRequest) -> tuple[str, Any]:
    return request.param, build(request.param)


@pytest.fixture(scope="module")
def neox() -> Any:
    return build("neox")


def jacobian(model: Any, ids: Tensor, layer: int, site: str = "resid_post") -> Tensor:
    """(T, V, T, d) of one sequence: logits at a position by the activation at another."""

    def run(delta: Tensor) -> Tensor:
        with delta_at(model, site, layer, delta):
            logits: Tensor = model(ids[None]).logits[0]
        return logits

    return torch.autograd.functional.jacobian(run, torch.zeros(1, T, D))[:, :, 0].double()


def plain(rows: Tensor, logits: Tensor, output: str) -> Tensor:
    """Sum of J_t^T J_t by the definition, from the Jacobian of the logits and how the output depends on these."""
    p = logits.double().softmax(-1)
    one = torch.eye(V, dtype=torch.float64).expand(T, V, V)
    metric = {
        "logits": one,
        "centred_logits": one - 1 / V,
        "logprobs": (one - p[:, :, None]) @ (one - p[:, None, :]),  # of z - ln sum exp z, whose derivative is 1 - 1 p^T
        "fisher": torch.diag_embed(p) - p[:, :, None] * p[:, None, :],
    }[output]
    return torch.einsum("svtd,svw,swte->de", rows, metric, rows)


def error(found: Matrix, expected: Matrix) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def test_exact_is_the_definition(family: tuple[str, Any]) -> None:
    model = family[1]
    parts = [(jacobian(model, ids, 0), model(ids[None]).logits[0].detach()) for ids in IDS]
    for output in ("centred_logits", "logits", "logprobs", "fisher"):
        found = exact_outer_product(model, IDS, site="resid_post", layer=0, output=output, pass_tokens=57)
        expected = sum(plain(rows, logits, output) for rows, logits in parts) / (len(IDS) * T)
        assert error(found.matrix, expected.numpy()) < 1e-5, output
        assert (found.n_sequences, found.n_positions, found.n_terms) == (3, 15, 15)
        assert found.n_samples == 15 * D  # every position has 19 outputs or more, of which 8 can be independent


def test_the_mean_shift_is_null_with_layer_norm_only(family: tuple[str, Any]) -> None:
    for layer in range(LAYERS):
        matrix = exact_outer_product(family[1], IDS, site="resid_post", layer=layer).matrix
        values = eigenvalues(matrix)
        if family[0] in LAYER_NORM:
            assert values[-1] < 1e-10 * values[0]
            assert values[-2] > 1e-5 * values[0]
            ones = np.ones(D) / np.sqrt(D)
            assert ones @ matrix @ ones < 1e-10 * values[0]
        else:
            assert values[-1] > 1e-5 * values[0]


def test_sites_inside_blocks_have_outer_products_too(family: tuple[str, Any]) -> None:
    for site, layer in (("embed", 0), ("attn_out", 1), ("mlp_out", 0)):
        rows = jacobian(family[1], IDS[0], layer, site)
        found = exact_outer_product(family[1], IDS[:1], site=site, layer=layer, output="logits")
        assert error(found.total, torch.einsum("svtd,svte->de", rows, rows).numpy()) < 1e-5


def _sketch(model: Any, ids: Tensor, n_probes: int, **options: Any) -> Any:
    options = {"site": "resid_post", "layer": 0, **options}
    return sketched_outer_product(model, ids, n_probes=n_probes, **options)


@pytest.mark.parametrize(
    ("output", "estimator"),
    [
        ("centred_logits", "vjp_sketch"),
        ("fisher", "vjp_sketch"),
        ("resid_final", "vjp_sketch"),
        ("fisher", "gradient_outer_product"),
    ],
)
def test_sketches_converge_to_the_exact_matrix(neox: Any, output: Any, estimator: Any) -> None:
    exact = exact_outer_product(neox, IDS, site="resid_post", layer=0, output=output).matrix
    found = [_sketch(neox, IDS, n, output=output, estimator=estimator, seed=5).matrix for n in (10, 600)]
    errors = [error(matrix, exact) for matrix in found]
    assert errors[1] < 0.09
    assert errors[1] < errors[0] / 3  # by 1 / sqrt(60) in the mean


def test_losses_give_the_gradient_of_their_sum(neox: Any) -> None:
    expected = np.zeros((D, D))
    for ids in IDS:
        delta = torch.zeros(1, T, D, requires_grad=True)
        with delta_at(neox, "resid_post", 0, delta):
            loss = nn.functional.cross_entropy(neox(ids[None]).logits[0, :-1], ids[1:], reduction="sum")
        gradient = torch.autograd.grad(loss, delta)[0][0].double().numpy()
        expected += gradient.T @ gradient
    sums = [
        _sketch(neox, IDS, 1, output="ce", estimator="gradient_outer_product"),
        exact_outer_product(neox, IDS, site="resid_post", layer=0, output="ce"),
    ]
    for found in sums:
        assert error(found.total, expected) < 1e-5
        assert found.n_positions == found.n_samples == 12  # the last position predicts nothing
        assert found.term_norm_squares == pytest.approx(sums[0].term_norm_squares, rel=1e-6)
    assert sums[1].token_ranks == pytest.approx(12)


def test_the_final_residual_depends_on_itself_evenly(neox: Any) -> None:
    found = measure_kappa(
        neox, IDS, site="resid_post", layer=LAYERS - 1, output="resid_final", estimator="exact_jacobian"
    )
    assert (found.kappa, found.kappa_pr, found.mean_token_rank) == pytest.approx((D, D, D), rel=1e-12)


class _Toy(nn.Module):
    """A language model that is linear from its only block on, with k equal singular values."""

    def __init__(self, k: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(V, D)
        self.blocks = nn.ModuleList([nn.ModuleDict({"mlp": nn.Identity()})])
        self.blocks[0].forward = lambda x: x  # type: ignore[method-assign]  # a block is called
        rotation = torch.linalg.qr(torch.randn(V, V, generator=torch.Generator().manual_seed(3)))[0]
        basis = torch.linalg.qr(torch.randn(D, D, generator=torch.Generator().manual_seed(4)))[0]
        self.head = nn.Parameter(3.0 * rotation[:, :k] @ basis[:k])

    def forward(self, ids: Tensor) -> Any:
        return SimpleNamespace(logits=self.blocks[0](self.embed(ids)) @ self.head.T)


@pytest.mark.parametrize("k", [1, 3, 8])
def test_a_linear_map_with_k_equal_singular_values_has_kappa_k(k: int) -> None:
    found = measure_kappa(_Toy(k), IDS, site="resid_post", layer=0, output="logits", estimator="exact_jacobian")
    assert (found.kappa, found.kappa_pr, found.mean_token_rank) == pytest.approx((k, k, k), rel=1e-5)
    np.testing.assert_allclose(found.eigenvalues, [9.0] * k + [0.0] * (D - k), atol=1e-4)
    sketched = measure_kappa(_Toy(k), MANY, site="resid_post", layer=0, output="logits", n_probes=40)
    assert sketched.kappa == pytest.approx(k, rel=0.01)
    assert sketched.kappa <= k * (1 + 1e-6)  # biased low
    assert sketched.bias is not None
    assert sketched.bias <= 1e-9  # a resample has fewer different samples
    assert sketched.pr_ustat == pytest.approx(k, rel=0.05)
    assert sketched.pr_ustat_sequences == pytest.approx(k, rel=0.05)
    values = measure_kappa(
        _Toy(k), IDS, site="resid_post", layer=0, output="logits", estimator="exact_jacobian", spectrum="sv"
    )
    assert values.kappa == pytest.approx(k, rel=1e-3)
    assert values.pr_ustat is None


def test_batches_and_groups_do_not_matter(neox: Any) -> None:
    mixed = [*MANY[:3], MANY[3, :4], MANY[4, :4], MANY[5]]
    one, many = (_sketch(neox, mixed, 2, pass_tokens=n, special_ids=[7]) for n in (1, 1000))
    assert error(one.total, many.total) < 1e-6
    assert one.n_positions == many.n_positions == sum(int((ids != 7).sum()) for ids in mixed)
    assert one.sequence_norm_squares == pytest.approx(many.sequence_norm_squares, rel=1e-6)
    parts = _sketch(neox, mixed[:2], 2, special_ids=[7]) + _sketch(neox, mixed[2:], 2, special_ids=[7], first=2)
    assert error(parts.total, one.total) < 1e-6
    assert parts.n_sequences == 6
    assert error(_sketch(neox, mixed[2:], 2, special_ids=[7]).total, (one + one).total) > 0.01  # other numbers


def test_special_positions_are_left_out_but_not_what_they_predict(neox: Any) -> None:
    ids = torch.tensor([[2, 3, 2, 4, 5]])
    found = exact_outer_product(neox, ids, site="resid_post", layer=0, output="logits", special_ids=[2])
    rows = jacobian(neox, ids[0], 0)[:, :, [1, 3, 4]]
    expected = torch.einsum("svtd,svte->de", rows, rows).numpy() / 3
    assert error(found.matrix, expected) < 1e-5
    ranks = [np.exp(_entropy(eigenvalues(torch.einsum("svd,sve->de", r, r).numpy()))) for r in rows.unbind(2)]
    assert found.token_ranks / found.n_token_ranks == pytest.approx(np.mean(ranks), rel=1e-5)


def _entropy(values: Matrix) -> float:
    shares = values[values > 0] / values.sum()
    return float(-(shares * np.log(shares)).sum())


def measure(model: Any, sequences: Any = MANY, **options: Any) -> Kappa:
    return measure_kappa(model, sequences, **{"site": "resid_post", "layer": 0, "n_boot": 20, **options})


def equal(first: Kappa, second: Kappa) -> bool:
    one, other = (dataclasses.asdict(found) for found in (first, second))
    return bool((one.pop("eigenvalues") == other.pop("eigenvalues")).all()) and one == other


def test_the_measurement_states_its_error(neox: Any) -> None:
    exact = measure(neox, estimator="exact_jacobian")
    found = measure(neox, n_probes=30, seed=2)
    assert equal(found, measure(neox, n_probes=30, seed=2))
    assert exact.kappa is not None
    assert exact.kappa_pr is not None
    assert found.kappa is not None
    assert found.kappa_pr is not None
    assert found.interval is not None
    assert found.bias is not None
    assert found.kappa_pr <= found.kappa <= D
    assert found.kappa_over_d == found.kappa / D
    assert found.kappa == pytest.approx(exact.kappa, rel=0.02)
    assert found.interval.lo <= exact.kappa <= found.interval.hi
    assert (found.interval.unit, found.interval.method, found.interval.n_boot) == ("sequence", "basic", 20)
    assert (found.n_positions, found.n_samples, found.n_groups, found.flags) == (80, 2400, 16, ())
    assert [row.n_sequences for row in found.convergence] == [1, 2, 4, 8, 16]
    assert [row.n_samples for row in found.convergence] == [150, 300, 600, 1200, 2400]
    before, last = found.convergence[-2:]
    assert last.effective_rank == found.kappa
    assert last.change == pytest.approx(abs(last.effective_rank / before.effective_rank - 1))
    assert exact.mean_token_rank is not None
    assert exact.mean_token_rank < exact.kappa
    assert found.mean_token_rank is None
    assert measure(neox, n_probes=30, n_boot=0).interval is None


def test_few_samples_are_refused_or_flagged(neox: Any) -> None:
    refused = measure(neox, MANY[:6])
    assert (refused.kappa, refused.kappa_pr, refused.interval) == (None, None, None)
    assert refused.refused == "30 samples are fewer than 4 times the width 8"
    assert refused.kappa_over_d is None
    assert refused.pr_ustat is not None
    flagged = measure(neox, MANY[:7])
    assert flagged.kappa is not None
    assert "few_samples" in flagged.flags
    assert "few_samples" not in measure(neox, MANY[:13], n_probes=2).flags
    special = measure(neox, IDS, special_ids=range(V))
    assert special.refused == "0 samples are fewer than 4 times the width 8"


def test_a_site_without_effect_has_no_kappa() -> None:
    model = _Toy(3)
    nn.init.zeros_(model.head)
    found = measure(model, n_probes=3)
    assert found.refused == "the output does not depend on the site"
    assert found.eigenvalues.tolist() == [0.0] * D


def test_it_stops_when_enough_samples_change_nothing(neox: Any) -> None:
    found = measure(neox, n_probes=30, stop_change=0.5)
    assert (found.n_groups, found.n_sequences) == (8, 8)
    assert "stopped_early" in found.flags
    assert equal(measure(neox, n_probes=30, stop_change=0.0), measure(neox, n_probes=30))


def test_a_killed_measurement_is_taken_up(neox: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"n_probes": 4, "n_groups": 5, "checkpoint": tmp_path, "identity": "weights"}
    expected = measure(neox, n_probes=4, n_groups=5)
    calls = []
    whole = measuring.sketched_outer_product

    def dies(*arguments: Any, **others: Any) -> Any:
        calls.append(others["first"])
        if len(calls) == 4:
            raise KeyboardInterrupt
        return whole(*arguments, **others)

    monkeypatch.setattr(measuring, "sketched_outer_product", dies)
    with pytest.raises(KeyboardInterrupt):
        measure(neox, **options)
    damaged = next(tmp_path.glob("*.npz"))
    damaged.write_bytes(damaged.read_bytes()[:-40])
    calls[:] = [None] * 10
    assert equal(measure(neox, **options), expected)
    assert len(calls[10:]) == 3  # the two that were left, and the damaged one
    measure(neox, **options | {"seed": 1})
    assert len(calls[10:]) == 8  # other probes, other work
    with pytest.raises(ModelError, match="identity: a checkpoint would be taken up with another model"):
        measure(neox, checkpoint=tmp_path)


def test_the_model_is_left_as_it_was(neox: Any) -> None:
    neox.train()
    measure(neox, IDS)
    assert neox.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in neox.parameters())
    assert not any(module._forward_hooks for module in neox.modules())
    neox.eval()


def test_what_cannot_be_measured_is_refused(neox: Any) -> None:
    for options, kind, message in (
        ({"output": "kl"}, UnknownNameError, "output: there is no such output.*'kl'"),
        ({"estimator": "jvp"}, UnknownNameError, "estimator: there is no such estimator"),
        ({"spectrum": "ev"}, UnknownNameError, "spectrum: there is no such spectrum"),
        ({"site": "resid_mid"}, UnknownNameError, "there is no such site"),
        ({"output": "ce"}, ModelError, "vjp_sketch does not measure this output"),
        ({"estimator": "gradient_outer_product"}, ModelError, "expected fisher or ce"),
        ({"output": "ce", "estimator": "gradient_outer_product", "n_probes": 2}, ModelError, "give one gradient"),
        ({"n_probes": 0}, ModelError, "without probes nothing is measured"),
        ({"sequences": MANY[:0]}, ModelError, "there are no sequences"),
        ({"sequences": torch.zeros(1, 3000, dtype=torch.int64)}, ModelError, "longer than the model takes"),
    ):
        with pytest.raises(kind, match=message):
            measure(neox, **options)
    with pytest.raises(ModelError, match="whole Jacobians are no sketch"):
        _sketch(neox, IDS, 1, estimator="exact_jacobian")


def test_gradients_that_are_not_finite_are_noticed() -> None:
    model = _Toy(3)
    nn.init.constant_(model.head, torch.inf)
    with pytest.raises(SchemaError, match="finite numbers"):
        measure(model, output="logits")
