"""The JSON schemas of the outputs, for tests that write such files."""

import json
from pathlib import Path

from jsonschema import Draft202012Validator

SCHEMAS = {
    path.name.removesuffix(".schema.json"): json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((Path(__file__).parents[1] / "docs" / "schemas").glob("*.schema.json"))
}


def schema_errors(kind, content):
    """Return what is wrong with the content of a file, as path and message, the causes within `anyOf` too."""
    errors = list(Draft202012Validator(SCHEMAS[kind]).iter_errors(content))
    errors += [cause for error in errors for cause in error.context]
    return [f"{error.json_path}: {error.message[:300]}" for error in errors]


def file_errors(kind, path):
    """Return the same for a file."""
    return [f"{path.name} {error}" for error in schema_errors(kind, json.loads(path.read_text()))]
