import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from slideunet.geometry import blocks
from slideunet.inputs.equal_slides import (
    SlideContent,
    cells_digest,
    equal_problems,
    equal_warnings,
    is_blank,
)
from slideunet.truth.ignore_label import IGNORE_LABEL

SIDES = ("train", "val", "test")


@st.composite
def cohorts(draw):
    """Slides of few contents; whether a content is blank depends on it alone."""
    slides = []
    for number in range(draw(st.integers(0, 7))):
        content, truth = draw(st.sampled_from(["", "a", "b", "blank"])), draw(st.sampled_from(["", "s", "t"]))
        split = draw(st.sampled_from([*SIDES, ""] if truth else ["", "predict"]))
        slides.append(SlideContent(f"s{number}", content, split, content == "blank", truth, truth))
    return slides


def contradict(one, other):
    """The definition, of two slides."""
    if not one.content or one.content != other.content:
        return False
    sides = {one.split, other.split}
    leak = len(sides) == 2 and sides <= set(SIDES) and not one.blank
    return leak or (one.truth != other.truth and bool(one.truth) and bool(other.truth))


@given(cohorts())
def test_only_two_sides_and_two_truths_are_errors(slides):
    pairs = [pair for pair in itertools.combinations(slides, 2) if contradict(*pair)]
    problems = equal_problems(slides)
    assert {one.content for one, _ in pairs} == {
        next(slide.content for slide in slides if slide.slide == named[0]) for named, _ in problems
    }


@given(cohorts())
def test_every_slide_that_is_not_alone_is_in_one_warning(slides):
    contents = [slide.content for slide in slides if slide.content]
    warnings = equal_warnings(slides)
    assert len(warnings) == sum(contents.count(content) > 1 for content in set(contents))
    text = " ".join(f"{slide} {warning}" for slide, warning in warnings).replace(",", " ").replace(";", " ")
    named = {slide.slide for slide in slides if contents.count(slide.content) > 1}
    assert {word for word in text.split() if word in {slide.slide for slide in slides}} == named


def test_both_slides_and_both_truths_are_named():
    slides = [
        SlideContent("a", "0123456789abcdef", "train", labels="/x/a.png", truth="t", n_cells=12),
        SlideContent("b", "0123456789abcdef", "test", labels="/x/b.geojson", truth="u", n_cells=9),
        SlideContent("c", "0123456789abcdef", "predict"),
    ]
    (equal, truths), (_, sides) = equal_problems(slides)
    assert equal == ["a", "b", "c"]
    assert "slides a (/x/a.png, 12 cells), b (/x/b.geojson, 9 cells) have identical pixels" in truths
    assert "sha256 0123456789ab)" in truths
    assert "slides a (train), b (test) have identical pixels" in sides


def test_ground_truth_of_a_slide_that_is_only_predicted_contradicts_nothing():
    slides = [SlideContent("a", "x", "test", truth="t"), SlideContent("b", "x", "predict", truth="u")]
    assert equal_problems(slides) == []


def test_warnings_say_why_it_matters():
    def warn(*splits, blank=False):
        ((_, text),) = equal_warnings(SlideContent(f"s{i}", "x", s, blank) for i, s in enumerate(splits))
        return text

    assert (
        warn("train", "train", "predict")
        == "has the same pixels as s1, s2; they count 2 times in the split 'train'"
    )
    assert warn("predict", "predict") == "has the same pixels as s1"
    assert warn("test", "predict") == "has the same pixels as s1"
    assert warn("train", "test", blank=True).startswith("is empty")
    assert warn(*["predict"] * 13).endswith("s6, s7 and 2 more")


@st.composite
def label_images(draw):
    shape = draw(st.tuples(st.integers(1, 23), st.integers(1, 23)))
    values = draw(st.lists(st.integers(0, 6), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]))
    labels = np.array(values, np.uint32).reshape(shape)
    labels[labels == 6] = IGNORE_LABEL
    return labels


@given(label_images(), st.permutations(range(1, 6)), st.sampled_from([7, 4096]))
def test_the_order_of_ids_does_not_matter(labels, order, block):
    renamed = np.array([0, *order], np.uint32)[np.minimum(labels, 5)]
    renamed[labels == IGNORE_LABEL] = IGNORE_LABEL
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK", block)
        assert cells_digest(renamed) == cells_digest(labels)


@given(label_images(), st.data())
def test_any_other_cells_have_another_digest(labels, data):
    place = tuple(data.draw(st.integers(0, side - 1)) for side in labels.shape)
    changed = labels.copy()
    changed[place] = data.draw(
        st.sampled_from([value for value in (0, 9, IGNORE_LABEL) if value != labels[place]])
    )
    same = partition(changed) == partition(labels)
    assert (cells_digest(changed) == cells_digest(labels)) == same


def partition(labels):
    """Background, ignored pixels and the set of cells, each the set of its pixels."""
    places = {value: frozenset(zip(*np.nonzero(labels == value), strict=True)) for value in np.unique(labels)}
    kept = [places.pop(value, frozenset()) for value in (0, IGNORE_LABEL)]
    return kept, set(places.values())


def test_a_cell_that_is_divided_is_noticed():
    one = np.zeros((20, 31), np.uint32)
    one[3:17, 4:27] = 1
    two = one.copy()
    two[:, 15:] *= 2
    apart = ndimage.label(one * (np.arange(31) != 15))[0]
    assert len({cells_digest(labels) for labels in (one, two, apart, one.T, np.zeros_like(one))}) == 5


def test_the_same_labels_of_another_shape_are_other_cells():
    assert cells_digest(np.zeros((2, 6), np.uint32)) != cells_digest(np.zeros((3, 4), np.uint32))


def test_blank_by_the_statistics_of_a_slide():
    assert is_blank([{"min": 3, "max": 3}, {"min": 0, "max": 0}])
    assert not is_blank([{"min": 3, "max": 3}, {"min": 0, "max": 1}])
    assert not is_blank([])
