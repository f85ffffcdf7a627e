"""Physical pixel size: one number in micrometres from the many forms in which files state it."""

import math
from dataclasses import dataclass
from pathlib import Path

from slideunet.errors import InputError

MICROMETRES = {
    "pm": 1e-6, "picometer": 1e-6, "picometre": 1e-6,
    "å": 1e-4, "angstrom": 1e-4, "ångström": 1e-4,
    "nm": 1e-3, "nanometer": 1e-3, "nanometre": 1e-3,
    "µm": 1.0, "um": 1.0, "micron": 1.0, "micrometer": 1.0, "micrometre": 1.0, "\\u00b5m": 1.0,
    "mm": 1e3, "millimeter": 1e3, "millimetre": 1e3,
    "cm": 1e4, "centimeter": 1e4, "centimetre": 1e4,
    "in": 25_400.0, "inch": 25_400.0, "inche": 25_400.0,
    "dm": 1e5, "decimeter": 1e5, "decimetre": 1e5,
    "m": 1e6, "meter": 1e6, "metre": 1e6,
}  # fmt: skip
"""Micrometres per unit, by lower-case singular names of OME-XML, OME-Zarr and ImageJ."""

PLAUSIBLE = (0.01, 10.0)
"""Range in micrometres per pixel of a credible resolution tag or unconfirmed pixel size."""
ANISOTROPY = 0.01
CONTRADICTION = 2.0
"""Factor from which two stated sizes contradict each other."""


@dataclass(frozen=True)
class PixelSize:
    """The pixel size that a file states.

    Attributes
    ----------
    mpp : float or None
        Micrometres per pixel; None if the file states none, or one that cannot be used.
    problem : str
        Why the stated size cannot be used, a sentence without the file; "" otherwise.
    """

    mpp: float | None = None
    problem: str = ""


UNKNOWN = PixelSize()


def to_micrometres(value: float, unit: object) -> float | None:
    """Convert a length to micrometres; None if the unit is absent or not a length ("pixel")."""
    name = str(unit or "").strip().lower().replace("μ", "µ")
    factor = MICROMETRES.get(name, MICROMETRES.get(name.removesuffix("s")))
    return None if factor is None else value * factor


def stated_size(y: object, x: object, units: tuple[object, object] = ("µm", "µm")) -> PixelSize:
    """Return the pixel size from height and width as metadata state them: numbers, texts, or nothing.

    `units` are those of y and x, in words or symbols; a size without a unit of length is unknown.
    """
    texts = ["" if length is None else str(length).strip() for length in (y, x)]
    if not all(texts):
        return UNKNOWN
    try:
        lengths = [float(text) for text in texts]
    except ValueError:
        return PixelSize(
            problem=f"The pixel size is given as {texts[0]} x {texts[1]} (y x x), not as numbers."
        )
    return square_pixel(*(to_micrometres(one, unit) for one, unit in zip(lengths, units, strict=True)))


def square_pixel(y: float | None, x: float | None) -> PixelSize:
    """Return the mean of the pixel's height and width in micrometres; unknown if either is.

    Sizes that are not positive and finite, or differ by more than `ANISOTROPY`, are a problem.
    """
    if y is None or x is None:
        return UNKNOWN
    if not all(math.isfinite(size) and size > 0 for size in (y, x)):
        return PixelSize(
            problem=f"The pixel size is given as {y} x {x} micrometres (y x x), but must be positive and "
            "finite. Areas would be wrong."
        )
    if abs(y - x) > ANISOTROPY * min(y, x):
        return PixelSize(
            problem=f"Pixels are {y:g} x {x:g} micrometres (y x x), not square. Shapes would be distorted: "
            "if that is true, resample the image to square pixels."
        )
    return PixelSize((y + x) / 2)


def from_resolution(y: float, x: float, unit: str) -> PixelSize:
    """Return the pixel size from a resolution tag; unknown if it is not credible.

    Cameras and drawing programs write 72, 96 or 300 dpi, which describe a print, not a specimen (300 dpi is
    85 micrometres per pixel), so sizes outside `PLAUSIBLE` are ignored.

    Parameters
    ----------
    y, x : float
        Pixels per unit.
    unit : str
        One of `MICROMETRES`; anything else gives an unknown size.
    """
    if unit not in MICROMETRES or not all(math.isfinite(r) and r > 0 for r in (y, x)):
        return UNKNOWN
    sizes = [MICROMETRES[unit] / resolution for resolution in (y, x)]
    if not all(PLAUSIBLE[0] <= size <= PLAUSIBLE[1] for size in sizes):
        return UNKNOWN
    return square_pixel(*sizes)


def settle_pixel_size(
    path: Path, stated: PixelSize, from_sheet: float | None
) -> tuple[float | None, tuple[str, ...]]:
    """Choose between the pixel sizes of file and sheet; the sheet takes precedence.

    Returns
    -------
    mpp : float or None
        Micrometres per pixel; None if neither states it.
    warnings : tuple[str, ...]
        A contradiction by a factor of `CONTRADICTION` or more, or an unusable size of the file.

    Raises
    ------
    InputError
        The size is outside `PLAUSIBLE`, often due to a wrong unit, and not confirmed by the other; or that of
        the file cannot be used and the sheet has none.
    """
    from_file = stated.mpp
    if stated.problem and from_sheet is None:
        raise InputError(
            f"{path}: {stated.problem} Correct the file's metadata, or write the true size into the column "
            "mpp of the sample sheet."
        )
    mpp = from_file if from_sheet is None else from_sheet
    factor = 1.0 if mpp is None or from_file is None else max(mpp, from_file) / min(mpp, from_file)
    confirmed = from_file is not None and from_sheet is not None and factor < CONTRADICTION
    if mpp is not None and not confirmed and not PLAUSIBLE[0] <= mpp <= PLAUSIBLE[1]:
        raise InputError(_implausible(path, mpp, in_sheet=bool(from_sheet)))
    if stated.problem:
        return mpp, (f"{path.name}: {stated.problem} The column mpp of the sheet, {mpp:g}, is used.",)
    if factor < CONTRADICTION:
        return mpp, ()
    return mpp, (
        f"{path.name} states {from_file:g} micrometres per pixel, the column mpp of the sheet {mpp:g}; "
        "one of them is wrong. The column is used.",
    )


def _implausible(path: Path, mpp: float, *, in_sheet: bool) -> str:
    low, high = PLAUSIBLE
    units = {1e-3: "nanometres", 1e3: "millimetres"}
    likely = [unit for factor, unit in units.items() if low <= mpp * factor <= high]
    guess = f" It looks like {likely[0]} given as micrometres." if likely else ""
    source, remedy = (
        ("the column mpp", "Correct the column, or leave it empty: measurements are then in pixels.")
        if in_sheet
        else (
            "the file",
            "Write the true size into the column mpp of the sample sheet, even if it is this one.",
        )
    )
    return (
        f"{path}: {source} states {mpp:g} micrometres per pixel, outside of {low:g} to {high:g}.{guess} "
        f"Areas and the resolution would be wrong by orders of magnitude. {remedy}"
    )
