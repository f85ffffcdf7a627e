"""Measuring and exporting cells against scikit-image and GDAL used plainly: ratios of one run.

    python bench/bench_cells.py [--side 4096] [--density 300 1000 2000]

One block of drawn nuclei (ellipses with rough edges, radii of 5 to 12 px), three channels of 8 bits. Counted
is processor time, so the numbers are cells per second of one core.

"ours" is `export_cells` from the stored slide to the two finished files: decoding, checksums and every column
included. "regionprops" is `regionprops_table` with the same shapes and intensities (no percentiles, stains or
neighbours), `rasterio.features.shapes`, `json.dumps` per cell, gzip and Parquet, from arrays in memory.
Writes bench/results/cells.json.
"""

import argparse
import gzip
import json
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "workflow/lib"), str(ROOT / "tests"), str(ROOT / "bench")]

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from making import write_label_image  # noqa: E402
from oracles import number_by_blocks  # noqa: E402
from processor import processor  # noqa: E402
from rasterio.features import shapes  # noqa: E402
from scipy import ndimage as ndi  # noqa: E402
from skimage.measure import regionprops_table  # noqa: E402

from slideunet.cells.export.export_slide import export_cells, export_fingerprint  # noqa: E402
from slideunet.geometry.blocks import BlockGrid, digest  # noqa: E402
from slideunet.stores import omezarr  # noqa: E402
from slideunet.stores.manifests import store_path, write_manifest  # noqa: E402
from slideunet.stores.verified import block_digests  # noqa: E402

GOAL = 5000
CHANNELS = ("red", "green", "blue")
SHAPES = (
    "label", "centroid", "bbox", "area", "perimeter", "equivalent_diameter_area", "axis_major_length",
    "axis_minor_length", "eccentricity", "solidity", "orientation", "intensity_mean", "intensity_std",
    "intensity_min", "intensity_max",
)  # fmt: skip


def nuclei(side: int, density: int, seed: int = 0) -> np.ndarray:
    """Draw cells that do not overlap, one in each square of a grid: (y, x) of uint32.

    Parameters
    ----------
    side : int
        Pixels.
    density : int
        Cells per million pixels.
    """
    random = np.random.default_rng(seed)
    pitch = int(np.sqrt(1e6 / density))
    number, place = np.divmod(np.arange(side), pitch)
    count = number[-1] + 1
    radii = random.uniform(5, min(12, pitch / 2 - 1), (2, count, count))
    room = pitch / 2 - 1 - radii.max(axis=0)
    angle = random.uniform(0, np.pi, (count, count))
    grid = np.ix_(number, number)
    y, x = (room * random.uniform(-1, 1, (count, count)) + pitch / 2 - 0.5 for _ in range(2))
    dy, dx = place[:, None] - y[grid], place[None] - x[grid]
    cosine, sine = np.cos(angle)[grid], np.sin(angle)[grid]
    along, across = (cosine * dy + sine * dx) / radii[0][grid], (cosine * dx - sine * dy) / radii[1][grid]
    rough = ndi.gaussian_filter(random.standard_normal((side, side)), 2)
    inside = along**2 + across**2 + 0.12 * rough / rough.std() < 1
    return number_by_blocks(np.where(inside, number[:, None] * count + number + 1, 0))


def pixels(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return an image (3, y, x) with grain, darker in the cells, and a probability (1, y, x), as uint8."""
    random = np.random.default_rng(1)
    soft = ndi.gaussian_filter((labels > 0).astype(np.float32), 1)
    grain = ndi.gaussian_filter(random.standard_normal((3, *labels.shape), np.float32), (0, 1.5, 1.5))
    image = np.array([210, 180, 220])[:, None, None] - soft * np.array([110, 120, 60])[:, None, None]
    return np.clip(image + 80 * grain, 0, 255).astype(np.uint8), np.rint(255 * soft[None]).astype(np.uint8)


def store(folder: Path, labels: np.ndarray, image: np.ndarray, probability: np.ndarray) -> tuple[Path, Path]:
    """Write the manifests and stores of the slide and of its prediction with cells."""
    manifests = folder / "slide.json", folder / "prediction.json"
    for manifest, array in zip(manifests, (image, probability), strict=True):
        omezarr.create_image(
            store_path(manifest),
            array.shape,
            array.dtype,
            channels=["a"] * len(array),
            mpp=0.5,
            version="0.5",
        )
        region = BlockGrid(array.shape)[0]
        omezarr.write_block(omezarr.open_levels(store_path(manifest), "r+"), region, array)
        omezarr.finish_levels(store_path(manifest))
        facts = {"slide": "S1", "shape": list(array.shape), "mpp": 0.5, "scale": 1.0, "fingerprint": "f"}
        facts |= {"channels": list(CHANNELS), "blocks": [digest(array)], "dtype": "uint8", "white": 255}
        facts["cells"] = {
            "fingerprint": "f", "blocks": block_digests(labels), "first_ids": [1], "reach": 0,
            "n_cells": int(labels.max()),
        }  # fmt: skip
        write_manifest(manifest, facts)
    write_label_image(store_path(manifests[1]), "cells", labels, mpp=0.5, version="0.5")
    return manifests


def plainly(folder: Path, labels: np.ndarray, image: np.ndarray) -> None:
    """Measure and export as one does with the libraries alone."""
    table = pd.DataFrame(regionprops_table(labels, np.moveaxis(image, 0, -1), SHAPES))
    outlines = {
        int(cell): geometry
        for geometry, cell in shapes(labels.astype(np.int32), mask=labels != 0, connectivity=4)
    }
    lines = []
    for row in table.to_dict("records"):
        cell = int(row.pop("label"))
        properties = {"objectType": "detection", "name": f"cell {cell}", "cell": cell, "measurements": row}
        feature = {"type": "Feature", "id": str(uuid.uuid4()), "geometry": outlines[cell]}
        lines.append(json.dumps(feature | {"properties": properties}))
    text = '{"type":"FeatureCollection","features":[' + ",\n".join(lines) + "]}"
    (folder / "plain.geojson.gz").write_bytes(gzip.compress(text.encode(), 6))
    table.to_parquet(folder / "plain.parquet")


def seconds(work: Callable[[], None]) -> float:
    """Return the processor time that a call takes."""
    start = time.process_time()
    work()
    return time.process_time() - start


def compare(side: int, density: int, repeats: int) -> dict[str, float]:
    """Time both ways on one image, in turn; the best of each counts."""
    labels = nuclei(side, density)
    image, probability = pixels(labels)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        slide = store(folder, labels, image, probability)
        known = export_fingerprint(*slide)
        table, polygons = folder / "cells" / "S1.parquet", folder / "cells" / "S1.geojson.gz"
        ours, plain = [], []
        for _ in range(repeats):
            ours.append(seconds(lambda: export_cells(*slide, table, polygons, known)))
            plain.append(seconds(lambda: plainly(folder, labels, image)))
    count = int(labels.max())
    return {
        "cells": count,
        "ours, cells/s": round(count / min(ours)),
        "regionprops, cells/s": round(count / min(plain)),
        "ratio": round(min(plain) / min(ours), 2),
    }


def main(side: int, densities: list[int], repeats: int) -> None:
    """Compare at every density; print and keep the numbers."""
    found, place = {}, processor()
    for density in densities:
        found[str(density)] = compare(side, density, repeats)
        print(
            f"{density:5} cells/Mpx:",
            ", ".join(f"{key} {value}" for key, value in found[str(density)].items()),
            f"  {place}",
        )
    print(f"goal: {GOAL} cells/s per core")
    results = ROOT / "bench/results"
    results.mkdir(exist_ok=True)
    kept = {"side": side, "processor": place, "densities": found}
    (results / "cells.json").write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--side", type=int, default=4096)
    parser.add_argument("--density", dest="densities", type=int, nargs="+", default=[300, 1000, 2000])
    parser.add_argument("--repeats", type=int, default=2)
    main(**vars(parser.parse_args()))
