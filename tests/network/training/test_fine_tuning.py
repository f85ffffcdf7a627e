"""A training that begins with the weights of a model knows at its start what that model knew."""

import pytest
import torch

from slideunet.errors import InputError
from slideunet.model_json import HEADS, output_maps
from slideunet.network.architecture.unet import UNet, UNetSpec
from slideunet.network.training.fine_tuning import start_from


@pytest.fixture
def model(tmp_path, random_network, save_network):
    """Save a network with random weights; return it with its folder."""

    def make(**choices):
        network = random_network(**choices)
        return network, save_network(tmp_path, network)

    return make


def begun(folder, **choices):
    network = UNet(UNetSpec(**({"channels": 1, "width": 4, "depth": 2} | choices)))
    start_from(network, folder)
    return network.eval()


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(1, 1), (1, 3), (3, 1), (3, 3), (2, 5)])
def test_an_image_of_equal_channels_gives_what_it_gave(model, before, after):
    source, folder = model(channels=before)
    plane = torch.randn(2, 1, 16, 20)
    found = begun(folder, channels=after)(plane.expand(-1, after, -1, -1))
    torch.testing.assert_close(found, source(plane.expand(-1, before, -1, -1)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("stride", [1, 2])
def test_with_the_same_channels_every_weight_is_the_same(model, stride):
    source, folder = model(channels=3, head_stride=stride)
    for name, values in begun(folder, channels=3, head_stride=stride).state_dict().items():
        assert torch.equal(values, source.state_dict()[name])


@pytest.mark.slow
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("before", [(), ("centres",), ("distance", "centres")])
@pytest.mark.parametrize("after", [(), ("distance",), ("distance", "centres")])
def test_heads_keep_what_they_learned_and_new_ones_begin_at_random(model, before, after, stride):
    source, folder = model(heads=before, head_stride=stride)
    network = begun(folder, heads=after, head_stride=stride)
    image = torch.randn(1, 1, 16, 16)
    found, known = network(image)[0], source(image)[0]
    for row, name in enumerate(output_maps(after)):
        if name in output_maps(before):
            torch.testing.assert_close(found[row], known[output_maps(before).index(name)])
        else:
            assert not torch.equal(found[row], known[0])
    assert len(found) == 1 + sum(len(HEADS[head]) for head in after)


def test_another_architecture_is_refused_with_both_named(model):
    _, folder = model()
    with pytest.raises(InputError, match=r"has width 4, depth 2; this training has width 8, depth 3"):
        begun(folder, width=8, depth=3)


def test_a_model_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"no .*model\.json"):
        begun(tmp_path / "nowhere")
