"""Physical pixel size: one number in micrometres out of the many ways in which files state it."""

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
"""Micrometres per unit, by the lower-case names that OME-XML, OME-Zarr and ImageJ use."""

PLAUSIBLE = (0.01, 10.0)
"""Range in micrometres per pixel in which a bare resolution tag, or one statement alone, is believed."""
ANISOTROPY = 0.01
CONTRADICTION = 2.0
"""Two statements that differ by this factor do not mean the same size."""


def to_micrometres(value: float, unit: str | None) -> float | None:
    """Convert a length to micrometres; None when the unit is absent or no unit of length ("pixel")."""
    factor = MICROMETRES.get((unit or "").strip().lower().replace("μ", "µ"))
    return None if factor is None else value * factor


def square_pixel(path: Path, y: float | None, x: float | None) -> float | None:
    """Reduce the pixel's height and width to one size.

    Parameters
    ----------
    path : Path
        For the message.
    y, x : float or None
        Micrometres per pixel.

    Returns
    -------
    float or None
        The mean of both; None when either is unknown.

    Raises
    ------
    InputError
        A size is not positive and finite, or they differ by more than 1 %.
    """
    if y is None or x is None:
        return None
    if not all(math.isfinite(size) and size > 0 for size in (y, x)):
        raise InputError(
            f"{path}: the pixel size is given as {y} x {x} micrometres (y x x), which is not a size. "
            "Areas would be wrong. Correct the file's metadata."
        )
    if abs(y - x) > ANISOTROPY * min(y, x):
        raise InputError(
            f"{path}: pixels are {y:g} x {x:g} micrometres (y x x), not square. "
            "Shapes and areas would be distorted. Resample the image to square pixels, or correct its "
            "metadata."
        )
    return (y + x) / 2


def from_resolution(path: Path, y: float, x: float, unit: str) -> float | None:
    """Pixel size out of a file's resolution tag, where it can be one.

    Cameras and drawing programs write 72, 96 or 300 dpi, which describe a print and not a specimen (300 dpi
    would be 85 micrometres per pixel), so only sizes within `PLAUSIBLE` are believed.

    Parameters
    ----------
    path : Path
        For the message.
    y, x : float
        Pixels per unit.
    unit : str
        "inch" or "centimeter"; anything else gives None.

    Returns
    -------
    float or None
        Micrometres per pixel.
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
    """Decide between the pixel size of the file and that of the sheet, which goes first.

    Parameters
    ----------
    path : Path
        For messages.
    from_file, from_sheet : float or None
        Micrometres per pixel.

    Returns
    -------
    mpp : float or None
        The size to use; None when neither says one.
    warnings : tuple[str, ...]
        That the two differ by a factor of 2 or more.

    Raises
    ------
    InputError
        The size lies outside of `PLAUSIBLE`, as after a mistake of the unit, and the other one does not
        confirm it.
    """
    mpp = from_file if from_sheet is None else from_sheet
    factor = 1.0 if mpp is None or from_file is None else max(mpp, from_file) / min(mpp, from_file)
    confirmed = from_file is not None and from_sheet is not None and factor < CONTRADICTION
    if mpp is not None and not confirmed and not PLAUSIBLE[0] <= mpp <= PLAUSIBLE[1]:
        raise InputError(_implausible(path, mpp, "the column mpp" if from_sheet else "the file"))
    if factor < CONTRADICTION:
        return mpp, ()
    return mpp, (
        f"{path.name} states {from_file:g} micrometres per pixel, the column mpp of the sheet {mpp:g}; "
        "one of them is wrong. The column is used.",
    )


def _implausible(path: Path, mpp: float, owner: str) -> str:
    guesses = {1e-3: "nanometres", 1e3: "millimetres"}
    meant = [unit for factor, unit in guesses.items() if PLAUSIBLE[0] <= mpp * factor <= PLAUSIBLE[1]]
    guess = f" It looks like {meant[0]} given as micrometres." if meant else ""
    remedy = (
        "Correct the column, or leave it empty: measurements are then in pixels."
        if owner == "the column mpp"
        else "Write the true size into the column mpp of the sample sheet (the same value, if it is right)."
    )
    return (
        f"{path}: {owner} states {mpp:g} micrometres per pixel, outside of {PLAUSIBLE[0]:g} to "
        f"{PLAUSIBLE[1]:g}.{guess} Areas and the resolution would be wrong by orders of magnitude. {remedy}"
    )
