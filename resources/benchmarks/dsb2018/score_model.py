"""What a model holds for: images made smaller and larger, and fields without a nucleus. Prints JSON.

    python resources/benchmarks/dsb2018/score_model.py MODEL RUN [--side val] [--zooms 0.5 1 2]

RUN is the folder of a run on labelled images. The model must not have learned from those of the side; the
threshold, the way of separating and the merge ratio are its own.
"""

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]
sys.path[:0] = [str(ROOT / "workflow/lib")]

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import torch  # noqa: E402
from scipy import ndimage as ndi  # noqa: E402
from skimage.transform import resize  # noqa: E402

from slideunet.cells.separation.decoding import decoding_for  # noqa: E402
from slideunet.cells.separation.separate import separate  # noqa: E402
from slideunet.network.architecture.model_folder import load_model  # noqa: E402
from slideunet.network.inference.openvino_engine import OpenVINOEngine  # noqa: E402
from slideunet.network.inference.predict_region import predict_core  # noqa: E402
from slideunet.scoring.instance_metrics import InstanceCounts, count_instances  # noqa: E402
from slideunet.scoring.matching import match_arrays  # noqa: E402
from slideunet.scoring.overlaps import count_overlaps  # noqa: E402
from slideunet.slides.normalisation import normalisation  # noqa: E402
from slideunet.slides.statistics import pooled, survey_block  # noqa: E402
from slideunet.stores.verified import open_image_store, open_label_store  # noqa: E402

ZOOMS = (0.4, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 4.0)
DIAMETERS = (6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 60, 80, 120, 1000)
SIDE = 512
Find = Callable[[np.ndarray], np.ndarray]


def finder(model: Path) -> tuple[Find, int]:
    """Return what labels the cells of an image (c, y, x) as a run with this model does, and its channels."""
    network, facts = load_model(model)
    engine = OpenVINOEngine(network, facts["precision"], torch.get_num_threads(), facts["halo"])
    decoding = decoding_for(facts)

    def find(image: np.ndarray) -> np.ndarray:
        constants = normalisation(pooled([survey_block(image)]), facts["normalisation"], facts["background"])
        core = ((0, image.shape[1]), (0, image.shape[2]))
        maps = dict(zip(engine.spec.maps, predict_core(engine, image, constants, core), strict=True))
        return separate(maps, decoding)

    return find, engine.spec.channels


def labelled(run: Path, side: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield image (c, y, x) and truth (y, x) of the slides of a side."""
    table = pd.read_csv(run / "results/split.tsv", sep="\t", dtype=str)
    for slide in table.loc[table["split"] == side, "slide"]:
        manifest = run / f"results/slides/{slide}.json"
        yield open_image_store(manifest)[:], open_label_store(manifest, "truth")[:]


def zoomed(image: np.ndarray, truth: np.ndarray, zoom: float) -> tuple[np.ndarray, np.ndarray]:
    """Return image and truth made larger or smaller: smoothed where that is needed, ids as they are."""
    if zoom == 1:
        return image, truth
    shape = tuple(round(side * zoom) for side in truth.shape)
    smooth = resize(image.astype(np.float64), (len(image), *shape), order=1, anti_aliasing=zoom < 1)
    nearest = [np.minimum(((np.arange(n) + 0.5) / zoom).astype(int), side - 1)
               for n, side in zip(shape, truth.shape, strict=True)]  # fmt: skip
    return np.round(smooth).astype(image.dtype), truth[np.ix_(*nearest)]


def found_by_diameter(matched: np.ndarray, truth: np.ndarray, tally: dict[int, list[int]]) -> None:
    """Add how many nuclei there are, and are found, to the classes of `DIAMETERS` by their lower limit."""
    areas = np.bincount(truth.ravel())
    hit = set(matched["truth"][matched["matched"]].tolist())
    for label in np.flatnonzero(areas[1:]) + 1:
        across = 2 * np.sqrt(areas[label] / np.pi)
        lower = max((limit for limit in DIAMETERS if limit <= across), default=0)
        tally[lower][0] += 1
        tally[lower][1] += int(label) in hit


def empty_fields(channels: int) -> Iterator[tuple[str, np.ndarray]]:
    """Draw fields without a nucleus: smoothed noise, three of each width, and single bright pixels."""
    for sigma in (0.0, 1.0, 1.5, 2.0, 3.0, 5.0):
        for seed in range(3):
            noise = np.random.default_rng(seed).standard_normal((SIDE, SIDE))
            noise = ndi.gaussian_filter(noise, sigma) if sigma else noise
            yield f"noise {sigma}", _grey(1000 + 50 * noise / noise.std(), channels)
    for count in (5, 40, 300):
        rng = np.random.default_rng(count)
        field = 400 + 12 * rng.standard_normal((SIDE, SIDE))
        field.ravel()[rng.integers(0, field.size, count)] = 4000
        yield f"bright pixels {count}", _grey(field, channels)


def _grey(field: np.ndarray, channels: int) -> np.ndarray:
    return np.repeat(field.astype(np.uint16)[None], channels, axis=0)


def main(model: Path, run: Path, side: str, zooms: list[float]) -> dict[str, object]:
    """Return AP by zoom, the share of nuclei found by diameter over all zooms, and cells of empty fields."""
    find, channels = finder(model)
    scores, tally = {}, defaultdict(lambda: [0, 0])
    for zoom in zooms:
        counts = InstanceCounts()
        for image, truth in labelled(run, side):
            image, truth = zoomed(image, truth, zoom)
            matched = match_arrays(count_overlaps(truth, find(image)))
            counts += count_instances(matched)
            found_by_diameter(matched, truth, tally)
        scores[zoom] = {"ap50": round(counts.ap[0], 3), "map": round(counts.mean_ap, 3)}
    empty: dict[str, list[int]] = defaultdict(list)
    for name, field in empty_fields(channels):
        empty[name].append(int(find(field).max()))
    sizes = {lower: {"nuclei": n, "found": round(k / n, 3)} for lower, (n, k) in sorted(tally.items())}
    return {"by_zoom": scores, "by_diameter_from": sizes, "cells_in_empty_fields": dict(empty)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--side", default="val")
    parser.add_argument("--zooms", type=float, nargs="*", default=ZOOMS)
    given = parser.parse_args()
    print(json.dumps(main(given.model, given.run, given.side, given.zooms), indent=1))
