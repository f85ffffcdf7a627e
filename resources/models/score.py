"""Score models on the images of every source, at several zooms, and count cells where there are none.

    python resources/models/score.py DATA MODEL [MODEL ...] --split test [--zooms 0.5 1 2]

DATA is the folder that pack.py reads, split as pack.py does; MODEL is a folder with tuned constants. Scores
pool all nuclei of a source. Look at the test images once, after every choice.
"""

import argparse
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "workflow/lib"), str(ROOT / "resources/models")]

import numpy as np  # noqa: E402
from pack import SOURCES, pack  # noqa: E402
from scipy import ndimage as ndi  # noqa: E402

from slideunet.cells.separation.decoding import decoding_for  # noqa: E402
from slideunet.cells.separation.separate import separate  # noqa: E402
from slideunet.errors import as_command  # noqa: E402
from slideunet.model_json import read_model_facts  # noqa: E402
from slideunet.network.in_memory.prepared import truth  # noqa: E402
from slideunet.network.in_memory.scores import ImageScore, by_source, score_image  # noqa: E402
from slideunet.network.in_memory.tuning.best_diameters import zoomed  # noqa: E402
from slideunet.network.inference.engines import Engine, engine_of_machine, open_engine  # noqa: E402
from slideunet.network.inference.scaling.cell_size import choose_scale  # noqa: E402
from slideunet.network.inference.scaling.rescaled import predict_whole  # noqa: E402
from slideunet.network.inference.scaling.sizing import sizing_for  # noqa: E402
from slideunet.slides.normalisation import normalisation  # noqa: E402
from slideunet.slides.statistics import survey  # noqa: E402

WINDOW = 128  # Side of a real window without nuclei, in px.
WINDOWS = 10
Labelled = tuple[str, np.ndarray, np.ndarray]
"""Source, image (c, y, x) of uint8, labels (y, x) of uint16."""


class Model:
    """A model with its constants, ready to predict."""

    def __init__(self, folder: Path, scaled: bool = True) -> None:
        self.name, self.facts = folder.name, read_model_facts(folder)
        self.decoding = decoding_for(self.facts)
        self.sizing = sizing_for(self.facts, "auto" if scaled else None, "auto")
        self.engine: Engine = open_engine(
            folder,
            self.facts,
            engine=engine_of_machine("auto"),
            heads=self.facts["architecture"]["heads"],
            precision="fp32",
            threads=len(os.sched_getaffinity(0)),
        )

    def maps(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Return the maps (y, x) uint8 of an image (c, y, x), as in a prediction."""
        constants = normalisation(survey(image)[0], self.facts["normalisation"], self.facts["background"])
        scale = 1.0
        if self.sizing is not None:
            scale = choose_scale(self.engine, image, constants, image, self.sizing)["scale"]
        return predict_whole(self.engine, image, constants, scale)

    def score(self, images: Sequence[Labelled], zoom: float) -> dict[str, ImageScore]:
        """Return the scores of each source."""
        scaled = ((source, *zoomed(zoom, *pair)) for source, *pair in images)
        return by_source(
            (source, score_image(truth(labels), self.maps(image), self.decoding))
            for source, image, labels in scaled
        )

    def found(self, image: np.ndarray, inside: tuple[slice, slice]) -> int:
        """Return the number of cells that touch a window of an image."""
        return len(set(np.unique(separate(self.maps(image), self.decoding)[inside])) - {0})


def empty_windows(images: Sequence[Labelled]) -> Iterator[tuple[np.ndarray, tuple[slice, slice]]]:
    """Yield images with the place of a window, 128 px wide, in which no nucleus is annotated, at most 10.

    The window is the one farthest from every nucleus; images come in turns from each source.
    """
    chosen: dict[str, list[tuple[np.ndarray, tuple[slice, slice]]]] = {}
    for source, image, labels in images:
        if min(labels.shape) < WINDOW:
            continue
        # Distance to the nearest nucleus, of the middle of every window that fits.
        half = WINDOW // 2
        away = ndi.distance_transform_cdt(labels == 0, "chessboard")[half:-half, half:-half]
        if away.size and away.max() > half:
            top, left = np.unravel_index(away.argmax(), away.shape)
            place = (slice(top, top + WINDOW), slice(left, left + WINDOW))
            chosen.setdefault(source, []).append((image, place))
    turns = [ones[turn] for turn in range(WINDOWS) for ones in chosen.values() if turn < len(ones)]
    yield from turns[:WINDOWS]


def false_cells(model: Model, images: Sequence[Labelled]) -> str:
    """Return a line on the cells found in real windows without nuclei; drawn ones are in the tests."""
    found = [model.found(*window) for window in empty_windows(images)]
    return f"cells in {len(found)} windows of {WINDOW} px without a nucleus: {sum(found)}"


def main(
    data: Path, models: Sequence[Path], split: str, zooms: Sequence[float], sources: list[str], unscaled: bool
) -> None:
    """Print a table for each model."""
    for path in models:
        model = Model(path, scaled=not unscaled)
        kind = "fluorescence" if model.engine.spec.channels == 1 else "brightfield"
        images = [
            (packed.entry.source, packed.image, packed.labels)
            for packed, _ in pack(data, sources, (split,))
            if packed.entry.kind == kind and packed.entry.for_validation
        ]
        logging.info(f"\n{model.name}: {len(images)} images of {split}")
        logging.info("| source | zoom | Dice | AP@0.5 | mean AP | PQ | divided, merged | true | found |")
        logging.info("|---|---|---|---|---|---|---|---|---|")
        for zoom in zooms:
            for source, score in model.score(images, zoom).items():
                logging.info(line(source, zoom, score.row()))
        logging.info("\n" + false_cells(model, images))


def line(source: str, zoom: float, row: dict[str, float]) -> str:
    """Return a row of the table; divided and merged nuclei are per 100 true ones."""
    scores = " | ".join(f"{row[name]:.3f}" for name in ("dice", "ap50", "mean_ap", "pq"))
    errors = f"{row['divided_per_100']:.1f}, {row['merged_per_100']:.1f}"
    return f"| {source} | {zoom:g} | {scores} | {errors} | {row['true']:,.0f} | {row['found']:,.0f} |"


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder with one folder for each source")
    parser.add_argument("models", type=Path, nargs="+", metavar="model", help="folder of a model")
    parser.add_argument("--split", choices=("train", "val", "test"), default="val")
    parser.add_argument("--zooms", type=float, nargs="+", default=[1.0], help="factors of the images' size")
    parser.add_argument("--sources", nargs="+", choices=SOURCES, default=list(SOURCES))
    parser.add_argument("--unscaled", action="store_true", help="as with cells.diameter: null")
    with as_command():
        main(**vars(parser.parse_args()))
