import tifffile

import draw_demo

SHEET = """\
slide image labels group stratum mpp look seed donor_seed height width density
a images/a.tif images/a_labels.tif d1 dense 0.5 fluorescence 1 1 61 47 1
b images/b.tif  d2 dense 0.5 histology 2 2 33 51 0.5
"""


def test_every_file_that_the_sheet_names_is_drawn(tmp_path):
    sheet = tmp_path / "slides.tsv"
    sheet.write_text(SHEET.replace(" ", "\t"))
    draw_demo.main(sheet=sheet)
    drawn = {path.name: tifffile.imread(path).shape for path in (tmp_path / "images").iterdir()}
    assert drawn == {"a.tif": (61, 47), "a_labels.tif": (61, 47), "b.tif": (33, 51, 3)}
