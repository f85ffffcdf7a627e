import base64
import io

import numpy as np
import pytest
from PIL import Image

from slideunet.report import gallery, pictures
from slideunet.report.gallery import GAP, SEARCHED, SHOWN, TILE, choose, draw_crops, in_words
from slideunet.report.results import SlideResult
from slideunet.scoring.error_examples import Example
from slideunet.scoring.overlaps import count_overlaps
from slideunet.scoring.score_slide import compare_instances
from slideunet.stores.manifests import read_manifest
from slideunet.stores.verified import StoredPixels


def with_examples(slide, *examples):
    return SlideResult(slide, "", "", "test", "", None, None, examples=examples)


def missed(number):
    return Example("missed", number, 0, 0, 0.0, 0)


def test_the_first_error_of_every_slide_comes_before_the_second_of_any():
    slides = [with_examples(f"s{i}", missed(1), missed(2), Example("false", 9, 0, 0, 0, 0)) for i in range(5)]
    chosen = [(result.slide, example.id) for result, example in choose(slides, "missed", 8)]
    assert len(set(chosen)) == 8
    assert {slide for slide, _ in chosen[:5]} == {"s0", "s1", "s2", "s3", "s4"}
    assert [number for _, number in chosen] == [1] * 5 + [2] * 3
    assert [(r.slide, e.id) for r, e in choose(slides[::-1], "missed", 8)] == chosen
    assert choose(slides, "split") == []


@pytest.mark.parametrize(
    ("example", "words"),
    [
        (Example("missed", 1, 0, 0, 0.0, 0), "no cell there"),
        (Example("missed", 1, 0, 0, 0.414, 0), "highest IoU 0.41"),
        (Example("false", 1, 0, 0, 0.0, 0), "no true object there"),
        (Example("split", 1, 0, 0, 0.6, 3), "3 cells in one true object"),
        (Example("merged", 1, 0, 0, 0.6, 2), "2 true objects in one cell"),
    ],
)
def test_words(example, words):
    assert in_words(example) == words


@pytest.fixture
def slide(tmp_path, write_store):
    """A slide with one error of each kind, far apart."""

    def make(shape=(700, 1500), scale=4.0):
        truth, cells = np.zeros((2, *shape), np.uint32)
        truth[20:40, 30:50] = 1  # missed
        cells[20:40, 300:330] = 1  # false
        truth[200:230, 500:540] = 2  # split
        cells[200:230, 500:520], cells[200:230, 520:540] = 2, 3
        truth[600:620, 1400:1420], truth[600:620, 1420:1440] = 3, 4  # merged
        cells[600:620, 1400:1440] = 4
        image = np.where(truth > 0, 200, 20).astype(np.uint8)[None]
        statistics = [{"low": 20.0, "high": 200.0}]
        paths = [tmp_path / kind / "S1.json" for kind in ("slides", "predictions")]
        facts = {"statistics": statistics, "scale": scale, "n_objects": 4}
        write_store(paths[0], image, labels=truth, **facts)
        write_store(paths[1], image, labels=cells, name="cells", cells={"n_cells": 4})
        _, examples = compare_instances([count_overlaps(truth, cells)], shape[1])
        return SlideResult(
            "S1", "", "", "test", "", *paths, facts=read_manifest(paths[0]), examples=tuple(examples)
        )

    return make


def tiles(crop):
    picture = Image.open(io.BytesIO(base64.b64decode(crop.picture.uri.split(",")[1])))
    strip = np.asarray(picture.convert("RGB")).astype(int)
    assert strip.shape == (TILE, 3 * TILE + 2 * GAP, 3)
    return [strip[:, place * (TILE + GAP) :][:, :TILE] for place in range(3)]


@pytest.mark.parametrize(
    ("kind", "place", "side", "filled"),
    [
        ("missed", (30, 40), 64, 1),
        ("false", (30, 315), 64, 2),
        ("split", (215, 520), 64, 1),
        ("merged", (610, 1420), 64, 2),
    ],
)
def test_crops_show_the_error_and_its_position_in_original_pixels(slide, kind, place, side, filled):
    ((_, crop),) = draw_crops([slide()], kind)
    position, finding, size = crop.caption.split(" · ")
    assert position == f"y {4 * place[0]}, x {4 * place[1]}"
    assert size == f"tile of {side} px"
    assert crop.alt == f"Slide S1, {kind}, {finding}: image, true objects, cells"
    spread = [np.ptp(tile, axis=2) for tile in tiles(crop)]
    assert spread[0].max() < 12  # the image is grey
    # More colour where the object is filled than where it is only outlined.
    coloured = [(colours > 25).mean() for colours in spread]
    assert coloured[filled] > 0.05
    assert coloured[filled] == max(coloured)


def test_touching_pieces_of_a_split_differ_in_colour(slide):
    ((_, crop),) = draw_crops([slide()], "split")
    cells = tiles(crop)[2]
    left, right = cells[TILE // 2, TILE // 2 - 2], cells[TILE // 2, TILE // 2 + 1]
    assert np.abs(left - right).max() > 60


def test_only_regions_of_a_slide_are_read(slide, monkeypatch):
    result, read = slide(), []
    original = StoredPixels.__getitem__

    def recorded(self, index):
        pixels = original(self, index)
        read.append(max(pixels.shape[-2:]))
        return pixels

    monkeypatch.setattr(StoredPixels, "__getitem__", recorded)
    draw_crops([result], "merged")
    assert 0 < max(read) <= 2 * SEARCHED + 1


def test_a_large_object_is_shown_around_its_known_pixel(tmp_path, write_store):
    truth, cells = np.zeros((2, 600, 700), np.uint32)
    truth[10:30, 20:40] = truth[230:250, 260:300] = 1  # its middle is background
    truth[400:410, 5:680] = 2
    paths = [tmp_path / kind / "S1.json" for kind in ("slides", "predictions")]
    facts = {"statistics": [{"low": 0.0, "high": 1.0}], "n_objects": 2}
    write_store(paths[0], (truth > 0).astype(np.uint8)[None], labels=truth, **facts)
    write_store(paths[1], np.zeros((1, 600, 700), np.uint8), labels=cells, name="cells", cells={"n_cells": 0})
    _, examples = compare_instances([count_overlaps(truth, cells)], 700)
    facts = read_manifest(paths[0])
    result = SlideResult("S1", "", "", "test", "", *paths, facts=facts, examples=tuple(examples))
    for _, crop in draw_crops([result], "missed"):
        assert crop.caption.endswith("tile of 256 px")
        assert (np.ptp(tiles(crop)[1], axis=2) > 25).any()


def test_pictures_are_small(slide):
    assert all(
        len(draw_crops([slide()], kind)[0][1].picture.uri) < gallery.CROP_BYTES * 1.4
        for kind in ("missed", "split")
    )
    assert SHOWN * 4 * gallery.CROP_BYTES < 10**6
    assert len(pictures.DISTINCT) == len(set(pictures.DISTINCT))
