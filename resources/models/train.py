"""Train a shipped model on a packed file of images, within a time budget, on a GPU or on CPUs.

    python resources/models/train.py --data packed.zip --recipe RECIPE.yaml --minutes 8 --out DIR

It writes model.safetensors in half precision, model.json and the checkpoint progress.pt, from which --resume
continues; the checkpoint is rewritten every minute and at SIGTERM. The time counts from the start of this
program. Threshold and constants of the separation are tuned afterwards by tune.py. Pack the file by pack.py.
"""

import argparse
import functools
import json
import logging
import math
import os
import signal
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path

BEGUN = time.perf_counter()
ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "workflow/lib")]

import torch  # noqa: E402

from slideunet.errors import InputError, as_command  # noqa: E402
from slideunet.logs import with_lines  # noqa: E402
from slideunet.model_json import Precision, learned_contents, named_model  # noqa: E402
from slideunet.network.architecture.unet import UNet  # noqa: E402
from slideunet.network.in_memory.archive import PackedImage, read_archive, read_index  # noqa: E402
from slideunet.network.in_memory.destained import destained  # noqa: E402
from slideunet.network.in_memory.folder import diameter_facts, write_model  # noqa: E402
from slideunet.network.in_memory.learner import initialised  # noqa: E402
from slideunet.network.in_memory.pool import build_pool, drawn_negatives  # noqa: E402
from slideunet.network.in_memory.prepared import Prepared, prepare  # noqa: E402
from slideunet.network.in_memory.recipe import Recipe, read_recipe  # noqa: E402
from slideunet.network.in_memory.timed import Budget, Training  # noqa: E402
from slideunet.network.in_memory.validation import Validator, some_of_each, start_helpers  # noqa: E402
from slideunet.network.training.step import quicker_precision  # noqa: E402
from slideunet.stores.files import write_atomically  # noqa: E402

MODELS = ROOT / "resources/models"
NEGATIVES = 128  # Images for negative patches.
Splits = dict[str, list[PackedImage]]


def packed_images(path: Path, recipe: Recipe) -> list[PackedImage]:
    """Return all images of a packed file that suit a recipe."""
    images = read_archive(path, recipe.kind)
    if not recipe.destained:
        return images
    if not any(row["kind"] == "brightfield" for row in read_index(path)):
        logging.warning(f"{path} has no H&E image to be shown as fluorescence, as `destained` asks for")
        return images
    return images + destained(read_archive(path, "brightfield"))


def splits_of(images: Sequence[PackedImage], left_out: str | None) -> Splits:
    """Return the images to train on and to validate on.

    With a left-out source, all its images and no others are validation images.

    Raises
    ------
    InputError
        When there is no such source, or no image is left to train or to validate on.
    """
    sources = sorted({image.entry.source for image in images})
    if left_out is not None and left_out not in sources:
        raise InputError(f"--leave-out {left_out}: the packed file has {', '.join(sources)}.")
    train = [image for image in images if image.entry.split == "train" and image.entry.source != left_out]
    val = [
        image
        for image in images
        if image.entry.for_validation
        and (image.entry.split == "val" if left_out is None else image.entry.source == left_out)
    ]
    if not train or not val:
        raise InputError(
            f"{len(train)} images to train on and {len(val)} to validate on are left of {sources}. "
            "Pack more sources, or leave out another one."
        )
    return {"train": train, "val": val}


def check_unseen(recipe: Recipe, splits: Splits, left_out: str | None) -> None:
    """Raise InputError when the initial weights were trained on the source that is left out."""
    if left_out is None or recipe.init_from is None:
        return
    seen = set(learned_contents(named_model(Path(recipe.init_from), MODELS)))
    if seen & {image.entry.content for image in splits["val"]}:
        raise InputError(
            f"--leave-out {left_out}: init_from {recipe.init_from} was trained on that source. Use "
            "other weights, such as --set init_from=null --set encoder_weights=imagenet."
        )


def prepared(images: Sequence[PackedImage], recipe: Recipe, helpers: Executor | None) -> list[Prepared]:
    """Prepare images for training, in helper processes if there are any."""
    make = functools.partial(
        prepare,
        mode=recipe.normalisation,
        background=recipe.background,
        least=min(recipe.diameters),
        border=recipe.border_weight > 0,
    )
    done = map(make, images) if helpers is None else helpers.map(make, images, chunksize=4)
    return list(with_lines(done, "images prepared", len(images)))


def build_training(
    recipe: Recipe,
    network: UNet,
    ready: Sequence[Prepared],
    validator: Validator,
    budget: Budget,
    state: Path,
) -> Training:
    """Return a training with all images on the device of the network."""
    device = next(network.parameters()).device
    negatives = drawn_negatives(len(recipe.channels), NEGATIVES, recipe.seed) if recipe.negatives else []
    pool = build_pool([*ready, *negatives], device)
    precision: Precision = "bf16" if recipe.precision == "auto" else recipe.precision
    if recipe.precision == "auto" and device.type == "cpu":
        at_once = recipe.micro_batch_size or recipe.batch_size
        precision = quicker_precision(network.spec, recipe.patch_size, at_once)
    return Training(network, pool, recipe, validator, budget, state, precision)


def main(options: argparse.Namespace) -> int:
    """Train, and return the exit code: 143 after SIGTERM."""
    best = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(best if options.device == "auto" else options.device)
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    recipe = read_recipe(options.recipe, gpu=device.type == "cuda", changes=options.set)
    splits = splits_of(packed_images(options.data, recipe), options.leave_out)
    check_unseen(recipe, splits, options.leave_out)
    state_path = options.out / "progress.pt"
    if state_path.exists() and not options.resume:
        raise InputError(f"{state_path} exists already. Resume it by --resume, or name another --out.")
    seconds = math.inf if options.minutes is None else options.minutes * 60
    budget = Budget(seconds, options.steps, used=time.perf_counter() - BEGUN)
    helpers = start_helpers(len(os.sched_getaffinity(0)))
    ready = prepared(splits["train"], recipe, helpers)
    validator = Validator(some_of_each(splits["val"], recipe.validation_images), recipe, helpers)
    network = initialised(recipe, MODELS).to(device)
    training = build_training(recipe, network, ready, validator, budget, state_path)
    logging.info(
        f"{len(splits['train'])} images to train on, {len(splits['val'])} to validate on; "
        f"{sum(p.numel() for p in network.parameters()) / 1e6:.2f} million parameters on {device} in "
        f"{training.precision}; {budget.elapsed:.0f} s of preparation"
    )
    signals: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: signals.append(number))
    training.stop = lambda: bool(signals)
    if options.resume and state_path.exists():
        training.resume()
    state = training.run()
    if helpers is not None:
        helpers.shutdown()
    if signals:
        logging.info(
            f"Stopped by SIGTERM after step {state.step}; {state_path} is written, --resume continues"
        )
        return 143
    initial = named_model(Path(recipe.init_from), MODELS) if recipe.init_from else None
    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    more = {
        "minutes": options.minutes,
        "device": name,
        "threads": torch.get_num_threads(),
        "left_out": options.leave_out,
    }
    write_model(
        options.out,
        network.spec,
        state,
        recipe,
        splits,
        diameters=diameter_facts(ready),
        initial=initial,
        more=more,
    )
    write_atomically(options.out / "history.json", json.dumps(state.history, indent=1) + "\n")
    logging.info(f"{options.out} is written after {time.perf_counter() - BEGUN:.0f} s, {state.step} steps")
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    command = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command.add_argument("--data", type=Path, required=True, help="file written by pack.py")
    command.add_argument(
        "--recipe", type=Path, required=True, help="such as resources/models/fluorescence.yaml"
    )
    budget = command.add_mutually_exclusive_group(required=True)
    budget.add_argument("--minutes", type=float, help="total time, from the start of this program")
    budget.add_argument("--steps", type=int, help="steps instead, to compare trainings on a busy machine")
    command.add_argument("--out", type=Path, required=True, help="folder of the model")
    command.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    command.add_argument(
        "--resume", action="store_true", help="resume the training in --out, if there is one"
    )
    command.add_argument(
        "--leave-out", metavar="SOURCE", help="train on the other sources and validate on this one"
    )
    command.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="change the recipe"
    )
    return command


if __name__ == "__main__":
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stdout
    )
    with as_command():
        sys.exit(main(parser().parse_args()))
