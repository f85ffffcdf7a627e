import numpy as np
import pytest
import torch
from scipy import ndimage as ndi

from slideunet.errors import InputError
from slideunet.network.architecture.unet import UNetSpec
from slideunet.network.in_memory import pool as pools
from slideunet.network.in_memory.batch_targets import batch_targets
from slideunet.network.in_memory.draws import Draws
from slideunet.network.in_memory.pool import build_pool
from slideunet.network.in_memory.prepared import prepare
from slideunet.network.in_memory.warping import warp
from slideunet.network.patches.targets import cell_targets

MAPS = UNetSpec(1, 4, 2, heads=("distance", "centres")).maps
CPU = torch.device("cpu")


def place(image=0, *, zoom=1.0, middle, turn=((1, 0), (0, 1)), level=None):
    level = int(np.clip(np.rint(-np.log2(zoom)), 0, 3)) if level is None else level
    return Draws(
        images=np.array([image]),
        levels=np.array([level]),
        zooms=np.array([zoom]),
        middles=np.array([middle], float),
        matrices=np.array([turn], float) / zoom,
        bends=np.zeros((1, 2, 3, 3)),
    )


@pytest.fixture
def prepared(draw_image):
    return [
        prepare(draw_image(seed, shape=(149, 131 + seed)), "percentile", "dark", 6, True) for seed in range(2)
    ]


@pytest.fixture
def pool(prepared):
    return build_pool(prepared, CPU)


@pytest.mark.parametrize("image", [0, 1])
def test_a_patch_at_its_own_size_is_cut_out(pool, prepared, image):
    warped = warp(pool, place(image, middle=(20 + 31.5, 40 + 31.5)), 64)
    level = prepared[image].levels[0].astype(np.float32)[20:84, 40:104]
    assert np.array_equal(warped.planes[0].permute(1, 2, 0), level)
    labels = prepared[image].labels[20:84, 40:104]
    before = len(prepared[0].cells) if image else 0
    assert np.array_equal(warped.labels[0], np.where(labels > 0, labels + before, labels))


@pytest.mark.parametrize(("turn", "oracle"), [
    (((0, -1), (1, 0)), lambda a: np.rot90(a, -1)),
    (((-1, 0), (0, 1)), np.flipud),
    (((1, 0), (0, -1)), np.fliplr),
])  # fmt: skip
def test_quarters_and_mirrors_move_pixels_onto_pixels(pool, prepared, turn, oracle):
    warped = warp(pool, place(middle=(20 + 31.5, 40 + 31.5), turn=turn), 64)
    level = prepared[0].levels[0].astype(np.float32)[20:84, 40:104]
    turned = [oracle(level[..., 0]), np.rot90(level[..., 0], 1)]
    found = warped.planes[0, 0].numpy()
    assert any(np.array_equal(found, one) for one in turned)


@pytest.mark.parametrize(("zoom", "level"), [(1.7, 0), (0.9, 0), (0.5, 1), (0.3, 2), (0.12, 3)])
def test_images_are_read_as_scipy_reads_them(pool, prepared, zoom, level):
    angle = 0.4
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.array([70.3, 61.8])
    warped = warp(pool, place(zoom=zoom, middle=middle, turn=turn), 33)
    steps = np.arange(33) - 16.0
    places = np.stack(np.meshgrid(steps, steps, indexing="ij"), -1) @ (turn / zoom).T + middle
    assert np.allclose(warped.places[0], places, atol=1e-3)
    plane = prepared[0].levels[level][..., 0].astype(np.float64)
    at = (places + 0.5) / 2**level - 0.5
    # Mirrored once, as far as the image is long.
    inside = ((at > -np.array(plane.shape)) & (at < 2 * np.array(plane.shape) - 1)).all(axis=-1)
    oracle = ndi.map_coordinates(plane, at.transpose(2, 0, 1), order=1, mode="reflect")
    assert np.abs(warped.planes[0, 0].numpy() - oracle)[inside].max() < 2e-3


def test_beyond_the_border_pixels_are_ignored(pool, prepared):
    warped = warp(pool, place(middle=(5.5, 60.5)), 64)
    assert (warped.labels[0, :26] == -1).all()
    assert np.array_equal(warped.labels[0, 26:], prepared[0].labels[:38, 29:93])
    assert np.array_equal(warped.planes[0, 0, :26].flip(0), warped.planes[0, 0, 26:52])


def test_targets_of_whole_cells_are_those_of_the_workflow(pool, prepared):
    warped = warp(pool, place(middle=(20 + 31.5, 40 + 31.5)), 64)
    found = batch_targets(pool, warped, MAPS, border=True)[0].numpy()
    labels = prepared[0].labels[20:84, 40:104]
    wanted = cell_targets(labels, MAPS, border=True)
    cut = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    whole = ~np.isin(labels, cut[cut > 0])
    assert (labels[whole] > 0).sum() > 300
    for number in range(6):
        assert np.abs(found[number] - wanted[number])[whole].max() < 2e-3, number
    # Cells beyond the patch weigh too: only pixels that are nearer to none of them are alike.
    middle = (slice(16, -16), slice(16, -16))
    assert np.abs(found[6] - wanted[6])[middle].max() < 1e-2


def test_targets_of_enlarged_cells_are_those_of_enlarged_labels(pool, prepared):
    zoom = 2
    warped = warp(pool, place(zoom=zoom, middle=(59.5, 59.5)), 160)
    found = batch_targets(pool, warped, MAPS)[0].numpy()
    large = np.kron(prepared[0].labels, np.ones((zoom, zoom), np.int32))[40:200, 40:200]
    assert np.array_equal(warped.labels[0], large)
    wanted = cell_targets(large, MAPS)
    cut = np.unique(np.concatenate([large[0], large[-1], large[:, 0], large[:, -1]]))
    cells = (large > 0) & ~np.isin(large, cut)
    assert cells.sum() > 1000
    assert np.abs(found[1] - wanted[1])[cells].mean() < 0.04  # distance
    assert np.abs(found[2] - wanted[2])[cells].max() < 0.05  # centre
    assert np.abs(found[3:5] - wanted[3:5])[:, cells].max() < 0.05  # px to the centre
    assert found[5][cells] == pytest.approx(wanted[5][cells], rel=0.01)


def test_ignored_pixels_are_no_edge_and_not_scored(draw_image):
    packed = draw_image(0)
    packed.labels[:, 60:] = 65535
    ready = prepare(packed, "percentile", "dark", 6, True)
    pool = build_pool([ready], CPU)
    warped = warp(pool, place(middle=(70.5, 60.5)), 64)
    target = batch_targets(pool, warped, MAPS)[0]
    assert (warped.labels[0, :, 31:] == -1).all()
    assert (target[0, :, 31:] == -1).all()
    wanted = cell_targets(ready.labels, MAPS)[1]
    assert np.abs(ready.levels[0][..., 1] - wanted).max() < 1e-3


def test_more_pixels_than_can_be_counted_are_refused(prepared, monkeypatch):
    with pytest.raises(InputError, match="2\\^31"):
        build_pool(prepared * 60_000, CPU)
    assert pools.NEGATIVE not in {image.entry.source for image in prepared}
