"""The training loop; after a kill it resumes from its last epoch and gives the same result."""

import itertools
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from slideunet.errors import InputError
from slideunet.logs import progress_line
from slideunet.model_json import Precision
from slideunet.network.architecture.batch_statistics import first_fixed, fix_statistics, take_statistics
from slideunet.network.architecture.unet import UNet, channels_last
from slideunet.network.patches.dataset import LabelledSlide, PatchDataset
from slideunet.network.patches.memory_maps import fits
from slideunet.network.training.batches import batches
from slideunet.network.training.checkpoint import (
    BestBy,
    Learner,
    Progress,
    account,
    close_epoch,
    out_of_patience,
    resume,
    start,
)
from slideunet.network.training.epoch_metrics import EpochMetrics
from slideunet.network.training.losses import CellsLoss, build_loss
from slideunet.network.training.schedule import Schedule, learning_rate
from slideunet.network.training.several_gpus import ALONE, Ranks
from slideunet.network.training.step import MicroBatch, training_step
from slideunet.network.training.tensorboard import events
from slideunet.network.training.validation import validate

Tensors = tuple[torch.Tensor, ...] | list[torch.Tensor]


@dataclass(frozen=True)
class TrainingPlan:
    """All options of a training; the names are those of the configuration."""

    epochs: int
    batch_size: int
    micro_batch_size: int | None
    epoch_patches: int
    balance: float
    patch_size: int
    learning_rate: float
    optimiser: Literal["adamw", "sgd"]
    weight_decay: float
    schedule: Schedule
    warmup: int
    loss: str
    loss_weights: Sequence[float] | None
    border_weight: float
    patience: int | None
    best_by: BestBy
    ema: float
    seed: int
    gpus: int
    freeze_encoder: bool
    freeze_batch_norm: float
    precision: Precision
    augmentation: Mapping[str, Any]


@dataclass(frozen=True)
class _Epoch:
    """One epoch: its number from 0, number of steps, micro-batch size, batches and processes."""

    number: int
    steps: int
    micro_batch: MicroBatch
    batches: Iterator[list[torch.Tensor]]
    ranks: Ranks


def fit(
    network: UNet,
    train: Sequence[LabelledSlide],
    val: Sequence[LabelledSlide],
    plan: TrainingPlan,
    state: Path,
    workers: int = 0,
    ranks: Ranks = ALONE,
) -> Progress:
    """Train a network and return the progress with its best weights (by `plan.best_by`).

    Parameters
    ----------
    network : UNet
        With its initial weights, on the device for training; has the last weights afterwards.
    train, val : sequences of LabelledSlide
    plan : TrainingPlan
    state : Path
        Checkpoint file, rewritten after every epoch; an existing one is resumed. Beside it are `packed`, the
        training slides as plain arrays unless they are too large, and perhaps `tensorboard`.
    workers : int
        Additional processes that prepare patches; the result does not depend on their number.
    ranks : Ranks, optional
        All processes of a training on several GPUs call this; the first one validates and saves.

    Raises
    ------
    InputError
        When the loss is not finite; the checkpoint of the last complete epoch is kept.
    """
    channels_last(network)
    network.encoder.stages.requires_grad_(not plan.freeze_encoder)
    learner = Learner(network, averaged(network, plan.ema), _optimiser(network, plan))
    progress = resume(state, learner) or start(learner, plan.precision)
    # "auto" was chosen by timing, which may be different now; the result must not be.
    plan = replace(plan, precision=progress.precision)
    dataset = training_patches(train, plan, network.spec.maps, state.with_name("packed"))
    loss = CellsLoss(build_loss(plan.loss, plan.loss_weights), network.spec.maps, plan.border_weight)
    steps = -(-len(dataset) // plan.batch_size)
    micro_batch = MicroBatch(min(plan.micro_batch_size or plan.batch_size, plan.batch_size))
    stream = iter(batches(dataset, plan.batch_size, range(progress.epoch, plan.epochs), workers, ranks))
    with (
        progress_line(plan.epochs * steps, unit="step", done=progress.epoch * steps) as bar,
        events(state.with_name("tensorboard"), progress.epoch, wanted=ranks.rank == 0) as write_row,
    ):
        while progress.epoch < plan.epochs and not out_of_patience(progress, plan.patience):
            epoch = _Epoch(progress.epoch, steps, micro_batch, itertools.islice(stream, steps), ranks)
            row = _train_epoch(learner, loss, plan, epoch, bar)
            start_of_validation = time.perf_counter()
            validation = ranks.from_first(
                lambda: validate(learner.averaged, val, loss.foreground, plan.precision)
            )
            row["validation_seconds"] = time.perf_counter() - start_of_validation
            close_epoch(progress, learner, row, validation, plan.best_by)
            if ranks.rank == 0:
                progress.save(state)
                write_row(progress.history[-1])
            logging.info(account(progress, plan.epochs))
    return progress


def training_patches(
    train: Sequence[LabelledSlide], plan: TrainingPlan, maps: Sequence[str], folder: Path
) -> PatchDataset:
    """Return the patches of a training, with augmentation and targets by its plan.

    Parameters
    ----------
    train : sequence of LabelledSlide
    plan : TrainingPlan
    maps : sequence of str
        `UNetSpec.maps`.
    folder : Path
        For the packed slides, unless they are too large.
    """
    return PatchDataset(
        train,
        plan.patch_size,
        plan.augmentation,
        plan.seed,
        maps,
        border=plan.border_weight > 0,
        least=plan.epoch_patches,
        balance=plan.balance,
        packed=folder if fits([slide.shape for slide in train]) else None,
    )


def _train_epoch(
    learner: Learner,
    loss: CellsLoss,
    plan: TrainingPlan,
    epoch: _Epoch,
    bar: tqdm,
) -> dict[str, float]:
    """Train one epoch and return its row of the history."""
    network, optimiser, metrics = learner.network, learner.optimiser, EpochMetrics()
    device = next(network.parameters()).device
    # Only dropout draws from torch's own generator.
    torch.manual_seed((plan.seed * 1_000_003 + epoch.number) * epoch.ranks.count + epoch.ranks.rank)
    _prepare(learner, plan, epoch.number)
    for step, (image, target) in enumerate(epoch.batches):
        rate = _set_learning_rate(optimiser, plan, epoch.steps, epoch.number * epoch.steps + step)
        image = image.to(device, memory_format=torch.channels_last)
        value, output = training_step(
            network, optimiser, loss, image, target.to(device), plan.precision, epoch.micro_batch, epoch.ranks
        )
        if not torch.isfinite(value):
            raise InputError(
                f"The loss of epoch {epoch.number + 1}, batch {step + 1} is {value.item()}. "
                f"The learning rate {plan.learning_rate} is probably too high. "
                "Lower training.learning_rate; the last complete epoch is kept."
            )
        learner.average.update_parameters(network)
        valid = target[:, :1] >= 0
        metrics.add(value, (output[:, :1].cpu() > 0) & valid, target[:, :1] > 0)
        shown = {"epoch": epoch.number + 1, "loss": f"{value.item():.3f}"} | metrics.shown()
        bar.set_postfix(shown, refresh=False)
        bar.update()
    return {"epoch": epoch.number + 1, "learning_rate": rate} | metrics.reduce(epoch.ranks, device).row()


def _prepare(learner: Learner, plan: TrainingPlan, epoch: int) -> None:
    """Set training mode, frozen layers and frozen batch-norm statistics of an epoch."""
    learner.network.train()
    if plan.freeze_encoder:
        fix_statistics(learner.network.encoder.stages)
    first_frozen = first_fixed(plan.epochs, plan.freeze_batch_norm)
    if epoch == first_frozen:
        take_statistics(learner.network, learner.averaged)
    if epoch >= first_frozen:
        fix_statistics(learner.network)


def _set_learning_rate(optimiser: torch.optim.Optimizer, plan: TrainingPlan, steps: int, step: int) -> float:
    total = plan.epochs * steps
    rate = learning_rate(
        step, peak=plan.learning_rate, total=total, warmup=plan.warmup, schedule=plan.schedule
    )
    for group in optimiser.param_groups:
        group["lr"] = rate
    return rate


def averaged(network: UNet, decay: float) -> AveragedModel:
    """Return the exponential moving average of a network's weights and batch-norm statistics.

    Parameters
    ----------
    network : UNet
    decay : float
        Weight of the old average at every step, [0, 1); 0 keeps the last weights. It grows from 0.1 to this
        value as (1 + n) / (10 + n) after n steps, so that a short training is not dominated by its start.
    """

    def average(old: Tensors, new: Tensors, n: torch.Tensor | int) -> None:
        # The counters of seen batches are not averaged.
        weight = min(decay, (1 + int(n)) / (10 + int(n))) if old[0].is_floating_point() else 0.0
        get_ema_multi_avg_fn(weight)(old, new, n)

    return AveragedModel(network, multi_avg_fn=average, use_buffers=True)


def _optimiser(network: UNet, plan: TrainingPlan) -> torch.optim.Optimizer:
    # Fused: one by one, the many small tensors of an encoder took ten times as long.
    shared: dict[str, Any] = {"lr": plan.learning_rate, "weight_decay": plan.weight_decay, "fused": True}
    if plan.optimiser == "sgd":
        return torch.optim.SGD(network.parameters(), momentum=0.9, nesterov=True, **shared)
    return torch.optim.AdamW(network.parameters(), **shared)
