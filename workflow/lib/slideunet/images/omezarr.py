"""OME-Zarr on disk: pyramids of images (c, y, x) and labels (y, x) with valid 0.4 and 0.5 metadata.

The only module that knows the keys of the format: https://ngff.openmicroscopy.org/0.5/
Arrays are opened by the path that the multiscales metadata gives, never by listing a folder.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import dask.array as da
import numcodecs
import numpy as np
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

from slideunet.images.pixels import Pixels, WritablePixels
from slideunet.images.pyramid import halve_image, halve_labels, level_shapes

CHUNK = 512
Version = Literal["0.4", "0.5"]
Halve = Callable[[Pixels, WritablePixels], None]

_RGB = ("FF0000", "00FF00", "0000FF")


def write_image(
    path: Path,
    pixels: da.Array | np.ndarray,
    *,
    channels: Sequence[str],
    mpp: float | None,
    version: Version = "0.5",
) -> int:
    """Write an image pyramid.

    Parameters
    ----------
    path : Path
        The folder to make.
    pixels : array (c, y, x)
        Read once, chunk by chunk.
    channels : sequence of str
        Their names.
    mpp : float or None
        Micrometres per pixel of level 0.
    version : "0.5" (zarr v3) or "0.4" (zarr v2)

    Returns
    -------
    int
        The number of levels; each halves the one before by the mean of 2 x 2 pixels.
    """
    group = zarr.create_group(path, zarr_format=_zarr_format(version))
    shapes = _write_levels(group, pixels, version, halve_image)
    axes = [{"name": "c", "type": "channel"}, *_space_axes(mpp)]
    _set_metadata(
        group,
        version,
        {
            "multiscales": [_multiscales(path.name.split(".zarr")[0], axes, shapes, mpp, version)],
            "omero": {"channels": _omero_channels(channels, pixels.dtype)},
        },
    )
    return len(shapes)


def write_labels(
    path: Path,
    labels: da.Array | np.ndarray,
    *,
    mpp: float | None,
    version: Version = "0.5",
    name: str | None = None,
) -> int:
    """Write a label pyramid (y, x) of uint32, by nearest neighbour, and return its number of levels."""
    group = zarr.create_group(path, zarr_format=_zarr_format(version))
    shapes = _write_levels(group, labels, version, halve_labels)
    image_label: dict[str, Any] = {"source": {"image": "../../"}}
    if version == "0.4":
        image_label["version"] = "0.4"
    _set_metadata(
        group,
        version,
        {
            "multiscales": [_multiscales(name or path.name, _space_axes(mpp), shapes, mpp, version)],
            "image-label": image_label,
        },
    )
    return len(shapes)


def write_label_image(
    image: Path, name: str, labels: da.Array | np.ndarray, *, mpp: float | None, version: Version
) -> None:
    """Write a label pyramid into an image, as `labels/<name>`, and list it there."""
    folder = image / "labels"
    folder.mkdir(exist_ok=True)
    write_labels(folder / name, labels, mpp=mpp, version=version)
    list_labels(folder)


def list_labels(folder: Path) -> None:
    """Write the metadata of a `labels` folder: the names of the label images that it holds."""
    version: Version = "0.4" if (folder.parent / ".zgroup").exists() else "0.5"
    names = sorted(
        child.name for child in folder.iterdir() if child.is_dir() and not child.name.startswith(".")
    )
    group = zarr.open_group(folder, mode="a", zarr_format=_zarr_format(version))
    _set_metadata(group, version, {"labels": names})


def open_level(path: Path, level: int) -> zarr.Array:
    """Open one level of an image or label image, by the path its metadata gives.

    Raises
    ------
    FileNotFoundError, KeyError, IndexError
        When the group, its multiscales or the level is not there.
    """
    datasets = metadata(path)["multiscales"][0]["datasets"]
    return zarr.open_array(path / datasets[level]["path"], mode="r")


def arrays(path: Path) -> list[zarr.Array]:
    """Open every array of an image, its label images included, or of a label image."""
    own = [open_level(path, level) for level in range(len(metadata(path)["multiscales"][0]["datasets"]))]
    folder = path / "labels"
    names = metadata(folder).get("labels", []) if folder.is_dir() else []
    return own + [array for name in names for array in arrays(folder / name)]


def metadata(path: Path) -> dict[str, Any]:
    """Return the OME metadata of a group, whichever version it is written in."""
    attributes = zarr.open_group(path, mode="r").attrs.asdict()
    return attributes.get("ome", attributes)


def _write_levels(
    group: zarr.Group, pixels: da.Array | np.ndarray, version: Version, halve: Halve
) -> list[tuple[int, ...]]:
    shapes = level_shapes(pixels.shape)
    source: Any = pixels
    for level, shape in enumerate(shapes):
        target = _create_array(group, str(level), shape, pixels.dtype, version)
        if level == 0:
            _store(source, target)
        else:
            halve(source, target)
        source = target
    return shapes


def _create_array(
    group: zarr.Group, name: str, shape: tuple[int, ...], dtype: np.dtype, version: Version
) -> zarr.Array:
    """Create an array whose damaged chunks are noticed: zstd with a checksum, every chunk written."""
    compressors: Any = (ZstdCodec(level=1), Crc32cCodec())
    options: dict[str, Any] = {"dimension_names": ["c", "y", "x"][-len(shape) :]}
    if version == "0.4":
        compressors = numcodecs.Zstd(level=1, checksum=True)
        options = {"chunk_key_encoding": {"name": "v2", "separator": "/"}}
    chunks = tuple(min(CHUNK, side) for side in shape[-2:])
    return group.create_array(
        name,
        shape=shape,
        dtype=dtype,
        chunks=(*shape[:-2], *chunks),
        compressors=compressors,
        fill_value=0,
        config={"write_empty_chunks": True},
        **options,
    )


def _store(pixels: da.Array | np.ndarray, target: zarr.Array) -> None:
    if isinstance(pixels, np.ndarray):
        target[...] = pixels
        return
    da.store(pixels.rechunk(target.chunks), target, lock=False)


def _multiscales(
    name: str, axes: list[dict], shapes: list[tuple[int, ...]], mpp: float | None, version: Version
) -> dict:
    datasets = [
        {
            "path": str(level),
            "coordinateTransformations": [
                {"type": "scale", "scale": [1.0] * (len(axes) - 2) + [(mpp or 1.0) * 2**level] * 2}
            ],
        }
        for level in range(len(shapes))
    ]
    known = {"name": name, "axes": axes, "datasets": datasets}
    return {"version": "0.4"} | known if version == "0.4" else known


def _space_axes(mpp: float | None) -> list[dict[str, str]]:
    unit = {} if mpp is None else {"unit": "micrometer"}
    return [{"name": axis, "type": "space", **unit} for axis in "yx"]


def _omero_channels(names: Sequence[str], dtype: np.dtype) -> list[dict[str, Any]]:
    top = float(np.iinfo(dtype).max) if np.issubdtype(dtype, np.integer) else 1.0
    colours = _RGB if len(names) == 3 else ("FFFFFF",) * len(names)
    window = {"min": 0.0, "max": top, "start": 0.0, "end": top}
    return [
        {"label": name, "color": colour, "window": window, "active": True}
        for name, colour in zip(names, colours, strict=True)
    ]


def _set_metadata(group: zarr.Group, version: Version, facts: dict[str, Any]) -> None:
    group.attrs.update(facts if version == "0.4" else {"ome": {"version": "0.5", **facts}})


def _zarr_format(version: Version) -> Literal[2, 3]:
    return 2 if version == "0.4" else 3
