"""A contact sheet of training patches, as the network sees them after augmentation."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image
from skimage.segmentation import find_boundaries

_COLUMNS = 6
_GAP = 4  # white pixels between patches
_OUTLINE = (255, 140, 0)


def contact_sheet_png(patches: Sequence[tuple[np.ndarray, np.ndarray]]) -> bytes:
    """Draw training patches with outlined cells in rows of six, as a PNG file.

    Parameters
    ----------
    patches : sequence of (image, target)
        Images (c, y, x), normalised: 0 is black, 1 is white; the first three channels are shown as red, green
        and blue, one or two channels as grey. Targets (maps, y, x), the foreground first.
    """
    tiles = [_tile(image, target[0] > 0) for image, target in patches]
    side = tiles[0].shape[0] + _GAP
    rows = -(-len(tiles) // _COLUMNS)
    sheet = np.full((rows * side, min(len(tiles), _COLUMNS) * side, 3), 255, np.uint8)
    for i, tile in enumerate(tiles):
        top, left = (side * index for index in divmod(i, _COLUMNS))
        sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, "PNG")
    return buffer.getvalue()


def _tile(image: np.ndarray, cells: np.ndarray) -> np.ndarray:
    shown = image[:3] if image.shape[0] > 2 else np.repeat(image[:1], 3, axis=0)
    tile = (np.clip(shown, 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0).copy()
    tile[find_boundaries(cells, mode="outer")] = _OUTLINE
    return tile
