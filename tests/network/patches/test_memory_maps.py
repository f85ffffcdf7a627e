import numpy as np
import pytest

from slideunet.network.patches import memory_maps
from slideunet.stores.verified import open_image_store, open_label_store


@pytest.fixture
def manifest(tmp_path, convert_cells):
    return convert_cells(tmp_path, "S", height=70, width=61)


def test_packed_pixels_are_those_of_the_stores(manifest, tmp_path):
    for _ in range(2):
        image, truth = memory_maps.open_slide(manifest, tmp_path / "packed")
        np.testing.assert_array_equal(image, open_image_store(manifest)[:])
        np.testing.assert_array_equal(truth, open_label_store(manifest, "truth")[:])
        assert (image.dtype, truth.dtype) == (open_image_store(manifest).dtype, np.uint32)
    assert sorted(path.name for path in (tmp_path / "packed").iterdir()) == ["S.image.npy", "S.truth.npy"]


def test_a_slide_is_packed_once(manifest, tmp_path, monkeypatch):
    first = memory_maps.open_slide(manifest, tmp_path / "packed")
    read = []
    monkeypatch.setattr(memory_maps, "_stores", read.append)
    again = memory_maps.open_slide(manifest, tmp_path / "packed")
    assert not read
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))


def test_a_write_that_fails_leaves_nothing(manifest, tmp_path, monkeypatch):
    def fail(shape):
        raise OSError("no space left")

    monkeypatch.setattr(memory_maps, "BlockGrid", fail)
    with pytest.raises(OSError, match="no space left"):
        memory_maps.open_slide(manifest, tmp_path / "packed")
    assert not list((tmp_path / "packed").iterdir())


def test_without_a_folder_the_stores_are_read(manifest):
    image, truth = memory_maps.open_slide(manifest, None)
    assert image.shape == (1, 70, 61)
    assert truth.shape == (70, 61)


def test_only_so_many_pixels_are_packed():
    assert memory_maps.fits([(2**15, 2**15)])
    assert not memory_maps.fits([(2**15, 2**15), (1, 1)])
