import pandas as pd
import pyarrow.parquet as pq

from slideunet.cells.tables import table_fingerprint, write_table


def test_table_and_fingerprint_come_back(tmp_path):
    path = tmp_path / "S1.parquet"
    table = pd.DataFrame({"cell": pd.array([1, 2], dtype="uint32"), "area": [3.5, float("nan")]})
    write_table(path, table, "abc")
    assert table_fingerprint(path) == "abc"
    assert pq.ParquetFile(path).metadata.row_group(0).column(0).compression == "ZSTD"
    assert pd.read_parquet(path)["area"].tolist()[0] == 3.5


def test_a_missing_or_torn_table_has_no_fingerprint(tmp_path):
    path = tmp_path / "S1.parquet"
    assert table_fingerprint(path) is None
    write_table(path, pd.DataFrame({"cell": [1]}), "abc")
    path.write_bytes(path.read_bytes()[:-7])
    assert table_fingerprint(path) is None
