"""Checking the configuration against its schema, which also holds defaults, presets and documentation.

Two keywords are our own. `renamed` maps old keys of a section to new ones. `presets` holds the values of a
section's keys for every value of its key `preset`; a key that a preset does not list is 0.
"""

import copy
import math
from collections.abc import Iterator, Mapping

from jsonschema import Draft202012Validator, TypeChecker, ValidationError, validators
from jsonschema.protocols import Validator

from slideunet.errors import InputError
from slideunet.inputs.configuration.explanation import explain, keys
from slideunet.inputs.configuration.strict_yaml import Yaml
from slideunet.inputs.configuration.wording import Schema, allowed_values, plain, types

Config = dict[str, Yaml]


def check_configuration(config: Mapping[str, Yaml], schema: Schema) -> Config:
    """Check a configuration and fill in the defaults.

    Parameters
    ----------
    config : mapping
        As read from YAML. An empty section means its defaults; a section with presets may be the name of one.
    schema : mapping
        JSON schema (draft 2020-12) with `default` and `description` for every key.

    Returns
    -------
    dict
        A new configuration with every key of the schema, in the order of the schema.

    Raises
    ------
    InputError
        With one message for every unknown or renamed key, wrong type and forbidden value.
    """
    config = _with_sections(config, schema)
    errors = sorted(
        _StrictValidator(schema).iter_errors(config), key=lambda error: list(map(str, error.path))
    )
    problems = dict.fromkeys(problem for error in errors for problem in explain(error, config, schema))
    if problems:
        raise InputError(problems)
    filled: Config = _fill(config, schema)
    if contradictions := list(_contradictions(filled)):
        raise InputError(contradictions)
    return filled


def configuration_tables(schema: Schema) -> str:
    """Write the keys of a schema in Markdown: a heading and a table of keys for each section."""
    parts = []
    for section, sub in schema["properties"].items():
        parts += [f"### `{section}`", "", sub["description"], "", *_table(section, sub), ""]
    return "\n".join(parts)


def _table(section: str, schema: Schema) -> Iterator[str]:
    yield "| key | default | allowed | meaning |"
    yield "|---|---|---|---|"
    for name, sub in keys(schema, f"{section}.") if "properties" in schema else [(section, schema)]:
        missing = "preset" if name.startswith("training.") else "required"
        default = f"`{plain(sub['default'])}`" if "default" in sub else missing
        yield f"| `{name}` | {default} | {allowed_values(sub)} | {sub['description']} |"


def preset_table(schema: Schema) -> str:
    """Write the presets of a section as a Markdown table, a row per key and a column per preset."""
    presets = schema["presets"]
    lines = [f"| key | {' | '.join(presets)} |", "|---" * (len(presets) + 1) + "|"]
    for name in schema["properties"]:
        if name != "preset":
            values = (plain(values.get(name, 0)) for values in presets.values())
            lines.append(f"| `{name}` | {' | '.join(values)} |")
    return "\n".join(lines) + "\n"


def _is_finite_number(_: TypeChecker, value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _no_old_keys(
    _: Validator, renamed: Mapping[str, str], section: object, __: Schema
) -> Iterator[ValidationError]:
    if isinstance(section, Mapping) and renamed.keys() & section.keys():
        yield ValidationError("renamed keys")


# JSON has neither NaN nor infinity; YAML has both, and NaN passes every bound.
_StrictValidator = validators.extend(
    Draft202012Validator,
    {"renamed": _no_old_keys},
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine("number", _is_finite_number),
)


def _with_sections(config: Mapping[str, Yaml], schema: Schema) -> Config:
    """Replace empty sections and names of presets by mappings."""
    cleaned = {}
    for name, value in config.items():
        sub = schema["properties"].get(name, {})
        if "presets" in sub and isinstance(value, str):
            value = {"preset": value}
        if "properties" in sub and (value is None or isinstance(value, Mapping)):
            value = _with_sections(value or {}, sub)
        cleaned[name] = value
    return cleaned


def _fill(value: Yaml, schema: Schema) -> Yaml:
    if "properties" in schema:
        defaults = {name: sub.get("default", 0) for name, sub in schema["properties"].items()}
        preset = value.get("preset", defaults.get("preset"))
        present = defaults | schema.get("presets", {}).get(preset, {}) | value
        return {name: _fill(copy.deepcopy(present[name]), sub) for name, sub in schema["properties"].items()}
    # JSON takes 60.0 for an integer; Python code needs an int.
    if isinstance(value, float) and value.is_integer() and not _takes_fractions(schema):
        return int(value)
    if isinstance(value, list):
        return [_fill(item, schema.get("items", {})) for item in value]
    return value


def _takes_fractions(schema: Schema) -> bool:
    return any("number" in types(option) for option in schema.get("anyOf", [schema]))


def _contradictions(config: Mapping[str, Yaml]) -> Iterator[str]:
    split, training = config["split"], config["training"]
    if split["val"] + split["test"] >= 1:
        yield (
            f"configuration: split.val is {split['val']} and split.test is {split['test']}. Together "
            "they leave no slide to train on. Lower them so that their sum is below 1."
        )
    if training["loss_weights"] and "_" not in training["loss"]:
        yield (
            f"configuration: training.loss_weights is {training['loss_weights']} but the loss is "
            f"{training['loss']}. There is only one part to weight. Remove loss_weights or choose "
            "bce_dice or focal_dice."
        )
    augmentation, channels = training["augmentation"], config["data"]["channels"]
    for name in ("stain", "counterstain"):
        if augmentation[name] and channels != "rgb":
            yield (
                f"configuration: training.augmentation.{name} is {augmentation[name]} (preset "
                f"{augmentation['preset']}) and data.channels is "
                f"{'not set' if channels is None else channels}. Separating stains needs "
                f"red, green and blue. Set data.channels to rgb, or {name} to 0."
            )
    zooms = augmentation["scale"]
    if isinstance(zooms, list) and zooms[0] > zooms[1]:
        yield (
            f"configuration: training.augmentation.scale is {zooms}. The first number is the minimum zoom, "
            "the second the maximum. Exchange them."
        )
    yield from _encoder_contradictions(config["model"], training)


def _encoder_contradictions(model: Mapping[str, Yaml], training: Mapping[str, Yaml]) -> Iterator[str]:
    if model["encoder"] is None and model["encoder_weights"] != "imagenet":
        yield (
            f"configuration: model.encoder_weights is {model['encoder_weights']} but the plain U-Net encoder "
            "has no published weights. Name an encoder in model.encoder, or remove it."
        )
    pretrained = training["init_from"] or (model["encoder"] and model["encoder_weights"] != "random")
    if training["freeze_encoder"] and not pretrained:
        yield (
            "configuration: training.freeze_encoder would freeze random weights. Name a model in "
            "training.init_from or an encoder in model.encoder, or remove it."
        )
    if training["freeze_batch_norm"] == 1 and not training["init_from"]:
        yield (
            "configuration: training.freeze_batch_norm is 1, but a new decoder has no batch-norm statistics "
            "yet. Name a model to fine-tune in training.init_from, or give a smaller fraction such as 0.3."
        )
