"""How time and memory grow from one block to a gigapixel: conversion to measurement, in one process each.

    python bench/bench_scale.py [--sides 4096 12288 32768] [--density 300] [--precision bf16] [--preset light]

The slides are pyramidal TIFFs (8-bit, tiles of 512 px, deflate) of one drawn block that is repeated. Every
step runs in a process of its own, on two cores, and tells its largest resident memory. The clock starts when
the libraries are imported and ends with the step; compiling the network is part of it. Cells are labelled
and measured from drawn maps of so many cells per million pixels, since random weights see none.
Writes bench/results/scale.json.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "workflow/lib"), str(ROOT / "bench")]

import numpy as np  # noqa: E402
import tifffile  # noqa: E402
from bench_decoding import drawn_maps, store  # noqa: E402
from pool import open_pool  # noqa: E402
from processor import processor  # noqa: E402
from scipy import ndimage as ndi  # noqa: E402

BLOCK, TILE, CORES = 4096, 512, 2


def drawn_block() -> np.ndarray:
    """Return smooth noise with grain (4096, 4096) uint8: it compresses about as fluorescence does."""
    rng = np.random.default_rng(0)
    smooth = ndi.gaussian_filter(rng.normal(size=(BLOCK, BLOCK)).astype(np.float32), 6)
    return np.clip(90 + 1200 * smooth + rng.normal(0, 3, smooth.shape), 0, 255).astype(np.uint8)


def write_slide(path: Path, side: int) -> None:
    """Write a pyramidal TIFF of `side` x `side` px, level by level, tile by tile."""
    block = drawn_block()
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for level in range(3):
            small = np.ascontiguousarray(block[:: 2**level, :: 2**level])
            length = side >> level
            options: dict[str, Any] = {"subifds": 2} if level == 0 else {"subfiletype": 1}
            file.write(
                _tiles(small, length), shape=(length, length), dtype=np.uint8, tile=(TILE, TILE),
                compression="zlib", photometric="minisblack", **options,
            )  # fmt: skip


def _tiles(block: np.ndarray, length: int) -> Iterator[np.ndarray]:
    for y in range(0, length, TILE):
        for x in range(0, length, TILE):
            top, left = y % block.shape[0], x % block.shape[1]
            yield block[top : top + TILE, left : left + TILE]


def convert_slide(folder: Path, name: str) -> None:
    """Convert as the workflow does."""
    from slideunet.slides.convert import ConversionPlan, Slide, convert

    slide = Slide(name, folder / f"{name}.tif", None, None)
    convert(slide, ConversionPlan(), folder / f"slides/{name}.json", CORES)


def predict(folder: Path, name: str, precision: str) -> None:
    """Predict as a worker of the workflow does."""
    from slideunet.model_json import read_model_facts
    from slideunet.network.inference.engines import engine_of_machine
    from slideunet.network.inference.plan import PredictionPlan, used_facts
    from slideunet.network.inference.predict_slide import predict_slide

    model = folder / "model"
    engine, facts = engine_of_machine("auto"), used_facts(read_model_facts(model))
    plan = PredictionPlan(model, facts, engine, precision, tissue="none")  # type: ignore[arg-type]
    manifest = folder / f"predictions/{name}.json"
    predict_slide(folder / f"slides/{name}.json", manifest, plan, threads=CORES)


def label(manifest: Path) -> None:
    """Separate and number the cells as the workflow does."""
    from slideunet.cells.separation.decoding import Decoding
    from slideunet.cells.separation.label_slide import label_slide

    label_slide(manifest, "f" * 64, decoding=Decoding(0.5, "distance", min_probability=0.75), version="0.5")


def measure(image: Path, manifest: Path) -> None:
    """Measure and export the cells as the workflow does."""
    from slideunet.cells.export.export_slide import export_cells, export_fingerprint

    table, polygons = (manifest.with_suffix(kind) for kind in (".parquet", ".geojson.gz"))
    export_cells(image, manifest, table, polygons, export_fingerprint(image, manifest))


def save_network(folder: Path, preset: str, precision: str) -> None:
    """Save a network with random weights."""
    from slideunet.network.architecture.model_folder import save_model
    from slideunet.network.architecture.receptive_field import halo
    from slideunet.network.architecture.unet import PRESETS, UNet, UNetSpec

    network = UNet(UNetSpec(channels=1, **PRESETS[preset]))
    facts = {"normalisation": "percentile", "background": "dark", "threshold": 0.5, "precision": precision}
    architecture = {"architecture": network.spec.as_dict(), "halo": halo(network.spec)}
    save_model(folder, network.state_dict(), facts | architecture)


def measured(work: Any, *arguments: Any) -> dict[str, float]:  # noqa: ANN401
    """Run in a new process; return seconds, those of the processor and the most memory in MB."""
    with open_pool(1) as pool:
        return pool.submit(_measure, work, arguments).result()


def _measure(work: Any, arguments: tuple[Any, ...]) -> dict[str, float]:  # noqa: ANN401

    start, cpu = time.perf_counter(), time.process_time()
    work(*arguments)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    # Unlike getrusage, this does not count what the parent held when it forked.
    status = Path("/proc/self/status").read_text()
    peak = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    return {"seconds": seconds, "cpu_seconds": cpu, "megabytes": int(peak) / 1024}


def main(sides: list[int], density: int, precision: str, preset: str) -> None:
    """Measure slides of every size; print and keep the numbers."""
    place = processor()
    found: dict[str, Any] = {"preset": preset, "precision": precision, "density": density, "processor": place}
    maps = drawn_maps(density, everywhere=False)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_network(folder / "model", preset, precision)
        for side in sides:
            slide = str(side)
            write_slide(folder / f"{slide}.tif", side)
            found[slide] = {
                "convert": measured(convert_slide, folder, slide),
                "predict": measured(predict, folder, slide, precision),
            }
            cells = store(folder / "cells" / slide, maps, side // BLOCK)
            found[slide] |= {
                "label": measured(label, cells),
                "measure": measured(measure, folder / f"slides/{slide}.json", cells),
            }
            for step, numbers in found[slide].items():
                speed = side * side / numbers["seconds"] / 1e6
                row = f"{side} px, {step}: {speed:.2f} Mpx/s, {numbers['megabytes']:.0f} MB"
                print(f"{row}   {place}", flush=True)
    results = ROOT / "bench/results"
    results.mkdir(exist_ok=True)
    (results / "scale.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sides", type=int, nargs="+", default=[4096, 12288, 32768])
    parser.add_argument("--density", type=int, default=300)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="bf16")
    parser.add_argument("--preset", default="light")
    main(**vars(parser.parse_args()))
