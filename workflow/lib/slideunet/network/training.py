"""The training loop: one page, no callbacks, and after a kill it goes on from its last epoch to the same result."""

import copy
import io
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from tqdm import tqdm

from slideunet.errors import SlideunetError
from slideunet.images.stores import write_atomically
from slideunet.network.facts import Precision
from slideunet.network.inference import reduced_precision
from slideunet.network.losses import build_loss
from slideunet.network.patches import LabelledSlide, PatchDataset, epoch_batches
from slideunet.network.schedule import Schedule, learning_rate
from slideunet.network.unet import UNet, channels_last
from slideunet.network.validation import validate


@dataclass(frozen=True)
class TrainingPlan:
    """All choices of a training; the names are those of the configuration."""

    epochs: int
    batch_size: int
    patch_size: int
    learning_rate: float
    optimiser: Literal["adamw", "sgd"]
    weight_decay: float
    schedule: Schedule
    warmup: int
    loss: str
    loss_weights: Sequence[float] | None
    patience: int | None
    seed: int
    precision: Precision
    augmentation: Mapping[str, float]


@dataclass
class Progress:
    """Where a training stands after an epoch: all that is needed to go on, and the best so far."""

    epoch: int
    network: dict[str, torch.Tensor]
    optimiser: dict[str, Any]
    history: list[dict[str, float]]
    best: dict[str, torch.Tensor]
    best_epoch: int
    best_dice: float
    threshold: float

    def save(self, path: Path) -> None:
        """Write atomically."""
        buffer = io.BytesIO()
        torch.save(vars(self), buffer)
        write_atomically(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> "Progress":
        """Read what `save` wrote; only tensors and plain values, never code."""
        return cls(**torch.load(path, weights_only=True, map_location="cpu"))


def fit(
    network: UNet,
    train: Sequence[LabelledSlide],
    val: Sequence[LabelledSlide],
    plan: TrainingPlan,
    state: Path,
    workers: int = 0,
) -> Progress:
    """Train a network and return the progress with its best weights (by pooled validation Dice at 0.5).

    Parameters
    ----------
    network : UNet
        With its initial weights, on the device to train on; left with the last weights.
    train, val : sequences of LabelledSlide
    plan : TrainingPlan
    state : Path
        File that is rewritten after every epoch; when it exists the training goes on from it.
    workers : int
        Processes that prepare patches beside this one; the result does not depend on them.

    Raises
    ------
    SlideunetError
        When the loss is no longer finite; the state of the last whole epoch is kept.
    """
    channels_last(network)
    optimiser = _optimiser(network, plan)
    progress = _resume(state, network, optimiser) or _start(network, optimiser)
    dataset = PatchDataset(train, plan.patch_size, plan.augmentation, plan.seed)
    loss = build_loss(plan.loss, plan.loss_weights)
    steps = -(-len(dataset) // plan.batch_size)
    with tqdm(total=plan.epochs * steps, initial=progress.epoch * steps, unit="step", disable=None) as bar:
        while progress.epoch < plan.epochs and not _out_of_patience(progress, plan.patience):
            row = _train_epoch(network, optimiser, loss, dataset, plan, progress.epoch, workers, bar)
            _close_epoch(progress, network, optimiser, row, validate(network, val, loss, plan.precision))
            progress.save(state)
            _tell(progress, plan.epochs)
    return progress


def _train_epoch(
    network: UNet,
    optimiser: torch.optim.Optimizer,
    loss: torch.nn.Module,
    dataset: PatchDataset,
    plan: TrainingPlan,
    epoch: int,
    workers: int,
    bar: tqdm,
) -> dict[str, float]:
    """Train one epoch and return its row of the history."""
    start = time.perf_counter()
    device = next(network.parameters()).device
    torch.manual_seed(plan.seed * 1_000_003 + epoch)  # Dropout is the only draw from torch's own generator.
    network.train()
    batches = epoch_batches(dataset, plan.batch_size, epoch, workers)
    summed, tp, fp, fn, n_pixels = 0.0, 0, 0, 0, 0
    for step, (image, target) in enumerate(batches):
        rate = learning_rate(
            epoch * len(batches) + step, peak=plan.learning_rate, total=plan.epochs * len(batches),
            warmup=plan.warmup, schedule=plan.schedule,
        )
        for group in optimiser.param_groups:
            group["lr"] = rate
        image = image.to(device, memory_format=torch.channels_last)
        target = target.to(device)
        value, logits = training_step(network, optimiser, loss, image, target, plan.precision)
        if not torch.isfinite(value):
            raise SlideunetError(
                f"The loss of epoch {epoch + 1}, batch {step + 1} is {value.item()}. The learning rate {plan.learning_rate} "
                "is probably too high. Lower training.learning_rate; the last whole epoch is kept."
            )
        found, wanted = logits > 0, target > 0
        tp += int((found & wanted).sum())
        fp += int((found & ~wanted).sum())
        fn += int((~found & wanted).sum())
        summed += value.item() * len(image)
        n_pixels += target.numel()
        speed = n_pixels / (time.perf_counter() - start)
        bar.set_postfix(epoch=epoch + 1, loss=f"{value.item():.3f}", Dice=f"{_dice(tp, fp, fn):.3f}", Mpx_s=f"{speed / 1e6:.2f}")
        bar.update()
    seconds = time.perf_counter() - start
    return {
        "epoch": epoch + 1, "learning_rate": rate, "train_loss": summed / len(dataset), "train_dice": _dice(tp, fp, fn),
        "seconds": seconds, "pixels_per_second": n_pixels / seconds,
    }


def training_step(
    network: UNet,
    optimiser: torch.optim.Optimizer,
    loss: torch.nn.Module,
    image: torch.Tensor,
    target: torch.Tensor,
    precision: Precision,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Do one step of the optimiser and return the loss and the logits (n, 1, y, x), detached, float32."""
    optimiser.zero_grad(set_to_none=True)
    with reduced_precision(image.device, precision):
        logits = network(image)
    logits = logits.float()
    value = loss(logits, target)
    value.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), max_norm=5.0)
    optimiser.step()
    return value.detach(), logits.detach()


def _close_epoch(progress: Progress, network: UNet, optimiser: Any, row: dict[str, float], validation: Any) -> None:
    dice = validation.dice_at(0.5)
    progress.epoch += 1
    progress.history.append(row | {"val_loss": validation.loss, "val_dice": dice})
    progress.network = copy.deepcopy(network.state_dict())
    progress.optimiser = optimiser.state_dict()
    if dice > progress.best_dice or progress.epoch == 1:
        progress.best, progress.best_epoch = progress.network, progress.epoch
        progress.best_dice, progress.threshold = dice, validation.best_threshold()


def _optimiser(network: UNet, plan: TrainingPlan) -> torch.optim.Optimizer:
    if plan.optimiser == "sgd":
        return torch.optim.SGD(
            network.parameters(), lr=plan.learning_rate, momentum=0.9, nesterov=True, weight_decay=plan.weight_decay
        )
    return torch.optim.AdamW(network.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay)


def _start(network: UNet, optimiser: torch.optim.Optimizer) -> Progress:
    weights = copy.deepcopy(network.state_dict())
    return Progress(0, weights, optimiser.state_dict(), [], weights, 0, 0.0, 0.5)


def _resume(state: Path, network: UNet, optimiser: torch.optim.Optimizer) -> Progress | None:
    if not state.is_file():
        return None
    progress = Progress.load(state)
    network.load_state_dict(progress.network)
    optimiser.load_state_dict(progress.optimiser)
    logging.info(f"Going on after epoch {progress.epoch}, from {state}")
    return progress


def _out_of_patience(progress: Progress, patience: int | None) -> bool:
    return patience is not None and progress.epoch - progress.best_epoch >= patience


def _tell(progress: Progress, epochs: int) -> None:
    row = progress.history[-1]
    left = (epochs - progress.epoch) * row["seconds"] / 60
    logging.info(
        f"epoch {progress.epoch}/{epochs}: loss {row['train_loss']:.4f}, Dice {row['train_dice']:.4f}; validation loss "
        f"{row['val_loss']:.4f}, Dice {row['val_dice']:.4f} (best {progress.best_dice:.4f}, epoch {progress.best_epoch}); "
        f"{row['pixels_per_second'] / 1e6:.2f} Mpx/s, {left:.1f} min left"
    )


def _dice(tp: int, fp: int, fn: int) -> float:
    return 2 * tp / max(2 * tp + fp + fn, 1)
