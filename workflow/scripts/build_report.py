"""Build the report: an HTML page, a table with a row per scored slide, and a machine-readable summary."""

import contextlib
import datetime
import hashlib
import json
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd

import slideunet
from slideunet import __version__, quarantine
from slideunet.logs import log_to
from slideunet.provenance.run_provenance import RunProvenance, gather_provenance
from slideunet.report.page import RunRecord, render_page, summary_of
from slideunet.report.results import load_results
from slideunet.report.tables import metrics_table
from slideunet.stores.files import replacing_folder, write_atomically
from slideunet.stores.manifests import read_manifest

REPORTED = ("torch", "openvino", "numpy", "scipy", "scikit-image", "zarr", "pandas")


def main(
    *,
    split_table: Path,
    sheet: Path | None,
    slides_folder: Path,
    predictions_folder: Path,
    metrics_folder: Path,
    model: Path,
    history: Path | None,
    config: dict[str, Any],
    title: str | None,
    by: list[str],
    page: Path,
    table: Path,
    summary: Path,
    files: Path,
    quarantine_folder: Path,
    seed_scores: Path | None = None,
    command: str = "snakemake --cores all",
    date: str | None = None,
    provenance: RunProvenance | None = None,
    threads: int = 1,
) -> None:
    """Write report.html with the files beside it, metrics.csv and summary.json.

    Parameters
    ----------
    split_table : Path
        The slides of the report, in its order.
    sheet : Path or None
        The sample sheet, for the columns in `by`.
    slides_folder, predictions_folder, metrics_folder : Path
        Folders with `{slide}.json` of each stage; the report warns about missing files.
    model : Path
        model.json.
    history : Path or None
        history.csv; None for a model that was not trained here.
    config : dict
        Configuration with all defaults.
    title : str or None
        None is a default title.
    by : list of str
        Columns by which the test results are broken down.
    page, table, summary : Path
        Outputs.
    files : Path
        Folder beside the page: the numbers of its figures, and the pictures of many slides.
    quarantine_folder : Path
        Folder with the skipped slides.
    seed_scores : Path or None
        scores.csv of several seeds.
    command : str
        Command that repeats the run.
    date : str or None
        None is today.
    provenance : RunProvenance or None
        Workflow, machine and costs of the run.
    threads : int
        That draw slides.
    """
    results = load_results(
        split_table=split_table,
        sheet=sheet,
        slides_folder=slides_folder,
        predictions_folder=predictions_folder,
        metrics_folder=metrics_folder,
    )
    run = RunRecord(
        title=title or "Cell segmentation report",
        date=date or datetime.date.today().isoformat(),
        command=command,
        config=config,
        model=read_manifest(model),
        history=pd.read_csv(history) if history is not None else None,
        seeds=pd.read_csv(seed_scores) if seed_scores is not None else None,
        by=by,
        sheet_sha256=hashlib.sha256(sheet.read_bytes()).hexdigest() if sheet else None,
        versions=versions(),
        quarantined={slide: entry.problems for slide, entry in quarantine.read(quarantine_folder).items()},
        provenance=provenance,
    )
    write_atomically(table, metrics_table(results, by).to_csv(index=False, lineterminator="\n"))
    write_atomically(summary, json.dumps(summary_of(run, results), indent=1, allow_nan=False) + "\n")
    with replacing_folder(files) as folder:
        text = render_page(run, results, folder, link=files.name, threads=threads)
    write_atomically(page, text)


def names_of_jobs(manifests: Iterable[str], model: dict[str, Any]) -> set[str]:
    """Return the batches of these manifests, and the seeds of the model's training."""
    training = model.get("training", {})
    seeds = [member["seed"] for member in [training, *training.get("members", [])] if "seed" in member]
    return {Path(manifest).parent.name for manifest in manifests} | {str(seed) for seed in seeds}


def versions() -> dict[str, str]:
    """Return the versions of slideunet and of the installed libraries behind its numbers."""
    installed = {"slideunet": __version__}
    for name in REPORTED:
        with contextlib.suppress(PackageNotFoundError):
            installed[name] = version(name)
    return installed


if __name__ == "__main__":
    with log_to(snakemake.log[0]):
        main(
            split_table=Path(snakemake.input.split),
            sheet=Path(snakemake.input.sheet),
            slides_folder=Path(snakemake.params.slides_folder),
            predictions_folder=Path(snakemake.params.predictions_folder),
            metrics_folder=Path(snakemake.params.metrics_folder),
            model=Path(snakemake.input.model),
            history=Path(snakemake.input.history) if snakemake.input.history else None,
            seed_scores=Path(snakemake.input.seeds) if snakemake.input.seeds else None,
            config=dict(snakemake.params.config),
            quarantine_folder=Path(snakemake.params.quarantine_folder),
            command=snakemake.params.command,
            provenance=gather_provenance(
                root=Path(slideunet.__file__).parents[3],
                benchmarks=Path("benchmarks"),
                names=names_of_jobs(snakemake.input.scores, read_manifest(Path(snakemake.input.model))),
                trained=bool(snakemake.input.history),
            ),
            title=snakemake.params.title,
            by=list(snakemake.params.by),
            page=Path(snakemake.output.page),
            table=Path(snakemake.output.table),
            summary=Path(snakemake.output.summary),
            files=Path(snakemake.output.files),
            threads=snakemake.threads,
        )
