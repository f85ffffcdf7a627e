"""The demo's sample sheets: each row says completely what its slide looks like."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from slideunet.demo.scene import Scene


@dataclass(frozen=True)
class DemoSlide:
    """A slide to draw and the files to write it to; `labels` is None for a slide without truth."""

    slide: str
    scene: Scene
    image: Path
    labels: Path | None


def read_drawings(sheet: Path) -> list[DemoSlide]:
    """Read the slides to draw from a sheet of `resources/demo` (TSV); paths are relative to the sheet."""
    table = pd.read_csv(sheet, sep="\t", dtype=str, keep_default_na=False)
    return [
        DemoSlide(
            row["slide"],
            Scene(
                look=row["look"],
                **{name: int(row[name]) for name in ("seed", "donor_seed", "height", "width")},
                density=float(row["density"]),
                mpp=float(row["mpp"]),
            ),
            sheet.parent / row["image"],
            sheet.parent / row["labels"] if row["labels"] else None,
        )
        for row in table.to_dict("records")
    ]
