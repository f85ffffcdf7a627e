import json

import numpy as np
import pytest
from skimage.filters import threshold_otsu

from slideunet.scoring.instances import count_instances
from slideunet.scoring.overlaps import count_overlaps
from slideunet.scoring.pixels import count_pixels
from slideunet.scoring.slides import Score, row_blocks, score_slide


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


@pytest.mark.parametrize("rows", [1, 13, 61, 500])
def test_row_blocks_do_not_change_the_score(slide, rows):
    image, truth, probability, cells = slide
    score = score_slide(*slide, threshold=0.5, rows=rows)
    grey = image.mean(axis=0, dtype=float)
    assert score.pixel == count_pixels(truth > 0, cells > 0)
    assert score.semantic == count_pixels(truth > 0, probability[0] >= 127.5)
    assert score.otsu == count_pixels(truth > 0, grey > threshold_otsu(grey))
    assert score.instances == count_instances(count_overlaps(truth, cells))


def test_dark_cells_are_found_by_the_baseline(slide):
    image, truth, probability, cells = slide
    assert score_slide(255 - image, truth, probability, cells, threshold=0.5).otsu.dice > 0.95
    assert (
        score_slide(255 - image, truth, probability, cells, threshold=0.5, polarity="bright").otsu.dice < 0.3
    )


def test_constant_image_and_no_cells():
    none = np.zeros((9, 5), dtype=np.uint32)
    score = score_slide(
        np.full((1, 9, 5), 7, np.uint16), none, none[None].astype(np.uint8), none, threshold=0.5
    )
    assert score.empty
    assert set(score.values().values()) == {1.0}


def test_json_round_trip(slide):
    score = score_slide(*slide, threshold=0.5)
    content = json.loads(json.dumps(score.to_json(), allow_nan=False))
    assert Score.from_json(content) == score
    assert (score + score).values()["dice"] == pytest.approx(score.values()["dice"])


def test_row_blocks_cover_once():
    assert [part for block in row_blocks(10, 4) for part in range(block.start, block.stop)] == list(range(10))
