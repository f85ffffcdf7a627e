"""The demo's sample sheet, whose rows hold all parameters of a slide."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from slideunet.demo.scene import Scene
from slideunet.demo.write_files import write_field, write_slide
from slideunet.errors import InputError

SCENE_COLUMNS = ("look", "seed", "donor_seed", "height", "width", "density")
_IN_MEMORY_PIXELS = 4096**2


@dataclass(frozen=True)
class DemoSlide:
    """A slide to draw and its files; `labels` is None for a slide without ground truth."""

    slide: str
    scene: Scene
    image: Path
    labels: Path | None


def read_demo_sheet(sheet: Path) -> list[DemoSlide]:
    """Read the slides of a sample sheet (TSV) with the columns slide, image, labels, mpp and `SCENE_COLUMNS`.

    Paths are relative to the sheet.

    Raises
    ------
    InputError
        One message per unusable row or missing column.
    """
    table = pd.read_csv(sheet, sep="\t", dtype=str, keep_default_na=False)
    expected = ("slide", "image", "labels", "mpp", *SCENE_COLUMNS)
    missing = [name for name in expected if name not in table.columns]
    if missing:
        raise InputError(
            f"demo sheet {sheet}: columns missing: {', '.join(missing)}. Slides cannot be drawn without "
            "them. Use a sheet of resources/demo as a template."
        )
    slides, problems = [], []
    for row in table.to_dict("records"):
        try:
            slides.append(_parse_row(row, sheet.parent))
        except ValueError as error:
            problems.append(
                f"demo sheet {sheet}: slide {row['slide']}: {error}. Sizes and seeds are whole numbers, "
                "density and mpp are numbers. Correct the row."
            )
        except InputError as error:
            problems.extend(f"slide {row['slide']}: {problem}" for problem in error.problems)
    if problems:
        raise InputError(problems)
    return slides


def _parse_row(row: Mapping[Hashable, str], folder: Path) -> DemoSlide:
    scene = Scene(
        look=row["look"],  # type: ignore[arg-type]  # Scene checks it.
        seed=int(row["seed"]),
        donor_seed=int(row["donor_seed"]),
        height=int(row["height"]),
        width=int(row["width"]),
        density=float(row["density"]),
        mpp=float(row["mpp"]),
    )
    labels = folder / row["labels"] if row["labels"] else None
    return DemoSlide(row["slide"], scene, folder / row["image"], labels)


def write_demo_slide(slide: DemoSlide) -> None:
    """Draw a slide into its files: small ones in memory with consecutive ids, large ones tile by tile."""
    small = slide.scene.height * slide.scene.width <= _IN_MEMORY_PIXELS
    write = write_field if small else write_slide
    write(slide.scene, slide.image, slide.labels)
