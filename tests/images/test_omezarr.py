import dask.array as da
import numpy as np
import ome_zarr_models.v04.image
import ome_zarr_models.v04.image_label
import ome_zarr_models.v05.image
import ome_zarr_models.v05.image_label
import pytest
import zarr
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader
from skimage.measure import block_reduce

from slideunet.images import omezarr

VERSIONS = ["0.4", "0.5"]
SHAPE = (3, 611, 1031)  # Three levels, odd sides, three chunks across.


def draw(dtype="uint16", shape=SHAPE):
    return np.random.default_rng(0).uniform(0, 200, shape).astype(dtype)


@pytest.fixture(params=VERSIONS)
def version(request):
    return request.param


@pytest.fixture
def image(tmp_path, version):
    path = tmp_path / "S1.zarr"
    pixels = draw()
    assert omezarr.write_image(path, pixels, channels=["r", "g", "b"], mpp=0.25, version=version) == 4
    labels = (draw(shape=SHAPE[1:]) // 3).astype(np.uint32)
    omezarr.write_label_image(path, "truth", labels, mpp=0.25, version=version)
    return path


def test_ome_zarr_py_reads_it(image):
    nodes = list(Reader(parse_url(image))())
    pixels, labels = nodes[0], nodes[-1]
    np.testing.assert_array_equal(pixels.data[0].compute(), draw())
    assert [level.shape for level in pixels.data] == [
        (3, 611, 1031),
        (3, 306, 516),
        (3, 153, 258),
        (3, 77, 129),
    ]
    assert [axis["name"] for axis in pixels.metadata["axes"]] == ["c", "y", "x"]
    assert pixels.metadata["channel_names"] == ["r", "g", "b"]
    assert labels.metadata["name"] == "truth"
    np.testing.assert_array_equal(labels.data[0].compute(), omezarr.open_level(image / "labels/truth", 0)[:])


def test_its_metadata_is_valid(image, version):
    models = ome_zarr_models.v04 if version == "0.4" else ome_zarr_models.v05
    found = models.image.Image.from_zarr(zarr.open_group(image, mode="r"))
    labels = models.image_label.ImageLabel.from_zarr(zarr.open_group(image / "labels/truth", mode="r"))
    for group, axes in ((found, 3), (labels, 2)):
        attributes = group.attributes if version == "0.4" else group.attributes.ome
        (multiscales,) = attributes.multiscales
        assert len(multiscales.axes) == axes
        assert [axis.unit for axis in multiscales.axes][-2:] == ["micrometer", "micrometer"]
        scales = [dataset.coordinateTransformations[0].scale for dataset in multiscales.datasets]
        assert scales == [[1.0] * (axes - 2) + [0.25 * 2**level] * 2 for level in range(4)]
    assert zarr.open_group(image / "labels", mode="r").attrs.asdict() == (
        {"labels": ["truth"]} if version == "0.4" else {"ome": {"version": "0.5", "labels": ["truth"]}}
    )


def test_without_a_pixel_size_there_is_no_unit(tmp_path, version):
    omezarr.write_image(tmp_path / "a.zarr", draw(), channels=["r", "g", "b"], mpp=None, version=version)
    (multiscales,) = omezarr.metadata(tmp_path / "a.zarr")["multiscales"]
    assert not any("unit" in axis for axis in multiscales["axes"])
    assert multiscales["datasets"][1]["coordinateTransformations"] == [
        {"type": "scale", "scale": [1.0, 2.0, 2.0]}
    ]
    models = ome_zarr_models.v04 if version == "0.4" else ome_zarr_models.v05
    assert models.image.Image.from_zarr(zarr.open_group(tmp_path / "a.zarr", mode="r"))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_each_level_is_the_mean_of_the_one_before(tmp_path, dtype):
    pixels = draw(dtype, (1, 611, 531))
    levels = omezarr.write_image(tmp_path / "a.zarr", pixels, channels=["grey"], mpp=None)
    for level in range(1, levels):
        odd = [(0, 0), *((0, side % 2) for side in pixels.shape[1:])]
        pixels = block_reduce(np.pad(pixels.astype(float), odd, mode="edge"), (1, 2, 2), np.mean)
        pixels = np.floor(pixels + 0.5) if dtype != "float32" else pixels
        found = omezarr.open_level(tmp_path / "a.zarr", level)
        assert found.dtype == dtype
        np.testing.assert_allclose(found[:], pixels, rtol=1e-5)


def test_labels_are_never_mixed(image):
    ids = np.unique(omezarr.open_level(image / "labels/truth", 0)[:])
    for level in range(1, 4):
        found = omezarr.open_level(image / "labels/truth", level)
        assert found.dtype == np.uint32
        assert np.isin(found[:], ids).all()
        assert found.shape == omezarr.open_level(image, level).shape[1:]


@pytest.mark.parametrize("chunks", [(1, 100, 333), (3, 611, 1031), (3, 512, 512)])
def test_dask_and_numpy_inputs_give_the_same_store(tmp_path, chunks, version):
    pixels = draw()
    for name, source in (("numpy", pixels), ("dask", da.from_array(pixels, chunks=chunks))):
        omezarr.write_image(
            tmp_path / f"{name}.zarr", source, channels=["r", "g", "b"], mpp=None, version=version
        )
    for one, other in zip(
        *(omezarr.arrays(tmp_path / f"{name}.zarr") for name in ("numpy", "dask")), strict=True
    ):
        np.testing.assert_array_equal(one[:], other[:])
        assert one.nchunks_initialized == other.nchunks_initialized == one.nchunks


def test_a_lazy_image_is_computed_once(tmp_path):
    calls = []

    def compute(block, block_info=None):
        if block_info:
            calls.append(block_info[0]["chunk-location"])
        return block

    source = da.zeros((1, 700, 900), chunks=(1, 300, 300), dtype=np.uint8).map_blocks(compute, dtype=np.uint8)
    omezarr.write_image(tmp_path / "a.zarr", source, channels=["grey"], mpp=None)
    assert sorted(calls) == sorted(set(calls))
    assert len(calls) == 9


def test_black_chunks_are_written_too(tmp_path, version):
    omezarr.write_image(
        tmp_path / "a.zarr", np.zeros((1, 600, 20), np.uint8), channels=["grey"], mpp=None, version=version
    )
    for array in omezarr.arrays(tmp_path / "a.zarr"):
        assert array.nchunks_initialized == array.nchunks


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 300), (1, 257, 1)])
def test_the_smallest_images(tmp_path, shape, version):
    pixels = draw("uint8", shape)
    levels = omezarr.write_image(
        tmp_path / "a.zarr", pixels, channels=["a"] * shape[0], mpp=1.0, version=version
    )
    assert levels == (1 if max(shape) <= 256 else 2)
    np.testing.assert_array_equal(omezarr.open_level(tmp_path / "a.zarr", 0)[:], pixels)


def test_arrays_are_opened_by_the_path_of_the_metadata(image, version):
    group = zarr.open_group(image, mode="a")
    (image / "0").rename(image / "full")
    facts = omezarr.metadata(image)
    facts["multiscales"][0]["datasets"][0]["path"] = "full"
    group.attrs.update(facts if version == "0.4" else {"ome": facts})
    np.testing.assert_array_equal(omezarr.open_level(image, 0)[:], draw())
    assert len(omezarr.arrays(image)) == 8
    with pytest.raises(IndexError):
        omezarr.open_level(image, 4)


def test_label_images_are_listed_without_unfinished_ones(image):
    omezarr.write_labels(image / "labels/.cells.partial", np.ones((4, 4), np.uint32), mpp=None)
    omezarr.list_labels(image / "labels")
    assert omezarr.metadata(image / "labels")["labels"] == ["truth"]


def test_an_unfinished_store_bears_its_final_name(tmp_path, version):
    omezarr.write_image(
        tmp_path / "S1.zarr.partial", draw(), channels=["r", "g", "b"], mpp=None, version=version
    )
    assert omezarr.metadata(tmp_path / "S1.zarr.partial")["multiscales"][0]["name"] == "S1"
    omezarr.write_labels(
        tmp_path / ".cells.partial", np.ones((4, 4), np.uint32), mpp=None, version=version, name="cells"
    )
    assert omezarr.metadata(tmp_path / ".cells.partial")["multiscales"][0]["name"] == "cells"
