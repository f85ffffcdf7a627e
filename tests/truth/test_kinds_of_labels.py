"""Labels that are no instance labels are asked about with the key that settles it; real ones never are."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from making import blocks_of
from PIL import Image
from scipy import ndimage
from skimage.draw import disk
from skimage.segmentation import expand_labels, find_boundaries

from slideunet.errors import InputError
from slideunet.truth.components import find_components
from slideunet.truth.ignore_label import IGNORE_LABEL
from slideunet.truth.kinds_of_labels import survey_values
from slideunet.truth.open_truth import open_truth

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"
REAL = ("dsb2018", "tnbc", "nuinsseg", "coelho2009", "bsst265")
SHAPE = (90, 110)


def cells(count=12, radius=7):
    """Discs 1..count (uint16) that do not touch, the last ones cut by the border."""
    labels = np.zeros(SHAPE, np.uint16)
    for i in range(count):
        labels[disk((12 + 22 * (i // 5), 12 + 22 * (i % 5)), radius, shape=SHAPE)] = i + 1
    return labels


CELLS = cells()
MASK = CELLS > 0
RING = (expand_labels(CELLS, 2) > 0) & ~MASK


def soft(mask):
    return np.round(ndimage.gaussian_filter(mask.astype(float), 1.5) * 255).astype(np.uint8)


def stray(mask):
    found = mask.astype(np.uint8) * 255
    found[[3, 40, 77], [5, 61, 100]] = 3, 128, 254
    return found


def classes(count):
    return np.where(MASK, CELLS % count + 1, 0).astype(np.uint8)


def keyed(tmp_path, array, **keys):
    tifffile.imwrite(tmp_path / "m.tif", array)
    return open_truth(tmp_path / "m.tif", array.shape, **keys)


ODD = {
    "ids from 1, background 1": (CELLS + 1, "value 1 covers .* and no pixel is 0", {"background_label": 1}),
    "last id is background": (
        np.where(MASK, CELLS, 13), "value 13 covers .* and no pixel is 0", {"background_label": 13},
    ),
    "watershed lines are 0": (
        np.where(RING, 0, CELLS + 1), "value 1 covers", {"background_label": 1, "ignore_label": None},
    ),
    "1 and 2, background 1": (
        MASK + np.uint8(1), "value 1 covers .*1 other values lie in 12 pieces: set data.truth: mask, too",
        {"background_label": 1, "kind": "mask"},
    ),
    "1 and 2, background 2": (2 - MASK.astype(np.uint8), "value 2 covers", {"background_label": 2}),
    "inverted mask": (np.where(MASK, 0, 255).astype(np.uint8), "value 255 covers", {"background_label": 255}),
    "nucleus and border": (
        np.where(MASK, 1, np.where(RING, 2, 0)).astype(np.uint8), r"2 values \(1, 2\) lie in 24 pieces. .*cl",
        {"kind": "mask"},
    ),
    "background, nucleus and border from 1": (
        np.where(MASK, 2, np.where(RING, 3, 1)).astype(np.uint8), "value 1 covers .*2 other values lie in 24",
        {"background_label": 1, "kind": "mask"},
    ),
    "classes 0 to 2": (classes(2), r"2 values \(1, 2\) lie in 12 pieces", {"kind": "mask"}),
    "classes 0 to 4": (classes(4), r"4 values \(1, 2, 3, 4\) lie in 12 pieces", {"kind": "mask"}),
    "soft edges": (soft(MASK), "soft edges", {"kind": "mask"}),
    "stray values": (stray(MASK), "stray values", {"kind": "mask"}),
    "mask of 0 and 7": (MASK * np.uint8(7), "only id 7 occurs in 12 places", {"kind": "mask"}),
    "no background": (np.full(SHAPE, 7, np.uint8), "no background. Inverted", {"background_label": 7}),
}  # fmt: skip
EXPECTED = {
    "nucleus and border": MASK | RING,
    "background, nucleus and border from 1": MASK | RING,
    "soft edges": soft(MASK) > 0,
    "stray values": stray(MASK) > 0,
    "no background": np.zeros(SHAPE, bool),
}


@pytest.mark.parametrize("name", [name for name in ODD if name != "watershed lines are 0"])
def test_a_doubtful_file_is_refused_and_its_key_gives_the_cells(tmp_path, name):
    array, seen, keys = ODD[name]
    with pytest.raises(InputError, match=seen) as caught:
        keyed(tmp_path, array)
    (problem,) = caught.value.problems
    keyword = {"kind": "data.truth", "background_label": "data.background_label"}
    assert all(keyword[key] in problem for key in keys)
    found = keyed(tmp_path, array, **keys)
    expected = EXPECTED.get(name, MASK)
    np.testing.assert_array_equal(found.labels > 0, expected)
    assert found.count == ndimage.label(expected, np.ones((3, 3)))[1]


def test_zero_beside_another_background_is_asked_about(tmp_path):
    array, seen, _ = ODD["watershed lines are 0"]
    with pytest.raises(InputError, match=seen):
        keyed(tmp_path, array)
    with pytest.raises(InputError, match=r"0 occurs too, in 12 pieces beside 12 other values"):
        keyed(tmp_path, array, background_label=1)
    assert keyed(tmp_path, array, background_label=1, kind="instances").count == 13
    found = keyed(tmp_path, array, background_label=1, kind="mask")
    np.testing.assert_array_equal(found.labels > 0, MASK | RING)


@pytest.mark.parametrize("kind", ["auto", "instances"])
def test_a_background_that_is_not_there_settles_nothing(tmp_path, kind):
    with pytest.raises(InputError, match=r"value 1 covers .*data\.background_label 99 does not occur"):
        keyed(tmp_path, CELLS + 1, background_label=99, kind=kind)
    with pytest.raises(InputError, match="value 0 covers"):
        keyed(tmp_path, CELLS, background_label=99, kind=kind)


def test_instances_are_taken_as_they_are(tmp_path):
    found = keyed(tmp_path, classes(4), kind="instances")
    np.testing.assert_array_equal(found.labels, classes(4))
    assert "4 of 4 ids occur in several places" in found.warnings[0]
    assert keyed(tmp_path, MASK.astype(np.uint8) * 255, kind="instances").count == 1


def test_a_mask_joins_ids_that_touch(tmp_path):
    found = keyed(tmp_path, expand_labels(CELLS, 30), kind="mask", background_label=0)
    assert found.count == 1
    assert any("touching cells count as one" in text for text in found.warnings)


def test_the_ignore_label_is_neither_background_nor_foreground(tmp_path):
    array = np.where(MASK, CELLS + 1, 1).astype(np.uint8)
    array[60:] = 200
    for kind, count in (("auto", 12), ("mask", 12)):
        found = keyed(tmp_path, array, background_label=1, ignore_label=200, kind=kind)
        np.testing.assert_array_equal(found.labels == IGNORE_LABEL, array == 200)
        assert found.count == len(np.unique(CELLS[:60])) - 1 <= count


def test_a_cell_that_fills_the_image_can_be_confirmed(tmp_path):
    array = np.ones(SHAPE, np.uint8)
    array[:5] = 0
    with pytest.raises(InputError, match=r"data\.background_label"):
        keyed(tmp_path, array)
    assert keyed(tmp_path, array, background_label=0).count == 1


@settings(max_examples=60, deadline=None)
@given(
    points=st.lists(st.tuples(st.integers(0, 89), st.integers(0, 109)), min_size=8, max_size=60, unique=True),
    distance=st.sampled_from([4, 9, 200]),
    specks=st.integers(0, 3),
    seed=st.integers(0, 9),
)
def test_cells_of_any_shape_and_density_are_accepted(tmp_path_factory, points, distance, specks, seed):
    """Sparse to confluent, and with the specks of hand-painted labels."""
    markers = np.zeros(SHAPE, np.uint16)
    markers[tuple(np.transpose(points))] = np.arange(1, len(points) + 1)
    labels = expand_labels(markers, distance)
    shares = np.bincount(labels.ravel())[1:] / labels.size
    if shares.max() > 0.25:
        return
    random = np.random.default_rng(seed)
    for value in range(1, len(points) + 1):
        if (labels == value).sum() > 20:
            y, x = random.integers(0, SHAPE, (specks, 2)).T
            labels[y, x] = value
    _, expected = np.unique(labels, return_inverse=True)
    found = keyed(tmp_path_factory.mktemp("cells"), labels)
    np.testing.assert_array_equal(found.labels, expected.reshape(SHAPE) + (labels.min() > 0))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 99), side=st.integers(1, 40), shape=st.tuples(*[st.integers(1, 30)] * 2))
def test_the_survey_is_that_of_the_whole_image(seed, side, shape):
    values = np.random.default_rng(seed).choice([0, 0, 1, 2, 9], shape)
    with blocks_of(side):
        survey = survey_values(find_components(values))
    for i, value in enumerate(survey.values):
        mine = values == value
        parts, count = ndimage.label(mine, np.ones((3, 3)))
        areas = np.bincount(parts.ravel())[1:]
        edge = np.concatenate([mine[0], mine[-1], mine[:, 0], mine[:, -1]])
        assert survey.areas[i] == pytest.approx(mine.mean())
        assert survey.edges[i] == pytest.approx(edge.mean())
        assert (survey.pieces[i], survey.large[i]) == (count, (areas >= 0.1 * areas.max()).sum())


@pytest.mark.skipif(not DATA.is_dir(), reason="the real labelled images are not there")
@pytest.mark.parametrize("folder", REAL)
def test_real_label_images_are_accepted_and_what_is_made_of_them_is_not(tmp_path, folder):
    for path in sorted((DATA / folder / "masks").glob("*.png"))[::60]:
        labels = np.asarray(Image.open(path)).astype(np.uint16)
        labels[labels == 65535] = 0
        np.testing.assert_array_equal(keyed(tmp_path, labels).labels > 0, labels > 0, err_msg=path.name)
        if len(np.unique(labels)) < 8:
            continue
        inner = (labels > 0) & ~find_boundaries(labels, mode="inner")
        odd = {
            "shifted": labels + 1,
            "inverted": np.where(labels > 0, 0, 255),
            "one and two": np.where(labels > 0, 2, 1),
            "nucleus and border": np.where(inner, 1, np.where(labels > 0, 2, 0)),
            "soft": soft(labels > 0),
        }
        for name, array in odd.items():
            with pytest.raises(InputError, match=r"data\.(background_label|truth)"):
                pytest.fail(f"{path.name} {name}: {keyed(tmp_path, array.astype(np.uint16)).warnings}")
