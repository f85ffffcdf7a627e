import hashlib
import json
import pickle

import pytest
import torch

from slideunet.errors import DamagedDataError, InputError
from slideunet.network.architecture.model_folder import load_model, save_model


@pytest.fixture
def network(random_network):
    return random_network()


@pytest.fixture
def model(tmp_path, network):
    facts = {"normalisation": "unit", "background": "dark", "halo": 24, "threshold": 0.5, "precision": "fp32"}
    save_model(tmp_path, network.state_dict(), facts | {"architecture": network.spec.as_dict()})
    return tmp_path


def rewrite(model, **changes):
    facts = json.loads((model / "model.json").read_text()) | changes
    (model / "model.json").write_text(json.dumps(facts))


def test_a_model_is_read_as_it_was_written(model, network):
    found, facts = load_model(model)
    assert found.spec == network.spec
    for name, tensor in network.state_dict().items():
        assert torch.equal(found.state_dict()[name], tensor)
    assert facts["sha256"] == hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest()
    assert sorted(path.name for path in model.iterdir()) == ["model.json", "model.safetensors"]


def test_weights_in_another_memory_layout_are_the_same(tmp_path, network):
    facts = {"normalisation": "unit", "background": "dark", "halo": 24, "threshold": 0.5, "precision": "fp32"}
    weights = network.to(memory_format=torch.channels_last).state_dict()
    save_model(tmp_path, weights, facts | {"architecture": network.spec.as_dict()})
    found, _ = load_model(tmp_path)
    for name, tensor in weights.items():
        assert torch.equal(found.state_dict()[name], tensor)


@pytest.mark.parametrize("halo", [0, 20, 32])
def test_a_halo_that_is_not_that_of_the_network_is_never_saved(tmp_path, network, halo):
    with pytest.raises(ValueError, match=f"halo {halo} px, where the receptive field needs 24 px"):
        save_model(tmp_path, network.state_dict(), {"architecture": network.spec.as_dict(), "halo": halo})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("place", [100, -1])
def test_one_changed_bit_is_noticed(model, place):
    path = model / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedDataError, match=r"model\.safetensors does not match the sha256"):
        load_model(model)


def test_truncated_weights_are_noticed(model):
    path = model / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(DamagedDataError, match="damaged"):
        load_model(model)


@pytest.mark.parametrize("name", ["model.safetensors", "model.json"])
def test_a_missing_file_is_explained(model, name):
    (model / name).unlink()
    with pytest.raises(InputError, match=rf"model\.weights: there is no .*{name}"):
        load_model(model)


class Spy:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (type(self.path).touch, (self.path,))


def test_pickled_weights_are_refused_and_not_run(model, tmp_path):
    pickled = pickle.dumps(Spy(tmp_path / "ran"))
    (tmp_path / "weights.pt").write_bytes(pickled)
    with pytest.raises(InputError, match=r"is a file.*can run code and are not loaded"):
        load_model(tmp_path / "weights.pt")
    (model / "model.safetensors").write_bytes(pickled)
    rewrite(model, sha256=hashlib.sha256(pickled).hexdigest())
    with pytest.raises(InputError, match="does not fit the architecture"):
        load_model(model)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"depth": 3},
        {"width": 8},
        {"channels": 2},
        {"decoder": "upsample"},
        {"layers": 3},
        {"width": "4"},
        {"width": -4},
    ],
)
def test_another_architecture_than_the_weights_is_refused(model, network, wrong):
    rewrite(model, architecture=network.spec.as_dict() | wrong)
    with pytest.raises(InputError, match=r"model\.safetensors does not fit the architecture in model\.json"):
        load_model(model)
