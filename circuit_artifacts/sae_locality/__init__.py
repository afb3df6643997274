"""SAE locality: what every path of the repository is, its files as Arrow tables, and its checks.

Importing this package does not import torch; only reading a ``.pt`` file does.
"""
