"""`load_dataset` with the signature of `datasets.load_dataset`; names that are not ours pass through to it."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import datasets

from circuit_artifacts.registration import BUILDER_MODULES, GENERIC

__all__ = ["load_dataset"]

# What concerns finding files by pattern, or a legacy of `datasets`, has no meaning for a mirror's declared files.
_PREPARE = ("download_config", "download_mode", "verification_mode", "num_proc", "storage_options")


def load_dataset(
    path: str,
    name: str | None = None,
    data_dir: str | None = None,
    data_files: str | Sequence[str] | Mapping[str, str | Sequence[str]] | None = None,
    split: Any = None,
    cache_dir: str | None = None,
    features: datasets.Features | None = None,
    download_config: datasets.DownloadConfig | None = None,
    download_mode: Any = None,
    verification_mode: Any = None,
    keep_in_memory: bool | None = None,
    save_infos: bool = False,
    revision: Any = None,
    token: bool | str | None = None,
    streaming: bool = False,
    num_proc: int | None = None,
    storage_options: dict[str, Any] | None = None,
    **config_kwargs: Any,
) -> Any:
    """Load a mirror's config, HDF5 files, or anything else that `datasets.load_dataset` loads.

    Args:
        path: the name of a mirror, such as "csp-atlas", or "circuit-hdf5" for any HDF5 files; other names go to
            `datasets.load_dataset` unchanged.
        name: the config, such as "masks_eps0.5_cons0.8".
        data_dir: a folder in the published layout; `data_root=` means the same. Of "circuit-hdf5", a folder of files.
        data_files: not for mirrors, whose files are declared.
        split: one split; None gives all of them.
        cache_dir: where `datasets` keeps prepared tables.
        features: not for mirrors, whose columns are declared.
        download_config: as in `datasets`.
        download_mode: as in `datasets`.
        verification_mode: as in `datasets`.
        keep_in_memory: as in `datasets`.
        save_infos: as in `datasets`.
        revision: Hub revision to pin.
        token: Hub token; the usual places are looked at without it.
        streaming: iterate without preparing anything.
        num_proc: processes that prepare shards.
        storage_options: as in `datasets`.
        **config_kwargs: of mirrors, `data_root`, `mask_format` ("indices" or "dense"), `regenerate`; of "circuit-hdf5",
            `layout`, `select`, `attrs`.

    Returns:
        `Dataset`, `IterableDataset`, or a dict of them by split.

    Raises:
        MissingArtifactError: the file could not be had from any source.
        FormatError: a file is truncated or corrupt.
        SchemaError: a file is not what its schema declares.
        ValueError: no such config or split.
    """
    options = {key: value for key, value in locals().items() if key != "config_kwargs"}
    if path not in BUILDER_MODULES:
        return datasets.load_dataset(**options, **config_kwargs)
    files = {"data_files": data_files, "features": features, "storage_options": storage_options}
    if path == GENERIC:
        config_kwargs |= {key: value for key, value in files.items() if value is not None}
    elif data_files is not None or features is not None:
        problem = f"data_files= and features= do not apply to {path}, whose files and columns are declared"
        raise ValueError(problem)
    if revision is not None:
        config_kwargs["revision"] = revision
    builder = _builder_class(path)(
        cache_dir=cache_dir, dataset_name=path, config_name=name, data_dir=data_dir, token=token, **config_kwargs
    )
    if streaming:
        return builder.as_streaming_dataset(split=split)
    builder.download_and_prepare(**{key: options[key] for key in _PREPARE if options[key] is not None})
    return builder.as_dataset(split=split, in_memory=bool(keep_in_memory))


def _builder_class(path: str) -> type[datasets.DatasetBuilder]:
    module = importlib.import_module(BUILDER_MODULES[path])
    classes: list[type[datasets.DatasetBuilder]] = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, datasets.DatasetBuilder)
        and value.__module__ == module.__name__
    ]
    return classes[0]
