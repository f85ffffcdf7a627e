from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from slideunet.demo import cohort
from slideunet.demo.drawing import draw_labels
from slideunet.errors import InputError

DEMO = Path(__file__).parents[2] / "resources" / "demo"
SHEETS = ["slides.tsv", "histology.tsv"]


def read(name):
    return pd.read_csv(DEMO / name, sep="\t", dtype=str, keep_default_na=False)


@pytest.mark.parametrize(("name", "fields"), [("slides.tsv", 4), ("histology.tsv", 3)])
def test_a_cohort_has_six_donors_and_no_split(name, fields):
    table = read(name)
    assert table.groupby("group").size().tolist() == [fields] * 6
    assert table.groupby("group")["donor_seed"].nunique().tolist() == [1] * 6
    assert table["donor_seed"].nunique() == 6
    assert table["slide"].is_unique
    assert "split" not in table.columns


def test_every_file_of_the_cohorts_has_a_path_of_its_own():
    files = [
        file for name in SHEETS for d in cohort.read_demo_sheet(DEMO / name) for file in (d.image, d.labels)
    ]
    files = [file for file in files if file is not None]
    assert len(set(files)) == len(files) == 24 + 23 + 2 * 18


def test_the_fluorescence_cohort_has_its_special_fields():
    drawings = cohort.read_demo_sheet(DEMO / "slides.tsv")
    counts = [len(np.unique(draw_labels(d.scene.region, d.scene))) - 1 for d in drawings]
    assert sum(d.labels is None for d in drawings) == 1
    assert counts.count(0) == 1
    assert sum(0 < n <= 5 for n in counts) == 1
    assert sorted(counts)[2] >= 10


@pytest.mark.parametrize("name", SHEETS)
def test_every_slide_of_a_sheet_can_be_drawn(tmp_path, name):
    for drawing in cohort.read_demo_sheet(DEMO / name)[::5]:
        image = tmp_path / drawing.image.name
        labels = drawing.labels and tmp_path / drawing.labels.name
        small = replace(drawing.scene, height=19, width=23)
        cohort.write_demo_slide(replace(drawing, scene=small, image=image, labels=labels))
        assert image.exists()
        assert labels is None or labels.exists()


def test_paths_are_relative_to_the_sheet(tmp_path):
    sheet = tmp_path / "sheet.tsv"
    read("slides.tsv").head(1).to_csv(sheet, sep="\t", index=False)
    (drawing,) = cohort.read_demo_sheet(sheet)
    assert drawing.image == tmp_path / "images" / f"{drawing.slide}.tif"


def test_all_bad_rows_are_named_together(tmp_path):
    table = read("slides.tsv").head(4)
    table.loc[0, "height"] = "wide"
    table.loc[2, "look"] = "phase"
    table.to_csv(tmp_path / "sheet.tsv", sep="\t", index=False)
    with pytest.raises(InputError) as caught:
        cohort.read_demo_sheet(tmp_path / "sheet.tsv")
    assert len(caught.value.problems) == 2
    assert table["slide"][0] in caught.value.problems[0]
    assert table["slide"][2] in caught.value.problems[1]


def test_missing_columns_are_named(tmp_path):
    read("slides.tsv").drop(columns=["seed", "width"]).to_csv(tmp_path / "s.tsv", sep="\t", index=False)
    with pytest.raises(InputError, match="columns missing: seed, width"):
        cohort.read_demo_sheet(tmp_path / "s.tsv")


def test_large_slides_are_streamed(tmp_path, monkeypatch):
    (drawing, *_) = cohort.read_demo_sheet(DEMO / "slides.tsv")
    used = []
    monkeypatch.setattr(cohort, "write_slide", lambda *_: used.append("stream"))
    monkeypatch.setattr(cohort, "write_field", lambda *_: used.append("memory"))
    cohort.write_demo_slide(replace(drawing, scene=replace(drawing.scene, height=40_000, width=40_000)))
    cohort.write_demo_slide(drawing)
    assert used == ["stream", "memory"]
