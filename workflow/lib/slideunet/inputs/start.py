"""The start of a run: configuration, sheet and batches, all checked before Snakemake plans a job."""

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from slideunet.errors import InputError, SlideunetError
from slideunet.inputs.batches import assign_batches, image_sizes
from slideunet.inputs.schema import check_configuration
from slideunet.inputs.sheet import check_purpose, missing_files, read_sheet
from slideunet.inputs.strict_yaml import duplicate_keys


@dataclass(frozen=True)
class Run:
    """What a run is about.

    Attributes
    ----------
    config : dict
        Complete: every key of the schema.
    sheet_path : Path
    sheet : pandas.DataFrame
        See `sheet.read_sheet`.
    batches : dict
        Batch to slide ids.
    made : list of Path
        Images and labels that the workflow draws itself (the demo's).
    weights : Path or None
        Folder of the model to use instead of training one.
    """

    config: dict[str, Any]
    sheet_path: Path
    sheet: pd.DataFrame
    batches: dict[str, tuple[str, ...]]
    made: list[Path]
    weights: Path | None

    def rows(self, batch: str, columns: Sequence[str]) -> list[dict[str, str]]:
        """Return some columns of the rows of a batch."""
        own = self.sheet[self.sheet["slide"].isin(self.batches[batch])]
        return own[list(columns)].to_dict("records")

    def files(self, batch: str | None = None) -> list[str]:
        """Return the image and label files of a batch, or of the whole sheet."""
        own = self.sheet if batch is None else self.sheet[self.sheet["slide"].isin(self.batches[batch])]
        return [path for path in [*own["image"], *own["labels"]] if path]


def load_run(config: Mapping[str, Any], *, config_files: Sequence[Path], schemas: Path, root: Path) -> Run:
    """Check configuration and sheet.

    Parameters
    ----------
    config : mapping
        As Snakemake merged it.
    config_files : sequence of Path
        Looked through for keys that are there twice, which YAML silently accepts.
    schemas : Path
        Folder of the JSON schemas.
    root : Path
        The workflow's folder; its own demo sheets are found from any working directory.

    Raises
    ------
    InputError
        With all problems of the configuration, or else all of the sheet.
    """
    problems = [problem for path in config_files for problem in duplicate_keys(path)]
    try:
        checked = check_configuration(config, _read(schemas / "config.schema.yaml"))
    except InputError as error:
        raise InputError([*problems, *error.problems]) from error
    if problems:
        raise InputError(problems)
    path = _find_sheet(checked["slides"], config_files, root)
    sheet = read_sheet(path, _read(schemas / "slides.schema.yaml"))
    is_demo = path.resolve().is_relative_to((root / "resources" / "demo").resolve())
    made = [Path(file) for file in [*sheet["image"], *sheet["labels"]] if file] if is_demo else []
    missing = missing_files(sheet, made)
    if missing:
        raise InputError(missing)
    check_purpose(sheet, checked["model"]["weights"])
    weights = _find_model(checked["model"]["weights"], config_files, root)
    return Run(checked, path, sheet, assign_batches(image_sizes(sheet, made)), made, weights)


@contextlib.contextmanager
def stop_on_input_errors() -> Iterator[None]:
    """Print the messages of a failure, all of them and nothing else, and leave with its exit code."""
    try:
        yield
    except SlideunetError as error:
        sys.stdout.flush()
        heading = f"slideunet: {len(error.problems)} problem{'s' if len(error.problems) > 1 else ''} found before the start"
        print(
            heading, *(f"  - {problem}" for problem in error.problems), sep="\n", file=sys.stderr, flush=True
        )
        # Snakemake would turn any exception into exit code 1.
        os._exit(error.exit_code)


def failed_exit_code(logs: Path, since: float) -> int:
    """Return the gravest exit code that a job of this run left beside its log, or 1 when none did.

    Parameters
    ----------
    logs : Path
        Folder of the log files.
    since : float
        Start of the run, as seconds since the epoch.
    """
    codes = [int(path.read_text()) for path in logs.rglob("*.exit") if path.stat().st_mtime >= since]
    return max(codes, default=1)


def _find_sheet(name: str, config_files: Sequence[Path], root: Path) -> Path:
    return _find(name, "", [Path(), *_folders(config_files), root], "slides: there is no sample sheet")


def _find_model(name: str | None, config_files: Sequence[Path], root: Path) -> Path | None:
    if name is None:
        return None
    folders = [Path(), *_folders(config_files), root / "resources" / "models"]
    return _find(name, "model.json", folders, "model.weights: there is no model.json in")


def _folders(config_files: Sequence[Path]) -> list[Path]:
    """The folders of the configuration files, the one that was named last first."""
    return [path.parent for path in reversed(config_files)]


def _find(name: str, file: str, folders: Sequence[Path], problem: str) -> Path:
    """Look for a path that the configuration names in several folders, the working directory first."""
    for folder in folders:
        if (folder / name / file).is_file():
            return (folder / name).absolute()
    looked = ", ".join(str(folder.absolute()) for folder in dict.fromkeys(folders))
    raise InputError(f"{problem} {name}. It was looked for in {looked}. Correct the path.")


def _read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))
