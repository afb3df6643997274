"""The shape of a circuit-sparsity model, read from the flat JSON that its checkpoints carry."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from circuit_artifacts.errors import FormatError, MissingArtifactError, ModelError

__all__ = ["ACTIVATION_SITES", "SPARSIFIED_SITES", "CircuitConfig"]

logger = logging.getLogger(__name__)

SPARSIFIED_SITES: Final = ("attn_in", "attn_q", "attn_k", "attn_v", "attn_out", "mlp_in", "mlp_neuron", "mlp_out")
"""The eight places where the released models keep only their largest activations (model spec 1.3)."""

ACTIVATION_SITES: Final = (*SPARSIFIED_SITES, "resid_post_attn", "resid_post_mlp")
"""Every place where the family can sparsify; the last two are in no released model."""

# Other names of our fields, in older checkpoints and in transformers' vocabulary (model spec 3.2).
_ALIASES: Final[Mapping[str, str]] = {
    "n_mlp": "d_mlp",
    "n_embd": "d_model",
    "hidden_size": "d_model",
    "intermediate_size": "d_mlp",
    "head_dim": "d_head",
    "num_hidden_layers": "n_layer",
    "num_attention_heads": "n_head",
    "max_position_embeddings": "block_size",
}

# Keys that never change what the forward pass computes: training, kernels, bookkeeping of transformers.
_NO_EFFECT: Final = frozenset(
    {
        "dropout",
        "dropout_cat_pos_emb",
        "grad_checkpointing",
        "flash",
        "enable_sparse_kernels",
        "debug_nans",
        "tokenizer_name",
        "pfrac",
        "expansion_factor",
        "expansion_factor_mlp",
        "debug_exact_topk",
        "sparse_matmul_impl",
        "learnable_bigram_table",
        "afrac_ste",
        "afrac_ste_only_non_neurons",
        "enable_fp8_linear",
        "architectures",
        "auto_map",
        "model_type",
        "transformers_version",
        "torch_dtype",
        "dtype",
        "tie_word_embeddings",
        "use_cache",
        "bos_token_id",
        "eos_token_id",
        "pad_token_id",
        "is_decoder",
        "is_encoder_decoder",
        "return_dict",
        "output_hidden_states",
        "output_attentions",
        "_name_or_path",
    }
)

# Keys that would change the forward pass, with the values at which they do not (model spec 3.2 and 4.2).
_INERT_VALUES: Final[Mapping[str, tuple[Any, ...]]] = {
    "unembed_rank": (None, 0),
    "bigram_table_rank": (None, 0),
    "mup_width_multiplier": (None, 1, 1.0),
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CircuitConfig:
    """Everything that decides the forward pass of a circuit-sparsity model (model spec 1.1).

    Defaults are those of the published code, so that a checkpoint's JSON may leave keys out.

    Attributes:
        block_size: rows of the position table; the longest input, in tokens.
        vocab_size: number of token ids.
        n_layer: number of blocks.
        n_head: attention heads per block.
        d_model: width of the residual stream.
        d_head: width of one head; ``d_model // n_head`` when None.
        d_mlp: neurons per block; ``4 * d_model`` when None.
        bias: whether linear layers have biases.
        ln_bias: whether LayerNorm has a bias (RMSNorm never has one).
        rms_norm: RMSNorm instead of LayerNorm.
        residual_activation_type: ``identity`` or ``relu``, on the residual stream after each sublayer.
        activation_type: ``gelu`` (exact) or ``relu``.
        afrac: fraction of activations kept at each sparsified site; None keeps all.
        afrac_loctypes: comma-separated sites from ``ACTIVATION_SITES``.
        tied_unembed: the unembedding is the embedding matrix.
        enable_bigram_table: a (vocabulary, vocabulary) table is added to the logits.
        d_pos_emb: width of the concatenated position vector; None adds positions to the embedding instead.
        sinusoidal_cat_pos_emb: the position table starts as frozen sines and cosines.
        sink: a learned attention sink per head.
    """

    block_size: int = 1024
    vocab_size: int = 50304
    n_layer: int = 12
    n_head: int = 12
    d_model: int = 768
    d_head: int | None = None
    d_mlp: int | None = None
    bias: bool = True
    ln_bias: bool = True
    rms_norm: bool = False
    residual_activation_type: str = "identity"
    activation_type: str = "gelu"
    afrac: float | None = None
    afrac_loctypes: str = "attn_in,attn_out,mlp_in,mlp_out"
    tied_unembed: bool = True
    enable_bigram_table: bool = False
    d_pos_emb: int | None = None
    sinusoidal_cat_pos_emb: bool = False
    sink: bool = False

    def __post_init__(self) -> None:
        for name in ("block_size", "vocab_size", "n_layer", "n_head", "d_model", "d_head", "d_mlp", "d_pos_emb"):
            value = getattr(self, name)
            optional = name in {"d_head", "d_mlp", "d_pos_emb"}
            if not (optional and value is None) and (type(value) is not int or value < 1):
                problem = f"{name} is not a positive integer"
                raise ModelError(problem, where=name, found=repr(value))
        if self.d_head is None and self.d_model % self.n_head:
            problem = "d_model is not divisible by n_head, and d_head is not given"
            raise ModelError(problem, found=f"d_model {self.d_model}, n_head {self.n_head}")
        for name, allowed in {
            "residual_activation_type": ("identity", "relu"),
            "activation_type": ("gelu", "relu"),
        }.items():
            if getattr(self, name) not in allowed:
                problem = f"unknown {name}"
                raise ModelError(problem, where=name, found=repr(getattr(self, name)), expected=" or ".join(allowed))
        if self.afrac is not None and not 0 < self.afrac <= 1:
            problem = "afrac is not a fraction"
            raise ModelError(problem, where="afrac", found=self.afrac, expected="a number in (0, 1] or null")
        unknown = self._listed_sites - set(ACTIVATION_SITES)
        if unknown:
            problem = "afrac_loctypes names unknown sites"
            raise ModelError(problem, found=", ".join(sorted(unknown)), expected=", ".join(ACTIVATION_SITES))
        if self.sinusoidal_cat_pos_emb and (self.d_pos_emb is None or self.d_pos_emb % 2):
            problem = "sinusoidal positions need an even d_pos_emb"
            raise ModelError(problem, where="d_pos_emb", found=self.d_pos_emb)

    @property
    def head_width(self) -> int:
        """Width of one attention head."""
        return self.d_model // self.n_head if self.d_head is None else self.d_head

    @property
    def attention_width(self) -> int:
        """Width of each of q, k and v: all heads together."""
        return self.n_head * self.head_width

    @property
    def mlp_width(self) -> int:
        """Number of MLP neurons per block."""
        return 4 * self.d_model if self.d_mlp is None else self.d_mlp

    @property
    def input_width(self) -> int:
        """Width of what a sublayer reads: the residual stream and, if concatenated, the position vector."""
        return self.d_model + (self.d_pos_emb or 0)

    @property
    def _listed_sites(self) -> set[str]:
        return {name.strip() for name in self.afrac_loctypes.split(",") if name.strip()}

    def kept(self, site: str, width: int) -> int | None:
        """How many of ``width`` activations per token survive at ``site``; None when all do (model spec 1.3)."""
        if self.afrac is None or site not in self._listed_sites:
            return None
        count = int(self.afrac * width)
        return None if count >= width else count

    def to_json(self) -> dict[str, Any]:
        """The flat JSON object that ``from_json`` reads."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any], *, file: object = None) -> CircuitConfig:
        """Read a checkpoint's flat JSON, in any of the dialects that exist (model spec 3.2, 4.2).

        Keys without effect on the forward pass are dropped, older names are translated.

        Args:
            values: the parsed JSON object.
            file: where it came from, for error messages.

        Raises:
            ModelError: a key would change the forward pass in a way that this module does not implement,
                two names of one field disagree, or a value is out of range.
        """
        fields = {field.name for field in dataclasses.fields(cls)}
        known = {key: value for key, value in values.items() if key in fields}
        dropped = []
        for key, value in values.items():
            if key in fields or (key in _ALIASES and value is None):
                continue
            if key in _ALIASES:
                target = _ALIASES[key]
                if known.setdefault(target, value) not in (None, value):
                    problem = f"{key} and {target} are two names of one field and disagree"
                    raise ModelError(problem, file=file, where=key, found=value, expected=known[target])
                known[target] = value
            # Any other key is a feature unknown here: tolerable when off, which is null, false, zero or empty.
            elif key in _NO_EFFECT or (value in _INERT_VALUES[key] if key in _INERT_VALUES else not value):
                dropped.append(key)
            else:
                problem = "the configuration turns on something that this model family does not implement here"
                raise ModelError(
                    problem,
                    file=file,
                    where=key,
                    found=repr(value),
                    remedy="Load the model with the code it was published with, or remove the key if it has no effect.",
                )
        if dropped:
            logger.debug("configuration keys without effect on the forward pass: %s", ", ".join(sorted(dropped)))
        try:
            return cls(**known)
        except ModelError as error:
            error.file = error.file or (None if file is None else str(file))
            raise

    @classmethod
    def from_file(cls, path: Path) -> CircuitConfig:
        """Read ``config.json`` or ``beeg_config.json``.

        Raises:
            MissingArtifactError: there is no such file.
            FormatError: it is not a JSON object.
            ModelError: as ``from_json``.
        """
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            problem = "there is no model configuration"
            raise MissingArtifactError(problem, file=path) from error
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            problem = "the model configuration is not JSON"
            raise FormatError(problem, file=path, found=error) from error
        if not isinstance(values, dict):
            problem = "the model configuration is not a JSON object"
            raise FormatError(problem, file=path, found=type(values).__name__)
        return cls.from_json(values, file=path)
