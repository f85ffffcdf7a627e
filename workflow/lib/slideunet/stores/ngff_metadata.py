"""The metadata of OME-Zarr images and label images, versions 0.4 and 0.5.

Specification: https://ngff.openmicroscopy.org/0.5/
"""

import itertools
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

Version = Literal["0.4", "0.5"]

_RGB = ("FF0000", "00FF00", "0000FF")
# Viewers add channels up: of several in one colour none could be told.
_PAIR = ("00FF00", "FF00FF")
_SEVERAL = (*_RGB, "00FFFF", "FF00FF", "FFFF00", "FFFFFF")


def image_metadata(
    name: str,
    channels: Sequence[str],
    dtype: np.dtype,
    levels: int,
    mpp: float | None,
    version: Version,
    first_level: int = 0,
) -> dict[str, Any]:
    """Return the metadata of an image pyramid (c, y, x).

    Parameters
    ----------
    name : str
    channels : sequence of str
        Their names; one is shown as grey, two as green and magenta, the first three of more as red, green
        and blue, then cyan, magenta, yellow and grey.
    dtype : numpy.dtype
    levels : int
        Each half as large as the one before; their paths are "0", "1" ...
    mpp : float or None
        Micrometres per pixel of level 0.
    version : "0.5" or "0.4"
    first_level : int
        Halvings of the first one.
    """
    axes = [{"name": "c", "type": "channel"}, *_space_axes(mpp)]
    shrunk = range(first_level, first_level + levels)
    return {
        "multiscales": [_multiscales(name, axes, shrunk, mpp, version)],
        "omero": {"channels": _omero_channels(channels, dtype)},
    }


def label_metadata(
    name: str, levels: int, mpp: float | None, version: Version, first_level: int = 0
) -> dict[str, Any]:
    """Return the metadata of a label pyramid (y, x) in the folder `labels` of its image.

    `mpp` is that of the image, and `first_level` the level of the image that the first of these is as large
    as; otherwise as `image_metadata`.
    """
    shrunk = range(first_level, first_level + levels)
    return {
        "multiscales": [_multiscales(name, _space_axes(mpp), shrunk, mpp, version)],
        "image-label": _version(version) | {"source": {"image": "../../"}},
    }


def _multiscales(
    name: str, axes: list[dict[str, str]], shrunk: Sequence[int], mpp: float | None, version: Version
) -> dict[str, Any]:
    datasets = [
        {
            "path": str(level),
            "coordinateTransformations": [
                {"type": "scale", "scale": [1.0] * (len(axes) - 2) + [(mpp or 1.0) * 2**halvings] * 2}
            ],
        }
        for level, halvings in enumerate(shrunk)
    ]
    return _version(version) | {"name": name, "axes": axes, "datasets": datasets}


def _version(version: Version) -> dict[str, Any]:
    return {"version": version} if version == "0.4" else {}  # Later ones say it once, of the whole group.


def _space_axes(mpp: float | None) -> list[dict[str, str]]:
    unit = {} if mpp is None else {"unit": "micrometer"}
    return [{"name": axis, "type": "space", **unit} for axis in "yx"]


def _omero_channels(names: Sequence[str], dtype: np.dtype) -> list[dict[str, Any]]:
    top = float(np.iinfo(dtype).max) if np.issubdtype(dtype, np.integer) else 1.0
    colours = {1: ("FFFFFF",), 2: _PAIR}.get(len(names), _SEVERAL)
    window = {"min": 0.0, "max": top, "start": 0.0, "end": top}
    return [
        {"label": name, "color": colour, "window": window, "active": True}
        for name, colour in zip(names, itertools.cycle(colours), strict=False)
    ]
