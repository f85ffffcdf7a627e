"""The Orientation tag of TIFF and Exif."""

import dask.array as da

TRANSPOSED = range(5, 9)
FLIPPED_Y = (3, 4, 7, 8)
FLIPPED_X = (2, 3, 6, 7)


def is_transposed(orientation: int) -> bool:
    """Whether an Orientation tag exchanges rows and columns."""
    return orientation in TRANSPOSED


def turn_upright(pixels: da.Array, orientation: int) -> da.Array:
    """Turn an image as its Orientation tag asks (TIFF 6.0, p. 36), lazily.

    Parameters
    ----------
    pixels : dask.array.Array
        (c, y, x) as stored.
    orientation : int
        1 to 8; any other value is invalid and taken as 1, as viewers do.

    Returns
    -------
    dask.array.Array
        (c, y, x) as it is to be seen.
    """
    if is_transposed(orientation):
        pixels = pixels.swapaxes(1, 2)
    if orientation in FLIPPED_Y:
        pixels = pixels[:, ::-1, :]
    if orientation in FLIPPED_X:
        pixels = pixels[:, :, ::-1]
    return pixels
