"""The training within a time budget against its bare step on batches in memory: speeds in Mpx/s, their ratio.

    python bench/bench_gpu_training.py [--device cuda] [--kinds fluorescence] [--steps 40] [--set KEY=VALUE]

"bare" is what a step cannot do without (forward pass, loss, backward pass, optimiser) on batches that are on
the device; "whole" is the loop of resources/models/train.py, which draws and changes its patches, averages
weights and reports, without its validations and checkpoints; "patches" is the making of the patches alone.
Drawn nuclei, the recipes of the models that ship. They take turns and the fastest turn of each counts. On a
CPU the time of the processor is counted, which other work on the machine changes less. Writes
bench/results/gpu_training.json.
"""

import argparse
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "workflow/lib"), str(ROOT / "resources/models"), str(ROOT / "bench")]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from processor import processor  # noqa: E402
from scipy import ndimage as ndi  # noqa: E402
from train import build_training  # noqa: E402

from slideunet.network.in_memory.archive import Entry, PackedImage  # noqa: E402
from slideunet.network.in_memory.learner import initialised  # noqa: E402
from slideunet.network.in_memory.prepared import prepare  # noqa: E402
from slideunet.network.in_memory.recipe import Recipe, read_recipe  # noqa: E402
from slideunet.network.in_memory.stream import BatchMaker  # noqa: E402
from slideunet.network.in_memory.timed import Budget, Training  # noqa: E402
from slideunet.network.in_memory.validation import Validator  # noqa: E402
from slideunet.network.training.losses import CellsLoss, build_loss  # noqa: E402
from slideunet.network.training.step import training_step  # noqa: E402

GOAL = 0.9
IMAGES, SIDE, NUCLEI = 8, 768, 500


def drawn(channels: int, seed: int) -> PackedImage:
    """Draw discs of 8 to 24 px that may touch, and their labels."""
    rng = np.random.default_rng(seed)
    labels, image = np.zeros((SIDE, SIDE), np.uint16), np.zeros((SIDE, SIDE), np.float32)
    for number, (y, x) in enumerate(rng.integers(0, SIDE, (NUCLEI, 2)), start=1):
        radius = int(rng.integers(4, 12))
        box = tuple(slice(max(place - radius, 0), min(place + radius + 1, SIDE)) for place in (y, x))
        rows, columns = np.ogrid[box]
        disc = ((rows - y) ** 2 + (columns - x) ** 2 <= radius**2) & (labels[box] == 0)
        labels[box][disc] = number
        image[box][disc] = rng.uniform(80, 200)
    noisy = (ndi.gaussian_filter(image, 1) + rng.normal(20, 4, image.shape)).clip(0, 255).astype(np.uint8)
    pixels = np.repeat((255 - noisy if channels == 3 else noisy)[None], channels, axis=0)
    return PackedImage(
        Entry(f"D{seed}", f"source{seed % 2}", "", "", "", "train", True, "", ""), pixels, labels
    )


def training_on(recipe: Recipe, device: torch.device, folder: Path) -> Training:
    """Return a training on drawn images that never comes to a validation."""
    channels = len(recipe.channels)
    ready = [
        prepare(drawn(channels, seed), recipe.normalisation, recipe.background, min(recipe.diameters), True)
        for seed in range(IMAGES)
    ]
    network = initialised(recipe, ROOT / "resources/models").to(device)
    training = build_training(
        recipe, network, ready, Validator([], recipe), Budget(1e9), folder / "progress.pt"
    )
    training.state.history = [{"step": -1}]
    return training


def seconds(work: Callable[[int], object], steps: int, device: torch.device) -> float:
    """Return the seconds of a step of some work, after a few steps to warm up."""
    work(3)
    begun = _now(device)
    work(steps)
    return (_now(device) - begun) / steps


def _now(device: torch.device) -> float:
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def measure(
    kind: str, device: torch.device, steps: int, turns: int, changes: Sequence[str]
) -> dict[str, float]:
    """Return Mpx/s of the bare step, the whole loop and the making of patches, and whole / bare."""
    recipe = read_recipe(ROOT / f"resources/models/{kind}.yaml", gpu=device.type == "cuda", changes=changes)
    with tempfile.TemporaryDirectory() as name:
        training = training_on(recipe, device, Path(name))
        maps = training.network.spec.maps
        make = BatchMaker(training.pool, recipe, maps)
        kept = [make(step) for step in range(4)]
        loss = CellsLoss(build_loss(recipe.loss, recipe.loss_weights), maps, recipe.border_weight)

        def bare(count: int) -> None:
            training.network.train()
            for image, target in itertools.islice(itertools.cycle(kept), count):
                training_step(training.network, training.optimiser, loss, image, target, training.precision)

        def whole(count: int) -> None:
            left = iter(range(count))
            training.stop = lambda: next(left, None) is None
            training.checkpoint = lambda: None  # type: ignore[method-assign]
            training.run()

        def patches(count: int) -> None:
            for step in range(count):
                make(step)

        works = {"bare": bare, "whole": whole, "patches": patches}
        found: dict[str, list[float]] = {name: [] for name in works}
        for _ in range(turns):
            for name, work in works.items():
                found[name].append(seconds(work, steps, device))
    pixels = recipe.batch_size * recipe.patch_size**2 / 1e6
    speeds = {name: pixels / min(times) for name, times in found.items()}
    return speeds | {"ratio": speeds["whole"] / speeds["bare"], "batch": recipe.batch_size}


def main(kinds: Sequence[str], device: str, steps: int, turns: int, changes: Sequence[str]) -> None:
    """Measure the recipes; print and keep the numbers."""
    found = "cuda" if torch.cuda.is_available() else "cpu"
    place = torch.device(found if device == "auto" else device)
    cpu = processor()
    on_gpu = place.type == "cuda"
    name = f"{torch.cuda.get_device_name()}, {cpu}" if on_gpu else f"{cpu}, {torch.get_num_threads()} threads"
    if place.type == "cuda":
        torch.backends.cudnn.benchmark = True
    results: dict[str, object] = {"device": name, "torch": torch.__version__, "set": list(changes)}
    for kind in kinds:
        results[kind] = speeds = measure(kind, place, steps, turns, changes)
        told = ", ".join(f"{key} {value:.2f}" for key, value in speeds.items())
        print(f"{kind} on {name}, Mpx/s: {told} (goal {GOAL})", flush=True)
    folder = ROOT / "bench/results"
    folder.mkdir(exist_ok=True)
    (folder / "gpu_training.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kinds", nargs="+", default=["fluorescence", "brightfield"])
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--set", dest="changes", nargs="+", action="extend", default=[], metavar="KEY=VALUE")
    main(**vars(parser.parse_args()))
