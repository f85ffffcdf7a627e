import numpy as np
import pytest
from skimage.measure import regionprops

from slideunet.errors import InputError
from slideunet.network.training.diameters import diameters
from slideunet.stores.verified import open_label_store

STATISTICS = {"min": 0, "max": 1, "mean": 0, "std": 1, "low": 0, "median": 0, "high": 1}


def test_they_are_those_of_regionprops(tmp_path, convert_cells, labelled_slide):
    manifests = [convert_cells(tmp_path, f"S{i}", height=90, width=70 + i, seed=i) for i in range(3)]
    truths = [open_label_store(manifest, "truth")[:] for manifest in manifests]
    expected = [cell.equivalent_diameter_area for truth in truths for cell in regionprops(truth.astype(int))]
    found = diameters([labelled_slide(manifest) for manifest in manifests])
    assert [found["p05"], found["median"], found["p95"]] == pytest.approx(
        np.percentile(expected, (5, 50, 95)), abs=0.06
    )


def test_a_side_without_a_cell_is_refused(tmp_path, write_store, labelled_slide):
    empty = np.zeros((20, 30), np.uint32)
    manifest = write_store(
        tmp_path / "none.json", np.zeros((1, 20, 30), np.uint8), labels=empty, statistics=[STATISTICS]
    )
    with pytest.raises(InputError, match=r"no cell on the 1 slides .* none"):
        diameters([labelled_slide(manifest)])
