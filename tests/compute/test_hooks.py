"""Activations by site and layer: sums of writes in our family, hidden states of the models of `transformers`."""

import pytest
import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    PreTrainedModel,
    Qwen2Config,
)

from circuit_artifacts.compute.hooks import (
    SITES,
    capture,
    hook_point,
    hook_point_name,
    layer_count,
    output_tensor,
    recording,
)
from circuit_artifacts.compute.models import CircuitConfig, CircuitTransformer
from circuit_artifacts.errors import ModelError, UnknownNameError

Family = tuple[str, PreTrainedModel]

IDS = torch.randint(0, 40, (2, 6), generator=torch.Generator().manual_seed(0))
GENERAL = {"vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3}
HEADS = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8}
FAMILIES = {
    "gpt2": GPT2Config(vocab_size=40, n_embd=16, n_layer=3, n_head=2, n_inner=24, n_positions=16, bos_token_id=0),
    "neox": GPTNeoXConfig(**GENERAL, num_attention_heads=2, rotary_pct=0.5),
    "llama": LlamaConfig(**GENERAL, **HEADS),
    "qwen2": Qwen2Config(**GENERAL, num_attention_heads=2, num_key_value_heads=1),
    "gemma2": Gemma2Config(**GENERAL, **HEADS, attn_implementation="eager"),
}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Family:
    torch.manual_seed(1)
    return request.param, AutoModelForCausalLM.from_config(FAMILIES[request.param]).eval()


@pytest.fixture(scope="module")
def circuit() -> CircuitTransformer:
    torch.manual_seed(2)
    model = CircuitTransformer(
        CircuitConfig(
            n_layer=3, d_model=16, n_head=2, d_mlp=24, vocab_size=40, block_size=8, rms_norm=True, d_pos_emb=4,
            sink=True, afrac=0.25, afrac_loctypes="mlp_out,mlp_neuron,attn_out", tied_unembed=False,
        )
    )  # fmt: skip
    return model.eval()


def test_sites_of_our_family_add_up_to_the_residual_stream(circuit: CircuitTransformer) -> None:
    layers = [2, 0, 1]
    stream = capture(circuit, IDS, site="resid_post", layers=layers)
    attention = capture(circuit, IDS, site="attn_out", layers=layers)
    writes = capture(circuit, IDS, site="mlp_out", layers=layers)
    neurons = capture(circuit, IDS, site="mlp_neurons", layers=layers)
    x = capture(circuit, IDS, site="embed", layers=[0])[0]
    assert list(stream) == layers
    assert torch.equal(x, circuit.transformer.wte(IDS))
    for layer in range(3):
        x = x + attention[layer] + writes[layer]
        torch.testing.assert_close(stream[layer], x)
        assert (writes[layer] != 0).sum(-1).unique().tolist() == [4]
        assert (neurons[layer] != 0).sum(-1).unique().tolist() == [6]
        dense = circuit.transformer.h[layer].mlp.c_proj(neurons[layer])
        assert torch.equal(writes[layer], torch.where(writes[layer] != 0, dense, 0.0))
    torch.testing.assert_close(circuit.lm_head(circuit.transformer.ln_f(x)), circuit(IDS).logits)


def test_residual_stream_of_transformers_models_is_that_of_their_hidden_states(family: Family) -> None:
    _, model = family
    with torch.no_grad():
        hidden = model(IDS, output_hidden_states=True).hidden_states
    stream = capture(model, IDS, site="resid_post", layers=range(3))
    # The last hidden state is taken after the final norm (causal-dimensionality spec 1.5).
    for layer in range(2):
        assert torch.equal(stream[layer], hidden[layer + 1])
    assert layer_count(model) == 3


def test_sublayer_outputs_of_transformers_models_add_up_to_the_residual_stream(family: Family) -> None:
    _, model = family
    stream = capture(model, IDS, site="resid_post", layers=[0, 1])
    attention = capture(model, IDS, site="attn_out", layers=[1])[1]
    writes = capture(model, IDS, site="mlp_out", layers=[1])[1]
    torch.testing.assert_close(stream[0] + attention + writes, stream[1])
    assert capture(model, IDS, site="mlp_neurons", layers=[1])[1].shape == (2, 6, 24)
    embedding = model.get_input_embeddings()
    assert torch.equal(capture(model, IDS, site="embed", layers=[0])[0], embedding(IDS))


def test_names_of_hook_points(circuit: CircuitTransformer, family: Family) -> None:
    assert hook_point_name(circuit, "mlp_out", 1) == "transformer.h.1.mlp"
    assert hook_point_name(circuit, "mlp_neurons", 1) == "transformer.h.1.mlp.c_proj (input)"
    name, model = family
    expected = {
        "gpt2": ("transformer.wte", "transformer.h.2", "transformer.h.2.attn", "transformer.h.2.mlp"),
        "neox": (
            "gpt_neox.embed_in",
            "gpt_neox.layers.2",
            "gpt_neox.layers.2.attention",
            "gpt_neox.layers.2.mlp",
        ),
        "gemma2": (
            "model.embed_tokens",
            "model.layers.2",
            "model.layers.2.post_attention_layernorm",
            "model.layers.2.post_feedforward_layernorm",
        ),
    }.get(name, ("model.embed_tokens", "model.layers.2", "model.layers.2.self_attn", "model.layers.2.mlp"))
    assert tuple(hook_point_name(model, site, 2 * (site != "embed")) for site in SITES[:4]) == expected


@pytest.mark.parametrize(
    ("site", "layer", "message"),
    [
        ("mlp", 0, "embed, resid_post, attn_out, mlp_out, mlp_neurons"),
        ("resid_post", 3, "found 3, expected 0 to 2"),
        ("resid_post", -1, "found -1"),
        ("embed", 1, "found 1, expected 0"),
    ],
)
def test_unknown_places_are_refused_with_what_exists(
    circuit: CircuitTransformer, site: str, layer: int, message: str
) -> None:
    with pytest.raises(UnknownNameError, match=message):
        capture(circuit, IDS, site=site, layers=[layer])


def test_models_of_unknown_structure_are_refused() -> None:
    with pytest.raises(ModelError, match="no list of transformer blocks"):
        hook_point(nn.Sequential(nn.Linear(2, 2)), "resid_post", 0)
    with pytest.raises(ModelError, match="holds no tensor"):
        output_tensor(())


def test_recording_keeps_nothing_and_leaves_no_hook_behind(circuit: CircuitTransformer) -> None:
    last: dict[int, torch.Tensor] = {}

    def gather(layer: int, tensor: torch.Tensor) -> None:
        assert not tensor.requires_grad
        last[layer] = tensor[:, -1].clone()

    with torch.no_grad(), recording(circuit, "mlp_out", [0, 2], gather):
        circuit(IDS)
    whole = capture(circuit, IDS, site="mlp_out", layers=[0, 2])
    assert all(torch.equal(last[layer], whole[layer][:, -1]) for layer in (0, 2))
    stop = RuntimeError("stop")

    def fail(_layer: int, _tensor: torch.Tensor) -> None:
        raise stop

    with pytest.raises(RuntimeError, match="stop"), recording(circuit, "mlp_neurons", [0, 1], fail):
        circuit(IDS)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in circuit.modules())


def test_a_tuple_is_opened_and_a_tensor_is_not_indexed() -> None:
    # Indexing a tensor output with [0] would silently select the first batch item.
    tensor = torch.zeros(2, 3, 4)
    assert output_tensor(tensor) is tensor
    assert output_tensor((tensor, None)) is tensor
