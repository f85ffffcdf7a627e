"""Messages for violations of a JSON schema: where, what is allowed, what to do."""

from collections.abc import Iterator, Mapping
from typing import cast

from jsonschema import ValidationError

from slideunet.inputs.configuration.strict_yaml import Yaml
from slideunet.inputs.configuration.wording import (
    Schema,
    allowed_values,
    did_you_mean,
    given,
    is_number,
    nearest,
    plain,
    spell_number,
    types,
)


def keys(schema: Schema, above: str = "") -> Iterator[tuple[str, Schema]]:
    """Yield the dotted name and the schema of every key that holds a value, in the order of the schema."""
    for name, sub in schema["properties"].items():
        if "properties" in sub:
            yield from keys(sub, f"{above}{name}.")
        else:
            yield f"{above}{name}", sub


def explain(error: ValidationError, config: Mapping[str, Yaml], schema: Schema) -> Iterator[str]:
    """Yield the messages for one violation of the schema.

    Parameters
    ----------
    error : jsonschema.ValidationError
        From validating `config` against `schema`.
    """
    path, section = tuple(error.absolute_path), cast("Schema", error.schema)
    if error.validator == "additionalProperties":
        for name in cast("Schema", error.instance):
            if name not in section["properties"] and name not in section.get("renamed", {}):
                yield _unknown_key(path, str(name), section, schema)
    elif error.validator == "renamed":
        for old, new in section["renamed"].items():
            if old in cast("Schema", error.instance):
                names = f"{_dotted(path, old)} is now called {_dotted(path, new)}"
                yield f"configuration: the key {names}. Rename it."
    elif error.validator == "required":
        for name in section["required"]:
            if name not in cast("Schema", error.instance):
                meaning = section["properties"][name]["description"]
                yield (
                    f"configuration: {name} is missing and has no default. {meaning} Add a line '{name}: "
                    "...'."
                )
    else:
        yield _wrong_value(path, config, schema)


def _unknown_key(path: tuple[str | int, ...], name: str, section: Schema, schema: Schema) -> str:
    near = nearest(name, section["properties"])
    elsewhere = [dotted for dotted, _ in keys(schema) if dotted.rpartition(".")[2] == name]
    guess = _dotted(path, near) if near else elsewhere[0] if elsewhere else None
    advice = f"Did you mean {guess}?" if guess else f"Known here: {', '.join(section['properties'])}."
    return f"configuration: the key {_dotted(path, name)} is unknown and would have no effect. {advice}"


def _dotted(path: tuple[str | int, ...], name: str) -> str:
    return ".".join(map(str, (*path, name)))


def _wrong_value(path: tuple[str | int, ...], config: Mapping[str, Yaml], schema: Schema) -> str:
    value: Yaml = config
    names = [step for step in path if isinstance(step, str)]
    for name in names:
        value, schema = value[name], schema["properties"][name]
    what = f"configuration: {'.'.join(names) or 'the file'} is {given(value)}"
    if "properties" in schema:
        return (
            f"{what}. It is a section. Write its keys below it, indented: {', '.join(schema['properties'])}."
        )
    return f"{what}. Allowed: {allowed_values(schema)}.{_remedy(value, schema)}"


def _remedy(value: Yaml, schema: Schema) -> str:
    options = schema.get("anyOf", [schema])
    takes_numbers = any({"number", "integer"} & set(types(option)) for option in options)
    if isinstance(value, str) and takes_numbers and (spelled := spell_number(value)):
        if is_number(value):
            return f" The quotes make it text. Write {spelled} without quotes."
        return f" YAML reads that as text. Write {spelled}."
    words = [word for option in options for word in option.get("enum", []) if isinstance(word, str)]
    if plain(value) in words:
        return f' YAML reads that as a number. Write "{plain(value)}" with quotes.'
    return (
        did_you_mean(value, words) if isinstance(value, str) else ""
    ) or " Correct the value or remove the line."
