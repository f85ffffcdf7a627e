import numpy as np
import pytest
import torch
from torch.nn import functional

from slideunet.network.patches.targets import cell_targets
from slideunet.network.training.losses import CellsLoss, build_loss


@pytest.fixture
def pair():
    torch.manual_seed(0)
    logits = 3 * torch.randn(4, 1, 13, 17)
    target = (torch.rand(4, 1, 13, 17) > 0.7).float()
    target[0] = 0  # A patch without a cell.
    return logits, target


def soft_dice(logits, target):
    """Per patch; 1e-5 keeps a patch without a cell defined."""
    p = torch.sigmoid(logits)
    both, all_ = (p * target).sum(dim=(1, 2, 3)), (p + target).sum(dim=(1, 2, 3))
    return (1 - (2 * both + 1e-5) / (all_ + 1e-5)).mean()


def focal(logits, target):
    p = torch.sigmoid(logits)
    right = p * target + (1 - p) * (1 - target)
    return (-((1 - right) ** 2) * torch.log(right)).mean()


FORMULAS = {
    "bce": functional.binary_cross_entropy_with_logits,
    "dice": soft_dice,
    "focal": focal,
}


@pytest.mark.parametrize("name", FORMULAS)
def test_each_loss_is_its_formula(name, pair):
    assert build_loss(name)(*pair).item() == pytest.approx(FORMULAS[name](*pair).item(), rel=1e-4)


@pytest.mark.parametrize(
    ("name", "weights"),
    [("bce_dice", None), ("focal_dice", None), ("bce_dice", [1.0, 0.5]), ("focal_dice", [0, 3])],
)
def test_a_combined_loss_is_the_weighted_mean(name, weights, pair):
    parts = [FORMULAS[part](*pair).item() for part in name.split("_")]
    shares = weights or [1, 1]
    expected = sum(share * part for share, part in zip(shares, parts, strict=True)) / sum(shares)
    assert build_loss(name, weights)(*pair).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", [*FORMULAS, "bce_dice", "focal_dice"])
def test_a_loss_falls_to_zero_towards_the_truth_and_has_a_gradient(name, pair):
    logits, target = (part[1:] for part in pair)  # Dice is never quite 0 on a patch without a cell.
    loss = build_loss(name)
    perfect = 40 * (target - 0.5)
    assert loss(perfect, target).item() == pytest.approx(0, abs=1e-4)
    assert loss(-perfect, target).item() > 0.9
    logits = logits.clone().requires_grad_()
    loss(logits, target).backward()
    assert torch.isfinite(logits.grad).all()
    assert logits.grad.abs().max() > 0


@pytest.mark.parametrize("name", FORMULAS)
def test_no_cell_and_none_found_is_no_loss(name):
    empty = torch.zeros(2, 1, 16, 16)
    assert build_loss(name)(empty - 40, empty).item() == pytest.approx(0, abs=1e-4)


def test_what_is_not_a_loss_is_refused():
    with pytest.raises(ValueError, match="unknown loss cosine; choose from bce, dice, focal"):
        build_loss("bce_cosine")
    with pytest.raises(ValueError, match="2 parts but 3 weights"):
        build_loss("bce_dice", [1, 2, 3])


MAPS = ("foreground", "distance", "centre", "dy", "dx")


@pytest.fixture
def perfect():
    """A target and the network's output that is all right."""
    labels = np.zeros((40, 40), np.int32)
    labels[5:15, 5:20], labels[15:30, 8:30] = 1, 2
    target = torch.from_numpy(cell_targets(labels, MAPS))[None]
    probabilities = torch.logit(target[:, :3].clamp(1e-6, 1 - 1e-6))
    return torch.cat([probabilities, target[:, 3:5] / 8], dim=1), target


def test_the_right_maps_cost_no_more_than_the_entropy_of_the_distance(perfect):
    output, target = perfect
    distance = target[:, 1].clamp(1e-6, 1 - 1e-6)
    entropy = functional.binary_cross_entropy(distance, distance, weight=1 + 2 * target[:, 0])
    loss = CellsLoss(build_loss("bce_dice"), MAPS)
    assert loss(output, target).item() == pytest.approx(entropy.item(), abs=1e-3)


@pytest.mark.parametrize("channel", range(5))
def test_every_map_counts(perfect, channel):
    output, target = perfect
    loss = CellsLoss(build_loss("bce_dice"), MAPS)
    wrong = output.clone()
    wrong[:, channel] += 15.0
    assert loss(wrong, target) > loss(output, target) + 1e-3


def test_an_offset_that_is_one_radius_wrong_costs_its_weight(perfect):
    output, target = perfect
    loss = CellsLoss(build_loss("bce"), MAPS)
    wrong = output.clone()
    wrong[:, 3] += torch.where(target[:, 5] > 0, 1 / target[:, 5].clamp(min=1e-6), 99.0) / 8
    assert (loss(wrong, target) - loss(output, target)).item() == pytest.approx(0.3, rel=1e-4)


def test_a_network_without_heads_has_the_loss_of_its_foreground(pair):
    assert CellsLoss(build_loss("bce_dice"), ("foreground",))(*pair) == build_loss("bce_dice")(*pair)


def test_no_cell_at_all_is_finite():
    target = torch.from_numpy(cell_targets(np.zeros((8, 8), np.int32), MAPS))[None]
    assert torch.isfinite(CellsLoss(build_loss("bce"), MAPS)(torch.zeros(1, 5, 8, 8), target))


@pytest.mark.parametrize("maps", [("foreground",), MAPS])
def test_border_weights_count_errors_of_foreground_and_distance_more(maps):
    labels = np.repeat([[0] * 6 + [1] * 5 + [2] * 5], 16, axis=0)
    target = torch.from_numpy(cell_targets(labels, maps, border=True))[None]
    output = torch.randn(1, len(maps), 16, 16, generator=torch.Generator().manual_seed(0))
    weight = 1 + 7 * target[:, -1:]
    plain = CellsLoss(build_loss("bce"), maps)(output, target[:, :-1])
    found = CellsLoss(build_loss("bce"), maps, border=7.0)(output, target)
    n = min(len(maps), 2)
    terms = functional.binary_cross_entropy_with_logits(output[:, :n], target[:, :n], reduction="none")
    terms[:, 1:] *= 1 + 2 * target[:, :1]
    more = ((weight - 1) * terms).mean(dim=(0, 2, 3)).sum()
    assert more > 0.1
    assert (found - plain).item() == pytest.approx(more.item(), rel=1e-5)


def test_only_the_cross_entropy_of_a_combined_loss_is_weighed(pair):
    pixels = torch.rand(pair[0].shape)
    expected = functional.binary_cross_entropy_with_logits(*pair, weight=pixels) + soft_dice(*pair)
    assert build_loss("bce_dice")(*pair, pixels).item() == pytest.approx(expected.item() / 2, rel=1e-4)


@pytest.mark.parametrize("border", [0.0, 5.0])
@pytest.mark.parametrize("name", ["bce_dice", "focal_dice", "focal"])
def test_nothing_is_learned_from_ignored_pixels(name, border):
    torch.manual_seed(0)
    maps = ("foreground", "distance", "centre", "dy", "dx")
    labels = np.kron(np.arange(12).reshape(3, 4), np.ones((8, 8), np.int64))
    labels[:10, 5:20] = -1
    target = torch.from_numpy(cell_targets(labels, maps, border=border > 0))[None]
    ignored = torch.from_numpy(labels < 0)
    loss = CellsLoss(build_loss(name), maps, border)
    output = torch.randn(1, 5, *labels.shape, requires_grad=True)
    value = loss(output, target)
    value.backward()
    assert torch.isfinite(value)
    assert not output.grad[..., ignored].any()
    assert output.grad[..., ~ignored].any()
    with torch.no_grad():
        other = torch.where(ignored, 7.0, output)
        assert loss(other, target) == value


def test_a_network_that_is_right_at_valid_pixels_has_no_loss():
    labels = np.zeros((16, 16), np.int64)
    labels[:8] = -1
    target = torch.from_numpy(cell_targets(labels, ("foreground",)))[None]
    output = torch.full((1, 1, 16, 16), -20.0)
    output[..., :8, :] = 20.0
    assert CellsLoss(build_loss("bce"), ("foreground",))(output, target) < 1e-6
