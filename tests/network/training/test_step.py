"""A batch in parts is the same step, and a batch that does not fit is taken in parts by itself."""

import copy

import numpy as np
import pytest
import torch

from slideunet.errors import MachineError
from slideunet.network.architecture.unet import UNet, UNetSpec
from slideunet.network.patches.targets import cell_targets
from slideunet.network.training.losses import CellsLoss, build_loss
from slideunet.network.training.step import MicroBatch, training_step

pytestmark = pytest.mark.usefixtures("one_thread")

MAPS = ("foreground", "distance")


class Small(UNet):
    """A network that runs out of memory with more than `most` patches at once."""

    most, error = 99, torch.OutOfMemoryError

    def forward(self, x, margin=0, window=None):
        if len(x) > self.most:
            raise self.error("can't allocate memory")
        return super().forward(x, margin, window)


@pytest.fixture
def network():
    torch.manual_seed(0)
    # Fixed statistics: those of a batch are the one thing that its parts cannot have.
    return Small(UNetSpec(1, 4, 2, heads=("distance",))).eval()


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.repeat(rng.integers(0, 3, (7, 4, 4)), 8, axis=1), 8, axis=2)
    target = np.stack([cell_targets(one, MAPS) for one in labels])
    return torch.from_numpy(rng.random((7, 1, 32, 32), np.float32)), torch.from_numpy(target)


def step(network, batch, micro_batch=None):
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    loss = CellsLoss(build_loss("bce_dice"), MAPS)
    return training_step(network, optimiser, loss, *batch, "fp32", micro_batch)


@pytest.mark.parametrize("patches", [1, 2, 3, 7])
def test_parts_of_a_batch_make_the_step_of_the_whole(network, batch, patches):
    whole, parts = network, copy.deepcopy(network)
    value, output = step(whole, batch)
    other, other_output = step(parts, batch, MicroBatch(patches))
    torch.testing.assert_close(other, value)
    torch.testing.assert_close(other_output, output)
    for name, tensor in parts.state_dict().items():
        torch.testing.assert_close(tensor, whole.state_dict()[name])


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError, MemoryError])
def test_a_batch_that_does_not_fit_is_halved_until_it_does(network, batch, error, caplog):
    network.most, network.error = 2, error
    expected = copy.deepcopy(network)
    micro_batch = MicroBatch(7)
    step(network, batch, micro_batch)
    assert micro_batch.patches == 2
    assert "accumulated over micro-batches of 2 patches" in caplog.text
    step(expected, batch, MicroBatch(2))
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, expected.state_dict()[name]), name


def test_one_patch_that_does_not_fit_is_told(network, batch):
    network.most = 0
    with pytest.raises(MachineError, match=r"one patch of 32 x 32 px.*training\.patch_size"):
        step(network, batch)


def test_another_error_is_not_taken_for_a_lack_of_memory(network, batch):
    with pytest.raises(RuntimeError, match="channels"):
        step(network, (batch[0].repeat(1, 2, 1, 1), batch[1]))
