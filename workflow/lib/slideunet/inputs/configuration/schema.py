"""Checking the configuration against its schema, which also holds the defaults and the documentation."""

import argparse
import copy
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from jsonschema import Draft202012Validator, TypeChecker, validators

from slideunet.errors import InputError
from slideunet.inputs.configuration.explanation import explain, keys
from slideunet.inputs.configuration.strict_yaml import Yaml, read_yaml_strictly
from slideunet.inputs.configuration.wording import Schema, allowed_values, plain, types

Config = dict[str, Yaml]


def check_configuration(config: Mapping[str, Yaml], schema: Schema) -> Config:
    """Check a configuration and fill in the defaults.

    Parameters
    ----------
    config : mapping
        As YAML gave it. An empty section is the same as none.
    schema : mapping
        JSON schema (draft 2020-12) with `default` and `description` for every key.

    Returns
    -------
    dict
        A new configuration with every key of the schema, in the order of the schema.

    Raises
    ------
    InputError
        With one message for every unknown key, wrong type and value that is not allowed.
    """
    config = _without_empty_sections(config, schema)
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


def configuration_table(schema: Schema) -> str:
    """Write the keys of a configuration schema as a Markdown table (key, default, allowed, meaning)."""
    lines = ["| key | default | allowed | meaning |", "|---|---|---|---|"]
    for name, sub in keys(schema):
        default = f"`{plain(sub['default'])}`" if "default" in sub else "required"
        lines.append(f"| `{name}` | {default} | {allowed_values(sub)} | {sub['description']} |")
    return "\n".join(lines) + "\n"


def _is_finite_number(_: TypeChecker, value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


# JSON has neither NaN nor infinity; YAML has both, and NaN passes every bound.
_StrictValidator = validators.extend(
    Draft202012Validator,
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine("number", _is_finite_number),
)


def _without_empty_sections(config: Mapping[str, Yaml], schema: Schema) -> Config:
    cleaned = {}
    for name, value in config.items():
        sub = schema["properties"].get(name, {})
        if "properties" in sub and (value is None or isinstance(value, Mapping)):
            value = _without_empty_sections(value or {}, sub)
        cleaned[name] = value
    return cleaned


def _fill(value: Yaml, schema: Schema) -> Yaml:
    if "properties" in schema:
        present = {
            name: value.get(name, copy.deepcopy(sub.get("default")))
            for name, sub in schema["properties"].items()
        }
        return {name: _fill(present[name], sub) for name, sub in schema["properties"].items()}
    # JSON takes 60.0 for an integer; what follows wants an int.
    if isinstance(value, float) and value.is_integer() and not _takes_fractions(schema):
        return int(value)
    if isinstance(value, list):
        return [_fill(item, schema.get("items", {})) for item in value]
    return value


def _takes_fractions(schema: Schema) -> bool:
    return any("number" in types(option) for option in schema.get("anyOf", [schema]))


def _contradictions(config: Mapping[str, Yaml]) -> Iterator[str]:
    split, training = config.get("split", {}), config.get("training", {})
    if split.get("val", 0) + split.get("test", 0) >= 1:
        yield (
            f"configuration: split.val is {split['val']} and split.test is {split['test']}. Together "
            "they leave no slide to train on. Lower them so that their sum is below 1."
        )
    if training.get("loss_weights") and "_" not in training["loss"]:
        yield (
            f"configuration: training.loss_weights is {training['loss_weights']} but the loss is "
            f"{training['loss']}. There is only one part to weigh. Remove loss_weights or choose "
            "bce_dice or focal_dice."
        )
    augmentation, channels = training.get("augmentation", {}), config.get("data", {}).get("channels")
    for name in ("stain", "counterstain"):
        if augmentation.get(name) and channels != "rgb":
            yield (
                f"configuration: training.augmentation.{name} is {augmentation[name]} and data.channels is "
                f"{'not set' if channels is None else channels}. Stains are told apart by red, green and "
                f"blue. Set data.channels to rgb, or {name} to 0."
            )
    zooms = augmentation.get("scale")
    if isinstance(zooms, list) and zooms[0] > zooms[1]:
        yield (
            f"configuration: training.augmentation.scale is {zooms}. The first is the least zoom and the "
            "second the largest. Exchange them."
        )
    yield from _encoder_contradictions(config.get("model", {}), training)


def _encoder_contradictions(model: Mapping[str, Yaml], training: Mapping[str, Yaml]) -> Iterator[str]:
    if model.get("encoder") is None and model.get("encoder_weights", "imagenet") != "imagenet":
        yield (
            f"configuration: model.encoder_weights is {model['encoder_weights']} but the encoder is the "
            "U-Net's own, which has no published weights. Name one in model.encoder, or remove it."
        )
    begun = training.get("init_from") or (model.get("encoder") and model["encoder_weights"] != "random")
    if training.get("freeze_encoder") and not begun:
        yield (
            "configuration: training.freeze_encoder would keep random weights. Name a model in "
            "training.init_from or an encoder in model.encoder, or remove it."
        )
    if training.get("fixed_statistics") == 1 and not training.get("init_from"):
        yield (
            "configuration: training.fixed_statistics is 1, but a new decoder has no batch statistics to "
            "keep. Name a model in training.init_from, or give a smaller share such as 0.3."
        )


def main() -> None:
    """Print the configuration table of a schema, for the README."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("schema", type=Path)
    print(configuration_table(read_yaml_strictly(parser.parse_args().schema)), end="")


if __name__ == "__main__":
    main()
