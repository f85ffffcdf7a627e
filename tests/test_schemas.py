"""The schemas in docs/schemas describe, without a gap, the files that the workflow writes."""

import copy
import json
import re
from pathlib import Path

import pandas as pd
import pytest
from jsonschema import Draft202012Validator
from schemas import SCHEMAS, file_errors, schema_errors

import build_report
import compare_runs
import label_cells
import predict_slides
import score_slides
from slideunet.errors import InputError
from slideunet.provenance.run_provenance import gather_provenance
from slideunet.quarantine import put
from slideunet.stores.manifests import read_manifest

ROOT = Path(__file__).parents[1]
FILES = {
    "slide": "slides/S1.json",
    "prediction": "predictions/S1.json",
    "metrics": "metrics/S1.json",
    "summary": "report/summary.json",
    "model": "model/model.json",
    "comparison": "comparison/comparison.json",
}
# The only part that is not described: what the scripts in resources/models note about their own trainings.
OPEN = {"/$defs/packed_training"}


def walk(node, path=""):
    yield path, node
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, value in items:
        yield from walk(value, f"{path}/{name}")


@pytest.mark.parametrize("kind", FILES)
def test_a_schema_is_valid_versioned_and_closed(kind):
    schema = SCHEMAS[kind]
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert re.fullmatch(rf"urn:slideunet:schema:{kind}:\d+", schema["$id"])
    objects = [(path, node) for path, node in walk(schema) if isinstance(node, dict) and "required" in node]
    assert objects
    for path, node in objects:
        assert set(node["required"]) <= set(node["properties"]), path
        assert node.get("additionalProperties") is False or path in OPEN, path


def test_every_schema_is_of_a_file_and_documented():
    assert set(SCHEMAS) == set(FILES)
    text = (ROOT / "docs/outputs.md").read_text()
    assert all(f"(schemas/{kind}.schema.json)" in text for kind in SCHEMAS)


@pytest.mark.parametrize("model", sorted((ROOT / "resources/models").glob("*/model.json")), ids=str)
def test_the_bundled_models_follow_their_schema(model):
    assert file_errors("model", model) == []


@pytest.fixture(scope="module")
def results(tmp_path_factory, convert_cells, random_network, save_network, dask_section, prediction_section):
    """Small results of every step: two labelled slides, one without labels, one in quarantine."""
    folder = tmp_path_factory.mktemp("results")
    slides = ["S1", "S2", "S3"]
    for seed, slide in enumerate(slides):
        convert_cells(folder, slide, seed=seed, height=70, width=61)
    common = {"slides": slides, "predictions_folder": folder / "predictions"}
    save_network(folder / "model", random_network(heads=("distance",)))
    dask = {"dask": dask_section, "ome_zarr": "0.5"}
    predict_slides.main(
        **common, **dask, slides_folder=folder / "slides", model=folder / "model",
        manifest=folder / "b1.json", method="distance", prediction=prediction_section,
    )  # fmt: skip
    label_cells.main(
        **common, **dask, model=folder / "model", manifest=folder / "b2.json", threshold=0.5,
        cells={"method": "distance", "min_area": 10, "min_probability": 0},
    )  # fmt: skip
    score_slides.main(
        **common, slides_folder=folder / "slides", metrics_folder=folder / "metrics",
        manifest=folder / "b3.json",
    )  # fmt: skip
    splits = pd.DataFrame({"slide": slides, "split": ["test", "train", "predict"]})
    splits.assign(group="g", stratum="", content="").to_csv(folder / "split.tsv", sep="\t", index=False)
    put(folder / "quarantine", "S9", InputError("slide S9: is damaged."))
    (folder / "benchmarks").mkdir()
    (folder / "benchmarks/check_inputs.tsv").write_text("s\tmax_rss\tcpu_time\n1.5\t99.0\t1.0\n")
    seeds = [(0, "test", 0.5, 0.5), (1, "test", 0.7, 0.5), ("", "test", 0.8, 0.5)]
    pd.DataFrame(seeds, columns=["seed", "split", "dice", "map"]).to_csv(folder / "scores.csv", index=False)
    build_report.main(
        split_table=folder / "split.tsv", sheet=None, slides_folder=folder / "slides",
        predictions_folder=folder / "predictions", metrics_folder=folder / "metrics",
        model=folder / "model/model.json", history=None, config={}, title=None, by=[],
        page=folder / "page.html", table=folder / "table.csv", summary=folder / "report/summary.json",
        files=folder / "files",
        quarantine_folder=folder / "quarantine", seed_scores=folder / "scores.csv",
        provenance=gather_provenance(ROOT, folder / "benchmarks", {"b"}, trained=False),
    )  # fmt: skip
    compare_runs.main(run=[folder, folder], out=folder / "comparison", margin=0.1)
    return folder


@pytest.mark.slow
def test_what_the_steps_write_follows_the_schemas(results):
    for kind in ("slide", "prediction", "metrics", "summary", "comparison"):
        at = results / FILES[kind]
        paths = [at] if kind in ("summary", "comparison") else sorted(at.parent.glob("[!.]*.json"))
        assert [error for path in paths for error in file_errors(kind, path)] == [], kind


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["slide", "prediction", "metrics", "summary", "comparison"])
def test_a_field_that_a_schema_lacks_is_noticed_wherever_it_stands(results, kind):
    content = read_manifest(results / FILES[kind])
    dicts = [path for path, node in walk(content) if isinstance(node, dict)]
    paths = [path for path in dicts if not path.startswith("/config")]  # It has a schema of its own.
    for path in paths:
        changed = copy.deepcopy(content)
        node = changed
        for name in path.split("/")[1:]:
            node = node[int(name) if isinstance(node, list) else name]
        node["new field"] = {"nobody": "knows"}
        assert schema_errors(kind, changed), path
        json.dumps(changed)


def test_a_missing_or_wrong_field_is_named():
    content = json.loads((ROOT / "resources/models/nuclei-fluorescence/model.json").read_text())
    del content["halo"]
    content["decodings"]["distance"]["ap50"] = 1.5
    errors = schema_errors("model", content)
    assert len(errors) == 2 and "'halo' is a required property" in errors[0] + errors[1]
    assert any(error.startswith("$.decodings.distance.ap50: 1.5 is greater") for error in errors)
