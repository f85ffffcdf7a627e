"""Exact prediction against MONAI's sliding window and against the network alone: ratios of one run.

    python bench/bench_prediction.py [--side 8192] [--precision bf16] [--preset light]

All variants compute the same image with the same weights on the same two cores, and are repeated in turn.
"step" is the whole step of the workflow, from the store of a slide to that of its prediction, by whom
the workflow lets do it: one process with two threads for small slides, two workers for others. The engine is
loaded. "step, new process" is a job: Python starts, imports, compiles the network and does the step.
MONAI's network has its channels last; "folded" has its batch normalisation folded as ours has, "default" is
float32 as it comes.
Writes bench/results/prediction.json.
"""

import argparse
import contextlib
import itertools
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "workflow/lib"), str(ROOT / "bench")]

import numpy as np  # noqa: E402
import tifffile  # noqa: E402
import torch  # noqa: E402
from monai.inferers import sliding_window_inference  # noqa: E402
from pool import open_pool  # noqa: E402
from processor import processor  # noqa: E402

from slideunet.clusters import Workers  # noqa: E402
from slideunet.geometry.tiles import Tile  # noqa: E402
from slideunet.model_json import Precision, read_model_facts  # noqa: E402
from slideunet.network.architecture.folded import for_inference  # noqa: E402
from slideunet.network.architecture.model_folder import load_model, save_model  # noqa: E402
from slideunet.network.architecture.receptive_field import halo  # noqa: E402
from slideunet.network.architecture.unet import PRESETS, UNet, UNetSpec, channels_last  # noqa: E402
from slideunet.network.inference.engines import build_engine, engine_of_machine  # noqa: E402
from slideunet.network.inference.plan import PredictionPlan, used_facts  # noqa: E402
from slideunet.network.inference.precision import reduced_precision  # noqa: E402
from slideunet.network.inference.predict_region import predict_core  # noqa: E402
from slideunet.network.inference.predict_slide import predict_slide  # noqa: E402
from slideunet.slides.convert import ConversionPlan, Slide, convert  # noqa: E402
from slideunet.slides.normalisation import Normalisation  # noqa: E402
from slideunet.stores.manifests import discard_store  # noqa: E402

CORES, BLOCK, BARE = 2, 4096, 2048
CONSTANTS = Normalisation((0.0,), (255.0,))
MEMORY = 8000
DASK = {
    "cluster": "local", "workers": "auto", "threads_per_worker": 1, "slurm": {}, "timeout_minutes": 10,
}  # fmt: skip
_JOB = """
import json, sys
from pathlib import Path
import predict_slides

folder = Path(sys.argv[1])
predict_slides.main(
    slides=["S1"], slides_folder=folder / "slides", model=folder, predictions_folder=folder / "new",
    manifest=folder / "new.json", method="auto", ome_zarr="0.5", **json.loads(sys.argv[2]),
)
"""


@dataclass(frozen=True)
class Job:
    """What every variant works on."""

    folder: Path
    side: int
    precision: Precision

    def pixels(self) -> np.ndarray:
        """Return the image (1, y, x) uint8, read when it is needed."""
        return np.load(self.folder / "image.npy", mmap_mode="r")

    def result(self) -> np.ndarray:
        """Return the array (y, x) uint8 that is written to."""
        return np.load(self.folder / "result.npy", mmap_mode="r+")


def prepare(folder: Path, side: int, precision: Precision, preset: str) -> Job:
    """Write a network with random weights and a random image."""
    torch.manual_seed(0)
    network = UNet(UNetSpec(channels=1, **PRESETS[preset])).eval()
    facts = {
        "normalisation": "unit",
        "background": "dark",
        "halo": halo(network.spec),
        "threshold": 0.5,
        "precision": precision,
    }
    save_model(folder, network.state_dict(), facts | {"architecture": network.spec.as_dict()})
    np.save(folder / "image.npy", np.random.default_rng(0).integers(0, 255, (1, side, side), dtype=np.uint8))
    np.save(folder / "result.npy", np.zeros((side, side), np.uint8))
    tifffile.imwrite(folder / "image.tif", np.load(folder / "image.npy")[0], tile=(512, 512))
    slide = Slide("S1", folder / "image.tif", None, None)
    convert(slide, ConversionPlan(), folder / "slides/S1.json", CORES)
    return Job(folder, side, precision)


def step(job: Job, workers: Workers) -> None:
    """Predict as the workflow does: read, verify, compute, write all levels, check and finish the store."""
    client = workers.client_for((1, job.side, job.side), threaded=engine_of_machine("auto") == "openvino")
    facts = used_facts(read_model_facts(job.folder))
    plan = PredictionPlan(job.folder, facts, engine_of_machine("auto"), job.precision, tissue="none")
    manifest = job.folder / "predictions/S1.json"
    discard_store(manifest)
    threads = CORES if client is None else 1
    predict_slide(job.folder / "slides/S1.json", manifest, plan, client=client, threads=threads)


def step_of_a_job(job: Job) -> None:
    """Predict in a new process, as Snakemake lets a job do."""
    discard_store(job.folder / "new/S1.json")
    section = {"engine": "auto", "precision": job.precision, "tile": "auto", "tissue": "none", "parts": 1}
    options = {"prediction": section, "dask": DASK, "threads": CORES, "memory_mb": MEMORY}
    path = os.pathsep.join(str(ROOT / name) for name in ("workflow/lib", "workflow/scripts"))
    command = [sys.executable, "-c", _JOB, str(job.folder), json.dumps(options)]
    subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, check=True)


def squares(side: int, size: int) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Cut the image into squares of at most `size`."""
    spans = [(start, min(start + size, side)) for start in range(0, side, size)]
    return list(itertools.product(spans, spans))


@dataclass(frozen=True)
class Processes:
    """Processes that keep their engine, as the workers of the workflow do."""

    job: Job
    pool: ProcessPoolExecutor

    def ours(self) -> None:
        """Predict block by block, context and writing included."""
        size = min(BLOCK, -(-self.job.side // CORES))
        list(self.pool.map(_predict, squares(self.job.side, size)))

    def bare(self) -> None:
        """Only run the network over the same pixels: no context, no writing."""
        list(self.pool.map(_forward, squares(self.job.side, BARE)))


@contextlib.contextmanager
def open_processes(job: Job, processes: int, threads: int) -> Iterator[Processes]:
    """Start processes and wait until all have their engine."""
    ready = multiprocessing.get_context("spawn").Barrier(processes)
    with open_pool(processes, _open, (job, threads, ready)) as pool:
        list(pool.map(_wait, range(processes)))  # None takes two, and the death of one ends the others.
        yield Processes(job, pool)


_worker: dict[str, Any] = {}


def _open(job: Job, threads: int, ready: Barrier) -> None:
    network, facts = load_model(job.folder)
    for name, context in (("engine", facts["halo"]), ("bare", 0)):
        _worker[name] = build_engine(network, engine_of_machine("auto"), job.precision, threads, context)
    _worker.update(pixels=job.pixels(), result=job.result())
    # The first tile of a shape prepares kernels and memory.
    _predict(((0, min(BARE, job.side)), (0, min(BARE, job.side))))
    _forward(((0, min(BARE, job.side)), (0, min(BARE, job.side))))
    _worker["ready"] = ready


def _wait(number: int) -> None:
    _worker["ready"].wait()


def _predict(core: tuple[tuple[int, int], tuple[int, int]]) -> None:
    rows, columns = (slice(*span) for span in core)
    _worker["result"][rows, columns] = predict_core(_worker["engine"], _worker["pixels"], CONSTANTS, core)[0]


def _forward(core: tuple[tuple[int, int], tuple[int, int]]) -> None:
    rows, columns = (slice(*span) for span in core)
    pixels = _worker["pixels"][:, rows, columns]
    whole = ((0, pixels.shape[1]), (0, pixels.shape[2]))
    next(_worker["bare"].predict([Tile(pixels, whole)], CONSTANTS))


def monai(network: torch.nn.Module, image: torch.Tensor, precision: str) -> None:
    """Predict as MONAI's users do: windows of 512, overlap 0.25, Gaussian weights."""
    with torch.inference_mode(), reduced_precision(torch.device("cpu"), precision):
        sliding_window_inference(image, 512, 1, network, overlap=0.25, mode="gaussian")


def variants(
    job: Job, workers: Workers, apart: Processes, together: Processes
) -> dict[str, Callable[[], None]]:
    """Return what is compared, by name."""
    plain = load_model(job.folder)[0].eval()
    laid_out = channels_last(load_model(job.folder)[0].eval())
    folded = for_inference(plain)
    image = torch.from_numpy(CONSTANTS.apply(job.pixels()))[None]
    return {
        "ours": apart.ours,
        "step": lambda: step(job, workers),
        "step, new process": lambda: step_of_a_job(job),
        "ours, one process": together.ours,
        "bare": apart.bare,
        "MONAI": lambda: monai(laid_out, image, job.precision),
        "MONAI, folded": lambda: monai(folded, image, job.precision),
        "MONAI, default": lambda: monai(plain, image, "fp32"),
    }


def timed(work: dict[str, Callable[[], None]], repeats: int) -> dict[str, list[float]]:
    """Return the seconds of every repeat; the variants take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(repeats):
        for name, run in work.items():
            start = time.perf_counter()
            run()
            seconds[name].append(round(time.perf_counter() - start, 3))
            print(f"  {name}: {seconds[name][-1]:.1f} s", flush=True)
    return seconds


def main(side: int, precision: Precision, preset: str, repeats: int) -> None:
    """Time all variants and print speeds and ratios."""
    torch.set_num_threads(CORES)
    with tempfile.TemporaryDirectory() as folder:
        job = prepare(Path(folder), side, precision, preset)
        with Workers(DASK, CORES, MEMORY) as workers:
            step(job, workers)  # The engine is loaded.
            with open_processes(job, CORES, 1) as apart, open_processes(job, 1, CORES) as together:
                seconds = timed(variants(job, workers, apart, together), repeats)
    best, place = {name: min(times) for name, times in seconds.items()}, processor()
    print(f"{side} x {side} px, {preset}, {precision}, {CORES} cores, engine {engine_of_machine('auto')}")
    for name, value in best.items():
        speed, share = side * side / value / 1e6, best["ours"] / value
        print(f"{name:20} {speed:6.2f} Mpx/s   ours takes {share:5.2f} of it   {place}")
    start = best["step, new process"] - best["step"]
    print(f"{'start of a step (goal 4)':40} {start:5.1f} s")
    ratios = {
        "step: faster than MONAI (goal 2.5)": best["MONAI"] / best["step"],
        "step: time of the bare network (goal 1.25)": best["step"] / best["bare"],
        "step: faster than MONAI by default (goal 6)": best["MONAI, default"] / best["step"],
        "faster than MONAI": best["MONAI"] / best["ours"],
        "time of the bare network": best["ours"] / best["bare"],
        "faster than MONAI, folded": best["MONAI, folded"] / best["ours"],
        "faster than MONAI by default": best["MONAI, default"] / best["ours"],
    }
    for name, ratio in ratios.items():
        print(f"{name:40} {ratio:5.2f}")
    results = ROOT / "bench/results"
    results.mkdir(exist_ok=True)
    found = {"side": side, "preset": preset, "precision": precision, "processor": place, "start": start}
    found |= {"seconds": seconds, "ratios": ratios}
    (results / "prediction.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--side", type=int, default=8192)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="bf16")
    parser.add_argument("--preset", choices=PRESETS, default="light")
    parser.add_argument("--repeats", type=int, default=2)
    main(**vars(parser.parse_args()))
