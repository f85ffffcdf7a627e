"""The parts of the cross-validation on BBBC038v1."""

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

PATH = Path(__file__).parents[1] / "resources/benchmarks/dsb2018/make_sheet.py"


@pytest.fixture
def with_fold():
    spec = importlib.util.spec_from_file_location("make_sheet_dsb2018", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.with_fold


@pytest.mark.parametrize("folds", [2, 4, 7])
def test_every_image_is_tested_once_with_all_of_its_group(with_fold, folds):
    rng = np.random.default_rng(folds)
    group = rng.integers(0, 30, 200)
    sheet = pd.DataFrame({"group": group.astype(str), "stratum": np.where(group % 3, "many", "few")})
    parts = np.array([with_fold(sheet, fold, folds)["split"] == "test" for fold in range(1, folds + 1)])
    assert (parts.sum(axis=0) == 1).all()
    for _, rows in sheet.groupby("group"):
        assert parts[:, rows.index].any(axis=1).sum() == 1
    assert parts.sum(axis=1).max() <= 2 * parts.sum(axis=1).min()
