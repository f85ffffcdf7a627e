"""Open any supported image as a lazy (c, y, x) array, select channels, check that it decodes."""

import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import dask.array as da
import numpy as np

from slideunet.errors import InputError, MachineError
from slideunet.readers.companion_files import check_companions
from slideunet.readers.endings import ROI_REMEDY
from slideunet.readers.omezarr_reader import is_zarr, open_ngff
from slideunet.readers.openslide_reader import find_vendor, open_vendor_slide
from slideunet.readers.png_jpeg import open_raster
from slideunet.readers.tiff.open_tiff import open_tiff
from slideunet.sources.colour_planes import as_colour
from slideunet.sources.pixel_values import to_source
from slideunet.sources.source import MAX_PIXELS, RGB_NAMES, Source, Stored

__all__ = ["Source", "choose_channels", "open_image", "open_stored"]

RASTER = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
IMAGEJ_ROI = b"Iout"
UNSUPPORTED = {
    b"PK\x03\x04": "a zip archive: unpack it and give the folder or file inside",
    b"\x1f\x8b": "compressed by gzip: unpack it",
    b"GIF8": "a GIF: save it as PNG",
    b"BM": "a BMP: save it as PNG",
    b"\x89HDF": "an HDF5 file: export the image as TIFF or OME-Zarr",
    b"%PDF": "a PDF: export the image as TIFF or PNG",
    b"ZISRAWFILE": "a Zeiss CZI that OpenSlide does not read, such as fluorescence: export it as OME-TIFF",
    b"\x70\0\0\0": "a Leica LIF: export the image as OME-TIFF",
    b"\xda\xce\xbe\x0a": "a Nikon ND2: export the image as OME-TIFF",
    b"\xd0\xcf\x11\xe0": "a compound file, such as Zeiss ZVI or Olympus OIB: export it as OME-TIFF",
}


def open_image(path: Path, max_pixels: int = MAX_PIXELS) -> Source:
    """Open a PNG, JPEG, TIFF, OME-TIFF, slide or OME-Zarr image at full resolution, reading headers only.

    The content decides about the format, not the file name. Pixels are decoded when computed, which may raise
    `InputError` as well. dtypes: uint8, uint16 and float32 stay; float16, float64, int8
    and int16 become float32, as do 32- and 64-bit integers up to 2**24, which float32 holds exactly; larger
    ones, bool and complex are refused.

    Parameters
    ----------
    path : Path
        File, or folder of an OME-Zarr image.
    max_pixels : int
        Maximum number of values to decode at once (whole PNG or JPEG, tile or strip of a TIFF, Zarr chunk).

    Returns
    -------
    Source
        Lazy (c, y, x), channel names, micrometres per pixel.

    Raises
    ------
    InputError
        The file is missing, empty, damaged, of another format, or not a single image.

    Examples
    --------
    >>> source = choose_channels(open_image(Path("field.tif")), "grey")  # doctest: +SKIP
    >>> source.pixels[:, :512, :512].compute()  # doctest: +SKIP
    """
    return to_source(open_stored(path, max_pixels), path)


def open_stored(path: Path, max_pixels: int = MAX_PIXELS, level: int = 0) -> Stored:
    """Open one level of an image with its values as stored in the file.

    `level` is the `index` of one of the `levels` of the image opened at level 0; otherwise as `open_image`.
    """
    path = Path(path)
    if path.is_dir():
        if not is_zarr(path):
            raise InputError(
                f"{path}: is a folder without Zarr metadata. Give an image file, one of the .dcm files of a "
                "DICOM slide, or an OME-Zarr folder."
            )
        return open_ngff(path, max_pixels, level)
    start = _first_bytes(path)
    check_companions(path)
    # Before JPEG and TIFF, because MRXS files start like JPEG, SVS and NDPI like TIFF.
    if find_vendor(path):
        return open_vendor_slide(path, max_pixels, level)
    if start.startswith(RASTER):
        return open_raster(path, max_pixels)
    if start.startswith(TIFF):
        return open_tiff(path, max_pixels, level)
    raise InputError(f"{path}: is not an image that can be read, it is {_describe_content(path, start)}.")


def choose_channels(source: Source, channels: str | Sequence[int] | None) -> Source:
    """Select or average the channels (c, y, x) of an image, lazily, in the same dtype.

    Parameters
    ----------
    source : Source
        The image.
    channels : None, "grey", "rgb" or sequence of int
        None keeps all; three planes that look like the colours of one image become RGB
        (`colour_planes.as_colour`). "grey" is the mean of all channels, rounded for integers. "rgb" keeps
        three channels and repeats a single one; planes without names of their own become RGB. Indices start
        at 0.

    Raises
    ------
    InputError
        An invalid index, or "rgb" for an image of two, four or more channels.
    """
    if channels is None:
        return as_colour(source)
    count = len(source.channels)
    if channels == "grey":
        mean = {"pixels": _mean(source.pixels), "channels": ("grey",), "colours": ()}
        return source if count == 1 else replace(source, **mean)
    if channels == "rgb" and count == 3:
        return as_colour(source, certain=True)
    if channels == "rgb" and count == 1:
        pixels = da.concatenate([source.pixels] * 3)
        return replace(source, pixels=pixels, channels=RGB_NAMES, colours=())
    present = ", ".join(f"{i} = {name}" for i, name in enumerate(source.channels))
    if isinstance(channels, str):
        raise InputError(
            f"channels {channels!r} requested, but the image has {count}: {present}. "
            'Choose "grey", "rgb" (of 1 or 3 channels) or a list of numbers.'
        )
    chosen = list(channels)
    if not chosen or any(isinstance(i, bool) or not isinstance(i, int) or not 0 <= i < count for i in chosen):
        raise InputError(
            f"channels {chosen} requested, but the image has {count}: {present}. "
            f"Choose one or more numbers from 0 to {count - 1}."
        )
    return replace(
        source,
        pixels=source.pixels[chosen],
        channels=tuple(source.channels[i] for i in chosen),
        colours=tuple(source.colours[i] for i in chosen) if source.colours else (),
    )


def _mean(pixels: da.Array) -> da.Array:
    mean = pixels.mean(axis=0, keepdims=True, dtype=np.float64)
    return (mean.round() if pixels.dtype.kind == "u" else mean).astype(pixels.dtype)


def _first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except FileNotFoundError as error:
        raise InputError(
            f"{path}: there is no such file. Correct the path, which is relative to the sample sheet."
        ) from error
    except PermissionError as error:
        raise MachineError(f"{path}: this user may not read it. Change its permissions.") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}). Correct the path.") from error
    if not start:
        raise InputError(f"{path}: the file is empty (0 bytes). Copy it again from its origin.")
    return start


def _describe_content(path: Path, start: bytes) -> str:
    if start.startswith(IMAGEJ_ROI) or _has_rois(path):
        return f"a set of ImageJ ROIs. {ROI_REMEDY.removesuffix('.')}"
    for magic, name in UNSUPPORTED.items():
        if start.startswith(magic):
            return name
    if not any(start):
        return "filled with zeros, as after an interrupted copy: copy it again"
    if all(byte >= 32 or byte in b"\t\r\n\f" for byte in start):
        return "a text file: give PNG, JPEG, TIFF, OME-Zarr or a slide that OpenSlide reads"
    return "of an unknown or damaged format: give PNG, JPEG, TIFF, OME-Zarr or a slide that OpenSlide reads"


def _has_rois(path: Path) -> bool:
    """Whether a file is a zip archive of ImageJ ROIs."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.lower().endswith(".roi") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False
