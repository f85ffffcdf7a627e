"""Channel names and pixel size from the metadata of OME-TIFF, ImageJ, Aperio and plain TIFF."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from slideunet.errors import InputError
from slideunet.sources.pixel_size import PixelSize, from_resolution, stated_size
from slideunet.sources.source import RGB_NAMES

NEEDED_TAGS = {262, 266, 270, 274, 277, 282, 283, 284, 296, 317, 320, 338, 339, 347}
"""Tags that determine values, orientation, channels or pixel size."""
RESOLUTION_UNITS = {2: "inch", 3: "centimeter", 4: "millimeter", 5: "micrometer"}
"""Values of the tag ResolutionUnit; 4 and 5 are extensions that microscopes write."""
ALPHA = (tifffile.EXTRASAMPLE.ASSOCALPHA, tifffile.EXTRASAMPLE.UNASSALPHA)


def main_series(path: Path, tif: tifffile.TiffFile) -> tifffile.TiffPageSeries:
    """Return the first series; refuse files (other than slide formats) with another one as large."""
    first, *further = tif.series
    is_slide = any(getattr(tif, f"is_{kind}") for kind in ("svs", "ndpi", "scn", "bif", "philips", "qpi"))
    rivals = [series for series in further if series.size >= first.size]
    if rivals and not is_slide:
        raise InputError(
            f"{path}: holds {len(tif.series)} images, {len(rivals)} of them as large as the first. "
            "It is unclear which one to use. Save each image to its own file."
        )
    return first


def check_tags(path: Path, tif: tifffile.TiffFile, page: tifffile.TiffPage) -> None:
    """Refuse a file with unreadable tags, which tifffile silently skips.

    OME-XML is often at the end of the file, so a truncated file may have all pixels but lack their meaning.
    """
    layout, handle = tif.tiff, tif.filehandle
    handle.seek(page.offset)
    (count,) = struct.unpack(layout.tagnoformat, handle.read(layout.tagnosize))
    entries = handle.read(count * layout.tagsize)
    listed = set(np.frombuffer(entries, layout.byteorder + "u2")[:: layout.tagsize // 2].tolist())
    lost = listed & NEEDED_TAGS - {tag.code for tag in page.tags}
    if lost:
        names = ", ".join(tifffile.TIFF.TAGS.get(code, str(code)) for code in sorted(lost))
        raise InputError(
            f"{path}: the TIFF tags {names} cannot be read. The file is truncated or damaged. Copy it again."
        )


def name_channels(tif: tifffile.TiffFile, axes: str, count: int, page: tifffile.TiffPage) -> tuple[str, ...]:
    """Name the channels of the first series.

    Parameters
    ----------
    tif : tifffile.TiffFile
        The open file.
    axes : str
        Axes of the series; "S" means samples of one pixel (colours), "C" channels.
    count : int
        Number of channels.
    page : tifffile.TiffPage
        First page of the series.

    Returns
    -------
    tuple[str, ...]
        Colours, "grey" and "alpha" for samples; for channels the names of the metadata, or "channel i".
    """
    if "S" in axes:
        return _name_samples(page, count)
    names = _ome_channel_names(tif) if tif.is_ome else _imagej_labels(tif)
    if count == 1:
        return (names[0] if names and names[0] else "grey",)
    if len(names) == len(set(names)) == count and all(names):
        return tuple(names)
    return tuple(f"channel {i}" for i in range(count))


def display_colours(tif: tifffile.TiffFile, count: int) -> tuple[str, ...]:
    """Return the colours in which OME or ImageJ show the planes, as "rrggbb"; empty where they say none."""
    if tif.is_ome:
        colours = [_rgb_of(channel.get("Color")) for channel in _ome_channels(tif)]
    else:
        tables = (tif.imagej_metadata or {}).get("LUTs", []) if tif.is_imagej else []
        colours = [bytes(np.asarray(table, np.uint8)[:, -1]).hex() for table in tables]
    return tuple(colours) if len(colours) == count else ("",) * count


def significant_bits(tif: tifffile.TiffFile, page: tifffile.TiffPage) -> int | None:
    """Return the depth of integers that OME, BitsPerSample or MaxSampleValue state, if any."""
    maximum = page.tags.valueof("MaxSampleValue", 0)
    most = max(maximum) if isinstance(maximum, tuple) else maximum
    limit = most.bit_length() if isinstance(most, int) and most == 2 ** most.bit_length() - 1 else 0
    stated = [_ome_pixels(tif).get("SignificantBits") if tif.is_ome else None, limit, page.bitspersample]
    size = 8 * page.dtype.itemsize if page.dtype is not None else 0
    return next((bits for bits in stated if isinstance(bits, int) and 0 < bits < size), None)


def _rgb_of(colour: object) -> str:
    """Return OME's colour, a signed number of 32 bits (RGBA), as "rrggbb"."""
    try:
        return f"{(int(str(colour)) & 0xFFFFFFFF) >> 8:06x}"
    except ValueError:
        return ""


def pixel_size(tif: tifffile.TiffFile, page: tifffile.TiffPage) -> PixelSize:
    """Return the pixel size from OME, ImageJ, Aperio or resolution tags, in this order.

    Unknown if no credible size is stated (`pixel_size.from_resolution`). `page` is the first of the series.
    """
    if tif.is_ome:
        pixels = _ome_pixels(tif)
        y_size, x_size = (pixels.get(f"PhysicalSize{axis}") for axis in "YX")
        y_unit, x_unit = (pixels.get(f"PhysicalSize{axis}Unit", "µm") for axis in "YX")
        return stated_size(y_size, x_size, (y_unit, x_unit))
    y, x = (_pixels_per_unit(page, f"{axis}Resolution") for axis in "YX")
    unit = (tif.imagej_metadata or {}).get("unit") if tif.is_imagej else None
    if unit and x and y:
        return stated_size(1 / y, 1 / x, (unit, unit))
    if tif.is_svs:
        mpp = tifffile.tifffile.svs_description_metadata(page.description).get("MPP")
        return stated_size(mpp, mpp)
    return from_resolution(y, x, RESOLUTION_UNITS.get(page.tags.valueof("ResolutionUnit", 2), ""))


def _name_samples(page: tifffile.TiffPage, count: int) -> tuple[str, ...]:
    extra = tuple(page.extrasamples)
    in_colour = page.photometric in (tifffile.PHOTOMETRIC.RGB, tifffile.PHOTOMETRIC.YCBCR)
    colours = RGB_NAMES if in_colour else ("grey",)
    if count < len(colours):
        return tuple(f"channel {i}" for i in range(count))
    if count == len(colours) + 1 and len(extra) == 1 and extra[0] in ALPHA:
        return (*colours, "alpha")
    return (*colours, *(f"sample {i}" for i in range(len(colours), count)))


def _ome_pixels(tif: tifffile.TiffFile) -> dict[str, Any]:
    images = tifffile.xml2dict(tif.ome_metadata)["OME"]["Image"]
    return (images[0] if isinstance(images, list) else images)["Pixels"]


def _ome_channels(tif: tifffile.TiffFile) -> list[dict[str, Any]]:
    channels = _ome_pixels(tif).get("Channel", [])
    return channels if isinstance(channels, list) else [channels]


def _ome_channel_names(tif: tifffile.TiffFile) -> list[str]:
    return [str(channel.get("Name", "")).strip() for channel in _ome_channels(tif)]


def _imagej_labels(tif: tifffile.TiffFile) -> list[str]:
    labels = (tif.imagej_metadata or {}).get("Labels", []) if tif.is_imagej else []
    return [str(label).strip() for label in (labels if isinstance(labels, list) else [labels])]


def _pixels_per_unit(page: tifffile.TiffPage, tag: str) -> float:
    """Return a resolution tag as a number; 0 if it is absent, divides by zero or is no number."""
    value = page.tags.valueof(tag, 0)
    if isinstance(value, int | float):
        return float(value)
    if not isinstance(value, tuple) or len(value) != 2:
        return 0.0
    return value[0] / value[1] if value[1] else 0.0
