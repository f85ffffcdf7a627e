"""The bundled models in every precision against MONAI's sliding window, as one table of one run.

    python bench/bench_precisions.py [--side 4096] [--threads 2] [--models nuclei-fluorescence ...]

"step" is the whole step of the workflow in this process, from the store of a slide to that of its prediction,
foreground and distance; the network is compiled before. MONAI's rows compute the same network by
`sliding_window_inference` (windows of 512, overlap 0.25, Gaussian weights), which keeps the result in memory:
"default" in fp32 as it comes, "bf16" with channels last. All take turns, and the least of each counts; with
other load on the machine the processor's time says more than the clock's.
Writes bench/results/precisions.json.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "workflow/lib"), str(ROOT / "bench")]

import numpy as np  # noqa: E402
import tifffile  # noqa: E402
import torch  # noqa: E402
from bench_prediction import monai  # noqa: E402
from bench_scale import drawn_block  # noqa: E402
from processor import processor  # noqa: E402

from slideunet.model_json import Head, read_model_facts  # noqa: E402
from slideunet.network.architecture.model_folder import load_network  # noqa: E402
from slideunet.network.architecture.unet import channels_last  # noqa: E402
from slideunet.network.inference.engines import (  # noqa: E402
    candidates,
    engine_of_machine,
    keep_engine,
    open_engine,
)
from slideunet.network.inference.plan import PredictionPlan, used_facts  # noqa: E402
from slideunet.network.inference.predict_slide import predict_slide  # noqa: E402
from slideunet.slides.convert import ConversionPlan, Slide, convert  # noqa: E402
from slideunet.stores.manifests import discard_store  # noqa: E402

GOAL = 12.0
MODELS = ["nuclei-fluorescence", "nuclei-fluorescence-fast"]
HEADS: tuple[Head, ...] = ("distance",)


def prepare(folder: Path, side: int, threads: int) -> np.ndarray:
    """Write a slide of noise and convert it; return its pixels (y, x) of uint8."""
    pixels = np.resize(drawn_block(), (side, side))
    tifffile.imwrite(folder / "S1.tif", pixels, tile=(512, 512), compression="zlib")
    convert(Slide("S1", folder / "S1.tif", None, None), ConversionPlan(), folder / "slides/S1.json", threads)
    return pixels


@dataclass(frozen=True)
class Row:
    """What is timed, and what is done before each time."""

    run: Callable[[], None]
    prepare: Callable[[], None] = lambda: None


def steps(folder: Path, model: str, threads: int) -> dict[str, Row]:
    """Return the step of one model in every precision of this machine, by name."""
    path, manifest, engine = ROOT / "resources/models" / model, folder / "S1.json", engine_of_machine("auto")
    facts = read_model_facts(path)

    def compile_network(plan: PredictionPlan) -> None:
        discard_store(manifest)
        options: dict[str, Any] = {"heads": plan.heads, "threads": threads}
        ready = open_engine(path, plan.facts, engine=plan.engine, precision=plan.precision, **options)
        keep_engine(ready, plan.facts, **options)

    def step(plan: PredictionPlan) -> None:
        predict_slide(folder / "slides/S1.json", manifest, plan, threads=threads)

    plans = {
        precision: PredictionPlan(
            path, used_facts(facts, precision), engine, precision, tissue="none", heads=HEADS
        )
        for precision in candidates(engine, "int8" in facts)
    }
    return {
        f"{model}, {name}, step": Row(partial(step, plan), partial(compile_network, plan))
        for name, plan in plans.items()
    }


def references(model: str, pixels: np.ndarray) -> dict[str, Row]:
    """Return MONAI's ways to predict with one model, by name."""
    path = ROOT / "resources/models" / model
    plain, laid_out = (load_network(path, read_model_facts(path)).with_heads(HEADS).eval() for _ in range(2))
    image, laid_out = torch.from_numpy(pixels / np.float32(255))[None, None], channels_last(laid_out)
    return {
        f"{model}, MONAI default (fp32)": Row(lambda: monai(plain, image, "fp32")),
        f"{model}, MONAI bf16": Row(lambda: monai(laid_out, image, "bf16")),
    }


def timed(work: dict[str, Row], repeats: int) -> dict[str, tuple[float, float]]:
    """Return the least seconds of the clock and of the processor of each; they take turns."""
    best = dict.fromkeys(work, (np.inf, np.inf))
    for _ in range(repeats):
        for name, row in work.items():
            row.prepare()
            start, cpu = time.perf_counter(), time.process_time()
            row.run()
            wall, cpu = time.perf_counter() - start, time.process_time() - cpu
            best[name] = min(best[name][0], wall), min(best[name][1], cpu)
    return best


def main(side: int, threads: int, models: list[str], repeats: int) -> None:
    """Time all rows, print the table and keep the numbers."""
    torch.set_num_threads(threads)
    place, area, found = processor(), side * side / 1e6, {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pixels = prepare(folder, side, threads)
        work = references(models[0], pixels)
        for model in models:
            work |= steps(folder, model, threads)
        best = timed(work, repeats)
    wall, cpu = next(iter(best.values()))
    print(f"{side} x {side} px, {threads} threads; the ratios are to the first row (goal {GOAL:.0f})")
    for row, (seconds, processor_seconds) in best.items():
        numbers: dict[str, Any] = {
            "Mpx/s": round(area / seconds, 2),
            "ratio": round(wall / seconds, 2),
            "Mpx per processor second": round(area / processor_seconds, 2),
            "ratio of processor seconds": round(cpu / processor_seconds, 2),
        }
        found[row] = numbers
        print(f"{row:45}", ", ".join(f"{key} {value:6.2f}" for key, value in numbers.items()), f"  {place}")
    results = ROOT / "bench/results"
    results.mkdir(exist_ok=True)
    kept = {"side": side, "threads": threads, "processor": place, "rows": found}
    (results / "precisions.json").write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--side", type=int, default=4096)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--repeats", type=int, default=2)
    main(**vars(parser.parse_args()))
