"""A slide whose pixels are not kept: the same pixels from its file, and one message where that cannot be."""

import os

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from making import blocks_of

from slideunet.errors import DamagedDataError, InputError
from slideunet.geometry.pyramid import level_shapes
from slideunet.slides import slide_image
from slideunet.slides.convert import ConversionPlan, Slide, convert
from slideunet.slides.slide_image import image_is_there, open_slide_image
from slideunet.stores import omezarr, resumable
from slideunet.stores.manifests import read_manifest, store_path
from slideunet.stores.verified import check_complete, open_image_store, open_label_store

SIZE = (531, 407)
BLOCK = 128


@pytest.fixture(autouse=True)
def blocks(monkeypatch):
    monkeypatch.setattr(slide_image, "_SQUARE", 48)
    with blocks_of(BLOCK):
        yield


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """Waves in colour as a tiled JPEG, whose pixels depend on the decoder."""
    folder = tmp_path_factory.mktemp("image")
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    waves = [127 + 120 * np.sin(rows / a + columns / b) for a, b in ((7, 11), (23, 5), (13, 31))]
    pixels = np.stack(waves, axis=-1).astype(np.uint8)
    tiles = {"tile": (64, 80), "compression": "jpeg", "photometric": "rgb"}
    tifffile.imwrite(folder / "image.tif", pixels, resolution=(40000, 40000), resolutionunit=3, **tiles)
    labels = (rows // 20 * 30 + columns // 17 + 1) * ((rows % 20 < 15) & (columns % 17 < 12))
    tifffile.imwrite(folder / "labels.tif", labels.astype(np.uint16))
    return folder / "image.tif"


def make(folder, image, *, keep, labels=None, **plan):
    manifest = folder / ("kept" if keep else "direct") / "S1.json"
    plan = ConversionPlan(keep_pixels=keep, **plan)
    return manifest, convert(Slide("S1", image, labels, None), plan, manifest)


PLANS = {
    "full": {},
    "resampled": {"mpp": 0.31},
    "grey": {"channels": "grey"},
    "some": {"channels": [2, 0]},
    "0.4": {"version": "0.4"},
}


@pytest.fixture(scope="module", params=PLANS)
def pair(request, tmp_path_factory, image):
    """The same slide with and without its pixels kept."""
    folder, plan = tmp_path_factory.mktemp("pair"), PLANS[request.param]
    with blocks_of(BLOCK):
        return tuple(
            make(folder, image, keep=keep, labels=image.with_name("labels.tif"), **plan)[0]
            for keep in (True, False)
        )


def test_every_level_is_the_same_and_so_is_what_the_manifest_says(pair):
    kept, direct = map(read_manifest, pair)
    differing = {name for name in direct if direct[name] != kept.get(name)}
    assert differing <= {"source", "seconds", "first_level"}
    assert direct["first_level"] == min(3, kept["levels"] - 1)
    for level, shape in enumerate(level_shapes(tuple(kept["shape"]))):
        pixels = [open_slide_image(manifest, level) for manifest in pair]
        assert pixels[0].shape == pixels[1].shape == shape
        assert pixels[0].dtype == pixels[1].dtype
        np.testing.assert_array_equal(pixels[0][:], pixels[1][:])
    np.testing.assert_array_equal(*(open_label_store(manifest, "truth")[:] for manifest in pair))


def test_any_part_is_the_same(pair):
    first, second = (open_slide_image(manifest) for manifest in pair)
    height, width = first.shape[1:]

    @given(st.data())
    @settings(max_examples=15, deadline=None)
    def check(data):
        top, left = (data.draw(st.integers(0, side - 1)) for side in (height, width))
        rows = slice(top, data.draw(st.integers(top + 1, height)))
        columns = slice(left, data.draw(st.integers(left + 1, width)))
        np.testing.assert_array_equal(first[:, rows, columns], second[:, rows, columns])
        np.testing.assert_array_equal(first[..., rows, columns], second[..., rows, columns])

    check()


def test_the_store_is_a_valid_overview_without_the_pixels(pair):
    path = store_path(pair[1])
    check_complete(path)
    facts = read_manifest(pair[1])
    datasets = omezarr.metadata(path)["multiscales"][0]["datasets"]
    assert len(datasets) == facts["levels"] - facts["first_level"]
    scale = datasets[0]["coordinateTransformations"][0]["scale"]
    assert scale == [1.0, *[(facts["mpp"] or 1) * 2 ** facts["first_level"]] * 2]
    assert omezarr.open_level(path, 0).size * 4 ** facts["first_level"] < 1.3 * np.prod(facts["shape"])
    with pytest.raises(
        InputError, match=r"S1\.json: the pixels of the slide are no longer there.*data\.keep"
    ):
        open_image_store(pair[1])


def test_what_is_current_stays_and_what_is_kept_otherwise_is_made_again(tmp_path, image):
    manifest, _ = make(tmp_path, image, keep=False)
    assert not make(tmp_path, image, keep=False)[1]
    plan = ConversionPlan()
    assert convert(Slide("S1", image, None, None), plan, manifest)
    assert open_image_store(manifest).shape == (3, *SIZE)
    assert make(tmp_path, image, keep=False)[1]
    assert not (store_path(manifest) / "4").exists()


def test_an_image_that_has_moved_is_found_without_a_conversion(tmp_path, image):
    first = tmp_path / "first.tif"
    first.write_bytes(image.read_bytes())
    manifest, _ = make(tmp_path, first, keep=False)
    second = first.rename(tmp_path / "second.tif")
    assert not image_is_there(read_manifest(manifest))
    with pytest.raises(InputError, match=r"slide S1: .*first\.tif is not there, and data\.keep"):
        open_slide_image(manifest)
    assert not make(tmp_path, second, keep=False)[1]
    assert open_slide_image(manifest)[:].shape == (3, *SIZE)


def test_another_image_of_the_same_name_is_refused(tmp_path, image):
    path = tmp_path / "image.tif"
    path.write_bytes(image.read_bytes())
    manifest, _ = make(tmp_path, path, keep=False)
    open_slide_image(manifest)
    pixels = tifffile.imread(image)
    tifffile.imwrite(path, pixels[::-1], tile=(64, 80), photometric="rgb")
    with pytest.raises(InputError, match=r"image\.tif: Its image has changed since it was read first"):
        open_slide_image(manifest)
    # The same bytes at another time are the same image.
    path.write_bytes(image.read_bytes())
    os.utime(path, (1, 1))
    assert open_slide_image(manifest)[:].shape == (3, *SIZE)


def test_a_decoder_that_gives_other_pixels_is_noticed_where_a_whole_block_is_read(
    tmp_path, image, monkeypatch
):
    manifest, _ = make(tmp_path, image, keep=False)
    decoded = slide_image._decoded
    monkeypatch.setattr(slide_image, "_decoded", lambda pixels: decoded(pixels) ^ 1)
    pixels = open_slide_image(manifest)
    assert pixels[:, :5, :5].shape == (3, 5, 5)
    with pytest.raises(DamagedDataError, match=r"block 0 .* is not what was written.*Run the workflow again"):
        pixels[:, : BLOCK + 3, : BLOCK + 9]


def test_an_interrupted_reading_goes_on(tmp_path, image, monkeypatch):
    record, written = resumable.Work.record, []

    def fail(work, index, facts):
        if len(written) == 5:
            raise KeyboardInterrupt
        written.append(index)
        record(work, index, facts)

    with monkeypatch.context() as patch:
        patch.setattr(resumable.Work, "record", fail)
        with pytest.raises(KeyboardInterrupt):
            make(tmp_path, image, keep=False)
    assert not (tmp_path / "direct/S1.json").exists()
    monkeypatch.setattr(resumable.Work, "record", lambda *all: written.append(all[1]) or record(*all))
    manifest, _ = make(tmp_path, image, keep=False)
    assert sorted(written) == list(range(20))
    kept, _ = make(tmp_path, image, keep=True)
    for level in range(3):
        np.testing.assert_array_equal(open_slide_image(manifest, level)[:], open_slide_image(kept, level)[:])
