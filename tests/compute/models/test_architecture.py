"""The architecture against a plain re-statement of its formulas, the published parameter counts, and its refusals."""

import math

import pytest
import torch
from torch import Tensor

from circuit_artifacts.compute.models import CircuitConfig, CircuitTransformer
from circuit_artifacts.compute.models.architecture import AttentionCore, abs_top_k, sinusoidal_positions
from circuit_artifacts.compute.models.config import SPARSIFIED_SITES
from circuit_artifacts.errors import ModelError

ALL_SITES = ",".join(SPARSIFIED_SITES)
RELEASED = {"vocab_size": 2048, "rms_norm": True, "tied_unembed": False, "afrac": 0.25, "afrac_loctypes": ALL_SITES}
SMALL = {"block_size": 12, "vocab_size": 31, "n_layer": 2, "n_head": 2, "d_model": 16, "d_head": 4, "d_mlp": 24}


def random_model(**fields: object) -> CircuitTransformer:
    """A model whose every parameter is random, also those that start at zero or one."""
    torch.manual_seed(5)
    model = CircuitTransformer(CircuitConfig(**SMALL | fields)).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
        model.final_logits_bias.copy_(torch.randn(31))
    return model


def expected_logits(model: CircuitTransformer, ids: Tensor) -> Tensor:
    """Model spec 1.2 and 1.3 in float64, one sequence and one head at a time."""
    c, p = model.config, {name: value.double() for name, value in model.state_dict().items()}
    sites = set(c.afrac_loctypes.split(",")) if c.afrac is not None else set()

    def cut(x: Tensor, site: str) -> Tensor:
        if site not in sites or c.afrac is None:
            return x
        out = torch.zeros_like(x)
        for row in range(len(x)):
            kept = sorted(range(x.shape[1]), key=lambda j: -abs(float(x[row, j])))[: int(c.afrac * x.shape[1])]
            out[row, kept] = x[row, kept]
        return out

    def norm(x: Tensor, name: str) -> Tensor:
        if c.rms_norm:
            return x / (x.pow(2).mean(1, keepdim=True) + 2.0**-52).sqrt() * p[f"{name}.weight"]
        centred = x - x.mean(1, keepdim=True)
        return centred / (centred.pow(2).mean(1, keepdim=True) + 1e-5).sqrt() * p[f"{name}.weight"] + p[f"{name}.bias"]

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]

    results = []
    for row in ids:
        positions = p["transformer.wpe.weight"][: len(row)]
        x = p["transformer.wte.weight"][row]
        if c.d_pos_emb is None:
            x = x + positions
        for i in range(c.n_layer):
            h = f"transformer.h.{i}"

            def inner(x: Tensor, which: str, h: str = h, positions: Tensor = positions) -> Tensor:
                normed = norm(x, f"{h}.ln_{which}")
                if c.d_pos_emb is None:
                    return normed
                return torch.cat([normed, norm(positions, f"{h}.ln_p{which}")], dim=1)

            qkv = linear(cut(inner(x, "1"), "attn_in"), f"{h}.attn.c_attn")
            q, k, v = (cut(part, f"attn_{name}") for name, part in zip("qkv", qkv.chunk(3, 1), strict=True))
            mixed = torch.zeros_like(q)
            for head in range(c.n_head):
                span = slice(head * c.head_width, (head + 1) * c.head_width)
                for t in range(len(row)):
                    weights = (k[: t + 1, span] @ q[t, span] / math.sqrt(c.head_width)).exp()
                    sink = p[f"{h}.attn.attn_imp.sink_logit"][head].exp() if c.sink else 0
                    mixed[t, span] = weights @ v[: t + 1, span] / (weights.sum() + sink)
            x = x + cut(linear(mixed, f"{h}.attn.c_proj"), "attn_out")
            x = x.relu() if c.residual_activation_type == "relu" else x
            hidden = linear(cut(inner(x, "2"), "mlp_in"), f"{h}.mlp.c_fc")
            active = hidden.relu() if c.activation_type == "relu" else hidden * (1 + (hidden / 2**0.5).erf()) / 2
            x = x + cut(linear(cut(active, "mlp_neuron"), f"{h}.mlp.c_proj"), "mlp_out")
            x = x.relu() if c.residual_activation_type == "relu" else x
        logits = norm(x, "transformer.ln_f") @ p["lm_head.weight"].T + p["final_logits_bias"]
        results.append(logits + p["bigram_table"][row] if c.enable_bigram_table else logits)
    return torch.stack(results)


@pytest.mark.parametrize(
    "fields",
    [
        {"rms_norm": True, "afrac": 0.25, "afrac_loctypes": ALL_SITES, "d_pos_emb": 6, "sink": True},
        {"rms_norm": True, "afrac": 0.5, "enable_bigram_table": True},
        {"activation_type": "relu", "residual_activation_type": "relu", "sink": True, "tied_unembed": False},
        {"d_pos_emb": 4, "sinusoidal_cat_pos_emb": True},
    ],
    ids=["as released", "additive positions, bigrams", "relu, LayerNorm, sink", "sinusoidal"],
)
def test_logits_follow_the_formulas(fields: dict[str, object]) -> None:
    model = random_model(**fields).double()
    ids = torch.randint(0, 31, (2, 9), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(model(ids).logits, expected_logits(model, ids), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("count", "fields"),
    [
        (
            419_122_688,  # csp_yolo2
            {"n_layer": 8, "d_model": 2048, "n_head": 128, "d_head": 16, "d_mlp": 8192, "d_pos_emb": 32, "sink": True},
        ),
        (160_568_320, {"n_layer": 12, "d_model": 1024, "n_head": 128, "d_head": 8, "d_mlp": 4096}),  # csp_yolo1
        # The sweep's head count, position form and bigram table are deduced: this combination gives the count.
        (11_819_264, {"n_layer": 8, "d_model": 256, "n_head": 16, "d_head": 16, "d_mlp": 1024}),
    ],
)
def test_parameter_counts_of_released_models(count: int, fields: dict[str, object]) -> None:
    with torch.device("meta"):
        model = CircuitTransformer(
            CircuitConfig(**RELEASED | {"block_size": 1024, "enable_bigram_table": True} | fields)
        )
    assert sum(parameter.numel() for parameter in model.parameters()) == count
    assert sum(buffer.numel() for buffer in model.buffers()) == 2048


def test_state_dict_keys_and_shapes_are_the_published_ones() -> None:
    model = random_model(rms_norm=True, d_pos_emb=6, sink=True, enable_bigram_table=True, tied_unembed=False)
    expected = {
        "transformer.wte.weight": (31, 16),
        "transformer.wpe.weight": (12, 6),
        "transformer.ln_f.weight": (16,),
        "lm_head.weight": (31, 16),
        "bigram_table": (31, 31),
        "final_logits_bias": (31,),
    }
    for i in range(2):
        expected |= {
            f"transformer.h.{i}.ln_1.weight": (16,),
            f"transformer.h.{i}.ln_2.weight": (16,),
            f"transformer.h.{i}.ln_p1.weight": (6,),
            f"transformer.h.{i}.ln_p2.weight": (6,),
            f"transformer.h.{i}.attn.c_attn.weight": (24, 22),
            f"transformer.h.{i}.attn.c_attn.bias": (24,),
            f"transformer.h.{i}.attn.c_proj.weight": (16, 8),
            f"transformer.h.{i}.attn.c_proj.bias": (16,),
            f"transformer.h.{i}.attn.attn_imp.sink_logit": (2,),
            f"transformer.h.{i}.mlp.c_fc.weight": (24, 22),
            f"transformer.h.{i}.mlp.c_fc.bias": (24,),
            f"transformer.h.{i}.mlp.c_proj.weight": (16, 24),
            f"transformer.h.{i}.mlp.c_proj.bias": (16,),
        }
    assert {name: tuple(value.shape) for name, value in model.state_dict().items()} == expected


def test_each_site_keeps_exactly_its_fraction() -> None:
    model = random_model(rms_norm=True, afrac=0.25, afrac_loctypes=ALL_SITES, d_pos_emb=6, sink=True)
    counts: dict[str, set[int]] = {}

    def count(name: str, tensor: Tensor) -> None:
        counts.setdefault(name, set()).update(tensor.ne(0).sum(-1).flatten().tolist())

    for i, block in enumerate(model.transformer.h):
        block.attn.c_attn.register_forward_pre_hook(lambda _m, x, i=i: count("attn_in", x[0]))
        block.attn.attn_imp.register_forward_pre_hook(
            lambda _m, qkv: [count(n, x.transpose(1, 2).flatten(2)) for n, x in zip("qkv", qkv, strict=True)] and None
        )
        block.attn.register_forward_hook(lambda _m, _x, y: count("attn_out", y))
        block.mlp.c_fc.register_forward_pre_hook(lambda _m, x: count("mlp_in", x[0]))
        block.mlp.c_proj.register_forward_pre_hook(lambda _m, x: count("mlp_neuron", x[0]))
        block.mlp.register_forward_hook(lambda _m, _x, y: count("mlp_out", y))
    model(torch.randint(0, 31, (3, 10)))
    assert counts == {
        "attn_in": {5},  # int(22 / 4)
        "q": {2},  # of both heads together
        "k": {2},
        "v": {2},
        "attn_out": {4},
        "mlp_in": {5},
        "mlp_neuron": {6},
        "mlp_out": {4},
    }


def test_abs_top_k_keeps_signs_and_passes_gradients_through_kept_entries_only() -> None:
    values = torch.tensor([[3.0, -5.0, 0.5, -1.0]], requires_grad=True)
    result = abs_top_k(values, 2)
    assert result.tolist() == [[3.0, -5.0, 0.0, 0.0]]
    result.sum().backward()
    assert values.grad is not None
    assert values.grad.tolist() == [[1.0, 1.0, 0.0, 0.0]]


@pytest.mark.parametrize("width", [3, 8, 16])
def test_gradient_of_the_sink_is_that_of_a_larger_denominator(width: int) -> None:
    torch.manual_seed(width)
    core = AttentionCore(CircuitConfig(n_head=2, d_model=2 * width, sink=True)).double()
    q, k, v = torch.randn(3, 1, 2, 5, width, dtype=torch.float64)
    assert core.sink_logit is not None
    torch.nn.init.normal_(core.sink_logit)
    logits = q @ k.transpose(2, 3) / math.sqrt(width)
    weights = logits.exp().tril()
    plain = weights @ v / (weights.sum(-1, keepdim=True) + core.sink_logit.exp()[:, None, None])
    mixed = core(q, k, v)
    torch.testing.assert_close(mixed, plain)
    expected = torch.autograd.grad(plain.square().sum(), core.sink_logit)[0]
    torch.testing.assert_close(torch.autograd.grad(mixed.square().sum(), core.sink_logit)[0], expected)


@pytest.mark.parametrize("fields", [{"d_pos_emb": 6, "sink": True}, {}], ids=["concatenated", "additive"])
def test_right_padding_is_harmless_and_left_padding_refused(fields: dict[str, object]) -> None:
    model = random_model(rms_norm=True, **fields)
    ids = torch.randint(0, 31, (1, 7))
    alone = model(ids).logits
    mask = torch.tensor([[1] * 7 + [0] * 5])
    for pad in (0, 30):
        padded = torch.cat([ids, torch.full((1, 5), pad)], dim=1)
        torch.testing.assert_close(model(padded, attention_mask=mask).logits[:, :7], alone, rtol=1e-4, atol=1e-4)
        with pytest.raises(ModelError, match="padding token before a real one"):
            model(padded.flip(1), attention_mask=mask.flip(1))
    with pytest.raises(ModelError, match="another shape"):
        model(ids, attention_mask=mask)


def test_unusable_ids_are_refused() -> None:
    model = random_model()
    with pytest.raises(ModelError, match=r"found 13 tokens, expected at most 12"):
        model(torch.zeros(1, 13, dtype=torch.int64))
    with pytest.raises(ModelError, match="int64"):
        model(torch.zeros(1, 3, dtype=torch.int32))
    with pytest.raises(ModelError, match="batch, tokens"):
        model(torch.zeros(3, dtype=torch.int64))


def test_generation_takes_the_likeliest_token_at_temperature_0_and_crops_the_context() -> None:
    model = random_model(rms_norm=True, sink=True, d_pos_emb=4)
    ids = torch.randint(0, 31, (2, 10))
    out = model.generate(ids, 4, temperature=0)
    assert out.shape == (2, 14)
    assert torch.equal(out[:, :10], ids)
    for length in range(10, 14):
        expected = model(out[:, max(0, length - 12) : length]).logits[:, -1].argmax(-1)
        assert torch.equal(out[:, length], expected)
    sampled = [model.generate(ids, 4, generator=torch.Generator().manual_seed(3)) for _ in range(2)]
    assert torch.equal(*sampled)


def test_sinusoidal_periods_run_from_4_to_the_number_of_rows() -> None:
    table = sinusoidal_positions(64, 6)
    assert table.shape == (64, 6)
    torch.testing.assert_close(table[1, 0], torch.tensor(1.0))  # a quarter of period 4
    torch.testing.assert_close(table[16, 2], torch.tensor(1.0))  # a quarter of period 64
    torch.testing.assert_close(table[:, 3:].square() + table[:, :3].square(), torch.ones(64, 3))


def test_configuration_dialects() -> None:
    legacy = {
        "n_mlp": 24,
        "n_embd": 16,
        "pfrac": 0.01,
        "flash": False,
        "unembed_rank": None,
        "rtopk": False,
        "head_dim": None,
    }
    config = CircuitConfig.from_json({"n_layer": 2, "n_head": 2, **legacy, "mup_width_multiplier": 1.0})
    assert (config.d_mlp, config.d_model, config.sink) == (24, 16, False)
    assert CircuitConfig.from_json(config.to_json()) == config
    assert CircuitConfig.from_json({"hidden_size": 768, "d_model": 768}).mlp_width == 3072


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"unembed_rank": 64}, "unembed_rank: the configuration turns on something"),
        ({"rtopk": True}, "rtopk"),
        ({"a_new_feature": "on"}, "a_new_feature"),
        ({"use_tied_aux_matrix": True}, "use_tied_aux_matrix"),
        ({"n_mlp": 5, "d_mlp": 6}, "disagree"),
        ({"afrac": 0.5, "afrac_loctypes": "mlp_in,mlp_hidden"}, "mlp_hidden"),
        ({"afrac": 25}, "not a fraction"),
        ({"activation_type": "swiglu"}, "swiglu"),
        ({"d_model": 10, "n_head": 3}, "not divisible"),
        ({"n_layer": "8"}, "n_layer"),
    ],
)
def test_what_would_change_the_forward_pass_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        CircuitConfig.from_json(values, file="config.json")
    assert caught.value.file == "config.json"
