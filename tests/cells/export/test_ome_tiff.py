import numpy as np
import pytest
import tifffile

from slideunet.cells.export.ome_tiff import image_fingerprint, write_ome_tiff
from slideunet.errors import DamagedDataError
from slideunet.readers.open_source import open_image
from slideunet.stores import manifests, omezarr


@pytest.fixture
def predicted(tmp_path, write_store):
    """Write a prediction with drawn cells of large ids."""

    def write(shape, mpp=0.25):
        cells = np.zeros(shape, np.uint32)
        cells[: shape[0] // 2, : shape[1] // 3] = 70_000
        cells[shape[0] // 2 :, shape[1] // 2 :] = 2**32 - 1
        facts = {"fingerprint": "f" * 64, "n_cells": 2, "first_ids": [1], "reach": 0}
        probability = np.zeros((1, *shape), np.uint8)
        return write_store(
            tmp_path / "S1.json", probability, labels=cells, name="cells", cells=facts, mpp=mpp, slide="S1"
        )

    return write


@pytest.mark.parametrize("shape", [(1, 1), (512, 513), (700, 1301), (1600, 40)])
def test_every_level_is_that_of_the_store(predicted, tmp_path, shape):
    prediction = predicted(shape)
    write_ome_tiff(prediction, tmp_path / "out/S1.ome.tif")
    levels = omezarr.open_levels(manifests.store_path(prediction) / "labels" / "cells")
    with tifffile.TiffFile(tmp_path / "out/S1.ome.tif") as file:
        series = file.series[0]
        assert file.is_ome
        assert series.axes == "YX"
        assert len(series.levels) == len(levels)
        for level, expected in zip(series.levels, levels, strict=True):
            assert level.dtype == np.uint32
            np.testing.assert_array_equal(level.asarray(), expected[:])
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["S1.ome.tif"]


def test_a_reader_finds_the_pixel_size(predicted, tmp_path):
    path = tmp_path / "S1.ome.tif"
    write_ome_tiff(predicted((90, 70)), path)
    assert open_image(path).mpp == pytest.approx(0.25)
    write_ome_tiff(predicted((90, 70), mpp=None), path)
    assert open_image(path).mpp is None


def test_it_says_what_it_was_made_from(predicted, tmp_path):
    path = tmp_path / "S1.ome.tif"
    assert image_fingerprint(path) is None
    write_ome_tiff(predicted((90, 70)), path)
    assert image_fingerprint(path) == "f" * 64
    tifffile.imwrite(path, np.zeros((3, 3), np.uint8), software="another")
    assert image_fingerprint(path) is None
    path.write_bytes(b"no TIFF")
    assert image_fingerprint(path) is None


def test_a_damaged_store_leaves_no_file(predicted, tmp_path):
    prediction = predicted((700, 1301))
    level = omezarr.level_paths(manifests.store_path(prediction) / "labels" / "cells")[0]
    chunk = max((file for file in level.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)
    chunk.write_bytes(chunk.read_bytes()[:40])
    with pytest.raises(DamagedDataError):
        write_ome_tiff(prediction, tmp_path / "out/S1.ome.tif")
    assert list((tmp_path / "out").iterdir()) == []
