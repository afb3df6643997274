"""Reading activations inside a causal language model, by site and layer, through ordinary torch hooks.

Sites, all of them (B, T, width):

===============  ========================================================================================
``embed``        token embeddings as the embedding module gives them; its only layer is 0
``resid_post``   the residual stream after block i, before any final norm
``attn_out``     what attention i adds to the residual stream
``mlp_out``      what MLP i adds to the residual stream
``mlp_neurons``  the hidden units of MLP i: the input of its down-projection
===============  ========================================================================================

Blocks with a norm after a sublayer (Gemma 2 and 3, OLMo 2) add that norm's output to the stream, so ``attn_out`` and
``mlp_out`` are read there (causal-dimensionality spec 1.5). In the circuit-sparsity family ``mlp_out`` is the output of
``transformer.h.{i}.mlp`` after its top-k, the tensor that CSP-Atlas records (model spec 1.4).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn

from circuit_artifacts.errors import ModelError, UnknownNameError

__all__ = [
    "SITES",
    "HookPoint",
    "capture",
    "hook_point",
    "hook_point_name",
    "layer_count",
    "output_tensor",
    "recording",
]

SITES: Final = ("embed", "resid_post", "attn_out", "mlp_out", "mlp_neurons")

_ATTENTION_NAMES: Final = ("attn", "self_attn", "attention", "self_attention")
_MLP_NAMES: Final = ("mlp", "feed_forward", "ffn", "block_sparse_moe")
_DOWN_PROJECTIONS: Final = ("c_proj", "down_proj", "dense_4h_to_h", "fc2", "fc_out", "w2")


class HookPoint(NamedTuple):
    """One place in a model.

    Attributes:
        name: dotted module name.
        module: the module.
        reads_input: the activation is the module's first input, not its output.
    """

    name: str
    module: nn.Module
    reads_input: bool


def layer_count(model: nn.Module) -> int:
    """Number of blocks of a causal language model.

    Raises:
        ModelError: no list of blocks can be found.
    """
    return len(_blocks(model)[1])


def hook_point(model: nn.Module, site: str, layer: int) -> HookPoint:
    """Find a site of a layer.

    Args:
        model: a `CircuitTransformer`, or a `transformers` causal language model.
        site: one of ``SITES``.
        layer: block number from 0; 0 for ``embed``.

    Raises:
        UnknownNameError: no such site or layer; the message lists what exists.
        ModelError: the model's structure is not understood.
    """
    if site not in SITES:
        problem = "there is no such site"
        raise UnknownNameError(problem, where="site", found=repr(site), expected=", ".join(SITES))
    prefix, blocks = _blocks(model)
    layers = 1 if site == "embed" else len(blocks)
    if not 0 <= layer < layers:
        problem = f"{site} has no such layer"
        raise UnknownNameError(
            problem, where="layer", found=layer, expected=f"0 to {layers - 1}" if layers > 1 else "0"
        )
    if site == "embed":
        return HookPoint(*_embedding(model), reads_input=False)
    block, name = blocks[layer], f"{prefix}.{layer}"
    if site == "resid_post":
        return HookPoint(name, block, reads_input=False)
    post_norms = hasattr(block, "post_feedforward_layernorm")
    if site == "attn_out":
        # Without the second norm, post_attention_layernorm is the usual name of the MLP's *input* norm.
        names = ("post_attention_layernorm",) if post_norms else _ATTENTION_NAMES
        return HookPoint(*_child(block, name, names, site), reads_input=False)
    if site == "mlp_out":
        names = ("post_feedforward_layernorm",) if post_norms else _MLP_NAMES
        return HookPoint(*_child(block, name, names, site), reads_input=False)
    mlp_name, mlp = _child(block, name, _MLP_NAMES, site)
    return HookPoint(*_child(mlp, mlp_name, _DOWN_PROJECTIONS, site), reads_input=True)


def hook_point_name(model: nn.Module, site: str, layer: int) -> str:
    """Dotted name of the module at a site, with ``(input)`` after it where its input is read.

    Raises:
        UnknownNameError, ModelError: as `hook_point`.
    """
    point = hook_point(model, site, layer)
    return f"{point.name} (input)" if point.reads_input else point.name


def output_tensor(output: Any) -> Tensor:
    """The activation in a module's output, which is a tensor or a tuple that begins with one.

    Which of the two a block returns depends on the version of `transformers` (causal-dimensionality spec 1.5).

    Raises:
        ModelError: it is neither.
    """
    tensor = output[0] if isinstance(output, tuple) and output else output
    if not isinstance(tensor, Tensor):
        problem = "a module's output holds no tensor"
        raise ModelError(problem, found=type(tensor).__name__)
    return tensor


@contextmanager
def recording(
    model: nn.Module, site: str, layers: Sequence[int], callback: Callable[[int, Tensor], None]
) -> Iterator[None]:
    """While open, hand each activation to ``callback(layer, tensor)`` as forward passes produce it.

    Nothing is kept here: a callback that gathers a few positions keeps memory small. Tensors are not detached.

    Args:
        model: as `hook_point`.
        site: as `hook_point`.
        layers: block numbers, in any order; the callback is called in the order of computation.
        callback: gets the layer and the activation (B, T, width).

    Raises:
        UnknownNameError, ModelError: as `hook_point`; ModelError also, during a pass, for an activation that is not
            three-dimensional.
    """
    points = {layer: hook_point(model, site, layer) for layer in layers}

    def deliver(layer: int, value: Any) -> None:
        tensor = output_tensor(value)
        if tensor.ndim != 3:
            problem = "the activation is not (batch, tokens, width)"
            raise ModelError(problem, where=points[layer].name, found=tuple(tensor.shape))
        callback(layer, tensor)

    with ExitStack() as stack:
        for layer, point in points.items():
            if point.reads_input:

                def before(_module: nn.Module, inputs: tuple[Any, ...], layer: int = layer) -> None:
                    deliver(layer, inputs)

                handle = point.module.register_forward_pre_hook(before)
            else:

                def after(_module: nn.Module, _inputs: tuple[Any, ...], output: Any, layer: int = layer) -> None:
                    deliver(layer, output)

                handle = point.module.register_forward_hook(after)
            stack.callback(handle.remove)
        yield


def capture(model: nn.Module, ids: Tensor, *, site: str, layers: Sequence[int]) -> dict[int, Tensor]:
    """Run the model once, without gradients, and return activations.

    Args:
        model: as `hook_point`.
        ids: token ids (B, T), int64. Pad on the right, if at all.
        site: one of ``SITES``.
        layers: block numbers; ``[0]`` for ``embed``.

    Returns:
        For each layer the activation (B, T, width), in the model's dtype and on its device.

    Raises:
        UnknownNameError, ModelError: as `recording`.
    """
    found: dict[int, Tensor] = {}
    # Cloned: a later in-place operation of the model must not change what is returned.
    with torch.no_grad(), recording(model, site, layers, lambda layer, tensor: found.update({layer: tensor.clone()})):
        model(ids)
    return {layer: found[layer] for layer in layers}


def _blocks(model: nn.Module) -> tuple[str, nn.ModuleList]:
    """The list of transformer blocks: the first module list whose items hold attention and an MLP."""
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) and _has(module[0], _ATTENTION_NAMES + _MLP_NAMES):
            return name, module
    problem = "no list of transformer blocks was found in the model"
    raise ModelError(problem, found=type(model).__name__)


def _has(module: nn.Module, names: Sequence[str]) -> bool:
    return any(name in module._modules for name in names)


def _embedding(model: nn.Module) -> tuple[str, nn.Module]:
    finder = getattr(model, "get_input_embeddings", None)
    if finder is not None:
        wanted = finder()
        for name, module in model.named_modules():
            if module is wanted:
                return name, module
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding):
            return name, module
    problem = "no token embedding was found in the model"
    raise ModelError(problem, found=type(model).__name__)


def _child(module: nn.Module, prefix: str, names: Sequence[str], site: str) -> tuple[str, nn.Module]:
    children: Mapping[str, nn.Module] = dict(module.named_children())
    for name in names:
        if name in children:
            return f"{prefix}.{name}", children[name]
    problem = f"the model has no {site}"
    raise UnknownNameError(
        problem,
        where=prefix,
        found=", ".join(children) or "no submodules",
        expected=" or ".join(names),
    )
