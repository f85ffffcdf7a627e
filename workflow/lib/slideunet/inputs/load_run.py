"""The start of a run: configuration, sheet and batches, all checked before Snakemake plans a job."""

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import pandas as pd

from slideunet.errors import InputError, SlideunetError, collected
from slideunet.inputs.batches import assign_batches, image_sizes, large_batches
from slideunet.inputs.configuration.schema import check_configuration
from slideunet.inputs.configuration.strict_yaml import duplicate_keys, read_yaml_strictly
from slideunet.inputs.configuration.unchecked import text_at, value_at
from slideunet.inputs.configuration.wording import did_you_mean
from slideunet.inputs.sheet import read_sheet
from slideunet.inputs.sheet_problems import sheet_problems
from slideunet.model_json import ENCODER_SOURCES, best_diameters, read_model_facts
from slideunet.stores.fingerprint import file_times, fingerprint

SUMMARY = "results/report/summary.json"
_MaybePath = TypeVar("_MaybePath", Path, Path | None)


@dataclass(frozen=True)
class Run:
    """The checked configuration, sheet and batches of a run.

    Attributes
    ----------
    config : dict
        Every key of the schema.
    sheet_path : Path
    sheet : pandas.DataFrame
        See `sheet.Sheet.slides`.
    batches : dict
        Batch to slide ids.
    large : frozenset of str
        The batches of one large slide, which may use all cores.
    weights : Path or None
        Folder of the model to use instead of training one.
    initial : Path or None
        Folder of the model to fine-tune.
    earlier : tuple of Path
        The summaries of the runs that this one is compared with.
    """

    config: dict[str, Any]
    sheet_path: Path
    sheet: pd.DataFrame
    batches: dict[str, tuple[str, ...]]
    large: frozenset[str]
    weights: Path | None
    initial: Path | None
    earlier: tuple[Path, ...]

    @property
    def diameter(self) -> float | Literal["auto"] | None:
        """`cells.diameter`, or None where it does not apply.

        A model of this run has learned from images of the same scale, and `data.mpp` sets the scale itself.
        """
        asked = self.config["cells"]["diameter"]
        scaled = self.weights is not None and self.config["data"]["mpp"] is None
        return asked if scaled else None

    def files(self, batch: str | None = None) -> list[str]:
        """Return the image and label files of a batch, or of the whole sheet, for `version`."""
        rows = self.sheet if batch is None else self.sheet[self.sheet["slide"].isin(self.batches[batch])]
        return [path for path in [*rows["image"], *rows["labels"]] if path]

    def inputs(self, batch: str | None = None) -> list[str]:
        """Return those of the files that can be inputs of rules: Snakemake takes braces for wildcards.

        The others are in `version`, like all.
        """
        return [path for path in self.files(batch) if "{" not in path]

    def version(self, batch: str | None = None) -> str:
        """Return a digest of names, sizes and times of these files.

        Snakemake looks for inputs newer than outputs only, and not into folders.
        """
        return fingerprint(files=[file_times(Path(path)) for path in self.files(batch)])


def load_run(config: Mapping[str, Any], *, config_files: Sequence[Path], schemas: Path, root: Path) -> Run:
    """Check configuration and sheet.

    Parameters
    ----------
    config : mapping
        As merged by Snakemake.
    config_files : sequence of Path
        Checked for duplicate keys, which YAML silently accepts.
    schemas : Path
        Folder of the JSON schemas.
    root : Path
        Folder of the workflow; its demo sheets are found from any working directory.

    Raises
    ------
    InputError
        With all problems of the configuration, the sheet and, if there are any, the images.
    """
    schema = read_yaml_strictly(schemas / "config.schema.yaml")
    problems = [problem for path in config_files for problem in duplicate_keys(path)]
    with collected(problems):
        checked = check_configuration(config, schema)
    weights = None
    with collected(problems):
        weights = _plain("model.weights", _find_model(("model", "weights"), config, config_files, root))
        _check_diameter(config, weights)
    with collected(problems):
        initial = _plain(
            "training.init_from", _find_model(("training", "init_from"), config, config_files, root)
        )
    with collected(problems):
        encoder_weights = _find_encoder_weights(config, config_files)
    with collected(problems):
        earlier = _find_earlier(config, config_files)
    # The sheet is checked even when the configuration has errors, so that all are reported together.
    if (name := text_at(config, "slides")) is not None:
        with collected(problems):
            path = _find_sheet(name, config_files, root)
            sheet_path = _plain("slides", path)
            sheet = read_sheet(path, read_yaml_strictly(schemas / "slides.schema.yaml"))
            problems += sheet_problems(sheet, config, schema, weights, stopping=bool(problems))
    if problems:
        raise InputError(problems)
    checked["model"]["encoder_weights"] = encoder_weights
    sizes = image_sizes(sheet.slides)
    return Run(
        config=checked,
        sheet_path=sheet_path,
        sheet=sheet.slides,
        batches=assign_batches(sizes),
        large=frozenset(large_batches(sizes)),
        weights=weights,
        initial=None if weights else initial,
        earlier=earlier,
    )


@contextlib.contextmanager
def stop_on_input_errors() -> Iterator[None]:
    """Print all messages of an input error, nothing else, and exit with its code."""
    try:
        yield
    except SlideunetError as error:
        sys.stdout.flush()
        n = len(error.problems)
        heading = f"slideunet: {n} problem{'s' if n > 1 else ''} found before the start"
        print(
            heading, *(f"  - {problem}" for problem in error.problems), sep="\n", file=sys.stderr, flush=True
        )
        # Snakemake would turn any exception into exit code 1.
        os._exit(error.exit_code)


def account_of_failures(logs: Path, since: float) -> tuple[int, str]:
    """Return the exit code and the messages of a failed run.

    Parameters
    ----------
    logs : Path
        Folder of the log files; a failed job left its exit code beside its log.
    since : float
        Start of the run, as seconds since the epoch.

    Returns
    -------
    int
        The highest exit code, or 1 when no job left one.
    str
        The messages of every failed job, under the name of its log.
    """
    codes = {
        path: int(path.read_text()) for path in sorted(logs.rglob("*.exit")) if path.stat().st_mtime >= since
    }
    messages = [
        f"\nWhat went wrong ({path.with_suffix('')}):\n" + _errors(path.with_suffix("")) for path in codes
    ]
    return max(codes.values(), default=1), "\n".join(messages)


def _errors(log: Path) -> str:
    """Return the error messages of a log file, without date and level."""
    lines = log.read_text(encoding="utf-8").splitlines()
    return "\n".join("  - " + line.split(" ERROR ", 1)[1] for line in lines if " ERROR " in line)


def _find_sheet(name: str, config_files: Sequence[Path], root: Path) -> Path:
    folders = [Path(), *_folders(config_files), root]
    return _find(name, "", folders, "slides: there is no sample sheet")


def _find_model(
    key: tuple[str, str], config: Mapping[str, Any], config_files: Sequence[Path], root: Path
) -> Path | None:
    if (name := text_at(config, *key)) is None:
        return None
    shipped = root / "resources" / "models"
    names = sorted(path.parent.name for path in shipped.glob("*/model.json"))
    hint = did_you_mean(name, names) or f" Bundled models: {', '.join(names)}."
    folders = [Path(), *_folders(config_files), shipped]
    model = _find(name, "model.json", folders, f"{'.'.join(key)}: there is no model.json in", hint)
    if not (model / "model.safetensors").is_file():
        raise InputError(
            f"{'.'.join(key)}: {model} has a model.json but no model.safetensors, so its weights are "
            "missing. Copy the whole folder of the model."
        )
    return model


def _find_encoder_weights(config: Mapping[str, Any], config_files: Sequence[Path]) -> str:
    """Return the source of the encoder weights, a file as an absolute path."""
    name = text_at(config, "model", "encoder_weights") or ENCODER_SOURCES[0]
    if name in ENCODER_SOURCES:
        return name
    return str(_find(name, "", [Path(), *_folders(config_files)], "model.encoder_weights: there is no file"))


def _find_earlier(config: Mapping[str, Any], config_files: Sequence[Path]) -> tuple[Path, ...]:
    """Return the summaries of the runs to compare with: the last file that a run writes of its results."""
    names, found, problems = value_at(config, "report", "compare_with"), list[Path](), list[str]()
    for name in names if isinstance(names, list) else []:
        with collected(problems):
            found.append(_find_summary(str(name), config_files))
    if problems:
        raise InputError(problems)
    return tuple(found)


def _find_summary(name: str, config_files: Sequence[Path]) -> Path:
    key = "report.compare_with"
    problem = f"{key}: there is no finished run, with {SUMMARY}, in"
    folder = _find(name, SUMMARY, [Path(), *_folders(config_files)], problem)
    if folder.samefile(Path()):
        raise InputError(f"{key}: {name} is the folder of this run itself. Name the folder of another run.")
    return _plain(key, Path(os.path.normpath(folder / SUMMARY)))


def _plain(key: str, path: _MaybePath) -> _MaybePath:
    """Return a path without braces, which Snakemake takes for wildcards; relative if only that has none."""
    if path is None or "{" not in str(path):
        return path
    near = Path(os.path.relpath(path))
    if "{" in str(near):
        raise InputError(
            f"{key}: {path} has a brace in its name, which Snakemake takes for a wildcard. Rename it, or "
            "give the folder with the brace as working directory (--directory)."
        )
    return near


def _check_diameter(config: Mapping[str, Any], weights: Path | None) -> None:
    """Raise InputError when a diameter is given in `cells.diameter` that nothing can be scaled by."""
    diameter = value_at(config, "cells", "diameter")
    if not isinstance(diameter, int | float) or isinstance(diameter, bool) or diameter <= 0:
        return
    if weights is None:
        raise InputError(
            "cells.diameter: scales images to the cell size of a trained model, but this run trains its own "
            "model on these images. Remove it, or name a model in model.weights."
        )
    if value_at(config, "data", "mpp") is not None:
        raise InputError("cells.diameter and data.mpp: both set the scale of the images. Remove one.")
    if best_diameters(read_model_facts(weights)) is None:
        raise InputError(
            f"cells.diameter: {weights / 'model.json'} does not have the cell diameters of its training. "
            "Set data.mpp instead, to the micrometres per pixel of its training images."
        )


def _folders(config_files: Sequence[Path]) -> list[Path]:
    """The folders of the configuration files, the last one first."""
    return [path.parent for path in reversed(config_files)]


def _find(name: str, file: str, folders: Sequence[Path], problem: str, hint: str = "") -> Path:
    """Find a path of the configuration in several folders, the working directory first."""
    for folder in folders:
        if (folder / name / file).is_file():
            return (folder / name).absolute()
    searched = ", ".join(dict.fromkeys(str(folder.absolute()) for folder in folders))
    raise InputError(f"{problem} {name}.{hint} Searched in {searched}. Correct the path.")
