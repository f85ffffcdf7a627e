import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slideunet.network.architecture import unet
from slideunet.network.architecture.folded import for_inference
from slideunet.network.architecture.receptive_field import halo
from slideunet.network.architecture.unet import PRESETS, UNet, UNetSpec, border_margin, core_window
from slideunet.network.inference.cost import least_core
from slideunet.network.inference.precision import reduced_precision

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("decoder", ["transposed", "upsample"])
@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
def test_the_measured_halo_is_that_of_the_formula(depth, decoder):
    multiple = 2**depth
    assert halo(UNetSpec(3, 16, depth, decoder)) == -(-(6 * multiple - 2) // multiple) * multiple


@pytest.mark.parametrize(
    ("encoder", "depth", "expected"),
    # Of the stages and of a decoder of `depth` levels, by adding up the reach of every convolution.
    [
        ("efficientnet_lite0", 3, 56),
        ("efficientnet_lite0", 4, 208),
        ("resnet18", 4, 144),
        ("resnet34", 3, 112),
    ],
)
def test_the_halo_of_other_encoders_is_as_far_as_the_longest_path(encoder, depth, expected):
    assert halo(UNetSpec(3, 16, depth, encoder=encoder)) == expected


@pytest.mark.parametrize("depth", [2, 4])
def test_a_decoder_that_ends_at_half_resolution_reaches_as_far_as_one_on_half_the_image(depth):
    """Which has squares of 2 x 2 px as its pixels: the formula above, twice."""
    expected = 2 * (6 * 2 ** (depth - 1) - 2)
    assert halo(UNetSpec(3, 16, depth, head_stride=2)) == -(-expected // 2**depth) * 2**depth


def test_measuring_the_halo_leaves_no_trace_in_the_random_numbers_of_a_network_with_a_seed():
    spec = UNetSpec(1, 2, 1)
    halo.cache_clear()
    torch.manual_seed(5)
    one = UNet(spec).state_dict()
    halo(spec)
    torch.manual_seed(5)
    for name, tensor in UNet(spec).state_dict().items():
        assert torch.equal(tensor, one[name])


@pytest.mark.parametrize("stride", [2, 4])
def test_the_head_gives_all_pixels_of_a_square(random_network, stride):
    network, seen = random_network(depth=3, head_stride=stride, heads=["centres"]), []
    network.head.register_forward_hook(lambda head, inputs, output: seen.append(output[0]))
    with torch.inference_mode():
        found = network(torch.rand(1, 1, 24, 16))[0]
    for number, plane in enumerate(found):
        for y, x in np.ndindex(stride, stride):
            expected = seen[0][number * stride**2 + y * stride + x]
            assert torch.equal(plane[y::stride, x::stride], expected)


@pytest.mark.parametrize("encoder", [None, "efficientnet_lite0"])
def test_with_a_stride_nothing_is_computed_at_full_resolution(random_network, encoder):
    network, sides = random_network(depth=3, encoder=encoder, head_stride=2), []
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            module.register_forward_hook(lambda module, inputs, output: sides.append(output.shape[-1]))
    with torch.inference_mode():
        assert network(torch.zeros(1, 1, 64, 64)).shape == (1, 1, 64, 64)
    assert max(sides) == 32


@pytest.mark.parametrize("stride", [0, 3, 16])
def test_a_stride_that_the_decoder_does_not_reach_is_refused(stride):
    with pytest.raises(ValueError, match=f"head_stride {stride} is not a power of two below 2\\^4"):
        UNetSpec(1, 16, 4, head_stride=stride)


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_have_logits_of_the_size_of_the_image(preset):
    spec = UNetSpec(channels=2, **(PRESETS[preset] | {"width": 2}))
    network = UNet(spec).eval()
    side = 2 * spec.multiple
    with torch.inference_mode():
        assert network(torch.zeros(2, 2, side, 3 * side)).shape == (2, 1, side, 3 * side)


def test_the_classic_network_has_the_widths_of_the_article():
    network = UNet(UNetSpec(channels=3, **PRESETS["classic"]))
    assert network.encoder.widths == [64, 128, 256]
    assert [block[0].out_channels for block in network.decoder] == [128, 64]
    assert not any(isinstance(block, torch.nn.ConvTranspose2d) for block in network.modules())


def test_skip_connections_are_concatenated(random_network):
    network = random_network(width=4, depth=2)
    seen = []
    for block in network.decoder:
        block.register_forward_pre_hook(lambda block, inputs: seen.append(inputs[0].shape[1]))
    with torch.inference_mode():
        network(torch.zeros(1, 1, 8, 8))
    assert seen == [16, 8]


def test_dropout_acts_while_training_only():
    torch.manual_seed(0)
    network = UNet(UNetSpec(1, 8, 2, dropout=0.5))
    image = torch.rand(2, 1, 16, 16)
    network.train()
    assert not torch.equal(network(image), network(image))
    network.eval()
    assert torch.equal(network(image), network(image))


def test_a_spec_is_made_again_from_its_description():
    spec = UNetSpec(3, 16, 4, "upsample", 0.1, ("distance",), "resnet18", head_stride=2)
    assert UNetSpec(**spec.as_dict()) == spec
    assert (spec.multiple, np.log2(spec.multiple)) == (16, spec.depth)


@pytest.mark.slow
@given(
    depth=st.integers(1, 4),
    cells=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    margin=st.sampled_from([0, 2, 3, 6]),
    precision=st.sampled_from(["fp32", "bf16"]),
)
@settings(max_examples=12)
@pytest.mark.parametrize(
    ("decoder", "encoder", "stride"),
    [
        ("transposed", None, 1),
        ("upsample", None, 1),
        ("transposed", "efficientnet_lite0", 1),
        ("upsample", "resnet18", 1),
        ("upsample", None, 2),
        ("transposed", "efficientnet_lite0", 2),
    ],
)
def test_leaving_out_a_margin_changes_no_bit_of_the_rest(
    random_network, decoder, encoder, stride, depth, cells, margin, precision
):
    depth = max(depth, stride)
    network = for_inference(
        random_network(channels=2, width=4, depth=depth, decoder=decoder, encoder=encoder, head_stride=stride)
    )
    margin *= network.spec.multiple
    sides = [cell * network.spec.multiple + least_core(network.spec) + 2 * margin for cell in cells]
    image = torch.from_numpy(np.random.default_rng(depth).random((1, 2, *sides), np.float32))
    rows, columns = (slice(margin, side - margin) for side in sides)
    with torch.inference_mode(), reduced_precision(torch.device("cpu"), precision):
        whole, cropped = (network(image.to(memory_format=torch.channels_last), m) for m in (0, margin))
    assert torch.equal(cropped, whole[..., rows, columns])


@pytest.mark.slow
@given(
    depth=st.integers(1, 4),
    cells=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    sides=st.tuples(*[st.sampled_from([1, 3, 11])] * 4),
    precision=st.sampled_from(["fp32", "bf16"]),
)
@settings(max_examples=12)
@pytest.mark.parametrize(
    ("decoder", "encoder", "stride"),
    [
        ("transposed", None, 1),
        ("upsample", "resnet18", 1),
        ("transposed", "efficientnet_lite0", 1),
        ("transposed", None, 2),
        ("transposed", "efficientnet_lite0", 2),
    ],
)
def test_a_window_changes_no_bit_of_the_rest(
    random_network, decoder, encoder, stride, depth, cells, sides, precision
):
    """With unlike context on the four sides, of which the decoder computes no more than its margin."""
    depth = max(depth, stride)
    network = for_inference(
        random_network(channels=2, width=4, depth=depth, decoder=decoder, encoder=encoder, head_stride=stride)
    )
    unit, margin = network.spec.multiple, border_margin(network.spec)
    top, bottom, left, right = (margin + more * unit for more in sides)
    height, width = (least_core(network.spec) + cell * unit for cell in cells)
    shape = (1, 2, top + height + bottom, left + width + right)
    image = torch.from_numpy(np.random.default_rng(depth).random(shape, np.float32))
    image = image.to(memory_format=torch.channels_last)
    core = ((top, top + height), (left, left + width))
    with torch.inference_mode(), reduced_precision(torch.device("cpu"), precision):
        whole, part = network(image), network(image, margin, core_window(core, margin, network.spec))
    assert torch.equal(part, whole[..., top : top + height, left : left + width])


def test_the_margin_of_the_border_is_what_the_decoder_needs():
    assert [border_margin(UNetSpec(1, 4, depth)) for depth in (1, 2, 3, 4, 5)] == [2, 8, 16, 32, 64]
    half = [border_margin(UNetSpec(1, 4, depth, head_stride=2)) for depth in (2, 3, 4, 5)]
    assert half == [4, 16, 32, 64]


@pytest.mark.parametrize(("level", "stride"), [(0, 1), (1, 1), (2, 1), (3, 1), (0, 2), (1, 2), (2, 2)])
def test_the_decoder_needs_all_of_its_margins(random_network, monkeypatch, level, stride):
    network = random_network(width=4, depth=4, head_stride=stride)
    margins = unet.decoder_margins(network.spec)
    assert margins == ((2, 3, 4, 4) if stride == 1 else (2, 3, 4))
    image = torch.from_numpy(np.random.default_rng(0).random((1, 1, 256, 256), np.float32))
    with torch.inference_mode():
        expected = network(image, 96)
        short = [needed - (i == level) for i, needed in enumerate(margins)]
        monkeypatch.setattr(unet, "decoder_margins", lambda spec: short)
        assert not torch.equal(network(image, 96), expected)


def test_a_margin_between_pooling_cells_is_refused(random_network):
    with pytest.raises(ValueError, match="margin 6 is not a multiple of 4"):
        random_network(depth=2)(torch.zeros(1, 1, 32, 32), 6)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("heads", [(), ("distance",), ("centres",), ("centres", "distance")])
def test_heads_that_are_left_out_change_nothing_for_the_others(random_network, heads, stride):
    network = random_network(heads=["distance", "centres"], head_stride=stride)
    some = network.with_heads(heads)
    x = torch.rand(1, 1, 32, 40)
    with torch.no_grad():
        expected = network(x)[:, [network.spec.maps.index(name) for name in some.spec.maps]]
        torch.testing.assert_close(some(x), expected)
    assert some.spec.maps[0] == "foreground"
    assert len(network.spec.maps) == 5  # It was left out of a copy.
