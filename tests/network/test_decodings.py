"""Methods are compared by what they make of the maps; a network that knows the truth shows which is which."""

import numpy as np
import pytest
from skimage.draw import disk

from slideunet.images.normalisation import Normalisation
from slideunet.network.decodings import compare_methods
from slideunet.network.facts import HEADS, OFFSET_ZERO, output_maps
from slideunet.network.patches import LabelledSlide
from slideunet.network.targets import cell_targets
from slideunet.network.unet import UNetSpec

NAMES = output_maps(HEADS)


class Knowing:
    """An engine whose prediction is the image itself, which holds the maps of the truth."""

    name, version, precision, tile_limit, halo = "knowing", "1", "fp32", None, 0

    def __init__(self, heads):
        self.spec = UNetSpec(channels=len(NAMES), width=4, depth=1, heads=heads)

    def predict(self, block, constants, margin):
        inner = block[:, margin : block.shape[1] - margin, margin : block.shape[2] - margin]
        return inner[[NAMES.index(name) for name in self.spec.maps]]


@pytest.fixture
def slides(tmp_path, write_store):
    """Two slides: of a chain of discs that touch, and of one disc alone."""

    def write(name, *places):
        labels = np.zeros((70, 150), np.uint32)
        for number, (y, x, radius) in enumerate(places, start=1):
            labels[disk((y, x), radius, shape=labels.shape)] = number
        targets = dict(zip(NAMES, cell_targets(labels.astype(np.int32), NAMES)[:-1], strict=True))
        planes = [
            np.where(labels > 0, OFFSET_ZERO + targets[name], 0)
            if name in ("dy", "dx")
            else 255 * targets[name]
            for name in NAMES
        ]
        manifest = write_store(
            tmp_path / f"{name}.json", np.rint(planes).clip(0, 255).astype(np.uint8), labels=labels
        )
        return LabelledSlide(manifest, labels.shape, Normalisation((0.0,) * 5, (1.0,) * 5))

    return [
        write("chain", (30, 30, 14), (30, 57, 14), (30, 84, 14), (30, 111, 14)),
        write("alone", (40, 60, 12)),
    ]


def test_each_method_gets_the_score_that_it_deserves(slides):
    found = compare_methods(Knowing(("distance", "centres")), slides, 0.5)
    assert list(found) == ["distance", "centres", "watershed", "components"]
    for method in ("distance", "centres", "watershed"):
        assert found[method]["ap50"] == 1.0
    # Four discs are one component: nothing of them is found, one cell of the five is.
    assert found["components"]["ap50"] == pytest.approx(1 / (5 + 2 - 1))
    assert all(values["map"] <= values["ap50"] + 1e-12 for values in found.values())


def test_only_methods_that_the_network_allows_are_tried(slides):
    assert list(compare_methods(Knowing(("centres",)), slides, 0.5)) == ["centres", "watershed", "components"]
    assert list(compare_methods(Knowing(()), slides, 0.5)) == ["watershed", "components"]
