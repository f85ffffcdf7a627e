"""OME-Zarr (NGFF) images, versions 0.4 and 0.5."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from slideunet.errors import InputError
from slideunet.sources.decode_errors import explain_damage
from slideunet.sources.lazy_pixels import Box, FilePixels, describe_place, enlarge_chunks, lazy_array
from slideunet.sources.levels import pyramid_levels
from slideunet.sources.pixel_size import UNKNOWN, PixelSize, stated_size
from slideunet.sources.source import Stored, check_decode, check_size
from slideunet.stores import omezarr

VERSIONS = ("0.4", "0.5")
METADATA_FILES = ("zarr.json", ".zgroup", ".zarray")


def is_zarr(path: Path) -> bool:
    """Whether a folder holds Zarr metadata."""
    return any((path / name).is_file() for name in METADATA_FILES)


def read_metadata(path: Path) -> Mapping[str, Any]:
    """Return the OME metadata of a group: the attribute "ome" in 0.5, all attributes in 0.4.

    Raises
    ------
    InputError
        The folder is an array, or no readable Zarr group.
    """
    if _is_array(path):
        raise InputError(
            f"{path}: is a plain Zarr array, without the OME-Zarr metadata that name its axes. If it is a "
            "level of an OME-Zarr image, give the folder that contains it; otherwise save the image as "
            "OME-Zarr, TIFF or PNG."
        )
    with explain_damage(path, "the OME-Zarr metadata cannot be read"):
        return omezarr.metadata(path)


def open_ngff(path: Path, max_pixels: int, level: int = 0) -> Stored:
    """Open one level of an OME-Zarr image; its path is taken from the metadata and nothing is listed.

    Chunks that are absent hold the array's fill value, as the Zarr specification says.

    Parameters
    ----------
    path : Path
        Folder of the image group.
    max_pixels : int
        Largest number of values in one chunk.
    level : int
        Place in the metadata's list; 0 is the full resolution.

    Returns
    -------
    Stored
        (c, y, x) in whole chunks of the file.

    Raises
    ------
    InputError
        No image here (a plate, a collection, another version), a focus stack or time series.
    """
    image = _only_image(path)
    with explain_damage(path, "the OME-Zarr metadata are incomplete"):
        axes = [axis["name"].lower() for axis in image["axes"]]
        arrays = [_open_array(path, dataset["path"]) for dataset in image["datasets"]]
        array, name = arrays[level], image["datasets"][level]["path"]
        _check_axes(path, axes, array.shape)
        check_size(path, array.shape, array.dtype.itemsize, None)
        check_decode(path, array.chunks, max_pixels)
        size = _pixel_size(image, image["datasets"][0])
    read = partial(_read, level=name)
    chunks = enlarge_chunks(array.chunks, array.shape, "".join(axes))
    pixels = lazy_array(FilePixels(path, array.shape, np.dtype(array.dtype).newbyteorder("="), read), chunks)
    pixels = pixels[tuple(0 if axis in "tz" else slice(None) for axis in axes)]
    pixels = pixels if "c" in axes else pixels[None]
    return Stored(
        pixels=pixels,
        channels=_channel_names(path, pixels.shape[0]),
        colours=_colours(path, pixels.shape[0]),
        size=size,
        levels=pyramid_levels([one.shape[-2:] for one in arrays]),
    )


def _is_array(path: Path) -> bool:
    if (path / ".zarray").is_file():
        return True
    with explain_damage(path, "zarr.json cannot be read"):
        metadata = path / "zarr.json"
        return metadata.is_file() and json.loads(metadata.read_bytes()).get("node_type") == "array"


def _only_image(path: Path) -> dict[str, Any]:
    metadata = read_metadata(path)
    images = metadata.get("multiscales")
    if not isinstance(images, list) or len(images) != 1 or not isinstance(images[0], dict):
        kind = next(
            (k for k in ("plate", "well", "bioformats2raw.layout") if k in metadata), "no single image"
        )
        raise InputError(
            f"{path}: this Zarr group is not one image (found: {kind}). "
            "Give the path of the group that has the multiscales, such as plate.zarr/A/1/0 or image.zarr/0."
        )
    version = str(metadata.get("version", images[0].get("version", "0.4")))
    if version not in VERSIONS or not isinstance(images[0].get("axes"), list):
        raise InputError(
            f"{path}: OME-Zarr version {version} is not supported or has no axes. "
            f"Versions {' and '.join(VERSIONS)} are. Convert it with a current ome-zarr."
        )
    if not all(isinstance(axis, dict) and isinstance(axis.get("name"), str) for axis in images[0]["axes"]):
        raise InputError(
            f"{path}: its axes are {images[0]['axes']}, without the names that OME-Zarr "
            f"{' and '.join(VERSIONS)} give them. Convert it with a current ome-zarr."
        )
    return images[0]


def _open_array(path: Path, level: str) -> zarr.Array:
    try:
        array = zarr.open_group(path, mode="r", use_consolidated=False)[level]
    except KeyError as error:
        raise InputError(
            f"{path}: the metadata list the level {level}, which is not there. The image was copied "
            "incompletely. Copy or export it again."
        ) from error
    if not isinstance(array, zarr.Array):
        raise InputError(f"{path}: level {level} is not an array. The metadata are damaged. Export it again.")
    return array


def _read(path: Path, box: Box, level: str) -> npt.NDArray[Any]:
    with explain_damage(path, f"level {level}, the pixels {describe_place(box)} cannot be decoded"):
        return np.asarray(_open_array(path, level)[box])


def _check_axes(path: Path, axes: list[str], shape: tuple[int, ...]) -> None:
    expected = [axis for axis in "tczyx" if axis in axes]
    if axes != expected or axes[-2:] != ["y", "x"] or len(axes) != len(shape):
        raise InputError(
            f"{path}: has axes {axes} for {len(shape)} dimensions; a subset of t, c, z, y, x in this order "
            "is expected. "
            "Export it again."
        )
    long = [f"{axis} ({n} planes)" for axis, n in zip(axes, shape, strict=True) if axis in "tz" and n > 1]
    if long:
        raise InputError(
            f"{path}: has the axis {' and the axis '.join(long)}. Only one plane with channels can be used. "
            "Export one plane or a projection."
        )


def _pixel_size(image: dict[str, Any], level: dict[str, Any]) -> PixelSize:
    """Multiply the scales of the level and of the whole image; without any, the size is unknown."""
    stated = [owner.get("coordinateTransformations") or [] for owner in (level, image)]
    if not all(isinstance(one, list) and all(isinstance(each, dict) for each in one) for one in stated):
        return PixelSize(problem=f"The coordinateTransformations are {stated[0] or stated[1]}, not a list.")
    transforms = [each for one in stated for each in one]
    scales = [each.get("scale") for each in transforms if each.get("type") == "scale"]
    axes = image["axes"]
    if not scales:
        return UNKNOWN
    if any(not isinstance(scale, list) or len(scale) != len(axes) for scale in scales):
        return PixelSize(problem=f"The scale of the pixels is {scales}, not one number per axis.")
    try:
        y, x = np.prod([[float(one) for one in scale[-2:]] for scale in scales], axis=0)
    except (TypeError, ValueError):
        return PixelSize(problem=f"The scale of the pixels is {scales}, not one number per axis.")
    return stated_size(y, x, (axes[-2].get("unit"), axes[-1].get("unit")))


def _channels(path: Path) -> list[dict[str, Any]]:
    omero = read_metadata(path).get("omero")
    channels = omero.get("channels") if isinstance(omero, dict) else None
    return [one for one in channels if isinstance(one, dict)] if isinstance(channels, list) else []


def _colours(path: Path, count: int) -> tuple[str, ...]:
    colours = [str(channel.get("color") or "").strip("# ").lower()[:6] for channel in _channels(path)]
    return tuple(colours) if len(colours) == count else ("",) * count


def _channel_names(path: Path, count: int) -> tuple[str, ...]:
    labels = [str(channel.get("label", "")).strip() for channel in _channels(path)]
    if len(labels) == count and all(labels) and len(set(labels)) == count:
        return tuple(labels)
    return ("grey",) if count == 1 else tuple(f"channel {i}" for i in range(count))
