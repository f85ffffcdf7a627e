from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from slideunet.demo import fluorescence, histology
from slideunet.demo.cell_positions import cells_near
from slideunet.demo.donors import fluorescence_donor, histology_donor
from slideunet.demo.drawing import PIECE, draw
from slideunet.demo.nucleus_shapes import paint_labels, stamp
from slideunet.demo.scene import Rectangle, Scene

LOOKS = ["fluorescence", "histology"]
HEIGHT, WIDTH = 391, 533


def scene(look, **changes):
    return Scene(**{"look": look, "seed": 2, "donor_seed": 1, "height": HEIGHT, "width": WIDTH} | changes)


@pytest.fixture(scope="module", params=LOOKS)
def drawn(request):
    slide = scene(request.param)
    return slide, *draw(slide)


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
    slide = scene(look)
    module, donor = (
        (fluorescence, fluorescence_donor(1)) if look == "fluorescence" else (histology, histology_donor(1))
    )
    whole = Rectangle(0, 0, HEIGHT, WIDTH)
    cells = cells_near(whole, slide, donor.population, module.habitat(slide))
    assert np.array_equal(draw(slide)[1], paint_labels(stamp(cells), whole))


def drawn_at_once_and_in_blocks(module, slide, donor):
    """Draw two neighbouring blocks as one region and apart."""
    both = Rectangle(0, 0, PIECE, 2 * PIECE)
    pieces = []
    for region in (both, Rectangle(0, 0, PIECE, PIECE), Rectangle(0, PIECE, PIECE, 2 * PIECE)):
        around = region.grown(module.MARGIN)
        stamps = stamp(cells_near(around, slide, donor.population, module.habitat(slide)))
        pieces.append(module.draw_image(region, slide, donor, stamps, np.random.default_rng(0)).astype(int))
    return pieces[0], np.concatenate(pieces[1:], axis=2)


def test_histology_has_no_seams_between_blocks():
    donor = replace(histology_donor(1), noise=0.0)
    at_once, in_blocks = drawn_at_once_and_in_blocks(histology, scene("histology"), donor)
    assert np.abs(at_once - in_blocks).max() <= 1


def test_fluorescence_has_no_seams_between_blocks():
    # So much light that its shot noise is far below one grey level per cell.
    donor = replace(fluorescence_donor(1), signal=1e7, gain=1e-4, read_noise=0.0, offset=0.0)
    at_once, in_blocks = drawn_at_once_and_in_blocks(fluorescence, scene("fluorescence"), donor)
    assert at_once.max() > 1000
    assert np.abs(at_once - in_blocks).max() <= 3


@pytest.mark.parametrize("look", LOOKS)
def test_the_same_seed_draws_the_same_and_another_seed_another_slide(look):
    image, labels = draw(scene(look))
    again, again_labels = draw(scene(look))
    assert np.array_equal(image, again)
    assert np.array_equal(labels, again_labels)
    other, other_labels = draw(scene(look, seed=3))
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
        image, labels = draw(slide)
        sizes.append(np.median(np.unique(labels[labels > 0], return_counts=True)[1]))
        brightness.append(np.median(image))
    assert max(sizes) > 1.2 * min(sizes)
    assert max(brightness) > 1.03 * min(brightness)


@pytest.mark.parametrize("look", LOOKS)
def test_a_field_without_cells_has_no_label_but_is_not_blank(look):
    slide = scene(look, density=0.0)
    image, labels = draw(slide)
    assert not labels.any()
    assert image.std() > 1
