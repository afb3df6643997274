"""The virtual corpus: a feature's best examples on Neuronpedia, put one behind the other (locality spec 5.5)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn

from circuit_artifacts.compute.locality.activations import FeatureEncoder, frozen, require_length, residual_stream
from circuit_artifacts.compute.locality.contexts import ContextExample, FeatureContexts
from circuit_artifacts.compute.saes import EncodeMode, SparseAutoencoder
from circuit_artifacts.errors import ModelError, SchemaError
from circuit_artifacts.progress import track

__all__ = ["AdapterLog", "NeuronpediaContexts", "contexts_from_neuronpedia", "verify_contexts"]

_FAILURES_SHOWN: Final = 3
_DIFFERENCE, _RELATIVE_DIFFERENCE = 0.5, 0.05
"""How far an activation may be from Neuronpedia's: either will do."""
_FEATURES_SHOWN: Final = 10


@dataclass(frozen=True)
class AdapterLog:
    """What became of one feature's examples (locality spec 4.11).

    Attributes:
        n_neuronpedia: examples in the answer.
        n_after_dedup: of these, different ones.
        n_duplicates: the others.
        n_vocab_dropped: left out for a token that the tokenizer does not have, until enough examples had been found.
        n_kept: examples kept.
        roundtrip_failure_examples: the first such token of each of the first three examples left out. Which tokens the
            published logs show is not known; this is ours.
    """

    n_neuronpedia: int
    n_after_dedup: int
    n_duplicates: int
    n_vocab_dropped: int
    n_kept: int
    roundtrip_failure_examples: tuple[str, ...]


class NeuronpediaContexts(NamedTuple):
    """Contexts put together from answers of Neuronpedia.

    Attributes:
        contexts: in the order of the answers.
        corpus: (T,), int64: the examples one behind the other, each after a BOS.
        logs: by feature.
    """

    contexts: list[FeatureContexts]
    corpus: Tensor
    logs: dict[int, AdapterLog]


class _Activation(NamedTuple):
    """One example of an answer."""

    tokens: tuple[str, ...]
    peak: int
    value: float
    data_index: Any


def contexts_from_neuronpedia(
    answers: Mapping[int, Mapping[str, Any]],
    encode_token: Callable[[str], int | None],
    decode_token: Callable[[int], str | None],
    *,
    bos_id: int,
    top_k: int,
    bos_text: str = "<bos>",
) -> NeuronpediaContexts:
    """Take the highest examples from answers of Neuronpedia, and make a corpus of them.

    Of examples that agree in tokens and peak, the first counts. One is left out if any of its pieces becomes another
    on its way through the tokenizer's ids and back.

    Args:
        answers: Neuronpedia's answer by feature, of those features for which there is one.
        encode_token: a piece to its id, as the tokenizer's ``token_to_id``.
        decode_token: an id to its piece, as its ``id_to_token``.
        bos_id: begins each event, also one that begins with a BOS of its own.
        top_k: examples to keep of each feature, if there are as many.
        bos_text: the piece of `bos_id`.

    Raises:
        SchemaError: an example without tokens, with a peak outside them, or without a finite activation.
    """
    contexts: list[FeatureContexts] = []
    corpus: list[int] = []
    logs: dict[int, AdapterLog] = {}

    def known_id(piece: str) -> int | None:
        try:
            number = encode_token(piece)
        except UnicodeEncodeError:  # half a surrogate pair, which JSON can hold and no tokenizer takes
            return None
        return number if number is not None and decode_token(number) == piece else None

    for feature, answer in answers.items():
        activations = list(_activations(feature, answer))
        different: dict[tuple[tuple[str, ...], int], _Activation] = {}
        for each in activations:
            different.setdefault((each.tokens, each.peak), each)
        examples: list[ContextExample] = []
        unknown: list[str] = []
        for rank, each in enumerate(sorted(different.values(), key=lambda each: -each.value)):
            if len(examples) == top_k:
                break
            ids = [known_id(piece) for piece in each.tokens]
            known = [number for number in ids if number is not None]
            if len(known) < len(ids):
                unknown.append(each.tokens[ids.index(None)])
                continue
            tokens = (bos_text, *each.tokens)
            examples.append(ContextExample(each.value, each.peak + 1, tokens, len(corpus), rank, each.data_index))
            corpus += [bos_id, *known]
        contexts.append(FeatureContexts.of(feature, examples))
        logs[feature] = AdapterLog(
            n_neuronpedia=len(activations),
            n_after_dedup=len(different),
            n_duplicates=len(activations) - len(different),
            n_vocab_dropped=len(unknown),
            n_kept=len(examples),
            roundtrip_failure_examples=tuple(unknown[:_FAILURES_SHOWN]),
        )
    return NeuronpediaContexts(contexts, torch.tensor(corpus, dtype=torch.int64), logs)


@torch.no_grad()
def verify_contexts(
    model: nn.Module,
    sae: SparseAutoencoder,
    corpus: Tensor,
    contexts: Sequence[FeatureContexts],
    *,
    layer: int,
    sae_encode: EncodeMode = "compat",
) -> dict[int, float]:
    """Check that model and autoencoder are those of Neuronpedia, by the first event of each feature.

    The event runs alone, from its BOS to its end. The activation at its peak must be within 0.5 or 5 % of what
    Neuronpedia says.

    Args:
        model: a `CircuitTransformer`, or a `transformers` causal language model; left as it was found.
        sae: the layer's autoencoder, on the same device.
        corpus: (T,), int64, as from :func:`contexts_from_neuronpedia`.
        contexts: likewise.
        layer: block whose output the autoencoder reads.
        sae_encode: as in `SparseAutoencoder.encode`.

    Returns:
        The activation found, by feature; features without events are absent.

    Raises:
        UnknownNameError: no such layer or feature.
        ModelError: some activation differs by more; or an event is longer than the model takes, or the autoencoder
            reads another width.
    """
    device = next(model.parameters()).device
    firsts = [(entry.feature_id, entry.examples[0]) for entry in contexts if entry.examples]
    found: dict[int, float] = {}
    with frozen(model):
        for feature, event in track(firsts, "verifying contexts", total=len(firsts)):
            ids = corpus[event.window_start_token : event.window_start_token + len(event.tokens)]
            require_length(model, len(ids))
            residual = residual_stream(model, ids[None].to(device), layer)[0, event.token_idx]
            found[feature] = float(FeatureEncoder(sae, [feature], sae_encode)(residual))
    failed = [
        f"feature {feature}: {found[feature]:.4g} instead of {event.activation:.4g}"
        for feature, event in firsts
        if not _agree(found[feature], event.activation)
    ]
    if failed:
        more = f", and {len(failed) - _FEATURES_SHOWN} more" if len(failed) > _FEATURES_SHOWN else ""
        problem = f"{len(failed)} of {len(firsts)} features are not as active at their first peak as Neuronpedia says"
        raise ModelError(
            problem,
            where=f"layer {layer}",
            found=", ".join(failed[:_FEATURES_SHOWN]) + more,
            remedy="Use the model, layer and autoencoder that the contexts are of.",
        )
    return found


def _agree(found: float, expected: float) -> bool:
    difference = abs(found - expected)
    return difference <= _DIFFERENCE or difference <= _RELATIVE_DIFFERENCE * abs(expected)


def _activations(feature: int, answer: Mapping[str, Any]) -> Iterator[_Activation]:
    for number, example in enumerate(answer.get("activations") or ()):
        fields: dict[str, Any] = example if isinstance(example, dict) else {}
        tokens: Any = fields.get("tokens")
        peak: Any = fields.get("maxValueTokenIndex")
        value: Any = fields.get("maxValue")
        is_text = isinstance(tokens, list) and all(isinstance(piece, str) for piece in tokens)
        is_number = isinstance(value, int | float) and math.isfinite(value)
        if not (is_text and is_number and isinstance(peak, int) and 0 <= peak < len(tokens)):
            problem = "not an example: tokens, the index of one of them, and a finite activation"
            remedy = "Remove the answer from the cache, so that Neuronpedia is asked anew."
            raise SchemaError(problem, where=f"feature {feature}, activations[{number}]", remedy=remedy)
        yield _Activation(tuple(tokens), peak, float(value), fields.get("dataIndex"))
