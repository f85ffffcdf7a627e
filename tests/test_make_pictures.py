"""The script behind the pictures of the README, on a drawn slide."""

import csv
import dataclasses

import numpy as np
import pytest


@pytest.fixture(scope="module")
def script(load_script):
    return load_script("docs/make_pictures.py")


def test_a_sheet_has_the_chosen_images_with_absolute_paths(script, tmp_path):
    folder = tmp_path / "dsb2018"
    folder.mkdir()
    ids = ["a" * 64, "b" * 64, "ab" + "c" * 62]
    lines = ["image_id,group", *(f"{image},g{number}" for number, image in enumerate(ids))]
    (folder / "metadata.csv").write_text("\n".join(lines))
    panel = dataclasses.replace(script.PANELS[1], images=("a",))
    script.write_sheet(panel, tmp_path, tmp_path / "slides.tsv")
    with (tmp_path / "slides.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [(row["slide"], row["group"]) for row in rows] == [(ids[0][:16], "g0"), (ids[2][:16], "g2")]
    assert rows[0]["labels"] == str(folder / "masks" / f"{ids[0]}.png")


def test_cells_are_outlined_right_of_the_line_only(script, tmp_path, write_store):
    panel = dataclasses.replace(script.PANELS[0], shown="S1", corner=(7, 11))
    pixels = np.full((3, 301, 283), 128, np.uint8)
    labels = np.zeros(pixels.shape[1:], np.uint32)
    labels[40:70, 20:50] = 1  # all of it left of the line
    labels[100:131, 150:190] = 2
    statistics = [{"low": 0.0, "high": 255.0}] * 3
    write_store(tmp_path / "slides" / "S1.json", pixels, statistics=statistics)
    write_store(tmp_path / "predictions" / "S1.json", pixels[:1], labels=labels, name="cells")
    picture = script.draw(panel, tmp_path)
    line = round(script.BARE * script.SIDE * script.ZOOM)
    assert picture.shape == (script.SIDE * script.ZOOM, script.SIDE * script.ZOOM, 3)
    rows, columns = np.nonzero((picture == panel.colour).all(axis=2))
    assert columns.min() > line
    zoom = script.ZOOM
    assert (rows.min(), rows.max()) == ((100 - 7) * zoom, (131 - 7) * zoom - 1)
    assert (columns.min(), columns.max()) == ((150 - 11) * zoom, (190 - 11) * zoom - 1)
    assert (picture[:, : line - 1] == 128).all()
    assert (picture[:, line - 1 : line + 1] == 255).all()
