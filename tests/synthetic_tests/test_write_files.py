import numpy as np
import pytest
import tifffile
from synthetic import write_files
from synthetic.drawing import draw
from synthetic.scene import Scene

LOOKS = ["fluorescence", "histology"]


def scene(look, **changes):
    return Scene(
        **{"look": look, "seed": 2, "donor_seed": 3, "height": 131, "width": 207, "mpp": 0.25} | changes
    )


def as_cyx(pixels):
    return pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)


def written_mpp(path):
    with tifffile.TiffFile(path) as tiff:
        (per_unit, units), unit = (
            tiff.pages[0].tags["XResolution"].value,
            tiff.pages[0].tags["ResolutionUnit"],
        )
        assert unit.value == tifffile.RESUNIT.CENTIMETER
        return 1e4 * units / per_unit


@pytest.mark.parametrize("look", LOOKS)
def test_a_field_comes_back_from_its_files(tmp_path, look):
    image, labels = draw(scene(look).region, scene(look))
    write_files.write_field(scene(look), tmp_path / "new" / "a.tif", tmp_path / "new" / "a_labels.tif")
    assert np.array_equal(as_cyx(tifffile.imread(tmp_path / "new" / "a.tif")), image)
    numbered = tifffile.imread(tmp_path / "new" / "a_labels.tif")
    assert numbered.dtype == np.uint16
    ids = np.unique(labels)
    assert np.array_equal(np.unique(numbered), np.arange(len(ids)))
    assert np.array_equal(ids[numbered], labels)


@pytest.mark.parametrize("write", [write_files.write_field, write_files.write_slide])
def test_the_pixel_size_is_in_the_files(tmp_path, write):
    write(scene("histology"), tmp_path / "a.tif", tmp_path / "l.tif")
    assert written_mpp(tmp_path / "a.tif") == pytest.approx(0.25)
    assert written_mpp(tmp_path / "l.tif") == pytest.approx(0.25)
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        pixels = tifffile.xml2dict(tiff.ome_metadata)["OME"]["Image"]["Pixels"]
    assert (pixels["PhysicalSizeX"], pixels["PhysicalSizeXUnit"]) == (0.25, "µm")


@pytest.mark.parametrize("look", LOOKS)
def test_streamed_tiles_equal_the_slide_drawn_at_once(tmp_path, look):
    image, labels = draw(scene(look).region, scene(look))
    write_files.write_slide(scene(look), tmp_path / "a.tif", tmp_path / "l.tif", tile=96)
    assert np.array_equal(as_cyx(tifffile.imread(tmp_path / "a.tif")), image)
    assert np.array_equal(tifffile.imread(tmp_path / "l.tif"), labels)
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        assert tiff.is_bigtiff
        assert tiff.pages[0].tile[:2] == (96, 96)


def test_tiles_cover_every_pixel_once():
    count = np.zeros((131, 207), int)
    for tile in write_files.tiles(scene("fluorescence"), 64):
        count[tile.top : tile.bottom, tile.left : tile.right] += 1
    assert (count == 1).all()


def test_the_same_scene_is_written_as_the_same_bytes(tmp_path):
    write_files.write_field(scene("fluorescence"), tmp_path / "a.tif", tmp_path / "al.tif")
    write_files.write_field(scene("fluorescence"), tmp_path / "b.tif", tmp_path / "bl.tif")
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()
    assert (tmp_path / "al.tif").read_bytes() == (tmp_path / "bl.tif").read_bytes()


def test_a_slide_without_labels_has_one_file(tmp_path):
    write_files.write_field(scene("fluorescence"), tmp_path / "a.tif")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]


def test_drawing_that_fails_leaves_the_old_file_and_nothing_half_written(tmp_path, monkeypatch):
    (tmp_path / "a.tif").write_bytes(b"old")

    def fails(*_):
        raise OSError("disk full")

    monkeypatch.setattr(write_files, "draw_image", fails)
    with pytest.raises(OSError, match="disk full"):
        write_files.write_slide(scene("fluorescence"), tmp_path / "a.tif")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]
    assert (tmp_path / "a.tif").read_bytes() == b"old"
