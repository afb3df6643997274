"""A model, texts and autoencoders: what the experiments share. Everything is loaded at first use."""

from __future__ import annotations

import dataclasses
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from circuit_artifacts.compute.causality.capture import SiteValues, positions_mask, site_values
from circuit_artifacts.compute.causality.parameters import CausalityParameters
from circuit_artifacts.compute.causality.scores import FeatureScores, score_features
from circuit_artifacts.compute.corpora import Corpus, load_corpus
from circuit_artifacts.compute.hooks import layer_count
from circuit_artifacts.compute.locality.windows import cut_windows, sequential_starts
from circuit_artifacts.compute.models import TextTokenizer, load_model, load_tokenizer, model_identity, residual_width
from circuit_artifacts.compute.saes import SparseAutoencoder, load_sae
from circuit_artifacts.errors import UnknownNameError
from circuit_artifacts.jobs import Job
from circuit_artifacts.provenance import Provenance, package_versions
from circuit_artifacts.schemas.causal_result_parts import ResultProvenance, SaeReference

__all__ = ["CausalityRunner"]

_BATCH_TOKENS = 4096
_BUNDLED = "mini/"

Batches = list[tuple[SiteValues, Tensor]]


class CausalityRunner:
    """What one job runs."""

    def __init__(self, job: Job, parameters: CausalityParameters) -> None:
        self.job = job
        self.parameters = parameters
        self._batches: dict[int, Batches] = {}

    @cached_property
    def model(self) -> nn.Module:
        """The model in float32."""
        return load_model(self.parameters.model, device=self.parameters.device, dtype=torch.float32)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """The model's reference, and its revision or weights hash."""
        return dataclasses.asdict(model_identity(self.model))

    @cached_property
    def tokenizer(self) -> TextTokenizer:
        """The model's tokenizer."""
        return load_tokenizer(self.parameters.model)

    @cached_property
    def corpus(self) -> Corpus:
        """The corpus."""
        return load_corpus(self.parameters.dataset, self.parameters.corpus)

    @cached_property
    def bos(self) -> list[int]:
        """What the tokenizer puts before a text by default; its positions never count."""
        found: list[int] = self.tokenizer.backend.encode("", add_special_tokens=True).ids
        return found[:1]

    @cached_property
    def ids(self) -> Tensor:
        """Token ids (n_sequences, seq_len), evenly spaced windows of the corpus, each after a BOS if there is one."""
        p = self.parameters
        tokens = self.tokenizer.encode(self.corpus.text)
        length = p.seq_len - len(self.bos)
        starts = sequential_starts(len(tokens), context_len=length, n_windows=p.n_sequences)
        windows = cut_windows(tokens, starts, context_len=length)
        before = torch.tensor([self.bos] * p.n_sequences, dtype=torch.int64).reshape(p.n_sequences, -1)
        return torch.cat([before, windows], dim=1).to(p.device)

    @cached_property
    def mask(self) -> Tensor:
        """(n_sequences, seq_len) bool, the tokens that count."""
        return positions_mask(self.ids, self.bos)

    def batches(self, layer: int) -> Batches:
        """Activations and gradients at the site of a layer, with the tokens that count; of one layer they are kept."""
        if layer not in self._batches:
            p = self.parameters
            together = max(1, _BATCH_TOKENS // p.seq_len)
            parts = zip(torch.split(self.ids, together), torch.split(self.mask, together), strict=True)
            self._batches = {layer: [(self._values(ids, layer), mask) for ids, mask in parts]}
        return self._batches[layer]

    def _values(self, ids: Tensor, layer: int) -> SiteValues:
        p = self.parameters
        return site_values(self.model, ids, site=p.site, layer=layer, metric=p.metric, atp_variant=p.atp_variant)

    def sae(self, ref: str) -> SparseAutoencoder:
        """An autoencoder by its reference."""
        p = self.parameters
        bundled = ref.startswith(_BUNDLED)
        name, path = (_BUNDLED[:-1], ref.removeprefix(_BUNDLED)) if bundled else (ref, "")
        return load_sae(name, path=path, device=p.device, dtype=torch.float32)

    def layer_sae(self, layer: int) -> tuple[str, SparseAutoencoder]:
        """The autoencoder of a layer, for experiments over layers, with its reference.

        Raises:
            UnknownNameError: the parameter `layer_sae` is not given.
        """
        if self.parameters.layer_sae is None:
            problem = "experiments over layers need an autoencoder for each"
            remedy = "Give layer_sae=, with {layer} in it, or leave these experiments out."
            raise UnknownNameError(problem, where="layer_sae", remedy=remedy)
        ref = self.parameters.layer_sae.format(layer=layer)
        return ref, self.sae(ref)

    @cached_property
    def scores(self) -> dict[str, FeatureScores]:
        """Scores of all features of the width sweep's autoencoders, from one pass over the texts."""
        p = self.parameters
        saes = [self.sae(ref) for ref in p.saes]
        found = score_features(self.batches(p.layer), saes, reduction=p.reduction, mode=p.sae_encode)
        return dict(zip(p.saes, found, strict=True))

    @property
    def base(self) -> str:
        """The narrowest of them."""
        return min(self.scores, key=lambda ref: self.scores[ref].width)

    def reference(self, ref: str, sae: SparseAutoencoder, layer: int) -> SaeReference:
        """An autoencoder as results name it, without a path of this machine."""
        origin = sae.origin
        return SaeReference(
            source=origin.source if origin is not None else ref.rpartition("/")[2],
            arch=sae.arch,
            d_in=sae.d_in,
            d_sae=sae.d_sae,
            hook=self.parameters.site,
            layer=layer,
        )

    @cached_property
    def stated(self) -> ResultProvenance:
        """What every result says of its making."""
        p = self.parameters
        return ResultProvenance(
            model=self.identity["id"],
            model_revision=self.identity.get("revision") or self.identity.get("sha256"),
            d_model=residual_width(self.model),
            dataset=p.dataset,
            n_sequences=p.n_sequences,
            seq_len=p.seq_len,
            n_tokens=int(self.mask.sum()),
            metric=p.metric,
            atp_reduction=p.reduction,
            seed=p.seed,
            dtype="float32",
            software=package_versions(),
            origin="regenerated",
        )

    def record(self) -> Provenance:
        """Provenance of a file that this run makes."""
        return self.job.record(
            parameters={**self.parameters.recorded(), "corpus_text": self.corpus.fingerprint},
            model=self.identity,
            n_layers=layer_count(self.model),
            width=residual_width(self.model),
        )
