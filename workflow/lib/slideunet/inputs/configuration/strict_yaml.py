"""Reading YAML without silent surprises: duplicate keys, tabs and executable text."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from slideunet.errors import InputError

# The types in a YAML file are unknown until it is checked against a schema.
Yaml = Any

_EXECUTABLE = "__use_yte__"


def read_yaml_strictly(path: Path) -> Yaml:
    """Read a YAML file; raises InputError for bad syntax, a duplicate key or `__use_yte__`."""
    problems = duplicate_keys(path)
    if problems:
        raise InputError(problems)
    return yaml.safe_load(path.read_text(encoding="utf-8-sig"))


def duplicate_keys(path: Path) -> list[str]:
    """Find faults of a configuration file that YAML or Snakemake accept silently or explain poorly.

    YAML silently keeps the last value of a duplicate key. The key `__use_yte__` makes Snakemake run Python
    code from the file.

    Returns
    -------
    list of str
        One message per duplicate key (dotted, with both lines), forbidden key or syntax error.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except OSError as error:
        return [f"{path}: cannot be read ({error.strerror}). Give the path of an existing file."]
    except UnicodeDecodeError:
        return [f"{path}: is not UTF-8 text. Save it as plain text in UTF-8."]
    except yaml.YAMLError as error:
        return [_syntax_problem(path, error)]
    return [] if root is None else list(_problems(path, root, (), set()))


def _problems(path: Path, node: yaml.Node, above: tuple[str, ...], seen: set[int]) -> Iterator[str]:
    # An alias points to a node that was seen already, and may contain itself.
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _problems(path, item, above, seen)
    if isinstance(node, yaml.MappingNode):
        lines: dict[str, int] = {}
        for key, value in node.value:
            dotted = ".".join((*above, str(key.value)))
            yield from _key_problems(path, key, dotted, lines)
            yield from _problems(path, value, (*above, str(key.value)), seen)


def _key_problems(path: Path, key: yaml.Node, dotted: str, lines: dict[str, int]) -> Iterator[str]:
    line = key.start_mark.line + 1
    if dotted in lines:
        yield (
            f"{path} line {line}: the key {dotted} is already in line {lines[dotted]}. YAML would "
            "silently keep the last one. Remove one of the two lines."
        )
    if key.value == _EXECUTABLE:
        yield (
            f"{path} line {line}: the key {_EXECUTABLE} is refused. It would run code from the "
            "configuration file. Remove it and write plain values."
        )
    lines[dotted] = line


def _syntax_problem(path: Path, error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    where = f"{path} line {mark.line + 1}" if mark else f"{path}"
    what = getattr(error, "problem", None) or str(error).splitlines()[0]
    if "'\\t'" in what:
        return f"{where}: there is a tab. YAML allows only spaces for indentation. Replace the tab by spaces."
    return f"{where}: this is not valid YAML ({what}). Correct that line or the one above it."
