"""A glow is added around nuclei, never far from them, never brighter than said, and repeats with its seed."""

import numpy as np
import pytest
import torch
from scipy import ndimage as ndi

from slideunet.network.patches.cytoplasm import add_cytoplasm, known_foreground
from slideunet.network.patches.targets import IGNORE_TARGET


def nuclei(n=24, shape=(181, 203), seed=0):
    """Return images with bright discs on a dark background and their foreground."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices(shape)
    inside = np.zeros((n, *shape), bool)
    for plane in inside:
        for y, x in rng.integers(20, 90, (3, 2)):
            plane |= (rows - y) ** 2 + (columns - x) ** 2 <= 11**2
    images = np.where(inside, 0.8, 0.05).astype(np.float32)[:, None]
    return torch.from_numpy(images), torch.from_numpy(inside.astype(np.float32))


def glow(strength, seed=0, change=None):
    images, foreground = nuclei()
    if change is not None:
        images, foreground = change(images, foreground)
    after = add_cytoplasm(
        images, foreground, strength, np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    )
    return images, foreground, after - images


def test_some_images_get_a_glow_that_repeats_with_its_seed():
    _, _, added = glow(0.5)
    touched = (added != 0).flatten(1).any(dim=1)
    assert 0 < touched.sum() < len(touched)
    assert torch.equal(added, glow(0.5)[2])
    assert not torch.equal(added, glow(0.5, seed=1)[2])


def test_strength_zero_changes_nothing():
    assert not glow(0)[2].any()


@pytest.mark.parametrize("strength", [0.2, 0.6])
def test_the_glow_is_light_near_nuclei_and_no_brighter_than_its_strength(strength):
    _, foreground, added = glow(strength)
    assert (added >= 0).all()
    # The contrast of these nuclei is 0.75, the texture at most doubles the glow.
    assert added.max() <= 2 * 0.75 * strength
    lit = added[:, 0].numpy() > 1e-3
    # Three standard deviations of the widest glow, and its largest shift.
    far = np.stack([ndi.distance_transform_edt(plane == 0) for plane in foreground.numpy()]) > 3 * 40 + 8 * 4
    assert far.any()
    assert not lit[far].any()
    # It is seen outside nuclei, or it would teach nothing.
    assert lit[foreground.numpy() == 0].any()


def test_images_without_nuclei_or_without_background_stay():
    assert not glow(0.5, change=lambda image, inside: (image, torch.zeros_like(inside)))[2].any()
    assert not glow(0.5, change=lambda image, inside: (image, torch.ones_like(inside)))[2].any()


def test_unknown_pixels_are_neither_nucleus_nor_background():
    labels = torch.tensor([[[-1, 0, 3]]])
    assert known_foreground(labels).tolist() == [[[IGNORE_TARGET, 0.0, 1.0]]]
