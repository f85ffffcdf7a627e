"""Touching cells, and the maps that a network would predict for them."""

import numpy as np
import pytest
from scipy import ndimage as ndi
from skimage.draw import ellipse

from slideunet.model_json import HEADS, OFFSET_ZERO, output_maps
from slideunet.network.patches.targets import cell_targets


@pytest.fixture(scope="session")
def true_maps():
    """The maps of a perfect network, as bytes, with optional noise."""
    names = output_maps(HEADS)

    def make(labels, noise=0.0, seed=0):
        rng = np.random.default_rng(seed)
        targets = dict(zip(names, cell_targets(labels, names)[:-1], strict=True))
        maps = {name: 255 * targets[name] for name in ("foreground", "distance", "centre")}
        maps |= {name: np.where(labels > 0, OFFSET_ZERO + targets[name], 0) for name in ("dy", "dx")}
        noisy = {name: values + noise * rng.normal(size=values.shape) for name, values in maps.items()}
        return {name: np.rint(values).clip(0, 255).astype(np.uint8) for name, values in noisy.items()}

    return make


@pytest.fixture(scope="session")
def touching_cells():
    """Draw ellipses on top of each other; those that are no longer connected are removed."""

    def draw(seed, shape=(160, 190), count=40, radii=(4, 14)):
        rng = np.random.default_rng(seed)
        labels = np.zeros(shape, np.int32)
        for number in range(1, count + 1):
            place = ellipse(
                *rng.uniform((0, 0), shape), *rng.uniform(*radii, 2), shape, rng.uniform(0, np.pi)
            )
            labels[place] = number
        for number in range(1, count + 1):
            pieces, n = ndi.label(labels == number)
            if n > 1 or (pieces > 0).sum() < 30:
                labels[pieces > 0] = 0
        return labels

    return draw
