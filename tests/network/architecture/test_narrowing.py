"""A narrow decoder takes the feature maps of a wide one that matter, and all that reads them."""

import pytest
import torch

from slideunet.network.architecture.narrowing import fits_into, narrow
from slideunet.network.architecture.unet import UNet, UNetSpec

LITE = {"encoder": "efficientnet_lite0"}


@torch.no_grad()
def widened(network, places):
    """Return a network with more feature maps, at other places, that are all zero: the same function."""
    wide = UNet(UNetSpec(1, 6, 3, **LITE)).eval()
    for parameter in wide.parameters():
        parameter.zero_()
    wide.encoder.load_state_dict(network.encoder.state_dict(), strict=False)
    below = torch.arange(wide.encoder.widths[-1])
    for level, (up, block) in enumerate(zip(network.up, network.decoder, strict=True)):
        found = places(wide.decoder[level][0].out_channels, block[0].out_channels)
        skipped = wide.decoder[level][0].in_channels - wide.decoder[level][0].out_channels
        read = torch.cat([torch.arange(skipped), skipped + found])
        wide.up[level].weight[below[:, None], found] = up.weight
        wide.up[level].bias[found] = up.bias
        wide.decoder[level][0].weight[found[:, None], read] = block[0].weight
        wide.decoder[level][3].weight[found[:, None], found] = block[3].weight
        for place in (1, 4):
            for name, values in block[place].state_dict().items():
                if values.ndim:
                    wide.decoder[level][place].state_dict()[name][found] = values
        below = found
    # The next finer level reads the last maps, so they matter.
    wide.up[2].weight[below] = 1.0
    return wide


def test_maps_that_nothing_reads_are_dropped_and_the_function_stays(random_network):
    network = random_network(width=4, depth=3, head_stride=2, **LITE)
    generator = torch.Generator().manual_seed(0)
    wide = widened(network, lambda of, count: torch.randperm(of, generator=generator)[:count].sort().values)
    begun = UNet(network.spec).eval()
    begun.encoder.load_state_dict(wide.encoder.stages.state_dict(prefix="stages."))
    begun.head.load_state_dict(network.head.state_dict())
    assert fits_into(wide, begun)
    narrow(wide, begun)
    image = torch.rand(1, 1, 32, 40)
    with torch.inference_mode():
        torch.testing.assert_close(begun(image), network(image))


def test_with_the_same_width_every_weight_below_the_full_resolution_is_the_same(random_network):
    wide, network = random_network(width=4, depth=3, **LITE), UNet(UNetSpec(1, 4, 3, head_stride=2, **LITE))
    narrow(wide, network)
    for part in ("up", "decoder"):
        known = getattr(wide, part).state_dict()
        for name, values in getattr(network, part).state_dict().items():
            assert torch.equal(values, known[name])


@pytest.mark.parametrize(
    ("change", "fits"),
    [
        ({}, True),
        ({"width": 3, "head_stride": 2}, True),
        ({"width": 5}, False),
        ({"depth": 2}, False),
        ({"decoder": "upsample"}, False),
        ({"encoder": None}, False),
    ],
)
def test_only_a_decoder_of_the_same_form_fits(random_network, change, fits):
    values = {"channels": 1, "width": 4, "depth": 3} | LITE | change
    assert fits_into(random_network(width=4, depth=3, **LITE), UNet(UNetSpec(**values))) == fits
