"""Only the tiles and strips that a region touches are decoded, on every level, and damage names its tile."""

import struct
import time
import tracemalloc

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from making import check_pixels

from slideunet.errors import InputError
from slideunet.readers.open_source import open_image, open_stored
from slideunet.readers.tiff import decoding
from slideunet.sources import piece_cache, source
from slideunet.sources.lazy_pixels import turn_upright


def random_pixels(shape, dtype="uint8", seed=0):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def smooth_pixels(shape):
    """Waves (..., y, x) in uint8 that JPEG and JPEG 2000 keep nearly as they are."""
    y, x = np.mgrid[: shape[-2], : shape[-1]]
    waves = 127 + 60 * np.sin(y / 17) + 60 * np.cos(x / 23)
    return np.broadcast_to(waves.astype("uint8"), shape).copy()


@pytest.fixture
def decoded(monkeypatch):
    """Numbers of the tiles and strips that were decoded."""
    numbers = []
    decode = decoding._decode

    def count(layout, plane, number, file):
        numbers.append(number)
        return decode(layout, plane, number, file)

    monkeypatch.setattr(decoding, "_decode", count)
    return numbers


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_any_slice_of_any_layout(tmp_path_factory, data):
    layout = data.draw(st.sampled_from(["tiles", "strips", "one piece"]))
    kind = data.draw(st.sampled_from(["grey", "rgb", "planar", "pages"]))
    compression = data.draw(st.sampled_from([None, "zlib", "lzw", "zstd"]))
    dtype = data.draw(st.sampled_from(["uint8", "uint16"]))
    count = 1 if kind == "grey" else 3
    array = random_pixels((count, data.draw(st.integers(1, 90)), data.draw(st.integers(1, 90))), dtype)
    path = tmp_path_factory.mktemp("tiff") / "i.tif"
    options = {"tiles": {"tile": (16, 32)}, "strips": {"rowsperstrip": 7}}.get(layout, {})
    options |= {"compression": compression, "predictor": bool(compression and data.draw(st.booleans()))}
    if kind == "pages":
        tifffile.imwrite(path, array, photometric="minisblack", ome=True, metadata={"axes": "CYX"}, **options)
    elif kind == "grey":
        tifffile.imwrite(path, array[0], **options)
    else:
        stored = array if kind == "planar" else np.moveaxis(array, 0, -1)
        planes = "separate" if kind == "planar" else "contig"
        tifffile.imwrite(path, stored, photometric="rgb", planarconfig=planes, **options)
    pixels = open_image(path).pixels
    index = tuple(
        slice(*sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n))))) for n in array.shape
    )
    np.testing.assert_array_equal(pixels[index].compute(scheduler="synchronous"), array[index])
    np.testing.assert_array_equal(pixels[:, ::-2, ::3].compute(scheduler="synchronous"), array[:, ::-2, ::3])


@pytest.mark.parametrize("shape", [(2, 1, 1), (3, 1, 7), (2, 5, 1), (1, 1, 1), (5, 1, 1)])
@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}])
def test_images_of_one_row_or_column(tmp_path, shape, options):
    """tifffile writes some of them into a page with other axes."""
    array = random_pixels(shape, "uint16")
    tifffile.imwrite(tmp_path / "i.tif", array, photometric="minisblack", metadata={"axes": "CYX"}, **options)
    stored = open_stored(tmp_path / "i.tif")
    assert stored.levels[0].shape == shape[1:]
    np.testing.assert_array_equal(stored.pixels.compute(), array)


# --- streaming


def test_a_slice_of_a_striped_slide_decodes_the_strips_that_it_touches(tmp_path, decoded):
    array = np.zeros((10_000, 5_000), "uint8")
    array[4_000:4_100] = random_pixels((100, 5_000))
    tifffile.imwrite(tmp_path / "i.tif", array, compression="zlib", rowsperstrip=16)
    pixels = open_image(tmp_path / "i.tif").pixels
    assert decoded == []
    tracemalloc.start()
    part = pixels[:, 4_010:4_060, 1_000:3_000].compute(scheduler="synchronous")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(part[0], array[4_010:4_060, 1_000:3_000])
    assert sorted(decoded) == [250, 251, 252, 253]
    assert peak < 5e6


def test_a_slice_of_a_tiled_slide_decodes_the_tiles_that_it_touches(tmp_path, decoded):
    array = random_pixels((512, 640))
    tifffile.imwrite(tmp_path / "i.tif", array, compression="zlib", tile=(64, 64))
    part = open_image(tmp_path / "i.tif").pixels[:, 60:70, 130:140].compute(scheduler="synchronous")
    np.testing.assert_array_equal(part[0], array[60:70, 130:140])
    assert sorted(decoded) == [2, 12]


def test_one_huge_strip_is_decoded_once(tmp_path, decoded, monkeypatch):
    monkeypatch.setattr(piece_cache, "LARGE_PIECE", 10_000)
    array = random_pixels((3000, 300))
    tifffile.imwrite(tmp_path / "i.tif", array, compression="zlib", rowsperstrip=3000)
    pixels = open_image(tmp_path / "i.tif").pixels
    for y in range(0, 3000, 500):
        np.testing.assert_array_equal(pixels[0, y : y + 500].compute(), array[y : y + 500])
    assert decoded == [0]
    # The next one takes its place, and a file that was replaced is another one.
    tifffile.imwrite(tmp_path / "i.tif", array[::-1], compression="zlib", rowsperstrip=3000, software="b")
    np.testing.assert_array_equal(open_image(tmp_path / "i.tif").pixels[0].compute(), array[::-1])
    assert decoded == [0, 0]


@pytest.mark.parametrize("scattered", [False, True])
def test_uncompressed_pages_are_not_read_whole(tmp_path, decoded, scattered):
    array = random_pixels((3, 2000, 1000), "uint16")
    path = tmp_path / "i.ome.tif"
    tifffile.imwrite(path, array, photometric="minisblack", byteorder=">", metadata={"axes": "CYX"})
    if scattered:  # the second page is at the end of the file
        end = path.stat().st_size
        with path.open("ab") as file:
            file.write(array[1].astype(">u2").tobytes())
        with tifffile.TiffFile(path, mode="r+b") as tif:
            tif.pages[1].tags["StripOffsets"].overwrite(end)
    with tifffile.TiffFile(path) as tif:
        assert (tif.series[0].dataoffset is None) == scattered
    tracemalloc.start()
    part = open_image(path).pixels[1:, 1990:1999, 5:15].compute(scheduler="synchronous")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(part, array[1:, 1990:1999, 5:15])
    assert decoded == []
    assert peak < 2e6


# --- compressions and levels


@pytest.mark.parametrize(
    ("compression", "largest"),
    [
        ("jpeg", 6),
        ("jpeg2000", 4),
        ("zstd", 0),
        ("lzw", 0),
        ("zlib", 0),
        ("packbits", 0),
        ("lzma", 0),
        ("webp", 12),
    ],
)
def test_compressions(tmp_path, compression, largest):
    array = np.moveaxis(smooth_pixels((3, 128, 192)), 0, -1)
    arguments = {"jpeg": {"level": 95}, "jpeg2000": {"level": 60}, "webp": {"level": 95}}.get(compression, {})
    tifffile.imwrite(
        tmp_path / "i.tif", array, tile=(64, 64), photometric="rgb",
        compression=compression, compressionargs=arguments,
    )  # fmt: skip
    read = np.moveaxis(open_image(tmp_path / "i.tif").pixels.compute(), 0, -1)
    np.testing.assert_array_equal(read, tifffile.imread(tmp_path / "i.tif"))
    assert np.abs(read.astype(int) - array).max() <= largest


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("pages", ["sub-IFDs", "pages"])
def test_every_level_is_reached(tmp_path, orientation, pages):
    levels = [random_pixels((301 // step, 403 // step), seed=step) for step in (1, 2, 4, 8)]
    options = {"tile": (32, 32), "compression": "zlib", "extratags": [(274, "H", 1, orientation, True)]}
    with tifffile.TiffWriter(tmp_path / "i.tif") as tif:
        for number, level in enumerate(levels):
            first = number == 0 and pages == "sub-IFDs"
            tif.write(
                level, subifds=3 if first else None, subfiletype=int(number > 0), metadata=None, **options
            )
    found = open_stored(tmp_path / "i.tif").levels
    assert [level.step for level in found] == [(1, 1), (2, 2), (4, 4), (8, 8)]
    for level, array in zip(found, levels, strict=True):
        pixels = open_stored(tmp_path / "i.tif", level=level.index).pixels
        assert pixels.shape[1:] == level.shape
        np.testing.assert_array_equal(pixels, turn_upright(np.asarray(array)[None], orientation))


# --- damage


@pytest.mark.parametrize("compression", ["jpeg", "jpeg2000", "zstd", "lzw", "zlib"])
@pytest.mark.parametrize("level", [0, 1])
def test_a_damaged_tile_is_named_by_level_and_place(tmp_path, compression, level):
    array = np.moveaxis(smooth_pixels((3, 256, 256)), 0, -1)
    options = {"tile": (64, 64), "photometric": "rgb", "compression": compression}
    with tifffile.TiffWriter(tmp_path / "i.tif") as tif:
        tif.write(array, subifds=1, metadata=None, **options)
        tif.write(array[::2, ::2], subfiletype=1, metadata=None, **options)
    with tifffile.TiffFile(tmp_path / "i.tif") as tif:
        page = tif.series[0].levels[level].keyframe
        number = 3 if level else 6
        offset = page.dataoffsets[number]
    content = bytearray((tmp_path / "i.tif").read_bytes())
    content[offset : offset + 30] = b"\xff" * 30
    (tmp_path / "i.tif").write_bytes(content)
    place = "y 64:128, x 64:128" if level else "y 64:128, x 128:192"
    stored = open_stored(tmp_path / "i.tif", level=level)
    with pytest.raises(InputError, match=f"level {level}, the tile or strip at {place} cannot") as caught:
        stored.pixels.compute()
    assert "\n" not in str(caught.value)
    assert "Error" not in str(caught.value)
    assert caught.value.__cause__ is not None


def test_a_compression_that_nobody_knows(tmp_path):
    tifffile.imwrite(tmp_path / "i.tif", random_pixels((64, 64)), tile=(16, 16), compression="zlib")
    with tifffile.TiffFile(tmp_path / "i.tif", mode="r+b") as tif:
        tif.pages[0].tags["Compression"].overwrite(52_479)
    with pytest.raises(InputError, match=r"its compression \(number 52479\) is not supported\. Save it with"):
        open_image(tmp_path / "i.tif")


def test_an_unreadable_level_is_no_obstacle_to_the_others(tmp_path):
    options = {"tile": (16, 16), "compression": "zlib", "metadata": None}
    with tifffile.TiffWriter(tmp_path / "i.tif") as tif:
        tif.write(random_pixels((64, 64)), subifds=1, **options)
        tif.write(random_pixels((32, 32)), subfiletype=1, **options)
    with tifffile.TiffFile(tmp_path / "i.tif", mode="r+b") as tif:
        entry = tif.series[0].levels[1].keyframe.tags["TileByteCounts"]
        entry.overwrite([*entry.value[:3], 0])
    check_pixels(open_image(tmp_path / "i.tif"))
    with pytest.raises(InputError, match=r"1 of 4 tiles .* of plane 0 of level 1 .* number 3, at y 16, x 16"):
        open_stored(tmp_path / "i.tif", level=1)


@pytest.mark.parametrize("compression", [7, 34712])
def test_a_tile_that_is_larger_than_it_says(tmp_path, compression):
    """A JPEG of 60000 x 60000 pixels in a tile of 64 x 64: it would take 10 GB to find out."""
    encode = imagecodecs.jpeg_encode if compression == 7 else imagecodecs.jpeg2k_encode
    tile = bytearray(encode(np.zeros((64, 64), "uint8")))
    if compression == 7:
        at = tile.index(b"\xff\xc0") + 5
        tile[at : at + 4] = struct.pack(">HH", 60_000, 60_000)
    else:
        at = tile.index(b"\xff\x4f\xff\x51") + 8
        tile[at : at + 8] = struct.pack(">II", 60_000, 60_000)
    tifffile.imwrite(
        tmp_path / "i.tif", iter([bytes(tile)]), shape=(64, 64), dtype="uint8", tile=(64, 64),
        photometric="minisblack", compression=compression, metadata=None,
    )  # fmt: skip
    with pytest.raises(InputError, match="declares 60000 x 60000 in its own header"):
        check_pixels(open_image(tmp_path / "i.tif"))


# --- size


@pytest.mark.parametrize("compression", ["zlib", "zstd", "lzw"])
def test_large_empty_masks_pass(tmp_path, monkeypatch, compression):
    """8192 x 8192 pixels without a cell are a file of a few kilobytes, and no bomb."""
    empty = np.zeros((1024, 1024), "uint8")
    with tifffile.TiffWriter(tmp_path / "i.tif") as tif:
        tif.write(
            (empty for _ in range(64)), shape=(8192, 8192), dtype="uint8", tile=(1024, 1024),
            compression=compression, photometric="minisblack", metadata=None,
        )  # fmt: skip
    monkeypatch.setattr(source, "EXPANSION_FREE", 0)
    assert not open_image(tmp_path / "i.tif").pixels[:, 5000:5100, 8000:].compute().any()


def test_a_tiled_bomb_is_refused_in_no_time(tmp_path):
    """All tiles are the same bytes of the file: 94 GB in less than a megabyte."""
    side, tile = 307_200, 1024
    count = (side // tile) ** 2
    encoded = imagecodecs.zlib_encode(np.zeros((tile, tile), "uint8"), level=9)
    start = 8 + 2 + 12 * 9 + 4
    tags = [(256, 4, 1, side), (257, 4, 1, side), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1)]
    tags += [(322, 3, 1, tile), (323, 3, 1, tile), (324, 4, count, start), (325, 4, count, start + 4 * count)]
    content = (
        b"II*\0" + struct.pack("<IH", 8, len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags)
    )
    content += bytes(4) + np.full(count, start + 8 * count, "<u4").tobytes()
    content += np.full(count, len(encoded), "<u4").tobytes()
    (tmp_path / "i.tif").write_bytes(content + encoded)
    begin = time.perf_counter()
    with pytest.raises(InputError, match=r"94,371,840,000 bytes, but the file .* looks like a decompression"):
        open_image(tmp_path / "i.tif")
    assert time.perf_counter() - begin < 1


def test_no_pixels_at_all(tmp_path):
    tifffile.imwrite(tmp_path / "i.tif", random_pixels((16, 16)))
    with tifffile.TiffFile(tmp_path / "i.tif", mode="r+b") as tif:
        tif.pages[0].tags["ImageLength"].overwrite(0)
    with pytest.raises(InputError, match="has no pixels"):
        open_image(tmp_path / "i.tif")
