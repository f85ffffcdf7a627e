import json

import pandas as pd
import pytest
import torch
from schemas import file_errors

from slideunet.errors import InputError
from slideunet.network.architecture.encoder_weights import load_encoder_weights
from slideunet.network.architecture.encoders import build_encoder
from slideunet.network.architecture.model_folder import load_model
from slideunet.network.architecture.unet import UNetSpec
from slideunet.network.training import loop
from slideunet.network.training import train as train_module
from slideunet.network.training.train import build_spec, train_model

pytestmark = pytest.mark.usefixtures("one_thread")

DATA = {"normalisation": "percentile", "background": "dark", "channels": None}
FILES = ["curves.png", "history.csv", "model.json", "model.safetensors", "patches.png"]


@pytest.fixture(scope="module")
def model(model_section):
    return model_section | {"decoder": "upsample"}


@pytest.fixture(scope="module")
def images(tmp_path_factory, convert_cells):
    folder = tmp_path_factory.mktemp("cohort")
    for seed in range(2):
        convert_cells(folder, f"S{seed}", seed=seed, height=70, width=90)
    return folder / "slides"


@pytest.fixture
def train(images, training_section, model):
    def run(folder, val=("S1",), **changes):
        slides = {"train": ["S0"], "val": list(val)}
        section = training_section | changes
        train_model(slides, images, model=model, data=DATA, training=section, folder=folder, threads=1)
        return json.loads((folder / "model.json").read_text())

    return run


def test_a_model_folder_tells_all_that_is_needed_to_use_it(train, tmp_path):
    facts = train(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [*FILES, "tensorboard"]
    assert file_errors("model", tmp_path / "model.json") == []
    network, read = load_model(tmp_path)
    assert read == facts
    assert network.spec == UNetSpec(1, 4, 2, "upsample", 0.0, ("distance", "centres"))
    assert (facts["normalisation"], facts["background"], facts["halo"], facts["mpp"]) == (
        "percentile",
        "dark",
        24,
        0.5,
    )
    assert (facts["precision"], len(facts["channels"])) == ("fp32", 1)
    assert 0 < facts["threshold"] < 1
    assert list(facts["decodings"]) == ["distance", "centres", "watershed", "components"]
    assert all(
        0 <= values["map"] <= values["ap50"] + 1e-12 <= 1 + 1e-12 for values in facts["decodings"].values()
    )
    told = facts["training"]
    assert (told["slides"], told["seed"], told["epochs"], told["threads"]) == (
        {"train": ["S0"], "val": ["S1"]},
        3,
        2,
        1,
    )
    history = pd.read_csv(tmp_path / "history.csv")
    assert list(history["epoch"]) == [1, 2]
    assert set(history) == {
        "epoch", "learning_rate", "train_loss", "train_dice", "val_loss", "val_dice", "val_ap",
        "seconds", "validation_seconds", "pixels_per_second",
    }  # fmt: skip
    assert told["val_dice"] == pytest.approx(history["val_dice"].max())
    assert told["best_epoch"] == history.loc[history["val_dice"].idxmax(), "epoch"]
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_a_training_is_calibrated_where_it_can_be(
    images, random_network, labelled_slide, monkeypatch, caplog
):
    caplog.set_level("INFO")
    network, slides = random_network(), [labelled_slide(images / "S0.json")]
    monkeypatch.setattr(train_module.importlib.util, "find_spec", lambda name: None)
    assert train_module._calibrated(network, 24, slides) == {}
    assert "not calibrated for int8: nncf and openvino not installed" in caplog.text
    monkeypatch.setattr(train_module.importlib.util, "find_spec", lambda name: object())

    def calibrate(found, halo, pairs):
        ((pixels, constants),) = pairs
        assert (found, halo, pixels.shape, constants) == (network, 24, (1, 70, 90), slides[0].normalisation)
        return {"sha256": "abc"}

    monkeypatch.setattr("slideunet.network.inference.calibration.calibrate", calibrate)
    assert train_module._calibrated(network, 24, slides) == {"int8": {"sha256": "abc"}}

    def refuse(*arguments):
        raise InputError("Too few cells.")

    monkeypatch.setattr("slideunet.network.inference.calibration.calibrate", refuse)
    assert train_module._calibrated(network, 24, slides) == {}
    assert "not calibrated for int8. Too few cells." in caplog.text


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(train, tmp_path):
    digests = [train(tmp_path / str(i), seeds=[seed])["sha256"] for i, seed in enumerate((3, 3, 4))]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.slow
def test_training_with_an_encoder_starts_from_the_published_weights(
    images, training_section, model, tmp_path
):
    pretrained = model | {"encoder": "efficientnet_lite0"}
    section = training_section | {"learning_rate": 1e-6, "epochs": 1, "ema": 0.0}
    slides = {"train": ["S0"], "val": ["S1"]}
    train_model(slides, images, model=pretrained, data=DATA, training=section, folder=tmp_path, threads=1)
    network, facts = load_model(tmp_path)
    assert facts["architecture"]["encoder"] == "efficientnet_lite0"
    published = build_encoder("efficientnet_lite0", channels=1, width=4, depth=2)
    load_encoder_weights(published, "efficientnet_lite0", "imagenet")
    for name, values in published.stages.named_parameters():
        torch.testing.assert_close(network.encoder.stages.get_parameter(name), values, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_a_training_killed_in_the_middle_gives_the_same_model(train, tmp_path, monkeypatch):
    expected = train(tmp_path / "straight")
    original, calls = loop.training_step, []

    class Killed(BaseException):
        pass

    def step(*args):
        calls.append(0)
        if len(calls) == 2:
            raise Killed
        return original(*args)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(loop, "training_step", step)
        train(tmp_path / "killed")
    assert sorted(path.name for path in (tmp_path / "killed").iterdir()) == [
        "packed", "patches.png", "progress.pt", "tensorboard",
    ]  # fmt: skip
    found = train(tmp_path / "killed")
    assert (found["sha256"], found["threshold"]) == (expected["sha256"], expected["threshold"])


@pytest.mark.slow
@pytest.mark.parametrize(("first", "second"), [("bf16", "fp32"), ("fp32", "bf16")])
def test_the_precision_that_the_clock_chose_stays(train, tmp_path, monkeypatch, first, second):
    choices = iter([first, second])
    monkeypatch.setattr(train_module, "quicker_precision", lambda *args: next(choices))
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(train_module, "save_model", lambda *args: 1 / 0)
        train(tmp_path, precision="auto")
    assert train(tmp_path, precision="auto")["precision"] == first


def test_without_a_validation_slide_no_epoch_can_be_chosen(train, tmp_path):
    with pytest.raises(InputError, match="no validation slide"):
        train(tmp_path, val=())


def test_what_is_not_said_is_taken_from_the_preset():
    nothing = dict.fromkeys(("width", "depth", "decoder", "dropout")) | {"heads": [], "encoder": None}
    assert build_spec({"preset": "classic"} | nothing, 3) == UNetSpec(3, 64, 2, "upsample")
    assert build_spec({"preset": "fast"} | nothing, 3) == UNetSpec(3, 12, 4, head_stride=2)
    assert build_spec({"preset": "standard"} | nothing | {"width": 8, "dropout": 0.1}, 1) == UNetSpec(
        1, 8, 4, "transposed", 0.1
    )


@pytest.fixture
def processes(monkeypatch):
    """GPUs are not looked for: their processes compute on CPUs."""
    monkeypatch.setattr(train_module, "check_gpus", lambda wanted: None)


@pytest.mark.slow
def test_two_processes_learn_what_one_learns_patch_by_patch(train, tmp_path, processes):
    plain = {"optimiser": "sgd", "best_by": "last", "batch_size": 2}
    facts = train(tmp_path / "two", gpus=2, **plain)
    train(tmp_path / "one", micro_batch_size=1, **plain)
    assert facts["training"]["gpus"] == 2
    two, one = (dict(load_model(tmp_path / name)[0].named_parameters()) for name in ("two", "one"))
    for name, tensor in two.items():
        torch.testing.assert_close(tensor, one[name], msg=name)
    rows = [pd.read_csv(tmp_path / name / "history.csv") for name in ("two", "one")]
    assert rows[0]["train_dice"].tolist() == pytest.approx(rows[1]["train_dice"].tolist(), abs=1e-3)
    assert rows[0]["train_loss"].tolist() == pytest.approx(rows[1]["train_loss"].tolist(), rel=1e-4)


@pytest.mark.slow
def test_two_processes_go_on_to_the_identical_result(train, tmp_path, processes, monkeypatch):
    known = {"gpus": 2, "schedule": "constant", "warmup": 0, "best_by": "last"}
    expected = train(tmp_path / "straight", epochs=2, **known)
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(train_module, "save_model", lambda *args: 1 / 0)
        train(tmp_path / "killed", epochs=1, **known)
    assert train(tmp_path / "killed", epochs=2, **known)["sha256"] == expected["sha256"]
