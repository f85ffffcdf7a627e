"""The store protocol: an OME-Zarr beside a small manifest, which exists only when the store is complete.

A store is built under a `.partial` name, checked, moved to its final name, and only then is its manifest
written. A reader opens a store through its manifest, so a store that a killed job left behind is never read.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from slideunet.errors import DamagedDataError
from slideunet.images import omezarr

_REMEDY = "Delete the store with its manifest and run again with --forcerun on the rule that made it."


def store_path(manifest: Path) -> Path:
    """Return the OME-Zarr that a manifest speaks of: the same name, ending in `.zarr`."""
    return manifest.with_suffix(".zarr")


def write_atomically(path: Path, data: bytes | str) -> None:
    """Write a file so that it is either the old or the new one, whole, at any instant."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_manifest(path: Path, facts: dict[str, Any]) -> None:
    """Write a manifest atomically as readable JSON."""
    write_atomically(path, json.dumps(facts, indent=1, allow_nan=False) + "\n")


def read_manifest(path: Path) -> dict[str, Any]:
    """Read a manifest.

    Raises
    ------
    DamagedDataError
        When it is missing or not a JSON object.
    """
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(facts, dict):
            return facts
        reason = f"is not readable (it holds a {type(facts).__name__})"
    except FileNotFoundError:
        reason = "is missing, so its store is not complete"
    except ValueError as error:
        reason = f"is not readable ({error})"
    raise DamagedDataError(
        f"{path} {reason}. Run the workflow again with `--forcerun` on the rule that makes it."
    )


def is_current(manifest: Path, fingerprint: str) -> bool:
    """Tell whether a complete store with this fingerprint exists, so that its work can be skipped."""
    if not (manifest.is_file() and store_path(manifest).is_dir()):
        return False
    try:
        return read_manifest(manifest).get("fingerprint") == fingerprint
    except DamagedDataError:
        return False


@contextlib.contextmanager
def new_store(manifest: Path) -> Iterator[Path]:
    """Give the path of an empty partial store and move it to its final name when the block succeeds.

    The old manifest goes first and the new one is written by the caller last: at no instant does a manifest
    speak of a store that is not whole.
    """
    final = store_path(manifest)
    partial = final.with_name(final.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    yield partial
    check_complete(partial)
    manifest.unlink(missing_ok=True)
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)


def put_labels(
    manifest: Path,
    name: str,
    labels: np.ndarray,
    *,
    mpp: float | None,
    version: omezarr.Version,
    facts: dict[str, Any],
) -> None:
    """Write labels (y, x) into a complete store and their facts into its manifest; see `replace_labels`."""
    partial = store_path(manifest) / "labels" / f".{name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    omezarr.write_labels(partial, labels, name=name, mpp=mpp, version=version)
    replace_labels(manifest, name, partial, facts)


def replace_labels(manifest: Path, name: str, partial: Path, facts: dict[str, Any]) -> None:
    """Put a finished label image into a store and its facts into the manifest, under `name`.

    Parameters
    ----------
    manifest : Path
        Of the store, which must be complete.
    name : str
        Of the label image, e.g. "cells".
    partial : Path
        A complete label image on the same file system; it is moved.
    facts : dict
        What the manifest says under `name` from now on.
    """
    check_complete(partial)
    known = read_manifest(manifest)
    if known.pop(name, None) is not None:
        write_manifest(manifest, known)
    final = store_path(manifest) / "labels" / name
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)
    omezarr.list_labels(final.parent)
    write_manifest(manifest, known | {name: facts})


def check_complete(path: Path) -> None:
    """Check that every chunk of every array of an image or label image is there.

    A missing chunk would read as zeros without an error, so it is looked for.

    Raises
    ------
    DamagedDataError
        Naming the array and the number of chunks.
    """
    for array in omezarr.arrays(path):
        _check_chunks(array, f"{path}/{array.path}")


@dataclass(frozen=True)
class StoredPixels:
    """An array of a store that is read part by part; damage is named when it is met.

    Attributes
    ----------
    array : zarr.Array
    name : str
        What a message calls it: its path.
    """

    array: zarr.Array
    name: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""
        return self.array.shape

    @property
    def dtype(self) -> np.dtype:
        """Type of the values."""
        return self.array.dtype

    def __getitem__(self, index: Any, /) -> np.ndarray:  # noqa: ANN401 (whatever zarr takes)
        """Read a part.

        Raises
        ------
        DamagedDataError
            When a chunk is truncated or does not match its checksum.
        """
        try:
            return np.asarray(self.array[index])
        except (ValueError, RuntimeError) as error:
            raise DamagedDataError(f"{self.name} cannot be read at {index} ({error}). {_REMEDY}") from error


def open_image_store(manifest: Path, level: int = 0) -> StoredPixels:
    """Open the image of a complete store: (c, y, x)."""
    facts = read_manifest(manifest)
    array = _open(store_path(manifest), level)
    if level == 0 and list(array.shape) != facts["shape"]:
        raise DamagedDataError(
            f"{store_path(manifest)} has shape {list(array.shape)}, its manifest says {facts['shape']}: "
            f"they do not belong together. {_REMEDY}"
        )
    return array


def open_label_store(manifest: Path, name: str, level: int = 0) -> StoredPixels:
    """Open a label image ("truth" or "cells") of a complete store: (y, x) of uint32."""
    read_manifest(manifest)
    return _open(store_path(manifest) / "labels" / name, level)


def _open(path: Path, level: int) -> StoredPixels:
    try:
        array = omezarr.open_level(path, level)
    except (FileNotFoundError, KeyError, IndexError, ValueError) as error:
        raise DamagedDataError(
            f"{path} cannot be opened ({error}) although its manifest exists. {_REMEDY}"
        ) from error
    _check_chunks(array, f"{path}/{level}")
    return StoredPixels(array, f"{path}/{level}")


def _check_chunks(array: zarr.Array, name: str) -> None:
    missing = array.nchunks - array.nchunks_initialized
    if missing:
        raise DamagedDataError(
            f"{name}: {missing} of {array.nchunks} chunks are missing; they would read as black. {_REMEDY}"
        )
