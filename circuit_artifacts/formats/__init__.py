"""One module per file format; each reads bytes into arrays or Arrow batches and knows no mirror."""
