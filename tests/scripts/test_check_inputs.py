import json

import numpy as np
import pandas as pd
import pytest
import tifffile

import check_inputs
from slideunet import quarantine
from slideunet.errors import InputError


@pytest.fixture
def rows(tmp_path):
    random = np.random.default_rng(0)
    made = []
    for slide in ("S1", "S2", "S3"):
        labels = np.zeros((40, 33), np.uint16)
        labels[5:15, 5:15], labels[20:30, 20:30] = 1, 2
        tifffile.imwrite(tmp_path / f"{slide}.tif", random.integers(0, 255, (40, 33), np.uint8))
        tifffile.imwrite(tmp_path / f"{slide}_labels.tif", labels)
        row = {
            "slide": slide,
            "image": str(tmp_path / f"{slide}.tif"),
            "group": slide,
            "stratum": "",
            "split": "",
        }
        made.append(row | {"labels": str(tmp_path / f"{slide}_labels.tif"), "mpp": ""})
    return made


def run(rows, tmp_path, **changes):
    choices = {"channels": None, "mpp": None, "ignore_label": None, "weights": None}
    choices |= {"val": 0.15, "test": 0.15, "seed": 0} | changes
    choices = {"required": [row["slide"] for row in rows], "quarantine_folder": tmp_path / "aside"} | choices
    table = tmp_path / "inputs.tsv"
    batches = {"small-all": [row["slide"] for row in rows]}
    check_inputs.main(rows=rows, batches=batches, threads=2, table=table, **choices)
    return pd.read_csv(table, sep="\t")


def test_a_good_cohort(rows, tmp_path):
    table = run(rows, tmp_path)
    assert table["slide"].tolist() == ["S1", "S2", "S3"]
    assert (table["batch"] == "small-all").all()


def test_all_problems_of_all_slides_come_together_and_no_table(rows, tmp_path):
    (tmp_path / "S1.tif").write_bytes(b"no image")
    (tmp_path / "S2_labels.tif").unlink()
    tifffile.imwrite(tmp_path / "S3.tif", np.zeros((33, 40), np.uint8))
    rows[2]["group"] = "S1"
    with pytest.raises(InputError) as caught:
        run(rows, tmp_path)
    starts = sorted(problem.split(":")[0] for problem in caught.value.problems)
    assert starts[:3] == ["slide S1", "slide S2", "slide S3"]
    assert "there are 2 groups" in starts[3]
    assert not (tmp_path / "inputs.tsv").exists()


def test_a_slide_that_the_run_can_do_without_is_set_aside(rows, tmp_path):
    (tmp_path / "S2.tif").write_bytes(b"no image")
    rows[1] |= {"labels": "", "split": "predict"}
    more = [row | {"slide": f"T{i}", "group": f"T{i}"} for i, row in enumerate(rows) if row["labels"]]
    table = run([*rows, *more], tmp_path, required=["S1", "S3", "T0", "T2"])
    assert "S2" not in table["slide"].tolist()
    ((slide, aside),) = quarantine.read(tmp_path / "aside").items()
    assert (slide, aside.exit_code) == ("S2", 2)
    assert aside.problems[0].startswith("slide S2: ")
    tifffile.imwrite(tmp_path / "S2.tif", np.eye(40, 33, dtype=np.uint8))
    assert "S2" in run([*rows, *more], tmp_path, required=["S1", "S3", "T0", "T2"])["slide"].tolist()
    assert quarantine.read(tmp_path / "aside") == {}


def test_when_no_slide_is_left_the_run_stops(rows, tmp_path):
    (tmp_path / "S1.tif").write_bytes(b"no image")
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.json").write_text(json.dumps({"architecture": {"channels": 1}}))
    with pytest.raises(InputError, match=r"slide S1: "):
        run(rows[:1], tmp_path, weights=model, required=[])


def test_a_working_resolution_needs_a_pixel_size(rows, tmp_path):
    with pytest.raises(InputError, match="mpp"):
        run(rows, tmp_path, mpp=0.5)
    assert run([row | {"mpp": "0.25"} for row in rows], tmp_path, mpp=0.5)["mpp"].tolist() == [0.25] * 3


def test_a_model_needs_its_channels_and_no_groups(rows, tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    with pytest.raises(InputError, match=r"model\.weights"):
        run(rows, tmp_path, weights=model)
    (model / "model.json").write_text(json.dumps({"architecture": {"channels": 1}}))
    assert len(run(rows[:1], tmp_path, weights=model)) == 1
    (model / "model.json").write_text(json.dumps({"architecture": {"channels": 3}}))
    with pytest.raises(InputError, match="has 1 channels but the model needs 3"):
        run(rows, tmp_path, weights=model)


def test_many_warnings_are_counted_instead_of_told(rows, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(check_inputs, "_MOST_WARNINGS", 2)
    for slide in ("S1", "S2", "S3"):
        tifffile.imwrite(tmp_path / f"{slide}.tif", np.full((40, 33), ord(slide[1]), np.uint8))
    table = run(rows, tmp_path)
    told = [record.message for record in caplog.records]
    assert [text.split(":")[0] for text in told] == ["slide S1", "slide S2", "... and 1 more like these"]
    assert str(tmp_path / "inputs.tsv") in told[2]
    assert table["warnings"].str.contains("nothing to see").all()
