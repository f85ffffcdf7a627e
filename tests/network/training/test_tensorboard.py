"""What TensorBoard shows is the history, once each epoch, also after a restart."""

import importlib.util

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from slideunet.network.training.tensorboard import events


def told(folder, name):
    found = EventAccumulator(str(folder)).Reload()
    return [(event.step, round(event.value, 4)) for event in found.Scalars(name)]


def row(epoch, loss):
    return {"epoch": epoch, "train_loss": loss, "val_dice": 0.5}


def test_every_row_of_the_history_is_shown(tmp_path):
    with events(tmp_path, 0) as tell:
        tell(row(1, 0.75))
        assert told(tmp_path, "train_loss") == [(1, 0.75)]  # While the training goes on.
        tell(row(2, 0.5))
    assert told(tmp_path, "train_loss") == [(1, 0.75), (2, 0.5)]
    assert told(tmp_path, "val_dice") == [(1, 0.5), (2, 0.5)]


def test_an_epoch_that_is_repeated_replaces_the_first(tmp_path):
    with events(tmp_path, 0) as tell:
        tell(row(1, 0.75))
        tell(row(2, 0.6))
    with events(tmp_path, 1) as tell:
        tell(row(2, 0.5))
    assert told(tmp_path, "train_loss") == [(1, 0.75), (2, 0.5)]


@pytest.mark.parametrize("installed", [True, False])
def test_without_the_package_or_in_another_process_nothing_is_written(tmp_path, monkeypatch, installed):
    if not installed:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with events(tmp_path, 0, wanted=not installed) as tell:
        tell(row(1, 0.75))
    assert list(tmp_path.iterdir()) == []
