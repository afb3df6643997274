"""The six models of the published runs with their autoencoders and settings (locality spec 3), and the bundled one."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from circuit_artifacts.errors import UnknownNameError

__all__ = [
    "CONTEXT_LEN",
    "MINI",
    "N_WINDOWS",
    "PRESETS",
    "SEED",
    "SWEEP_MIN_CONTEXT_LEN",
    "SWEEP_SEED",
    "Preset",
    "preset",
]

CONTEXT_LEN: Final = 64
N_WINDOWS: Final = 50
SEED: Final = 0
SWEEP_MIN_CONTEXT_LEN: Final = 8
SWEEP_SEED: Final = 42

Architecture = Literal["relu", "jumprelu", "topk"]
Loader = Literal["dictionary_learning", "sae_lens", "sparsify", "circuit_artifacts"]


@dataclass(frozen=True)
class Preset:
    """One model with the autoencoders of its residual stream, read after each block.

    Attributes:
        name: as in published paths.
        model: Hub id.
        n_layers: blocks of the model.
        d_model: width of the residual stream.
        site: what file names call the place that the autoencoders read; the same place in all six.
        layers: those that the published runs measured.
        threshold: an active feature is above it.
        sae_loader: library that the autoencoders were published for.
        sae_arch_declared: activation as run_config.json states it.
        sae_arch: activation that the autoencoders have, as the `.pt` files state it.
        sae_repo: Hub repository of the autoencoders.
        sae_paths: folder or file of each layer's autoencoder in that repository, or in its archive, from layer 0.
        sae_archive: zip file in the repository that holds them, if one does.
        sae_release: what the loader calls the collection.
        sae_ids: what the loader calls each layer's autoencoder, from layer 0.
        sweep_max_context_len: longest context of the published context-length sweep.
        sweep_step: its step.
    """

    name: str
    model: str
    n_layers: int
    d_model: int
    site: Literal["resid_out", "resid_post", "resid"]
    layers: tuple[int, ...]
    threshold: float
    sae_loader: Loader
    sae_arch_declared: Architecture
    sae_arch: Architecture
    sae_repo: str
    sae_paths: tuple[str, ...]
    sae_release: str
    sae_ids: tuple[str, ...]
    sae_archive: str | None = None
    sweep_max_context_len: int = 2048
    sweep_step: int = 128

    def layer_site(self, layer: int) -> str:
        """The site with its layer, as file names and summaries have it."""
        return f"{self.site}_layer{layer}"

    def sae_path(self, layer: int) -> str:
        """Where a layer's autoencoder is in its repository."""
        return f"{self.sae_archive}/{self.sae_paths[layer]}" if self.sae_archive else self.sae_paths[layer]

    def sae_source(self, layer: int) -> str:
        """The autoencoder's origin as `.pt` files state it.

        For dictionary_learning they hold a path on the machine that wrote them; this is its end, which all share.
        """
        if self.sae_loader == "dictionary_learning":
            return self.sae_paths[layer]
        if self.sae_loader == "circuit_artifacts":
            return f"{self.sae_repo}/{self.sae_paths[layer]}"
        loader = "sparsify-direct" if self.sae_loader == "sparsify" else self.sae_loader
        return f"{loader}:{self.sae_release}/{self.sae_ids[layer]}"


def preset(name: str) -> Preset:
    """A published preset, or that of the bundled model, by its name.

    Raises:
        UnknownNameError: there is none.
    """
    known = {**PRESETS, MINI.name: MINI}
    if name not in known:
        problem = "there is no such preset"
        raise UnknownNameError(problem, where="preset", found=repr(name), expected=", ".join(known))
    return known[name]


def _per_layer(template: str, n_layers: int) -> tuple[str, ...]:
    return tuple(template.format(L=layer) for layer in range(n_layers))


# The "canonical" autoencoders of Gemma Scope at width 16k: mean number of active features, which names their folders.
_GEMMA_SCOPE_L0 = "105 102 141 59 124 68 70 69 71 73 77 80 82 84 84 78 78 77 74 73 71 70 72 75 73 116"

PRESETS: Final = MappingProxyType(
    {
        entry.name: entry
        for entry in (
            Preset(
                name="pythia-70m",
                model="EleutherAI/pythia-70m-deduped",
                n_layers=6,
                d_model=512,
                site="resid_out",
                layers=tuple(range(6)),
                threshold=0.2,
                sae_loader="dictionary_learning",
                sae_arch_declared="relu",
                sae_arch="relu",
                sae_repo="saprmarks/pythia-70m-deduped-saes",
                sae_archive="dictionaries_pythia-70m-deduped_10.zip",
                sae_paths=_per_layer("dictionaries/pythia-70m-deduped/resid_out_layer{L}/10_32768/ae.pt", 6),
                sae_release="saprmarks/pythia-70m-deduped-saes",
                sae_ids=_per_layer("resid_out_layer{L}/10_32768", 6),
            ),
            Preset(
                name="gpt2-small",
                model="openai-community/gpt2",
                n_layers=12,
                d_model=768,
                site="resid_post",
                layers=tuple(range(12)),
                threshold=0.2,
                sae_loader="sae_lens",
                sae_arch_declared="relu",
                sae_arch="topk",
                sae_repo="jbloom/GPT2-Small-OAI-v5-32k-resid-post-SAEs",
                sae_paths=_per_layer("v5_32k_layer_{L}.pt", 12),  # folders, in spite of the name
                sae_release="gpt2-small-resid-post-v5-32k",
                sae_ids=_per_layer("blocks.{L}.hook_resid_post", 12),
                sweep_max_context_len=1024,
                sweep_step=64,
            ),
            Preset(
                name="qwen2-0.5b",
                model="Qwen/Qwen2-0.5B",
                n_layers=24,
                d_model=896,
                site="resid_post",
                layers=tuple(range(12)),
                threshold=0.0,
                sae_loader="sae_lens",
                sae_arch_declared="jumprelu",
                sae_arch="relu",
                sae_repo="chanind/sae-qwen2-0.5b-res",
                sae_paths=_per_layer("blocks.{L}.hook_resid_post", 24),
                sae_release="chanind/sae-qwen2-0.5b-res",
                sae_ids=_per_layer("blocks.{L}.hook_resid_post", 24),
            ),
            Preset(
                name="llama-3.2-1b",
                model="unsloth/Llama-3.2-1B",
                n_layers=16,
                d_model=2048,
                site="resid",
                layers=tuple(range(9)),
                threshold=0.0,
                sae_loader="sae_lens",
                sae_arch_declared="jumprelu",
                sae_arch="relu",
                sae_repo="chanind/sae-llama-3.2-1b-res",
                sae_paths=_per_layer("blocks.{L}.hook_resid_post", 16),
                sae_release="chanind/sae-llama-3.2-1b-res",
                sae_ids=_per_layer("blocks.{L}.hook_resid_post", 16),
            ),
            Preset(
                name="gemma-2-2b",
                model="google/gemma-2-2b",
                n_layers=26,
                d_model=2304,
                site="resid",
                layers=tuple(range(26)),
                threshold=0.0,
                sae_loader="sae_lens",
                sae_arch_declared="jumprelu",
                sae_arch="jumprelu",
                sae_repo="google/gemma-scope-2b-pt-res",
                sae_paths=tuple(
                    f"layer_{layer}/width_16k/average_l0_{active}"
                    for layer, active in enumerate(_GEMMA_SCOPE_L0.split())
                ),
                sae_release="gemma-scope-2b-pt-res-canonical",
                sae_ids=_per_layer("layer_{L}/width_16k/canonical", 26),
            ),
            Preset(
                name="llama-3-8b",
                model="meta-llama/Meta-Llama-3-8B",
                n_layers=32,
                d_model=4096,
                site="resid",
                layers=tuple(range(0, 31, 3)),
                threshold=0.0,
                sae_loader="sparsify",
                sae_arch_declared="topk",
                sae_arch="topk",
                sae_repo="EleutherAI/sae-llama-3-8b-32x",
                sae_paths=_per_layer("layers.{L}", 32),
                sae_release="EleutherAI/sae-llama-3-8b-32x",
                sae_ids=_per_layer("layers.{L}", 32),
            ),
        )
    }
)

MINI: Final = Preset(
    name="mini",
    model="mini",
    n_layers=8,
    d_model=64,
    site="resid_post",
    layers=tuple(range(8)),
    threshold=0.0,
    sae_loader="circuit_artifacts",
    sae_arch_declared="relu",
    sae_arch="relu",
    sae_repo="mini",
    sae_paths=_per_layer("resid_post/layer_{L}/relu_256", 8),
    sae_release="mini",
    sae_ids=_per_layer("resid_post/layer_{L}/relu_256", 8),
    sweep_max_context_len=128,
    sweep_step=24,
)
