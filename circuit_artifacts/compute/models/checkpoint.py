"""Loading causal language models: the circuit-sparsity family in all its file forms, and any `transformers` model."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from circuit_artifacts.compute.models.architecture import CircuitTransformer
from circuit_artifacts.compute.models.config import CircuitConfig
from circuit_artifacts.compute.models.packing import unpack
from circuit_artifacts.compute.models.sparse import sparsify_linear
from circuit_artifacts.errors import (
    FormatError,
    MissingArtifactError,
    ModelError,
    SourceError,
    UnknownNameError,
    UnsafeContentError,
)
from circuit_artifacts.formats.torch_pickle import load_torch

__all__ = ["MINI_FOLDER", "ModelIdentity", "load_model", "model_identity", "resolve_model"]

MINI_FOLDER = Path(__file__).parents[2] / "data" / "mini_model"
"""The model that comes with the package."""

_BLOB_CONFIG, _BLOB_WEIGHTS = "beeg_config.json", "final_model.pt"
_HUB_CONFIG, _SHARD_INDEX = "config.json", "model.safetensors.index.json"
_HUB_PATTERNS = ["*.json", "*.safetensors", "vocab.bpe", "merges.txt"]
_WRAPPER_PREFIX = "circuit_model."
_CAUSAL_MASK = re.compile(r"transformer\.h\.\d+\.attn\.bias")  # a buffer of checkpoints without fused attention
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Which weights a result came from, for provenance.

    Attributes:
        id: ``mini``, a Hub id, or the name of a local folder (never its path).
        revision: the Hub commit, if the model came from the Hub.
        sha256: over the weight files in order of their names, if it came from a folder.
    """

    id: str
    revision: str | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """Where the files of a model reference are.

    Attributes:
        folder: the files.
        id: as in `ModelIdentity`.
        revision: as in `ModelIdentity`.
    """

    folder: Path
    id: str
    revision: str | None = None


def resolve_model(ref: str | Path, *, revision: str | None = None) -> ResolvedModel:
    """Find the folder behind a model reference, downloading from the Hub if need be.

    Args:
        ref: ``mini``, a folder, or a Hub id.
        revision: Hub branch, tag or commit.

    Raises:
        UnknownNameError: neither a known name, nor a folder, nor a possible Hub id.
        SourceError: the Hub could not be reached (``HF_HUB_OFFLINE`` is honoured) or refused.
    """
    if ref == "mini":
        return ResolvedModel(MINI_FOLDER, "mini")
    folder = Path(ref)
    if folder.is_dir():
        return ResolvedModel(folder, folder.resolve().name)
    if not isinstance(ref, str) or not _HUB_ID.fullmatch(ref):
        problem = "there is no such model"
        raise UnknownNameError(
            problem,
            found=repr(str(ref)),
            expected="mini, an existing folder, or a Hub id such as openai/circuit-sparsity",
        )
    try:
        snapshot = Path(snapshot_download(ref, revision=revision, allow_patterns=_HUB_PATTERNS))
    except (HfHubHTTPError, LocalEntryNotFoundError, HFValidationError, OSError) as error:
        problem = "the model could not be fetched from the Hub"
        raise SourceError(
            problem,
            file=ref,
            found=f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}",
            remedy="Check the id, the network and HF_HUB_OFFLINE, or give a folder that holds the model.",
        ) from error
    return ResolvedModel(snapshot, ref, snapshot.name)


def load_model(
    ref: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    sparse: bool | Literal["auto"] = "auto",
    revision: str | None = None,
) -> nn.Module:
    """Load a causal language model for inference; no code from a model repository is ever run.

    Args:
        ref: ``mini`` (the bundled model), a folder in the circuit-sparsity Hub form (``config.json`` and
            safetensors) or blob form (``beeg_config.json`` and ``final_model.pt``), a `transformers` folder with
            safetensors, or a Hub id of either kind.
        device: where the weights go.
        dtype: their floating type.
        sparse: turn weight matrices of the circuit-sparsity family into compressed rows: all that are at least half
            zeros, none, or those where that is faster (``auto``: float32 on a CPU, below the measured break-even).
        revision: Hub branch, tag or commit.

    Returns:
        A module in eval mode without gradients; ``model(ids).logits`` is (B, T, V) for int64 ids (B, T).
        ``model_identity(model)`` says which weights it holds.

    Raises:
        UnknownNameError, SourceError: as `resolve_model`.
        MissingArtifactError: the folder lacks a file.
        FormatError: a file is damaged; UnsafeContentError: it would have to run code.
        ModelError: the configuration or the tensors are not those of a model that can be run here.
    """
    resolved = resolve_model(ref, revision=revision)
    folder = resolved.folder
    if (folder / _BLOB_CONFIG).is_file():
        config = CircuitConfig.from_file(folder / _BLOB_CONFIG)
        files = [folder / _BLOB_WEIGHTS]
        model: nn.Module = _build(config, _read_blob(files[0]), dtype=dtype, file=files[0])
    elif _is_circuit_config(folder / _HUB_CONFIG):
        config = CircuitConfig.from_file(folder / _HUB_CONFIG)
        files = _weight_files(folder)
        model = _build(config, _read_safetensors(files), dtype=dtype, file=folder)
    else:
        files = _weight_files(folder)
        model = _load_transformers(folder, dtype)
    model = model.to(device).eval().requires_grad_(requires_grad=False)
    if isinstance(model, CircuitTransformer) and sparse:
        worthwhile = torch.device(device).type == "cpu" and dtype == torch.float32
        if sparse != "auto":
            sparsify_linear(model, max_density=0.5, min_entries=0)
        elif worthwhile:
            sparsify_linear(model)
    digest = None if resolved.revision else _sha256(files)
    identity = ModelIdentity(resolved.id, resolved.revision, digest)
    # A plain attribute, invisible to state_dict and to module traversal.
    object.__setattr__(model, "circuit_artifacts_identity", identity)
    return model


def model_identity(model: nn.Module) -> ModelIdentity:
    """Which weights a model from `load_model` holds.

    Raises:
        ModelError: the model was not loaded by `load_model`.
    """
    identity = getattr(model, "circuit_artifacts_identity", None)
    if not isinstance(identity, ModelIdentity):
        problem = "the model carries no identity"
        raise ModelError(
            problem, found=type(model).__name__, remedy="Load it with circuit_artifacts.compute.models.load_model."
        )
    return identity


def _is_circuit_config(path: Path) -> bool:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        problem = "the folder holds no model"
        raise MissingArtifactError(problem, file=path.parent, expected=f"{_HUB_CONFIG} or {_BLOB_CONFIG}") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        problem = "the model configuration is not JSON"
        raise FormatError(problem, file=path, found=error) from error
    return isinstance(values, dict) and bool({"afrac", "afrac_loctypes"} & set(values))


def _weight_files(folder: Path) -> list[Path]:
    index = folder / _SHARD_INDEX
    if index.is_file():
        try:
            names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            problem = "the index of shards is unreadable"
            raise FormatError(problem, file=index, found=f"{type(error).__name__}: {error}") from error
        outside = [name for name in names if not isinstance(name, str) or Path(name).name != name]
        if outside:
            problem = "the index of shards points outside its folder"
            raise UnsafeContentError(problem, file=index, found=outside[0])
        files = [folder / name for name in names]
        missing = [file.name for file in files if not file.is_file()]
        if missing:
            problem = "shards are missing"
            raise MissingArtifactError(problem, file=folder, found=", ".join(missing))
        return files
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        problem = "the folder holds no safetensors weights"
        raise MissingArtifactError(problem, file=folder, remedy="Convert the weights to safetensors first.")
    return files


def _read_safetensors(files: list[Path]) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for path in files:
        try:
            with safe_open(path, framework="pt") as file:
                stored = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
                metadata = file.metadata() or {}
        except SafetensorError as error:
            problem = "the weights file is truncated or not safetensors"
            raise FormatError(problem, file=path, found=error) from error
        part = unpack(stored, metadata, file=path)
        twice = tensors.keys() & part.keys()
        if twice:
            problem = "a tensor is in two weights files"
            raise FormatError(problem, file=path, where=min(twice))
        tensors |= part
    return tensors


def _read_blob(path: Path) -> dict[str, Tensor]:
    tensors = load_torch(path)
    if not isinstance(tensors, Mapping) or not all(isinstance(value, Tensor) for value in tensors.values()):
        problem = "the file is not a state dict"
        raise FormatError(problem, file=path, found=type(tensors).__name__, expected="a mapping of names to tensors")
    return dict(cast("Mapping[str, Tensor]", tensors))


def _build(config: CircuitConfig, tensors: dict[str, Tensor], *, dtype: torch.dtype, file: Path) -> CircuitTransformer:
    """A model of the family from its tensors, without ever holding a second copy of the weights."""
    tensors = {name.removeprefix(_WRAPPER_PREFIX): tensor for name, tensor in tensors.items()}
    with torch.device("meta"):
        model = CircuitTransformer(config)
    wanted = model.state_dict()
    tensors = {name: tensor for name, tensor in tensors.items() if not _CAUSAL_MASK.fullmatch(name)}
    tensors.setdefault("final_logits_bias", torch.zeros(config.vocab_size))
    if config.tied_unembed:
        tensors.setdefault("lm_head.weight", tensors.get("transformer.wte.weight", torch.empty(0)))
    problems = [f"missing {name}" for name in wanted if name not in tensors]
    problems += [f"unexpected {name}" for name in tensors if name not in wanted]
    problems += [
        f"{name} is {_describe(tensors[name])} instead of {_describe(wanted[name])}"
        for name in wanted
        if name in tensors and not _fits(tensors[name], wanted[name])
    ]
    if problems:
        shown = "; ".join(problems[:20]) + (f"; and {len(problems) - 20} more" if len(problems) > 20 else "")
        problem = "the tensors are not those that the configuration calls for"
        raise ModelError(problem, file=file, found=shown)
    cast_tensors = {name: tensor.to(dtype) for name, tensor in tensors.items()}
    model.load_state_dict(cast_tensors, assign=True)
    if config.tied_unembed:
        model.lm_head.weight = model.transformer.wte.weight
    return model


def _fits(tensor: Tensor, wanted: Tensor) -> bool:
    return tensor.shape == wanted.shape and tensor.dtype.is_floating_point


def _describe(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"


def _load_transformers(folder: Path, dtype: torch.dtype) -> nn.Module:
    from transformers import AutoModelForCausalLM  # slow to import, and not needed for our own family

    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            trust_remote_code=False,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    except (ValueError, OSError, ImportError, KeyError, RuntimeError) as error:
        problem = "transformers cannot load the model without running code from its repository"
        raise ModelError(
            problem,
            file=folder.name,
            found=f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}",
        ) from error
    model, report = loaded
    # transformers would go on with random weights.
    if report["missing_keys"]:
        problem = "the weights lack tensors of the model"
        raise ModelError(problem, file=folder.name, found=", ".join(sorted(map(str, report["missing_keys"]))[:20]))
    return cast("nn.Module", model)


def _sha256(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        for piece in _pieces(file):
            digest.update(piece)
    return digest.hexdigest()


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(1 << 22):
            yield piece
