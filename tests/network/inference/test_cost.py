import pytest
import torch

from slideunet.network.architecture.receptive_field import halo
from slideunet.network.architecture.unet import (
    PRESETS,
    UNet,
    UNetSpec,
    border_margin,
    core_window,
    decoder_margins,
)
from slideunet.network.inference.cost import (
    MEMORY,
    Convolution,
    best_tile,
    convolutions,
    least_core,
    peak_bytes,
    work_per_pixel,
)

LIGHT = UNetSpec(1, **PRESETS["light"])


@pytest.mark.parametrize("decoder", ["transposed", "upsample"])
@pytest.mark.parametrize(("depth", "core", "margin"), [(1, 2, 12), (3, 40, 48), (4, 32, 96), (4, 48, 16)])
def test_the_sizes_are_those_of_the_architecture(depth, core, margin, decoder):
    """Level by level, by hand."""
    width, side, expected = 2, core + 2 * margin, []
    for level in range(depth + 1):
        inputs, outputs = (3 if level == 0 else width * 2 ** (level - 1)), width * 2**level
        expected += [
            Convolution("encoder", 9, before, outputs, side >> level) for before in (inputs, outputs)
        ]
    # The encoder computes the whole context, the decoder what it needs.
    spec = UNetSpec(3, width, depth, decoder)
    has = min(margin, -(-decoder_margins(spec)[-1] // 2) * 2**depth) >> depth
    for level in reversed(range(depth)):
        outputs = width * 2**level
        up = (core >> level) + 4 * has
        has = min(2 * has, decoder_margins(spec)[level])
        kept = (core >> level) + 2 * has
        expected.append(Convolution("up", 1, 2 * outputs, outputs, up))
        expected += [Convolution("decoder", 9, before, outputs, kept) for before in (2 * outputs, outputs)]
    expected.append(Convolution("head", 1, width, 1, core))
    assert list(convolutions(spec, core, margin)) == expected


def test_a_stride_leaves_out_the_full_resolution():
    whole, half = (convolutions(UNetSpec(3, 4, 3, head_stride=stride), 64, 0) for stride in (1, 2))
    assert {one.side for one in half} == {32, 16, 8}
    # Below, the two differ in the first convolution of the half resolution and in the head.
    assert set(half) - set(whole) == {
        Convolution("encoder", 4, 3, 12, 32),
        Convolution("encoder", 9, 12, 8, 32),
        Convolution("head", 1, 8, 4, 32),
    }


def test_depthwise_convolutions_of_other_encoders_are_counted_as_such():
    found = convolutions(UNetSpec(3, 2, 3, encoder="efficientnet_lite0"), 64, 56)
    depthwise = [one for one in found if one.groups > 1]
    assert depthwise and all(one.groups == one.inputs == one.outputs for one in depthwise)
    assert all(one.work == one.taps * one.outputs * one.side**2 for one in depthwise)
    assert {one.part for one in found} == {"encoder", "up", "decoder", "head"}


@pytest.mark.parametrize("decoder", ["transposed", "upsample"])
@pytest.mark.parametrize("encoder", [None, "efficientnet_lite0", "resnet18"])
def test_the_convolutions_are_those_of_an_image(encoder, decoder):
    """Compared with the shapes of a pass with values, whose margin is context."""
    spec, sides = UNetSpec(2, 4, 3, decoder, encoder=encoder), []
    network = UNet(spec).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            module.register_forward_hook(
                lambda module, _, output: sides.append((module.in_channels, *output.shape[1:]))
            )
    with torch.no_grad():
        margin, span = border_margin(spec), (24, 64)
        network(torch.rand(1, 2, 88, 88), margin, core_window((span, span), margin, spec))
    counted = [(one.inputs, one.outputs, one.side, one.side) for one in convolutions(spec, 40, 24)]
    assert counted == sides


def test_counting_changes_no_random_number_of_a_training():
    drawn = []
    for spec in (None, UNetSpec(1, 6, 2, encoder="resnet18"), UNetSpec(1, 6, 2)):
        torch.manual_seed(5)
        if spec:
            convolutions(spec, 44, 12)
        drawn.append(torch.rand(3).tolist())
    assert drawn[0] == drawn[1] == drawn[2]


@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("width", [16, 24])
def test_the_work_is_that_of_the_closed_formula(depth, width):
    # docs/performance.md: multiply-accumulates per pixel, one class.
    expected = width**2 * (9 + 42.5 * depth) + 9 * 3 * width + width
    side = 2**depth * 3
    work = sum(found.work for found in convolutions(UNetSpec(3, width, depth), side, 0))
    assert work / side**2 == pytest.approx(expected)


@pytest.mark.parametrize(("channels", "depth"), [(1, 1), (1, 2), (3, 2), (1, 4), (3, 4), (3, 5)])
def test_the_least_core_is_large_enough_and_none_smaller_is(channels, depth):
    spec = UNetSpec(channels, 16, depth)
    least = least_core(spec)

    def fits(side):
        found = [one for one in convolutions(spec, side, border_margin(spec)) if one.taps == 9]
        return all(one.side >= 16 and one.inputs * one.side**2 > 20480 for one in found)

    assert least % spec.multiple == 0
    assert fits(least)
    assert least == spec.multiple or not fits(least - spec.multiple)


def test_context_costs_less_the_larger_the_tile():
    bare = work_per_pixel(LIGHT, 2**20, 0)
    shares = [work_per_pixel(LIGHT, tile, 96) / bare for tile in (256, 512, 1024, 2048, 4096)]
    assert shares == pytest.approx([1.89, 1.39, 1.18, 1.09, 1.04], abs=0.005)
    # Cropping the whole network, and not its decoder only, would cost ((tile + 2 halo) / tile)^2.
    assert shares[2] < (1216 / 1024) ** 2 - 0.2


@pytest.mark.parametrize("preset", PRESETS)
def test_the_best_tile_is_where_doubling_saves_little(preset):
    spec = UNetSpec(3, **PRESETS[preset])
    reach = halo(spec)
    tile = best_tile(spec, reach, "bf16", memory=10**11)
    work = [work_per_pixel(spec, side, reach) for side in (tile // 2, tile, 2 * tile)]
    assert work[1] < 0.95 * work[0]
    assert work[2] > 0.95 * work[1]
    assert tile == {"light": 2048, "standard": 2048, "fast": 2048, "classic": 512}[preset]
    usual = best_tile(spec, reach, "bf16", MEMORY)
    assert usual == {"light": 2048, "standard": 1024, "fast": 2048, "classic": 512}[preset]


@pytest.mark.parametrize(("memory", "tile"), [(10**9, 2048), (9 * 10**8, 1024), (200 * 10**6, 512), (1, 256)])
def test_the_best_tile_fits_into_memory(memory, tile):
    assert best_tile(LIGHT, 96, "bf16", memory) == tile
    assert tile == 256 or peak_bytes(LIGHT, tile, 96, "bf16") <= memory
    assert tile == 2048 or peak_bytes(LIGHT, 2 * tile, 96, "bf16") > memory
    assert peak_bytes(LIGHT, tile, 96, "fp32") == 2 * peak_bytes(LIGHT, tile, 96, "bf16")
