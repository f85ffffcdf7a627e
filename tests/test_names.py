"""A search for a public class, function or type alias of the library finds one definition."""

import ast
from collections import defaultdict
from pathlib import Path

import slideunet

LIBRARY = Path(slideunet.__file__).parent


def public_names(tree):
    """Classes, functions and aliases at the top of a module; constants, whose module qualifies them, not."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names = [node.name]
        else:
            targets = getattr(node, "targets", [getattr(node, "target", None)])
            names = [target.id for target in targets if isinstance(target, ast.Name)]
            names = [name for name in names if name[0].isupper() and not name.isupper()]
        yield from (name for name in names if not name.startswith("_"))


def definitions():
    modules = defaultdict(list)
    for path in sorted(LIBRARY.rglob("*.py")):
        for name in public_names(ast.parse(path.read_text(encoding="utf-8"))):
            modules[name].append(path.relative_to(LIBRARY).as_posix())
    return modules


DEFINITIONS = definitions()


def test_the_definitions_are_found():
    assert DEFINITIONS["Source"] == ["sources/source.py"]
    assert DEFINITIONS["open_image"] == ["readers/open_source.py"]
    assert "MAX_PIXELS" not in DEFINITIONS and len(DEFINITIONS) > 400


def test_public_names_have_one_definition():
    assert {name: modules for name, modules in DEFINITIONS.items() if len(modules) > 1} == {}
