"""A search for a public class, function or type alias of the library finds one definition."""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

import slideunet

LIBRARY = Path(slideunet.__file__).parent

# Names with several definitions that still await a new name: remove an entry with its second definition.
TO_BE_RENAMED = (
    "Channels",  # inputs/check_slides.py, slides/convert.py: the same alias, declared twice
    "Division",  # cells/separation: centres.py, separate.py
    "Facts",  # network/training/seeds.py, stores/resumable.py: aliases
    "Interval",  # alias in geometry/tiles.py, class in scoring/intervals.py
    "Kind",  # clusters/spec.py, scoring/error_examples.py: aliases
    "Maps",  # alias in cells/separation/separate.py, class in sharing/onnx_graph.py
    "Region",  # geometry/blocks.py, truth/lazy_labels.py: aliases
    "Run",  # inputs/load_run.py, report/page.py
    "Section",  # network: inference/predict_batch.py, training/train.py: the same alias, declared twice
    "Task",  # cells/export, cells/separation, network/inference, and a type variable of clusters
    "choose_engine",  # network/inference: choose_engine.py, engines.py
    "data_uri",  # figures/style.py, report/pictures.py
    "divide",  # cells/separation: centres.py, separate.py, watershed.py
    "draw",  # demo/drawing.py, scoring/error_examples.py
)


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
    repeated = {name: modules for name, modules in DEFINITIONS.items() if len(modules) > 1}
    assert {name: modules for name, modules in repeated.items() if name not in TO_BE_RENAMED} == {}


@pytest.mark.xfail(strict=True, reason="has several definitions; remove the entry when it has one")
@pytest.mark.parametrize("name", TO_BE_RENAMED)
def test_a_name_that_awaits_another_has_one_definition(name):
    assert len(DEFINITIONS[name]) == 1
