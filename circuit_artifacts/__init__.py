"""Load, stream, check, convert and regenerate interpretability artifacts."""
