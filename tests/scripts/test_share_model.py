import json

import numpy as np
import pytest
import torch

import share_model
from slideunet.errors import InputError
from slideunet.network.architecture.model_folder import load_model


@pytest.fixture
def model(tmp_path, save_network, random_network):
    return save_network(tmp_path / "model", random_network())


def test_half_precision_predicts_nearly_the_same_maps(model, tmp_path):
    share_model.main(model=model, format="half", out=tmp_path / "half")
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (model, tmp_path / "half")]
    assert sizes[1] < 0.65 * sizes[0]  # names and batch statistics take up much of a small file
    (full, facts), (half, half_facts) = load_model(model), load_model(tmp_path / "half")
    assert half_facts | {"sha256": ""} == facts | {"sha256": ""}
    image = torch.rand(1, 1, 32, 32)
    with torch.inference_mode():
        rounded, exact = half.eval()(image).sigmoid(), full.eval()(image).sigmoid()
    np.testing.assert_allclose(rounded, exact, atol=0.02)
    for name, tensor in full.state_dict().items():
        if "running" in name:
            assert torch.equal(half.state_dict()[name], tensor)


@pytest.mark.slow
def test_onnx_is_one_file(model, tmp_path):
    share_model.main(model=model, format="onnx", out=tmp_path / "new" / "model.onnx")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["model.onnx"]


def test_existing_files_are_not_overwritten(model, tmp_path):
    (tmp_path / "kept.onnx").write_text("mine")
    with pytest.raises(InputError, match=r"kept\.onnx exists"):
        share_model.main(model=model, format="onnx", out=tmp_path / "kept.onnx")
    assert (tmp_path / "kept.onnx").read_text() == "mine"


def test_missing_packages_are_reported(model, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install onnxscript bioimageio\.spec"):
        share_model.main(model=model, format="bioimageio", out=tmp_path / "model.zip")


def test_a_folder_without_a_model_is_rejected(tmp_path):
    with pytest.raises(InputError, match=r"there is no .*model\.json"):
        share_model.main(model=tmp_path, format="half", out=tmp_path / "half")


@pytest.mark.slow
def test_a_package_holds_the_card(model, tmp_path):
    (model / "MODEL_CARD.md").write_text("# Mine\n")
    share_model.main(model=model, format="bioimageio", out=tmp_path / "mine.zip")
    assert (tmp_path / "mine.zip").is_file()
    assert (tmp_path / "mine" / "model.onnx").is_file()
    assert json.loads((model / "model.json").read_text())["threshold"] == 0.5
