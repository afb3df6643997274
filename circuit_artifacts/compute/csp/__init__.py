"""CSP-Atlas: prompts, activations, masks and the analyses on them, each a function on arrays."""
