"""How time and memory of scoring grow with the slide: one process for each of several sides.

    python bench/bench_scoring.py [--sides 4096 14143 20001] [--density 1000]

Ground truth and cells are one drawn field of 4096 x 4096 px that is repeated, not in step with the blocks of
the stores: objects lie across the borders of blocks. Cells are shifted by 2 rows and 1 column; a tenth of the
objects has no cell, a tenth of the cells no object. Writes bench/results/scoring.json.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "workflow/lib"), str(ROOT / "workflow/scripts"), str(ROOT / "bench")]

import numpy as np  # noqa: E402
from bench_cells import nuclei  # noqa: E402
from bench_scale import measured  # noqa: E402
from processor import processor  # noqa: E402

from slideunet.geometry.blocks import BLOCK, BlockGrid, Region, digest  # noqa: E402
from slideunet.stores import omezarr  # noqa: E402
from slideunet.stores.manifests import read_manifest, store_path, write_manifest  # noqa: E402

OFFSET = 1000
"""Pixels from the fields to the blocks of the stores, in both directions."""
SHIFT = (2, 1)


def labels_of(
    field: np.ndarray, region: Region, side: int, shift: tuple[int, int], left_out: int
) -> np.ndarray:
    """Return a part of the slide (h, w) of uint32: the repeated field, without every tenth label."""
    (rows, columns) = (
        np.arange(part.start, part.stop) + OFFSET - by for part, by in zip(region, shift, strict=True)
    )
    own = field[np.ix_(rows % BLOCK, columns % BLOCK)]
    number = (rows // BLOCK)[:, None] * ((side + OFFSET) // BLOCK + 1) + columns // BLOCK
    labels = np.where(own % 10 == left_out, 0, number * (int(field.max()) + 1) + own)
    return np.where(own > 0, labels, 0).astype(np.uint32)


def write_stores(folder: Path, side: int, density: int) -> None:
    """Write image and prediction of a slide block by block, as the steps before scoring leave them."""
    field, random = nuclei(BLOCK, density).astype(np.int64), np.random.default_rng(0)
    manifests = [folder / kind / "S1.json" for kind in ("slides", "predictions")]
    kinds, digests = {"truth": ((0, 0), 5), "cells": (SHIFT, 0)}, {}
    for manifest, name in zip(manifests, kinds, strict=True):
        manifest.parent.mkdir(parents=True)
        path, dtype = store_path(manifest), np.dtype(np.uint8)
        omezarr.create_image(path, (1, side, side), dtype, channels=["a"], mpp=0.5, levels=1)
        omezarr.create_labels(path / "labels" / name, (side, side), mpp=0.5, levels=1)
        for region in BlockGrid((side, side)):
            labels = labels_of(field, region, side, *kinds[name])
            pixels = (180 * (labels > 0) + random.integers(0, 60, labels.shape)).astype(np.uint8)[None]
            for at, block in ((path, pixels), (path / "labels" / name, labels)):
                omezarr.write_block(omezarr.open_levels(at, "r+"), region, block)
                digests.setdefault(at, []).append(digest(block))
        facts = {"slide": "S1", "shape": [1, side, side], "mpp": 0.5, "scale": 1.0, "fingerprint": "f"}
        facts |= {"n_objects": 1, "blocks": digests[path]}
        found = {"blocks": digests[path / "labels" / name], "threshold": 0.5, "fingerprint": "c"}
        write_manifest(manifest, facts | {name: found})


def score(folder: Path) -> None:
    """Score as the workflow does."""
    import score_slides

    score_slides.main(
        slides=["S1"], slides_folder=folder / "slides", predictions_folder=folder / "predictions",
        metrics_folder=folder / "metrics", manifest=folder / "b.json",
    )  # fmt: skip


def main(sides: list[int], density: int) -> None:
    """Measure slides of every size; print and keep the numbers."""
    found: dict[str, object] = {"density": density, "processor": processor()}
    for side in sides:
        with tempfile.TemporaryDirectory() as name:
            measured(write_stores, Path(name), side, density)
            own = measured(score, Path(name))
            counts = read_manifest(Path(name) / "metrics/S1.json")
        own |= {key: counts["instances"][key] for key in ("n_true", "n_pred")}
        own |= {"matches": counts["instances"]["tp"][0], "measured_outlines": counts["boundaries"]["n"]}
        found[str(side)] = own
        print(f"{side} x {side} px: {own}", flush=True)
    results = ROOT / "bench/results"
    results.mkdir(exist_ok=True)
    (results / "scoring.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sides", type=int, nargs="+", default=[4096, 14143, 20001])
    parser.add_argument("--density", type=int, default=1000, help="objects per million pixels")
    options = parser.parse_args()
    main(options.sides, options.density)
