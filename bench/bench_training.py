"""Training against its bare step on data in memory: ratios of one run.

    python bench/bench_training.py [--encoders own efficientnet_lite0] [--steps 24] [--turns 3]

Drawn nuclei, batches of 4 patches of 256 px, the recipe of the model that ships with all its augmentation.
"bare" is what a step cannot do without (forward pass, loss, backward pass, optimiser) on batches in memory;
"fit" is the training of the workflow, with so many processes that prepare patches beside it, without its
validation. Both in the precision that is the quicker one here. They take turns, and the fastest turn of each
counts. Writes bench/results/training.json.
"""

import argparse
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "workflow/lib"), str(ROOT / "bench")]

import tifffile  # noqa: E402
import torch  # noqa: E402
import yaml  # noqa: E402
from bench_cells import nuclei, pixels  # noqa: E402
from processor import processor  # noqa: E402

from slideunet.inputs.configuration.schema import check_configuration  # noqa: E402
from slideunet.model_json import Precision  # noqa: E402
from slideunet.network.architecture.unet import UNet, UNetSpec, channels_last  # noqa: E402
from slideunet.network.patches.dataset import LabelledSlide  # noqa: E402
from slideunet.network.training.batches import batches  # noqa: E402
from slideunet.network.training.loop import TrainingPlan, fit, training_patches  # noqa: E402
from slideunet.network.training.losses import CellsLoss, build_loss  # noqa: E402
from slideunet.network.training.step import quicker_precision, training_step  # noqa: E402
from slideunet.network.training.train import build_spec, labelled_slides  # noqa: E402
from slideunet.slides.convert import ConversionPlan, Slide, convert  # noqa: E402
from slideunet.stores.manifests import read_manifest  # noqa: E402

GOAL = 0.95
CORES, SLIDES, SIDE = 2, 6, 1024
RECIPE = ROOT / "resources/benchmarks/dsb2018/nuclei-fluorescence.yaml"
SCHEMA = ROOT / "workflow/schemas/config.schema.yaml"
CONFIG = check_configuration(yaml.safe_load(RECIPE.read_text()), yaml.safe_load(SCHEMA.read_text()))


def slides(folder: Path) -> list[LabelledSlide]:
    """Draw and convert slides with truth."""
    manifests = [folder / f"slides/S{number}.json" for number in range(SLIDES)]
    for number, manifest in enumerate(manifests):
        labels = nuclei(SIDE, 300, seed=number)
        image, truth = folder / f"image{number}.tif", folder / f"truth{number}.tif"
        tifffile.imwrite(image, 255 - pixels(labels)[0][0])
        tifffile.imwrite(truth, labels)
        convert(Slide(manifest.stem, image, truth, None), ConversionPlan(), manifest)
    return labelled_slides([read_manifest(path) for path in manifests], folder / "slides", CONFIG["data"])


def recipe(steps: int, precision: Precision) -> TrainingPlan:
    """Return the plan of two epochs of so many steps, the first to warm up."""
    known = {name: CONFIG["training"][name] for name in TrainingPlan.__annotations__ if name != "seed"}
    patches = steps * known["batch_size"]
    return TrainingPlan(**known | {"seed": 0, "precision": precision, "epochs": 2, "epoch_patches": patches})


def bare(spec: UNetSpec, train: Sequence[LabelledSlide], plan: TrainingPlan, folder: Path) -> float:
    """Return the seconds of a step on batches in memory."""
    dataset = training_patches(train, plan, spec.maps, folder / "packed")
    kept = list(itertools.islice(batches(dataset, plan.batch_size, range(1), 0), 6))
    network = channels_last(UNet(spec).train())
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)
    loss = CellsLoss(build_loss(plan.loss, plan.loss_weights), spec.maps, plan.border_weight)

    def run(steps: int) -> float:
        start = time.perf_counter()
        for image, target in itertools.islice(itertools.cycle(kept), steps):
            image = image.to(memory_format=torch.channels_last)
            training_step(network, optimiser, loss, image, target, plan.precision)
        return (time.perf_counter() - start) / steps

    run(len(kept))  # Kernels and memory are prepared in the first steps.
    return run(-(-len(dataset) // plan.batch_size))


def whole(spec: UNetSpec, train: Sequence[LabelledSlide], plan: TrainingPlan, workers: int) -> float:
    """Return the seconds of a step of the workflow's training, in its second epoch."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as name:
        progress = fit(UNet(spec), train[1:], train[:1], plan, Path(name) / "progress.pt", workers)
    return plan.batch_size * plan.patch_size**2 / progress.history[1]["pixels_per_second"]


def measure(encoder: str, steps: int, turns: int, workers: Sequence[int]) -> dict[str, list[float]]:
    """Return the seconds of a step, of every turn, of what is compared."""
    model = CONFIG["model"] | {"encoder": None if encoder == "own" else encoder}
    spec, known = build_spec(model, channels=1), CONFIG["training"]
    plan = recipe(steps, quicker_precision(spec, known["patch_size"], known["batch_size"]))
    seconds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        train = slides(Path(name))
        for _ in range(turns):
            seconds.setdefault("bare", []).append(bare(spec, train, plan, Path(name)))
            for count in workers:
                found = seconds.setdefault(f"fit, {count} processes beside it", [])
                found.append(whole(spec, train, plan, count))
    return seconds


def main(encoders: Sequence[str], steps: int, turns: int, workers: Sequence[int]) -> None:
    """Measure every encoder; print and keep the numbers."""
    torch.set_num_threads(CORES)
    place = processor()
    results: dict[str, object] = {"processor": place}
    for encoder in encoders:
        seconds = measure(encoder, steps, turns, workers)
        best = {name: min(times) for name, times in seconds.items()}
        for name, value in best.items():
            speed = best["bare"] / value
            row = f"{encoder:18} {name:30} {value:6.3f} s a step   speed {speed:5.3f}"
            print(f"{row}   {place}", flush=True)
        results[encoder] = seconds
    print(f"goal: {GOAL} of the bare speed")
    folder = ROOT / "bench/results"
    folder.mkdir(exist_ok=True)
    (folder / "training.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--encoders", nargs="+", default=["own", "efficientnet_lite0"])
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    main(**vars(parser.parse_args()))
