"""Published weights for encoders: their source, and the message when they cannot be downloaded."""

import pickle
import urllib.error

import pytest
import safetensors.torch
import torch

from slideunet.errors import InputError, MachineError
from slideunet.network.architecture import encoder_weights
from slideunet.network.architecture.encoder_weights import for_channels, load_encoder_weights
from slideunet.network.architecture.encoders import build_encoder

LITE0 = "efficientnet_lite0"


@pytest.fixture(scope="module")
def published():
    weights = encoder_weights._published(LITE0)
    return {name: values.contiguous() for name, values in weights.items()}


def built(name=LITE0, channels=3, depth=4):
    return build_encoder(name, channels=channels, width=4, depth=depth)


def test_the_package_and_a_file_give_the_same_encoder(published, tmp_path):
    safetensors.torch.save_file(published, tmp_path / "lite.safetensors")
    torch.save(published, tmp_path / "lite.pth")
    states = []
    for source in ("imagenet", tmp_path / "lite.safetensors", tmp_path / "lite.pth"):
        torch.manual_seed(0)
        encoder = built()
        load_encoder_weights(encoder, LITE0, str(source))
        states.append(encoder.state_dict())
    for name, values in states[0].items():
        assert all(torch.equal(values, state[name]) for state in states[1:])


def test_the_level_at_full_resolution_stays_as_it_was():
    encoder = built()
    before = {name: values.clone() for name, values in encoder.state_dict().items()}
    load_encoder_weights(encoder, LITE0, "imagenet")
    for name, values in encoder.state_dict().items():
        same = torch.equal(values, before[name])
        assert same or name.startswith("stages.")
        assert not same or name.startswith("first.") or "num_batches" in name


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 2, 5])
def test_equal_channels_are_seen_as_grey_in_three_colours(channels):
    colour, other = built(), built(channels=channels)
    for encoder in (colour, other):
        load_encoder_weights(encoder, LITE0, "imagenet")
    other.first, colour.first = torch.nn.Identity(), torch.nn.Identity()
    plane = torch.rand(1, 1, 32, 32)
    mine, theirs = (
        encoder.eval()(plane.expand(-1, n, -1, -1), torch.nn.Identity())
        for encoder, n in ((other, channels), (colour, 3))
    )
    torch.testing.assert_close(mine[-1], theirs[-1], rtol=1e-3, atol=1e-3)


def test_weights_of_other_channels_keep_the_answer_to_equal_channels():
    weight = torch.rand(4, 3, 3, 3)
    assert for_channels(weight, 3) is weight
    assert for_channels(weight, 2).shape == (4, 2, 3, 3)
    torch.testing.assert_close(for_channels(weight, 2).sum(dim=1), weight.sum(dim=1))


def test_a_file_without_counters_of_batches_is_complete(published, tmp_path):
    older = {name: values for name, values in published.items() if "num_batches" not in name}
    assert len(older) < len(published)
    safetensors.torch.save_file(older, tmp_path / "older.safetensors")
    load_encoder_weights(built(), LITE0, str(tmp_path / "older.safetensors"))


def test_weights_of_another_encoder_are_refused(published, tmp_path):
    safetensors.torch.save_file(published, tmp_path / "lite.safetensors")
    with pytest.raises(InputError, match=r"does not hold the weights of resnet18: conv1\.weight is missing"):
        load_encoder_weights(built("resnet18"), "resnet18", str(tmp_path / "lite.safetensors"))


def test_weights_of_another_width_are_refused(published, tmp_path):
    wide = published | {"_blocks.1._project_conv.weight": torch.zeros(32, 96, 1, 1)}
    safetensors.torch.save_file(wide, tmp_path / "wide.safetensors")
    with pytest.raises(InputError, match=r"_blocks\.1\._project_conv\.weight has another shape \(1 of"):
        load_encoder_weights(built(), LITE0, str(tmp_path / "wide.safetensors"))


class Command:
    """What a pickled file may do to whoever opens it."""

    def __reduce__(self):
        return print, ("it ran",)


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize("content", [pickle.dumps(Command()), b"", b"\x80garbage", b'{"a": 1}'])
def test_damaged_files_and_files_with_code_are_refused(tmp_path, capsys, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"{name} is not a file of weights alone"):
        load_encoder_weights(built(), LITE0, str(tmp_path / name))
    assert "it ran" not in capsys.readouterr().out


def test_without_the_package_the_message_names_the_ways_out(monkeypatch):
    monkeypatch.setattr(encoder_weights.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MachineError, match=r"Install the package .*, or name a file in"):
        load_encoder_weights(built(), LITE0, "imagenet")


def test_without_the_internet_the_message_names_the_file_to_fetch(monkeypatch):
    def refuse(url, **options):
        assert options["weights_only"]
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    with pytest.raises(MachineError, match=r"resnet18-f37072fd\.pth cannot be downloaded .*no route to host"):
        load_encoder_weights(built("resnet18"), "resnet18", "imagenet")
