"""Training on a GPU: gradients that are added up, memory that runs out, and going on after a kill."""

import copy
import io

import pytest
import torch

pytestmark = pytest.mark.gpu

losses = pytest.importorskip(
    "slideunet.network.training.losses", reason="the losses come from MONAI", exc_type=ImportError
)
step = pytest.importorskip("slideunet.network.training.step", exc_type=ImportError)


@pytest.fixture
def batch(device):
    """Images (n, 1, y, x) and targets of bright squares, on the device."""
    side = 256 if device.type == "cuda" else 64
    generator = torch.Generator().manual_seed(0)
    target = (torch.rand(8, 1, side // 16, side // 16, generator=generator) < 0.3).float()
    target = target.repeat_interleave(16, 2).repeat_interleave(16, 3)
    image = target + 0.3 * torch.randn(target.shape, generator=generator)
    return image.to(device, memory_format=torch.channels_last), target.to(device)


@pytest.fixture
def learner(device, random_network):
    """A network with fixed batch statistics, whose gradients are sums over patches, and its optimiser."""

    def make():
        network = random_network(width=16, depth=3).to(device, memory_format=torch.channels_last).train()
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval()
        return network, torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)

    return make


def gradients(network):
    return torch.cat([parameter.grad.flatten() for parameter in network.parameters()])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_gradients_of_micro_batches_add_up_to_those_of_the_batch(learner, batch, precision):
    found = []
    for patches in (8, 3, 1):
        network, optimiser = learner()
        value, output = step.training_step(
            network, optimiser, losses.build_loss("bce"), *batch, precision, step.Room(patches)
        )
        assert (output.shape, output.dtype) == (batch[1].shape, torch.float32)
        found.append((value.item(), gradients(network)))
    tolerance = {"fp32": 1e-4, "bf16": 3e-2}[precision]
    for value, gradient in found[1:]:
        assert value == pytest.approx(found[0][0], rel=tolerance)
        assert (gradient - found[0][1]).norm() < tolerance * found[0][1].norm()


def test_a_network_learns_in_bf16(learner, batch):
    network, optimiser = learner()
    loss = losses.build_loss("bce_dice")
    values = [
        step.training_step(network, optimiser, loss, *batch, "bf16", step.Room(4))[0].item()
        for _ in range(30)
    ]
    assert all(parameter.dtype == torch.float32 for parameter in network.parameters())
    assert values[-1] < 0.7 * values[0]


def test_micro_batches_are_halved_when_memory_runs_out(learner, batch, device, memory):
    network, optimiser = learner()
    image, target = (tensor.repeat(8, 1, 1, 1) for tensor in batch)
    room = step.Room(len(image))
    fits = 1_000_000_000 if device.type == "cuda" else image.numel() // 2
    with memory(network, fits):
        value, output = step.training_step(
            network, optimiser, losses.build_loss("bce"), image, target, "fp32", room
        )
    assert room.patches < len(image)
    assert torch.isfinite(value) and len(output) == len(image)


def test_a_training_that_goes_on_from_a_checkpoint_ends_with_the_same_bits(learner, batch, device):
    strict = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        whole = learner()
        _train(whole, batch, range(6))
        broken = learner()
        _train(broken, batch, range(3))
        buffer = io.BytesIO()
        torch.save({"network": broken[0].state_dict(), "optimiser": broken[1].state_dict()}, buffer)
        buffer.seek(0)
        state = torch.load(buffer, weights_only=True, map_location="cpu")
        resumed = learner()
        resumed[0].load_state_dict(state["network"])
        resumed[1].load_state_dict(copy.deepcopy(state["optimiser"]))
        _train(resumed, batch, range(3, 6))
    finally:
        torch.use_deterministic_algorithms(strict)
    for name, tensor in whole[0].state_dict().items():
        assert torch.equal(tensor, resumed[0].state_dict()[name]), name


def _train(learner, batch, steps):
    network, optimiser = learner
    loss = losses.build_loss("bce_dice")
    for number in steps:
        image, target = (tensor.roll(number, 0) for tensor in batch)
        step.training_step(network, optimiser, loss, image, target, "bf16", step.Room(3))
