from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slideunet.network.training.schedule import learning_rate

schedules = st.sampled_from(["cosine", "constant"])


def rates(total, warmup, schedule, peak=0.1):
    return [
        learning_rate(step, peak=peak, total=total, warmup=warmup, schedule=schedule) for step in range(total)
    ]


@given(st.integers(1, 300), st.integers(0, 500), schedules)
def test_rates_are_positive_and_never_above_the_peak(total, warmup, schedule):
    assert all(0 < rate <= 0.1 for rate in rates(total, warmup, schedule))


@given(st.integers(1, 300), st.integers(0, 500), schedules)
def test_rates_rise_in_the_warm_up_and_never_afterwards(total, warmup, schedule):
    used = min(warmup, total // 10)
    found = rates(total, warmup, schedule)
    assert found[used] == pytest.approx(0.1)
    assert all(a < b for a, b in pairwise(found[: used + 1]))
    assert all(a >= b for a, b in pairwise(found[used:]))


@given(st.integers(1, 300), st.integers(0, 20))
def test_the_cosine_ends_at_zero(total, warmup):
    end = learning_rate(total, peak=0.1, total=total, warmup=warmup, schedule="cosine")
    assert end == pytest.approx(0, abs=1e-12)
    if total >= 200:
        assert rates(total, warmup, "cosine")[-1] < 0.1 * 0.02


def test_known_values():
    assert rates(100, 0, "cosine")[50] == pytest.approx(0.05)
    assert rates(100, 0, "constant") == [0.1] * 100
    assert rates(100, 3, "constant")[:4] == pytest.approx([0.025, 0.05, 0.075, 0.1])
