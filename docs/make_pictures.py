"""Make the pictures of the README: outlined cells of two real images, and the top of a real report.

    python docs/make_pictures.py --data FOLDER --work FOLDER

The data folder holds `tnbc/` (Naylor et al. 2019, CC BY 4.0) and `dsb2018/` (BBBC038v1, CC0), each with
`metadata.csv` (image_id, group), `images/<image_id>.png` and `masks/<image_id>.png`. The models of
`resources/models` predict them in two runs below the work folder; the images of TNBC are all scored. The
screenshot needs Chromium. The pictures go to `docs/pictures`.
"""

import argparse
import csv
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# A command of its own, outside of Snakemake.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "workflow" / "lib"))

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from slideunet.report.pictures import Colour, draw_outlines, enlarge_labels, enlarge_picture, stretched
from slideunet.stores.manifests import read_manifest
from slideunet.stores.verified import open_image_store, open_label_store

ROOT = Path(__file__).resolve().parent.parent
ZOOM = 2
SIDE = 240  # px of the image that a panel shows
BARE = 0.3  # left part of a panel that shows the image alone
GAP = 12
REPORT_WIDTH, REPORT_HEIGHT = 1100, 1165


@dataclass(frozen=True)
class Panel:
    """A run with a model of this repository, and the place of one of its images that is shown."""

    data: str
    title: str
    model: str
    channels: str
    images: Sequence[str]  # beginnings of image ids; an empty one takes all
    shown: str
    corner: tuple[int, int]  # row and column
    colour: Colour


PANELS = (
    Panel(
        data="tnbc",
        title="nuclei-brightfield on the test patients of TNBC",
        model="nuclei-brightfield",
        channels="rgb",
        # The patients of the test part (resources/models/pack.py).
        images=("tnbc_02_", "tnbc_09_"),
        shown="tnbc_09_1",
        corner=(136, 136),
        colour=(70, 255, 90),
    ),
    # An image of the test part: neither trained nor tuned on.
    Panel(
        data="dsb2018",
        title="nuclei-fluorescence on BBBC038",
        model="nuclei-fluorescence",
        channels="grey",
        images=("777f7c42",),
        shown="777f7c42",
        corner=(40, 100),
        colour=(255, 200, 0),
    ),
)


def write_sheet(panel: Panel, data: Path, sheet: Path) -> None:
    """Write the sample sheet of a panel's run: slide, image, labels and group."""
    with (data / panel.data / "metadata.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["image_id"].startswith(tuple(panel.images))]
    lines = ["slide\timage\tlabels\tgroup"]
    for row in rows:
        name = f"{row['image_id']}.png"
        files = [str((data / panel.data / folder / name).resolve()) for folder in ("images", "masks")]
        lines.append("\t".join([row["image_id"][:16], *files, row["group"]]))
    sheet.write_text("\n".join(lines) + "\n", encoding="utf-8")


def predict(panel: Panel, data: Path, folder: Path) -> None:
    """Run the workflow with a model of this repository in a folder; what is up to date stays."""
    folder.mkdir(parents=True, exist_ok=True)
    write_sheet(panel, data, folder / "slides.tsv")
    (folder / "run.yaml").write_text(
        f"slides: slides.tsv\nmodel: {{weights: {panel.model}}}\ndata: {{channels: {panel.channels}}}\n"
        f"report: {{title: '{panel.title}'}}\n"
    )
    files = ["--snakefile", str(ROOT / "Snakefile"), "--configfile", "run.yaml", "--directory", "."]
    subprocess.run(["snakemake", "--cores", "all", "--quiet", "all", *files], cwd=folder, check=True)


def draw(panel: Panel, results: Path) -> NDArray[np.uint8]:
    """Draw a section of a slide (y, x, 3); right of a line the cells that were found are outlined."""
    [manifest] = (results / "slides").glob(f"{panel.shown}*.json")
    rows, columns = (slice(start, start + SIDE) for start in panel.corner)
    pixels = open_image_store(manifest)[:, rows, columns]
    labels = open_label_store(results / "predictions" / manifest.name, "cells")[rows, columns]
    canvas = enlarge_picture(stretched(pixels, read_manifest(manifest)["statistics"]), ZOOM).copy()
    line = round(BARE * SIDE * ZOOM)
    found = enlarge_labels(labels, ZOOM)[:, line:]
    draw_outlines(canvas[:, line:], found, {int(cell): panel.colour for cell in np.unique(found) if cell})
    canvas[:, line - 1 : line + 1] = 255
    return canvas


def screenshot(page: Path, target: Path, browser: str) -> None:
    """Photograph the top of a page, as wide as a window of the report."""
    options = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    options += ["--disable-component-update", "--disable-sync", "--hide-scrollbars"]
    options += [f"--window-size={REPORT_WIDTH},{REPORT_HEIGHT}", f"--screenshot={target}"]
    with tempfile.TemporaryDirectory() as profile:
        command = [browser, "--headless", *options, f"--user-data-dir={profile}", page.resolve().as_uri()]
        subprocess.run(command, check=True, capture_output=True)
    Image.open(target).convert("P", palette=Image.Palette.ADAPTIVE, colors=255).save(target, optimize=True)


def main(*, data: Path, work: Path, browser: str) -> None:
    """Predict, draw and photograph."""
    pictures = ROOT / "docs" / "pictures"
    pictures.mkdir(exist_ok=True)
    drawn = []
    for panel in PANELS:
        predict(panel, data, work / panel.data)
        drawn += [draw(panel, work / panel.data / "results"), np.full((SIDE * ZOOM, GAP, 3), 255, np.uint8)]
    Image.fromarray(np.hstack(drawn[:-1])).save(pictures / "cells.jpg", quality=88, optimize=True)
    page = work / PANELS[0].data / "results" / "report" / "report.html"
    screenshot(page, pictures / "report.png", browser)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--browser", default="chromium")
    arguments = parser.parse_args()
    main(data=arguments.data, work=arguments.work, browser=arguments.browser)
