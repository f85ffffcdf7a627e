import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.color import rgb2lab
from skimage.draw import disk
from skimage.measure import label as measure_label
from skimage.segmentation import find_boundaries

from slideunet.report import pictures
from slideunet.report.pictures import CORRECT, FALSE, MISSED
from slideunet.report.side_by_side import colours_by_match


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_pictures_are_rgb_and_stretched(channels, dtype):
    pixels = np.linspace(10, 200, channels * 12 * 7).reshape(channels, 12, 7).astype(dtype)
    statistics = [{"low": float(c.min()), "high": float(c.max())} for c in pixels]
    shown = pictures.stretched(pixels, statistics)
    assert shown.shape == (12, 7, 3)
    assert shown.dtype == np.uint8
    assert (shown.min(), shown.max()) == (0, 255)


def test_a_constant_image_is_drawn():
    assert pictures.stretched(np.full((1, 4, 4), 9), [{"low": 9.0, "high": 9.0}]).max() == 0


def test_outlines_are_inside_their_objects_also_where_objects_touch():
    labels = np.zeros((30, 40), np.uint32)
    labels[5:25, 5:20], labels[5:25, 20:35] = 7, 9
    canvas = np.zeros((30, 40, 3), np.uint8)
    pictures.draw_outlines(canvas, labels, {7: CORRECT, 9: FALSE})
    drawn = canvas.any(axis=2)
    assert not drawn[labels == 0].any()
    assert {tuple(c) for c in canvas[(labels == 7) & drawn]} == {CORRECT}
    assert {tuple(c) for c in canvas[(labels == 9) & drawn]} == {FALSE}
    assert drawn[15, 18:22].all()
    assert not drawn[15, 12]


def test_objects_without_a_colour_are_not_drawn():
    canvas = np.zeros((9, 9, 3), np.uint8)
    pictures.draw_outlines(canvas, np.pad(np.ones((5, 5), int), 2), {})
    pictures.draw_outlines(canvas, np.zeros((9, 9), int), {1: CORRECT})
    assert not canvas.any()


def test_colours_distinguish_correct_missed_and_false():
    truth, cells = np.zeros((2, 10, 30), np.uint32)
    truth[2:8, 2:8], cells[2:8, 3:8] = 3, 11
    truth[2:8, 12:18] = 4
    cells[2:8, 22:28] = 12
    assert colours_by_match(truth, cells) == ({3: CORRECT, 4: MISSED}, {11: CORRECT, 12: FALSE})


def test_enlarging_keeps_ids_and_sizes_together():
    labels = np.array([[0, 4_000_000_000], [7, 7]], dtype=np.uint32)
    large = pictures.enlarge_labels(labels, 3)
    assert large.shape == pictures.enlarge_picture(np.zeros((2, 2, 3), np.uint8), 3).shape[:2]
    np.testing.assert_array_equal(large[1::3, 1::3], labels)


@settings(max_examples=40)
@given(arrays(np.uint32, (4, 5), elements=st.integers(0, 2**32 - 1) | st.just(0)), st.integers(1, 4))
def test_objects_that_touch_differ_in_colour(small, size):
    labels = np.kron(small, np.ones((size, size), np.uint32))
    colours = pictures.distinct_colours(labels)
    assert set(colours) == set(np.unique(labels).tolist()) - {0}
    near = pictures._neighbours(labels)
    for number, neighbours in near.items():
        earlier = {neighbour for neighbour in neighbours if neighbour < number}
        if len(earlier) < len(pictures.DISTINCT):  # else the palette may be too small
            assert colours[number] not in {colours[neighbour] for neighbour in earlier}
    adjacent = [(small[:, 1:], small[:, :-1]), (small[1:], small[:-1])]
    assert all(int(b) in near[int(a)] for pair in adjacent for a, b in zip(*map(np.ravel, pair), strict=True)
               if a != b and a and b)  # fmt: skip


def test_colours_differ_across_gaps_and_are_used_equally():
    labels = np.zeros((9, 40), np.uint32)
    for number, left in enumerate(range(0, 36, 6), start=1):
        labels[2:7, left : left + 3] = number
    assert len(set(pictures.distinct_colours(labels).values())) == 6


# Machado, Oliveira & Fernandes 2009, severity 1, for linear RGB: protanopia, deuteranopia, tritanopia.
DICHROMATS = np.array([
    [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
])  # fmt: skip


@pytest.mark.parametrize("sight", DICHROMATS, ids=["protan", "deutan", "tritan"])
def test_dichromats_tell_the_outlines_apart(sight):
    linear = (np.array([CORRECT, MISSED, FALSE]) / 255) ** 2.2
    seen = rgb2lab(np.clip(linear @ sight.T, 0, 1) ** (1 / 2.2))
    gaps = [np.linalg.norm(seen[i] - seen[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert min(gaps) > 20  # a difference of about 2 is just noticeable


@settings(max_examples=60)
@given(arrays(np.uint32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 3)))
def test_the_edge_is_that_of_scikit_image(labels):
    np.testing.assert_array_equal(pictures._inner_edge(labels), find_boundaries(labels, mode="inner"))


def discs(*radii):
    labels = np.zeros((100, 100 * len(radii)), np.uint32)
    for number, radius in enumerate(radii, start=1):
        labels[disk((50, 100 * number - 50), radius, shape=labels.shape)] = number
    return labels


@pytest.mark.parametrize("radius", [4, 9, 23.5, 40])
def test_without_colour_correct_missed_and_false_differ(radius):
    labels = discs(radius, radius, radius)
    plain, drawn = np.zeros((2, *labels.shape, 3), np.uint8)
    colours = {1: CORRECT, 2: MISSED, 3: FALSE}
    pictures.draw_outlines(plain, labels, colours)
    pictures.draw_by_match(drawn, labels, colours)
    correct, missed, false = ((drawn[labels == number]).any(axis=1) for number in (1, 2, 3))
    outline = [(plain[labels == number]).any(axis=1) for number in (1, 2, 3)]
    np.testing.assert_array_equal(correct, outline[0])
    assert not (missed & ~outline[1]).any()
    assert 0.4 < missed.sum() / outline[1].sum() < 0.8  # gaps
    assert (false & outline[2]).sum() == outline[2].sum()
    assert (false & ~outline[2]).sum() > 0.15 * (~outline[2]).sum()  # stripes
    assert not drawn[labels == 0].any()


def test_a_dashed_line_has_more_dashes_on_a_larger_object():
    labels = discs(8, 40)
    drawn = np.zeros((*labels.shape, 3), np.uint8)
    pictures.draw_by_match(drawn, labels, {1: MISSED, 2: MISSED})
    shown = drawn.any(axis=2)
    pieces = [measure_label(shown & (labels == number), connectivity=2).max() for number in (1, 2)]
    assert pieces[0] >= 3
    assert pieces[1] == round(2 * np.pi * 40 / pictures.DASH)
