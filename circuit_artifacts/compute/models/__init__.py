"""Causal language models: the circuit-sparsity family and any transformers model, behind one loader."""
