"""The tissue mask of a slide as a label image of its prediction: made once, then read by every worker."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from slideunet.slides import tissue
from slideunet.slides.normalisation import Background
from slideunet.stores import manifests, omezarr, verified
from slideunet.stores.ngff_metadata import Version
from slideunet.stores.resumable import move_unless_there, unfinished

Choice = Literal["auto", "none"]


@dataclass(frozen=True)
class StoredMask:
    """Where a slide has tissue.

    Attributes
    ----------
    pixels : numpy.ndarray of bool, (y, x)
        At pyramid level `level` of the slide.
    level : int
    """

    pixels: np.ndarray
    level: int

    def facts(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Return what the manifest says of it; `shape` (..., y, x) is the slide's."""
        return {
            "level": self.level,
            "skipped": tissue.skipped_share(self.pixels, shape, self.level),
            "blocks": verified.block_digests(self.pixels.astype(np.uint32)),
        }


def make_mask(
    store: Path, image: Path, choice: Choice, background: Background, version: Version
) -> StoredMask | None:
    """Write `labels/tissue` into a store that is being made, when the slide needs one and it is not there.

    Parameters
    ----------
    store : Path
        The pyramid that is being made.
    image : Path
        Manifest of the slide.
    choice : "auto" or "none"
    background : str
        As the model was trained.
    version : str
        Of OME-Zarr.

    Returns
    -------
    StoredMask or None
        None where the whole slide is to be predicted.
    """
    slide = manifests.read_manifest(image)
    shape, statistics = slide["shape"], slide["statistics"]
    if choice == "none" or not tissue.needs_tissue_mask(shape, statistics, background):
        return None
    mask = read_mask(store, slide)
    if mask is None:
        level = tissue.mask_level(shape, slide["mpp"])
        thumbnail = verified.open_image_store(image, level)[:]
        found = tissue.tissue_mask(thumbnail, slide["mpp"] and slide["mpp"] * 2**level)
        mask = StoredMask(found, level)
        new, path = unfinished(store), store / "labels" / "tissue"
        options = {"mpp": slide["mpp"], "version": version, "first_level": level, "levels": 1}
        omezarr.write_labels(new, found.astype(np.uint32), name=path.name, **options)
        path.parent.mkdir(exist_ok=True)
        move_unless_there(new, path)
    # A run that was killed may have written it without listing it.
    omezarr.list_labels(store / "labels")
    return mask


def read_mask(store: Path, slide: Mapping[str, Any]) -> StoredMask | None:
    """Read the mask of a store that is being made; `slide` is the manifest of the slide."""
    path = store / "labels" / "tissue"
    if not path.is_dir():
        return None
    level = tissue.mask_level(slide["shape"], slide["mpp"])
    return StoredMask(np.asarray(omezarr.open_level(path, 0)[:]) > 0, level)
