import math
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import numpy as np
import pytest
import torch

from slideunet.errors import InputError
from slideunet.network.in_memory import timed
from slideunet.network.in_memory.learner import Average, State, initialised
from slideunet.network.in_memory.pool import build_pool, drawn_negatives
from slideunet.network.in_memory.prepared import prepare
from slideunet.network.in_memory.scores import means
from slideunet.network.in_memory.timed import Budget, Training
from slideunet.network.in_memory.validation import Validator
from slideunet.network.training.schedule import learning_rate

CPU = torch.device("cpu")
ALL = {"flip": 0.5, "rotation": 180, "elastic": 3, "blur": 1, "noise": 0.1, "gamma": 0.3, "illumination": 0.2}


class Clock:
    """A step takes a second, everything else no time; `stop` is asked once before every step."""

    def __init__(self, last=math.inf):
        self.seconds, self.last, self.rates = -1, last, []

    def __call__(self):
        return max(self.seconds, 0)

    def stop(self):
        self.seconds += 1
        return self.seconds >= self.last


@pytest.fixture
def build(draw_image, make_recipe, tmp_path):
    def new(clock, budget=12, name="progress.pt", **changes):
        recipe = make_recipe(**{"augmentation": ALL, "negatives": 0.2, "native": 0.2} | changes)
        train = [draw_image(i, source="AB"[i % 2]) for i in range(4)]
        ready = [prepare(image, "percentile", "dark", 6, True) for image in train]
        pool = build_pool([*ready, *drawn_negatives(1, 4, 0)], CPU)
        validator = Validator([draw_image(9, split="val"), draw_image(10, source="B", split="val")], recipe)
        time = Budget(budget, clock=clock)
        network = initialised(recipe, tmp_path)
        return Training(network, pool, recipe, validator, time, tmp_path / name, "fp32", clock.stop)

    return new


def same(left, right):
    return all(torch.equal(left[name], right[name]) for name in left)


def test_a_training_that_was_interrupted_comes_to_the_same_weights(build):
    whole = build(Clock(), name="whole.pt").run()
    first = Clock(last=7)
    build(first, name="parts.pt").run()
    again = Clock()
    second = build(again, name="parts.pt")
    second.resume()
    state = second.run()
    assert state.step == whole.step == 12
    assert same(state.network, whole.network)
    assert same(state.average, whole.average)
    assert same(state.best, whole.best)
    assert [row["step"] for row in state.history] == [row["step"] for row in whole.history] == [0, 7, 12]
    assert state.history[-1]["mean"] == whole.history[-1]["mean"]


def test_the_rate_follows_the_share_of_the_time(build, monkeypatch):
    rates = []
    step = timed.training_step

    def recorded(network, optimiser, *rest):
        rates.append(optimiser.param_groups[0]["lr"])
        return step(network, optimiser, *rest)

    monkeypatch.setattr(timed, "training_step", recorded)
    build(Clock(), budget=20).run()
    wanted = [
        learning_rate(int(k / 20 * 999_999), peak=0.01, total=1_000_000, warmup=100_000, schedule="cosine")
        for k in range(20)
    ]
    assert rates == pytest.approx(wanted)
    assert max(rates) == pytest.approx(0.01, rel=1e-3)


def test_a_budget_of_steps_ignores_the_clock(build):
    training = build(Clock(), budget=2)
    training.budget = Budget(2, 7, clock=training.budget.clock)
    state = training.run()
    assert state.step == 7
    assert [row["step"] for row in state.history] == [0, 5, 7]


def test_batch_statistics_stay_as_they_are_in_the_last_share(build):
    clock = Clock(last=8)
    training = build(clock, budget=10)
    training.run()
    assert training.state.frozen
    names = [name for name, _ in training.network.named_buffers() if "running" in name]
    frozen = {name: training.network.state_dict()[name].clone() for name in names}
    clock.last = math.inf
    training.run()
    assert training.state.step == 9
    assert same(frozen, training.network.state_dict())


def test_the_network_learns_and_the_best_weights_are_kept(build):
    plain = dict.fromkeys(ALL, 0)
    state = build(
        Clock(),
        budget=120,
        learning_rate=0.02,
        validations=3,
        negatives=0.0,
        border_weight=0,
        augmentation=plain,
    ).run()
    first, last = state.history[0]["mean"], state.history[-1]["mean"]
    assert last["dice"] > max(first["dice"], 0.8)
    assert state.best_score == max(row["mean"]["mean_ap"] for row in state.history)
    assert set(state.history[0]["sources"]) == {"A", "B"}


def test_the_mean_over_sources_decides(build):
    training = build(Clock(last=0))
    training.run()
    sums = training.validator.begin(training.average.network, "fp32").result()
    assert means(sums)["ap50"] == pytest.approx(np.mean([score.cells.ap[0] for score in sums.values()]))


def test_a_loss_that_is_not_finite_ends_it_and_the_state_before_is_kept(build, monkeypatch):
    monkeypatch.setattr(timed, "LINE_SECONDS", 1.0)
    monkeypatch.setattr(timed, "CHECKPOINT_SECONDS", 1.0)
    step = timed.training_step

    def broken(*arguments):
        value, output = step(*arguments)
        return (value * (math.nan if clock.seconds > 5 else 1)), output

    monkeypatch.setattr(timed, "training_step", broken)
    clock = Clock()
    training = build(clock)
    with pytest.raises(InputError, match="learning rate"):
        training.run()
    kept = State.load(training.state_path)
    assert 0 < kept.step <= 6


def test_an_average_moves_towards_the_network(build):
    network = build(Clock()).network
    average = Average(network, 0.5)
    before = {name: values.clone() for name, values in network.state_dict().items()}
    with torch.no_grad():
        for values in network.parameters():
            values.add_(1.0)
    average.update(100)
    for name, values in network.named_parameters():
        assert torch.allclose(average.network.state_dict()[name], (before[name] + values) / 2, atol=1e-6)
    average.update(0)  # kept = 1 / 10
    for name, values in network.named_parameters():
        assert torch.allclose(average.network.state_dict()[name], values - 0.05, atol=1e-6)


def test_other_processes_score_alike(build):
    training = build(Clock(last=0))
    with ProcessPoolExecutor(2, get_context("fork")) as helpers:
        beside = replace(training.validator, helpers=helpers).begin(training.network, "fp32").result()
    assert beside == training.validator.begin(training.network, "fp32").result()
