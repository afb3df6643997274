"""Causal language models: the circuit-sparsity family and any transformers model, behind one loader."""

from circuit_artifacts.compute.models.architecture import CausalOutput, CircuitTransformer
from circuit_artifacts.compute.models.checkpoint import ModelIdentity, load_model, model_identity
from circuit_artifacts.compute.models.config import CircuitConfig
from circuit_artifacts.compute.models.shape import backbone, context_length, residual_width
from circuit_artifacts.compute.models.sparse import sparsify_linear
from circuit_artifacts.compute.models.tokenizer import TextTokenizer, load_tokenizer

__all__ = [
    "CausalOutput",
    "CircuitConfig",
    "CircuitTransformer",
    "ModelIdentity",
    "TextTokenizer",
    "backbone",
    "context_length",
    "load_model",
    "load_tokenizer",
    "model_identity",
    "residual_width",
    "sparsify_linear",
]
