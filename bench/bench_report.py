"""How long the report of a cohort takes, how much memory, and how large the page is.

    python bench/bench_report.py [--slides 50 300] [--side 320] [--keep FOLDER]

All slides are labelled test slides, copies of a few drawn fields with the mistakes of a plausible prediction,
in groups of four. The report is built by a process of its own, which tells its processor time and its largest
resident memory; `wall` and `cpu` have the start of Python in them. `--keep` leaves the run where one can look
at it. Writes bench/results/report.json.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LIBRARY, SCRIPTS = ROOT / "workflow/lib", ROOT / "workflow/scripts"
sys.path[:0] = [str(LIBRARY), str(SCRIPTS), str(ROOT / "tests"), str(ROOT / "bench")]

import numpy as np  # noqa: E402
from processor import processor  # noqa: E402
from scipy import ndimage as ndi  # noqa: E402
from synthetic.scene import Scene  # noqa: E402
from synthetic.write_files import write_field  # noqa: E402

from score_slides import score_once  # noqa: E402
from slideunet.slides.convert import ConversionPlan, Slide, convert  # noqa: E402
from slideunet.stores import omezarr  # noqa: E402
from slideunet.stores.manifests import read_manifest, store_path, write_manifest  # noqa: E402
from slideunet.stores.verified import block_digests, open_label_store  # noqa: E402

FIELDS, GROUP = 6, 4
GOALS = {"seconds": 60, "megabytes_of_memory": 1500, "megabytes_of_50_slides": 15}
KINDS = ("slides", "predictions")

_BUILD = """
import json, resource, sys
from pathlib import Path
import build_report

results = Path(sys.argv[1])
build_report.main(
    split_table=results / "split.tsv", sheet=results / "sheet.tsv", slides_folder=results / "slides",
    predictions_folder=results / "predictions", metrics_folder=results / "metrics",
    model=results / "model.json", history=None, quarantine_folder=results / "quarantine", config={},
    title=None, by=["site"], page=results / "report/report.html", table=results / "report/metrics.csv",
    summary=results / "report/summary.json", files=results / "report/files", threads=2,
)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def predicted(truth: np.ndarray, seed: int) -> np.ndarray:
    """Return cells as a network might find them: some missed, split, merged or false, all a bit too small."""
    random = np.random.default_rng(seed)
    cells = np.where(ndi.binary_erosion(truth > 0), truth, 0)
    fate = random.random(int(truth.max()) + 1)
    cells[fate[cells] < 0.06] = 0
    middles = np.array([0] + [(s[1].start + s[1].stop) // 2 if s else 0 for s in ndi.find_objects(truth)])
    right = (np.arange(truth.shape[1]) > middles[cells]) & (fate[cells] > 0.95)
    cells = np.where(right, cells + truth.max(), cells)
    for y, x in random.integers(5, min(truth.shape) - 15, (4, 2)):
        cells[y : y + 10, x : x + 10] = 3 * truth.max() + y
    return np.unique(cells, return_inverse=True)[1].reshape(truth.shape).astype(np.uint32)


def make_field(folder: Path, number: int, side: int) -> None:
    """Convert, predict and score one drawn field, as slide `field{number}`."""
    name = f"field{number}"
    image, labels = folder / f"{name}.tif", folder / f"{name}_labels.tif"
    write_field(Scene("fluorescence", number + 1, number + 1, side, side - 30, 1.0, 0.5), image, labels)
    slides, predictions, scores = (folder / part / f"{name}.json" for part in (*KINDS, "metrics"))
    convert(Slide(name, image, labels, 0.5), ConversionPlan(), slides)
    cells = predicted(np.asarray(open_label_store(slides, "truth")[:]), number)
    store = store_path(predictions)
    facts: dict[str, Any] = {"mpp": 0.5, "version": "0.5"}
    probability = np.where(cells > 0, 240, 5).astype(np.uint8)[None]
    omezarr.create_image(store, probability.shape, np.dtype(np.uint8), channels=["foreground"], **facts)
    whole = slice(0, probability.shape[1]), slice(0, probability.shape[2])
    omezarr.write_block(omezarr.open_levels(store, "r+"), whole, probability)
    omezarr.finish_levels(store)
    omezarr.write_labels(store / "labels/cells", cells, mpp=0.5)
    omezarr.list_labels(store / "labels")
    found = {"n_cells": int(cells.max()), "threshold": 0.5, "method": "distance", "fingerprint": "c"}
    facts = {"shape": list(probability.shape), "scale": 1.0, "mpp": 0.5, "fingerprint": name}
    facts |= {"blocks": block_digests(probability), "cells": found | {"blocks": block_digests(cells)}}
    write_manifest(predictions, facts)
    score_once(name, slides, predictions, scores, "auto")


def make_run(results: Path, slides: int, side: int) -> None:
    """Write what a report reads: `slides` copies of the fields, each with its manifests and scores."""
    drawn = results.parent / "drawn"
    for number in range(FIELDS):
        make_field(drawn, number, side)
    rows = ["slide\tgroup\tstratum\tsplit\tn_objects\tcontent\tsite"]
    for number in range(slides):
        name, source = f"slide{number:04d}", f"field{number % FIELDS}"
        for part in (*KINDS, "metrics"):
            write_manifest(
                results / part / f"{name}.json",
                read_manifest(drawn / part / f"{source}.json") | {"slide": name},
            )
        for part in KINDS:
            shutil.copytree(drawn / part / f"{source}.zarr", results / part / f"{name}.zarr")
        rows.append(f"{name}\tdonor{number // GROUP}\t\ttest\t\t{number}\t{['north', 'south'][number % 2]}")
    for table in ("split.tsv", "sheet.tsv"):
        (results / table).write_text("\n".join(rows) + "\n", encoding="utf-8")
    write_manifest(results / "model.json", {"threshold": 0.5, "sha256": "0" * 64})


def measure(results: Path) -> dict[str, float]:
    """Build the report in a process of its own: seconds, megabytes of memory and of what it wrote."""
    environment = os.environ | {"PYTHONPATH": f"{LIBRARY}{os.pathsep}{SCRIPTS}"}
    before, start = _cpu_of_children(), time.perf_counter()
    command = [sys.executable, "-c", _BUILD, str(results)]
    told = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    report = results / "report"
    beside = sum(
        path.stat().st_size for path in report.rglob("*") if path.is_file() and path.suffix != ".html"
    )
    return {
        "wall": round(time.perf_counter() - start, 2),
        "cpu": round(_cpu_of_children() - before, 2),
        "memory_mb": round(int(told) / 1000),
        "page_mb": round((report / "report.html").stat().st_size / 1e6, 2),
        "beside_mb": round(beside / 1e6, 2),
    }


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Measure, print and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--slides", type=int, nargs="+", default=[50, 300])
    parser.add_argument("--side", type=int, default=320, help="of the slides, in pixels")
    parser.add_argument("--keep", type=Path, help="folder that is to have the runs")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        rows = _measure_all(chosen.keep or Path(temporary), chosen.slides, chosen.side)
    path = ROOT / "bench/results/report.json"
    path.parent.mkdir(exist_ok=True)
    content = {"processor": processor(), "side": chosen.side, "goals": GOALS, "slides": rows}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _measure_all(folder: Path, slides: Sequence[int], side: int) -> dict[int, dict[str, float]]:
    rows = {}
    for number in slides:
        results = folder / f"run{number}" / "results"
        if not results.exists():
            make_run(results, number, side)
        rows[number] = measure(results)
        print(number, "slides:", ", ".join(f"{name} {value}" for name, value in rows[number].items()))
    return rows


if __name__ == "__main__":
    main()
