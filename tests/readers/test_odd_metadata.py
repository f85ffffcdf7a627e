"""Metadata that are wrong, absent or in another file: named as such, and overruled by the sheet."""

import gzip
import re
import shutil
import zipfile

import numpy as np
import openslide
import pytest
import tifffile
import zarr
from PIL import Image

from slideunet.errors import InputError
from slideunet.readers import openslide_reader
from slideunet.readers.open_source import open_image
from slideunet.readers.working_resolution import open_at
from slideunet.sources.pixel_size import PixelSize, stated_size, to_micrometres
from slideunet.truth.geojson_reader import read_features
from slideunet.truth.open_truth import open_truth

PIXELS = np.arange(9 * 8, dtype=np.uint8).reshape(9, 8)
OME = '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"'
WRONG = {"0": "positive", "nan": "positive", "-0.5": "positive", "0,5": "not as numbers", "inf": "positive"}


def ome_tiff(path, y, x, unit="µm"):
    """An OME-TIFF whose XML states exactly these texts."""
    xml = (
        f"{OME}>"
        f'<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="8" SizeY="9" '
        f'SizeC="1" SizeZ="1" SizeT="1" PhysicalSizeX="{x}" PhysicalSizeY="{y}" PhysicalSizeXUnit="{unit}" '
        f'PhysicalSizeYUnit="{unit}"><Channel ID="Channel:0:0" SamplesPerPixel="1"/><TiffData/></Pixels>'
        "</Image></OME>"
    )
    tifffile.imwrite(path, PIXELS, description=xml.encode(), metadata=None)
    return path


def ome_zarr(path, transforms, unit="micrometer"):
    group = zarr.open_group(path, mode="w", zarr_format=3)
    group.create_array("s0", data=PIXELS)
    dataset = {"path": "s0"} | ({} if transforms is None else {"coordinateTransformations": transforms})
    axes = [{"name": name, "type": "space", "unit": unit} for name in "yx"]
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": [dataset]}]}
    return path


def svs(path, mpp):
    description = f"Aperio Image Library v1\n8x9 -> 8x9|AppMag = 20|MPP = {mpp}"
    tifffile.imwrite(path, np.stack([PIXELS.astype(np.uint16)]), description=description, metadata=None)
    return path


def imagej(path, y, x):
    tifffile.imwrite(
        path, PIXELS, imagej=True, resolution=(1 / x, 1 / y), metadata={"unit": "um", "axes": "YX"}
    )
    return path


def assert_only_the_sheet_helps(path, reason):
    with pytest.raises(InputError, match=rf"{reason}.*the column mpp of the sample sheet") as caught:
        open_at(path, own_mpp=None, working_mpp=None)
    assert "truncated" not in str(caught.value)
    source, _ = open_at(path, own_mpp=0.5, working_mpp=None)
    assert source.mpp == 0.5
    assert "0.5, is used" in source.warnings[0]
    assert open_image(path).mpp is None
    np.testing.assert_array_equal(source.pixels[0].compute(), PIXELS)


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_size_in_ome_xml_does_not_defeat_the_sheet(tmp_path, text):
    assert_only_the_sheet_helps(ome_tiff(tmp_path / "i.ome.tif", text, text), WRONG[text])
    assert_only_the_sheet_helps(ome_tiff(tmp_path / "i.ome.tif", "0.5", text), WRONG[text])


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_scale_in_ome_zarr_does_not_defeat_the_sheet(tmp_path, text):
    value = text if "," in text else float(text)
    reason = "not one number per axis" if "," in text else WRONG[text]
    path = ome_zarr(tmp_path / "i.zarr", [{"type": "scale", "scale": [value, value]}])
    assert_only_the_sheet_helps(path, reason)


@pytest.mark.parametrize("scale", [[0.5], None, "0.5", [1, 0.5, 0.5], {"y": 0.5}])
def test_a_scale_of_another_form(tmp_path, scale):
    path = ome_zarr(tmp_path / "i.zarr", [{"type": "scale", "scale": scale}])
    assert_only_the_sheet_helps(path, "not one number per axis")


@pytest.mark.parametrize("transforms", [{"type": "scale", "scale": [0.5, 0.5]}, "scale", ["scale"], 0.5])
def test_transformations_of_another_form(tmp_path, transforms):
    assert_only_the_sheet_helps(ome_zarr(tmp_path / "i.zarr", transforms), "coordinateTransformations are")


@pytest.mark.parametrize("axes", [["y", "x"], [{"type": "space"}, {"type": "space"}], [None, None]])
def test_axes_of_another_form_are_not_called_damaged(tmp_path, axes):
    path = ome_zarr(tmp_path / "i.zarr", None)
    group = zarr.open_group(path)
    facts = group.attrs["ome"]
    facts["multiscales"][0]["axes"] = axes
    group.attrs["ome"] = facts
    with pytest.raises(InputError, match="its axes are") as caught:
        open_image(path)
    assert "truncated" not in str(caught.value)


@pytest.mark.parametrize("numbers", [(0, 0), (1, 0), (0, 1)])
@pytest.mark.parametrize("imagej", [False, True])
def test_resolutions_that_divide_by_zero_are_no_size(tmp_path, numbers, imagej):
    options = {"imagej": True, "metadata": {"unit": "um"}} if imagej else {"resolutionunit": 3}
    path = tmp_path / "i.tif"
    tifffile.imwrite(path, PIXELS, resolution=(2, 2), **options)
    with tifffile.TiffFile(path) as tif:
        places = [tif.pages.first.tags[code].valueoffset for code in (282, 283)]
        order = "little" if tif.byteorder == "<" else "big"
    content = bytearray(path.read_bytes())
    for place in places:
        content[place : place + 8] = b"".join(number.to_bytes(4, order) for number in numbers)
    path.write_bytes(content)
    assert open_at(path, own_mpp=None, working_mpp=None)[0].mpp is None
    assert open_at(path, own_mpp=0.5, working_mpp=None)[0].mpp == 0.5


def test_one_axis_or_a_foreign_unit_is_no_size(tmp_path):
    for number, text in enumerate(['PhysicalSizeX="0.5"', 'PhysicalSizeY="0.5"']):
        path = ome_tiff(tmp_path / f"{number}.ome.tif", 0, 0)
        other = re.sub(
            r'PhysicalSizeX="0" PhysicalSizeY="0"', text.ljust(35), path.read_bytes().decode("latin-1")
        )
        path.write_bytes(other.encode("latin-1"))
        assert open_image(path).mpp is None
    for unit in ("foo", "pixel", "reference frame"):
        assert open_image(ome_tiff(tmp_path / "u.ome.tif", 0.5, 0.5, unit)).mpp is None
    Image.fromarray(PIXELS).save(tmp_path / "r.jpg", dpi=(50_800, 101_600))
    with pytest.raises(InputError, match="not square"):
        open_at(tmp_path / "r.jpg", own_mpp=None, working_mpp=None)
    assert open_at(tmp_path / "r.jpg", own_mpp=0.5, working_mpp=None)[0].mpp == 0.5


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_size_of_aperio_does_not_defeat_the_sheet(tmp_path, text):
    path = svs(tmp_path / "i.svs", text)
    if text == "0":  # Aperio's description: whole numbers are no sizes in tifffile's parser
        assert open_at(path, own_mpp=0.5, working_mpp=None)[0].mpp == 0.5
    else:
        assert_only_the_sheet_helps(path, WRONG[text])


def test_oblong_pixels_of_imagej_and_resolution_tags(tmp_path):
    assert_only_the_sheet_helps(imagej(tmp_path / "i.tif", 0.5, 0.25), "not square")
    tifffile.imwrite(tmp_path / "r.tif", PIXELS, resolution=(20_000, 40_000), resolutionunit="CENTIMETER")
    assert_only_the_sheet_helps(tmp_path / "r.tif", "not square")
    Image.fromarray(PIXELS).save(tmp_path / "r.png", dpi=(50_800, 101_600))
    assert_only_the_sheet_helps(tmp_path / "r.png", "not square")


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_size_of_a_vendor_does_not_defeat_the_sheet(tmp_path, monkeypatch, text):
    """OpenSlide's properties are text, whatever the vendor wrote."""
    assert openslide.PROPERTY_NAME_MPP_X == "openslide.mpp-x"
    properties = {"openslide.mpp-x": text, "openslide.mpp-y": text, "openslide.vendor": "hamamatsu"}
    path = ome_tiff(tmp_path / "i.tif", 1, 1)
    monkeypatch.setattr(openslide_reader, "_use_slide", lambda *_: ([(9, 8)], properties))
    size = openslide_reader.open_vendor_slide(path, 1000).size
    assert size.mpp is None
    assert WRONG[text] in size.problem


@pytest.mark.parametrize("empty", ["", " "])
def test_an_empty_size_is_unknown(tmp_path, empty):
    source, _ = open_at(ome_tiff(tmp_path / "i.ome.tif", empty, empty), own_mpp=None, working_mpp=None)
    assert (source.mpp, source.warnings) == (None, ())


@pytest.mark.parametrize("transforms", [None, [], [{"type": "translation", "translation": [1, 1]}]])
def test_units_without_a_scale_are_no_size(tmp_path, transforms):
    source, _ = open_at(ome_zarr(tmp_path / "i.zarr", transforms), own_mpp=None, working_mpp=None)
    assert (source.mpp, source.warnings) == (None, ())


@pytest.mark.parametrize(
    ("value", "unit"),
    [
        (0.5, "micrometers"),
        (0.5, "Micrometres"),
        (0.5, "microns"),
        (0.5, "μm"),
        (0.5, "µm"),
        (500, "nanometers"),
        (5000, "angstroms"),
        (5e-4, "millimeters"),
        (5e-5, "cm"),
        (5e-6, "dm"),
        (5e-6, "decimeters"),
        (5e-7, "metres"),
        (0.5 / 25400, "inches"),
    ],
)
def test_units_in_words(value, unit):
    assert to_micrometres(value, unit) == pytest.approx(0.5)
    assert stated_size(value, str(value), (unit, unit)).mpp == pytest.approx(0.5)


@pytest.mark.parametrize("unit", [None, "", "pixel", "pixels", "reference frame", 3, ["um"]])
def test_no_unit_of_length(unit):
    assert stated_size(1.0, 1.0, (unit, unit)) == PixelSize()


@pytest.mark.parametrize(("unit", "per"), [(2, 50_800), (3, 20_000), (4, 2_000), (5, 2)])
def test_all_resolution_units(tmp_path, unit, per):
    tifffile.imwrite(tmp_path / "i.tif", PIXELS, resolution=(per, per), resolutionunit=unit)
    assert open_image(tmp_path / "i.tif").mpp == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("companion", "remedy"), [("set.companion.ome", "bfconvert"), ("first.ome.tif", "Give that file")]
)
def test_a_part_of_an_ome_tiff_names_its_companion(tmp_path, companion, remedy):
    xml = f'{OME} UUID="urn:uuid:1"><BinaryOnly MetadataFile="{companion}" UUID="urn:uuid:2"/></OME>'
    tifffile.imwrite(tmp_path / "part.ome.tif", PIXELS, description=xml.encode(), metadata=None)
    with pytest.raises(InputError, match=rf"is in {companion}\. .*{remedy}") as caught:
        open_image(tmp_path / "part.ome.tif")
    assert "truncated" not in str(caught.value)


@pytest.mark.parametrize("image", ['<Image ID="Image:0"/>', "", '<Plate ID="Plate:0"/>'])
def test_ome_xml_without_pixels_is_not_called_damaged(tmp_path, image):
    tifffile.imwrite(
        tmp_path / "i.ome.tif", PIXELS, description=f"{OME}>{image}</OME>".encode(), metadata=None
    )
    with pytest.raises(InputError, match="its OME-XML describes no pixels") as caught:
        open_image(tmp_path / "i.ome.tif")
    assert "truncated" not in str(caught.value)


@pytest.mark.parametrize("version", [2, 3])
def test_stale_consolidated_metadata_are_not_consulted(tmp_path, version):
    group = zarr.open_group(tmp_path / "i.zarr", mode="w", zarr_format=version)
    group.create_array("s0", data=PIXELS[:4])
    zarr.consolidate_metadata(tmp_path / "i.zarr")
    # Another program writes the image anew, without renewing the copy of its metadata.
    group = zarr.open_group(tmp_path / "i.zarr", mode="r+", use_consolidated=False)
    shutil.rmtree(tmp_path / "i.zarr" / "s0")
    group.create_array("1", data=PIXELS)
    image = {"axes": [{"name": "y"}, {"name": "x"}], "datasets": [{"path": "1"}]}
    facts = {"multiscales": [image | {"version": "0.4"}]}
    group.attrs.update(facts if version == 2 else {"ome": {"version": "0.5", **facts}})
    np.testing.assert_array_equal(open_image(tmp_path / "i.zarr").pixels[0].compute(), PIXELS)


@pytest.mark.parametrize("version", [2, 3])
def test_a_plain_array_says_that_it_is_one(tmp_path, version):
    zarr.create_array(tmp_path / "a.zarr", data=PIXELS, zarr_format=version)
    with pytest.raises(InputError, match="is a plain Zarr array") as caught:
        open_image(tmp_path / "a.zarr")
    assert "truncated" not in str(caught.value)


def test_geojson_that_is_not_utf8_says_so(tmp_path):
    text = '{"type": "FeatureCollection", "features": [], "name": "Müller"}'
    (tmp_path / "l.geojson").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"is not UTF-8 text \(byte 56 is 0xfc\).*Latin-1") as caught:
        read_features(tmp_path / "l.geojson")
    assert "truncated" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("name", ["l.geojson", "l.json.gz"])
@pytest.mark.parametrize("letter", ["u", "ü"])
def test_geojson_in_utf16_says_so(tmp_path, encoding, name, letter):
    text = f'{{"type": "FeatureCollection", "features": [], "name": "M{letter}ller"}}'.encode(encoding)
    (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    with pytest.raises(InputError, match="is UTF-16 text") as caught:
        open_truth(tmp_path / name, PIXELS.shape)
    assert "truncated" not in str(caught.value)


@pytest.mark.parametrize("name", ["RoiSet.zip", "one.roi"])
def test_imagej_rois_say_what_to_do(tmp_path, name):
    path = tmp_path / name
    if name.endswith(".zip"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("0001-0002.roi", b"Iout")
    else:
        path.write_bytes(b"Iout" + bytes(60))
    with pytest.raises(InputError, match=r"a set of ImageJ ROIs.*export the objects as GeoJSON"):
        open_image(path)
