from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from slideunet.errors import InputError
from slideunet.inputs.configuration.explanation import keys
from slideunet.inputs.configuration.schema import check_configuration, configuration_tables, preset_table
from slideunet.inputs.configuration.strict_yaml import read_yaml_strictly
from slideunet.inputs.configuration.wording import spell_number

ROOT = Path(__file__).resolve().parents[3]
SCHEMA = read_yaml_strictly(ROOT / "workflow/schemas/config.schema.yaml")


def problems(config):
    with pytest.raises(InputError) as caught:
        check_configuration({"slides": "s.tsv"} | config, SCHEMA)
    return caught.value.problems


def flatten(config, above=""):
    for name, value in config.items():
        if isinstance(value, dict) and value:
            yield from flatten(value, f"{above}{name}.")
        else:
            yield f"{above}{name}"


@pytest.mark.parametrize("name", ["config", "slides"])
def test_schemas_are_valid_and_described(name):
    schema = read_yaml_strictly(ROOT / f"workflow/schemas/{name}.schema.yaml")
    Draft202012Validator.check_schema(schema)
    assert all(sub["description"].endswith(".") for _, sub in keys(schema))


def test_every_section_is_closed_and_every_default_valid():
    def sections(schema):
        yield schema
        for sub in schema["properties"].values():
            if "properties" in sub:
                yield from sections(sub)

    assert all(section["additionalProperties"] is False for section in sections(SCHEMA))
    for name, sub in keys(SCHEMA):
        if "default" in sub:
            assert Draft202012Validator(sub).is_valid(sub["default"]), name
        else:
            assert name == "slides" or name.startswith("training.augmentation."), name


def test_config_yaml_has_the_keys_of_the_schema_but_single_strengths():
    config = read_yaml_strictly(ROOT / "config.yaml")
    expected = [name for name, sub in keys(SCHEMA) if name == "slides" or "default" in sub]
    assert list(flatten(config)) == expected
    filled = check_configuration(config, SCHEMA)
    filled["training"]["augmentation"] = {"preset": filled["training"]["augmentation"]["preset"]}
    assert filled == config


AUGMENTATION = SCHEMA["properties"]["training"]["properties"]["augmentation"]


def strengths(augmentation, channels="rgb"):
    config = {"slides": "a.tsv", "training": {"augmentation": augmentation}, "data": {"channels": channels}}
    return check_configuration(config, SCHEMA)["training"]["augmentation"]


@pytest.mark.parametrize("preset", AUGMENTATION["presets"])
def test_a_preset_gives_valid_strengths_that_single_keys_override(preset):
    names = [name for name in AUGMENTATION["properties"] if name != "preset"]
    values = AUGMENTATION["presets"][preset]
    assert values.keys() <= set(names)
    assert all(
        Draft202012Validator(AUGMENTATION["properties"][name]).is_valid(values[name]) for name in values
    )
    filled = strengths(preset)
    assert filled == {"preset": preset} | dict.fromkeys(names, 0) | values
    assert filled == strengths({"preset": preset})
    for name in names:
        assert strengths({"preset": preset, name: 0.5}) == filled | {name: 0.5}


def test_the_presets_are_those_of_the_schema_and_standard_is_the_default():
    assert list(AUGMENTATION["presets"]) == AUGMENTATION["properties"]["preset"]["enum"]
    assert strengths(None) == strengths({}) == strengths("standard")
    assert strengths({"blur": 3}) == strengths("standard") | {"blur": 3}


RENAMED = {
    "data.unjudged": "data.ignore_label",
    "training.at_once": "training.micro_batch_size",
    "training.fixed_statistics": "training.freeze_batch_norm",
    "training.augmentation.dim": "training.augmentation.darkening",
    "training.augmentation.empty": "training.augmentation.negatives",
    "training.augmentation.paste": "training.augmentation.copy_paste",
    "dask.wait_minutes": "dask.timeout_minutes",
    "dask.slurm.memory_mb": "dask.slurm.memory",
    "dask.slurm.directives": "dask.slurm.job_extra_directives",
    "dask.slurm.prologue": "dask.slurm.job_script_prologue",
}


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_an_old_key_is_refused_with_its_new_name(old, new):
    config = 1
    for name in reversed(old.split(".")):
        config = {name: config}
    assert list(problems(config)) == [f"configuration: the key {old} is now called {new}. Rename it."]


def test_defaults_are_filled_and_new_each_time():
    filled = check_configuration({"slides": "a.tsv", "data": None, "training": {"epochs": 3.0}}, SCHEMA)
    assert filled["training"]["epochs"] == 3
    assert isinstance(filled["training"]["epochs"], int)
    assert filled["split"] == {"val": 0.15, "test": 0.15, "seed": 0}
    assert filled["data"]["ome_zarr"] == "0.5"
    filled["training"]["seeds"].append(1)
    assert check_configuration({"slides": "a.tsv"}, SCHEMA)["training"]["seeds"] == [0]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"training": {"learning_rate": "1e-4"}}, ["training.learning_rate", "'1e-4'", "text", "1.0e-4"]),
        ({"training": {"epochs": "60"}}, ["training.epochs", "'60'", "without quotes"]),
        ({"training": {"lr": 0.1}}, ["training.lr", "training.learning_rate"]),
        ({"training": {"epoch": 1}}, ["training.epoch ", "training.epochs"]),
        ({"epochs": 3}, ["epochs", "training.epochs"]),
        ({"trainning": {}}, ["trainning", "Did you mean training?"]),
        ({"training": {"augmentation": {"flips": 1}}}, ["training.augmentation.flips", "augmentation.flip?"]),
        ({"split": {"val": 1.5}}, ["split.val", "1.5", "from 0 to 0.9"]),
        ({"split": {"val": 0.6, "test": 0.4}}, ["split.val", "split.test", "below 1"]),
        (
            {"model": {"preset": "lite"}},
            ["model.preset", "lite", "standard, light, fast or classic", "'light'"],
        ),
        ({"model": {"preset": False}}, ["model.preset", "false", "unless they are quoted"]),
        ({"data": {"ome_zarr": 0.5}}, ["data.ome_zarr", '"0.5" with quotes']),
        ({"data": {"mpp": 0}}, ["data.mpp", "0", "above 0"]),
        ({"data": {"channels": [-1]}}, ["data.channels"]),
        ({"data": 3}, ["data is 3", "section"]),
        ({"prediction": {"tile": 63}}, ["prediction.tile", "63", "64"]),
        ({"prediction": {"threshold": "tunned"}}, ["prediction.threshold", "'tuned'"]),
        ({"prediction": {"parts": 0}}, ["prediction.parts", "0"]),
        ({"prediction": {"halo": "exact"}}, ["prediction.halo"]),
        ({"dask": {"cluster": "slrum"}}, ["dask.cluster", "'slurm'"]),
        ({"dask": {"cluster": {"adress": "a"}}}, ["dask.cluster", "{address: text}", "scheduler_file"]),
        ({"dask": {"cluster": "address"}}, ["dask.cluster", "{address: text}"]),
        ({"dask": {"slurm": "queue"}}, ["dask.slurm", "mapping"]),
        ({"training": {"patch_size": 1000}}, ["training.patch_size", "multiple of 32"]),
        ({"training": {"seeds": [0, 1, 0]}}, ["training.seeds"]),
        ({"training": {"weight_decay": float("nan")}}, ["training.weight_decay", ".nan"]),
        ({"training": {"loss": "dice", "loss_weights": [1, 1]}}, ["loss_weights", "dice"]),
        ({"model": {"encoder": "efficientnet_b0"}}, ["model.encoder", "efficientnet_lite0, resnet18"]),
        ({"model": {"encoder_weights": "random"}}, ["model.encoder_weights", "no published weights"]),
        ({"training": {"freeze_encoder": True}}, ["training.freeze_encoder", "training.init_from"]),
        (
            {
                "training": {"freeze_encoder": True},
                "model": {"encoder": "resnet18", "encoder_weights": "random"},
            },
            ["training.freeze_encoder", "random"],
        ),
        ({"training": {"freeze_batch_norm": 1}}, ["training.freeze_batch_norm", "training.init_from"]),
        ({"training": {"augmentation": {"scale": [2, 0.5]}}}, ["augmentation.scale", "Exchange"]),
        ({"training": {"augmentation": {"stain": 0.1}}}, ["augmentation.stain", "not set", "rgb"]),
        ({"training": {"augmentation": "brightfield"}}, ["augmentation.stain", "preset brightfield", "rgb"]),
        ({"training": {"augmentation": "flourescence"}}, ["augmentation.preset", "'fluorescence'"]),
        ({"training": {"loss": "bce_lovasz"}}, ["training.loss", "bce_lovasz", "bce_dice"]),
        ({"training": {"augmentation": {"counterstain": 1}}}, ["augmentation.counterstain", "rgb"]),
        (
            {"training": {"augmentation": {"stain": 0.1}}, "data": {"channels": [0]}},
            ["augmentation.stain", "[0]"],
        ),
        ({"slides": None}, ["slides", "empty"]),
    ],
)
def test_a_wrong_configuration_is_explained(config, expected):
    found = problems(config)
    assert len(found) == 1
    assert [part for part in expected if part not in found[0]] == []


def test_all_problems_come_together():
    assert (
        len(problems({"training": {"epochs": 0, "learning_rate": "x"}, "foo": 1, "cells": {"min": 2}})) == 4
    )


def test_a_missing_sheet_is_named():
    with pytest.raises(InputError, match="slides is missing"):
        check_configuration({}, SCHEMA)


@settings(deadline=None)
@given(
    st.floats(1e-12, 1e12).map(repr)
    | st.from_regex(r"\A[0-9]{1,3}e-?[0-9]{1,2}\Z")
    | st.integers(0, 999).map(lambda number: f"{number},5")
)
def test_a_number_that_is_text_is_spelled_as_a_number(text):
    spelled = yaml.safe_load(spell_number(text))
    assert spelled == pytest.approx(float(text.replace(",", ".")))


@settings(deadline=None)
@given(st.text())
def test_text_that_is_no_number_is_never_spelled_as_one(text):
    spelled = spell_number(text)
    assert spelled is None or isinstance(yaml.safe_load(spelled), int | float)


def test_the_tables_have_a_row_per_key():
    lines = configuration_tables(SCHEMA).splitlines()
    rows = [line for line in lines if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == [name for name, _ in keys(SCHEMA)]
    assert [line for line in lines if line.startswith("#")] == [
        f"### `{name}`" for name in SCHEMA["properties"]
    ]
    assert '| `data.ome_zarr` | `"0.5"` | "0.5" or "0.4" |' in configuration_tables(SCHEMA)
    assert "| `training.augmentation.blur` | preset | number from 0 to 20 |" in configuration_tables(SCHEMA)
    assert "local or slurm, {address: text} or {scheduler_file: text}" in configuration_tables(SCHEMA)
    assert all(row.count(" | ") == 3 for row in rows)


def test_the_table_of_the_presets_has_their_strengths():
    rows = preset_table(AUGMENTATION).splitlines()
    assert rows[0] == "| key | standard | fluorescence | brightfield | none |"
    assert "| `scale` | 0.25 | [0.6, 2.5] | [0.6, 2.5] | 0 |" in rows
    assert len(rows) == 2 + len(AUGMENTATION["properties"]) - 1
