"""fp32 or bf16: the quicker one, if it is much quicker, on what will really be computed."""

import pytest
import torch

from slideunet.network.architecture.unet import UNetSpec
from slideunet.network.inference import precision
from slideunet.network.inference.precision import choose_precision
from slideunet.network.training import step
from slideunet.network.training.step import quicker_precision

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    ("fp32", "bf16", "chosen"), [(1.0, 0.5, "bf16"), (1.0, 0.95, "fp32"), (1.0, 9.0, "fp32")]
)
def test_the_faster_precision_is_chosen_by_the_clock(fp32, bf16, chosen, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(precision.time, "perf_counter", lambda: clock[0])
    cost = {"fp32": fp32, "bf16": bf16}

    def step(precision):
        clock[0] += cost[precision]

    assert choose_precision(step) == (chosen, pytest.approx(cost))


@pytest.mark.parametrize(("step_seconds", "calls"), [(0.1, 14), (0.8, 14), (0.9, 12), (3.0, 6), (60.0, 6)])
def test_long_steps_are_timed_less_often(step_seconds, calls, monkeypatch, caplog):
    """A slow machine does not wait for minutes, and never without a line."""
    caplog.set_level("INFO")
    clock, lines = [0.0], []
    monkeypatch.setattr(precision.time, "perf_counter", lambda: clock[0])

    def step(_):
        clock[0] += step_seconds
        lines.append(len(caplog.messages))

    choose_precision(step)
    assert len(lines) == calls
    assert caplog.messages == [] or clock[0] >= 10
    assert clock[0] < 20 or len(caplog.messages) >= 2


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [
        ((1.0, 0.5, 0.45, 0.3), "int8-bf16"),
        ((1.0, 0.5, 0.45, 0.45), "bf16"),
        ((1.0, 9.0, 0.7, 9.0), "int8"),
        ((1.0, 0.9, 0.85, 0.84), "fp32"),
    ],
)
def test_less_exact_precisions_must_be_much_faster_than_each_more_exact_one(seconds, chosen, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(precision.time, "perf_counter", lambda: clock[0])
    cost = dict(zip(("fp32", "bf16", "int8", "int8-bf16"), seconds, strict=True))

    def step(precision):
        clock[0] += cost[precision]

    assert choose_precision(step, tuple(cost)) == (chosen, pytest.approx(cost))


def test_a_network_is_timed_as_it_is():
    assert quicker_precision(UNetSpec(1, 4, 2), 64, 2) in ("fp32", "bf16")


@pytest.mark.parametrize(("claimed", "timed"), [("fp32", False), ("bf16", True), (None, True)])
def test_a_processor_that_would_emulate_bf16_is_not_timed(monkeypatch, claimed, timed):
    monkeypatch.setattr(step, "best_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(step, "claimed_precision", lambda engine: claimed)
    steps = []
    monkeypatch.setattr(step, "training_step", lambda *args: steps.append(args))
    assert quicker_precision(UNetSpec(1, 4, 2), 64, 2) == "fp32" or timed
    assert bool(steps) is timed


@pytest.mark.parametrize(("at_once", "patches"), [(1, 1), (16, 8)])
def test_the_clock_runs_on_whole_patches(monkeypatch, at_once, patches):
    """On fewer or smaller ones the gain of bf16 is small where it is large in the training."""
    seen = []
    monkeypatch.setattr(step, "claimed_precision", lambda engine: "bf16")
    monkeypatch.setattr(step, "training_step", lambda *args: seen.append(tuple(args[3].shape)))
    quicker_precision(UNetSpec(3, 4, 2), 96, at_once)
    assert set(seen) == {(patches, 3, 96, 96)}
