from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from slideunet.demo import cohort
from slideunet.demo.drawing import draw
from slideunet.demo.write_files import write_slide

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
        file for name in SHEETS for d in cohort.read_drawings(DEMO / name) for file in (d.image, d.labels)
    ]
    files = [file for file in files if file is not None]
    assert len(set(files)) == len(files) == 24 + 23 + 2 * 18


def test_the_fluorescence_cohort_has_its_special_fields():
    drawings = cohort.read_drawings(DEMO / "slides.tsv")
    counts = [len(np.unique(draw(d.scene)[1])) - 1 for d in drawings]
    assert sum(d.labels is None for d in drawings) == 1
    assert counts.count(0) == 1
    assert sum(0 < n <= 5 for n in counts) == 1
    assert sorted(counts)[2] >= 10


@pytest.mark.parametrize("name", SHEETS)
def test_every_slide_of_a_sheet_can_be_drawn(tmp_path, name):
    for drawing in cohort.read_drawings(DEMO / name)[::5]:
        image = tmp_path / drawing.image.name
        labels = drawing.labels and tmp_path / drawing.labels.name
        small = replace(drawing.scene, height=19, width=23)
        write_slide(small, image, labels)
        assert image.exists()
        assert labels is None or labels.exists()


def test_paths_are_relative_to_the_sheet(tmp_path):
    sheet = tmp_path / "sheet.tsv"
    read("slides.tsv").head(1).to_csv(sheet, sep="\t", index=False)
    (drawing,) = cohort.read_drawings(sheet)
    assert drawing.image == tmp_path / "images" / f"{drawing.slide}.tif"
