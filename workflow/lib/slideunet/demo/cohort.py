"""The demo's sample sheet: each row says completely what its slide looks like."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from slideunet.demo.scene import Scene
from slideunet.errors import InputError

# The columns that make a row of a sample sheet drawable, beside the sheet's own.
COLUMNS = ("look", "seed", "donor_seed", "height", "width", "density")


@dataclass(frozen=True)
class Drawing:
    """A slide to draw and the files to write it to; `labels` is None for a slide without truth."""

    slide: str
    scene: Scene
    image: Path
    labels: Path | None


def read_drawings(sheet: Path) -> list[Drawing]:
    """Read the slides to draw from a sample sheet (TSV); paths are relative to the sheet.

    Parameters
    ----------
    sheet : Path
        Sample sheet with the columns slide, image, labels, mpp and those in `COLUMNS`.

    Returns
    -------
    list[Drawing]
        One for each row, in the order of the sheet.

    Raises
    ------
    InputError
        With one message for every row or column that cannot be used.
    """
    table = pd.read_csv(sheet, sep="\t", dtype=str, keep_default_na=False)
    missing = [name for name in ("slide", "image", "labels", "mpp", *COLUMNS) if name not in table.columns]
    if missing:
        raise InputError(
            f"demo sheet {sheet}: columns missing: {', '.join(missing)}. Without them the slides cannot be "
            "drawn. Use a sheet of resources/demo as the pattern."
        )
    drawings, problems = [], []
    for row in table.to_dict("records"):
        try:
            drawings.append(_drawing(row, sheet.parent))
        except ValueError as error:
            problems.append(
                f"demo sheet {sheet}: slide {row['slide']}: {error}. Sizes and seeds are whole numbers, "
                "density and mpp are numbers. Correct the row."
            )
        except InputError as error:
            problems.extend(f"slide {row['slide']}: {problem}" for problem in error.problems)
    if problems:
        raise InputError(problems)
    return drawings


def _drawing(row: Mapping[Hashable, str], folder: Path) -> Drawing:
    scene = Scene(
        look=row["look"],  # type: ignore[arg-type]  # Scene itself refuses what it does not know.
        seed=int(row["seed"]),
        donor_seed=int(row["donor_seed"]),
        height=int(row["height"]),
        width=int(row["width"]),
        density=float(row["density"]),
        mpp=float(row["mpp"]),
    )
    return Drawing(
        row["slide"], scene, folder / row["image"], folder / row["labels"] if row["labels"] else None
    )
