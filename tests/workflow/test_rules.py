"""The rules as Snakemake reads them: what they declare, and the commands that only look at the plan."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / "workflow"
N_SLIDES = 300


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A sheet of many labelled slides; nothing opens their files before a job runs."""
    folder = tmp_path_factory.mktemp("run")
    names = [f"slide{i:05}" for i in range(N_SLIDES)]
    for name in names:
        (folder / f"{name}.tif").touch()
    (folder / "slides.csv").write_text(
        "slide,image,labels\n" + "".join(f"{name},{name}.tif,{name}.tif\n" for name in names)
    )
    return folder


@pytest.fixture(scope="module")
def list_rules(folder):
    def rules(config):
        # Where the demo's configuration is meant, no file is named.
        files = [] if config is None else [folder / "my.yaml"]
        for file in files:
            file.write_text(yaml.safe_dump({"slides": "slides.csv"} | config))
        script = Path(__file__).with_name("list_rules.py")
        command = [sys.executable, script, ROOT / "Snakefile", folder, *files]
        listed = subprocess.run(command, capture_output=True, text=True, check=False)
        assert listed.returncode == 0, listed.stdout + listed.stderr
        return json.loads(listed.stdout)

    return rules


CONFIGS = {
    "demo": None,
    "own": {},
    "seeds": {"training": {"seeds": [0, 3], "init_from": "nuclei-fluorescence"}},
    "model": {"model": {"weights": "nuclei-fluorescence"}},
}


@pytest.fixture(scope="module", params=CONFIGS, ids=str)
def rules(request, list_rules):
    return request.param, list_rules(CONFIGS[request.param])


def values(parameter):
    if isinstance(parameter, dict | list):
        nested = parameter.values() if isinstance(parameter, dict) else parameter
        return {value for one in nested for value in values(one)}
    return {parameter}


def test_rule_script_log_and_benchmark_have_one_name(rules):
    for name, rule in rules[1].items():
        if name != "all":
            script = {"predict_part": "predict_slides", "drop_labels": "drop_parts"}.get(name, name)
            assert rule["script"].endswith(f"scripts/{script}.py")
            for path in (*rule["log"], rule["benchmark"]):
                assert re.split(r"[/.]", path)[1] == name


def test_no_path_is_an_input_and_a_parameter(rules):
    for name, rule in rules[1].items():
        assert not set(rule["input"]) & values(rule["params"]), name


def test_parameters_do_not_grow_with_the_sheet(rules):
    for name, rule in rules[1].items():
        assert len(json.dumps(rule["params"])) < 4000, name
        assert "slide00000" not in json.dumps(rule["params"]), name


def test_weights_are_written_and_read_like_every_other_file(rules):
    weights = "model.safetensors"
    for folder, rule in (("results/seeds/{seed}", "train_unet"), ("results/model", "join_seeds")):
        assert f"{folder}/{weights}" in rules[1][rule]["output"]
    for rule in ("predict_slides", "predict_part"):
        used = {path for path in rules[1][rule]["input"] if path.endswith(weights)}
        model = ROOT / "resources/models/nuclei-fluorescence" if rules[0] == "model" else "results/model"
        assert used == {f"{model}/{weights}"}
    initial = [path for path in rules[1]["train_unet"]["input"] if path.endswith(weights)]
    assert len(initial) == (rules[0] in ("demo", "seeds"))


def test_what_takes_a_second_is_not_sent_to_a_cluster(rules):
    quick = {"split_slides", "drop_parts", "drop_labels"} | (set() if rules[0] == "seeds" else {"join_seeds"})
    assert {name for name, rule in rules[1].items() if rule["local"]} == quick


def test_every_caption_is_used():
    text = "".join(file.read_text() for file in [ROOT / "Snakefile", *WORKFLOW.glob("rules/*.smk")])
    assert sorted(re.findall(r"report/(\w+\.rst)", text)) == sorted(
        path.name for path in (WORKFLOW / "report").iterdir()
    )


def test_snakemakes_report_shows_every_figure_table_and_the_page(rules):
    name, listed = rules
    shown = {path: entry for rule in listed.values() for path, entry in rule["report"].items()}
    columns = {"Cohort": {"content"}, "Training": {"content", "seed"}, "Report": {"content"}}
    for entry in shown.values():
        assert Path(entry["caption"]).is_file()
        assert set(entry["labels"]) == columns[entry["category"]]
    labels = [(entry["category"], *entry["labels"].values()) for entry in shown.values()]
    assert len(labels) == len(set(labels))
    outputs = {path for rule in listed.values() for path in rule["output"]}
    figures = {path for path in outputs if path.endswith((".png", ".csv", ".tsv", ".html", "summary.json"))}
    # The sheet as the jobs read it is the user's own; the history of a seed is part of that of the model.
    figures -= {"results/sheet.tsv", "results/seeds/{seed}/history.csv"}
    of_seed = {"results/seeds/{seed}/curves.png", "results/seeds/{seed}/patches.png"}
    assert set(shown) == figures - (set() if name == "seeds" else of_seed)


def test_what_is_not_documented_of_snakemake_stands_in_one_file():
    used = {}
    for file in [ROOT / "Snakefile", *WORKFLOW.glob("rules/*.smk")]:
        code = re.sub(r'#.*|".*?"', "", file.read_text())
        used[file.name] = set(re.findall(r"\bworkflow\.(?!basedir\b)(\w+)", code))
    assert used.pop("internals.smk") == {"overwrite_configfiles", "remote_exec", "persistence"}
    assert not set().union(*used.values())


def test_the_snakefile_is_a_table_of_contents():
    assert len((ROOT / "Snakefile").read_text().splitlines()) < 60


@pytest.mark.parametrize(
    "option",
    ["--unlock", "--lint", "--list", "--dag", "--dry-run", "--rulegraph", "--filegraph", "--summary"],
)
def test_a_look_at_the_plan_needs_no_number_of_cores(folder, snakemake, option):
    result = snakemake(folder, option, config={"slides": "slides.csv"}, cores=None)
    assert result.returncode == 0, result.stdout + result.stderr
