"""Slides of every maker that can be written here are read as they were drawn, and damage names its place."""

import io
import pickle
import struct
import threading
import time
from pathlib import Path

import imagecodecs
import numpy as np
import openslide
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from making import check_pixels
from PIL import Image

from slideunet.errors import InputError
from slideunet.readers import openslide_reader
from slideunet.readers.companion_files import files_of
from slideunet.readers.open_source import open_image, open_stored

APERIO = "Aperio Image Library v11.2.1 \r\n{w}x{h} ({t}x{t}) JPEG/RGB Q=30|AppMag = 20|MPP = {mpp}"
SECRET = (255, 0, 255)
"""The colour of labels and macros, which no pixel of a slide has."""


def tissue(height, width, seed=0):
    """Smooth colours (y, x, c), which JPEG keeps nearly as they are; never those of a label."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(60, 180, (-(-height // 32) + 1, -(-width // 32) + 1, 3), dtype="uint8")
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def halve(pixels):
    """Halve (y, x, c), dropping odd rows and columns, as scanners do."""
    height, width = pixels.shape[0] // 2 * 2, pixels.shape[1] // 2 * 2
    return (
        pixels[:height, :width].reshape(height // 2, 2, width // 2, 2, 3).mean((1, 3)).round().astype("uint8")
    )


def write_svs(path, pixels, levels=1, mpp=0.5, tile=64, compression="jpeg"):
    height, width = pixels.shape[:2]
    description = APERIO.format(w=width, h=height, t=tile, mpp=mpp)
    lossless = {"level": 98} if compression == "jpeg" else {}
    options = {
        "photometric": "rgb",
        "metadata": None,
        "compression": compression,
        "compressionargs": lossless,
    }
    label = np.full((40, 50, 3), SECRET, "uint8")
    with tifffile.TiffWriter(path) as tif:
        tif.write(pixels, tile=(tile, tile), description=description, **options)
        tif.write(label, description="Aperio Image Library\r\nthumbnail", rowsperstrip=16, **options)
        for _ in range(levels - 1):
            pixels = halve(pixels)
            tif.write(pixels, tile=(tile, tile), description=description, **options)
        tif.write(label, description="Aperio Image Library\r\nlabel 50x40", rowsperstrip=16, **options)
        tif.write(label, description="Aperio Image Library\r\nmacro 50x40", rowsperstrip=16, **options)
    return path


def write_mrxs(path, tiles, side=64, level_count=2, fill=0x10EEDD):
    """Write a MIRAX slide of lossless tiles, (row, column) to (y, x, c); all others are absent."""
    folder = path.with_suffix("")
    folder.mkdir()
    path.write_bytes(jpeg(np.full((30, 40, 3), SECRET, "uint8")))
    across = down = 4
    data, records = bytearray(b"\0"), []
    for level in range(level_count):
        step = 2**level
        pages = []
        for (row, column), pixels in tiles.items():
            if row % step == 0 and column % step == 0:
                encoded = png(pixels)
                pages.append((row * across + column, len(data), len(encoded), 0))
                data += encoded
        records.append(pages)
    (folder / "Data0000.dat").write_bytes(bytes(data))
    (folder / "Index.dat").write_bytes(mirax_index(records))
    ini = ["[GENERAL]", "SLIDE_ID=0123", "SLIDE_VERSION=01.02", "CURRENT_SLIDE_VERSION=1.9",
           f"IMAGENUMBER_X={across}", f"IMAGENUMBER_Y={down}", "OBJECTIVE_MAGNIFICATION=20",
           "CameraImageDivisionsPerSide=1", "[HIERARCHICAL]", "HIER_COUNT=1", "NONHIER_COUNT=0",
           "INDEXFILE=Index.dat", "HIER_0_NAME=Slide zoom level", f"HIER_0_COUNT={level_count}"]  # fmt: skip
    ini += [f"HIER_0_VAL_{i}_SECTION=LEVEL_{i}" for i in range(level_count)]
    ini += ["[DATAFILE]", "FILE_COUNT=1", "FILE_0=Data0000.dat"]
    for i in range(level_count):
        ini += [f"[LEVEL_{i}]", f"IMAGE_CONCAT_FACTOR={int(i > 0)}", "OVERLAP_X=0", "OVERLAP_Y=0",
                "MICROMETER_PER_PIXEL_X=0.25", "MICROMETER_PER_PIXEL_Y=0.25", f"IMAGE_FILL_COLOR_BGR={fill}",
                f"DIGITIZER_WIDTH={side}", f"DIGITIZER_HEIGHT={side}", "IMAGE_FORMAT=PNG"]  # fmt: skip
    (folder / "Slidedat.ini").write_text("\ufeff" + "\r\n".join(ini) + "\r\n", encoding="utf-8")
    return path


def mirax_index(records):
    """Version, id, pointers to the roots; per level: 0, pointer to a page; per page: length, 0, entries."""
    start = len("01.02" + "0123")
    body, pointers = bytearray(), []
    first = start + 8 + 4 * len(records)
    for pages in records:
        pointers.append(first + len(body))
        here = first + len(body) + 8
        body += struct.pack("<iiii", 0, here, len(pages), 0)
        body += b"".join(struct.pack("<iiii", *page) for page in pages)
    roots = struct.pack("<ii", start + 8, 0)
    return b"01.020123" + roots + struct.pack(f"<{len(pointers)}i", *pointers) + bytes(body)


def png(pixels):
    return imagecodecs.png_encode(pixels)


def jpeg(pixels, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=98, subsampling=0, **options)
    return file.getvalue()


def difference(pixels, expected):
    """Largest difference of (c, y, x) to (y, x, c)."""
    return np.abs(np.moveaxis(pixels, 0, -1).astype(int) - expected).max()


def write_vms(path, pixels):
    height, width = pixels.shape[:2]
    (path.parent / "image.jpg").write_bytes(jpeg(pixels, restart_marker_blocks=8))
    (path.parent / "map.jpg").write_bytes(jpeg(halve(halve(halve(pixels))), restart_marker_blocks=1))
    path.write_text(
        "[Virtual Microscope Specimen]\nNoLayers=1\nNoJpegColumns=1\nNoJpegRows=1\nImageFile=image.jpg\n"
        f"MapFile=map.jpg\nSourceLens=20\nPhysicalWidth={width * 460}\nPhysicalHeight={height * 460}\n"
    )
    return path


def write_ndpi(path, pixels, levels=2):
    with tifffile.TiffWriter(path) as tif:
        for level in range(levels):
            tags = [
                (65420, "I", 1, 1, True),
                (65421, "f", 1, 20.0 / 2**level, True),
                (65424, "i", 1, 0, True),
                (305, "s", 0, "NDP.scan", True),
            ]
            tif.write(
                pixels,
                photometric="rgb",
                compression="jpeg",
                compressionargs={"level": 98},
                rowsperstrip=len(pixels),
                extratags=tags,
                metadata=None,
                software=None,
                resolution=(20_000 / 2**level, 20_000 / 2**level),
                resolutionunit="centimeter",
            )
            pixels = halve(pixels)
    return path


def write_scn(path, areas, size):
    """Write a Leica slide of `areas`, (y, x) to (y, x, c), on a glass of `size` (y, x) pixels."""
    nm = 500
    images = [("macro", (0, 0), np.full((size[0] // 8, size[1] // 8, 3), SECRET, "uint8"), size)]
    images += [(str(i), corner, pixels, pixels.shape[:2]) for i, (corner, pixels) in enumerate(areas.items())]
    xml = ['<scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01">',
           f'<collection name="c" sizeX="{size[1] * nm}" sizeY="{size[0] * nm}">']  # fmt: skip
    for number, (name, (y, x), pixels, (high, wide)) in enumerate(images):
        own = f'sizeX="{pixels.shape[1]}" sizeY="{pixels.shape[0]}"'
        xml.append(
            f'<image name="{name}"><creationDate>d</creationDate>'
            f'<pixels {own}><dimension {own} r="0" ifd="{number}"/></pixels>'
            f'<view sizeX="{wide * nm}" sizeY="{high * nm}" offsetX="{x * nm}" offsetY="{y * nm}"/>'
            "<scanSettings><objectiveSettings><objective>20</objective></objectiveSettings>"
            "<illuminationSettings><illuminationSource>brightfield</illuminationSource>"
            "</illuminationSettings></scanSettings></image>"
        )
    xml.append("</collection></scn>")
    with tifffile.TiffWriter(path, bigtiff=True) as tif:
        for number, (_, _, pixels, _) in enumerate(images):
            tif.write(
                pixels,
                photometric="rgb",
                tile=(64, 64),
                compression="jpeg",
                compressionargs={"level": 98},
                description="".join(xml) if number == 0 else None,
                metadata=None,
            )
    return path


@pytest.fixture
def slides(tmp_path):
    """One slide of every maker, with what its levels must look like (None where it is not drawn here)."""
    pixels = tissue(512, 768)
    levels = [pixels, halve(pixels), halve(halve(pixels))]
    return {
        "aperio": (write_svs(tmp_path / "a.svs", pixels, levels=3), levels),
        "hamamatsu": (write_ndpi(tmp_path / "b.ndpi", pixels), levels),
        "vms": (write_vms(tmp_path / "c.vms", pixels), levels),
    }


@pytest.mark.parametrize("maker", ["aperio", "hamamatsu", "vms"])
def test_every_level_shows_what_was_drawn(slides, maker):
    path, levels = slides[maker]
    found = open_stored(path).levels
    assert [(level.index, level.step) for level in found[:3]] == [(0, (1, 1)), (1, (2, 2)), (2, (4, 4))]
    for level, expected in zip(found, levels, strict=False):
        stored = open_stored(path, level=level.index)
        assert (stored.channels, stored.size.mpp) == (
            ("red", "green", "blue"),
            pytest.approx({"vms": 0.46}.get(maker, 0.5)),
        )
        pixels = stored.pixels.compute()
        assert pixels.dtype == np.uint8
        assert np.abs(np.moveaxis(pixels, 0, -1).astype(int) - expected).mean() < 1.5


def test_aperio_equals_tifffile_bit_by_bit(tmp_path):
    path = write_svs(tmp_path / "a.svs", tissue(301, 403), levels=2)
    expected = tifffile.imread(path, series=0, level=0)
    np.testing.assert_array_equal(np.moveaxis(open_image(path).pixels.compute(), 0, -1), expected)


@pytest.mark.parametrize("compression", [33003, 33005])
def test_both_kinds_of_jpeg_2000_of_aperio(tmp_path, compression):
    """Compression 33003 holds YCbCr though its tags say RGB: without conversion, tissue would be green."""
    pixels = tissue(128, 192)
    stored = np.asarray(Image.fromarray(pixels).convert("YCbCr")) if compression == 33003 else pixels
    tiles = [
        imagecodecs.jpeg2k_encode(
            stored[y : y + 64, x : x + 64], codecformat="J2K", mct=False, reversible=True
        )
        for y in range(0, 128, 64)
        for x in range(0, 192, 64)
    ]
    tifffile.imwrite(
        tmp_path / "a.svs", iter(tiles), shape=pixels.shape, dtype="uint8", tile=(64, 64), photometric="rgb",
        compression=compression, description=APERIO.format(w=192, h=128, t=64, mpp=0.25), metadata=None,
    )  # fmt: skip
    assert difference(open_image(tmp_path / "a.svs").pixels.compute(), pixels) <= 3


def test_leica_puts_its_areas_on_a_white_glass(tmp_path):
    areas = {(64, 128): tissue(128, 128, 1), (320, 500): tissue(128, 192, 2)}
    path = write_scn(tmp_path / "a.scn", areas, (512, 768))
    expected = np.full((512, 768, 3), 255, "uint8")
    for (y, x), pixels in areas.items():
        expected[y : y + pixels.shape[0], x : x + pixels.shape[1]] = pixels
    pixels = np.moveaxis(open_image(path).pixels.compute(), 0, -1)
    outside = (expected == 255).all(-1)
    np.testing.assert_array_equal(pixels[outside], 255)
    assert np.abs(pixels.astype(int) - expected).mean() < 1


def test_mirax_has_its_own_background_where_nothing_was_scanned(tmp_path):
    tiles = {(1, 1): tissue(64, 64, 1), (1, 2): tissue(64, 64, 2), (2, 0): tissue(64, 64, 3)}
    path = write_mrxs(tmp_path / "a.mrxs", tiles, fill=0x10EEDD)
    expected = np.full((256, 256, 3), (0xDD, 0xEE, 0x10), "uint8")
    for (row, column), pixels in tiles.items():
        expected[row * 64 : row * 64 + 64, column * 64 : column * 64 + 64] = pixels
    source = open_image(path)
    assert source.mpp == 0.25
    assert difference(source.pixels.compute(), expected) == 0


def test_label_and_macro_are_never_read(tmp_path):
    """They can show a patient's name. Their colour must not occur in any level."""
    pixels = tissue(128, 192)
    paths = [
        write_svs(tmp_path / "a.svs", pixels, levels=2),
        write_mrxs(tmp_path / "b.mrxs", {(0, 0): tissue(64, 64)}),
        write_scn(tmp_path / "c.scn", {(0, 0): pixels}, (256, 256)),
    ]
    for path in paths:
        for level in open_stored(path).levels:
            read = np.moveaxis(open_stored(path, level=level.index).pixels.compute(), 0, -1).astype(int)
            assert np.abs(read - SECRET).sum(-1).min() > 60


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_a_slice_is_the_slice_of_the_whole_at_every_level(tmp_path_factory, data):
    """Also at levels with a fractional step, where OpenSlide interpolates."""
    folder = tmp_path_factory.getbasetemp() / "slices"
    path = folder / "a.svs"
    if not path.exists():
        folder.mkdir(exist_ok=True)
        write_svs(path, tissue(2301, 2403), levels=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(openslide_reader, "_agree", lambda *_: False)  # so that OpenSlide renders it
        stored = open_stored(path, level=data.draw(st.integers(0, 2)))
    whole = stored.pixels.compute()
    (y0, y1), (x0, x1) = (
        sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n)))) for n in stored.pixels.shape[1:]
    )
    np.testing.assert_array_equal(stored.pixels[:, y0:y1, x0:x1].compute(), whole[:, y0:y1, x0:x1])


# --- damage


def damage_tile(path, number):
    """Overwrite the header of one tile of the first page."""
    with tifffile.TiffFile(path) as tif:
        offset = tif.pages[0].dataoffsets[number]
    content = bytearray(path.read_bytes())
    content[offset : offset + 40] = b"\xff" * 40
    path.write_bytes(content)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.svs", "a.mrxs"])
def test_a_failed_read_names_its_place_and_the_others_go_on(tmp_path, name):
    """OpenSlide's handle fails for ever after the first failure, so others must not inherit it."""
    if name == "a.svs":
        path, side = write_svs(tmp_path / name, tissue(2048, 2048), tile=256), 1024
        place = "level 0, the tile or strip at y 256:512, x 512:768"
    else:
        tiles = {(row, column): tissue(512, 512, row + column) for row in range(4) for column in range(4)}
        path, side = write_mrxs(tmp_path / name, tiles, side=512), 1024
        place = "level 0, the pixels at y 0:1024, x 0:1024"
    whole = open_image(path).pixels.compute()
    damage_tile(path, 10) if name == "a.svs" else damage_png(tmp_path / "a" / "Data0000.dat")
    pixels = open_image(path).pixels
    outcomes = {}

    def read(block):
        rows, columns = slice(block[0], block[0] + side), slice(block[1], block[1] + side)
        try:
            np.testing.assert_array_equal(pixels[:, rows, columns].compute(), whole[:, rows, columns])
            outcomes[block] = "read"
        except InputError as error:
            outcomes[block] = str(error)

    for _ in range(3):
        threads = [threading.Thread(target=read, args=[(y, x)]) for y in (0, side) for x in (0, side)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert f"{path}: {place} cannot be decoded" in outcomes.pop((0, 0))
        assert set(outcomes.values()) == {"read"}


def damage_png(path):
    """Overwrite the header of the second PNG of a file."""
    content = bytearray(path.read_bytes())
    at = content.index(b"\x89PNG", content.index(b"\x89PNG") + 1)
    content[at : at + 30] = b"\xff" * 30
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["a.svs", "a.mrxs"])
def test_no_words_of_a_library_reach_the_user(tmp_path, name):
    if name == "a.svs":
        path = write_svs(tmp_path / name, tissue(128, 128))
        damage_tile(path, 0)
    else:
        path = write_mrxs(tmp_path / name, {(0, 0): tissue(64, 64), (0, 1): tissue(64, 64)})
        damage_png(tmp_path / "a" / "Data0000.dat")
    with pytest.raises(InputError) as caught:
        check_pixels(open_image(path))
    cause = caught.value.__cause__
    assert cause is not None
    assert str(cause) not in str(caught.value)
    assert not any(word in str(caught.value) for word in ("OpenSlide", "Error", "\n"))


def test_aperio_is_rendered_by_openslide_where_tifffile_differs(tmp_path, monkeypatch):
    """One tile is decoded by both as a trial."""
    path = write_svs(tmp_path / "a.svs", tissue(300, 400), levels=2)
    exact = open_image(path).pixels.compute()
    monkeypatch.setattr(openslide_reader, "_agree", lambda *_: False)
    read = openslide_reader._read
    asked = []
    monkeypatch.setattr(openslide_reader, "_read", lambda *a, **k: asked.append(1) or read(*a, **k))
    np.testing.assert_array_equal(open_image(path).pixels.compute(), exact)
    assert asked


def test_coarser_levels_of_aperio_are_exact(tmp_path):
    """OpenSlide would interpolate: the sizes of the levels are no exact halves."""
    path = write_svs(tmp_path / "a.svs", tissue(2301, 2403), levels=3)
    for level in (1, 2):
        expected = tifffile.imread(path, series=0, level=level)
        np.testing.assert_array_equal(
            np.moveaxis(open_stored(path, level=level).pixels.compute(), 0, -1), expected
        )


@pytest.mark.parametrize(("tag", "reason"), [("TileByteCounts", "are absent"), ("TileOffsets", "are absent")])
@pytest.mark.parametrize(("page", "level"), [(0, 0), (2, 1)])
def test_absent_tiles_of_aperio_are_not_rendered_as_glass(tmp_path, tag, reason, page, level):
    path = write_svs(tmp_path / "a.svs", tissue(256, 256), levels=2)
    with tifffile.TiffFile(path, mode="r+b") as tif:
        entry = tif.pages[page].tags[tag]
        entry.overwrite([0, *entry.value[1:]])
    with pytest.raises(InputError, match=rf"1 of (16|4) tiles .*{reason}.*number 0, at y 0, x 0"):
        open_stored(path, level=level)


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.9, 0.99])
@pytest.mark.parametrize("name", ["a.svs", "b.ndpi", "c.vms", "d.mrxs"])
def test_truncated_slides_are_refused(tmp_path, name, keep):
    pixels = tissue(512, 768)
    writers = {".svs": write_svs, ".ndpi": write_ndpi, ".vms": write_vms}
    if name.endswith("mrxs"):
        path = write_mrxs(tmp_path / name, {(r, c): tissue(64, 64, r) for r in range(4) for c in range(4)})
    else:
        path = writers[Path(name).suffix](tmp_path / name, pixels)
    whole = open_image(path).pixels.compute()
    victim = {".vms": "image.jpg", ".mrxs": "d/Data0000.dat"}.get(path.suffix, name)
    content = (tmp_path / victim).read_bytes()
    (tmp_path / victim).write_bytes(content[: int(len(content) * keep)])
    try:
        source = open_image(path)
        check_pixels(source)
    except InputError as error:
        assert name in str(error)
        assert "\n" not in str(error)
    else:  # only the macro image was cut off, which is never read
        assert (name, keep) == ("a.svs", 0.99)
        np.testing.assert_array_equal(source.pixels.compute(), whole)


def write_shared_tiles(path, side, tile, encoded, description, compression=7):
    """Write an RGB TIFF of side x side pixels whose tiles are all the same bytes of the file."""
    count = (-(-side // tile)) ** 2
    text = description.encode() + b"\0"
    start = 8 + 2 + 12 * 12 + 4
    offsets, counts, bits, words = start, start + 4 * count, start + 8 * count, start + 8 * count + 6
    data = words + len(text)
    tags = [(256, 4, 1, side), (257, 4, 1, side), (258, 3, 3, bits), (259, 3, 1, compression), (262, 3, 1, 6),
            (270, 2, len(text), words), (277, 3, 1, 3), (284, 3, 1, 1), (322, 3, 1, tile), (323, 3, 1, tile),
            (324, 4, count, offsets), (325, 4, count, counts)]  # fmt: skip
    content = b"II*\0" + struct.pack("<IH", 8, len(tags))
    content += b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    content += struct.pack(f"<{count}I", *[data] * count) + struct.pack(f"<{count}I", *[len(encoded)] * count)
    path.write_bytes(content + struct.pack("<3H", 8, 8, 8) + text + encoded)
    return path


def test_a_declared_size_far_beyond_the_file_is_refused_by_the_headers(tmp_path):
    encoded = jpeg(np.zeros((1024, 1024, 3), "uint8"))
    description = APERIO.format(w=200_000, h=200_000, t=1024, mpp=0.5)
    path = write_shared_tiles(tmp_path / "a.svs", 200_000, 1024, encoded, description)
    assert openslide.OpenSlide(path).dimensions == (200_000, 200_000)
    start = time.perf_counter()
    with pytest.raises(InputError, match="looks like a decompression bomb"):
        open_image(path)
    assert time.perf_counter() - start < 1


# --- several files


def test_companions_are_named_when_they_are_missing(tmp_path):
    mrxs = write_mrxs(tmp_path / "a.mrxs", {(0, 0): tissue(64, 64)})
    vms = write_vms(tmp_path / "c.vms", tissue(512, 768))
    assert {file.name for file in files_of(mrxs)} == {"a.mrxs", "Index.dat", "Data0000.dat", "Slidedat.ini"}
    assert {file.name for file in files_of(vms)} == {"c.vms", "image.jpg", "map.jpg"}
    (tmp_path / "image.jpg").unlink()
    with pytest.raises(InputError, match=r"1 of the files that belong to it are missing: image\.jpg"):
        open_image(vms)
    (tmp_path / "a" / "Data0000.dat").unlink()
    with pytest.raises(InputError, match=r"1 of the files that belong to it are missing: a/Data0000\.dat"):
        open_image(mrxs)
    (tmp_path / "a" / "Slidedat.ini").unlink()
    with pytest.raises(InputError, match=r"a/Slidedat\.ini"):
        open_image(mrxs)


def test_an_mrxs_without_its_folder_is_not_read_as_the_picture_of_a_label(tmp_path):
    for name in ("a.mrxs", "b.MRXS"):
        (tmp_path / name).write_bytes(jpeg(np.full((30, 40, 3), SECRET, "uint8")))
        with pytest.raises(InputError, match="files that belong to it are missing"):
            open_image(tmp_path / name)


def test_a_vsi_is_not_read_as_its_overview(tmp_path):
    tifffile.imwrite(tmp_path / "a.vsi", tissue(64, 64))
    with pytest.raises(InputError, match=r"Olympus VSI is not supported.*\.ets"):
        open_image(tmp_path / "a.vsi")


def test_fluorescence_of_a_maker_goes_to_tifffile(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 60_000, (128, 192), "uint16")
    description = APERIO.format(w=192, h=128, t=64, mpp=0.25)
    tifffile.imwrite(tmp_path / "a.svs", pixels, tile=(64, 64), description=description, metadata=None)
    assert openslide.OpenSlide.detect_format(tmp_path / "a.svs") == "aperio"
    source = open_image(tmp_path / "a.svs")
    assert source.mpp == 0.25
    np.testing.assert_array_equal(source.pixels[0].compute(), pixels)


def test_slides_can_be_read_in_another_process(tmp_path):
    path = write_mrxs(tmp_path / "a.mrxs", {(0, 0): tissue(64, 64)})
    pixels = open_image(path).pixels
    restored = pickle.loads(pickle.dumps(pixels))
    np.testing.assert_array_equal(restored.compute(scheduler="synchronous"), pixels)


def test_the_number_of_open_slides_is_limited(tmp_path):
    for number in range(2 * openslide_reader.OPEN_SLIDES):
        check_pixels(open_image(write_svs(tmp_path / f"{number}.svs", tissue(64, 64))))
    assert openslide_reader._opened.cache_info().currsize <= openslide_reader.OPEN_SLIDES


def test_a_replaced_file_is_reopened(tmp_path):
    for seed in (1, 2):
        path = write_svs(tmp_path / "a.svs", tissue(128 * seed, 128, seed))
        expected = tifffile.imread(path, series=0, level=0)
        np.testing.assert_array_equal(np.moveaxis(open_image(path).pixels.compute(), 0, -1), expected)
