"""An ensemble is a network like any other: the mean of its members, and as exact."""

import numpy as np
import pytest
import torch

from slideunet.errors import InputError
from slideunet.geometry.tiles import Tile
from slideunet.network.architecture.ensemble import Ensemble, build_network
from slideunet.network.architecture.model_folder import load_model
from slideunet.network.architecture.receptive_field import halo
from slideunet.network.architecture.unet import UNet, UNetSpec
from slideunet.network.inference.engines import build_engine
from slideunet.network.training.fine_tuning import start_from
from slideunet.slides.normalisation import Normalisation

pytestmark = pytest.mark.usefixtures("one_thread")
CONSTANTS = Normalisation((100.0, 90.0), (60.0, -50.0))


@pytest.fixture
def members(random_network):
    return [random_network(seed, channels=2, width=8, heads=["distance", "centres"]) for seed in range(3)]


def test_the_output_is_the_mean_of_the_members(members):
    image = torch.rand(2, 2, 48, 64)
    with torch.inference_mode():
        expected = torch.stack([member(image, 8) for member in members]).mean(0)
        torch.testing.assert_close(Ensemble(members)(image, 8), expected)


def test_an_ensemble_is_saved_and_read_like_any_model(members, save_network, tmp_path):
    network, facts = load_model(save_network(tmp_path, Ensemble(members)))
    assert facts["architecture"]["members"] == network.spec.members == 3
    image = torch.rand(1, 2, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(network.eval()(image), Ensemble(members)(image), rtol=0, atol=0)


def test_heads_are_left_out_of_every_member(members):
    image = torch.rand(1, 2, 16, 16)
    some = Ensemble(members).with_heads(["distance"])
    with torch.inference_mode():
        torch.testing.assert_close(some(image), Ensemble(members)(image)[:, :2])
    assert some.spec.maps == ("foreground", "distance")
    assert some.spec.members == 3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["torch", "openvino"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_part_is_predicted_bit_for_bit_as_the_whole(members, name, precision):
    margin = halo(members[0].spec)
    engine = build_engine(Ensemble(members), name, precision, 1, margin)
    block = np.random.default_rng(0).integers(0, 255, (2, 144 + 2 * margin, 80 + 2 * margin)).astype(np.uint8)
    (whole,) = engine.predict([Tile(block, ((margin, margin + 144), (margin, margin + 80)))], CONSTANTS)
    assert whole[0].std() > 1
    part = Tile(block[:, 40 : 88 + 2 * margin, 16:], ((margin, margin + 48), (margin, margin + 64)))
    np.testing.assert_array_equal(next(engine.predict([part], CONSTANTS)), whole[:, 40:88, 16:])


def test_the_architecture_says_how_many_members_are_built():
    spec = UNetSpec(1, 4, 2, members=2)
    assert isinstance(build_network(spec), Ensemble)
    assert UNetSpec(**build_network(spec).spec.as_dict()) == spec
    assert type(build_network(UNetSpec(1, 4, 2))) is UNet


def test_a_training_cannot_begin_with_an_ensemble(members, save_network, tmp_path):
    folder = save_network(tmp_path, Ensemble(members))
    with pytest.raises(InputError, match=r"is an ensemble of 3 networks.*results/seeds/0"):
        start_from(UNet(UNetSpec(2, 8, 2)), folder)
