"""Words for the values that a JSON schema allows and for a given value."""

import difflib
from collections.abc import Iterable, Mapping, Sequence

import yaml

from slideunet.inputs.configuration.strict_yaml import Yaml

Schema = Mapping[str, Yaml]
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_NAMES = {
    "integer": "whole number",
    "number": "number",
    "string": "text",
    "null": "null",
}


def nearest(name: str, names: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the known name that `name` abbreviates or looks most like (Ratcliff/Obershelp), if any."""
    candidates = {candidate.lower(): candidate for candidate in names}
    for lower, candidate in candidates.items():
        if "_" in lower and name.lower() == "".join(part[:1] for part in lower.split("_")):
            return candidate
    matches = difflib.get_close_matches(name.lower(), candidates, n=1, cutoff=cutoff)
    return candidates[matches[0]] if matches else None


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" with the nearest known name, or nothing."""
    near = nearest(name, names)
    return f" Did you mean '{near}'?" if near else ""


def allowed_values(schema: Schema) -> str:
    """Describe the values that a schema allows, for example "auto or whole number of at least 64"."""
    if "anyOf" in schema:
        return _either([allowed_values(option) for option in schema["anyOf"]])
    if "enum" in schema:
        return _either([plain(value) or "empty" for value in schema["enum"]])
    return _either([_kind(kind, schema) for kind in types(schema)] or ["any value"])


def types(schema: Schema) -> list[str]:
    """Return the JSON types in the schema of one value."""
    kinds = schema.get("type", [])
    return [kinds] if isinstance(kinds, str) else list(kinds)


def plain(value: object) -> str:
    """Write a value as in a YAML file, text with quotes only where YAML needs them."""
    if isinstance(value, str):
        return f'"{value}"' if is_number(value) else value
    return yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("\n").removesuffix("\n...")


def given(value: object) -> str:
    """Describe a given value so that its type is visible."""
    if isinstance(value, bool):
        return f"{plain(value)} (YAML reads yes, no, on and off as true and false unless they are quoted)"
    if isinstance(value, str):
        return f"the text {value!r}"
    if isinstance(value, Mapping):
        return "a section of its own"
    return "empty (null)" if value is None else plain(value)


def spell_number(text: str) -> str | None:
    """Spell a number so that YAML 1.1 does not read it as text.

    YAML 1.1 wants a point in the mantissa and a sign in the exponent: "1e-4" is text, "1.0e-4" a number.

    Returns
    -------
    str or None
        None when `text` is not a finite number.
    """
    mantissa, _, exponent = text.strip().lower().replace(",", ".").partition("e")
    if "." not in mantissa:
        mantissa += ".0"
    if exponent and exponent[0] not in "+-":
        exponent = f"+{exponent}"
    spelled = f"{mantissa}e{exponent}" if exponent else mantissa
    spelled = text.strip() if is_number(text) else spelled
    return spelled if is_number(spelled) else None


def is_number(text: str) -> bool:
    """Say whether YAML reads this text as a number."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return False
    return isinstance(value, int | float) and not isinstance(value, bool)


def _either(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _kind(kind: str, schema: Schema) -> str:
    if kind == "array":
        return _list(schema)
    if kind == "object":
        fields = (f"{name}: {allowed_values(sub)}" for name, sub in schema.get("properties", {}).items())
        return f"{{{', '.join(fields)}}}" if "properties" in schema else "mapping"
    bounds = _bounds(schema) if kind in ("integer", "number") else ""
    return _NAMES.get(kind, kind) + bounds


def _bounds(schema: Schema) -> str:
    low, high, above, below = (None if schema.get(key) is None else plain(schema[key]) for key in _BOUNDS)
    step = f", a multiple of {schema['multipleOf']}" if "multipleOf" in schema else ""
    if low and high:
        return f" from {low} to {high}{step}"
    if above and high:
        return f" above {above} and up to {high}{step}"
    words = [(" of at least ", low), (" above ", above), (" up to ", high), (" below ", below)]
    return "".join(word + value for word, value in words if value) + step


def _list(schema: Schema) -> str:
    least, most = schema.get("minItems", 0), schema.get("maxItems")
    count = f"of {least} " if least == most else "of at least 1 " if least else "of "
    return f"list {count}({allowed_values(schema.get('items', {}))})"
