"""A slide that the network sees at another size: the maps have its own pixels, however it is cut."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.transform import resize_local_mean

from slideunet.network.architecture.receptive_field import halo
from slideunet.network.inference.openvino_engine import OpenVINOEngine
from slideunet.network.inference.predict_region import predict_core
from slideunet.network.inference.scaling.rescaled import Rescaled, predict_at
from slideunet.slides.normalisation import Normalisation

pytestmark = pytest.mark.usefixtures("one_thread")

CONSTANTS = Normalisation((100.0,), (60.0,))
SCALES = (0.5, 2.0, 4.0)


@pytest.fixture(scope="module")
def engine(random_network):
    network = random_network(width=8, depth=2, heads=["distance"])
    network.head.weight.data /= 20
    return OpenVINOEngine(network, "fp32", 1, halo(network.spec))


def draw(shape, seed=0):
    """Smooth noise, so that a network sees something at every size."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 3)
    return np.clip(120 + 400 * noise, 0, 255).astype(np.uint8)[None]


def everything(pixels):
    return tuple((0, side) for side in pixels.shape[1:])


@pytest.mark.parametrize("scale", SCALES)
def test_the_maps_are_those_of_the_resized_slide_resized_back(engine, scale):
    pixels = draw((160, 224))
    shape = tuple(round(side / scale) for side in pixels.shape[1:])
    if scale > 1:
        seen = np.floor(resize_local_mean(pixels[0].astype(float), shape) + 0.5)
    else:
        seen = np.floor(
            ndimage.zoom(pixels[0].astype(float), 2, order=1, mode="nearest", grid_mode=True) + 0.5
        )
    seen = seen.astype(np.uint8)[None]
    np.testing.assert_array_equal(Rescaled(pixels, scale)[..., :, :], seen)
    maps = predict_core(engine, seen, CONSTANTS, everything(seen)).astype(float)
    if scale > 1:
        expected = ndimage.zoom(maps, (1, scale, scale), order=1, mode="nearest", grid_mode=True)
    else:
        expected = resize_local_mean(maps, pixels.shape[1:], channel_axis=0)
    found = predict_at(engine, pixels, CONSTANTS, everything(pixels), scale)
    assert (found.dtype, found.shape) == (np.uint8, (2, 160, 224))
    assert found.std() > 5
    np.testing.assert_allclose(found, expected, atol=0.501)


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(40, 150),
    width=st.integers(40, 150),
    scale=st.sampled_from([*SCALES, 2.7]),
    data=st.data(),
)
def test_a_part_is_that_part_of_the_whole(engine, height, width, scale, data):
    pixels = draw((height, width))
    whole = predict_at(engine, pixels, CONSTANTS, everything(pixels), scale)
    core = tuple(
        data.draw(st.tuples(st.integers(0, side - 1), st.integers(0, side - 1)).map(sorted))
        for side in (height, width)
    )
    core = tuple((start, stop + 1) for start, stop in core)
    part = predict_at(engine, pixels, CONSTANTS, core, scale, tile=32)
    np.testing.assert_array_equal(part, whole[:, slice(*core[0]), slice(*core[1])])


@pytest.mark.parametrize("scale", SCALES)
def test_what_is_wanted_does_not_depend_on_what_is_not(engine, scale):
    pixels = draw((150, 170))
    wanted = np.zeros((150, 170), bool)
    wanted[31:54, 60:61] = wanted[149, 169] = True
    whole = predict_at(engine, pixels, CONSTANTS, everything(pixels), scale)
    found = predict_at(engine, pixels, CONSTANTS, everything(pixels), scale, tile=32, wanted=wanted)
    np.testing.assert_array_equal(found, np.where(wanted, whole, 0))


def test_only_what_is_needed_of_a_large_slide_is_read(engine):
    class Counted:
        shape, dtype, read = (1, 10**6, 10**6), np.dtype(np.uint8), 0

        def __getitem__(self, index):
            lengths = [
                len(range(*part.indices(side))) for part, side in zip(index[1:], self.shape[1:], strict=True)
            ]
            self.read += np.prod(lengths)
            return np.full((1, *lengths), 100, np.uint8)

    pixels = Counted()
    maps = predict_at(engine, pixels, CONSTANTS, ((500_001, 500_065), (7, 71)), 2.0)
    assert maps.shape == (2, 64, 64)
    assert pixels.read < 2**17
