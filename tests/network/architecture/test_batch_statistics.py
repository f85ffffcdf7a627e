import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from slideunet.network.architecture.batch_statistics import first_fixed, fix_statistics, take_statistics
from slideunet.network.architecture.unet import UNet, UNetSpec


@given(epochs=st.integers(1, 100), share=st.floats(0, 1))
def test_the_last_share_of_the_epochs_is_fixed(epochs, share):
    first = first_fixed(epochs, share)
    assert 0 <= first <= epochs
    assert (first == 0) == (share == 1)
    assert first == 1 or abs((epochs - first) - share * epochs) <= 0.5


@pytest.mark.slow
@pytest.mark.parametrize("encoder", [None, "efficientnet_lite0"])
def test_a_patch_no_longer_depends_on_its_batch(encoder):
    """What a field of noise shows beside tissue must be what it shows alone, when it is predicted."""
    torch.manual_seed(0)
    network = UNet(UNetSpec(1, 4, 2, dropout=0.0, encoder=encoder))
    noise, other = torch.randn(1, 1, 64, 64), 5 + 9 * torch.randn(1, 1, 64, 64)

    def beside(neighbour):
        return network(torch.cat([noise, neighbour]))[0]

    network.train()
    assert not torch.allclose(beside(other), beside(noise), atol=1e-2)
    fix_statistics(network)
    before = copy.deepcopy(network.state_dict())
    assert torch.allclose(beside(other), beside(noise), atol=1e-4)
    assert all(torch.equal(values, before[name]) for name, values in network.state_dict().items())
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_the_statistics_of_the_average_are_taken_and_nothing_else():
    networks = []
    for seed in range(2):
        torch.manual_seed(seed)
        networks.append(UNet(UNetSpec(1, 4, 2)))
        networks[-1](torch.randn(2, 1, 32, 32))
    network, average = networks
    before = copy.deepcopy(network.state_dict())
    take_statistics(network, average)
    for name, values in network.state_dict().items():
        source = average.state_dict() if "running" in name or "tracked" in name else before
        assert torch.equal(values, source[name]), name
