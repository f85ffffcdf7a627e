"""The store protocol: an OME-Zarr beside a small manifest, which exists only when the store is complete.

A reader opens a store through its manifest, so a store that a killed job left behind is never read.
`slideunet.stores.resumable` makes them.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from slideunet.errors import DamagedDataError
from slideunet.geometry.blocks import BlockGrid, Region, digest, within
from slideunet.geometry.pixels import Pixels
from slideunet.stores import omezarr
from slideunet.stores.kept import check_kept
from slideunet.stores.manifests import read_manifest, store_path, write_manifest

_REMEDY = "Delete the store with its manifest and run again with --forcerun on the rule that made it."


def check_complete(path: Path) -> None:
    """Check that every chunk of every array of an image or label image is there.

    A missing chunk would read as zeros without an error, so it is looked for.

    Raises
    ------
    DamagedDataError
        Naming the array and its missing chunks.
    """
    for folder, array in omezarr.arrays(path).items():
        _check_chunks(array, folder)


def block_digests(pixels: Pixels) -> list[str]:
    """Return the digest of every block of pixels (..., y, x)."""
    return [digest(np.asarray(pixels[..., *region])) for region in BlockGrid(pixels.shape)]


@dataclass(frozen=True)
class StoredPixels:
    """An array of a store that is read part by part; damage is named when it is met.

    Attributes
    ----------
    array : zarr.Array
    name : str
        What a message calls it: its path.
    digests : tuple of str
        Of its blocks: whoever reads a whole block has it checked, so that chunks that are whole but in the
        wrong place are noticed. Empty for the lower levels.
    remedy : str
        What a message tells to do.
    """

    array: Pixels
    name: str
    digests: tuple[str, ...] = ()
    remedy: str = _REMEDY

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
            When a chunk is truncated or does not match its checksum, or a whole block is another than was
            written.
        """
        try:
            pixels = np.asarray(self.array[index])
        except (ValueError, RuntimeError) as error:
            raise DamagedDataError(
                f"{self.name} cannot be read at {index} ({error}). {self.remedy}"
            ) from error
        if self.digests:
            self._check(index, pixels)
        return pixels

    def _check(self, index: Any, pixels: np.ndarray) -> None:  # noqa: ANN401
        window = _window(index, self.shape)
        if window is None:
            return
        grid = BlockGrid(self.shape)
        for block in grid.inside(window):
            rows, columns = grid[block]
            if digest(pixels[..., *within((rows, columns), window)]) != self.digests[block]:
                raise DamagedDataError(
                    f"{self.name}: block {block} (rows {rows.start} to {rows.stop}, columns "
                    f"{columns.start} to {columns.stop}) is not what was written. {self.remedy}"
                )


def _window(index: Any, shape: tuple[int, ...]) -> Region | None:  # noqa: ANN401
    """Return the rows and columns that an index means, when it takes all channels and plain slices."""
    given = index if isinstance(index, tuple) else (index,)
    if Ellipsis in given:
        place = given.index(Ellipsis)
        given = given[:place] + (slice(None),) * (len(shape) - len(given) + 1) + given[place + 1 :]
    given += (slice(None),) * (len(shape) - len(given))
    *planes, rows, columns = given
    whole = all(plane == slice(None) or n == 1 for plane, n in zip(planes, shape, strict=False))
    if not whole or not all(isinstance(part, slice) and part.step in (None, 1) for part in (rows, columns)):
        return None
    return slice(*rows.indices(shape[-2])[:2]), slice(*columns.indices(shape[-1])[:2])


def open_image_store(manifest: Path, level: int = 0) -> StoredPixels:
    """Open the image of a complete store: (c, y, x).

    Raises
    ------
    DamagedDataError
    InputError
        When the store has never had this level; `slide_image.open_slide_image` finds its pixels.
    """
    facts = read_manifest(manifest)
    first = facts.get("first_level", 0)
    # A slide's manifest drops nothing, a prediction's has all levels or none.
    check_kept(manifest, *(["slides"] if level < first else ["predictions"]))
    pixels = _open(store_path(manifest), level, facts.get("blocks", ()), first)
    if level == 0 and list(pixels.shape) != facts.get("shape"):
        raise DamagedDataError(
            f"{store_path(manifest)} has shape {list(pixels.shape)}, its manifest says {facts.get('shape')}: "
            f"they do not belong together. {_REMEDY}"
        )
    return pixels


def open_maps_store(manifest: Path) -> StoredPixels:
    """Open the maps of a complete prediction besides the foreground: (c, y, x); see `output_maps`."""
    check_kept(manifest, "maps")
    facts = read_manifest(manifest)["maps"]
    return _open(store_path(manifest) / omezarr.MAPS, 0, facts["blocks"])


def open_label_store(manifest: Path, name: str, level: int = 0) -> StoredPixels:
    """Open a label image ("truth", "cells" or "tissue") of a complete store: (y, x) of uint32."""
    if name == "cells":
        check_kept(manifest, "labels")
    facts = read_manifest(manifest).get(name) or {}
    return _open(store_path(manifest) / "labels" / name, level, facts.get("blocks", ()))


def _open(path: Path, level: int, digests: Sequence[str], first: int = 0) -> StoredPixels:
    try:
        folder = omezarr.level_paths(path)[level - first]
        array = omezarr.open_level(path, level - first)
    except (FileNotFoundError, KeyError, IndexError, ValueError) as error:
        raise DamagedDataError(
            f"{path} cannot be opened ({error}) although its manifest exists. {_REMEDY}"
        ) from error
    if level == 0 and len(digests) != (count := len(BlockGrid(array.shape))):
        raise DamagedDataError(
            f"{path} has blocks: {count}, its manifest knows {len(digests)}: they do not belong together. "
            f"{_REMEDY}"
        )
    _check_chunks(array, folder)
    return StoredPixels(array, str(folder), tuple(digests) if level == 0 else ())


def _check_chunks(array: zarr.Array, folder: Path) -> None:
    expected = list(omezarr.chunk_files(array))
    missing = [name for name in expected if not (folder / name).is_file()]
    if missing:
        raise DamagedDataError(
            f"{folder}: {len(missing)} of {len(expected)} chunks are missing, the first is {missing[0]}. "
            f"They would read as black. {_REMEDY}"
        )


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
    if name == "cells" and "dropped" in known:
        known["dropped"] = [part for part in known["dropped"] if part != "labels"]
    if known.pop(name, None) is not None:
        write_manifest(manifest, known)
    final = store_path(manifest) / "labels" / name
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)
    omezarr.list_labels(final.parent)
    write_manifest(manifest, known | {name: facts})
