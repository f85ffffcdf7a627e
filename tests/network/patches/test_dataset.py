from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage as ndi

from slideunet.geometry.windows import read_mirrored
from slideunet.network.patches.dataset import LabelledSlide, PatchDataset
from slideunet.network.training.batches import BatchSampler, batches
from slideunet.slides.normalisation import Normalisation
from slideunet.stores.verified import open_image_store, open_label_store

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def manifests(tmp_path_factory, convert_cells):
    folder = tmp_path_factory.mktemp("cohort")
    sizes = {"large": (150, 133), "small": (40, 51), "narrow": (30, 200)}
    return {name: convert_cells(folder, name, height=h, width=w) for name, (h, w) in sizes.items()}


@pytest.fixture
def dataset(manifests, labelled_slide, training_section):
    slides = [labelled_slide(manifest) for manifest in manifests.values()]
    return PatchDataset(slides, 64, training_section["augmentation"], seed=5)


def assert_equal_patches(one, other):
    assert torch.equal(one[0], other[0])
    assert torch.equal(one[1], other[1])


def test_every_sample_has_an_owner(dataset):
    assert [dataset.owners.count(i) for i in range(3)] == [3, 1, 2]
    assert len(dataset) == len(dataset.owners) == 6


def owners_of(strata, balance, no_augmentation):
    """Return how many patches each slide of one patch gets."""
    constants = Normalisation((0.0,), (1.0,))
    slides = [LabelledSlide(Path("unread.json"), (64, 64), constants, stratum) for stratum in strata]
    owners = PatchDataset(slides, 64, no_augmentation, seed=5, balance=balance).owners
    return [owners.count(slide) for slide in range(len(strata))]


def test_rare_strata_are_drawn_from_as_often_as_common_ones(no_augmentation):
    strata = ["H&E"] * 9 + ["PAS"] * 3 + ["Giemsa"]
    assert owners_of(strata, 0.0, no_augmentation) == [1] * 13
    assert owners_of(strata, 1.0, no_augmentation) == [1] * 9 + [3] * 3 + [9]
    # 9 (9 / 9)^0.5, 3 (9 / 3)^0.5 = 5.2 rounded up, 1 (9 / 1)^0.5
    assert owners_of(strata, 0.5, no_augmentation) == [1] * 9 + [2] * 3 + [3]


@pytest.mark.parametrize("balance", [0.0, 0.3, 0.9, 1.0])
def test_balancing_takes_no_slide_away_and_favours_none_of_a_stratum(balance, no_augmentation):
    strata = ["a"] * 17 + ["b"] * 5 + ["c"] * 2
    counts = owners_of(strata, balance, no_augmentation)
    for stratum in "abc":
        own = [count for count, name in zip(counts, strata, strict=True) if name == stratum]
        assert min(own) >= 1
        assert max(own) - min(own) <= 1


def test_a_patch_depends_on_its_key_only(dataset, training_section):
    keys = [(0, 3), (1, 3), (0, 4), (7, 0)]
    first = [dataset[key] for key in keys]
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    other = PatchDataset(dataset.slides, 64, training_section["augmentation"], seed=5)
    for key, patch in zip(reversed(keys), reversed(first), strict=True):
        assert_equal_patches(other[key], patch)
    reseeded = PatchDataset(dataset.slides, 64, training_section["augmentation"], seed=6)
    assert not torch.equal(reseeded[keys[0]][0], first[0][0])
    assert not torch.equal(first[0][0], first[1][0])


def test_every_patch_has_the_shape_and_a_target_of_zeros_and_ones_or_none(dataset):
    for sample in range(len(dataset)):
        image, target = dataset[0, sample]
        assert (image.shape, image.dtype) == ((1, 64, 64), torch.float32)
        assert (target.shape, target.dtype) == ((1, 64, 64), torch.float32)
        assert set(target.unique().tolist()) <= {-1.0, 0.0, 1.0}  # -1: beyond the slide.


def test_a_patch_is_a_place_of_the_normalised_slide(manifests, labelled_slide, no_augmentation):
    slide = labelled_slide(manifests["large"])
    image, target = PatchDataset([slide], 64, no_augmentation, seed=5)[0, 2]
    whole = slide.normalisation.apply(open_image_store(slide.manifest)[:])
    truth = open_label_store(slide.manifest, "truth")[:] > 0
    windows = np.lib.stride_tricks.sliding_window_view(whole[0], (64, 64))
    away = np.abs(windows - image[0].numpy()).max(axis=(2, 3))
    y, x = np.unravel_index(away.argmin(), away.shape)
    assert away[y, x] < 1e-5
    np.testing.assert_array_equal(target[0].numpy() > 0, truth[y : y + 64, x : x + 64])


def test_a_slide_smaller_than_a_patch_lies_in_its_middle_and_is_mirrored_but_ignored_outside(
    manifests, labelled_slide, no_augmentation
):
    slide = labelled_slide(manifests["small"])
    image, target = PatchDataset([slide], 64, no_augmentation, seed=5)[3, 0]
    rows, columns = (-12, 52), (-7, 57)
    raw = open_image_store(slide.manifest)
    np.testing.assert_allclose(
        image, slide.normalisation.apply(read_mirrored(raw, (rows, columns))), atol=1e-5
    )
    expected = np.full((64, 64), -1)
    expected[12:52, 7:58] = open_label_store(slide.manifest, "truth")[:] > 0
    np.testing.assert_array_equal(target[0], expected)


def test_no_cell_has_a_mirror_image_of_itself(manifests, labelled_slide, no_augmentation):
    slide = labelled_slide(manifests["small"])
    strengths = no_augmentation | {"rotation": 180, "scale": [0.5, 1.0]}
    maps = ("foreground", "centre", "dy", "dx")
    true = np.bincount((open_label_store(slide.manifest, "truth")[:]).ravel())[1:]
    for epoch in range(20):
        _, target = PatchDataset([slide], 64, strengths, seed=5, maps=maps)[epoch, 0]
        foreground, _, dy, dx, per_radius = target.numpy()
        own = foreground == 1
        # One centre for all pixels of a cell, inside what is seen of it; of two pieces it lay between them.
        y, x = (place[own] + way[own] for place, way in zip(np.indices(own.shape), (dy, dx), strict=True))
        assert ndi.binary_dilation(own)[y.round().astype(int), x.round().astype(int)].all()
        areas = np.pi / per_radius[own] ** 2
        assert areas.max() <= true.max() * 1.05


def test_patches_reach_every_place(manifests, labelled_slide, no_augmentation):
    slide = labelled_slide(manifests["large"])
    ramp = LabelledSlide(slide.manifest, slide.shape, Normalisation((0.0,), (1.0,)))
    starts = [PatchDataset([ramp], 64, no_augmentation, seed)[0, 0][0][0, 0, 0] for seed in range(12)]
    assert len({float(start) for start in starts}) > 6


def test_an_epoch_has_every_sample_once_in_an_order_of_its_own():
    sampler = BatchSampler(20, batch_size=8, seed=1, epochs=range(2, 5))
    taken = list(sampler)
    assert [len(batch) for batch in taken] == [8, 8, 4] * 3
    assert len(sampler) == 9
    orders = [list(chain(*taken[i : i + 3])) for i in range(0, 9, 3)]
    for epoch, order in zip(range(2, 5), orders, strict=True):
        assert sorted(order) == [(epoch, sample) for sample in range(20)]
    assert len({tuple(sample for _, sample in order) for order in orders}) == 3
    # A training that goes on with epoch 4 takes what an undisturbed one takes there.
    assert list(chain(*BatchSampler(20, 8, 1, range(4, 5)))) == orders[2]


def test_batches_hold_every_sample(dataset):
    found = list(batches(dataset, 3, range(1, 2), workers=0))
    keys = list(BatchSampler(len(dataset), 3, dataset.seed, range(1, 2)))
    assert [len(image) for image, _ in found] == [len(batch) for batch in keys]
    assert_equal_patches((found[1][0][0], found[1][1][0]), dataset[keys[1][0]])


def test_another_process_prepares_the_same_batches(dataset):
    own = list(batches(dataset, 3, range(1, 3), workers=0))
    others = list(batches(dataset, 3, range(1, 3), workers=1))
    for one, other in zip(own, others, strict=True):
        assert_equal_patches(one, other)


@pytest.mark.parametrize(
    ("shape", "count"), [((1, 1), 1), ((256, 256), 1), ((257, 256), 2), ((1024, 4096), 8)]
)
def test_a_large_slide_gives_the_root_of_the_patches_that_would_cover_it(shape, count, no_augmentation):
    slide = LabelledSlide(Path("unread.json"), shape, Normalisation((0.0,), (1.0,)))
    assert len(PatchDataset([slide], 256, no_augmentation, seed=0)) == count


@pytest.mark.parametrize(("least", "count"), [(1, 5), (5, 5), (6, 10), (128, 130)])
def test_of_few_slides_more_patches_are_drawn_from_all_alike(no_augmentation, least, count):
    slides = [
        LabelledSlide(Path("unread.json"), shape, Normalisation((0.0,), (1.0,)))
        for shape in ((256, 256), (1024, 1024))
    ]
    owners = PatchDataset(slides, 256, no_augmentation, seed=0, least=least).owners
    assert len(owners) == count
    assert owners.count(1) == 4 * owners.count(0)


def test_patches_of_one_place_in_the_list_of_slides_differ(dataset, training_section):
    more = PatchDataset(dataset.slides, 64, training_section["augmentation"], seed=5, least=99)
    first, again = more[1, 0], more[1, len(dataset)]
    assert more.owners[0] == more.owners[len(dataset)]
    assert not torch.equal(first[0], again[0])
    assert_equal_patches(first, dataset[1, 0])
