"""What the documentation says is there is there, and what is there is said."""

import ast
import functools
import re
import subprocess
from importlib.metadata import packages_distributions
from pathlib import Path

import numpy as np
import pytest
import yaml
from making import measure_labels

from slideunet import __version__
from slideunet.report.tables import metrics_table

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS, LIBRARY = ROOT / "workflow" / "scripts", ROOT / "workflow" / "lib"
REQUIREMENT_FILES = (
    "requirements.txt",
    "requirements-view.txt",
    "requirements-dev.txt",
    "requirements-docs.txt",
)
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("resources/**/*.md")])
# The changelog, the notebook and decisions name keys of earlier versions too.
CURRENT = [
    page
    for page in PAGES
    if page.name != "CHANGELOG.md" and page.parent.name not in ("notebook", "decisions")
]
DECISIONS = sorted(ROOT.glob("docs/decisions/*.md"))
RULES = {
    rule: env
    for file in (ROOT / "workflow" / "rules").glob("*.smk")
    for rule, env in re.findall(r"rule (\w+):.*?envs/(\w+\.yaml)", file.read_text(), re.DOTALL)
}
TEXT = {
    ".py",
    ".smk",
    ".md",
    ".yaml",
    ".yml",
    ".toml",
    ".txt",
    ".rst",
    ".cff",
    ".css",
    ".j2",
    ".tsv",
    ".csv",
    "",
}
OWN_FOLDERS = "workflow|envs|docs|resources|tests|profiles|bench"


def pins(text):
    return dict(re.findall(r"^\s*-?\s*([A-Za-z][\w.-]*)==(\S+)$", text, re.MULTILINE))


def environment(name):
    return pins((ROOT / "envs" / name).read_text())


def canonical(package):
    return re.sub(r"[-_.]+", "-", package).lower()


@functools.cache
def imported(file):
    """Return the absolute names that a Python file imports, inside functions too."""
    names = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return names


def own_file(module):
    path = LIBRARY / module.replace(".", "/")
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def needed_packages(script):
    """Follow the imports of a script through the library and return the top-level names from elsewhere."""
    found, waiting, seen = set(), [script], set()
    while waiting:
        file = waiting.pop()
        seen.add(file)
        for name in imported(file):
            if name.split(".")[0] != "slideunet":
                found.add(name.split(".")[0])
            elif (own := own_file(name)) and own not in seen:
                waiting.append(own)
    return found


def tracked_files():
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


def test_the_generated_tables_are_up_to_date(load_script):
    write_tables = load_script("docs/write_tables.py")
    for page, text in write_tables.pages_with_tables(ROOT).items():
        assert page.read_text() == text, "run `make docs`"
    with pytest.raises(ValueError, match="once each"):
        write_tables.put_table("<!-- a:begin -->", "a", "")


def test_every_dependency_has_its_reason_and_no_other_has():
    pinned = [package for name in REQUIREMENT_FILES for package in environment(name)]
    assert len(pinned) > 20
    rows = re.findall(
        r"^\| `([\w.-]+)` \| ([^|]+) \| ([^|]+) \|$",
        (ROOT / "docs/dependencies.md").read_text(),
        re.MULTILINE,
    )
    assert sorted(name for name, _, _ in rows) == sorted(pinned)


def test_every_requirement_is_pinned():
    for name in REQUIREMENT_FILES:
        lines = [
            line for line in (ROOT / "envs" / name).read_text().splitlines() if line and line[0] not in "#-"
        ]
        assert len(pins("\n".join(lines))) == len(lines)


@pytest.mark.parametrize("name", sorted(set(RULES.values())))
def test_conda_environments_have_the_pins_of_pip(name):
    pinned = environment("requirements.txt")
    own = environment(name)
    assert own
    assert own == {package: pinned.get(package) for package in own}
    listed = yaml.safe_load((ROOT / "envs" / name).read_text())["dependencies"]
    assert [*own] == [line.split("==")[0] for line in listed[-1]["pip"]]


@pytest.mark.parametrize("rule", sorted(RULES))
def test_the_environment_of_a_rule_has_what_its_script_imports(rule):
    top_level = needed_packages(SCRIPTS / f"{rule}.py")
    providers = packages_distributions()
    # Snakemake brings itself into the environment; NNCF is optional.
    needed = {canonical(providers[name][0]) for name in top_level if name in providers}
    needed -= {"snakemake", "slideunet", "nncf"}
    assert needed & {"numpy", "pandas"}
    assert needed <= {canonical(package) for package in environment(RULES[rule])}


def test_every_script_of_a_rule_was_looked_at():
    assert set(RULES) == {file.stem for file in SCRIPTS.glob("*.py")} - {
        "compare_runs",
        "calibrate_model",
        "configure_prediction",
        "make_sheet",
        "share_model",
        "view_slide",
        "write_crate",
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_named_files_exist(page):
    text = page.read_text()
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    missing = [link for link in links if link and not (page.parent / link).exists()]
    # Names with a placeholder or a pattern are not files.
    named = re.findall(rf"(?<![\w/.-])((?:{OWN_FOLDERS}|\.ci)/[\w./-]+)(?![\w<{{*])", text)
    missing += [name for name in named if not (ROOT / name.rstrip(".")).exists() and not name.endswith("-")]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_anchors_are_headings(page):
    for target, anchor in re.findall(r"\]\(([^)\s#]*)#([^)\s]+)\)", page.read_text()):
        headings = re.findall(
            r"^#+ (.+)$", (page.parent / target if target else page).read_text(), re.MULTILINE
        )
        assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_is_in_the_index_and_in_the_site():
    index, site = (ROOT / "docs" / "index.md").read_text(), (ROOT / "mkdocs.yml").read_text()
    for page in PAGES:
        name = page.relative_to(ROOT).as_posix()
        assert name in site
        assert name == "docs/index.md" or not name.startswith("docs/") or f"({name[5:]})" in index


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.stem)
def test_a_decision_has_number_status_and_date(page):
    title, _, status, *_ = page.read_text().split("\n")
    assert title.startswith(f"# {page.name[:4]}: ")
    assert re.match(r"\*(Accepted|Superseded by \[\d{4}\]\(.+\)), \d{4}-\d\d-\d\d[.;]", status)


def test_the_readme_is_short_and_its_pictures_are_small():
    readme = (ROOT / "README.md").read_text()
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", readme)
    assert len(readme.splitlines()) <= 160
    assert len(pictures) >= 2
    assert all((ROOT / picture).stat().st_size < 400_000 for picture in pictures)


def test_every_make_target_that_is_named_exists():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        name for page in PAGES for name in re.findall(r"(?:`|^)make ([a-z]+)", page.read_text(), re.MULTILINE)
    }
    assert {"demo", "test", "lint", "sheet"} <= named <= targets


def keys_of(section, path=()):
    """The dotted names of all keys of a section of the schema, those of alternatives included."""
    for name, own in section.get("properties", {}).items():
        yield ".".join((*path, name))
        for part in (own, *own.get("anyOf", []), *own.get("oneOf", [])):
            yield from keys_of(part, (*path, name))


@pytest.mark.parametrize("page", CURRENT, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_configuration_key_that_is_named_exists(page):
    schema = yaml.safe_load((ROOT / "workflow" / "schemas" / "config.schema.yaml").read_text())
    keys = set(keys_of(schema))
    sections = "|".join(name for name, own in schema["properties"].items() if "properties" in own)
    named = re.findall(rf"`((?:{sections})(?:\.[a-z_]+)+)", page.read_text())
    files = (".json", ".safetensors", ".html")
    # The options below `dask.slurm` are those of dask-jobqueue.
    others = {name for name in named if not name.endswith(files) and not name.startswith("dask.slurm.")}
    assert not others - keys


def test_every_column_of_the_tables_is_explained():
    outputs = (ROOT / "docs" / "outputs.md").read_text()
    labels = np.eye(5, dtype=np.uint32)
    cells = measure_labels(labels, np.zeros((1, 5, 5)), labels.astype(np.uint8), ["CHANNEL"], 0.5)
    for column in [*metrics_table([]).columns, *cells.columns]:
        assert f"`{column}`" in outputs


def test_every_row_of_odd_inputs_names_tests_that_exist():
    rows = [
        line
        for line in (ROOT / "docs" / "odd-inputs.md").read_text().splitlines()
        if line.startswith("| ") and not line.startswith("| input |")
    ]
    assert len(rows) > 40
    for row in rows:
        *_, named = (cell.strip() for cell in row.strip("|").split(" | "))
        tests = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", named)
        assert tests and named == ", ".join(f"`{file}::{name}`" for file, name in tests), row
        for file, name in tests:
            assert re.search(rf"^def {name}\(", (ROOT / file).read_text(), re.MULTILINE), row


def test_the_version_is_the_same_everywhere():
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == __version__


def test_nothing_of_one_machine_is_in_the_repository():
    # The loopback address is that of every machine.
    own = re.compile(rf"(?<![\w./-]){re.escape(str(ROOT))}(?![\w-])|/home/\w+/|/Users/\w+/")
    registry = re.compile(
        r"index-url|find-links|trusted-host|://(?:localhost|(?!127\.0\.0\.1)\d+\.\d+\.\d+\.\d+|[\w-]+(?::\d+)?/|[\w.-]+\.(?:internal|local|lan))"
    )
    faults = []
    for file in tracked_files():
        if file.suffix in TEXT and file != Path(__file__):
            for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
                if own.search(line) or registry.search(line):
                    faults.append(f"{file.relative_to(ROOT)}:{number}: {line.strip()}")
    assert not faults
