from dataclasses import replace

import numpy as np
import pytest
import torch

from slideunet.errors import SlideunetError
from slideunet.network.architecture.unet import UNet, UNetSpec
from slideunet.network.patches.dataset import PatchDataset
from slideunet.network.training import loop
from slideunet.network.training.checkpoint import Learner, Progress, close_epoch, out_of_patience, start
from slideunet.network.training.loop import TrainingPlan, averaged, fit
from slideunet.network.training.validation import Validation, validate
from slideunet.scoring.instance_metrics import InstanceCounts

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def manifests(tmp_path_factory, convert_cells):
    folder = tmp_path_factory.mktemp("cohort")
    return [convert_cells(folder, f"S{seed}", seed=seed, height=100, width=90) for seed in range(2)]


@pytest.fixture
def slides(manifests, labelled_slide):
    return [labelled_slide(manifest) for manifest in manifests]


@pytest.fixture
def plan(training_section):
    names = TrainingPlan.__dataclass_fields__
    own = {name: value for name, value in training_section.items() if name in names}
    return TrainingPlan(**own | {"seed": 3, "epochs": 3, "patch_size": 32})


def new_network(dropout=0.2, encoder=None):
    torch.manual_seed(0)
    return UNet(UNetSpec(1, 4, 2, dropout=dropout, encoder=encoder))


def lasting(history):
    """What must be the same again: all but the time it took."""
    return [
        {
            name: row[name]
            for name in row
            if name not in ("seconds", "validation_seconds", "pixels_per_second")
        }
        for row in history
    ]


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


class Killed(BaseException):
    pass


def kill_in_step(monkeypatch, nth):
    original, calls = loop.training_step, []

    def step(*args):
        calls.append(0)
        if len(calls) == nth:
            raise Killed
        return original(*args)

    monkeypatch.setattr(loop, "training_step", step)


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"optimiser": "sgd"}, {"freeze_batch_norm": 1 / 3}], ids=str)
def test_a_training_that_was_killed_goes_on_to_the_identical_result(
    slides, plan, tmp_path, monkeypatch, changes
):
    plan = replace(plan, **changes)
    expected = fit(new_network(), slides[:1], slides[1:], plan, tmp_path / "straight.pt")
    assert len(PatchDataset(slides[:1], plan.patch_size, plan.augmentation, 0)) == 3  # Two steps an epoch.
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_in_step(patch, 2 * 2 + 2)  # In the last epoch, after a step of it.
        fit(new_network(), slides[:1], slides[1:], plan, tmp_path / "killed.pt")
    assert Progress.load(tmp_path / "killed.pt").epoch == 2
    torch.manual_seed(999)
    network = new_network()
    found = fit(network, slides[:1], slides[1:], plan, tmp_path / "killed.pt")
    assert_same(found.network, expected.network)
    assert_same(found.best, expected.best)
    assert_same(network.state_dict(), expected.network)
    assert lasting(found.history) == lasting(expected.history)
    assert found.best_epoch == expected.best_epoch


def test_a_training_goes_on_in_the_precision_it_began_in(slides, plan, tmp_path, monkeypatch):
    used = []
    original = loop.training_step
    monkeypatch.setattr(loop, "training_step", lambda *args: used.append(args[5]) or original(*args))
    fit(new_network(), slides[:1], slides[1:], replace(plan, epochs=1, precision="bf16"), tmp_path / "p.pt")
    progress = fit(
        new_network(), slides[:1], slides[1:], replace(plan, epochs=2, precision="fp32"), tmp_path / "p.pt"
    )
    assert set(used) == {"bf16"}
    assert progress.precision == "bf16"


def test_a_finished_training_is_not_repeated(slides, plan, tmp_path, monkeypatch):
    plan = replace(plan, epochs=1)
    first = fit(new_network(), slides[:1], slides[1:], plan, tmp_path / "p.pt")
    kill_in_step(monkeypatch, 1)
    again = fit(new_network(), slides[:1], slides[1:], plan, tmp_path / "p.pt")
    assert_same(again.best, first.best)
    assert again.history == first.history


@pytest.mark.slow
@pytest.mark.parametrize("encoder", [None, "efficientnet_lite0"])
def test_a_frozen_encoder_keeps_weights_and_statistics_and_the_rest_learns(slides, plan, tmp_path, encoder):
    network = new_network(encoder=encoder)
    before = {name: values.clone() for name, values in network.state_dict().items()}
    progress = fit(network, slides, slides, replace(plan, freeze_encoder=True), tmp_path / "progress.pt")
    for name, values in progress.best.items():
        same = torch.equal(values, before[name])
        assert same == name.startswith("encoder.stages."), name


def test_batch_statistics_are_fixed_in_the_last_epochs_and_the_weights_learn_on(slides, plan, tmp_path):
    plan = replace(plan, schedule="constant")
    first = fit(new_network(), slides, slides, replace(plan, epochs=2), tmp_path / "2.pt")
    last = fit(new_network(), slides, slides, replace(plan, freeze_batch_norm=0.3), tmp_path / "3.pt")
    for name, values in last.network.items():
        averaged = first.average[f"module.{name}"]
        assert torch.equal(values, averaged) == ("running" in name or "tracked" in name), name


@pytest.mark.slow
def test_what_is_easy_is_learned(slides, plan, tmp_path, no_augmentation):
    plan = replace(
        plan, epochs=20, patch_size=64, augmentation=no_augmentation, schedule="constant", batch_size=1
    )
    progress = fit(new_network(dropout=0.0), slides[:1], slides[1:], plan, tmp_path / "p.pt")
    losses = [row["train_loss"] for row in progress.history]
    assert losses[-1] < 0.5 * losses[0]
    assert progress.best_dice > 0.8
    assert progress.best_score == max(row["val_ap"] for row in progress.history)
    assert progress.history[progress.best_epoch - 1]["val_dice"] == progress.best_dice
    network = UNet(UNetSpec(1, 4, 2))
    network.load_state_dict(progress.best)
    checked = validate(network, slides[1:], torch.nn.BCEWithLogitsLoss(), plan.precision)
    assert checked.dice_at(0.5) == progress.best_dice
    assert checked.best_threshold() == progress.best_threshold


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_epoch(slides, plan, tmp_path, monkeypatch):
    original, calls = loop.training_step, []

    def step(*args):
        calls.append(0)
        value, logits = original(*args)
        return (value * float("nan") if len(calls) == 4 else value), logits

    monkeypatch.setattr(loop, "training_step", step)
    with pytest.raises(
        SlideunetError, match=r"loss of epoch 2, batch 2 is nan.*Lower training\.learning_rate"
    ):
        fit(new_network(), slides[:1], slides[1:], plan, tmp_path / "p.pt")
    kept = Progress.load(tmp_path / "p.pt")
    assert kept.epoch == 1
    assert all(torch.isfinite(tensor).all() for tensor in kept.network.values())


def test_patience_ends_a_training_that_no_longer_gets_better(slides, plan, tmp_path, monkeypatch):
    dices = iter([0.5, 0.7, 0.6, 0.7, 0.9])
    monkeypatch.setattr(loop, "validate", lambda *args: outcome(next(dices)))
    plan = replace(plan, epochs=5, patience=2, best_by="dice")
    progress = fit(new_network(), slides[:1], slides[1:], plan, tmp_path / "p.pt")
    assert [row["val_dice"] for row in progress.history] == pytest.approx([0.5, 0.7, 0.6, 0.7], abs=1e-3)
    assert (progress.epoch, progress.best_epoch, progress.best_dice) == (4, 2, pytest.approx(0.7, abs=1e-3))


def outcome(dice, cells=0, total=10_000):
    """A validation with a Dice of 2 tp / (2 tp + fn) at 0.5, and so many of ten cells found."""
    tp = round(total * dice / (2 - dice))
    foreground = np.zeros(256, np.int64)
    foreground[[255, 0]] = tp, total - tp
    counts = InstanceCounts(n_true=10, n_pred=10, tp=(cells,) * 10)
    return Validation(1.0, foreground, np.zeros(256, np.int64), counts)


@pytest.mark.parametrize(("best_by", "best"), [("dice", 2), ("ap", 3), ("last", 4)])
def test_the_best_epoch_is_kept_although_later_ones_are_worse(best_by, best):
    network = new_network()
    learner = Learner(network, averaged(network, 0.0), torch.optim.SGD(network.parameters(), lr=0.1))
    progress, weights = start(learner, "fp32"), []
    for dice, cells in ((0.0, 0), (0.6, 2), (0.4, 5), (0.2, 1)):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(1.0)
        learner.average.update_parameters(network)
        weights.append({name: tensor.clone() for name, tensor in network.state_dict().items()})
        close_epoch(
            progress, learner, {"seconds": 1.0, "validation_seconds": 0.1}, outcome(dice, cells), best_by
        )
    assert progress.best_epoch == best
    assert_same(progress.best, weights[best - 1])
    assert_same(progress.network, weights[3])
    assert not out_of_patience(progress, None)
    assert not out_of_patience(progress, 5 - best)
    assert out_of_patience(progress, 4 - best)


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.995])
def test_the_average_of_the_weights_is_the_weighted_mean_of_its_definition(decay):
    network = new_network()
    average = averaged(network, decay)
    expected = None
    rng = np.random.default_rng(0)
    for n in range(12):
        values = {name: torch.from_numpy(rng.random(t.shape)) for name, t in network.state_dict().items()}
        network.load_state_dict(values)
        average.update_parameters(network)
        keep = min(decay, (1 + n) / (10 + n)) if n else 0.0
        new = {name: tensor.double() for name, tensor in network.state_dict().items()}
        expected = new if n == 0 else {k: keep * expected[k] + (1 - keep) * new[k] for k in new}
    for name, tensor in average.module.state_dict().items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor.double(), expected[name], rtol=1e-5, atol=1e-6)
        else:
            assert torch.equal(tensor, network.state_dict()[name])


def test_the_averaged_weights_are_the_ones_that_are_validated_and_kept(slides, plan, tmp_path):
    progress = fit(new_network(), slides[:1], slides[1:], replace(plan, ema=0.9), tmp_path / "p.pt")
    network = UNet(UNetSpec(1, 4, 2))
    network.load_state_dict(progress.best)
    checked = validate(network, slides[1:], torch.nn.BCEWithLogitsLoss(), plan.precision)
    assert checked.dice_at(0.5) == progress.best_dice
    assert checked.best_threshold() == progress.best_threshold
    assert any(not torch.equal(progress.best[name], progress.network[name]) for name in progress.best)


def test_progress_that_would_run_code_is_not_loaded(tmp_path):
    torch.save({"epoch": Spy(tmp_path / "ran")}, tmp_path / "p.pt")
    with pytest.raises(Exception, match=r"weights_only|Weights only"):
        Progress.load(tmp_path / "p.pt")
    assert not (tmp_path / "ran").exists()


class Spy:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (type(self.path).touch, (self.path,))
