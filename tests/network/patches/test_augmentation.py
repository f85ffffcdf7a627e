import numpy as np
import pytest
import torch

from slideunet.network.patches.augmentation import augment, build_augmentation

_INTENSITIES = [
    "noise", "blur", "brightness", "contrast", "gamma", "illumination", "shot_noise", "invert", "colour",
    "stain", "counterstain", "darkening",
]  # fmt: skip
STRONG = {
    "flip": 0.5, "rotation": 45.0, "scale": 0.25, "elastic": 2.0, "noise": 0.03, "blur": 1.0,
    "brightness": 0.1, "contrast": 0.25, "gamma": 0.25, "illumination": 0.3, "shot_noise": 0.05,
    "invert": 0.3, "colour": 0.1, "stain": 0.2, "counterstain": 0.5, "darkening": 1.0,
}  # fmt: skip

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def patch():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.repeat(rng.choice([0, 3, 70_000], (10, 10)), 8, axis=0), 8, axis=1).astype(
        np.uint32
    )
    return rng.random((3, 80, 80)).astype(np.float32), labels


def test_a_stream_gives_the_same_patch_in_whatever_order(patch):
    augmentation = build_augmentation(STRONG, 64)
    streams = [(0, 1, 2), (0, 1, 3), (0, 2, 2), (1, 1, 2)]
    first = [augment(augmentation, *patch, stream) for stream in streams]
    again = [augment(build_augmentation(STRONG, 64), *patch, stream) for stream in reversed(streams)][::-1]
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])
    for i in range(4):
        assert not any(torch.equal(first[i][0], first[j][0]) for j in range(i))


def test_shapes_and_types(patch):
    image, labels = augment(build_augmentation(STRONG, 64), *patch, (0, 0, 0))
    assert (image.shape, image.dtype) == ((3, 64, 64), torch.float32)
    assert (labels.shape, labels.dtype) == ((1, 64, 64), torch.float32)
    assert type(image) is type(labels) is torch.Tensor
    assert torch.isfinite(image).all()


def test_labels_are_moved_and_never_mixed(patch):
    augmentation = build_augmentation(STRONG, 64)
    for sample in range(15):
        _, labels = augment(augmentation, *patch, (0, 0, sample))
        assert set(labels.unique().tolist()) <= {-1.0, 0.0, 3.0, 70_000.0}


def test_image_and_labels_are_moved_together(patch, no_augmentation):
    _, labels = patch
    geometry = no_augmentation | {name: STRONG[name] for name in ("flip", "rotation", "scale", "elastic")}
    augmentation = build_augmentation(geometry, 64)
    for sample in range(10):
        image, moved = augment(augmentation, (labels > 0)[None].astype(np.float32), labels, (0, 0, sample))
        agree = ((image[0] > 0.5) == (moved[0] > 0)).float().mean()
        assert agree > 0.97


def test_without_strength_only_the_middle_is_cut(patch, no_augmentation):
    image, labels = augment(build_augmentation(no_augmentation, 64), *patch, (0, 0, 0))
    np.testing.assert_allclose(image, patch[0][:, 8:72, 8:72], atol=1e-5)
    np.testing.assert_array_equal(labels[0], patch[1][8:72, 8:72])


@pytest.mark.parametrize("name", STRONG)
def test_each_strength_changes_something(name, patch, no_augmentation):
    augmentation = build_augmentation(no_augmentation | {name: STRONG[name]}, 64)
    plain, _ = augment(build_augmentation(no_augmentation, 64), *patch, (0, 0, 0))
    changed = [
        not torch.allclose(augment(augmentation, *patch, (0, 0, sample))[0], plain, atol=1e-4)
        for sample in range(20)
    ]
    assert any(changed)


@pytest.mark.parametrize("name", _INTENSITIES)
def test_intensities_change_without_touching_the_labels(name, patch, no_augmentation):
    augmentation = build_augmentation(no_augmentation | {name: STRONG[name]}, 64)
    for sample in range(5):
        _, labels = augment(augmentation, *patch, (0, 0, sample))
        np.testing.assert_array_equal(labels[0], patch[1][8:72, 8:72])


def test_a_patch_of_one_value_stays_finite():
    flat = np.zeros((3, 80, 80), np.float32), np.zeros((80, 80), np.uint32)
    for sample in range(10):
        assert torch.isfinite(augment(build_augmentation(STRONG, 64), *flat, (0, 0, sample))[0]).all()
