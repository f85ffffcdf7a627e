import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import configure_prediction
from slideunet.errors import InputError
from slideunet.inputs.configuration.schema import check_configuration
from slideunet.inputs.configuration.strict_yaml import read_yaml_strictly

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = ROOT / "workflow/schemas/config.schema.yaml"
HOSTILE = [
    "a b",
    "$HOME",
    'it\'s "q"',
    "# x: y",
    "; [a, b]",
    "100%",
    "*&!",
    "null",
    "1e3",
    "-",
    "é細",
    "a\\n",
]


def write(folder, model="nuclei-fluorescence", channels="", diameter=""):
    out = folder / "config.yaml"
    configure_prediction.main(model=model, channels=channels, diameter=diameter, out=out)
    return read_yaml_strictly(out)


def new_model(folder):
    folder.mkdir(parents=True)
    (folder / "model.json").write_text("{}")
    return folder


@pytest.mark.parametrize("name", HOSTILE)
def test_a_folder_of_any_name_is_read_back_as_it_is(tmp_path, name):
    model = new_model(tmp_path / name)
    config = write(tmp_path, str(model))
    assert config["model"]["weights"] == str(model)
    assert check_configuration(config, read_yaml_strictly(SCHEMA))["slides"] == "slides.tsv"


def test_a_relative_folder_is_found_from_the_working_directory_of_the_run(tmp_path, monkeypatch):
    new_model(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    assert write(tmp_path / "out", "mine")["model"]["weights"] == str(tmp_path / "mine")


@pytest.mark.parametrize("name", ["nuclei-brightfield", "nowhere/at $all"])
def test_another_name_stays(tmp_path, name):
    assert write(tmp_path, name)["model"]["weights"] == name


def test_a_model_with_braces_is_reached_by_a_link(tmp_path):
    for name in ("{a}", "b{{"):
        model = new_model(tmp_path / name)
        assert write(tmp_path / "out", str(model))["model"]["weights"] == "model"
        assert (tmp_path / "out/model").resolve() == model


def test_a_folder_in_the_place_of_the_link_is_kept(tmp_path):
    (tmp_path / "model").mkdir()
    with pytest.raises(InputError, match="exists, where the link"):
        write(tmp_path, str(new_model(tmp_path / "{a}")))


def test_without_values_channels_and_size_are_found(tmp_path):
    config = write(tmp_path)
    assert (config["data"], config["cells"]) == ({"channels": None}, {"diameter": "auto"})


@pytest.mark.parametrize(
    ("text", "value"), [("grey", "grey"), ("[DAPI, 2]", ["DAPI", 2]), ("60", 60), ("7.5", 7.5)]
)
def test_values_are_those_of_a_configuration(tmp_path, text, value):
    config = write(tmp_path, channels=text, diameter=text)
    assert config["data"] == {"channels": value}
    assert config["cells"] == {"diameter": value}


def test_a_value_that_is_no_yaml_is_named(tmp_path):
    with pytest.raises(InputError, match=r"CHANNELS=\[a"):
        write(tmp_path, channels="[a")


@pytest.mark.slow
def test_as_a_command(tmp_path):
    script = ROOT / "workflow/scripts/configure_prediction.py"

    def run(*arguments):
        command = [sys.executable, script, "--model=-x", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert run("--out=c.yaml").returncode == 0
    assert yaml.safe_load((tmp_path / "c.yaml").read_text())["model"] == {"weights": "-x"}
    assert run("--out=c.yaml", "--diameter={").returncode == 2
