"""Where a slide is annotated: regions of a slide may be corrected or annotated, and all else be ignored."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from slideunet.stores.manifests import store_path
from slideunet.stores.omezarr import level_paths
from slideunet.stores.verified import open_label_store
from slideunet.truth.ignore_label import foreground_and_valid

_LEVEL = 5
"""Of the labels, at most: a spot of 32 px is smaller than any region worth drawing."""


def annotated_spots(manifest: Path) -> tuple[npt.NDArray[np.bool_], int] | None:
    """Return which spots of a slide are annotated, or None if all are, or none is found.

    Parameters
    ----------
    manifest : Path
        Of a slide with labels.

    Returns
    -------
    tuple or None
        (y, x) bool, whether a spot is not ignored, and its side in px.
    """
    level = min(_LEVEL, len(level_paths(store_path(manifest) / "labels/truth")) - 1)
    valid = foreground_and_valid(open_label_store(manifest, "truth", level)[:])[1]
    return None if valid.all() or not valid.any() else (valid, 2**level)
