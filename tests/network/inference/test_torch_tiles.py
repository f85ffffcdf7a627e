import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slideunet.geometry.tiles import tile_grid
from slideunet.network.architecture.receptive_field import halo
from slideunet.network.inference import torch_tiles
from slideunet.network.inference.convolutions import convolutions
from slideunet.network.inference.torch_tiles import for_inference, predict_tile, predict_tiles
from slideunet.slides.normalisation import Normalisation

pytestmark = pytest.mark.usefixtures("one_thread")

CONSTANTS = Normalisation((100.0, 90.0), (60.0, -50.0))
SHAPES = [(1, 1), (1, 37), (41, 1), (3, 5), (67, 91), (64, 64), (130, 75)]


def draw(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (2, *shape)).astype(np.uint8)


def stitch(network, pixels, tile, precision="fp32"):
    plane = np.full(pixels.shape[1:], np.nan, np.float32)
    for place, output in predict_tiles(network, pixels, CONSTANTS, tile=tile, precision=precision):
        plane[place.write] = output[0]
    return plane


def whole(network, pixels, precision="fp32"):
    """One pass over the whole image, mirrored by NumPy on all sides, at its end farther than needed."""
    reach, multiple = halo(network.spec), network.spec.multiple
    fill = [(reach, 20 * 16 + -side % multiple) for side in pixels.shape[1:]]
    padded = np.pad(pixels, [(0, 0), *fill], mode="reflect")
    batch = torch.from_numpy(CONSTANTS.apply(padded))[None].to(memory_format=torch.channels_last)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        logits = network(batch)[0, 0].float().numpy()
    return logits[reach : reach + pixels.shape[1], reach : reach + pixels.shape[2]]


@pytest.mark.slow
@pytest.mark.parametrize("decoder", ["transposed", "upsample"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("shape", SHAPES)
def test_tiles_give_bit_for_bit_what_one_pass_gives(random_network, decoder, precision, shape):
    network = for_inference(random_network(channels=2, decoder=decoder))
    pixels = draw(shape)
    expected = whole(network, pixels, precision)
    assert expected.std() > 0.01 or expected.size == 1
    for tile in (16, 36, 64, 128):
        np.testing.assert_array_equal(stitch(network, pixels, tile, precision), expected)


@given(st.integers(1, 60), st.integers(1, 60), st.integers(8, 70), st.integers(0, 3))
@settings(max_examples=15, deadline=None)
def test_any_size_of_slide_and_tile_gives_the_same(random_network, height, width, tile, seed):
    network = for_inference(random_network(seed=seed, channels=2, width=2, depth=2))
    pixels = draw((height, width), seed)
    np.testing.assert_array_equal(stitch(network, pixels, tile), whole(network, pixels))


@pytest.mark.slow
@pytest.mark.parametrize("encoder", [None, "efficientnet_lite0", "resnet18"])
@pytest.mark.parametrize("decoder", ["transposed", "upsample"])
def test_the_network_as_deep_as_the_default_is_exact(random_network, decoder, encoder):
    network = for_inference(random_network(channels=2, width=8, depth=4, decoder=decoder, encoder=encoder))
    pixels = draw((150, 131))
    np.testing.assert_array_equal(stitch(network, pixels, 64), whole(network, pixels))


@pytest.mark.slow
@pytest.mark.parametrize("decoder", ["transposed", "upsample"])
@pytest.mark.parametrize("depth", [2, 3])
def test_a_shorter_halo_is_not_exact(random_network, decoder, depth):
    different = []
    for seed in range(3):
        network = for_inference(random_network(seed, channels=2, depth=depth, decoder=decoder))
        pixels, multiple = draw((50, 50)), network.spec.multiple
        expected = whole(network, pixels)
        found = np.empty_like(expected)
        # Room at the end of what is read would be a longer halo there, but not at its beginning.
        for place in tile_grid((50, 50), 4 * multiple, halo(network.spec) - multiple, multiple):
            found[place.write] = predict_tile(network, pixels, CONSTANTS, place, "fp32")[0]
        different.append(not np.array_equal(found, expected))
    assert any(different)


def test_room_is_made_only_where_torch_would_change_its_kernel(random_network):
    roomy = for_inference(random_network(channels=3, width=32, depth=4)).spec
    assert torch_tiles._with_room((-96, 144), roomy, 96) == (-96, 144)
    scarce = for_inference(random_network(channels=1, width=4, depth=2)).spec
    start, stop = torch_tiles._with_room((-24, 28), scarce, 24)
    assert (start, (stop - start) % 4) == (-24, 0)
    sizes = [found for found in convolutions(scarce, stop - start - 48, 24) if found.kind == "3x3"]
    assert min(found.inputs * found.side**2 for found in sizes) > 20480


@pytest.mark.parametrize("encoder", [None, "efficientnet_lite0", "resnet18"])
def test_folded_batch_normalisation_gives_the_same_logits(random_network, encoder):
    network = random_network(channels=2, encoder=encoder)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    folded = for_inference(network.train())
    assert not folded.training
    assert network.training
    image = torch.rand(1, 2, 32, 48)
    with torch.inference_mode():
        torch.testing.assert_close(folded(image), network.eval()(image), atol=1e-4, rtol=1e-4)
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in folded.modules())
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_only_the_tiles_that_are_asked_for_are_read(random_network):
    reads = []

    class Recorder:
        shape = (2, 200, 200)

        def __getitem__(self, index):
            reads.append(index)
            return draw((200, 200))[index]

    tiles = predict_tiles(for_inference(random_network(channels=2)), Recorder(), CONSTANTS, tile=64)
    next(tiles)
    assert len(reads) == 1


@pytest.mark.parametrize("tile", [1, 16, 17])
def test_a_tile_side_is_rounded_up(random_network, tile):
    network = random_network()
    assert torch_tiles.aligned(tile, network) == -(-tile // 4) * 4
