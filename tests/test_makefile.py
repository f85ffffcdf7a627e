"""What a user names on make's command line reaches the programs as it is, whatever characters it has."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Writes its name and arguments, separated by NUL, as one line.
PROGRAM = """#!/bin/sh
{ printf '%s\\0' "${0##*/}" "$@"; echo; } >> "${0%/*}/calls"
"""
OLD = [option for name in ("", "-view") for option in ("-o", f"envs/requirements{name}.txt")]
HOSTILE = [
    "with  spaces",
    "$HOME $(HOME) ${HOME} $$ $(shell touch made) $@ $",
    "$(unclosed ${too",
    "'single' \"double\" `touch made`",
    "; touch made; # no comment",
    "| & > made < (a) ! \\ \\n",
    "{brace} {{two}} }{",
    "100 % %s %d",
    "~ * ? [a-z]",
    "-n --option=a:b,c",
    "Zellen é 細胞",
]


@pytest.fixture
def make(tmp_path):
    """Run make with programs that only write down their arguments; returns [name, argument, ...] per call."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for mark in (".run", ".view"):
        (programs / mark).touch()
    for name in ("python", "snakemake"):
        (programs / name).write_text(PROGRAM)
        (programs / name).chmod(0o755)

    def run(target, **values):
        given = [f"{name}={value}" for name, value in values.items()]
        command = ["make", "-f", ROOT / "Makefile", *OLD, target, "BIN=bin", *given]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
        calls = (programs / "calls").read_text().splitlines()
        return [call.rstrip("\0").split("\0") for call in calls]

    yield run
    assert not list(tmp_path.rglob("made"))


@pytest.mark.parametrize("name", HOSTILE)
def test_paths_of_a_sheet_are_not_interpreted(make, name):
    [call] = make("sheet", IMAGES=f"/i/{name}", LABELS=f"/l/{name}", OUT=f"/o/{name}")
    assert call[2:] == [f"--images=/i/{name}", f"--labels=/l/{name}", f"--out=/o/{name}"]


@pytest.mark.parametrize("name", HOSTILE)
def test_paths_of_a_prediction_are_not_interpreted(make, name):
    sheet, configuration, run = make("predict", IMAGES=f"/i/{name}", MODEL=name, OUT=f"o/{name}", CORES=2)
    assert sheet[2:] == ["--keep", f"--images=/i/{name}", f"--out=o/{name}/slides.tsv"]
    assert configuration[2:] == [
        f"--model={name}",
        "--channels=",
        "--diameter=",
        f"--out=o/{name}/config.yaml",
    ]
    assert run[1:] == ["--cores", "2", f"--configfile=o/{name}/config.yaml", f"--directory=o/{name}"]


@pytest.mark.parametrize("name", HOSTILE)
def test_paths_of_an_exported_model_are_not_interpreted(make, name):
    [call] = make("share", MODEL=f"/m/{name}", FORMAT="half", OUT=f"/o/{name}")
    assert call[2:] == [f"--model=/m/{name}", "--format=half", f"--out=/o/{name}"]


@pytest.mark.parametrize("name", HOSTILE)
def test_paths_of_a_viewed_run_are_not_interpreted(make, name):
    [call] = make("view", RUN=f"/r/{name}", SLIDE=name, AT="12,34", PORT="8000")
    assert call[2:] == [f"--run=/r/{name}", f"--slide={name}", "--at=12,34", "--port=8000"]


@pytest.mark.parametrize("name", HOSTILE)
def test_paths_of_a_comparison_are_not_interpreted(make, name):
    given = {"A": f"/a/{name}", "B": name, "C": f"c/{name}", "OUT": f"/o/{name}"}
    [call] = make("compare", **given, METRIC="dice", MARGIN="0.01")
    runs = [f"--run={given[letter]}" for letter in "ABC"]
    assert call[1] == "workflow/scripts/compare_runs.py"
    assert call[2:] == [*runs, "--metric=dice", "--margin=0.01", f"--out=/o/{name}"]


def test_a_comparison_has_defaults(make):
    [call] = make("compare", A="a", B="b")
    assert call[2:] == ["--run=a", "--run=b", "--out=comparison"]


@pytest.mark.parametrize("name", HOSTILE)
def test_paths_of_a_calibration_are_not_interpreted(make, name):
    [call] = make("calibrate", MODEL=f"/m/{name}", IMAGES=f"/i/{name}")
    assert call[2:] == [f"--model=/m/{name}", f"--images=/i/{name}"]


@pytest.mark.parametrize("name", HOSTILE)
def test_folder_and_licence_of_a_crate_are_not_interpreted(make, name):
    [call] = make("crate", RUN=f"/r/{name}", LICENSE=name)
    assert call[2:] == [f"--run=/r/{name}", f"--licence={name}"]


def test_values_that_are_left_out_have_defaults(make):
    sheet, configuration, run = make("predict", IMAGES="images")
    assert sheet[2:] == ["--keep", "--images=images", "--out=predicted/slides.tsv"]
    assert configuration[2:4] == ["--model=nuclei-fluorescence", "--channels="]
    assert run[1:] == ["--cores", "all", "--configfile=predicted/config.yaml", "--directory=predicted"]


def test_values_of_a_prediction_come_into_its_configuration(make):
    _, configuration, run = make("predict", IMAGES="images", CHANNELS="grey", DIAMETER="60")
    assert configuration[3:5] == ["--channels=grey", "--diameter=60"]
    assert run[0] == "snakemake"


# A program named as a Python answers like that version, as far as the Makefile asks.
PYTHON = """#!/bin/sh
case "$2" in *ensurepip*) exit {code};; *) mkdir -p "$(dirname "$3")/$3/bin" && touch "$3/bin/python";; esac
"""


def make_environment(folder, works, *given):
    """Run the rule of the environment with interpreters that do (True) or do not (False) work."""
    for name, usable in works.items():
        (folder / name).write_text(PYTHON.format(code=int(not usable)))
        (folder / name).chmod(0o755)
    return subprocess.run(
        ["make", "-f", ROOT / "Makefile", "VENV=env", "env/bin/python", *given],
        cwd=folder, env={"PATH": f"{folder}:/usr/bin:/bin"}, capture_output=True, text=True, check=False,
    )  # fmt: skip


ALL = ("python3.13", "python3.12", "python3.11", "python3")


@pytest.mark.parametrize("newest", range(4))
def test_the_newest_python_that_works_is_taken(tmp_path, newest):
    works = {name: number >= newest for number, name in enumerate(ALL)}
    result = make_environment(tmp_path, works)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split()[0] == f'"{ALL[newest]}"'


def test_another_python_can_be_named(tmp_path):
    result = make_environment(tmp_path, dict.fromkeys([*ALL, "mine"], True), "PYTHON=mine")
    assert result.stdout.split()[0] == '"mine"'


@pytest.mark.parametrize("given", [[], ["PYTHON=python3.12"]])
def test_without_an_accepted_python_make_says_so(tmp_path, given):
    result = make_environment(tmp_path, dict.fromkeys(ALL, False), *given)
    assert "No Python 3.11, 3.12 or 3.13 with venv" in result.stderr
    assert result.returncode != 0
    assert not (tmp_path / "env").exists()
