"""H&E in three planes is RGB, fluorescence in three colours is not, and the configuration settles it."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from slideunet.readers.open_source import choose_channels, open_image
from slideunet.readers.working_resolution import open_at
from slideunet.sources.colour_planes import is_rgb, order_of_colours

ROOT = Path(__file__).resolve().parents[2]
HISTOLOGY = sorted((ROOT / "resources/demo/histology/images").glob("*.png"))
FLUORESCENCE = sorted((ROOT / "resources/demo/fluorescence/images").glob("*.png"))
DATA = ROOT.parent / "shared" / "data"
RGB = ("red", "green", "blue")
PURE = ["ff0000", "00ff00", "0000ff"]


def stained(path=HISTOLOGY[0]):
    return np.moveaxis(np.asarray(Image.open(path).convert("RGB")), -1, 0)


def fluorescent(start=0):
    """Three nuclear images as channels, each stretched to its brightest pixel."""
    planes = [np.asarray(Image.open(path).convert("L")) for path in FLUORESCENCE[start : start + 3]]
    side = min(min(plane.shape) for plane in planes)
    return np.stack([(plane[:side, :side] / plane.max() * 255).astype(np.uint8) for plane in planes])


def save(path, planes, names=None, colours=None):
    """Write planes (c, y, x) as OME-TIFF, ImageJ composite or OME-Zarr."""
    if path.suffix == ".zarr":
        group = zarr.open_group(path, mode="w")
        group.create_array("s0", data=planes)
        image = {"axes": [{"name": name} for name in "cyx"], "datasets": [{"path": "s0"}]}
        facts = {"version": "0.5", "multiscales": [image]}
        if names or colours:
            channels: list[dict[str, str]] = [{} for _ in planes]
            for channel, name, colour in zip(channels, names or [""] * 3, colours or [""] * 3, strict=True):
                channel |= {"label": name} if name else {}
                channel |= {"color": colour.upper()} if colour else {}
            facts["omero"] = {"channels": channels}
        group.attrs["ome"] = facts
    elif path.name.endswith(".ome.tif"):
        signed = [int.from_bytes(bytes.fromhex(f"{c}ff"), "big", signed=True) for c in colours or []]
        channel = ({"Name": names} if names else {}) | ({"Color": signed} if colours else {})
        metadata = {"axes": "CYX"} | ({"Channel": channel} if channel else {})
        tifffile.imwrite(path, planes, metadata=metadata, photometric="minisblack")
    else:
        metadata = {"axes": "CYX", "mode": "composite"} | ({"Labels": names} if names else {})
        if colours:
            ramp = np.arange(256, dtype=np.uint16)
            metadata["LUTs"] = [
                np.stack([(ramp * value // 255).astype(np.uint8) for value in bytes.fromhex(colour)])
                for colour in colours
            ]
        tifffile.imwrite(path, planes, imagej=True, metadata=metadata)
    return path


FORMATS = ["i.ome.tif", "i.tif", "i.zarr"]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize(
    ("names", "colours", "order"),
    [
        (["Red", "Green", "Blue"], None, [0, 1, 2]),
        (["blue", "GREEN", " red"], None, [2, 1, 0]),
        (["G", "R", "B"], PURE[::-1], [1, 0, 2]),
        (None, PURE, [0, 1, 2]),
        (["Channel 2", "Channel 1", "Channel 0"], PURE[::-1], [2, 1, 0]),
        (None, None, [0, 1, 2]),
    ],
)
def test_stained_tissue_in_planes_is_rgb(tmp_path, name, dtype, names, colours, order):
    truth = stained() if dtype == "uint8" else stained().astype(np.uint16) * 16
    planes = np.empty_like(truth)
    planes[order] = truth
    source = choose_channels(open_image(save(tmp_path / name, planes, names, colours)), None)
    assert source.channels == RGB and is_rgb(source)
    np.testing.assert_array_equal(source.pixels.compute(), truth)
    named = names and "channel" not in names[0].lower()
    assert [("taken as one colour image" in text) for text in source.warnings] == ([] if named else [True])


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    ("names", "colours", "remark"),
    [
        (["Red", "Green", "Blue"], None, "named red, green and blue, on a dark background, stay channels"),
        (None, PURE, "shown in red, green and blue, on a dark background, stay channels"),
        (["DAPI", "GFP", "Cy3"], PURE, None),
        (None, None, None),
    ],
)
def test_fluorescence_in_three_colours_stays_channels(tmp_path, name, names, colours, remark):
    for start in range(0, len(FLUORESCENCE) - 2, 5):
        planes = fluorescent(start)
        source = choose_channels(open_image(save(tmp_path / name, planes, names, colours)), None)
        assert not is_rgb(source)
        np.testing.assert_array_equal(source.pixels.compute(), planes)
        assert len(source.warnings) == (remark is not None)
        assert remark is None or remark in source.warnings[0]


def test_the_choice_of_channels_settles_it(tmp_path):
    dark = open_image(save(tmp_path / "i.ome.tif", fluorescent(), None, PURE[::-1]))
    source = choose_channels(dark, "rgb")
    assert is_rgb(source) and not source.warnings
    np.testing.assert_array_equal(source.pixels.compute(), fluorescent()[::-1])
    bright = open_image(save(tmp_path / "j.ome.tif", stained(), None, PURE))
    source = choose_channels(bright, [0, 1, 2])
    assert not is_rgb(source) and not source.warnings
    assert source.channels == ("channel 0", "channel 1", "channel 2")
    named = open_image(save(tmp_path / "k.ome.tif", stained(), ["DAPI", "GFP", "Cy3"]))
    assert choose_channels(named, "rgb").channels == ("DAPI", "GFP", "Cy3")
    grey = choose_channels(bright, "grey")
    assert grey.channels == ("grey",) and grey.pixels.shape[0] == 1


def test_planes_named_in_small_letters_are_no_rgb_on_a_dark_background(tmp_path):
    path = save(tmp_path / "i.ome.tif", fluorescent(), list(RGB))
    assert choose_channels(open_image(path), None).channels == RGB
    assert not is_rgb(choose_channels(open_image(path), None))
    pixels = np.moveaxis(fluorescent(), 0, -1)
    tifffile.imwrite(tmp_path / "rgb.tif", pixels, photometric="rgb")
    assert is_rgb(choose_channels(open_image(tmp_path / "rgb.tif"), None))


def test_bright_planes_without_neutral_light_are_asked_about(tmp_path):
    tinted = (stained() * np.array([1, 0.75, 0.95])[:, None, None]).astype(np.uint8)
    source = choose_channels(open_image(save(tmp_path / "i.zarr", tinted)), None)
    assert not is_rgb(source)
    assert "on a bright background, stay channels; data.channels: rgb" in source.warnings[0]
    assert is_rgb(choose_channels(open_image(save(tmp_path / "j.zarr", tinted, None, PURE)), None))


def test_coarser_pixels_are_rgb_too(tmp_path):
    path = save(tmp_path / "i.ome.tif", stained(), None, PURE)
    source, scale = open_at(path, own_mpp=0.25, working_mpp=0.6)
    assert scale == pytest.approx(2.4)
    assert is_rgb(choose_channels(source, None))


@pytest.mark.parametrize(
    ("names", "colours", "expected"),
    [
        (["a", "b", "c"], ["", "", ""], None),
        (["red", "green"], ["", ""], None),
        (["red", "green", "green"], PURE, None),
        (["red", "green", "blue"], [], None),  # Samples of one pixel.
        (["0", "1", "2"], PURE[::-1], ([2, 1, 0], "coloured")),
        (["0", "1", "2"], ["0000ff", "00ff00", "ff00ff"], None),
        (["c:1/3 - a.tif", "c:2/3 - a.tif", "c:3/3 - a.tif"], ["", "", ""], ([0, 1, 2], "unnamed")),
        (["Channel:0:0", "Channel:0:1", "Channel:0:2"], ["ffffff"] * 3, ([0, 1, 2], "unnamed")),
        (["C1", "C2", "C3 DAPI"], PURE, None),
        (["1" * 60 + "x"] * 3, PURE, None),
    ],
)
def test_the_order_of_colours(names, colours, expected):
    assert order_of_colours(names, colours) == expected


@pytest.mark.skipif(not DATA.is_dir(), reason="the real images are not there")
@pytest.mark.parametrize(
    ("folder", "least"), [("tnbc", 1.0), ("nuinsseg", 0.85), ("bsst265", 0.0), ("coelho2009", 0.0)]
)
def test_real_images_in_three_colours(tmp_path, folder, least):
    paths = sorted((DATA / folder / "images").glob("*"))[::20]
    found = []
    for path in paths:
        planes = np.moveaxis(np.asarray(Image.open(path).convert("RGB")), -1, 0)
        save(tmp_path / "i.ome.tif", planes, None, PURE)
        found.append(is_rgb(choose_channels(open_image(tmp_path / "i.ome.tif"), None)))
    assert np.mean(found) >= least if least else not any(found)
