"""Prediction on a GPU against the bare forward passes on the device: ratios of one run.

    python bench/bench_gpu.py [--side 16384] [--models light standard shipped] [--precisions fp32 bf16]
                              [--device cuda]

"bare" runs the network over as many tiles of the same size, context included, that lie on the device
already: no reading, uploading, downloading or writing. "memory" predicts an image in memory into an array,
"store" goes from the store of a slide to the verified store of its prediction, where zarr is installed. Goal:
the whole takes at most 1 / 0.8 of the time of the bare passes. The training's benchmark is run as well, if it
is there.
`--device cpu --side 1024 --models light` rehearses. Writes bench/results/gpu.json.
"""

import argparse
import importlib.metadata
import importlib.util
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "workflow/lib"), str(ROOT / "bench")]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from processor import processor  # noqa: E402

from slideunet.geometry.blocks import BlockGrid, digest  # noqa: E402
from slideunet.model_json import Precision, read_model_facts  # noqa: E402
from slideunet.network.architecture.model_folder import load_model, save_model  # noqa: E402
from slideunet.network.architecture.receptive_field import halo  # noqa: E402
from slideunet.network.architecture.unet import PRESETS, UNet, UNetSpec  # noqa: E402
from slideunet.network.inference.cost import best_tile  # noqa: E402
from slideunet.network.inference.device import exact_kernels  # noqa: E402
from slideunet.network.inference.precision import reduced_precision  # noqa: E402
from slideunet.network.inference.predict_region import predict_core  # noqa: E402
from slideunet.network.inference.torch_engine import TorchEngine  # noqa: E402
from slideunet.slides.normalisation import normalisation  # noqa: E402

GOAL, AT_ONCE = 0.8, 8
SHIPPED = ROOT / "resources/models/nuclei-fluorescence"
STATISTICS = [{"low": 0.0, "median": 60.0, "high": 255.0, "min": 0.0, "max": 255.0}]


def draw(side: int) -> np.ndarray:
    """Return an image (1, side, side) uint8 that compresses as microscopy does."""
    rng = np.random.default_rng(0)
    coarse = rng.random((128, 128), np.float32)
    square = np.kron(coarse, np.ones((8, 8), np.float32)) * 200 + rng.normal(20, 4, (1024, 1024))
    times = -(-side // 1024)
    return np.tile(square.clip(0, 255).astype(np.uint8), (times, times))[None, :side, :side].copy()


def model_folder(name: str, folder: Path) -> Path:
    """Return the folder of a model: the shipped one, or a preset with random weights."""
    if name == "shipped":
        return SHIPPED
    torch.manual_seed(0)
    network = UNet(UNetSpec(channels=1, **PRESETS[name])).eval()
    facts = {"architecture": network.spec.as_dict(), "halo": halo(network.spec), "threshold": 0.5}
    facts |= {"normalisation": "unit", "background": "dark", "precision": "fp32"}
    save_model(folder / name, network.state_dict(), facts)
    return folder / name


def timed(device: torch.device, work: Callable[[], None], repeats: int) -> float:
    """Return the least seconds of some repeats, after one that prepares kernels and memory."""
    best = float("inf")
    for repeat in range(repeats + 1):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        if repeat > 0:
            best = min(best, time.perf_counter() - start)
    return best


def bare(engine: TorchEngine, side: int) -> float:
    """Return the seconds of the passes alone that cover a slide of this side, by those of up to 64 tiles."""
    tile = min(best_tile(engine.spec, engine.halo, engine.precision, engine.memory), side)
    read, tiles = tile + 2 * engine.halo, (side / tile) ** 2
    count = max(1, min(64, round(tiles)))
    shape = (1, engine.spec.channels, read, read)
    batch = torch.rand(shape, device=engine.device).contiguous(memory_format=torch.channels_last)

    @torch.inference_mode()
    def passes() -> None:
        with exact_kernels(engine.device), reduced_precision(engine.device, engine.precision):
            for _ in range(count):
                engine._network(batch, engine.halo)

    return timed(engine.device, passes, 2) * tiles / count


def in_memory(engine: TorchEngine, pixels: np.ndarray) -> float:
    """Return the seconds from an image in memory to the maps in memory, block by block in threads."""
    found = np.zeros((len(engine.spec.maps), *pixels.shape[1:]), np.uint8)
    constants = normalisation(STATISTICS, "unit", "dark")

    def predict(index: int) -> None:
        rows, columns = BlockGrid(pixels.shape)[index]
        core = ((rows.start, rows.stop), (columns.start, columns.stop))
        found[:, rows, columns] = predict_core(engine, pixels, constants, core)

    def whole() -> None:
        with ThreadPoolExecutor(AT_ONCE if engine.device.type == "cuda" else 1) as pool:
            list(pool.map(predict, range(len(BlockGrid(pixels.shape)))))

    return timed(engine.device, whole, 1)


def write_slide(pixels: np.ndarray, manifest: Path) -> None:
    """Write an image as the store of a slide."""
    from slideunet.stores import omezarr
    from slideunet.stores.resumable import building

    def create(path: Path) -> None:
        options: dict[str, Any] = {"channels": ["grey"], "mpp": 0.5, "version": "0.5"}
        omezarr.create_image(path, pixels.shape, pixels.dtype, **options)

    with building(manifest, "0" * 64, create) as store, ThreadPoolExecutor(AT_ONCE) as pool:
        levels = omezarr.open_levels(store.path, "r+")

        def write(index: int) -> str:
            block = np.ascontiguousarray(pixels[(..., *BlockGrid(pixels.shape)[index])])
            omezarr.write_block(levels, BlockGrid(pixels.shape)[index], block)
            return digest(block)

        for index, found in enumerate(pool.map(write, range(len(BlockGrid(pixels.shape))))):
            store.record(index, {"digest": found})
        facts = {"slide": "S", "statistics": STATISTICS, "mpp": 0.5, "scale": 1.0, "fingerprint": "S"}
        store.finish(facts | {"shape": list(pixels.shape)})


def from_store_to_store(model: Path, precision: Precision, slide: Path, manifest: Path, device: str) -> float:
    """Return the seconds of the whole step as a job of one GPU does it."""
    from slideunet.network.inference.plan import PredictionPlan, used_facts
    from slideunet.network.inference.predict_slide import predict_slide
    from slideunet.stores.manifests import discard_store

    plan = PredictionPlan(model, used_facts(read_model_facts(model)), "torch", precision, tissue="none")

    def step() -> None:
        discard_store(manifest)
        predict_slide(slide, manifest, plan, at_once=AT_ONCE if device == "cuda" else 1)

    return timed(torch.device(device), step, 1)


def measure(name: str, precision: Precision, pixels: np.ndarray, folder: Path, device: str) -> dict[str, Any]:
    """Time one model in one precision."""
    model = model_folder(name, folder)
    network, facts = load_model(model)
    engine = TorchEngine(network.with_heads(()), precision, torch.device(device), facts["halo"])
    seconds = {"bare": bare(engine, pixels.shape[1]), "memory": in_memory(engine, pixels)}
    if (folder / "slides/S.json").is_file():
        manifest = folder / f"predictions/{name}-{precision}.json"
        seconds["store"] = from_store_to_store(model, precision, folder / "slides/S.json", manifest, device)
    ratios = {kind: seconds["bare"] / value for kind, value in seconds.items() if kind != "bare"}
    speeds = {kind: pixels[0].size / value / 1e6 for kind, value in seconds.items()}
    told = ", ".join(f"{kind} {speed:.1f} Mpx/s" for kind, speed in speeds.items())
    goal = ", ".join(f"{kind} {ratio:.2f}" for kind, ratio in ratios.items())
    place = machine(device)["device"]
    print(f"{name:9} {precision}: {told}; of the bare passes (goal {GOAL}): {goal}   {place}", flush=True)
    return {"model": name, "precision": precision, "seconds": seconds, "ratios": ratios, "Mpx/s": speeds}


def machine(device: str) -> dict[str, str]:
    """Return what was measured on."""
    place = processor()
    card = f"{torch.cuda.get_device_name()}, {place}" if device == "cuda" else place
    return {"device": card, "torch": importlib.metadata.version("torch"), "python": sys.version.split()[0]}


def main(side: int, models: list[str], precisions: list[Precision], device: str) -> None:
    """Time all, print speeds and ratios, and write them."""
    pixels, results = draw(side), ROOT / "bench/results"
    results.mkdir(exist_ok=True)
    found: dict[str, Any] = {"machine": machine(device), "side": side, "prediction": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if importlib.util.find_spec("zarr"):
            write_slide(pixels, folder / "slides/S.json")
        else:
            print("zarr is not installed: nothing is measured from store to store")
        for model, precision in itertools.product(models, precisions):
            found["prediction"].append(measure(model, precision, pixels, folder, device))
            # What is measured is kept, should the machine be taken away.
            (results / "gpu.json").write_text(json.dumps(found, indent=1) + "\n")
    training = ROOT / "bench/bench_gpu_training.py"
    if training.is_file():
        subprocess.run([sys.executable, training, "--device", device], check=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--side", type=int, default=16384, help="of the image, in pixels")
    parser.add_argument("--models", nargs="+", default=["light", "standard", "shipped"])
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"], choices=["fp32", "bf16"])
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    asked = parser.parse_args()
    main(asked.side, asked.models, asked.precisions, asked.device)
