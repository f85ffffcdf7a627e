import json

import numpy as np
import pandas as pd
import pytest

from slideunet.errors import DamagedDataError
from slideunet.viewing import cell_table
from slideunet.viewing.cell_table import read_row, segment_properties


def test_the_row_of_every_cell_is_read(viewed):
    table = pd.read_parquet(viewed.table)
    for _, expected in table.iterrows():
        row = read_row(viewed.table, int(expected["cell"]))
        assert list(row) == list(table.columns)
        for name, value in row.items():
            assert value == pytest.approx(expected[name]) or (value is None and pd.isna(expected[name]))
    assert read_row(viewed.table, int(table["cell"].max()) + 1) is None


def test_what_is_no_number_is_none(tmp_path):
    rows = {"cell": np.uint32([1, 2]), "Area µm": [np.nan, 2.5], "touches": [True, False], "far": [1, np.inf]}
    pd.DataFrame(rows).to_parquet(tmp_path / "t.parquet")
    assert read_row(tmp_path / "t.parquet", 1) == {"cell": 1, "Area µm": None, "touches": True, "far": 1}
    assert read_row(tmp_path / "t.parquet", 2) == {"cell": 2, "Area µm": 2.5, "touches": False, "far": None}
    inline = segment_properties(tmp_path / "t.parquet")["inline"]
    found = {one["id"]: one["values"] for one in inline["properties"]}
    assert found == {"area_m": [0, 2.5], "touches": [1, 0], "far": [1, 0]}
    assert json.loads(json.dumps(inline, allow_nan=False)) == inline


@pytest.mark.parametrize("read", [segment_properties, lambda table: read_row(table, 1)])
def test_a_table_that_cannot_be_read_is_damaged(tmp_path, viewed, read):
    cut = tmp_path / "cut.parquet"
    cut.write_bytes(viewed.table.read_bytes()[:-100])
    with pytest.raises(DamagedDataError, match=r"cut\.parquet cannot be read"):
        read(cut)
    whole = bytearray(viewed.table.read_bytes())
    whole[4:200] = bytes(196)
    cut.write_bytes(whole)
    with pytest.raises(DamagedDataError, match=r"cut\.parquet cannot be read"):
        read(cut)
    with pytest.raises(DamagedDataError, match="lost"):
        read(tmp_path / "lost.parquet")
    pd.DataFrame({"area": [1.0]}).to_parquet(cut)
    with pytest.raises(DamagedDataError, match=r"cut\.parquet cannot be read"):
        read(cut)


def test_properties_are_the_columns(viewed):
    table = pd.read_parquet(viewed.table)
    inline = segment_properties(viewed.table)["inline"]
    assert inline["ids"] == [str(cell) for cell in table["cell"]]
    found = {one["id"]: one["values"] for one in inline["properties"]}
    assert set(found) == set(table.columns) - {"cell"}
    np.testing.assert_allclose(found["area"], table["area"])
    np.testing.assert_allclose(found["mean_probability"], table["mean_probability"], rtol=1e-6)


def test_large_tables_are_not_read_as_a_whole(viewed, monkeypatch):
    monkeypatch.setattr(cell_table, "MOST_PROPERTIES", 3)
    assert segment_properties(viewed.table) is None
