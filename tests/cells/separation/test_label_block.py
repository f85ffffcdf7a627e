import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from making import blocks_of
from oracles import number_by_blocks
from scipy import ndimage as ndi
from skimage.segmentation import find_boundaries

from slideunet.cells.separation import label_block as label_block_module
from slideunet.cells.separation import watershed as watershed_module
from slideunet.cells.separation.decoding import Decoding
from slideunet.cells.separation.separate import separate
from slideunet.geometry.blocks import BlockGrid

SIDE = 64


@pytest.fixture(autouse=True)
def tiny_blocks(monkeypatch):
    monkeypatch.setattr(label_block_module, "MARGIN", 16)
    monkeypatch.setattr(label_block_module, "LARGEST_MARGIN", 64)
    with blocks_of(SIDE):
        yield


def draw(shape, seed, sigma):
    noise = ndi.gaussian_filter(np.random.default_rng(seed).normal(size=shape), sigma)
    noise = (noise - noise.min()) / max(np.ptp(noise), 1e-9)
    return (noise * 255).astype(np.uint8)


class InMemory(dict):
    """Maps of a slide that were not stored."""

    @property
    def shape(self):
        return self["foreground"].shape

    def __getitem__(self, key):
        if isinstance(key, str):
            return super().__getitem__(key)
        return {name: array[key] for name, array in self.items()}


def label_all(maps, order=None, method="watershed", **options):
    """Separate all blocks, in any order, and number the cells of the slide."""
    maps = maps if isinstance(maps, dict) else {"foreground": maps}
    decoding = Decoding(0.5, method, **options)
    shape = maps["foreground"].shape
    grid = BlockGrid(shape)
    places = range(len(grid))
    found = {i: label_block_module.label_block(InMemory(maps), i, decoding) for i in order or places}
    ordered = {
        i: label_block_module.keys_of_block([found[j].keys for j in grid.neighbours(i)], i) for i in places
    }
    first = np.cumsum([1, *(len(ordered[i]) for i in places)])[:-1]
    labels = np.zeros(shape, np.uint32)
    for i in places:
        ids = label_block_module.ids_of_cells(found[i].keys, ordered, first)
        labels[grid[i]] = np.concatenate([[0], ids])[found[i].labels]
    return labels, found


def whole(maps, method="watershed", **options):
    maps = maps if isinstance(maps, dict) else {"foreground": maps}
    return number_by_blocks(separate(maps, Decoding(0.5, method, **options)), block=SIDE)


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(st.integers(1, 230), st.integers(1, 230)),
    st.integers(0, 10**6),
    st.sampled_from([1.0, 1.7, 2.5]),
    st.sampled_from(["watershed", "components"]),
    st.sampled_from([0.0, 0.55, 0.6]),
)
def test_blocks_give_the_ids_of_the_whole_slide(shape, seed, sigma, method, least):
    probability = draw(shape, seed, sigma)
    options = {"method": method, "min_probability": least}
    labels, found = label_all(probability, **options)
    if not any(block.unfinished for block in found.values()):
        np.testing.assert_array_equal(labels, whole(probability, **options))
    assert labels.dtype == np.uint32


def confluent(shape, seed, spacing=13, jitter=6):
    """A foreground of one piece, and rough heights that fall from the middles of cells to their borders."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.arange(0, side, spacing) for side in shape), indexing="ij"), axis=-1)
    places = np.minimum(
        grid.reshape(-1, 2) + rng.integers(0, jitter, (grid.size // 2, 2)), np.array(shape) - 1
    )
    outside = np.ones(shape, bool)
    outside[tuple(places.T)] = False
    height = 250 - 260 / spacing * ndi.distance_transform_edt(outside) + 4 * rng.standard_normal(shape)
    return {
        "foreground": np.where(rng.random(shape) < 0.001, 0, 255).astype(np.uint8),
        "distance": np.clip(height, 1, 255).astype(np.uint8),
    }


@settings(max_examples=12, deadline=None)
@given(
    st.tuples(st.integers(150, 230), st.integers(150, 230)),
    st.integers(0, 10**6),
    st.sampled_from([0.95, 1.0]),
    st.sampled_from([1, 10]),
    st.sampled_from([watershed_module.FULL_RATIO_AREA, 400.0]),
)
def test_cells_that_touch_everywhere_are_those_of_the_whole_slide(shape, seed, ratio, min_area, area):
    """One component across all blocks, far larger than the largest margin."""
    maps, options = confluent(shape, seed), {"merge_ratio": ratio, "min_area": min_area}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watershed_module, "FULL_RATIO_AREA", area)
        labels, found = label_all(maps, method="distance", **options)
        np.testing.assert_array_equal(labels, whole(maps, method="distance", **options))
    assert not any(block.unfinished for block in found.values())
    assert ndi.label(labels > 0)[1] == 1
    assert labels.max() > 50


def touching(shape, seed, size):
    """Cells that fill the slide, at most about `size` long, with distances as they are learned, in 8 bits."""
    rng = np.random.default_rng(seed)
    spacing = 6 * size // 7
    grid = np.stack(np.meshgrid(*(np.arange(0, side, spacing) for side in shape), indexing="ij"), axis=-1)
    places = grid.reshape(-1, 2) + rng.integers(0, size // 7, (grid.size // 2, 2))
    seeds = np.zeros(shape, np.int32)
    for number, (y, x) in enumerate(np.minimum(places, np.array(shape) - 1), start=1):
        seeds[y, x] = number
    nearest = ndi.distance_transform_edt(seeds == 0, return_distances=False, return_indices=True)
    cells = seeds[tuple(nearest)]
    depth = ndi.distance_transform_edt(~find_boundaries(cells, mode="outer"))
    deepest = ndi.maximum(depth, cells, np.arange(cells.max() + 1))
    height = 250 * depth / deepest[cells] + rng.uniform(0, 3, shape)
    return {
        "foreground": np.full(shape, 255, np.uint8),
        "distance": np.clip(height, 1, 255).astype(np.uint8),
    }, cells


@pytest.mark.parametrize("size", [30, 150, 500])
@pytest.mark.parametrize("seed", [0, 1])
def test_large_cells_that_touch_everywhere_are_finished(monkeypatch, size, seed):
    """With the real margins, in windows that are cut on both sides."""
    monkeypatch.setattr(label_block_module, "MARGIN", 256)
    monkeypatch.setattr(label_block_module, "LARGEST_MARGIN", 1024)
    maps, cells = touching((517, 3301), seed, size)
    with blocks_of(1024):
        labels, found = label_all(maps, method="distance", merge_ratio=0.8)
        expected = number_by_blocks(separate(maps, Decoding(0.5, "distance", merge_ratio=0.8)), block=1024)
    np.testing.assert_array_equal(labels, expected)
    assert not any(block.unfinished for block in found.values())
    assert labels.max() == pytest.approx(len(np.unique(cells)), rel=0.05)


def crowded(shape, seed, texture):
    """Touching cells of 8 to 50 px with learned distances, as textured as asked, between gaps."""
    rng = np.random.default_rng(seed)
    places = rng.uniform((0, 0), shape, (400, 2))
    radii = np.exp(rng.uniform(np.log(4), np.log(25), len(places)))
    grid = np.stack(np.mgrid[: shape[0], : shape[1]], axis=-1)
    nearness, used = np.zeros(shape), []
    for place, radius in sorted(zip(places, radii, strict=True), key=lambda cell: -cell[1]):
        if all(np.hypot(*(place - other)) > 0.8 * (radius + size) for other, size in used):
            used.append((place, radius))
            nearness = np.maximum(nearness, 1 - np.hypot(*(grid - place).T).T / radius)
    noise = ndi.gaussian_filter(rng.standard_normal(shape), 1.5)
    heights = 250 * np.sqrt(nearness) + texture * noise / noise.std()
    foreground = (nearness > 0).astype(np.uint8) * 255
    return {"foreground": foreground, "distance": np.clip(heights, 1, 255).astype(np.uint8)}


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10**6), st.sampled_from([0, 10, 25]), st.floats(0.5, 0.95), st.sampled_from([48, 64, 91])
)
def test_textured_cells_of_all_sizes_are_those_of_the_whole_slide(seed, texture, ratio, side):
    """With blocks of any size, although a cell depends on how large neighbours at a window's edge are."""
    maps, options = crowded((230, 201), seed, texture), {"merge_ratio": ratio}
    with blocks_of(side), pytest.MonkeyPatch.context() as patch:
        patch.setattr(label_block_module, "LARGEST_MARGIN", 128)
        labels, found = label_all(maps, method="distance", **options)
        expected = number_by_blocks(separate(maps, Decoding(0.5, "distance", **options)), block=side)
    same = labels == expected
    assert same.all() or any(block.unfinished for block in found.values())


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.2, 0.35), st.sampled_from([1, 10]))
def test_confluent_foregrounds_with_gaps_are_divided_as_in_the_whole_slide(seed, gaps, min_area):
    """By the Euclidean distance; small gaps are filled, also where the edge of a window cuts them."""
    draws = draw((230, 201), seed, 2.0)
    probability = np.where(draws < np.quantile(draws, gaps), 0, 255).astype(np.uint8)
    labels, found = label_all(probability, min_area=min_area)
    same = labels == whole(probability, min_area=min_area)
    assert same.all() or any(block.unfinished for block in found.values())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("noise", [0.0, 3.0])
@pytest.mark.parametrize("method", ["distance", "centres"])
def test_learned_maps_give_the_ids_of_the_whole_slide(
    true_maps, touching_cells, monkeypatch, seed, noise, method
):
    monkeypatch.setattr(label_block_module, "MARGIN", 150)
    monkeypatch.setattr(label_block_module, "LARGEST_MARGIN", 600)
    maps = true_maps(touching_cells(seed, (300, 371), 160), noise, seed)
    labels, found = label_all(maps, method=method)
    assert not any(block.unfinished for block in found.values())
    np.testing.assert_array_equal(labels, whole(maps, method=method))


def test_wild_maps_are_separated_alike_or_said_to_be_unfinished(true_maps, touching_cells, monkeypatch):
    monkeypatch.setattr(label_block_module, "MARGIN", 150)
    monkeypatch.setattr(label_block_module, "LARGEST_MARGIN", 600)
    maps = true_maps(touching_cells(0, (300, 371), 160), 40.0)
    labels, found = label_all(maps, method="centres")
    assert any(block.unfinished for block in found.values()) or np.array_equal(
        labels, whole(maps, method="centres")
    )


def test_the_order_of_the_blocks_does_not_matter():
    probability = draw((200, 190), 3, 2.0)
    order = np.random.default_rng(0).permutation(len(BlockGrid(probability.shape))).tolist()
    np.testing.assert_array_equal(label_all(probability, order)[0], label_all(probability)[0])


def test_a_cell_that_meets_four_blocks_at_their_corner_is_one():
    probability = np.zeros((2 * SIDE, 2 * SIDE), np.uint8)
    rows, columns = np.ogrid[: 2 * SIDE, : 2 * SIDE]
    probability[(rows - SIDE) ** 2 + (columns - SIDE) ** 2 < 100] = 255
    labels, found = label_all(probability)
    assert labels.max() == 1
    np.testing.assert_array_equal(labels > 0, probability > 0)
    assert [len(block.keys) for block in found.values()] == [1, 1, 1, 1]


def test_pixels_that_touch_only_at_a_corner_of_four_blocks_are_two_cells():
    probability = np.zeros((2 * SIDE, 2 * SIDE), np.uint8)
    probability[SIDE - 8 : SIDE, SIDE - 8 : SIDE] = probability[SIDE : SIDE + 8, SIDE : SIDE + 8] = 255
    labels, _ = label_all(probability)
    np.testing.assert_array_equal(labels, whole(probability))
    assert labels.max() == 2


@pytest.mark.parametrize(("length", "unfinished"), [(40, False), (80, False), (260, True)])
def test_what_reaches_farther_than_the_margin_gets_a_larger_one_up_to_a_limit(length, unfinished):
    probability = np.zeros((SIDE, 8 * SIDE), np.uint8)
    probability[20:29, 100 : 100 + length] = 255
    labels, found = label_all(probability)
    assert any(block.unfinished for block in found.values()) == unfinished
    if not unfinished:
        np.testing.assert_array_equal(labels, whole(probability))
    np.testing.assert_array_equal(labels > 0, probability > 0)


@pytest.mark.parametrize("value", [0, 255])
def test_empty_and_full_slides(value):
    probability = np.full((150, 70), value, np.uint8)
    labels, _ = label_all(probability)
    assert (labels == (1 if value else 0)).all() or value
    assert set(np.unique(labels)) == ({0} if value == 0 else set(range(1, int(labels.max()) + 1)))


def test_the_reach_of_a_block_is_how_far_its_own_cells_extend_beyond_it():
    labels, found = label_all(draw((150, 180), 5, 2.0))
    boxes = ndi.find_objects(labels.astype(np.int32))
    centres = ndi.center_of_mass(labels > 0, labels, range(1, len(boxes) + 1))
    beyond = dict.fromkeys(found, 0)
    grid = BlockGrid(labels.shape)
    for box, centre in zip(boxes, np.floor(np.array(centres) + 1e-9).astype(int), strict=True):
        (index,) = grid.touching(tuple(slice(place, place + 1) for place in centre))
        for part, own in zip(box, grid[index], strict=True):
            beyond[index] = max(beyond[index], own.start - part.start, part.stop - own.stop)
    assert {index: block.reach for index, block in found.items()} == beyond
    assert max(beyond.values()) > 5
