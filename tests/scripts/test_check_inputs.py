import json

import numpy as np
import pandas as pd
import pytest
import tifffile

import check_inputs
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
    choices = {"channels": None, "weights": None, "val": 0.15, "test": 0.15, "seed": 0} | changes
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
