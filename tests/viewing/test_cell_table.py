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
        assert row["cell"] == expected["cell"]
        for name, value in row.items():
            assert value == pytest.approx(float(expected[name]))
    assert read_row(viewed.table, int(table["cell"].max()) + 1) is None


def test_what_is_no_number_is_left_out(tmp_path):
    rows = {"cell": np.uint32([1, 2]), "Area µm": [np.nan, 2.5], "touches": [True, False], "name": ["a", "b"]}
    pd.DataFrame(rows).to_parquet(tmp_path / "t.parquet")
    assert read_row(tmp_path / "t.parquet", 1) == {"cell": 1, "touches": 1}
    assert read_row(tmp_path / "t.parquet", 2) == {"cell": 2, "area_m": 2.5, "touches": 0}


def test_a_table_that_is_cut_off_is_damaged(tmp_path, viewed):
    cut = tmp_path / "cut.parquet"
    cut.write_bytes(viewed.table.read_bytes()[:-100])
    with pytest.raises(DamagedDataError, match=r"cut\.parquet cannot be read"):
        read_row(cut, 1)


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
