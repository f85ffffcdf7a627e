"""Where a training stands: saved after every epoch, so that a kill costs one epoch and changes nothing."""

import copy
import io
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch.optim.swa_utils import AveragedModel

from slideunet.model_json import Precision
from slideunet.network.architecture.unet import UNet
from slideunet.network.training.validation import Validation
from slideunet.stores.files import write_atomically

BestBy = Literal["ap", "dice", "last"]


@dataclass
class Progress:
    """Where a training stands after an epoch: all that is needed to go on, and the best so far.

    `average` is the state of the running average of the weights; `best` are averaged weights.
    """

    epoch: int
    precision: Precision
    network: dict[str, torch.Tensor]
    average: dict[str, torch.Tensor]
    optimiser: dict[str, Any]
    history: list[dict[str, float]]
    best: dict[str, torch.Tensor]
    best_epoch: int
    best_score: float
    best_dice: float
    best_threshold: float

    def save(self, path: Path) -> None:
        """Write atomically."""
        buffer = io.BytesIO()
        torch.save(vars(self), buffer)
        write_atomically(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> "Progress":
        """Read what `save` wrote; only tensors and plain values, never code."""
        return cls(**torch.load(path, weights_only=True, map_location="cpu"))


@dataclass(frozen=True)
class Learner:
    """What a training step changes."""

    network: UNet
    average: AveragedModel
    optimiser: torch.optim.Optimizer

    @property
    def averaged(self) -> UNet:
        """The network with the averaged weights."""
        module = self.average.module
        assert isinstance(module, UNet)
        return module


def start(learner: Learner, precision: Precision) -> Progress:
    """Return the progress of a training that has not begun."""
    weights = copy.deepcopy(learner.network.state_dict())
    average = copy.deepcopy(learner.average.state_dict())
    return Progress(
        0, precision, weights, average, learner.optimiser.state_dict(), [], weights, 0, 0.0, 0.0, 0.5
    )


def resume(state: Path, learner: Learner) -> Progress | None:
    """Load a saved progress into network, average and optimiser; None when there is none."""
    if not state.is_file():
        return None
    progress = Progress.load(state)
    learner.network.load_state_dict(progress.network)
    learner.average.load_state_dict(progress.average)
    learner.optimiser.load_state_dict(progress.optimiser)
    logging.info(f"Going on after epoch {progress.epoch}, from {state}")
    return progress


def close_epoch(
    progress: Progress, learner: Learner, row: dict[str, float], validation: Validation, best_by: BestBy
) -> None:
    """Add an epoch: its row of the history, the weights, and whether their average is the best so far.

    By Dice alone an epoch would be taken in which the foreground is learned and the heads are not yet. "last"
    is for what the validation slides do not show, such as fields without a cell.
    """
    dice, ap = validation.dice_at(0.5), validation.cells.mean_ap
    score = {"ap": ap, "dice": dice, "last": progress.epoch + 1.0}[best_by]
    progress.epoch += 1
    progress.history.append(row | {"val_loss": validation.loss, "val_dice": dice, "val_ap": ap})
    progress.network = copy.deepcopy(learner.network.state_dict())
    progress.average = copy.deepcopy(learner.average.state_dict())
    progress.optimiser = learner.optimiser.state_dict()
    if score > progress.best_score or progress.epoch == 1:
        progress.best = copy.deepcopy(learner.averaged.state_dict())
        progress.best_epoch, progress.best_score, progress.best_dice = progress.epoch, score, dice
        progress.best_threshold = validation.best_threshold()


def out_of_patience(progress: Progress, patience: int | None) -> bool:
    """Tell whether the score on the validation slides has not risen for `patience` epochs."""
    return patience is not None and progress.epoch - progress.best_epoch >= patience


def account(progress: Progress, epochs: int) -> str:
    """Return one line about the last epoch and the time that is left."""
    row = progress.history[-1]
    left = (epochs - progress.epoch) * (row["seconds"] + row["validation_seconds"]) / 60
    best = f"best is epoch {progress.best_epoch}"
    return (
        f"epoch {progress.epoch}/{epochs}: loss {row['train_loss']:.4f}, Dice {row['train_dice']:.4f}; "
        f"validation loss {row['val_loss']:.4f}, Dice {row['val_dice']:.4f}, AP {row['val_ap']:.4f}; "
        f"{best}; {row['pixels_per_second'] / 1e6:.2f} Mpx/s, {left:.1f} min left"
    )
