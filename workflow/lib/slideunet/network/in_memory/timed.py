"""Training within a budget: progress is the share of its time, or of its steps."""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from slideunet.errors import InputError
from slideunet.logs import LINE_SECONDS
from slideunet.model_json import Precision
from slideunet.network.architecture.batch_statistics import fix_statistics, take_statistics
from slideunet.network.architecture.unet import UNet, channels_last
from slideunet.network.in_memory.learner import Average, State
from slideunet.network.in_memory.pool import Pool
from slideunet.network.in_memory.recipe import Recipe
from slideunet.network.in_memory.scores import means
from slideunet.network.in_memory.stream import BatchMaker, batch_stream
from slideunet.network.in_memory.validation import Pending, Validator
from slideunet.network.training.losses import CellsLoss, build_loss
from slideunet.network.training.schedule import learning_rate
from slideunet.network.training.step import MicroBatch, training_step

CHECKPOINT_SECONDS = 60.0
_POINTS = 1_000_000  # Steps of the schedule that the share of time is mapped to.


@dataclass
class Budget:
    """Time budget of a training, or its number of steps.

    Attributes
    ----------
    seconds : float
        Total time.
    steps : int or None
        Total number of steps; the time does not count then, so that trainings on busy machines compare.
    reserve : float
        Part of it, kept for the last validation and for writing.
    used : float
        Seconds used by earlier processes.
    clock : callable
        Returns seconds.
    """

    seconds: float
    steps: int | None = None
    used: float = 0.0
    reserve: float = 0.0
    clock: Callable[[], float] = time.perf_counter
    begun: float = field(init=False)

    def __post_init__(self) -> None:
        self.begun = self.clock()

    @property
    def elapsed(self) -> float:
        """Seconds used so far, by this and earlier processes."""
        return self.used + self.clock() - self.begun

    def share(self, step: int) -> float:
        """Share of the training that is done after a step: of the time for steps, or of the steps."""
        if self.steps is not None:
            return min(step / self.steps, 1.0)
        return min(self.elapsed / max(self.seconds - self.reserve, 1e-9), 1.0)


@dataclass
class Training:
    """A training in the memory of a device.

    Attributes
    ----------
    network : UNet
        Network on the device, with its initial weights.
    pool : Pool
    recipe : Recipe
    validator : Validator
    budget : Budget
    state_path : Path
        Rewritten every minute; where it exists the training goes on from it.
    precision : "fp32" or "bf16"
    stop : callable
        Whether to leave after this step, the state written.
    """

    network: UNet
    pool: Pool
    recipe: Recipe
    validator: Validator
    budget: Budget
    state_path: Path
    precision: Precision
    stop: Callable[[], bool] = lambda: False

    def __post_init__(self) -> None:
        channels_last(self.network)
        self.average = Average(self.network, self.recipe.ema)
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(),
            lr=self.recipe.learning_rate,
            weight_decay=self.recipe.weight_decay,
            fused=True,
        )
        self.state = State(self.precision)
        self.pending: tuple[Pending, dict[str, torch.Tensor], dict[str, Any]] | None = None

    def resume(self) -> None:
        """Resume from the checkpoint."""
        self.state = state = State.load(self.state_path)
        self.precision = state.precision  # type: ignore[assignment]
        self.network.load_state_dict(state.network)
        self.average.network.load_state_dict(state.average)
        self.optimiser.load_state_dict(state.optimiser)
        self.budget.used = state.seconds
        self.budget.reserve = state.history[0]["reserve"]
        logging.info(f"Resuming after step {state.step}; {state.seconds:.0f} s of the time are used")

    def run(self) -> State:
        """Train until the time is over, or `stop` returns True.

        Raises
        ------
        InputError
            When the loss is no longer finite; the last checkpoint is kept.
        """
        recipe, state = self.recipe, self.state
        maps = self.network.spec.maps
        loss = CellsLoss(build_loss(recipe.loss, recipe.loss_weights), maps, recipe.border_weight)
        room = MicroBatch(min(recipe.micro_batch_size or recipe.batch_size, recipe.batch_size))
        if not state.history:
            self._reserve_time()
        self.network.train()
        if state.frozen:
            fix_statistics(self.network)
        compiled: Any = torch.compile(self.network) if recipe.compile else self.network
        report = _Report(self.budget, recipe)
        saved = self.budget.elapsed
        stream = batch_stream(BatchMaker(self.pool, recipe, maps), state.step)
        # On a busy machine a short budget may end before the first step; one step is always done.
        while not (stopped := self.stop()) and (
            (share := self.budget.share(state.step)) < 1 or not state.step
        ):
            self._prepare(share)
            image, target = next(stream)
            value, _ = training_step(compiled, self.optimiser, loss, image, target, self.precision, room)
            self.average.update(state.step)
            state.step += 1
            # Only after a log line, which checks that the loss is finite.
            if report.step(state.step, share, value) and self.budget.elapsed - saved >= CHECKPOINT_SECONDS:
                self.checkpoint()
                saved = self.budget.elapsed
            self._validate_when_due(share)
        if not stopped:
            self._validate()
        self._settle()
        self.checkpoint()
        return state

    def _reserve_time(self) -> None:
        """Validate the initial weights, and reserve as much time for the last validation."""
        begun = self.budget.clock()
        self._validate()
        self._settle()
        # A short training must not spend most of its time on validation.
        self.budget.reserve = min(1.2 * (self.budget.clock() - begun), self.budget.seconds / 4)
        self.state.history[-1]["reserve"] = self.budget.reserve

    def _prepare(self, share: float) -> None:
        """Set the learning rate of a step, and freeze batch-norm statistics when due."""
        recipe, state = self.recipe, self.state
        rate = learning_rate(
            int(share * (_POINTS - 1)),
            peak=recipe.learning_rate,
            total=_POINTS,
            warmup=int(recipe.warmup * _POINTS),
            schedule=recipe.schedule,
        )
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        if share >= 1 - recipe.freeze_batch_norm and not state.frozen:
            # When frozen from the first step on, the statistics of the initial weights are used.
            if state.step:
                take_statistics(self.network, self.average.network)
            fix_statistics(self.network)
            state.frozen = True

    def _validate_when_due(self, share: float) -> None:
        if self.pending is not None and self.pending[0].ready:
            self._settle()
        done = len(self.state.history) + (self.pending is not None)
        # The first validation was of the initial weights; the last follows the training.
        if done < self.recipe.validations and share >= done / self.recipe.validations:
            self._validate()

    def _validate(self) -> None:
        """Begin to score the averaged weights, unless they were scored already."""
        self._settle()
        if self.state.history and self.state.history[-1]["step"] == self.state.step:
            return
        row = {"step": self.state.step, "seconds": self.budget.elapsed}
        weights = {name: values.cpu().clone() for name, values in self.average.network.state_dict().items()}
        self.pending = (self.validator.begin(self.average.network, self.precision), weights, row)

    def _settle(self) -> None:
        """Wait for pending scores, and keep the weights if they are the best."""
        if self.pending is None:
            return
        pending, weights, row = self.pending
        self.pending = None
        sums = pending.result()
        mean = means(sums)
        sources = {source: score.row() for source, score in sums.items()}
        self.state.history.append(row | {"mean": mean, "sources": sources})
        score = mean["mean_ap"] if self.recipe.best_by == "mean_ap" else float(row["step"])
        if score >= self.state.best_score:
            self.state.best, self.state.best_score = weights, score
        line = "; ".join(
            f"{name} Dice {one['dice']:.3f} AP@0.5 {one['ap50']:.3f} mean AP {one['mean_ap']:.3f}"
            for name, one in [*sources.items(), ("mean", mean)]
        )
        logging.info(f"Validation of step {row['step']}: {line}")

    def checkpoint(self) -> None:
        """Write a checkpoint; pending scores are computed again after a restart."""
        state = self.state
        state.seconds = self.budget.elapsed
        state.network, state.average = self.network.state_dict(), self.average.network.state_dict()
        state.optimiser = self.optimiser.state_dict()
        state.save(self.state_path)


class _Report:
    """One log line every ten seconds; between them the loss is not read from the device."""

    def __init__(self, budget: Budget, recipe: Recipe) -> None:
        self.budget, self.pixels = budget, recipe.batch_size * recipe.patch_size**2
        self.last, self.steps, self.sum = budget.elapsed, 0, torch.zeros(())

    def step(self, step: int, share: float, value: torch.Tensor) -> bool:
        """Add the loss of a step; log progress when due, and return whether a line was logged."""
        self.sum = self.sum.to(value.device) + value.detach()
        self.steps += 1
        seconds = self.budget.elapsed - self.last
        if seconds < LINE_SECONDS:
            return False
        mean = self.sum.item() / self.steps
        speed = self.steps * self.pixels / seconds / 1e6
        logging.info(f"step {step}, {share:.0%} of the budget: loss {mean:.4f}, {speed:.2f} Mpx/s")
        if not math.isfinite(mean):
            raise InputError(
                f"The loss of the last {self.steps} steps up to {step} is {mean}. The learning rate is "
                "probably too high. Lower learning_rate and resume."
            )
        self.last, self.steps, self.sum = self.budget.elapsed, 0, torch.zeros(())
        return True
