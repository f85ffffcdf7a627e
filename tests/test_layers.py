import ast
import subprocess
import sys
from pathlib import Path

import pytest

import slideunet

LIBRARY = Path(slideunet.__file__).parent
SCRIPTS = LIBRARY.parents[1] / "scripts"
MODULES = {
    ".".join(("slideunet", *path.relative_to(LIBRARY).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(LIBRARY.rglob("*.py"))
}

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


def import_all(modules, folder=LIBRARY.parent):
    code = IMPORT_WITHOUT.format(blocked=("torch", "monai", "snakemake"), modules=tuple(modules))
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, check=True)
    return run.stdout


def test_only_the_network_needs_torch():
    outside = [name for name in MODULES if not name.startswith(("slideunet.network.", "slideunet.sharing."))]
    assert len(outside) > 30
    assert import_all([*outside, "slideunet.network.facts"]) == ""


def test_the_blocker_does_block():
    assert "slideunet.network.unet" in import_all(["slideunet.network.unet"])


@pytest.mark.parametrize("name", MODULES)
def test_the_library_does_not_know_snakemake(name):
    assert not any((module or "").split(".")[0] == "snakemake" for module in imported(MODULES[name]))


@pytest.mark.parametrize("path", sorted(SCRIPTS.glob("*.py")), ids=lambda path: path.stem)
def test_a_script_uses_the_library_and_no_other_script(path):
    others = {other.stem for other in SCRIPTS.glob("*.py")}
    assert not others & {(module or "").split(".")[0] for module in imported(path)}
