"""Physical pixel size: one number in micrometres from the many forms in which files state it."""

import math
from pathlib import Path

from slideunet.errors import InputError

MICROMETRES = {
    "pm": 1e-6, "picometer": 1e-6,
    "angstrom": 1e-4, "å": 1e-4,
    "nm": 1e-3, "nanometer": 1e-3, "nanometre": 1e-3,
    "µm": 1.0, "um": 1.0, "micron": 1.0, "microns": 1.0, "micrometer": 1.0, "micrometre": 1.0,
    "\\u00b5m": 1.0,
    "mm": 1e3, "millimeter": 1e3, "millimetre": 1e3,
    "cm": 1e4, "centimeter": 1e4, "centimetre": 1e4,
    "in": 25_400.0, "inch": 25_400.0,
    "m": 1e6, "meter": 1e6, "metre": 1e6,
}  # fmt: skip
"""Micrometres per unit, by lower-case names of OME-XML, OME-Zarr and ImageJ."""

PLAUSIBLE = (0.01, 10.0)
"""Range in micrometres per pixel of a credible resolution tag or unconfirmed pixel size."""
ANISOTROPY = 0.01
CONTRADICTION = 2.0
"""Factor from which two stated sizes contradict each other."""


def to_micrometres(value: float, unit: str | None) -> float | None:
    """Convert a length to micrometres; None if the unit is absent or not a length ("pixel")."""
    factor = MICROMETRES.get((unit or "").strip().lower().replace("μ", "µ"))
    return None if factor is None else value * factor


def square_pixel(path: Path, y: float | None, x: float | None) -> float | None:
    """Return the mean of the pixel's height and width in micrometres; None if either is unknown.

    Raises
    ------
    InputError
        A size is not positive and finite, or they differ by more than `ANISOTROPY`.
    """
    if y is None or x is None:
        return None
    if not all(math.isfinite(size) and size > 0 for size in (y, x)):
        raise InputError(
            f"{path}: the pixel size is given as {y} x {x} micrometres (y x x), but must be positive and "
            "finite. Areas would be wrong. Correct the file's metadata."
        )
    if abs(y - x) > ANISOTROPY * min(y, x):
        raise InputError(
            f"{path}: pixels are {y:g} x {x:g} micrometres (y x x), not square. "
            "Shapes would be distorted. Resample the image to square pixels, or correct its metadata."
        )
    return (y + x) / 2


def from_resolution(path: Path, y: float, x: float, unit: str) -> float | None:
    """Return micrometres per pixel from a resolution tag, None if it is not credible.

    Cameras and drawing programs write 72, 96 or 300 dpi, which describe a print, not a specimen (300 dpi is
    85 micrometres per pixel), so sizes outside `PLAUSIBLE` are ignored.

    Parameters
    ----------
    path : Path
        For the message.
    y, x : float
        Pixels per unit.
    unit : str
        "inch" or "centimeter"; anything else gives None.
    """
    if unit not in ("inch", "centimeter") or not all(math.isfinite(r) and r > 0 for r in (y, x)):
        return None
    sizes = [MICROMETRES[unit] / resolution for resolution in (y, x)]
    if not all(PLAUSIBLE[0] <= size <= PLAUSIBLE[1] for size in sizes):
        return None
    return square_pixel(path, *sizes)


def settle_pixel_size(
    path: Path, from_file: float | None, from_sheet: float | None
) -> tuple[float | None, tuple[str, ...]]:
    """Choose between the pixel sizes of file and sheet; the sheet takes precedence.

    Returns
    -------
    mpp : float or None
        Micrometres per pixel; None if neither states it.
    warnings : tuple[str, ...]
        A contradiction by a factor of `CONTRADICTION` or more.

    Raises
    ------
    InputError
        The size is outside `PLAUSIBLE`, often due to a wrong unit, and not confirmed by the other.
    """
    mpp = from_file if from_sheet is None else from_sheet
    factor = 1.0 if mpp is None or from_file is None else max(mpp, from_file) / min(mpp, from_file)
    confirmed = from_file is not None and from_sheet is not None and factor < CONTRADICTION
    if mpp is not None and not confirmed and not PLAUSIBLE[0] <= mpp <= PLAUSIBLE[1]:
        raise InputError(_implausible(path, mpp, in_sheet=bool(from_sheet)))
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
