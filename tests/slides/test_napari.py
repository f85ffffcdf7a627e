"""napari shows a result without further settings: layers, scale, names, contrast and colours."""

import numpy as np
import pytest
import tifffile
from making import write_image

from slideunet.slides.convert import ConversionPlan, Slide, convert
from slideunet.stores import manifests, omezarr

# napari has more than fifty packages that nothing else here needs: install it where the test is to run.
pytest.importorskip("napari_ome_zarr", reason="needs `pip install napari-ome-zarr`")

SHAPE = (2, 611, 1031)


@pytest.fixture
def opened(tmp_path, monkeypatch):
    """Open a store as the window of napari does, and return its layers by their name."""
    monkeypatch.setenv("NAPARI_CONFIG", str(tmp_path / "napari.yaml"))
    from napari.components import ViewerModel
    from npe2 import PluginManager

    PluginManager.instance().discover()

    def layers(path):
        viewer = ViewerModel()
        viewer.open(str(path), plugin="napari-ome-zarr")
        return {layer.name.removeprefix("labels/labels/"): layer for layer in viewer.layers}

    return layers


@pytest.fixture
def pixels():
    """16 bits, of which a microscope uses few."""
    return np.random.default_rng(0).gamma(2, 300, SHAPE).astype(np.uint16)


def save(path, pixels, names):
    metadata = {"axes": "CYX", "Channel": {"Name": names}}
    tifffile.imwrite(path, pixels, metadata=metadata, photometric="minisblack", ome=True)
    return path


@pytest.mark.parametrize("mpp", [0.25, None])
def test_a_slide(tmp_path, opened, pixels, version, mpp):
    image = save(tmp_path / "a.ome.tif", pixels, ["DAPI", "Ki67"])
    truth = np.zeros(SHAPE[1:], np.uint16)
    truth[5:40, 7:60], truth[100:130, 9:30] = 1, 2
    tifffile.imwrite(tmp_path / "truth.tif", truth)
    manifest = tmp_path / "S1.json"
    convert(Slide("S1", image, tmp_path / "truth.tif", mpp), ConversionPlan(version=version), manifest)
    layers = opened(manifests.store_path(manifest))
    assert list(layers) == ["S1: DAPI", "S1: Ki67", "truth"]
    for layer in layers.values():
        assert layer.multiscale and len(layer.data) == 4
        np.testing.assert_allclose(layer.scale, [mpp or 1.0] * 2)
        assert {str(unit) for unit in layer.units} == {"micrometer" if mpp else "pixel"}
    for plane, name in zip(pixels, layers, strict=False):
        np.testing.assert_array_equal(layers[name].data[0], plane)
        expected = np.percentile(plane, [1, 99.8], method="inverted_cdf").tolist()
        assert list(layers[name].contrast_limits) == expected
        assert layers[name].visible
    shown = [tuple(layers[name].colormap.map([1.0])[0]) for name in list(layers)[:2]]
    assert shown == [(0, 1, 0, 1), (1, 0, 1, 1)]
    np.testing.assert_array_equal(layers["truth"].data[0], truth)


def test_colours_keep_their_hue(tmp_path, opened, version):
    pixels = np.random.default_rng(0).integers(90, 200, (150, 133, 3)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb")
    manifest = tmp_path / "S1.json"
    convert(Slide("S1", tmp_path / "a.tif", None, None), ConversionPlan(version=version), manifest)
    layers = opened(manifests.store_path(manifest))
    assert list(layers) == ["S1: red", "S1: green", "S1: blue"]
    assert [list(layer.contrast_limits) for layer in layers.values()] == [[0, 255]] * 3
    shown = [tuple(layer.colormap.map([1.0])[0][:3]) for layer in layers.values()]
    assert shown == [(1, 0, 0), (0, 1, 0), (0, 0, 1)]
    # The lowest one covers the canvas.
    assert [layer.blending for layer in layers.values()][1:] == ["additive"] * 2


def test_a_prediction(tmp_path, opened, version):
    probability = np.random.default_rng(0).integers(0, 256, (1, *SHAPE[1:])).astype(np.uint8)
    path, options = tmp_path / "S1.zarr", {"mpp": 0.5, "version": version}
    write_image(path, probability, channels=["foreground"], **options)
    cells = np.arange(SHAPE[1] * SHAPE[2], dtype=np.uint32).reshape(SHAPE[1:])
    omezarr.write_labels(path / "labels/cells", cells, **options)
    tissue = np.ones((77, 129), np.uint32)
    omezarr.write_labels(path / "labels/tissue", tissue, levels=1, first_level=3, **options)
    omezarr.list_labels(path / "labels")
    layers = opened(path)
    assert list(layers) == ["S1: foreground", "cells", "tissue"]
    assert list(layers["S1: foreground"].contrast_limits) == [0, 255]
    np.testing.assert_allclose(layers["cells"].scale, [0.5, 0.5])
    np.testing.assert_allclose(layers["tissue"].scale, [4.0, 4.0])
    colours = np.array([layers["cells"].get_color(cell) for cell in range(1, 20)])
    assert layers["cells"].get_color(0) is None or layers["cells"].get_color(0)[3] == 0
    assert (colours[:, 3] == 1).all() and len(np.unique(colours, axis=0)) > 15
