import json
import os
import time

import numpy as np
import pytest
import skimage.io
import tifffile
from making import write_image

from slideunet.errors import InputError
from slideunet.readers.tiff import decoding
from slideunet.slides import convert as convert_module
from slideunet.slides.convert import ConversionPlan, Slide, convert, read_slide
from slideunet.slides.statistics import survey
from slideunet.stores import manifests, omezarr, verified
from slideunet.stores.resumable import Building


@pytest.fixture
def manifest(tmp_path):
    return tmp_path / "slides" / "S1.json"


def save(path, pixels):
    """Save pixels (c, y, x) in the format of the name."""
    if path.suffix == ".zarr":
        write_image(path, pixels, channels=[f"c{i}" for i in range(len(pixels))], mpp=0.5)
    elif path.suffix == ".png":
        skimage.io.imsave(
            path, pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1), check_contrast=False
        )
    else:
        planes = {"planarconfig": "separate"} if len(pixels) > 1 else {}
        tifffile.imwrite(path, pixels if planes else pixels[0], photometric="minisblack", **planes)
    return path


def run(manifest, image, labels=None, mpp=None, threads=1, **plan):
    return convert(Slide("S1", image, labels, mpp), ConversionPlan(**plan), manifest, threads)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".zarr"])
def test_pixels_and_truth_are_kept_whatever_the_format(tmp_path, manifest, draw_cells, suffix, version):
    pixels, labels = draw_cells(channels=3)
    save(tmp_path / "truth.png", labels[None])
    image = save(tmp_path / f"image{suffix}", pixels)
    assert run(manifest, image, tmp_path / "truth.png", version=version)
    np.testing.assert_array_equal(verified.open_image_store(manifest)[:], pixels)
    truth = verified.open_label_store(manifest, "truth")
    assert truth.dtype == np.uint32
    np.testing.assert_array_equal(truth[:], labels)
    facts = manifests.read_manifest(manifest)
    statistics, content = survey(pixels)
    assert (facts["shape"], facts["dtype"], facts["statistics"]) == ([3, 150, 133], "uint8", statistics)
    assert (facts["content"], facts["n_objects"]) == (content, int(labels.max()))
    assert facts["mpp"] == (0.5 if suffix == ".zarr" else None)
    assert facts["levels"] == len(
        omezarr.metadata(manifests.store_path(manifest))["multiscales"][0]["datasets"]
    )


def test_equal_pixels_have_equal_content_whatever_the_format(tmp_path, draw_cells):
    pixels, _ = draw_cells(channels=3)
    contents = set()
    for suffix in (".png", ".tif", ".zarr"):
        run(tmp_path / f"{suffix[1:]}.json", save(tmp_path / f"image{suffix}", pixels))
        contents.add(manifests.read_manifest(tmp_path / f"{suffix[1:]}.json")["content"])
    assert len(contents) == 1


@pytest.mark.parametrize(("channels", "names"), [("grey", 1), ([2], 1), ([2, 0], 2), (None, 3)])
def test_channels_are_chosen(tmp_path, manifest, draw_cells, channels, names):
    pixels, _ = draw_cells(channels=3)
    run(manifest, save(tmp_path / "image.png", pixels), channels=channels)
    expected = {"grey": np.rint(pixels.mean(axis=0, keepdims=True)), "None": pixels}.get(str(channels))
    expected = pixels[channels] if expected is None else expected
    np.testing.assert_array_equal(verified.open_image_store(manifest)[:], expected)
    assert len(manifests.read_manifest(manifest)["channels"]) == names


def test_the_pixel_size_of_the_sheet_goes_before_that_of_the_file(tmp_path, manifest, draw_cells):
    image = save(tmp_path / "image.zarr", draw_cells()[0])
    run(manifest, image)
    assert manifests.read_manifest(manifest)["mpp"] == 0.5
    run(manifest, image, mpp=0.3)
    assert manifests.read_manifest(manifest)["mpp"] == 0.3
    datasets = omezarr.metadata(manifests.store_path(manifest))["multiscales"][0]["datasets"]
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
    assert verified.open_image_store(manifest)[0, 0, 0] == 255 - pixels[0, 0, 0]
    os.utime(truth, ns=(1, 1))
    assert not run(manifest, image, truth)
    labels[0] = 0
    save(truth, labels[None])
    assert run(manifest, image, truth)
    for changed in ({"mpp": 2.0}, {"channels": "grey"}, {"version": "0.4"}):
        assert run(manifest, image, truth, **changed)
        assert not run(manifest, image, truth, **changed)
    assert run(manifest, image)
    assert manifests.read_manifest(manifest)["n_objects"] is None
    assert not (manifests.store_path(manifest) / "labels").exists()


def test_another_outline_is_another_truth(tmp_path, manifest, draw_cells):
    image, truth = save(tmp_path / "image.tif", draw_cells()[0]), tmp_path / "cells.geojson"

    def square(low, high):
        return {
            "type": "Polygon",
            "coordinates": [[[low, low], [high, low], [high, high], [low, high], [low, low]]],
        }

    cell = {"type": "Feature", "geometry": square(4, 20), "nucleusGeometry": square(8, 14)}
    truth.write_text(json.dumps([cell | {"properties": {"objectType": "cell"}}]))
    for outline, area in (("cell", 256), ("nucleus", 36)):
        assert run(manifest, image, truth, outline=outline)
        assert not run(manifest, image, truth, outline=outline)
        assert (verified.open_label_store(manifest, "truth")[:] == 1).sum() == area
        assert manifests.read_manifest(manifest)["outline"] == outline
    assert run(manifest, image, save(tmp_path / "l.tif", draw_cells()[1][None]), outline="nucleus")
    assert manifests.read_manifest(manifest)["outline"] is None


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
    np.testing.assert_array_equal(verified.open_image_store(manifest)[:], pixels)


def test_an_image_of_one_pixel(tmp_path, manifest):
    image = save(tmp_path / "image.png", np.full((1, 1, 1), 7, np.uint8))
    assert run(manifest, image)
    assert verified.open_image_store(manifest)[:].tolist() == [[[7]]]
    assert manifests.read_manifest(manifest)["levels"] == 1


def test_a_row_of_the_sheet_with_absent_values():
    row = {"slide": "007", "image": "a.png", "labels": "", "mpp": "", "group": "d"}
    assert (read_slide(row).slide, read_slide(row).labels, read_slide(row).mpp) == ("007", None, None)
    full = read_slide(row | {"labels": "l.png", "mpp": "0.25"})
    assert (full.labels.name, full.mpp) == ("l.png", 0.25)


# Slides of several blocks


class Killed(BaseException):
    pass


def draw_large(dtype="uint8", shape=(3, 1100, 700)):
    """3 x 2 blocks of 512 px."""
    rng = np.random.default_rng(1)
    smooth = np.add.outer(np.arange(shape[1]), np.arange(shape[2]))[None] // 9
    return ((smooth + rng.integers(0, 40, shape)) % 250).astype(dtype)


LAYOUTS = {
    "tiles": {"tile": (96, 80), "compression": "zlib"},
    "strips": {"rowsperstrip": 37, "compression": "zlib"},
    "one strip": {"rowsperstrip": 1100, "compression": "zlib"},
    "uncompressed": {},
    "planes of tiles": {"tile": (96, 80), "compression": "zlib", "planarconfig": "separate"},
}


def save_large(path, pixels, layout):
    options = LAYOUTS[layout]
    if options.get("planarconfig") == "separate":
        tifffile.imwrite(path, pixels, photometric="rgb", **options)
    else:
        tifffile.imwrite(path, np.moveaxis(pixels, 0, -1), photometric="rgb", **options)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_slide_of_several_blocks_is_what_tifffile_reads(tmp_path, manifest, small_blocks, layout, threads):
    image = save_large(tmp_path / "image.tif", draw_large(), layout)
    whole = tifffile.imread(image)
    whole = whole if whole.shape[0] == 3 else np.moveaxis(whole, -1, 0)
    run(manifest, image, threads=threads)
    np.testing.assert_array_equal(verified.open_image_store(manifest)[:], whole)
    facts = manifests.read_manifest(manifest)
    assert (facts["statistics"], facts["content"]) == survey(whole)
    assert facts["blocks"] == verified.block_digests(whole)


@pytest.mark.slow
def test_a_slide_at_its_true_size(tmp_path, manifest):
    pixels = draw_large(shape=(1, 4200, 8300))
    image = tmp_path / "image.tif"
    tifffile.imwrite(image, pixels[0], tile=(512, 512), compression="zlib", compressionargs={"level": 1})
    run(manifest, image, threads=2)
    assert len(manifests.read_manifest(manifest)["blocks"]) == 6
    np.testing.assert_array_equal(verified.open_image_store(manifest)[:], tifffile.imread(image)[None])


@pytest.mark.slow
def test_the_content_is_that_of_the_pixels_whatever_the_layout(tmp_path, small_blocks):
    contents = set()
    for layout in LAYOUTS:
        image = save_large(tmp_path / "image.tif", draw_large(), layout)
        run(tmp_path / f"{layout}.json", image, threads=3)
        contents.add(manifests.read_manifest(tmp_path / f"{layout}.json")["content"])
    run(tmp_path / "zarr.json", save(tmp_path / "image.zarr", draw_large()))
    contents.add(manifests.read_manifest(tmp_path / "zarr.json")["content"])
    assert len(contents) == 1


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_threads_do_not_change_the_statistics(tmp_path, small_blocks, dtype):
    image = save(tmp_path / "image.zarr", draw_large(dtype))
    facts = []
    for threads in (1, 4):
        run(tmp_path / f"{threads}.json", image, threads=threads)
        facts.append(manifests.read_manifest(tmp_path / f"{threads}.json"))
    assert facts[0]["statistics"] == facts[1]["statistics"] == survey(draw_large(dtype))[0]


@pytest.fixture
def written(monkeypatch):
    """The blocks that are written, by their first row and column."""
    blocks, write = [], omezarr.write_block

    def record(levels, region, pixels, **options):
        blocks.append((region[0].start, region[1].start))
        write(levels, region, pixels, **options)

    monkeypatch.setattr(omezarr, "write_block", record)
    return blocks


def killed_after(n, monkeypatch, manifest, image, **options):
    """Convert until n blocks are noted."""
    record = Building.record

    def die(self, index, facts):
        if len(self.done) == n:
            raise Killed
        record(self, index, facts)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Building, "record", die)
        run(manifest, image, **options)


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["tiles", "strips"])
@pytest.mark.parametrize("n", [0, 3, 5])
def test_an_interrupted_conversion_writes_the_missing_blocks_only(
    tmp_path, manifest, small_blocks, written, monkeypatch, layout, n
):
    image = save_large(tmp_path / "image.tif", draw_large(), layout)
    killed_after(n, monkeypatch, manifest, image)
    assert not manifest.exists()
    written.clear()
    run(manifest, image, threads=2)
    assert len(written) == len(set(written)) == 6 - n
    np.testing.assert_array_equal(verified.open_image_store(manifest)[:], draw_large())
    facts = manifests.read_manifest(manifest)
    assert (facts["statistics"], facts["content"]) == survey(draw_large())


def test_nothing_is_written_any_more_when_a_conversion_has_failed(
    tmp_path, manifest, small_blocks, written, monkeypatch
):
    def fail(pixels):
        if not written:
            time.sleep(0.1)  # until another thread has begun to write
        raise InputError("broken")

    monkeypatch.setattr(convert_module, "survey_block", fail)
    with pytest.raises(InputError, match="slide S1: broken"):
        run(manifest, save_large(tmp_path / "image.tif", draw_large(), "tiles"), threads=3)
    begun = len(written)
    time.sleep(0.5)
    assert len(written) == begun < 6


def test_an_image_that_changed_meanwhile_is_converted_from_the_start(
    tmp_path, manifest, small_blocks, written, monkeypatch
):
    killed_after(4, monkeypatch, manifest, save_large(tmp_path / "image.tif", draw_large(), "tiles"))
    written.clear()
    run(manifest, save_large(tmp_path / "image.tif", 255 - draw_large(), "tiles"))
    assert len(set(written)) == 6
    np.testing.assert_array_equal(verified.open_image_store(manifest)[:], 255 - draw_large())


def test_every_strip_is_decoded_once_per_row_of_blocks(tmp_path, manifest, small_blocks, monkeypatch):
    image = save_large(tmp_path / "image.tif", draw_large(), "strips")
    decoded, decode = [], decoding._decode

    def count(layout, plane, number, file):
        decoded.append(number)
        return decode(layout, plane, number, file)

    monkeypatch.setattr(decoding, "_decode", count)
    run(manifest, image, threads=3)
    # Rows 512 and 1024 lie in the middle of a strip of 37 rows, which belongs to two rows of blocks.
    across = {512 // 37, 1024 // 37}
    assert sorted(decoded) == sorted([*range(30), *across])


def test_truth_of_several_blocks_survives_a_kill(tmp_path, manifest, small_blocks, monkeypatch):
    pixels = draw_large()[:1]
    labels = np.zeros((1, 1100, 700), np.uint16)
    labels[0, 100:700, 90:600], labels[0, 900:, 650:] = 1, 2
    image, truth = save(tmp_path / "image.tif", pixels), save(tmp_path / "truth.tif", labels)

    def die(*args):
        raise Killed

    for owner, name in ((omezarr, "list_labels"), (Building, "finish")):
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(owner, name, die)
            run(manifest, image, truth)
    run(manifest, image, truth)
    np.testing.assert_array_equal(verified.open_label_store(manifest, "truth")[:], labels[0])
    assert manifests.read_manifest(manifest)["truth"]["blocks"] == verified.block_digests(
        labels[0].astype("u4")
    )
    assert manifests.read_manifest(manifest)["n_objects"] == 2


def test_a_damaged_tile_names_slide_and_place_and_leaves_no_manifest(tmp_path, manifest, small_blocks):
    image = save_large(tmp_path / "image.tif", draw_large(), "tiles")
    with tifffile.TiffFile(image) as tif:
        offset, size = tif.pages[0].dataoffsets[40], tif.pages[0].databytecounts[40]
    with image.open("r+b") as file:
        file.seek(offset)
        file.write(bytes(size))
    with pytest.raises(InputError, match=r"^slide S1: .*image\.tif: level 0, the tile or strip at y 384:480"):
        run(manifest, image, threads=2)
    assert not manifest.exists()
