"""SAE locality: how far back the features of a sparse autoencoder look, each step a function on arrays."""
