import hashlib
import json
from urllib.parse import unquote

import pytest
from rocrate.rocrate import ROCrate

import write_crate
from slideunet.errors import InputError

SHA = "ab" * 32
SUMMARY = {
    "title": "My <cells>", "n_slides": 2, "n_cells": 7, "model_sha256": SHA,
    "command": "snakemake --cores all", "versions": {"slideunet": "1.2.3", "numpy": "4.5"},
    "config": {"slides": "slides.tsv", "model": {"weights": None}, "training": {"seeds": [0, 7]}},
    "provenance": {
        "workflow": {"commit": "c0ffee", "changed": ["Snakefile"]},
        "machine": {
            "system": "Linux 9", "processor": "Fast", "cores": 3, "memory_gb": 2.0, "gpus": ["GPU A"]
        },
        "started": "2000-01-01T00:00:00+00:00", "ended": "2000-01-02T00:00:00+00:00", "rules": [],
    },
}  # fmt: skip
WRITTEN = [
    "results/split.tsv", "results/sheet.tsv", "results/report/report.html", "results/report/figures/ä b.csv",
    "results/model/model.safetensors", "results/seeds/0/curves.png", "results/cells/S ö#1.parquet",
    "results/cells/S ö#1.geojson.gz", "results/metrics/S ö#1.json", "benchmarks/check_inputs.tsv",
    "logs/train_unet/0.log",
]  # fmt: skip
LEFT_OUT = [
    "results/cells/.S1.parquet.lock", "results/seeds/state/1/progress.pt", ".snakemake/log/a.log",
    "results/slides/.S1.json.lock", "slides.tsv",
]  # fmt: skip


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


@pytest.fixture
def run(tmp_path):
    """The files of a run, with content that names them."""
    folder = tmp_path / "my run"
    for name in [*WRITTEN, *LEFT_OUT]:
        write(folder / name, name)
    source = {"image": "/data/ä.tif", "labels": "/data/ä_labels.tif"}
    slide = {"slide": "S ö#1", "content": "12", "truth_content": "34", "source": source}
    write(folder / "results/slides/S ö#1.json", slide)
    write(folder / "results/slides/S ö#1.zarr/zarr.json", {})
    write(folder / "results/model/model.json", {"training": {"init_from": "cd" * 32}})
    write(folder / "results/report/summary.json", SUMMARY)
    return folder


def described(run):
    """The crate as its library reads it, and its entities by their decoded ids."""
    write_crate.main(run=run, licence="CC-BY-4.0")
    crate = ROCrate(run)
    return crate, {unquote(entity.id): entity for entity in crate.get_entities()}


def test_every_file_is_described_and_nothing_else(run):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    crate, entities = described(run)
    assert {path: path.read_bytes() for path in before} == before
    assert set(run.rglob("*")) >= {run / name for name in LEFT_OUT}
    files = {name: entity for name, entity in entities.items() if entity.type == "File"}
    described_files = {f"results/{name}.json" for name in ("report/summary", "model/model", "slides/S ö#1")}
    assert set(files) == described_files | set(WRITTEN)
    for name, entity in files.items():
        content = (run / name).read_bytes()
        assert entity["sha256"] == hashlib.sha256(content).hexdigest()
        assert int(entity["contentSize"]) == len(content)
        assert entity["description"] and entity["encodingFormat"]
    assert entities["results/cells/S ö#1.geojson.gz"]["encodingFormat"] == "application/gzip"
    assert entities["results/slides/S ö#1.zarr/"].type == "Dataset"
    parts = {unquote(part.id) for part in crate.root_dataset["hasPart"]}
    assert parts == {*files, "results/slides/S ö#1.zarr/"}


def test_the_run_is_one_action_with_its_inputs_and_results(run):
    crate, entities = described(run)
    action = entities["#run"]
    assert action.type == "CreateAction" and crate.root_dataset["mentions"] == action
    assert (action["startTime"], action["endTime"]) == (
        "2000-01-01T00:00:00+00:00",
        "2000-01-02T00:00:00+00:00",
    )
    assert action["description"] == "snakemake --cores all (on Fast, 3 cores, GPU A, Linux 9)"
    software = action["instrument"]
    assert (software["softwareVersion"], software["version"]) == ("1.2.3", "c0ffee with changes")
    assert [(item["name"], item["softwareVersion"]) for item in software["softwareRequirements"]] == [
        ("numpy", "4.5")
    ]
    inputs = {unquote(entity.id): entity for entity in action["object"]}
    assert "results/sheet.tsv" in inputs and "results/split.tsv" not in inputs
    assert inputs["#image/S ö#1"]["name"] == "ä.tif" and inputs["#image/S ö#1"]["identifier"].endswith(": 12")
    assert inputs["#labels/S ö#1"]["identifier"].endswith(": 34")
    assert (inputs["#model"]["name"], inputs["#model"]["sha256"]) == ("Model that was fine-tuned", "cd" * 32)
    assert inputs["#config/training.seeds"]["value"] == "[0, 7]"
    results = {unquote(entity.id) for entity in action["result"]}
    assert "results/cells/S ö#1.parquet" in results and "results/sheet.tsv" not in results


def test_the_crate_names_its_profiles_and_licence(run):
    described(run)
    content = json.loads((run / "ro-crate-metadata.json").read_text())
    assert content["@context"] == [
        "https://w3id.org/ro/crate/1.1/context",
        "https://w3id.org/ro/terms/workflow-run/context",
    ]
    root = next(entity for entity in content["@graph"] if entity["@id"] == "./")
    assert root["conformsTo"] == {"@id": "https://w3id.org/ro/wfrun/process/0.5"}
    assert root["license"] == "CC-BY-4.0" and root["name"] == "My <cells>" and root["datePublished"]
    ids = [entity["@id"] for entity in content["@graph"]]
    assert len(ids) == len(set(ids))


def test_it_is_written_again_after_the_results_have_changed(run):
    described(run)
    write(run / "results/metrics/S2.json", "{}")
    _, entities = described(run)
    assert "results/metrics/S2.json" in entities and "ro-crate-metadata.json" in entities


def test_a_model_that_was_used_is_an_input(run):
    weights = SUMMARY | {"config": {"model": {"weights": "nuclei"}}}
    write(run / "results/report/summary.json", weights)
    _, entities = described(run)
    assert (entities["#model"]["name"], entities["#model"]["sha256"]) == ("Model that was used", SHA)


def test_what_is_no_finished_run_is_refused(run, tmp_path):
    with pytest.raises(InputError, match="Name the working directory of a finished run"):
        write_crate.main(run=run / "results", licence="MIT")
    with pytest.raises(InputError, match="needs the licence"):
        write_crate.main(run=run, licence=" ")
    write(run / "results/report/summary.json", {"title": "old"})
    with pytest.raises(InputError, match="--forcerun build_report"):
        write_crate.main(run=run, licence="MIT")
    assert not (run / "ro-crate-metadata.json").exists()
