"""OME-Zarr on disk: pyramids of images (c, y, x) and labels (y, x) with valid 0.4 and 0.5 metadata.

Arrays are opened by the path that the multiscales metadata gives, never by listing a folder.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numcodecs
import numpy as np
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.errors import ContainsGroupError

from slideunet.geometry.blocks import LEVELS, BlockGrid, Region
from slideunet.geometry.pyramid import Halve, halve, halved_image, halved_labels, level_shapes
from slideunet.stores.ngff_metadata import Version, image_metadata, label_metadata

if TYPE_CHECKING:
    import dask.array as da  # Half a second of every job, most of which have no lazy pixels.

MAPS = "maps"  # Folder of an image beside a foreground: what else the network tells.


def create_image(
    path: Path,
    shape: tuple[int, ...],
    dtype: np.dtype,
    *,
    channels: Sequence[str],
    mpp: float | None,
    version: Version = "0.5",
    name: str | None = None,
    levels: int | None = None,
    first_level: int = 0,
) -> None:
    """Create an image pyramid without pixels; `write_block` and `finish_levels` fill it.

    Parameters
    ----------
    path : Path
        The folder to make.
    shape : (c, y, x)
    dtype : numpy.dtype
    channels : sequence of str
        Their names.
    mpp : float or None
        Micrometres per pixel of level 0.
    version : "0.5" (zarr v3) or "0.4" (zarr v2)
    name : str, optional
        Of the image; that of the folder when not given.
    levels : int, optional
        How many; all when not given.
    first_level : int
        The finest one that is made.
    """
    count = _create_levels(path, shape, np.dtype(dtype), version, levels, first_level)
    name = name or path.name.split(".zarr")[0]
    facts = image_metadata(name, channels, dtype, count, mpp, version, first_level)
    _set_metadata(zarr.open_group(path, mode="r+"), version, facts)


def create_labels(
    path: Path,
    shape: tuple[int, ...],
    *,
    mpp: float | None,
    version: Version = "0.5",
    name: str | None = None,
    levels: int | None = None,
    first_level: int = 0,
) -> None:
    """Create a label pyramid (y, x) of uint32 without pixels.

    Parameters
    ----------
    path, shape, mpp, version, name
        As `create_image`; `mpp` is that of the image.
    levels : int, optional
        How many; all when not given.
    first_level : int
        Level of the image that the first of these is as large as.
    """
    count = _create_levels(path, shape, np.dtype(np.uint32), version, levels, 0)
    facts = label_metadata(name or path.name, count, mpp, version, first_level)
    _set_metadata(zarr.open_group(path, mode="r+"), version, facts)


def overview_level(shape: tuple[int, ...]) -> int:
    """Return the finest level of an overview of an image (..., y, x): 1/8 of its sides, or its last level."""
    return min(LEVELS, len(level_shapes(shape)) - 1)


def write_block(
    levels: Sequence[zarr.Array], region: Region, pixels: np.ndarray, *, first_level: int = 0
) -> None:
    """Write one block into every level that is made inside it.

    Parameters
    ----------
    levels : sequence of zarr.Array
        From `open_levels(path, "r+")`.
    region : (rows, columns)
        Of the block.
    pixels : ndarray (c, h, w), or labels (h, w)
    first_level : int
        Which one the first of the levels is; the pixels are those of level 0.
    """
    rows, columns = region
    for _ in range(first_level):
        pixels = _halved(levels[0])(pixels)
    for level, array in enumerate(levels[: LEVELS + 1 - first_level], start=first_level):
        top, left = rows.start >> level, columns.start >> level
        height, width = pixels.shape[-2:]
        array[..., top : top + height, left : left + width] = pixels
        pixels = _halved(array)(pixels)


def finish_levels(path: Path, first_level: int = 0) -> None:
    """Make the levels that are too small for blocks, when all blocks are written."""
    levels = open_levels(path, "r+")
    for source, target in itertools.pairwise(levels[LEVELS - first_level :]):
        halve(source, target, _halved(target))


def write_labels(path: Path, labels: da.Array | np.ndarray, **options: Any) -> None:  # noqa: ANN401
    """Write a label pyramid (y, x) of uint32, by nearest neighbour, block by block; see `create_labels`."""
    create_labels(path, labels.shape, **options)
    arrays = open_levels(path, "r+")
    for region in BlockGrid(labels.shape):
        write_block(arrays, region, np.asarray(labels[region]))
    finish_levels(path)


def list_labels(folder: Path) -> None:
    """Write the metadata of a `labels` folder: the names of the label images that it holds."""
    version: Version = "0.4" if (folder.parent / ".zgroup").exists() else "0.5"
    names = sorted(
        child.name for child in folder.iterdir() if child.is_dir() and not child.name.startswith(".")
    )
    # Another part of the slide may make the same group at this moment.
    with contextlib.suppress(ContainsGroupError):
        zarr.create_group(folder, zarr_format=_zarr_format(version))
    _set_metadata(zarr.open_group(folder, mode="r+"), version, {"labels": names})


def set_windows(path: Path, windows: Sequence[dict[str, float]]) -> None:
    """Write between which values viewers show each channel of an image: min, max, start and end."""
    facts = metadata(path)
    for channel, window in zip(facts["omero"]["channels"], windows, strict=True):
        channel["window"] = window
    version: Version = "0.4" if (path / ".zgroup").exists() else "0.5"
    _set_metadata(zarr.open_group(path, mode="r+"), version, facts)


def open_level(path: Path, level: int) -> zarr.Array:
    """Open one level of an image or label image, by the path its metadata gives.

    Raises
    ------
    FileNotFoundError, KeyError, IndexError
        When the group, its multiscales or the level is not there.
    """
    return zarr.open_array(level_paths(path)[level], mode="r")


def open_levels(path: Path, mode: Literal["r", "r+"] = "r") -> list[zarr.Array]:
    """Open every level of an image or label image, full resolution first; errors as `open_level`."""
    # Black chunks are written too, so that one that is missing is one that was lost.
    whole = {"write_empty_chunks": True}
    return [zarr.open_array(level, mode=mode).with_config(whole) for level in level_paths(path)]


def level_paths(path: Path) -> list[Path]:
    """Return the folder of every level of an image or label image; errors as `open_level`."""
    return [path / dataset["path"] for dataset in metadata(path)["multiscales"][0]["datasets"]]


def arrays(path: Path) -> dict[Path, zarr.Array]:
    """Open every array of an image, all that lies in it included, or of a label image, by its folder."""
    found = dict(zip(level_paths(path), open_levels(path), strict=True))
    if (path / MAPS).is_dir():
        found |= arrays(path / MAPS)
    folder = path / "labels"
    for name in metadata(folder).get("labels", []) if folder.is_dir() else []:
        found |= arrays(folder / name)
    return found


def chunk_files(array: zarr.Array) -> Iterator[str]:
    """Yield the name of every file that an array has when it is complete, relative to its folder."""
    written = array.shards or array.chunks
    counts = (-(-length // side) for length, side in zip(array.shape, written, strict=True))
    for place in itertools.product(*(range(count) for count in counts)):
        yield array.metadata.encode_chunk_key(place)


def metadata(path: Path) -> dict[str, Any]:
    """Return the OME metadata of a group: the attribute "ome" in 0.5, all attributes in 0.4."""
    # Consolidated metadata are a copy, which other programs leave stale.
    attributes = zarr.open_group(path, mode="r", use_consolidated=False).attrs.asdict()
    ome = attributes.get("ome", attributes)
    return ome if isinstance(ome, dict) else {}


def _halved(array: zarr.Array) -> Halve:
    return halved_labels if array.ndim == 2 else halved_image


def _create_levels(
    path: Path, shape: tuple[int, ...], dtype: np.dtype, version: Version, levels: int | None, first: int
) -> int:
    """Create the arrays of a pyramid and return how many there are."""
    group = zarr.create_group(path, zarr_format=_zarr_format(version))
    shapes = level_shapes(shape)[first:][:levels]
    blocks = BlockGrid(shape)
    chunk = blocks.side >> LEVELS
    for number, level_shape in enumerate(shapes):
        level = first + number
        # A slide of one block has few files as it is; elsewhere a block is one file on each level.
        shard = blocks.side >> level if len(blocks) > 1 and level <= LEVELS else chunk
        _create_array(group, str(number), level_shape, dtype, version, chunk, shard)
    return len(shapes)


def _create_array(
    group: zarr.Group,
    name: str,
    shape: tuple[int, ...],
    dtype: np.dtype,
    version: Version,
    chunk: int,
    shard: int,
) -> None:
    """Create an array whose damaged chunks are noticed: zstd with a checksum."""
    compressors: Any = (ZstdCodec(level=1), Crc32cCodec())
    options: dict[str, Any] = {"dimension_names": ["c", "y", "x"][-len(shape) :]}
    chunks = tuple(min(chunk, side) for side in shape[-2:])
    if version == "0.4":
        compressors = numcodecs.Zstd(level=1, checksum=True)
        options = {"chunk_key_encoding": {"name": "v2", "separator": "/"}}
    elif shard > chunk:
        # Whole chunks are kept in the last shards too, so an array may be narrower than its chunks.
        chunks = (chunk, chunk)
        options["shards"] = (*shape[:-2], shard, shard)
    group.create_array(
        name,
        shape=shape,
        dtype=dtype,
        chunks=(*shape[:-2], *chunks),
        compressors=compressors,
        fill_value=0,
        **options,
    )


def _set_metadata(group: zarr.Group, version: Version, facts: dict[str, Any]) -> None:
    group.attrs.update(facts if version == "0.4" else {"ome": {"version": "0.5", **facts}})


def _zarr_format(version: Version) -> Literal[2, 3]:
    return 2 if version == "0.4" else 3
