import pytest
import torch

from slideunet.network.architecture.folded import for_inference
from slideunet.network.architecture.fused_decoder import MergedUNet
from slideunet.network.architecture.receptive_field import halo

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.slow
@pytest.mark.parametrize("decoder", ["transposed", "upsample"])
@pytest.mark.parametrize(
    ("width", "depth", "stride", "merged"),
    [(4, 2, 1, 1), (4, 3, 1, 2), (16, 4, 1, 3), (32, 3, 1, 2), (12, 4, 2, 2)],
)
def test_the_merged_network_is_the_same_function(random_network, decoder, width, depth, stride, merged):
    network = for_inference(
        random_network(channels=2, width=width, depth=depth, decoder=decoder, head_stride=stride)
    ).double()
    other, margin = MergedUNet(network), halo(network.spec)
    assert len(other.merged) == merged
    sides = [2 * margin + cells * network.spec.multiple for cells in (1, 3)]
    image = torch.rand(1, 2, *sides, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = network(image, margin)
        torch.testing.assert_close(other.double()(image, margin), expected, rtol=1e-9, atol=1e-9)


def test_merging_draws_no_random_numbers_and_changes_no_weight(random_network):
    network = for_inference(random_network(width=4))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state = torch.get_rng_state()
    assert not MergedUNet(network).training
    assert torch.equal(torch.get_rng_state(), state)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])
