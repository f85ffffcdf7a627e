"""Sums over runs of pixels against the same sums over pixels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from slideunet.geometry import bands as bands_module
from slideunet.geometry.bands import bands, labels_at
from slideunet.geometry.runs import Runs, runs_of

IMAGES = st.tuples(st.integers(0, 9), st.integers(1, 12)).flatmap(
    lambda shape: arrays(np.int32, shape, elements=st.integers(0, 3))
)


@pytest.fixture(params=[1, 20, 1 << 17])
def band(request, monkeypatch):
    monkeypatch.setattr(bands_module, "BAND", request.param)


@pytest.mark.usefixtures("band")
@given(IMAGES, st.integers(0, 10**6))
@settings(max_examples=60, suppress_health_check=["function_scoped_fixture"])
def test_runs_have_the_sums_of_their_pixels(labels, seed):
    values = np.random.default_rng(seed).integers(0, 256, labels.shape, np.uint8)
    runs = runs_of(labels)
    np.testing.assert_array_equal(runs.areas(4)[1:], [(labels == cell).sum() for cell in (1, 2, 3)])
    expected = [values[labels == cell].sum() for cell in (1, 2, 3)]
    np.testing.assert_array_equal(runs.totals(values, 4)[1:], expected)
    np.testing.assert_array_equal(np.stack(runs.pixels()), np.stack(np.nonzero(labels)))


@pytest.mark.usefixtures("band")
@given(IMAGES, st.lists(st.integers(0, 12), min_size=4, max_size=4))
@settings(max_examples=60, suppress_health_check=["function_scoped_fixture"])
def test_labels_in_a_part_and_chosen_labels(labels, ends):
    rows, columns = (slice(*sorted(pair)) for pair in (ends[:2], ends[2:]))
    runs = runs_of(labels)
    found = np.flatnonzero(runs.present((rows, columns), 4))
    np.testing.assert_array_equal(found, np.setdiff1d(labels[rows, columns], [0]))
    table = np.array([0, 0, 7, 2], np.uint32)
    chosen, expected = runs.of(table), np.bincount(table[labels].ravel(), minlength=8)[1:]
    np.testing.assert_array_equal(chosen.areas(8)[1:], expected)
    np.testing.assert_array_equal(chosen.image(), table[labels])
    assert chosen.image().dtype == np.uint32


@pytest.mark.usefixtures("band")
@given(IMAGES, st.integers(0, 10**6))
@settings(max_examples=60, suppress_health_check=["function_scoped_fixture"])
def test_labels_in_a_mask(labels, seed):
    mask = np.random.default_rng(seed).random(labels.shape) < 0.2
    np.testing.assert_array_equal(np.flatnonzero(labels_at(labels, mask, 4)), np.unique(labels[mask]))


@given(IMAGES, st.data())
def test_a_part_of_the_runs_is_that_of_the_image_also_from_a_file(labels, data):
    ends = (data.draw(st.tuples(*2 * [st.integers(0, side)]).map(sorted)) for side in labels.shape)
    part = tuple(slice(*pair) for pair in ends)
    found = runs_of(labels).inside(part)
    np.testing.assert_array_equal(found.image(), labels[part])
    read = Runs.unpacked(found.packed(), part)
    np.testing.assert_array_equal(read.image(), labels[part])
    assert read.image().dtype == np.uint32
    np.testing.assert_array_equal(read.areas(4), found.areas(4))


def test_sums_beyond_32_bits_in_one_band(monkeypatch):
    monkeypatch.setattr(bands_module, "BAND", 1 << 25)
    labels, values = np.zeros((4200, 4200), np.int32), np.full((4200, 4200), 255, np.uint8)
    labels[-1, -9:] = 1
    assert 255 * labels.size > 2**32
    assert runs_of(labels).totals(values, 2)[1] == 9 * 255


@given(st.integers(0, 500), st.integers(0, 10**6))
def test_bands_cover_every_row_once(rows, width):
    covered = [row for part in bands((rows, width)) for row in range(part.start, part.stop)]
    assert covered == list(range(rows))
