import pandas as pd
import pytest


@pytest.fixture
def write_sheet(tmp_path):
    """Write rows as a sample sheet and return its path."""

    def write(rows):
        path = tmp_path / "sheet.tsv"
        pd.DataFrame(rows).to_csv(path, sep="\t", index=False)
        return path

    return write
