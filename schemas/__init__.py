"""Pydantic models of every artifact file and row: one module per mirror."""
