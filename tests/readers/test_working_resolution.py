"""A resampled slide is the same however it is cut up, and every pixel is the mean of the area it covers."""

import time

import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from slideunet.errors import InputError
from slideunet.geometry.blocks import BlockGrid
from slideunet.readers.open_source import choose_channels
from slideunet.readers.working_resolution import open_at
from slideunet.sources.area_average import shrink as shrink_level
from slideunet.sources.levels import Level
from slideunet.sources.pixel_size import PixelSize, settle_pixel_size
from slideunet.sources.taps import area_taps, average, linear_taps, working_shape
from slideunet.truth.label_images import AtCentres


def random_pixels(shape, dtype="uint8", seed=0):
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.normal(size=shape).astype(dtype)
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def shrink(array, scale, chunks=(3, 16, 32)):
    level = Level(0, array.shape[1:], (1.0, 1.0))
    return shrink_level(da.from_array(array, chunks=chunks), array.shape[1:], level, scale)


def areas(length, step, count):
    """How much of every old pixel lies in every new one, by intervals: the independent weights."""
    weights = np.zeros((count, length))
    for new in range(count):
        for old in range(length):
            weights[new, old] = max(min((new + 1) * step, old + 1) - max(new * step, old), 0)
    return weights / weights.sum(axis=1, keepdims=True)


# --- the mean over an area


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    scale=st.floats(1.0, 12.0),
    dtype=st.sampled_from(["uint8", "uint16", "float32"]),
)
def test_every_pixel_is_the_mean_of_its_area(height, width, scale, dtype):
    array = random_pixels((2, height, width), dtype)
    result = shrink(array, scale).compute()
    down, across = areas(height, scale, result.shape[1]), areas(width, scale, result.shape[2])
    expected = np.einsum("ij,cjk,lk->cil", down, array.astype(float), across)
    assert result.dtype == array.dtype
    np.testing.assert_allclose(result, expected, atol=1e-4 if dtype == "float32" else 0.5001)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_slice_is_the_slice_of_the_whole(data):
    """Bit by bit, for any slice, chunk of the file and number of channels."""
    dtype = data.draw(st.sampled_from(["uint8", "uint16", "float32"]))
    array = random_pixels((3, data.draw(st.integers(1, 150)), data.draw(st.integers(1, 150))), dtype)
    scale = data.draw(st.floats(0.99, 20.0))
    whole = shrink(array, scale, chunks=array.shape).compute()
    chunks = (
        data.draw(st.sampled_from([1, 3])),
        data.draw(st.integers(1, 99)),
        data.draw(st.integers(1, 99)),
    )
    index = tuple(
        slice(*sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n))))) for n in whole.shape
    )
    part = shrink(array, scale, chunks)[index]
    np.testing.assert_array_equal(part.compute(scheduler="synchronous"), whole[index])


def test_a_large_part_is_made_of_pieces(monkeypatch):
    array = random_pixels((3, 300, 400))
    whole = shrink(array, 2.3).compute()
    monkeypatch.setattr("slideunet.sources.area_average.PIECE", 3 * 40 * 50)
    monkeypatch.setattr("slideunet.sources.area_average.CHUNK", 45)
    np.testing.assert_array_equal(shrink(array, 2.3).compute(), whole)
    np.testing.assert_array_equal(shrink(array, 2.3)[1, 3::7, 150:9:-3].compute(), whole[1, 3::7, 150:9:-3])


def test_two_is_the_mean_of_two_by_two():
    array = random_pixels((3, 64, 96))
    four = array.reshape(3, 32, 2, 48, 2).sum((2, 4), dtype=int)
    np.testing.assert_array_equal(shrink(array, 2.0).compute(), (four + 2) // 4)


@given(value=st.integers(0, 255), scale=st.floats(1.0, 30.0))
def test_an_even_image_stays_as_it_is(value, scale):
    assert (shrink(np.full((1, 33, 47), value, "uint8"), scale).compute() == value).all()


def test_fine_stripes_become_grey_and_not_other_stripes():
    """Picking every third pixel of stripes two pixels wide would show stripes that are not there."""
    stripes = np.tile(np.array([0, 255], "uint8"), (1, 300, 150))
    shrunk = shrink(stripes, 3.37)[0, :, 1:-1].compute()
    assert shrunk.std() < 20
    assert stripes[0, ::3, ::3].std() > 100


@given(length=st.integers(1, 10**7), scale=st.floats(1.0, 64.0), data=st.data())
def test_weights_far_from_the_origin(length, scale, data):
    count = working_shape((length, 1), scale)[0]
    start = data.draw(st.integers(max(count - 5, 0), count - 1))
    taps = area_taps(start, count, scale, length)
    np.testing.assert_allclose(taps.weights.sum(axis=0), 1)
    assert 0 <= taps.needed.start < taps.needed.stop <= length
    one = area_taps(count - 1, count, scale, length)
    np.testing.assert_array_equal(taps.weights[:, -1], one.weights[:, 0])


@given(side=st.integers(1, 10**6), scale=st.floats(1.0, 100.0))
def test_the_working_grid_covers_the_image_and_no_more(side, scale):
    working = working_shape((side, side), scale)[0]
    assert working * scale >= side * (1 - 1e-6)
    assert (working - 1) * scale < side


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    factor=st.integers(1, 5),
    dtype=st.sampled_from(["uint8", "uint16", "float32"]),
)
def test_an_axis_is_enlarged_by_linear_interpolation(height, width, factor, dtype):
    array = random_pixels((2, height, width), dtype)
    taps = [linear_taps(0, length * factor, 1 / factor, length) for length in (height, width)]
    larger = average(array, *taps)
    expected = ndimage.zoom(array.astype(float), (1, factor, factor), order=1, mode="nearest", grid_mode=True)
    assert larger.dtype == array.dtype
    np.testing.assert_allclose(larger, expected, atol=1e-4 if dtype == "float32" else 0.5001)


# --- files with levels


def write_pyramid(path, array, mpp, steps=(2, 4), kind="ome"):
    """Write (c, y, x) with levels that are marked: level k is brighter by k, so that one can tell it."""
    levels = [array] + [array[:, ::step, ::step] + np.uint8(i) for i, step in enumerate(steps, start=1)]
    if kind == "zarr":
        group = zarr.open_group(path, mode="w")
        datasets = []
        for number, level in enumerate(levels):
            group.create_array(str(number), data=level, chunks=(1, 64, 64))
            step = 1 if number == 0 else steps[number - 1]
            scale = {"type": "scale", "scale": [1.0, mpp * step, mpp * step]}
            datasets.append({"path": str(number), "coordinateTransformations": [scale]})
        axes = [{"name": "c", "type": "channel"}]
        axes += [{"name": a, "type": "space", "unit": "micrometer"} for a in "yx"]
        group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}
        return path
    options = {"tile": (64, 64), "photometric": "minisblack", "compression": "zlib"}
    size = {"PhysicalSizeX": mpp, "PhysicalSizeY": mpp} if mpp else {}
    with tifffile.TiffWriter(path, ome=True) as tif:
        tif.write(levels[0], subifds=len(steps), metadata={"axes": "CYX", **size}, **options)
        for level in levels[1:]:
            tif.write(level, subfiletype=1, metadata=None, **options)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ome", "zarr"])
@pytest.mark.parametrize(
    ("working", "scale", "level"),
    [
        (None, 1.0, 0),
        (0.25, 1.0, 0),
        (0.2505, 1.0, 0),  # within 1 %
        (0.4, 1.6, 0),
        (0.497, 2.0, 1),  # within 1 % of level 1
        (0.5, 2.0, 1),
        (0.7, 2.8, 1),
        (1.0, 4.0, 2),
        (2.3, 9.2, 2),
    ],
)
def test_the_nearest_better_level_is_read(tmp_path, kind, working, scale, level):
    array = np.full((2, 320, 448), 100, "uint8")
    path = write_pyramid(tmp_path / f"i.{kind}", array, 0.25, kind=kind)
    source, found = open_at(path, own_mpp=None, working_mpp=working)
    assert found == pytest.approx(scale)
    assert source.mpp == pytest.approx(0.25 * scale)
    assert source.full_shape in ((320, 448), None)
    assert (source.pixels.compute() == 100 + level).all()
    assert source.pixels.shape[1:] == working_shape((320, 448), scale)
    assert choose_channels(source, "grey").mpp == source.mpp


def test_the_sheet_supplies_the_pixel_size(tmp_path):
    path = write_pyramid(tmp_path / "i.ome.tif", random_pixels((1, 200, 300)), None)
    with pytest.raises(
        InputError, match=r"not known, but data\.mpp asks for 0\.5 .* column mpp of the sample sheet"
    ):
        open_at(path, own_mpp=None, working_mpp=0.5)
    source, scale = open_at(path, own_mpp=0.2, working_mpp=0.5)
    assert (scale, source.mpp) == (2.5, pytest.approx(0.5))
    source, scale = open_at(path, own_mpp=0.2, working_mpp=None)
    assert (scale, source.mpp) == (1.0, 0.2)


def test_an_objective_is_named_but_not_taken_for_a_pixel_size(tmp_path):
    description = "Aperio Image Library v11\r\n64x64|AppMag = 20"
    options = {"photometric": "rgb", "tile": (64, 64), "compression": "jpeg", "metadata": None}
    tifffile.imwrite(tmp_path / "i.svs", np.zeros((64, 64, 3), "uint8"), description=description, **options)
    with pytest.raises(InputError, match=r"An objective of 20x is named, but that is not a measured size"):
        open_at(tmp_path / "i.svs", own_mpp=None, working_mpp=0.5)


def test_finer_than_the_file_is_refused(tmp_path):
    path = write_pyramid(tmp_path / "i.ome.tif", random_pixels((1, 200, 300)), 0.5)
    assert open_at(path, own_mpp=None, working_mpp=0.4951)[1] == 1.0
    with pytest.raises(
        InputError, match=r"0\.5 micrometres per pixel, coarser than the 0\.49 that data\.mpp"
    ):
        open_at(path, own_mpp=None, working_mpp=0.49)


def test_contradictory_pixel_sizes_are_warned_of(tmp_path):
    path = write_pyramid(tmp_path / "i.ome.tif", random_pixels((1, 200, 300)), 0.5)
    source, _ = open_at(path, own_mpp=0.25, working_mpp=0.25)
    assert (
        "i.ome.tif states 0.5 micrometres per pixel, the column mpp of the sheet 0.25" in source.warnings[0]
    )
    assert choose_channels(source, "grey").warnings == source.warnings
    assert open_at(path, own_mpp=0.45, working_mpp=None)[0].warnings == ()


@pytest.mark.parametrize(
    ("file", "sheet", "message"),
    [
        (
            250.0,
            None,
            "the file states 250 .* nanometres given as micrometres.*Write the true size into the column",
        ),
        (0.00025, None, "the file states 0.00025 .* millimetres given as micrometres"),
        (None, 500.0, "the column mpp states 500 .* nanometres .*leave it empty"),
        (0.25, 250.0, "the column mpp states 250"),
        (50_000.0, None, "the file states 50000 micrometres per pixel, outside of 0.01 to 10. Areas"),
    ],
)
def test_sizes_that_are_wrong_by_a_thousand(tmp_path, file, sheet, message):
    with pytest.raises(InputError, match=message):
        settle_pixel_size(tmp_path / "i.tif", PixelSize(file), sheet)


def test_two_statements_that_agree_are_believed(tmp_path):
    """Electron microscopes have 4 nm per pixel."""
    assert settle_pixel_size(tmp_path / "i.tif", PixelSize(0.004), 0.004) == (0.004, ())
    assert settle_pixel_size(tmp_path / "i.tif", PixelSize(None), None) == (None, ())
    assert settle_pixel_size(tmp_path / "i.tif", PixelSize(250.0), 0.25)[0] == 0.25


def test_a_slice_of_a_huge_slide_costs_no_more_than_of_a_small_one(tmp_path):
    """The graph of 10^11 pixels has 10^5 chunks; a slice must not walk through all of them."""
    shape = (3, 300_000, 300_000)
    pixels = da.zeros(shape, chunks=(3, 1024, 1024), dtype="uint8")
    shrunk = shrink_level(pixels, shape[1:], Level(0, shape[1:], (1.0, 1.0)), 2.0)
    start = time.perf_counter()
    assert not shrunk[:, 100_000:100_300, 70_000:70_300].compute().any()
    assert time.perf_counter() - start < 5


# --- labels


@settings(max_examples=100, deadline=None)
@given(height=st.integers(1, 80), width=st.integers(1, 80), scale=st.floats(1.0, 9.0))
def test_labels_are_those_at_the_centres(height, width, scale):
    labels = np.arange(1, height * width + 1, dtype="uint32").reshape(height, width)
    shape = working_shape((height, width), scale)
    result = AtCentres(BlockGrid(shape, 7), labels, scale)[:, :]
    assert result.dtype == np.uint32
    for (y, x), value in np.ndenumerate(result):
        centre = min(int((y + 0.5) * scale), height - 1), min(int((x + 0.5) * scale), width - 1)
        assert value == labels[centre]


def test_labels_and_image_stay_together():
    """Shrunk labels lie on the shrunk image of themselves."""
    labels = np.zeros((300, 400), "uint8")
    y, x = np.mgrid[:300, :400]
    for i in range(20):
        labels[(y - 40 - 55 * (i // 5)) ** 2 + (x - 40 - 75 * (i % 5)) ** 2 < 20**2] = 255
    for scale in (2.0, 2.7, 3.9):
        image = shrink(labels[None], scale)[0].compute()
        shrunk = AtCentres(BlockGrid(image.shape, 100), labels, scale)[:, :]
        assert ((image > 127) != (shrunk > 127)).mean() < 0.02
        np.testing.assert_array_equal(
            shrunk[(image == 0) | (image == 255)], image[(image == 0) | (image == 255)]
        )
