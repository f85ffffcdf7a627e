"""Every real and odd slide file is read as an independent reader reads it, or refused as the docs say."""

import io
import re
import zipfile
from pathlib import Path

import imagecodecs
import numpy as np
import openslide
import pytest
import tifffile
from making import check_pixels
from PIL import ExifTags, Image, ImageOps

from slideunet.errors import InputError
from slideunet.readers import open_source
from slideunet.readers.open_source import open_image, open_stored

ROOT = Path(__file__).resolve().parents[2]
WSI = ROOT.parent / "shared" / "data" / "wsi"
PART = 2000
"""Side in pixels of the region read through OpenSlide: large slides of one colour are all alike."""
FORMATS = ROOT / "docs" / "formats.md"
ROW = re.compile(r"^\| `([^`]+)` \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
READERS = {"open_vendor_slide": "OpenSlide", "open_tiff": "tifffile", "open_raster": "Pillow, imagecodecs"}

pytestmark = pytest.mark.skipif(not WSI.is_dir(), reason="the folder of real slides is not there")
FILES = sorted(p for p in WSI.glob("*/*") if p.is_file()) if WSI.is_dir() else []
TABLE = {name: row for name, *row in ROW.findall(FORMATS.read_text(encoding="utf-8"))}


def by_tifffile(path, level=0):
    pixels = tifffile.imread(path, series=0, level=level)
    return pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)


def by_openslide(path, level=0):
    """All of a level, or of a large one the left upper part."""
    with openslide.OpenSlide(path) as slide:
        width, height = slide.level_dimensions[level]
        region = np.asarray(slide.read_region((0, 0), level, (min(width, PART), min(height, PART))))
    assert (region[..., 3] == 255).all()
    return np.moveaxis(region[..., :3], -1, 0)


def by_pillow(path):
    with Image.open(path) as image:
        pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)


def by_png_codec(path):
    return np.moveaxis(imagecodecs.png_decode(path.read_bytes()), -1, 0)


def by_first_frame(path):
    """The one JPEG frame of the small DICOM, found in the bytes of the file that has it, without padding."""
    content = path.with_name("boxes_0.dcm").read_bytes()
    return by_pillow(io.BytesIO(content[content.index(b"\xff\xd8\xff") :]))[:, :16, :16]


def by_strips(path):
    """16-bit RGB, stored uncompressed strip after strip."""
    with tifffile.TiffFile(path) as tif:
        page = tif.pages[0]
        assert page.compression == 1
        places = list(zip(page.dataoffsets, page.databytecounts, strict=True))
        shape, order = page.shape, tif.byteorder
    content = path.read_bytes()
    pixels = np.frombuffer(b"".join(content[start : start + size] for start, size in places), f"{order}u2")
    return np.moveaxis(pixels.reshape(shape), -1, 0)


def by_upright_pillow(path):
    """The stored pixels, turned by Pillow as the tag says."""
    image = Image.fromarray(tifffile.imread(path, series=0, level=0))
    exif = image.getexif()
    exif[ExifTags.Base.Orientation] = int(path.stem[-1])
    return np.asarray(ImageOps.exif_transpose(image))[None]


INDEPENDENT = {
    "CMU-1-Small-Region.svs": by_tifffile,
    "tcga-cr-7395-01a-01-ts1.svs": by_tifffile,
    "small.svs": by_tifffile,
    "😐.svs": by_tifffile,
    "boxes_0.dcm": by_first_frame,
    "boxes_1.dcm": by_first_frame,
    "boxes.tiff": by_openslide,
    "yb10kx5k.zstd.tiff": by_openslide,
    "grey10kx5k.tif": by_pillow,
    "small_la.tiff": lambda path: by_openslide(path)[:2],  # grey and the second sample are the same here
    "sample_rgb16.tif": by_strips,
    "boxes.png": by_png_codec,
    "boxes-no-icc.png": by_png_codec,
    "😐.png": by_png_codec,
    **{f"test_orient{i}.tif": by_upright_pillow for i in range(9)},
}


def observe(path, monkeypatch):
    """Return who read a file, and the shape or the message."""
    asked = []
    for function, name in READERS.items():
        original = getattr(open_source, function)

        def spy(*arguments, original=original, name=name):
            asked.append(name)
            return original(*arguments)

        monkeypatch.setattr(open_source, function, spy)
    try:
        source = open_image(path)
        check_pixels(source)
    except InputError as error:
        return (asked or ["nobody"])[0], str(error)
    size = "" if source.mpp is None else f", {source.mpp:g} µm"
    shape = " x ".join(str(n) for n in source.pixels.shape)
    return asked[0], f"{shape} {source.pixels.dtype}{size}"


def name_of(path):
    return str(path.relative_to(WSI))


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_every_file_does_what_the_table_says(path, monkeypatch):
    _, reader, result = TABLE[name_of(path)]
    found_reader, found = observe(path, monkeypatch)
    assert found_reader == reader
    if result.startswith("refused: "):
        assert str(path) in found
        assert result.removeprefix("refused: ") in found
        assert "\n" not in found
    else:
        assert found == result


def test_the_table_has_every_file_and_no_other():
    assert sorted(TABLE) == sorted(name_of(path) for path in FILES)
    read = {Path(name).name for name, row in TABLE.items() if not row[-1].startswith("refused: ")}
    assert read == set(INDEPENDENT)


@pytest.mark.slow
@pytest.mark.parametrize("path", [p for p in FILES if p.name in INDEPENDENT], ids=name_of)
def test_every_file_that_is_read_equals_an_independent_reading(path):
    expected = INDEPENDENT[path.name](path)
    pixels = open_image(path).pixels
    if expected.shape[1] == PART:
        pixels = pixels[:, :PART, :PART]
    np.testing.assert_array_equal(pixels.compute(), expected)


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("tcga/tcga-cr-7395-01a-01-ts1.svs", by_tifffile),
        ("large_image/yb10kx5k.zstd.tiff", by_openslide),
        ("openslide_python/boxes.tiff", by_openslide),
    ],
)
def test_every_level_equals_an_independent_reading(name, read):
    levels = open_stored(WSI / name).levels
    assert len(levels) > 1
    for level in levels[1:]:
        expected = read(WSI / name, level.index)
        pixels = open_stored(WSI / name, level=level.index).pixels[
            :, : expected.shape[1], : expected.shape[2]
        ]
        np.testing.assert_array_equal(pixels.compute(), expected)


def test_the_zipped_image_is_refused_when_it_is_unpacked_too(tmp_path):
    with zipfile.ZipFile(WSI / "large_image" / "sample_float32_8bit_range.zarr.zip") as archive:
        archive.extractall(tmp_path / "i.zarr")
    with pytest.raises(InputError, match=r"has axes \['y', 'x', 's'\]"):
        open_image(tmp_path / "i.zarr")


def test_the_mask_of_one_bit_is_a_mask():
    stored = open_stored(WSI / "libvips" / "1bit.tif")
    np.testing.assert_array_equal(stored.pixels[0].compute(), by_pillow(WSI / "libvips" / "1bit.tif")[0])
