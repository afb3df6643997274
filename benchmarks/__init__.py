"""How fast the package is, against what people do without it; ``python -m benchmarks`` runs everything."""
