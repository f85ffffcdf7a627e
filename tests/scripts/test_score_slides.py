import json
import os
from dataclasses import asdict
from functools import partial

import numpy as np
import pytest
from skimage.measure import label

import score_slides
from slideunet.errors import DamagedDataError
from slideunet.scoring.score_slide import Score, score_slide
from slideunet.stores.manifests import read_manifest, write_manifest

THRESHOLD = 0.4


@pytest.fixture
def write_slide(write_store):
    return partial(write, write_store)


def write(write_store, folder, slide, *, labelled=True, seed=0, size=(75, 61)):
    random = np.random.default_rng(seed)
    truth = label(random.random(size) < 0.2, connectivity=1).astype(np.uint32)
    cells = np.roll(truth, 1, axis=1)
    image = (random.normal(50, 9, (1, *truth.shape)) + 90 * (truth > 0)).astype(np.uint16)
    probability = np.where(cells > 0, 230, 20).astype(np.uint8)[None]
    n_objects = int(truth.max()) if labelled else None
    labels = truth if labelled else None
    write_store(folder / "slides" / f"{slide}.json", image, labels=labels, n_objects=n_objects)
    facts = {"fingerprint": "c", "n_cells": int(cells.max()), "threshold": THRESHOLD}
    prediction = folder / "predictions" / f"{slide}.json"
    write_store(prediction, probability, labels=cells, name="cells", cells=facts)
    return image, truth, probability, cells


def run(folder, slides):
    score_slides.main(
        slides=slides,
        slides_folder=folder / "slides",
        predictions_folder=folder / "predictions",
        metrics_folder=folder / "metrics",
        manifest=folder / "metrics" / "batches" / "b1.json",
    )


def scores(folder, slide):
    return json.loads((folder / "metrics" / f"{slide}.json").read_text())


def test_scores_equal_those_of_whole_arrays(tmp_path, write_slide):
    arrays = write_slide(tmp_path, "S1")
    run(tmp_path, ["S1"])
    written, (expected, examples) = scores(tmp_path, "S1"), score_slide(*arrays, threshold=THRESHOLD)
    assert Score.from_json(written) == expected
    assert written["slide"] == "S1"
    assert written["values"] == expected.values()
    assert written["examples"] == [asdict(example) for example in examples]
    assert written["pixel"]["tp"] == int(((arrays[1] > 0) & (arrays[3] > 0)).sum())
    assert len(written["instances"]["tp"]) == 10


def test_slides_without_truth_are_skipped(tmp_path, write_slide):
    write_slide(tmp_path, "S1")
    write_slide(tmp_path, "P1", labelled=False)
    run(tmp_path, ["P1", "S1"])
    assert not (tmp_path / "metrics" / "P1.json").exists()
    assert list(read_manifest(tmp_path / "metrics" / "batches" / "b1.json")) == ["S1"]


def test_only_changed_slides_are_scored_again(tmp_path, write_slide):
    for slide in ("S1", "S2"):
        write_slide(tmp_path, slide)
    run(tmp_path, ["S1", "S2"])
    paths = [tmp_path / "metrics" / f"{slide}.json" for slide in ("S1", "S2")]
    for path in paths:
        os.utime(path, (1, 1))
    changed = tmp_path / "predictions" / "S2.json"
    facts = read_manifest(changed)
    facts["cells"]["fingerprint"] = "other"
    write_manifest(changed, facts)
    run(tmp_path, ["S1", "S2"])
    assert [path.stat().st_mtime == 1 for path in paths] == [True, False]


@pytest.mark.parametrize("damage", ["", "{", '{"fingerprint": 3}'])
def test_a_damaged_score_is_replaced(tmp_path, write_slide, damage):
    write_slide(tmp_path, "S1")
    run(tmp_path, ["S1"])
    good = scores(tmp_path, "S1")
    (tmp_path / "metrics" / "S1.json").write_text(damage)
    run(tmp_path, ["S1"])
    assert scores(tmp_path, "S1") == good


def test_a_missing_prediction_is_reported_and_the_other_slides_are_scored(tmp_path, write_slide):
    for slide in ("S1", "S2"):
        write_slide(tmp_path, slide)
    (tmp_path / "predictions" / "S1.json").unlink()
    with pytest.raises(DamagedDataError, match=r"S1\.json is missing"):
        run(tmp_path, ["S1", "S2"])
    assert scores(tmp_path, "S2")["slide"] == "S2"
    assert not (tmp_path / "metrics" / "batches" / "b1.json").exists()


@pytest.mark.slow
def test_a_slide_of_many_blocks_goes_through_files_and_leaves_none(tmp_path, write_store, small_blocks):
    arrays = write(write_store, tmp_path, "S1", size=(600, 1100))
    (tmp_path / "metrics" / ".S1.overlaps" / "left by a killed run").mkdir(parents=True)
    run(tmp_path, ["S1"])
    expected, examples = score_slide(*arrays, threshold=THRESHOLD)
    assert Score.from_json(scores(tmp_path, "S1")) == expected
    assert scores(tmp_path, "S1")["examples"] == [asdict(example) for example in examples]
    assert sorted(path.name for path in (tmp_path / "metrics").iterdir()) == ["S1.json", "batches"]
