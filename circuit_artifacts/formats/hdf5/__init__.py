"""HDF5: declared objects and vectors, read safely and fast; writing; layouts of rows.

Opening and links are in `objects`, many small vectors at once in `vectors` and `chunks`, keyed leaves in `leaves`,
writing in `write`. Any file, whatever it holds: its objects in `tree`, its values as Arrow in `values`, and the
rows they make in `layouts`.
"""

from circuit_artifacts.formats.hdf5.attributes import read_attributes
from circuit_artifacts.formats.hdf5.objects import (
    child_names,
    layer_groups,
    open_dataset,
    open_group,
    open_hdf5,
    open_object,
    refuse_foreign_storage,
)
from circuit_artifacts.formats.hdf5.vectors import (
    ErrorCallback,
    read_scalars,
    read_strings,
    read_vectors,
)

__all__ = [
    "ErrorCallback",
    "child_names",
    "layer_groups",
    "open_dataset",
    "open_group",
    "open_hdf5",
    "open_object",
    "read_attributes",
    "read_scalars",
    "read_strings",
    "read_vectors",
    "refuse_foreign_storage",
]
