"""Methods are compared by what they make of the maps; a network that knows the truth shows which is which."""

import numpy as np
import pytest
from skimage.draw import disk

from slideunet.cells.separation.decoding import Decoding, decoding_for
from slideunet.cells.separation.separate import MERGE_RATIOS, separate
from slideunet.geometry.blocks import BlockGrid
from slideunet.model_json import HEADS, OFFSET_ZERO, output_maps
from slideunet.network.architecture.unet import UNetSpec
from slideunet.network.patches.dataset import LabelledSlide
from slideunet.network.patches.targets import cell_targets
from slideunet.network.training.tune_cells import (
    MIN_PROBABILITIES_TRIED,
    WholeMaps,
    chosen_decodings,
    compare_methods,
    match_cells,
    middle_block,
)
from slideunet.scoring.instance_metrics import InstanceCounts, count_instances
from slideunet.scoring.matching import match_arrays
from slideunet.scoring.overlaps import count_overlaps
from slideunet.slides.normalisation import Normalisation
from slideunet.truth.ignore_label import IGNORE_LABEL

NAMES = output_maps(HEADS)


class Knowing:
    """An engine whose prediction is the image itself, which holds the maps of the truth."""

    name, version, precision, tile_limit, halo, margin, step = "knowing", "1", "fp32", None, 0, 0, 2
    dtype, memory = np.dtype(np.uint8), 10**9

    def __init__(self, heads):
        self.spec = UNetSpec(channels=len(NAMES), width=4, depth=1, heads=heads)

    def predict(self, tiles, constants):
        planes = [NAMES.index(name) for name in self.spec.maps]
        return (tile.pixels[planes][:, *(slice(*part) for part in tile.core)] for tile in tiles)


@pytest.fixture
def write_truth(tmp_path, write_store):
    """Write a slide of discs whose image is the maps of its truth, maps changed where asked."""

    def write(name, *places, **changes):
        labels = np.zeros((70, 150), np.uint32)
        for number, (y, x, radius) in enumerate(places, start=1):
            labels[disk((y, x), radius, shape=labels.shape)] = number
        targets = dict(zip(NAMES, cell_targets(labels.astype(np.int32), NAMES)[:-1], strict=True))
        planes = [
            np.where(labels > 0, OFFSET_ZERO + targets[name], 0)
            if name in ("dy", "dx")
            else 255 * targets[name]
            for name in NAMES
        ]
        for changed, change in changes.items():
            planes[NAMES.index(changed)] = change(planes[NAMES.index(changed)])
        manifest = write_store(
            tmp_path / f"{name}.json", np.rint(planes).clip(0, 255).astype(np.uint8), labels=labels
        )
        return LabelledSlide(manifest, labels.shape, Normalisation((0.0,) * 5, (1.0,) * 5))

    return write


@pytest.fixture
def slides(write_truth):
    """Two slides: of a chain of discs that touch, and of one disc alone."""
    return [
        write_truth("chain", (30, 30, 14), (30, 57, 14), (30, 84, 14), (30, 111, 14)),
        write_truth("alone", (40, 60, 12)),
    ]


def test_each_method_gets_the_score_that_it_deserves(slides):
    found = compare_methods(Knowing(("distance", "centres")), slides, 0.5)
    assert list(found) == ["distance", "centres", "watershed", "components"]
    for method in ("distance", "centres", "watershed"):
        assert found[method]["ap50"] == 1.0
    # Four discs are one component: nothing of them is found, one cell of the five is.
    assert found["components"]["ap50"] == pytest.approx(1 / (5 + 2 - 1))
    assert all(values["map"] <= values["ap50"] + 1e-12 for values in found.values())


def test_only_methods_that_the_network_allows_are_tried(slides):
    assert list(compare_methods(Knowing(("centres",)), slides, 0.5)) == ["centres", "watershed", "components"]
    assert list(compare_methods(Knowing(()), slides, 0.5)) == ["watershed", "components"]


def test_the_merge_ratio_is_tuned_and_stays_as_usual_where_that_is_as_good(write_truth):
    def dented(plane):
        """Flatten the disc and lower its middle, so that its sides are peaks of their own."""
        plane = np.minimum(plane, 120)
        plane[:, 72:79] *= 0.45
        return plane

    engine, usual = Knowing(("distance",)), write_truth("usual", (40, 75, 20))
    assert compare_methods(engine, [usual], 0.5)["distance"]["merge_ratio"] == MERGE_RATIOS["distance"]
    divided = [write_truth("divided", (40, 75, 20), distance=dented)]
    found = compare_methods(engine, divided, 0.5)
    assert 0.5 <= found["distance"]["merge_ratio"] < MERGE_RATIOS["distance"]
    assert found["distance"]["ap50"] == 1.0
    assert "merge_ratio" not in found["components"]


@pytest.mark.parametrize(("sources", "times", "usual"), [(1, 1, True), (1, 100, False), (3, 1, False)])
def test_few_cells_do_not_choose_the_merge_ratio(sources, times, usual):
    """With 154 nuclei AP 0.904 against 0.881 is chance; with more of them, or in three sources, it is not."""
    counts = {0.6: (154, 145, 142), 0.85: (154, 147, 141)}
    found = {
        (ratio, least): InstanceCounts(true * times, pred * times, (tp * times,) * 10)
        for ratio, (true, pred, tp) in counts.items()
        for least in MIN_PROBABILITIES_TRIED
    }
    chosen = chosen_decodings([{"distance": found}] * sources)["distance"]["merge_ratio"]
    assert chosen == (MERGE_RATIOS["distance"] if usual else 0.6)


def test_cells_that_the_network_is_not_sure_of_are_left_out_where_that_is_better(write_truth):
    def with_ghosts(plane):
        """Add two cells of probability 0.72 that are not there."""
        plane[:, :] = np.where(plane > 0, 250, 0)
        plane[5:15, 5:15] = plane[55:65, 130:140] = 0.72 * 255
        return plane

    engine = Knowing(())
    haunted = [write_truth("haunted", (40, 75, 20), foreground=with_ghosts)]
    found = compare_methods(engine, haunted, 0.5)["watershed"]
    assert (found["min_probability"], found["ap50"]) == (0.75, 1.0)
    usual = [write_truth("usual", (40, 75, 20))]
    assert compare_methods(engine, usual, 0.5)["watershed"]["min_probability"] == 0


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("region", [(slice(40, 300), slice(700, 1000)), (slice(500, 640), slice(100, 300))])
def test_the_block_with_most_of_the_annotation_is_looked_at(tmp_path, write_store, region):
    truth = np.full((700, 1100), IGNORE_LABEL)
    truth[region] = 1
    image = np.zeros((len(NAMES), *truth.shape), np.uint8)
    slide = LabelledSlide(
        write_store(tmp_path / "S1.json", image, labels=truth),
        truth.shape,
        Normalisation((0.0,) * 5, (1.0,) * 5),
    )
    labels, maps = middle_block(Knowing(()), slide)
    blocks = [truth[block] for block in BlockGrid(truth.shape)]
    expected = max(blocks, key=lambda block: (block == 1).sum())
    np.testing.assert_array_equal(labels, expected)
    assert maps["foreground"].shape == expected.shape


@pytest.mark.usefixtures("small_blocks")
def test_a_slide_of_several_blocks_is_scored_as_in_one_piece():
    """Cells that the border of a block cuts are one cell."""
    rng, truth = np.random.default_rng(0), np.zeros((700, 1100), np.uint32)
    for number, (y, x) in enumerate(rng.uniform((0, 0), truth.shape, (900, 2)), start=1):
        truth[disk((y, x), rng.uniform(5, 12), shape=truth.shape)] = number
    foreground = np.where(truth > 0, 200, 20) + rng.integers(-19, 19, truth.shape)
    maps = {"foreground": np.where(rng.random(truth.shape) < 0.02, 20, foreground).astype(np.uint8)}
    decoding = Decoding(0.5, "watershed", min_probability=0.6)
    cells = separate(maps, decoding)
    assert len(np.intersect1d(cells[511], cells[512])) > 10
    found = match_cells(truth, WholeMaps(["foreground"], maps["foreground"][None]), decoding)
    assert found == count_instances(match_arrays(count_overlaps(truth, cells)))
    assert found.tp[0] > 100


def test_a_model_brings_its_decoding():
    tuned = {"distance": {"ap50": 0.9, "map": 0.5, "merge_ratio": 0.8, "min_probability": 0.7}}
    facts = {"threshold": 0.4, "architecture": {"heads": ["distance"]}, "decodings": tuned}
    assert decoding_for(facts) == Decoding(0.4, "distance", 10, 0.8, 0.7)
    asked = decoding_for(facts, threshold=0.5, method="components", min_area=3, min_probability=0.2)
    assert asked == Decoding(0.5, "components", 3, None, 0.2)
    # Models of earlier versions were not tuned so.
    assert decoding_for(facts | {"decodings": {}}) == Decoding(0.4, "distance", 10, None, 0.0)
