import pytest
import torch

from slideunet.network.architecture.unet import UNet, UNetSpec
from slideunet.network.inference.convolutions import convolutions, least_core


def seen(network, core, margin):
    """Run the network and note what every convolution was given and made."""
    found = []

    def note(module, inputs, output):
        kind = f"{module.kernel_size[0]}x{module.kernel_size[0]}"
        kind = "head" if module is network.head else "up" if module in ways_up else kind
        found.append((kind, inputs[0].shape[1], output.shape[1], output.shape[-1], module.groups))

    ways_up = set(network.up.modules())
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            module.register_forward_hook(note)
    side = core + 2 * margin
    with torch.inference_mode():
        network(torch.zeros(1, network.spec.channels, side, side), margin)
    return found


@pytest.mark.parametrize("decoder", ["transposed", "upsample"])
@pytest.mark.parametrize(
    ("depth", "core", "margin"), [(1, 2, 12), (3, 40, 48), (4, 32, 96), (4, 48, 16), (2, 8, 0)]
)
def test_the_sizes_are_those_that_the_network_computes(depth, core, margin, decoder):
    network = UNet(UNetSpec(3, 2, depth, decoder)).eval()
    assert seen(network, core, margin) == told(network.spec, core, margin)


@pytest.mark.parametrize("encoder", ["efficientnet_lite0", "resnet18"])
@pytest.mark.parametrize(("depth", "core", "margin"), [(1, 2, 12), (3, 40, 16), (5, 64, 32)])
def test_so_they_are_with_other_encoders(depth, core, margin, encoder):
    network = UNet(UNetSpec(3, 2, depth, encoder=encoder, heads=("distance",))).eval()
    assert seen(network, core, margin) == told(network.spec, core, margin)


def told(spec, core, margin):
    return [(c.kind, c.inputs, c.outputs, c.side, c.groups) for c in convolutions(spec, core, margin)]


@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("width", [16, 24])
def test_the_work_is_that_of_the_closed_formula(depth, width):
    # docs/performance.md: multiply-accumulates per pixel, one class.
    expected = width**2 * (9 + 42.5 * depth) + 9 * 3 * width + width
    side = 2**depth * 3
    work = sum(found.work for found in convolutions(UNetSpec(3, width, depth), side, 0))
    assert work / side**2 == pytest.approx(expected)


def wide(convolution):
    return convolution.side >= 16


@pytest.mark.parametrize(("depth", "margin"), [(2, 24), (4, 96), (4, 32), (5, 192)])
def test_the_least_core_is_large_enough_and_none_smaller_is(depth, margin):
    spec = UNetSpec(1, 16, depth)
    least = least_core(spec, margin, wide)

    def fits(side):
        return all(found.side >= 16 for found in convolutions(spec, side, margin) if found.kind == "3x3")

    assert least % spec.multiple == 0
    assert fits(least)
    assert least == spec.multiple or not fits(least - spec.multiple)
