"""Encoders with published weights compute what the published networks compute."""

import pytest
import torch
from efficientnet_lite_pytorch import EfficientNet
from monai.networks.nets import resnet18, resnet34

from slideunet.network.architecture.encoder_weights import _published, load_encoder_weights
from slideunet.network.architecture.encoders import build_encoder
from slideunet.network.architecture.imagenet_encoders import PRETRAINED

pytestmark = pytest.mark.usefixtures("one_thread")
IMAGES = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))


def outputs(network, layers, images):
    """Return what some layers of a network make of images."""
    found = {}
    for name in layers:
        module = network.get_submodule(name)
        module.register_forward_hook(lambda module, inputs, output, name=name: found.update({name: output}))
    with torch.inference_mode():
        network(images)
    return [found[name] for name in layers]


def levels(encoder, images):
    with torch.inference_mode():
        return encoder.eval()(images, torch.nn.Identity())[1:]


def test_efficientnet_lite0_has_the_features_of_its_reference():
    reference = EfficientNet.from_name("efficientnet-lite0").eval()
    reference.load_state_dict(_published("efficientnet_lite0"))
    encoder = build_encoder("efficientnet_lite0", channels=3, width=4, depth=5)
    load_encoder_weights(encoder, "efficientnet_lite0", "imagenet")
    expected = outputs(reference, [f"_blocks.{i}" for i in (0, 2, 4, 10, 15)], 2 * IMAGES - 1)
    for level, (mine, theirs) in enumerate(zip(levels(encoder, IMAGES), expected, strict=True)):
        assert mine.shape[1] == PRETRAINED["efficientnet_lite0"].widths[level]
        assert theirs.std() > 0.05
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("name", "build"), [("resnet18", resnet18), ("resnet34", resnet34)])
def test_resnets_have_the_features_of_their_reference(name, build, tmp_path):
    torch.manual_seed(0)
    reference = build(spatial_dims=2, n_input_channels=3, conv1_t_stride=2, bias_downsample=False).eval()
    for module in reference.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2.0)
    torch.save(reference.state_dict(), tmp_path / "weights.pth")
    encoder = build_encoder(name, channels=3, width=4, depth=5)
    load_encoder_weights(encoder, name, str(tmp_path / "weights.pth"))
    scaling = PRETRAINED[name].scaling
    layers = ["act", "layer1", "layer2", "layer3", "layer4"]
    expected = outputs(reference, layers, scaling.scale * IMAGES + scaling.shift)
    for mine, theirs in zip(levels(encoder, IMAGES), expected, strict=True):
        assert theirs.std() > 0.05
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


def test_resnet_scaling_is_the_average_of_torchvisions_colours():
    scaling = PRETRAINED["resnet18"].scaling
    mean, deviation = (sum(three) / 3 for three in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    assert 1 / scaling.scale == pytest.approx(deviation, abs=1e-3)
    assert -scaling.shift / scaling.scale == pytest.approx(mean, abs=1e-3)


@pytest.mark.parametrize("name", [None, *PRETRAINED])
@pytest.mark.parametrize("depth", [1, 3, 5])
def test_every_level_is_half_as_large_as_the_one_before(name, depth):
    encoder = build_encoder(name, channels=2, width=4, depth=depth)
    found = [tuple(maps.shape) for maps in encoder(torch.zeros(1, 2, 64, 96), torch.nn.Identity())]
    assert found == [(1, width, 64 >> i, 96 >> i) for i, width in enumerate(encoder.widths)]
    assert len(found) == depth + 1
