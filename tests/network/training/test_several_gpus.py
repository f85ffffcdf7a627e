"""Several processes make the training that one makes. They are on CPUs here; only the transport differs."""

import operator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from slideunet.errors import InputError, MachineError
from slideunet.network.training.several_gpus import Ranks, check_gpus, several


@given(st.integers(1, 40), st.integers(1, 9))
def test_all_take_equally_much_of_a_batch_and_nothing_is_left_out(size, count):
    batch = [(7, sample) for sample in range(size)]
    shares = [Ranks(rank, count).share(batch) for rank in range(count)]
    assert len({len(share) for share in shares}) == 1
    assert {key for share in shares for key in share} == set(batch)
    assert 0 <= sum(map(len, shares)) - size < count


def test_alone_nothing_is_added_and_everything_is_made_here():
    tensor = torch.arange(3.0)
    Ranks().add_up([tensor])
    assert tensor.tolist() == [0, 1, 2]
    assert Ranks().from_first(lambda: "made") == "made"


def test_more_gpus_than_there_are_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_gpus(1)
    check_gpus(2)
    with pytest.raises(MachineError, match="asks for 4 GPUs, and torch finds 2 here"):
        check_gpus(4)


def test_without_a_gpu_a_training_is_one_process(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    check_gpus(1)
    with pytest.raises(MachineError, match="finds 0"):
        check_gpus(2)


@pytest.mark.slow
def test_another_process_that_fails_is_told_with_its_traceback():
    with (
        pytest.raises(MachineError, match=r"(?s)Process 1 .*unsupported operand"),
        several(2, operator.truediv, 0) as ranks,
    ):
        ranks.add_up([torch.zeros(1)])


def test_what_the_first_process_says_comes_first():
    with pytest.raises(InputError, match="mine"), several(2, operator.truediv, 0):
        raise InputError("mine")
