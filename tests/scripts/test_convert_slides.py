import pytest
import tifffile

import convert_slides
from slideunet.errors import InputError
from slideunet.images import stores


@pytest.fixture
def rows(tmp_path, draw_cells):
    rows = []
    for seed, slide in enumerate(("001", "NA")):
        image, labels = draw_cells(height=60, width=71, seed=seed)
        tifffile.imwrite(tmp_path / f"{slide}.tif", image[0])
        tifffile.imwrite(tmp_path / f"{slide}_labels.tif", labels)
        files = {"image": str(tmp_path / f"{slide}.tif"), "labels": str(tmp_path / f"{slide}_labels.tif")}
        rows.append({"slide": slide, "group": "d", "stratum": "", "split": "", "mpp": "0.5", **files})
    rows[1]["labels"] = ""
    return rows


def run(rows, folder):
    convert_slides.main(
        rows=rows,
        slides_folder=folder / "slides",
        manifest=folder / "batch.json",
        channels=None,
        ome_zarr="0.5",
        threads=2,
    )
    return stores.read_manifest(folder / "batch.json")


def times(folder):
    return {path.name: path.stat().st_mtime_ns for path in (folder / "slides").iterdir()}


def test_a_batch_is_converted_and_a_second_time_left_alone(rows, tmp_path):
    batch = run(rows, tmp_path)
    assert list(batch) == ["001", "NA"]
    assert stores.is_current(tmp_path / "slides/001.json", batch["001"])
    assert stores.read_manifest(tmp_path / "slides/001.json")["n_objects"] > 3
    assert stores.read_manifest(tmp_path / "slides/NA.json")["n_objects"] is None
    before = times(tmp_path)
    assert run(rows, tmp_path) == batch
    assert times(tmp_path) == before


def test_one_changed_slide_is_converted_alone(rows, tmp_path, draw_cells):
    run(rows, tmp_path)
    before = times(tmp_path)
    tifffile.imwrite(tmp_path / "NA.tif", 255 - draw_cells(height=60, width=71)[0][0])
    run(rows, tmp_path)
    assert {name for name, time in times(tmp_path).items() if time != before[name]} == {"NA.json", "NA.zarr"}


def test_all_problems_are_told_together_and_the_good_slides_are_done(rows, tmp_path):
    bad = [rows[0] | {"slide": name, "image": str(tmp_path / f"{name}.png")} for name in ("x", "y")]
    with pytest.raises(InputError) as caught:
        run([bad[0], rows[0], bad[1]], tmp_path)
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["slide x", "slide y"]
    assert (tmp_path / "slides/001.json").exists()
    assert not (tmp_path / "batch.json").exists()
