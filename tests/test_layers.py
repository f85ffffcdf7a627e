"""The order of the rooms: who may import whom, and what stays out."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import slideunet

LIBRARY = Path(slideunet.__file__).parent
SCRIPTS = LIBRARY.parents[1] / "scripts"
ROOT = LIBRARY.parents[2]
MODULES = {
    ".".join(("slideunet", *path.relative_to(LIBRARY).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(LIBRARY.rglob("*.py"))
}

# From the ground up: a room imports its own modules and those of rooms above it in this list, none below.
ORDER = (
    "errors",
    "logs",
    "geometry",
    "stores",
    "sources",
    "readers.tiff",
    "readers",
    "truth",
    "slides",
    "batch",
    "quarantine",
    "model_json",
    "clusters",
    "cells.measurement",
    "cells.separation",
    "cells.export",
    "scoring",
    "needed",
    "figures",
    "inputs.configuration",
    "inputs",
    "provenance",
    "report",
    "comparison",
    "viewing",
    "network.architecture",
    "network.patches",
    "network.inference",
    "network.training",
    "network.in_memory",
    "sharing",
)
MOST_FILES = 16

IMPORT_WITHOUT = """
import importlib, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked}:
            raise ImportError(f"{{name}} must not be imported here")

sys.meta_path.insert(0, Blocker())
for name in {modules}:
    try:
        importlib.import_module(name)
    except Exception as error:
        print(f"{{name}}: {{error!r}}")
"""


def imported(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            # `from slideunet.geometry import blocks` imports a module, too.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(module):
    """The longest entry of ORDER that a module belongs to; packages that only hold rooms have none."""
    name = module.removeprefix("slideunet.")
    found = [entry for entry in ORDER if name == entry or name.startswith(f"{entry}.")]
    return max(found, key=len, default=None)


# Script to what it loads only when the data or the configuration ask for it: each takes a part of the start.
LATER = {
    "check_inputs": ("distributed", "jsonschema", "matplotlib"),
    "convert_slides": ("distributed", "jsonschema", "matplotlib"),
    "split_slides": ("dask", "distributed", "jsonschema", "matplotlib", "scipy", "skimage", "zarr"),
    "predict_slides": ("dask", "distributed", "jsonschema", "matplotlib", "pandas"),
    "label_cells": ("dask", "distributed", "jsonschema", "matplotlib", "pandas"),
    "score_slides": ("dask", "distributed", "jsonschema", "matplotlib", "pandas"),
    "measure_cells": ("dask", "distributed", "jsonschema", "matplotlib"),
    "build_report": ("dask", "distributed", "jsonschema", "matplotlib"),
}


def import_all(modules, folder=LIBRARY.parent, blocked=("torch", "monai", "snakemake")):
    code = IMPORT_WITHOUT.format(blocked=blocked, modules=tuple(modules))
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, check=True)
    return run.stdout


def test_every_module_has_a_room():
    packages = {"slideunet", "slideunet.cells", "slideunet.network"}
    assert {name for name in MODULES if room(name) is None} == packages


@pytest.mark.parametrize("name", MODULES)
def test_no_import_goes_up_or_in_a_circle(name):
    own = room(name)
    used = {room(module) for module in imported(MODULES[name]) if module and module.startswith("slideunet.")}
    used -= {None, own}
    assert not [other for other in used if own is None or ORDER.index(other) > ORDER.index(own)]


@pytest.mark.parametrize(
    "folder", sorted({path.parent for path in MODULES.values()}), ids=lambda path: path.name
)
def test_a_room_is_small_enough_to_be_looked_over(folder):
    assert len(list(folder.glob("*.py"))) <= MOST_FILES


def test_only_the_network_needs_torch():
    outside = [name for name in MODULES if not name.startswith(("slideunet.network.", "slideunet.sharing."))]
    assert len(outside) > 30
    assert import_all(outside) == ""


@pytest.mark.parametrize("script", LATER)
def test_a_job_starts_without_what_it_may_not_need(script, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(LIBRARY.parent))
    assert import_all([script], SCRIPTS, ("torch", *LATER[script])) == ""


def test_the_blocker_does_block():
    assert "slideunet.network.architecture.unet" in import_all(["slideunet.network.architecture.unet"])


@pytest.mark.parametrize("name", MODULES)
def test_the_library_does_not_know_snakemake(name):
    assert not any((module or "").split(".")[0] == "snakemake" for module in imported(MODULES[name]))


@pytest.mark.parametrize("path", sorted(SCRIPTS.glob("*.py")), ids=lambda path: path.stem)
def test_a_script_uses_the_library_and_no_other_script(path):
    others = {other.stem for other in SCRIPTS.glob("*.py")}
    assert not others & {(module or "").split(".")[0] for module in imported(path)}


OUTSIDE = sorted(path for folder in ("bench", "resources", "docs") for path in (ROOT / folder).rglob("*.py"))


def defined_in(path):
    """The names at the top of a module: what it defines, assigns and imports."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        for inner in ast.walk(node) if isinstance(node, ast.If | ast.Try) else [node]:
            if isinstance(inner, ast.FunctionDef | ast.ClassDef):
                yield inner.name
            elif isinstance(inner, ast.Assign | ast.AnnAssign):
                targets = inner.targets if isinstance(inner, ast.Assign) else [inner.target]
                yield from (
                    name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)
                )
            elif isinstance(inner, ast.Import | ast.ImportFrom):
                yield from (alias.asname or alias.name for alias in inner.names)


@pytest.mark.parametrize("script", OUTSIDE, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_scripts_outside_of_the_workflow_import_what_there_is(script):
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("slideunet"):
            assert node.module in MODULES, node.module
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                assert inner in MODULES or alias.name in defined_in(MODULES[node.module]), inner
