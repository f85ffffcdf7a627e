"""A contact sheet: what the network is shown in training, after all random changes."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image
from skimage.segmentation import find_boundaries

_COLUMNS = 6
_GAP = 4  # px of white between patches
_OUTLINE = (255, 140, 0)


def contact_sheet_png(patches: Sequence[tuple[np.ndarray, np.ndarray]]) -> bytes:
    """Draw training patches in rows of six with their cells outlined, as a PNG file.

    Parameters
    ----------
    patches : sequence of (image, target)
        Images (c, y, x), normalised: 0 to 1 is black to white, the first three channels are red, green and
        blue unless there is but one. Targets (maps, y, x), the foreground first.
    """
    tiles = [_tile(image, target[0] > 0) for image, target in patches]
    side = tiles[0].shape[0] + _GAP
    rows = -(-len(tiles) // _COLUMNS)
    sheet = np.full((rows * side, min(len(tiles), _COLUMNS) * side, 3), 255, np.uint8)
    for i, tile in enumerate(tiles):
        top, left = (place * side for place in divmod(i, _COLUMNS))
        sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, "PNG")
    return buffer.getvalue()


def _tile(image: np.ndarray, cells: np.ndarray) -> np.ndarray:
    shown = image[:3] if image.shape[0] > 2 else np.repeat(image[:1], 3, axis=0)
    tile = (np.clip(shown, 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0).copy()
    tile[find_boundaries(cells, mode="outer")] = _OUTLINE
    return tile
