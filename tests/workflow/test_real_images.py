"""A smoke test on real images, where a copy of BBBC038 lies beside the repository."""

from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]
METADATA = ROOT.parent / "shared/data/dsb2018/metadata.csv"


@pytest.mark.skipif(not METADATA.is_file(), reason=f"no copy of BBBC038 at {METADATA}")
def test_a_dozen_real_images_go_through(tmp_path, snakemake, tiny, load_script):
    sheet = load_script("resources/benchmarks/dsb2018/make_sheet.py").make_sheet(METADATA, None)
    assert len(sheet) == 621
    few = sheet[sheet["modality"].isin(["fluorescence", "H&E"])].groupby("modality").head(6)
    few.assign(group=few["slide"]).to_csv(tmp_path / "slides.tsv", sep="\t", index=False)
    config = tiny | {"slides": "slides.tsv", "data": {"channels": "grey", "background": "auto"}}
    result = snakemake(tmp_path, config=config | {"report": {"by": ["modality"]}})
    assert result.returncode == 0, result.stdout + result.stderr
    metrics = pd.read_csv(tmp_path / "results/report/metrics.csv")
    assert len(metrics) == 12
    assert (
        metrics["n_true"].tolist()
        == metrics["slide"].map(dict(zip(few["slide"], few["n_nuclei"].astype(int), strict=True))).tolist()
    )
