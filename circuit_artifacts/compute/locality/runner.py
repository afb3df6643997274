"""A model, its tokenizer, its autoencoders and a corpus: what the steps that run a model share."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from tokenizers import decoders
from torch import Tensor, nn

from circuit_artifacts.compute.corpora import Corpus, load_corpus
from circuit_artifacts.compute.hooks import layer_count
from circuit_artifacts.compute.locality.depth_run import MeasuredWindows, measure
from circuit_artifacts.compute.locality.parameters import LocalityParameters
from circuit_artifacts.compute.locality.presets import PRESETS, Preset, preset
from circuit_artifacts.compute.models import TextTokenizer, load_model, load_tokenizer, model_identity, residual_width
from circuit_artifacts.compute.saes import SparseAutoencoder, load_sae
from circuit_artifacts.errors import UnknownNameError
from circuit_artifacts.filesets import Local
from circuit_artifacts.jobs import Job
from circuit_artifacts.provenance import Provenance
from circuit_artifacts.schemas.sae_locality_mirror import MINI_PRESET

__all__ = ["LocalityRunner"]

_SITE = "resid_post"
_THRESHOLD = 0.0
_SWEEP_MAX_CONTEXT_LEN, _SWEEP_STEP = 128, 8  # of the published script, where no preset says otherwise


class LocalityRunner:
    """What one job runs; everything is loaded at first use.

    Args:
        job: the job.
        parameters: its parameters, with the preset and corpus of the config that is made.

    Raises:
        UnknownNameError: there is no such preset, and model and autoencoders are not both named.
    """

    def __init__(self, job: Job, parameters: LocalityParameters) -> None:
        self.job = job
        self.parameters = parameters
        own = parameters.model is not None and parameters.sae is not None
        known = parameters.preset in {*PRESETS, MINI_PRESET}
        if not known and not own:
            problem = "there is no such preset"
            remedy = "For another model, name model= and sae= too."
            raise UnknownNameError(
                problem, where="preset", found=parameters.preset, expected=", ".join(PRESETS), remedy=remedy
            )
        self.preset: Preset | None = preset(parameters.preset) if known else None
        self._sae: tuple[int, SparseAutoencoder] | None = None

    def _chosen(self, name: str, otherwise: Any) -> Any:
        """What the parameters say, else the preset, else what is usual."""
        value = getattr(self.parameters, name)
        return value if value is not None else getattr(self.preset, name, otherwise)

    @property
    def site(self) -> str:
        """What file names call the place that autoencoders read."""
        return str(self._chosen("site", _SITE))

    @property
    def threshold(self) -> float:
        """A feature is active above it."""
        return float(self._chosen("threshold", _THRESHOLD))

    @property
    def layers(self) -> tuple[int, ...]:
        """Those that depth runs and sweeps measure."""
        return tuple(self._chosen("layers", None) or range(layer_count(self.model)))

    @property
    def sweep_lengths(self) -> tuple[int, int, int]:
        """Shortest and longest context of a sweep, and its step."""
        longest = int(self._chosen("sweep_max_context_len", _SWEEP_MAX_CONTEXT_LEN))
        return self.parameters.sweep_min_context_len, longest, int(self._chosen("sweep_step", _SWEEP_STEP))

    @property
    def model_ref(self) -> str:
        """The model, as `load_model` takes it."""
        return str(self._chosen("model", None))

    @cached_property
    def model(self) -> nn.Module:
        """The model in float32, whatever its checkpoint is in (locality spec 7.0)."""
        return load_model(self.model_ref, device=self.parameters.device, dtype=torch.float32)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """The model's reference, and its revision or weights hash."""
        return dataclasses.asdict(model_identity(self.model))

    @cached_property
    def tokenizer(self) -> TextTokenizer:
        """The model's tokenizer."""
        return load_tokenizer(self.model_ref)

    @cached_property
    def corpus(self) -> Corpus:
        """The corpus."""
        return load_corpus(self.parameters.dataset, self.parameters.corpus)

    @cached_property
    def tokens(self) -> list[int]:
        """The corpus as token ids, encoded at once, with what the tokenizer puts before and behind by default."""
        return self.encode(self.corpus.text)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, with the special tokens that the tokenizer adds by default."""
        ids: list[int] = self.tokenizer.backend.encode(text, add_special_tokens=True).ids
        return ids

    @property
    def bos_id(self) -> int:
        """The token that texts begin with, else the one that ends them."""
        first = self.encode("")[:1]
        return first[0] if first else self.tokenizer.end_of_text_id or 0

    def piece(self, token: int) -> str:
        """A token as the tokenizer writes it."""
        found = self.tokenizer.backend.id_to_token(token)
        return "" if found is None else str(found)

    def texts(self, tokens: Sequence[int]) -> list[str]:
        """Tokens as people read them: of a byte-level tokenizer, the text itself and not its alphabet for bytes."""
        backend = self.tokenizer.backend
        if not isinstance(backend.decoder, decoders.ByteLevel):
            return list(map(self.piece, tokens))
        texts: list[str] = backend.decode_batch([[token] for token in tokens], skip_special_tokens=False)
        return texts

    def sae(self, layer: int) -> SparseAutoencoder:
        """A layer's autoencoder; one at a time is kept."""
        if self._sae is None or self._sae[0] != layer:
            self._sae = None  # before the next is loaded: they can be as large as the model
            if self.parameters.sae is not None:
                ref, path = self.parameters.sae.format(layer=layer), ""
            else:
                assert self.preset is not None
                ref, path = self.preset.sae_repo, self.preset.sae_path(layer)
            self._sae = layer, load_sae(ref, path=path, device=self.parameters.device, dtype=torch.float32)
        return self._sae[1]

    def sae_source(self, layer: int) -> str:
        """The autoencoder's origin, without a path of this machine."""
        if self.preset is not None and self.parameters.sae is None:
            return self.preset.sae_source(layer)
        origin = self.sae(layer).origin
        return origin.source if origin is not None else self.sae(layer).arch

    def sae_digest(self, layer: int) -> str:
        """``sha256:<hex>`` of a layer's autoencoder as it is used."""
        state = hashlib.sha256()
        for name, tensor in sorted(self.sae(layer).state_dict().items()):
            state.update(f"{name} {tuple(tensor.shape)}".encode())
            state.update(tensor.cpu().contiguous().numpy())
        return f"sha256:{state.hexdigest()}"

    def sae_facts(self, layer: int) -> dict[str, Any]:
        """What the configuration in a ``.pt`` file says of a layer's autoencoder."""
        sae = self.sae(layer)
        return {
            "preset": self.parameters.preset,
            "threshold": self.threshold,
            "total_features": sae.d_sae,
            "sae_source": self.sae_source(layer),
            "sae_arch": sae.arch,
            "sae_encode": self.parameters.sae_encode,
        }

    def measure(self, windows: Sequence[Tensor], *, layer: int, checkpoint: Path, description: str) -> MeasuredWindows:
        """Influence in windows at a layer; arguments as `depth_run.measure`."""
        p = self.parameters
        return measure(
            self.model,
            self.sae(layer),
            windows,
            checkpoint=checkpoint,
            identity=repr((self.identity, self.sae_digest(layer), p.device)),
            description=description,
            layer=layer,
            threshold=self.threshold,
            sae_encode=p.sae_encode,
            pass_tokens=p.pass_tokens,
        )

    @property
    def declared_architecture(self) -> str:
        """The architecture as run configurations state it, which for some presets is not that of the weights."""
        if self.preset is not None and self.parameters.sae is None:
            return self.preset.sae_arch_declared
        return self.sae(self.layers[0]).arch

    @property
    def sae_loader(self) -> str:
        """The library that the autoencoders were published for, or their format."""
        if self.preset is not None and self.parameters.sae is None:
            return self.preset.sae_loader
        origin = self.sae(self.layers[0]).origin
        return origin.format if origin is not None else "own"

    @property
    def machine(self) -> dict[str, Any]:
        """Device and versions, as run configurations have them; never the host."""
        on_gpu = self.parameters.device.startswith("cuda")
        return {
            "device": self.parameters.device,
            "gpu_name": torch.cuda.get_device_name(self.parameters.device) if on_gpu else None,
            "torch_version": torch.__version__,
        }

    def record(
        self, *names: str, layer: int | None = None, inputs: Iterable[Local] | None = None, **facts: Any
    ) -> Provenance:
        """Provenance of a file that this run makes.

        Args:
            names: parameters that shape the file, besides those that shape all of them.
            layer: whose autoencoder shapes it; None for files about a whole run.
            inputs: as in `Job.record`.
            facts: more that belongs among the parameters.
        """
        shared = ("preset", "dataset", "sae", "sae_encode")
        stated: dict[str, Any] = {"corpus_text": self.corpus.fingerprint} if "corpus" in self.__dict__ else {}
        if layer is not None:
            stated |= {"layer": layer, "sae_source": self.sae_source(layer), "sae_weights": self.sae_digest(layer)}
        parameters = {**self.parameters.recorded(*shared, *names), "threshold": self.threshold, **stated, **facts}
        return self.job.record(
            inputs=inputs,
            parameters=parameters,
            model=self.identity,
            n_layers=layer_count(self.model),
            width=residual_width(self.model),
        )
