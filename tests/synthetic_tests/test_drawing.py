import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from synthetic.cell_positions import cells_near
from synthetic.drawing import LATTICE_BLOCK, RENDERERS, draw, draw_image, draw_labels
from synthetic.nucleus_shapes import paint_labels, stamp_cells
from synthetic.scene import Rectangle, Scene

from slideunet.errors import InputError

LOOKS = ["fluorescence", "histology"]
HEIGHT, WIDTH = 391, 533


def scene(look, **changes):
    return Scene(**{"look": look, "seed": 2, "donor_seed": 1, "height": HEIGHT, "width": WIDTH} | changes)


@pytest.fixture(scope="module", params=LOOKS)
def drawn(request):
    slide = scene(request.param)
    return slide, *draw(slide.region, slide)


@st.composite
def regions(take):
    top, left = take(st.integers(0, HEIGHT - 1)), take(st.integers(0, WIDTH - 1))
    height = take(st.integers(1, min(HEIGHT - top, 120)))
    width = take(st.integers(1, min(WIDTH - left, 120)))
    return Rectangle(top, left, top + height, left + width)


@settings(max_examples=12, deadline=None)
@given(region=regions())
def test_a_region_does_not_depend_on_how_the_slide_is_cut(drawn, region):
    slide, image, labels = drawn
    part, part_labels = draw(region, slide)
    place = region.inside(slide.region)
    assert np.array_equal(part, image[(slice(None), *place)])
    assert np.array_equal(part_labels, labels[place])


def test_image_and_labels_can_be_drawn_apart(drawn):
    slide, image, labels = drawn
    region = Rectangle(100, 200, 300, 391)
    place = region.inside(slide.region)
    assert np.array_equal(draw_image(region, slide), image[(slice(None), *place)])
    assert np.array_equal(draw_labels(region, slide), labels[place])


def test_shape_and_type(drawn):
    slide, image, labels = drawn
    assert image.shape == (slide.channels, HEIGHT, WIDTH)
    assert image.dtype == slide.dtype
    assert labels.shape == (HEIGHT, WIDTH)
    assert labels.dtype == np.uint32
    if slide.look == "fluorescence":
        assert image.max() <= 4095


@pytest.mark.parametrize("look", LOOKS)
def test_labels_have_no_seams_between_blocks(look):
    slide, renderer = scene(look), RENDERERS[look]
    cells = cells_near(slide.region, slide, renderer.donor(1).population, renderer.habitat(slide))
    assert np.array_equal(draw_labels(slide.region, slide), paint_labels(stamp_cells(cells), slide.region))


def drawn_at_once_and_in_blocks(look, **changes):
    """Draw two neighbouring blocks as one region and apart, by a donor with changes."""
    slide, renderer = scene(look), RENDERERS[look]
    donor = replace(renderer.donor(1), **changes)
    left = Rectangle(0, 0, LATTICE_BLOCK, LATTICE_BLOCK)
    right = Rectangle(0, LATTICE_BLOCK, LATTICE_BLOCK, 2 * LATTICE_BLOCK)
    pieces = []
    for region in (Rectangle(*left[:3], right.right), left, right):
        around = region.grown(renderer.margin)
        stamps = stamp_cells(cells_near(around, slide, donor.population, renderer.habitat(slide)))
        pieces.append(renderer.draw(region, slide, donor, stamps, np.random.default_rng(0)).astype(int))
    return pieces[0], np.concatenate(pieces[1:], axis=2)


def test_histology_has_no_seams_between_blocks():
    at_once, in_blocks = drawn_at_once_and_in_blocks("histology", noise=0.0)
    assert np.abs(at_once - in_blocks).max() <= 1


def test_fluorescence_has_no_seams_between_blocks():
    # So much light that its shot noise is far below one grey level per cell.
    changes = {"signal": 1e7, "gain": 1e-4, "read_noise": 0.0, "offset": 0.0}
    at_once, in_blocks = drawn_at_once_and_in_blocks("fluorescence", **changes)
    assert at_once.max() > 1000
    assert np.abs(at_once - in_blocks).max() <= 3


@pytest.mark.parametrize("look", LOOKS)
def test_the_same_seed_draws_the_same_and_another_seed_another_slide(look):
    region = Rectangle(0, 0, 200, 220)
    image, labels = draw(region, scene(look))
    again, again_labels = draw(region, scene(look))
    assert np.array_equal(image, again)
    assert np.array_equal(labels, again_labels)
    other, other_labels = draw(region, scene(look, seed=3))
    assert not np.array_equal(image, other)
    assert not np.array_equal(labels, other_labels)


def test_nearly_every_cell_is_one_piece_and_ids_are_unique(drawn):
    _, _, labels = drawn
    ids = np.unique(labels[labels > 0])
    pieces = [ndimage.label(labels == cell, structure=np.ones((3, 3)))[1] for cell in ids]
    assert len(ids) > 50
    assert np.mean(np.array(pieces) == 1) > 0.95
    assert np.bincount(np.searchsorted(ids, labels[labels > 0])).max() < np.pi * 33**2


def test_nuclei_are_brighter_or_darker_than_what_is_around_them(drawn):
    slide, image, labels = drawn
    near = ndimage.binary_dilation(labels > 0, iterations=6) & (labels == 0)
    # The red channel shows haematoxylin and hardly any eosin.
    nuclei, around = image[0][labels > 0].mean(), image[0][near].mean()
    assert nuclei > 1.5 * around if slide.look == "fluorescence" else nuclei < 0.8 * around


@pytest.mark.parametrize("look", LOOKS)
def test_donors_differ_in_the_size_of_cells_and_in_brightness(look):
    sizes, brightness = [], []
    for donor_seed in range(1, 5):
        slide = scene(look, donor_seed=donor_seed, height=256, width=256)
        image, labels = draw(slide.region, slide)
        sizes.append(np.median(np.unique(labels[labels > 0], return_counts=True)[1]))
        brightness.append(np.median(image))
    assert max(sizes) > 1.2 * min(sizes)
    assert max(brightness) > 1.03 * min(brightness)


@pytest.mark.parametrize("look", LOOKS)
def test_a_field_without_cells_has_no_label_but_is_not_blank(look):
    slide = scene(look, density=0.0)
    image, labels = draw(slide.region, slide)
    assert not labels.any()
    assert image.std() > 1


def test_the_last_corner_of_a_huge_slide_takes_little_memory():
    slide = scene("fluorescence", height=700_001, width=699_999)
    tracemalloc.start()
    image, labels = draw(Rectangle(699_700, 699_700, 700_001, 699_999), slide)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert image.any()
    assert len(np.unique(labels)) > 5
    assert peak < 64e6


@pytest.mark.parametrize("region", [(-1, 0, 5, 5), (0, 0, HEIGHT + 1, 5), (5, 5, 5, 9), (0, 9, 5, 5)])
def test_only_pixels_of_the_slide_can_be_drawn(region):
    with pytest.raises(InputError, match="beyond the slide of 391 x 533"):
        draw(Rectangle(*region), scene("fluorescence"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"look": "phase"}, "look is 'phase'"),
        ({"height": 0}, "0 x 533"),
        ({"height": 900_000, "width": 900_000}, "too many"),
        ({"density": float("nan")}, "density nan"),
        ({"seed": -1}, "seed -1"),
    ],
)
def test_scenes_that_cannot_be_drawn_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        scene(**({"look": "fluorescence"} | changes))
