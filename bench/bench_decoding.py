"""Decoding: from the stored maps of a prediction to numbered cells, in processor time, method by method.

    python bench/bench_decoding.py [--blocks 2] [--density 300 1000 2000]

A slide of drawn nuclei (ellipses with rough edges that touch here and there), with what a network gives of
them; and the same nuclei grown until they touch everywhere ("confluent"): one component across the slide.
The share
of foreground is kept beside the speeds, because a confluent block has more of it to divide.

"whole step" is `label_slide`: reading and checking the maps, separating, numbering, writing the labels with
their pyramid. "plainly" is what one does with scikit-image on the whole image in memory: smooth, peaks,
watershed, without stores. Writes bench/results/decoding.json.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "workflow/lib"), str(ROOT / "bench")]

import numpy as np  # noqa: E402
from bench_cells import nuclei, seconds  # noqa: E402
from processor import processor  # noqa: E402
from scipy import ndimage as ndi  # noqa: E402
from skimage.feature import peak_local_max  # noqa: E402
from skimage.segmentation import watershed  # noqa: E402

from slideunet.cells.separation.decoding import Decoding, Method  # noqa: E402
from slideunet.cells.separation.label_slide import label_slide  # noqa: E402
from slideunet.geometry.blocks import BLOCK, BlockGrid, digest  # noqa: E402
from slideunet.model_json import HEADS, OFFSET_ZERO, output_maps  # noqa: E402
from slideunet.network.patches.targets import cell_targets  # noqa: E402
from slideunet.stores import omezarr  # noqa: E402
from slideunet.stores.manifests import read_manifest, store_path, write_manifest  # noqa: E402

GOAL = 8.0
NAMES = output_maps(HEADS)
METHODS: tuple[Method, ...] = ("distance", "centres", "watershed", "components")


def confluent(labels: np.ndarray) -> np.ndarray:
    """Grow nuclei until they touch everywhere."""
    nearest = ndi.distance_transform_edt(labels == 0, return_distances=False, return_indices=True)
    return labels[tuple(nearest)]


def drawn_maps(density: int, *, everywhere: bool) -> np.ndarray:
    """Return what a network tells of one block of nuclei: (maps, y, x) of uint8, in the order of `NAMES`."""
    labels = nuclei(BLOCK, density)
    labels = confluent(labels) if everywhere else labels
    targets = dict(zip(NAMES, cell_targets(labels.astype(np.int32), NAMES)[:-1], strict=True))
    random = np.random.default_rng(2)
    maps = []
    for name in NAMES:
        offset = name in ("dy", "dx")
        values = np.where(labels > 0, OFFSET_ZERO + targets[name], 0) if offset else 255 * targets[name]
        noise = ndi.gaussian_filter(random.standard_normal(labels.shape, np.float32), 1)
        maps.append(np.clip(values + (values > 0) * 20 * noise, 0, 255).astype(np.uint8))
    return np.stack(maps)


def store(folder: Path, maps: np.ndarray, across: int) -> Path:
    """Write a prediction of `across` x `across` times the block; return its manifest."""
    manifest = folder / "S1.json"
    folder.mkdir(parents=True, exist_ok=True)
    path, side = store_path(manifest), across * BLOCK
    facts: dict[str, Any] = {"dtype": np.dtype(np.uint8), "mpp": 0.5, "version": "0.5"}
    omezarr.create_image(path, (1, side, side), channels=NAMES[:1], **facts)
    omezarr.create_image(
        path / omezarr.MAPS, (len(NAMES) - 1, side, side), channels=NAMES[1:], levels=1, **facts
    )
    for region in BlockGrid((side, side)):
        omezarr.write_block(omezarr.open_levels(path, "r+"), region, maps[:1])
        omezarr.write_block(omezarr.open_levels(path / omezarr.MAPS, "r+"), region, maps[1:])
    omezarr.finish_levels(path)
    facts = {"slide": "S1", "shape": [1, side, side], "mpp": 0.5, "scale": 1.0, "fingerprint": "f"}
    facts |= {"blocks": [digest(maps[:1])] * across**2}
    facts |= {"maps": {"names": NAMES[1:], "blocks": [digest(maps[1:])] * across**2}}
    write_manifest(manifest, facts)
    return manifest


def plainly(maps: np.ndarray) -> None:
    """Separate a block with scikit-image alone."""
    foreground = maps[0] > 127
    height = ndi.gaussian_filter(maps[NAMES.index("distance")].astype(np.float32), 1)
    seeds = np.zeros(height.shape, np.int32)
    places = peak_local_max(height, min_distance=4, labels=foreground.astype(np.int32))
    seeds[tuple(places.T)] = np.arange(1, len(places) + 1)
    watershed(-height, seeds, mask=foreground)


def measure(density: int, across: int, *, everywhere: bool) -> dict[str, float]:
    """Return Mpx/s of processor time of every method and of the plain way, and the share of foreground."""
    maps = drawn_maps(density, everywhere=everywhere)
    area, found = BLOCK**2 / 1e6, {"foreground": round(float((maps[0] > 127).mean()), 2)}
    with tempfile.TemporaryDirectory() as name:
        manifest = store(Path(name), maps, across)
        for method in METHODS:
            spent = seconds(
                lambda method=method: label_slide(
                    manifest, method, decoding=Decoding(0.5, method, min_probability=0.75), version="0.5"
                )
            )
            found[method] = round(across**2 * area / spent, 2)
            cells = read_manifest(manifest)["cells"]
            found[f"{method} unfinished"] = cells["unfinished"]
    return found | {"plainly": round(area / seconds(lambda: plainly(maps)), 2)}


def main(across: int, densities: list[int]) -> None:
    """Measure every density; print and keep the numbers."""
    place = processor()
    found: dict[str, Any] = {"processor": place}
    for density in densities:
        for everywhere, name in ((False, "islands"), (True, "confluent")):
            found[f"{density} {name}"] = measure(density, across, everywhere=everywhere)
            row = f"{density:5} cells/Mpx, {name}, Mpx/s: {found[f'{density} {name}']}"
            print(f"{row}   {place}", flush=True)
    print(f"goal: {GOAL} Mpx/s per core at 300 cells/Mpx")
    results = ROOT / "bench/results"
    results.mkdir(exist_ok=True)
    (results / "decoding.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--blocks", dest="across", type=int, default=2)
    parser.add_argument("--density", dest="densities", type=int, nargs="+", default=[300, 1000, 2000])
    main(**vars(parser.parse_args()))
