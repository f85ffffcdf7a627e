import json

import numpy as np
import pytest
from making import blocks_of
from skimage.filters import threshold_otsu

from slideunet.scoring.external_grouping import BLOCKS_PER_PART, in_memory, on_disk
from slideunet.scoring.instance_metrics import count_instances
from slideunet.scoring.matching import match_arrays
from slideunet.scoring.overlaps import count_overlaps
from slideunet.scoring.pixel_metrics import count_pixels
from slideunet.scoring.score_slide import Score, score_slide


@pytest.fixture
def slide():
    random = np.random.default_rng(5)
    truth, cells = np.zeros((2, 61, 83), dtype=np.uint32)
    truth[5:20, 5:25], truth[30:50, 40:60] = 1, 2
    cells[6:20, 5:25], cells[55:60, 70:80] = 1, 2
    image = (random.normal(40, 5, (3, 61, 83)) + 120 * (truth > 0)).astype(np.uint8)
    probability = np.where(cells > 0, 200, 50).astype(np.uint8)[None]
    probability[0, 0, 0] = 128
    return image, truth, probability, cells


@pytest.mark.parametrize("block", [7, 13, 61, 4096])
@pytest.mark.parametrize("files", [False, True])
def test_blocks_do_not_change_the_score(slide, block, files, tmp_path):
    image, truth, probability, cells = slide
    whole = score_slide(*slide, threshold=0.5)
    regroup = on_disk(tmp_path, 3 * BLOCKS_PER_PART) if files else in_memory
    with blocks_of(block):
        score, examples = score_slide(*slide, threshold=0.5, regroup=regroup)
    assert (score, examples) == whole
    assert [(e.kind, e.id, e.y, e.x) for e in examples] == [("missed", 2, 30, 40), ("false", 2, 55, 70)]
    grey = image.mean(axis=0, dtype=float)
    assert score.pixel == count_pixels(truth > 0, cells > 0)
    assert score.semantic == count_pixels(truth > 0, probability[0] >= 127.5)
    assert score.otsu == count_pixels(truth > 0, grey > threshold_otsu(grey))
    assert score.instances == count_instances(match_arrays(count_overlaps(truth, cells)))


def test_dark_cells_are_found_by_the_baseline(slide):
    image, truth, probability, cells = slide
    assert score_slide(255 - image, truth, probability, cells, threshold=0.5)[0].otsu.dice > 0.95
    assert (
        score_slide(255 - image, truth, probability, cells, threshold=0.5, polarity="bright")[0].otsu.dice
        < 0.3
    )


def test_constant_image_and_no_cells():
    none = np.zeros((9, 5), dtype=np.uint32)
    score, examples = score_slide(
        np.full((1, 9, 5), 7, np.uint16), none, none[None].astype(np.uint8), none, threshold=0.5
    )
    assert score.empty
    assert examples == []
    assert set(score.values().values()) == {1.0}


def test_json_round_trip(slide):
    score, _ = score_slide(*slide, threshold=0.5)
    content = json.loads(json.dumps(score.to_json(), allow_nan=False))
    assert Score.from_json(content) == score
    assert (score + score).values()["dice"] == pytest.approx(score.values()["dice"])


MARGIN = 5


class Blocks:
    """Pixels that can only be read in parts up to the size of a block of 16 px and its margin."""

    def __init__(self, array):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype

    def __getitem__(self, index):
        part = self.array[index]
        assert max(part.shape[-2:]) <= 16 + 2 * MARGIN
        return part


def test_nothing_larger_than_a_block_is_read(slide, monkeypatch):
    monkeypatch.setattr("slideunet.scoring.score_slide.MARGIN", MARGIN)
    with blocks_of(16):
        expected = score_slide(*slide, threshold=0.5)
        assert score_slide(*map(Blocks, slide), threshold=0.5) == expected
