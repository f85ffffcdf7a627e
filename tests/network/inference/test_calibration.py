import json

import numpy as np
import pytest
import tifffile

import calibrate_model
from slideunet.errors import InputError, MachineError
from slideunet.geometry.tiles import Tile
from slideunet.model_json import int8_ranges, read_model_facts
from slideunet.network.architecture.receptive_field import halo
from slideunet.network.inference import calibration
from slideunet.network.inference.calibration import add_calibration, calibrate
from slideunet.network.inference.openvino_engine import OpenVINOEngine
from slideunet.slides.normalisation import Normalisation

pytestmark = pytest.mark.usefixtures("one_thread")

PLAIN = Normalisation((0.0,), (1.0,))


@pytest.fixture
def nncf():
    return pytest.importorskip("nncf")


@pytest.fixture
def network(random_network):
    """A network that finds foreground in some places of noise, and none where there is nothing."""
    network = random_network(width=8, depth=2, heads=["distance"])
    network.head.bias.data[0] = -1.0
    return network


def noise(count=6, side=90):
    rng = np.random.default_rng(0)
    return [(rng.random((1, side, side + 7), np.float32), PLAIN) for _ in range(count)]


@pytest.mark.slow
def test_ranges_hold_what_the_layers_get_and_leave_out_image_and_head(nncf, network, ranges_for, monkeypatch):
    monkeypatch.setattr(calibration, "_LEAST_AGREEMENT", 0.5)
    found = calibrate(network, halo(network.spec), noise())
    ranges, measured = int8_ranges({"int8": found}), ranges_for(network)
    assert set(ranges) == set(measured)
    assert not {"encoder.first.0", "head"} & set(ranges)
    for name, (low, high) in measured.items():
        assert ranges[name][1] == pytest.approx(high, rel=0.35)
        assert (ranges[name][0] < 0) == (low < 0)
    assert (found["crops"], 0.5 <= found["agreement"] <= 1) == (48, True)
    assert calibrate(network, halo(network.spec), noise()) == found


@pytest.mark.slow
def test_the_script_adds_ranges_and_nothing_else(nncf, network, save_network, tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "_LEAST_AGREEMENT", 0.5)
    model, images = save_network(tmp_path / "model", network, channels=["grey"]), tmp_path / "images"
    images.mkdir()
    for number, (pixels, _) in enumerate(noise()):
        tifffile.imwrite(images / f"{number}.tif", pixels[0])
    weights, before = (model / "model.safetensors").read_bytes(), read_model_facts(model)
    calibrate_model.main(model=model, images=images)
    after = read_model_facts(model)
    assert after.keys() - before.keys() == {"int8"}
    assert {name: after[name] for name in before} == before
    assert (model / "model.safetensors").read_bytes() == weights
    ranges = int8_ranges(after)
    tile = Tile(np.random.default_rng(3).random((1, 64 + 48, 64 + 48), np.float32), ((24, 88), (24, 88)))
    exact, rounded = (
        next(OpenVINOEngine(network, precision, 1, 24, used).predict([tile], PLAIN)).astype(int)
        for precision, used in (("fp32", None), ("int8", ranges))
    )
    assert np.abs(exact - rounded).mean() < 0.2 * exact.std()


@pytest.mark.parametrize(
    "images",
    [
        [],
        [(np.full((1, 90, 90), 0.0, np.float32), PLAIN)],
        [(np.zeros((1, 300, 40), np.uint8), Normalisation((7.0,), (1.0,)))] * 3,
    ],
    ids=["none", "one grey image", "empty slides"],
)
def test_images_without_cells_are_refused(random_network, images, monkeypatch):
    monkeypatch.setattr(calibration.importlib.util, "find_spec", lambda name: object())
    network = random_network(width=8)
    network.head.weight.data.zero_()
    network.head.bias.data.fill_(-9.0)
    with pytest.raises(InputError, match=r"Calibration needs 8 crops .* and 0 of 48 have some\. Name more"):
        calibrate(network, 24, images)


def test_a_model_that_int8_changes_is_refused_and_stays_as_it_was(
    network, save_network, tmp_path, monkeypatch
):
    """Ranges a thousandth of what they should be."""
    model = save_network(tmp_path, network)
    before = (model / "model.json").read_bytes()
    monkeypatch.setattr(calibration.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(calibration, "_measure", lambda graph, crops: {"decoder.1.3": (0.0, 1e-3)})
    with pytest.raises(InputError, match=r"foreground agrees to 0\.\d+ \(Dice\), less than 0\.95"):
        add_calibration(model, noise())
    assert (model / "model.json").read_bytes() == before


def test_a_missing_nncf_is_named_with_how_to_install_it(network, monkeypatch):
    monkeypatch.setattr(calibration.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MachineError, match="pip install nncf"):
        calibrate(network, 24, noise())


def test_images_of_other_channels_are_refused(random_network, save_network, tmp_path):
    names = ["a", "b"]
    model = save_network(tmp_path / "model", random_network(channels=2), channels=names)
    (tmp_path / "images").mkdir()
    tifffile.imwrite(tmp_path / "images/one.tif", np.zeros((64, 64), np.uint8))
    with pytest.raises(InputError, match=r"one\.tif has 1 channels, and the model 2 \(a, b\)"):
        calibrate_model.main(model=model, images=tmp_path / "images")
    assert "int8" not in json.loads((model / "model.json").read_text())
