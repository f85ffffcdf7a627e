import dask.array as da
import numpy as np
import ome_zarr_models.v04.image
import ome_zarr_models.v04.image_label
import ome_zarr_models.v05.image
import ome_zarr_models.v05.image_label
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from making import write_image, write_label_image
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader
from skimage.measure import block_reduce

from slideunet.geometry.blocks import BlockGrid
from slideunet.stores import omezarr

VERSIONS = ["0.4", "0.5"]
SHAPE = (3, 611, 1031)  # Three levels, odd sides, three chunks across.


def draw(dtype="uint16", shape=SHAPE):
    return np.random.default_rng(0).uniform(0, 200, shape).astype(dtype)


@pytest.fixture
def image(tmp_path, version):
    path = tmp_path / "S1.zarr"
    pixels = draw()
    assert write_image(path, pixels, channels=["r", "g", "b"], mpp=0.25, version=version) == 4
    labels = (draw(shape=SHAPE[1:]) // 3).astype(np.uint32)
    write_label_image(path, "truth", labels, mpp=0.25, version=version)
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
    write_image(tmp_path / "a.zarr", draw(), channels=["r", "g", "b"], mpp=None, version=version)
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
    levels = write_image(tmp_path / "a.zarr", pixels, channels=["grey"], mpp=None)
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
        write_image(tmp_path / f"{name}.zarr", source, channels=["r", "g", "b"], mpp=None, version=version)
    for one, other in zip(
        *(omezarr.arrays(tmp_path / f"{name}.zarr").values() for name in ("numpy", "dask")), strict=True
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
    write_image(tmp_path / "a.zarr", source, channels=["grey"], mpp=None)
    assert sorted(calls) == sorted(set(calls))
    assert len(calls) == 9


@pytest.mark.parametrize("height", [600, 4097])
def test_black_chunks_are_written_too(tmp_path, height, version):
    black = np.zeros((1, height, 20), np.uint8)
    write_image(tmp_path / "a.zarr", black, channels=["grey"], mpp=None, version=version)
    for folder, array in omezarr.arrays(tmp_path / "a.zarr").items():
        assert set(omezarr.chunk_files(array)) == files_of(folder)


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 300), (1, 257, 1)])
def test_the_smallest_images(tmp_path, shape, version):
    pixels = draw("uint8", shape)
    levels = write_image(tmp_path / "a.zarr", pixels, channels=["a"] * shape[0], mpp=1.0, version=version)
    assert levels == (1 if max(shape) <= 256 else 2)
    np.testing.assert_array_equal(omezarr.open_level(tmp_path / "a.zarr", 0)[:], pixels)


def test_arrays_are_opened_by_the_path_of_the_metadata(image, version):
    group = zarr.open_group(image, mode="a")
    (image / "0").rename(image / "full")
    facts = omezarr.metadata(image)
    facts["multiscales"][0]["datasets"][0]["path"] = "full"
    group.attrs.update(facts if version == "0.4" else {"ome": facts})
    np.testing.assert_array_equal(omezarr.open_level(image, 0)[:], draw())
    paths = [image / name for name in ("full", "1", "2", "3")]
    paths += [image / "labels/truth" / str(level) for level in range(4)]
    assert list(omezarr.arrays(image)) == paths
    with pytest.raises(IndexError):
        omezarr.open_level(image, 4)


def test_label_images_are_listed_without_unfinished_ones(image):
    omezarr.write_labels(image / "labels/.cells.partial", np.ones((4, 4), np.uint32), mpp=None)
    omezarr.list_labels(image / "labels")
    assert omezarr.metadata(image / "labels")["labels"] == ["truth"]


def test_an_unfinished_store_bears_its_final_name(tmp_path, version):
    write_image(tmp_path / "S1.zarr.partial", draw(), channels=["r", "g", "b"], mpp=None, version=version)
    assert omezarr.metadata(tmp_path / "S1.zarr.partial")["multiscales"][0]["name"] == "S1"
    omezarr.write_labels(
        tmp_path / ".cells.partial", np.ones((4, 4), np.uint32), mpp=None, version=version, name="cells"
    )
    assert omezarr.metadata(tmp_path / ".cells.partial")["multiscales"][0]["name"] == "cells"


# Slides of several blocks


def pyramid_of(pixels, levels):
    """The oracle: the whole array, halved again and again."""
    for _ in range(levels):
        yield pixels
        if pixels.ndim == 2:
            pixels = pixels[::2, ::2]
        else:
            odd = [(0, 0), *((0, side % 2) for side in pixels.shape[1:])]
            wide = np.pad(pixels, odd, mode="edge").astype(np.uint32)
            total = wide[:, ::2, ::2] + wide[:, 1::2, ::2] + wide[:, ::2, 1::2] + wide[:, 1::2, 1::2]
            pixels = ((total + 2) // 4).astype(pixels.dtype)


def files_of(folder):
    """The files of chunks that lie in an array's folder."""
    own = {"zarr.json", ".zarray", ".zattrs"}
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - own


def check_large(path, pixels):
    found = omezarr.arrays(path)
    assert len(found) >= 5
    for (folder, array), expected in zip(found.items(), pyramid_of(pixels, len(found)), strict=True):
        np.testing.assert_array_equal(array[:], expected)
        names = list(omezarr.chunk_files(array))
        assert len(names) == len(set(names))
        assert set(names) == files_of(folder)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(1, 4099, 530), (3, 4100, 4200), (1, 37, 8193)])
def test_a_slide_of_several_blocks_is_what_one_block_would_be(tmp_path, shape, version):
    pixels = np.random.default_rng(1).integers(0, 255, shape).astype(np.uint8)
    path = tmp_path / "S1.zarr"
    channels = ["r", "g", "b"][: shape[0]]
    levels = write_image(path, pixels, channels=channels, mpp=0.25, version=version)
    check_large(path, pixels)
    (image, *_) = Reader(parse_url(path))()
    assert len(image.data) == levels
    np.testing.assert_array_equal(image.data[0].compute(), pixels)
    models = ome_zarr_models.v04 if version == "0.4" else ome_zarr_models.v05
    assert models.image.Image.from_zarr(zarr.open_group(path, mode="r"))
    shards = [array.shards for array in omezarr.open_levels(path)]
    if version == "0.5":  # A task owns whole files: no two ever write one.
        assert [shard and shard[-1] for shard in shards[:4]] == [4096, 2048, 1024, None]
        assert len(files_of(path / "0")) == np.prod([-(-side // 4096) for side in shape[1:]])
    else:
        assert shards == [None] * levels


@pytest.mark.slow
def test_labels_of_several_blocks(tmp_path, version):
    labels = np.random.default_rng(2).integers(0, 2**32, (4101, 4300), dtype=np.uint32)
    omezarr.write_labels(tmp_path / "cells", labels, mpp=0.25, version=version)
    check_large(tmp_path / "cells", labels)


@given(
    st.tuples(st.integers(1, 1300), st.integers(1, 1300)),
    st.sampled_from(["uint8", "uint16"]),
    st.sampled_from(VERSIONS),
    st.randoms(use_true_random=False),
)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_blocks_may_be_written_in_any_order_and_twice(tmp_path, small_blocks, shape, dtype, version, random):
    pixels = np.random.default_rng(sum(shape)).integers(0, 255, (2, *shape)).astype(dtype)
    path = tmp_path / f"{len(list(tmp_path.iterdir()))}.zarr"
    omezarr.create_image(path, pixels.shape, pixels.dtype, channels=["a", "b"], mpp=None, version=version)
    levels = omezarr.open_levels(path, "r+")
    order = list(range(len(BlockGrid(shape))))
    for index in [*random.sample(order, len(order)), random.choice(order)]:
        region = BlockGrid(shape)[index]
        omezarr.write_block(levels, region, pixels[(..., *region)])
    omezarr.finish_levels(path)
    found = omezarr.arrays(path)
    for (folder, array), expected in zip(found.items(), pyramid_of(pixels, len(found)), strict=True):
        np.testing.assert_array_equal(array[:], expected)
        assert set(omezarr.chunk_files(array)) == files_of(folder)


def test_writing_a_block_touches_no_file_of_another(tmp_path, small_blocks, version):
    shape = (1, 1100, 1300)
    path = tmp_path / "a.zarr"
    omezarr.create_image(path, shape, np.dtype("uint8"), channels=["a"], mpp=None, version=version)
    levels, owned = omezarr.open_levels(path, "r+"), {}
    for index, region in enumerate(BlockGrid(shape)):
        before = {file for file in path.rglob("*") if file.is_file()}
        omezarr.write_block(
            levels, region, np.full([1, *(part.stop - part.start for part in region)], 3, "u1")
        )
        owned[index] = {file for file in path.rglob("*") if file.is_file()} - before
        again = {file: file.stat().st_mtime_ns for file in before}
        assert again == {file: file.stat().st_mtime_ns for file in before}
    assert len(owned) == 9
    assert sum(map(len, owned.values())) == len(set().union(*owned.values()))
    for folder, array in list(omezarr.arrays(path).items())[:4]:
        assert {folder / name for name in omezarr.chunk_files(array)} <= set().union(*owned.values())


@pytest.mark.parametrize("first", [0, 1, 4])
def test_labels_as_large_as_a_lower_level_have_its_scale(tmp_path, first, version):
    labels = np.eye(70, dtype=np.uint32)
    omezarr.write_labels(
        tmp_path / "tissue", labels, mpp=0.25, version=version, name="tissue", levels=1, first_level=first
    )
    (multiscales,) = omezarr.metadata(tmp_path / "tissue")["multiscales"]
    (dataset,) = multiscales["datasets"]
    assert dataset["coordinateTransformations"][0]["scale"] == [0.25 * 2**first] * 2
    models = ome_zarr_models.v04 if version == "0.4" else ome_zarr_models.v05
    assert models.image_label.ImageLabel.from_zarr(zarr.open_group(tmp_path / "tissue", mode="r"))
