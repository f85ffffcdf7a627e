"""From a user's image and labels to a verified OME-Zarr store with its manifest."""

import importlib.metadata
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slideunet import __version__
from slideunet.errors import InputError
from slideunet.fingerprint import file_identity, fingerprint
from slideunet.images import omezarr, stores
from slideunet.images.normalisation import survey
from slideunet.images.readers import Source, choose_channels, open_image
from slideunet.images.truth import Truth, open_truth

Channels = Sequence[int] | str | None

FORMAT = 1  # Raise when a store is written differently, so that old ones are made again.


@dataclass(frozen=True)
class Slide:
    """One row of the sample sheet, as far as conversion needs it."""

    slide: str
    image: Path
    labels: Path | None
    mpp: float | None


def read_slide(row: Mapping[str, Any]) -> Slide:
    """Make a `Slide` from a row of the sheet, in which absent values are empty text."""
    return Slide(
        slide=row["slide"],
        image=Path(row["image"]),
        labels=Path(row["labels"]) if row["labels"] else None,
        mpp=float(row["mpp"]) if row["mpp"] else None,
    )


def convert(slide: Slide, manifest: Path, *, channels: Channels, version: omezarr.Version) -> bool:
    """Convert one slide unless its store is up to date.

    Parameters
    ----------
    slide : Slide
    manifest : Path
        `results/slides/{slide}.json`; the store lies beside it.
    channels : None, "grey", "rgb" or list of int
        See `readers.choose_channels`.
    version : "0.5" or "0.4"
        Of OME-Zarr.

    Returns
    -------
    bool
        Whether there was anything to do.

    Raises
    ------
    InputError
        Naming the slide, when its image or labels cannot be used.
    """
    known = _fingerprint(slide, channels, version)
    if stores.is_current(manifest, known):
        return False
    start = time.perf_counter()
    try:
        source = choose_channels(open_image(slide.image), channels)
        truth = None if slide.labels is None else open_truth(slide.labels, source.pixels.shape[1:])
        facts = _write(slide, source, truth, manifest, version)
    except InputError as error:
        raise InputError(f"slide {slide.slide}: {problem}" for problem in error.problems) from error
    facts |= {"fingerprint": known, "seconds": round(time.perf_counter() - start, 3)}
    stores.write_manifest(manifest, facts)
    return True


def _fingerprint(slide: Slide, channels: Channels, version: str) -> str:
    files = [file_identity(path) for path in (slide.image, slide.labels) if path is not None]
    return fingerprint(format=FORMAT, files=files, mpp=slide.mpp, channels=channels, version=version)


def _write(
    slide: Slide, source: Source, truth: Truth | None, manifest: Path, version: omezarr.Version
) -> dict[str, Any]:
    mpp = slide.mpp or source.mpp
    with stores.new_store(manifest) as partial:
        levels = omezarr.write_image(
            partial, source.pixels, channels=source.channels, mpp=mpp, version=version
        )
        if truth is not None:
            omezarr.write_label_image(partial, "truth", truth.labels, mpp=mpp, version=version)
        pixels = omezarr.open_level(partial, 0)
        statistics, content = survey(pixels)
        truth_content = None if truth is None else survey(truth.labels[None])[1]
    return {
        "slide": slide.slide,
        "shape": list(pixels.shape),
        "dtype": str(pixels.dtype),
        "channels": list(source.channels),
        "mpp": mpp,
        "scale": 1.0,
        "levels": levels,
        "statistics": statistics,
        "content": content,
        "truth_content": truth_content,
        "n_objects": None if truth is None else int(truth.labels.max(initial=0)),
        "source": {"image": str(slide.image), "labels": None if slide.labels is None else str(slide.labels)},
        "warnings": [] if truth is None else list(truth.warnings),
        "versions": {"slideunet": __version__}
        | {name: importlib.metadata.version(name) for name in ("zarr", "numpy")},
    }
