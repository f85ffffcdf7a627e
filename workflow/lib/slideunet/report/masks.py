"""The tissue mask of a slide, drawn as an outline on a small picture of the slide."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from slideunet.figures.encoding import Keep
from slideunet.report import pictures
from slideunet.report.pictures import Colour
from slideunet.report.results import SlideResult
from slideunet.report.shown_region import coarse_level
from slideunet.report.side_by_side import Panel
from slideunet.slides.slide_image import open_slide_image
from slideunet.slides.tissue import upsampled
from slideunet.stores.verified import open_label_store

SIDE = 512
OUTLINE: Colour = (0, 114, 178)


def masked(results: Sequence[SlideResult]) -> list[SlideResult]:
    """Select the slides that were predicted with a tissue mask, the largest skipped area first."""
    return sorted(
        (r for r in results if r.facts is not None and r.skipped is not None),
        key=lambda result: (-(result.skipped or 0.0), result.slide),
    )


def draw_mask(result: SlideResult, keep: Keep) -> Panel:
    """Draw a slide with the outline of its tissue mask; `keep` encodes the picture."""
    facts, prediction = result.facts or {}, result.prediction or {}
    level = coarse_level((facts["shape"][1], facts["shape"][2]), SIDE)
    # Not stretched: an empty slide would be all noise. Only 8-bit RGB images have a mask.
    canvas = np.ascontiguousarray(open_slide_image(result.manifest, level)[:].transpose(1, 2, 0))
    mask = np.asarray(open_label_store(result.prediction_manifest, "tissue")[:]) > 0
    resampled = at_level(mask, prediction["tissue"]["level"], level, canvas.shape[:2])
    pictures.draw_outlines(canvas, resampled.astype(np.uint8), {1: OUTLINE})
    caption = share_in_words(result.skipped or 0.0)
    alt = f"Slide {result.slide}, outline of its tissue; {caption}"
    return Panel(caption, alt, keep(canvas, f"{result.slide}.tissue"))


def at_level(mask: NDArray[np.bool_], source: int, target: int, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Resample a mask from one pyramid level to another of this shape (y, x), by nearest neighbour."""
    if source >= target:
        return upsampled(mask, source - target, slice(0, shape[0]), slice(0, shape[1]))
    step = 1 << (target - source)
    return mask[::step, ::step]


def share_in_words(skipped: float) -> str:
    """Format the skipped share of a slide."""
    return "no tissue found" if skipped == 1 else f"{100 * skipped:.1f} % skipped"
