"""The white of 10- and 12-bit data in 16 bits, as the file or the largest value says, up to the results."""

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from skimage.draw import disk

from slideunet.cells.export.export_slide import export_fingerprint
from slideunet.cells.measurement.intensities import stains
from slideunet.cells.measurement.regions import find_regions
from slideunet.geometry.runs import runs_of
from slideunet.readers.open_source import open_image
from slideunet.report.pictures import stretched
from slideunet.slides import tissue
from slideunet.slides.convert import ConversionPlan, Slide, convert
from slideunet.slides.normalisation import normalisation
from slideunet.slides.statistics import survey
from slideunet.slides.tissue_store import make_mask
from slideunet.sources.white import white_level, white_of
from slideunet.stores import manifests, omezarr
from slideunet.stores.resumable import building


def field(white):
    """Glass, tissue and two nuclei (3, y, x) with exact shares of white."""
    share = np.full((3, 93, 77), 0.96)
    share[:, *disk((45, 38), 30)] = np.array([[0.85], [0.6], [0.75]])
    share[:, *disk((40, 30), 7)] = share[:, *disk((52, 50), 6)] = np.array([[0.35], [0.2], [0.5]])
    share[0, 0, 0] = 1
    return np.rint(share * white).astype(np.uint8 if white == 255 else np.uint16)


def nuclei():
    labels = np.zeros((93, 77), np.uint32)
    labels[disk((40, 30), 7)], labels[disk((52, 50), 6)] = 1, 2
    return labels


OME = (
    '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
)
END = "<TiffData/></Pixels></Image></OME>"


def save(path, pixels, bits=None):
    channels = "".join(f'<Channel ID="Channel:0:{i}" Name="{name}"/>' for i, name in enumerate("RGB"))
    said = "" if bits is None else f'SignificantBits="{bits}" '
    xml = (
        f'{OME}<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint16" {said}SizeX="{pixels.shape[2]}" '
        f'SizeY="{pixels.shape[1]}" SizeC="3" SizeZ="1" SizeT="1">{channels}{END}'
    )
    tifffile.imwrite(path, pixels, photometric="minisblack", description=xml.encode(), metadata=None)
    return path


@given(st.integers(0, 65535), st.none() | st.integers(1, 16))
def test_white_holds_the_maximum_and_is_that_of_a_depth(maximum, bits):
    white = white_level(np.dtype(np.uint16), maximum, bits)
    assert white >= maximum
    assert (white + 1).bit_count() == 1
    if bits is not None and bits < 16 and maximum < 2**bits:
        assert white == 2**bits - 1
    assert white_level(np.dtype(np.uint8), maximum & 255, bits) == 255


@pytest.mark.parametrize(
    ("top", "bits", "white"),
    [
        (1023, 10, 1023),
        (4095, 12, 4095),
        (16383, 14, 16383),
        (3000, 12, 4095),
        (900, 11, 1023),
        (65535, 16, 65535),
    ],
)
def test_the_depth_is_read_or_guessed_from_the_maximum(tmp_path, top, bits, white):
    pixels = field(top)
    stated = save(tmp_path / "stated.ome.tif", pixels, bits)
    assert open_image(stated).bits == (None if bits == 16 else bits)
    for path, expected in ((stated, 2**bits - 1), (save(tmp_path / "i.ome.tif", pixels), white)):
        manifest = tmp_path / f"{path.stem}.json"
        convert(Slide("S1", path, None, None), ConversionPlan(), manifest)
        facts = manifests.read_manifest(manifest)
        assert facts["channels"] == ["red", "green", "blue"]
        assert facts["white"] == white_of(facts) == expected
        guessed = path != stated and white < 65535
        assert any(f"white is {white}" in text for text in facts["warnings"]) == guessed


def test_a_depth_that_the_values_exceed_is_not_believed():
    assert white_level(np.dtype(np.uint16), 65520, 12) == 65535  # Shifted to the left.
    assert white_level(np.dtype(np.uint16), 4000, 16) == 4095  # Programs write 16 for any image.


@pytest.mark.parametrize("white", [1023, 4095])
def test_optical_densities_are_those_of_the_same_light_in_8_bits(white):
    regions, names = find_regions(runs_of(nuclei())), ["red", "green", "blue"]
    found, expected = (stains(regions, field(level), names, level) for level in (white, 255))
    for stain in ("haematoxylin", "eosin"):
        np.testing.assert_allclose(found[stain], expected[stain], atol=0.01)
        assert (expected[stain] > 0.05).all()
    assert stains(regions, field(white), names, None) == {}


def test_normalisation_and_pictures_do_not_depend_on_the_depth():
    constants = [normalisation(survey(field(white))[0], "percentile", "auto") for white in (255, 4095)]
    eight, twelve = (one.apply(field(white)) for one, white in zip(constants, (255, 4095), strict=True))
    np.testing.assert_allclose(eight, twelve, atol=0.02)
    assert constants[1].scale[0] < 0
    shown = [stretched(field(white), survey(field(white))[0]).astype(int) for white in (255, 4095)]
    assert np.abs(shown[0] - shown[1]).max() <= 2


def test_the_tissue_mask_is_that_of_8_bits(tmp_path, monkeypatch, write_store):
    monkeypatch.setattr(tissue, "WHOLE_SLIDE", 256)
    share = np.random.default_rng(0).normal(0.95, 0.002, (3, 700, 605))
    share[:, *disk((300, 200), 90)] = np.array([[0.8], [0.5], [0.66]])
    masks = []
    for white, dtype in ((255, np.uint8), (4095, np.uint16)):
        pixels = np.rint(share * white).astype(dtype)
        facts = {"statistics": survey(pixels)[0], "mpp": 4.0, "dtype": str(np.dtype(dtype)), "white": white}
        slide = write_store(tmp_path / f"slides/{white}.json", pixels, **facts)

        def create(path):
            omezarr.create_image(path, (1, 700, 605), np.dtype("u1"), channels=["p"], mpp=4.0)

        with building(tmp_path / f"predictions/{white}.json", "0" * 64, create) as begun:
            masks.append(make_mask(begun.path, slide, "auto", "bright", "0.5").pixels)
    assert masks[0][150, 100] and not masks[0][:20].any()
    assert (masks[0] != masks[1]).mean() < 0.005


def test_tables_of_another_white_are_made_again(tmp_path, write_store):
    cells = {"fingerprint": "c"}
    prediction = write_store(tmp_path / "p/S1.json", np.zeros((1, 8, 8), np.uint8), cells=cells)
    known = []
    for white in (None, 65535, 4095, 1023):
        image = write_store(
            tmp_path / f"{white}/S1.json", np.zeros((3, 8, 8), np.uint16), white=white, dtype="uint16"
        )
        known.append(export_fingerprint(image, prediction))
    assert known[0] == known[1]
    assert len(set(known)) == 3
    old = {"dtype": "uint16", "statistics": [{"max": 3000.0}] * 3}
    assert white_of(old) == 4095
    assert white_of(old | {"dtype": "float32"}) is None
