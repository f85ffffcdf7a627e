"""The tissue mask of a slide as a label image of its prediction, written once and read by every worker."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from slideunet.slides import tissue
from slideunet.slides.normalisation import Background
from slideunet.slides.slide_image import open_slide_image
from slideunet.sources.white import white_of
from slideunet.stores import manifests, omezarr, verified
from slideunet.stores.ngff_metadata import Version
from slideunet.stores.resumable import move_unless_there, unfinished

Choice = Literal["auto", "none"]


@dataclass(frozen=True)
class StoredMask:
    """The tissue mask of a slide: bool (y, x) `pixels` at its pyramid level `level`."""

    pixels: np.ndarray
    level: int

    def facts(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Return its entry in the manifest; `shape` (..., y, x) is that of the slide."""
        return {
            "level": self.level,
            "skipped": tissue.skipped_share(self.pixels, shape, self.level),
            "blocks": verified.block_digests(self.pixels.astype(np.uint32)),
        }


def make_mask(
    store: Path, image: Path, choice: Choice, background: Background, version: Version
) -> StoredMask | None:
    """Write `labels/tissue` into an unfinished store, if the slide needs a mask and it does not exist yet.

    Parameters
    ----------
    store : Path
        The unfinished pyramid.
    image : Path
        Manifest of the slide.
    choice : "auto" or "none"
        Setting `prediction.tissue`.
    background : str
        Background setting of the model.
    version : str
        OME-Zarr version.

    Returns
    -------
    StoredMask or None
        None if the whole slide is predicted.
    """
    slide = manifests.read_manifest(image)
    shape, statistics = slide["shape"], slide["statistics"]
    white = white_of(slide) or 255
    if choice == "none" or not tissue.needs_tissue_mask(shape, statistics, background, white):
        return None
    mask = read_mask(store, slide)
    if mask is None:
        level = tissue.mask_level(shape, slide["mpp"])
        thumbnail = tissue.as_bytes(open_slide_image(image, level)[:], white)
        found = tissue.tissue_mask(thumbnail, slide["mpp"] and slide["mpp"] * 2**level)
        mask = StoredMask(found, level)
        new, path = unfinished(store), store / "labels" / "tissue"
        options = {"mpp": slide["mpp"], "version": version, "first_level": level, "levels": 1}
        omezarr.write_labels(new, found.astype(np.uint32), name=path.name, **options)
        path.parent.mkdir(exist_ok=True)
        move_unless_there(new, path)
    # A killed run may have written the mask without listing it.
    omezarr.list_labels(store / "labels")
    return mask


def read_mask(store: Path, slide: Mapping[str, Any]) -> StoredMask | None:
    """Read the mask of an unfinished store; `slide` holds the facts of the slide's manifest."""
    path = store / "labels" / "tissue"
    if not path.is_dir():
        return None
    level = tissue.mask_level(slide["shape"], slide["mpp"])
    return StoredMask(np.asarray(omezarr.open_level(path, 0)[:]) > 0, level)
