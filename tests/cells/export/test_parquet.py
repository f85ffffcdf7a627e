import pandas as pd
import pyarrow.parquet as pq
import pytest

from slideunet.cells.export.parquet import join_tables, table_fingerprint


@pytest.fixture
def parts(tmp_path):
    """Three tables of the same columns, the second without rows."""
    rows = [[1, 2], [], [3]]
    for number, cells in enumerate(rows):
        table = pd.DataFrame({"cell": pd.array(cells, dtype="uint32"), "area": [3.5] * len(cells)})
        table.to_parquet(tmp_path / f"{number}.parquet", index=False)
    return [tmp_path / f"{number}.parquet" for number in range(len(rows))]


def test_rows_and_fingerprint_come_back(parts, tmp_path):
    path = tmp_path / "out" / "S1.parquet"
    join_tables(path, parts, "abc")
    assert table_fingerprint(path) == "abc"
    assert pq.ParquetFile(path).metadata.row_group(0).column(0).compression == "ZSTD"
    found = pd.read_parquet(path)
    assert found["cell"].tolist() == [1, 2, 3]
    assert found["cell"].dtype == "uint32"
    assert [child.name for child in path.parent.iterdir()] == ["S1.parquet"]


def test_one_table_without_rows_keeps_its_columns(parts, tmp_path):
    join_tables(tmp_path / "S1.parquet", parts[1:2], "abc")
    found = pd.read_parquet(tmp_path / "S1.parquet")
    assert (len(found), list(found)) == (0, ["cell", "area"])


def test_a_missing_or_torn_table_has_no_fingerprint(parts, tmp_path):
    path = tmp_path / "S1.parquet"
    assert table_fingerprint(path) is None
    join_tables(path, parts, "abc")
    path.write_bytes(path.read_bytes()[:-7])
    assert table_fingerprint(path) is None
