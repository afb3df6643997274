"""Builders for `datasets`: one module per mirror, one builder class per module."""
