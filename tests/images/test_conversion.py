import os

import numpy as np
import pytest
import skimage.io
import tifffile

from slideunet.errors import InputError
from slideunet.images import omezarr, stores
from slideunet.images.conversion import Slide, convert, read_slide
from slideunet.images.normalisation import survey


@pytest.fixture
def manifest(tmp_path):
    return tmp_path / "slides" / "S1.json"


def save(path, pixels):
    """Save pixels (c, y, x) in the format of the name."""
    if path.suffix == ".zarr":
        omezarr.write_image(path, pixels, channels=[f"c{i}" for i in range(len(pixels))], mpp=0.5)
    elif path.suffix == ".png":
        skimage.io.imsave(
            path, pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1), check_contrast=False
        )
    else:
        planes = {"planarconfig": "separate"} if len(pixels) > 1 else {}
        tifffile.imwrite(path, pixels if planes else pixels[0], photometric="minisblack", **planes)
    return path


def run(manifest, image, labels=None, mpp=None, channels=None, version="0.5"):
    return convert(Slide("S1", image, labels, mpp), manifest, channels=channels, version=version)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".zarr"])
def test_pixels_and_truth_are_kept_whatever_the_format(tmp_path, manifest, draw_cells, suffix, version):
    pixels, labels = draw_cells(channels=3)
    save(tmp_path / "truth.png", labels[None])
    image = save(tmp_path / f"image{suffix}", pixels)
    assert run(manifest, image, tmp_path / "truth.png", version=version)
    np.testing.assert_array_equal(stores.open_image_store(manifest)[:], pixels)
    truth = stores.open_label_store(manifest, "truth")
    assert truth.dtype == np.uint32
    np.testing.assert_array_equal(truth[:], labels)
    facts = stores.read_manifest(manifest)
    statistics, content = survey(pixels)
    assert (facts["shape"], facts["dtype"], facts["statistics"]) == ([3, 150, 133], "uint8", statistics)
    assert (facts["content"], facts["n_objects"]) == (content, int(labels.max()))
    assert facts["mpp"] == (0.5 if suffix == ".zarr" else None)
    assert facts["levels"] == len(omezarr.metadata(stores.store_path(manifest))["multiscales"][0]["datasets"])


def test_equal_pixels_have_equal_content_whatever_the_format(tmp_path, draw_cells):
    pixels, _ = draw_cells(channels=3)
    contents = set()
    for suffix in (".png", ".tif", ".zarr"):
        run(tmp_path / f"{suffix[1:]}.json", save(tmp_path / f"image{suffix}", pixels))
        contents.add(stores.read_manifest(tmp_path / f"{suffix[1:]}.json")["content"])
    assert len(contents) == 1


@pytest.mark.parametrize(("channels", "names"), [("grey", 1), ([2], 1), ([2, 0], 2), (None, 3)])
def test_channels_are_chosen(tmp_path, manifest, draw_cells, channels, names):
    pixels, _ = draw_cells(channels=3)
    run(manifest, save(tmp_path / "image.png", pixels), channels=channels)
    expected = {"grey": np.rint(pixels.mean(axis=0, keepdims=True)), "None": pixels}.get(str(channels))
    expected = pixels[channels] if expected is None else expected
    np.testing.assert_array_equal(stores.open_image_store(manifest)[:], expected)
    assert len(stores.read_manifest(manifest)["channels"]) == names


def test_the_pixel_size_of_the_sheet_goes_before_that_of_the_file(tmp_path, manifest, draw_cells):
    image = save(tmp_path / "image.zarr", draw_cells()[0])
    run(manifest, image)
    assert stores.read_manifest(manifest)["mpp"] == 0.5
    run(manifest, image, mpp=0.3)
    assert stores.read_manifest(manifest)["mpp"] == 0.3
    datasets = omezarr.metadata(stores.store_path(manifest))["multiscales"][0]["datasets"]
    assert datasets[0]["coordinateTransformations"][0]["scale"] == [1.0, 0.3, 0.3]


def test_what_is_up_to_date_is_left_alone_and_what_changed_is_done_again(tmp_path, manifest, draw_cells):
    pixels, labels = draw_cells()
    image, truth = save(tmp_path / "image.tif", pixels), save(tmp_path / "truth.tif", labels[None])
    assert run(manifest, image, truth)
    made = manifest.stat().st_mtime_ns
    assert not run(manifest, image, truth)
    assert manifest.stat().st_mtime_ns == made
    save(image, 255 - pixels)
    assert run(manifest, image, truth)
    assert stores.open_image_store(manifest)[0, 0, 0] == 255 - pixels[0, 0, 0]
    os.utime(truth, ns=(1, 1))
    assert not run(manifest, image, truth)
    labels[0] = 0
    save(truth, labels[None])
    assert run(manifest, image, truth)
    for changed in ({"mpp": 2.0}, {"channels": "grey"}, {"version": "0.4"}):
        assert run(manifest, image, truth, **changed)
        assert not run(manifest, image, truth, **changed)
    assert run(manifest, image)
    assert stores.read_manifest(manifest)["n_objects"] is None
    assert not (stores.store_path(manifest) / "labels").exists()


def test_problems_name_the_slide_and_leave_the_old_store(tmp_path, manifest, draw_cells):
    pixels, labels = draw_cells()
    image = save(tmp_path / "image.tif", pixels)
    run(manifest, image)
    for wrong in (
        {"image": tmp_path / "absent.png"},
        {"labels": save(tmp_path / "turned.png", labels.T[None])},
        {"channels": [4]},
    ):
        with pytest.raises(InputError, match=r"^slide S1: "):
            run(manifest, **({"image": image} | wrong))
    image.write_bytes(image.read_bytes()[: len(pixels.tobytes()) // 2])
    with pytest.raises(InputError, match=r"^slide S1: "):
        run(manifest, image)
    np.testing.assert_array_equal(stores.open_image_store(manifest)[:], pixels)


def test_an_image_of_one_pixel(tmp_path, manifest):
    image = save(tmp_path / "image.png", np.full((1, 1, 1), 7, np.uint8))
    assert run(manifest, image)
    assert stores.open_image_store(manifest)[:].tolist() == [[[7]]]
    assert stores.read_manifest(manifest)["levels"] == 1


def test_a_row_of_the_sheet_with_absent_values():
    row = {"slide": "007", "image": "a.png", "labels": "", "mpp": "", "group": "d"}
    assert (read_slide(row).slide, read_slide(row).labels, read_slide(row).mpp) == ("007", None, None)
    full = read_slide(row | {"labels": "l.png", "mpp": "0.25"})
    assert (full.labels.name, full.mpp) == ("l.png", 0.25)
