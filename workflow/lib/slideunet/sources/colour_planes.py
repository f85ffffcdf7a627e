"""Three planes that may be the colours of one RGB image: told from names, display colours and pixels.

The limits were set on 468 real images (DSB 2018, TNBC, NuInsSeg, S-BSST265, Coelho 2009): with names or
colours of RGB in the file 167 of 169 stained images are taken, without them 76; of 299 fluorescence images
none is, in any case.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from slideunet.sources.source import RGB_NAMES, Source
from slideunet.sources.white import white_level

PURE = ("ff0000", "00ff00", "0000ff")
NAMELESS = re.compile(r"((image|channel|plane|slice|band|ch|c|s)?[\s:_#-]*(\d+([\s:/_-]+\d+)*)?(\s-\s.*)?)?")
"""Names that say nothing, such as "Channel:0:1", "C2" and ImageJ's "c:1/3 - field.tif"."""
WINDOW, WINDOWS = 128, 3
"""Side of the sampled squares, and how many in each direction."""
LEAST_LIGHT, LEAST_CHANNEL, LEAST_SHARE = 0.25, 0.1, 0.5
"""Medians of the mean and of each channel relative to white, and of the mean relative to its bright end."""
SURE_LIGHT, NEUTRAL = 0.4, 0.12
"""Where nothing but the pixels speaks for colours: the median, and the colour cast of the brightest."""

Basis = Literal["named", "coloured", "unnamed"]


def order_of_colours(names: Sequence[str], colours: Sequence[str]) -> tuple[list[int], Basis] | None:
    """Return which planes would be red, green and blue, and what says so.

    Parameters
    ----------
    names : sequence of str
        Of the planes.
    colours : sequence of str
        Display colours as "rrggbb", empty where the file has none.

    Returns
    -------
    (order, basis) or None
        None: not three planes, or names or colours of another kind.
    """
    if len(names) != len(RGB_NAMES) or len(colours) != len(RGB_NAMES):
        return None
    plain = [name.strip().lower() for name in names]
    for spelling in (RGB_NAMES, tuple("rgb")):
        if sorted(plain) == sorted(spelling):
            return [plain.index(name) for name in spelling], "named"
    if not all(NAMELESS.fullmatch(name) for name in plain):
        return None
    if sorted(colours) == sorted(PURE):
        return [list(colours).index(colour) for colour in PURE], "coloured"
    return ([0, 1, 2], "unnamed") if len(set(colours)) == 1 else None


def as_colour(source: Source, *, certain: bool = False) -> Source:
    """Take three planes as an RGB image if all speaks for it, or if that is `certain`.

    A few squares of the image are decoded: stained tissue has a bright background, fluorescence a dark one.

    Returns
    -------
    Source
        Channels red, green and blue without display colours; or the same channels. Warnings say what was
        decided where the names do not.
    """
    found = order_of_colours(source.channels, source.colours)
    if found is None or source.pixels.dtype.kind != "u":
        return source
    order, basis = found
    bright, sure = (True, True) if certain else _light(_sampled(source), source.bits)
    planes = {
        "named": "three planes named red, green and blue",
        "coloured": "three planes shown in red, green and blue",
        "unnamed": "three planes without names and colours",
    }[basis]
    if not (bright and (sure or basis != "unnamed")):
        ground = f"a {'bright' if bright else 'dark'} background"
        kept = (f"{planes}, on {ground}, stay channels; data.channels: rgb takes them as one colour image",)
        return source if basis == "unnamed" and not bright else _with(source, kept)
    pixels = source.pixels if order == [0, 1, 2] else source.pixels[order]
    taken = (
        f"{planes}, on a bright background, are taken as one colour image; data.channels: [0, 1, 2] keeps "
        "them as channels",
    )
    found_rgb = replace(source, pixels=pixels, channels=RGB_NAMES, colours=())
    return found_rgb if certain or basis == "named" else _with(found_rgb, taken)


def is_rgb(source: Source) -> bool:
    """Whether the channels begin with the colours of an RGB image, and are not planes of the same names."""
    return source.channels[:3] == RGB_NAMES and not source.colours


def _with(source: Source, remarks: tuple[str, ...]) -> Source:
    return replace(source, warnings=source.warnings + remarks)


def _sampled(source: Source) -> npt.NDArray[Any]:
    """Decode a few squares and return their pixels (n, c)."""
    _, height, width = source.pixels.shape
    corners = [
        [max(round(side * (2 * i + 1) / (2 * WINDOWS)) - WINDOW // 2, 0) for i in range(WINDOWS)]
        for side in (height, width)
    ]
    squares = [
        source.pixels[:, y : y + WINDOW, x : x + WINDOW].compute(scheduler="synchronous")
        for y in corners[0]
        for x in corners[1]
    ]
    return np.concatenate([square.reshape(len(square), -1) for square in squares], axis=1).T


def _light(sample: npt.NDArray[Any], bits: int | None) -> tuple[bool, bool]:
    """Whether pixels (n, 3) have a bright background, and whether it is that of white light for sure."""
    values = sample / white_level(sample.dtype, int(sample.max()), bits)
    light = values.mean(axis=1)
    middle, end = np.median(light), np.percentile(light, 99)
    bright = (
        middle >= LEAST_LIGHT
        and middle >= LEAST_SHARE * end
        and np.median(values, axis=0).min() >= LEAST_CHANNEL
    )
    brightest = values[light >= np.percentile(light, 95)]
    neutral = np.median(np.ptp(brightest, axis=1)) <= NEUTRAL
    return bool(bright), bool(bright and neutral and middle >= SURE_LIGHT)
