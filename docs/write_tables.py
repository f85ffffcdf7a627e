"""Write the tables that come from the schemas into the docs, between their markers."""

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# A command of its own, outside of Snakemake: the package is in the workflow.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "workflow" / "lib"))

from slideunet.inputs.configuration.schema import configuration_tables, preset_table
from slideunet.inputs.configuration.strict_yaml import read_yaml_strictly
from slideunet.inputs.configuration.wording import allowed_values

ROOT = Path(__file__).resolve().parent.parent


def sheet_table(schema: Mapping[str, Any]) -> str:
    """Write the columns of the sample sheet as a Markdown table (column, needed, allowed, meaning)."""
    lines = ["| column | needed | allowed | meaning |", "|---|---|---|---|"]
    for name, column in schema["properties"].items():
        needed = "yes" if name in schema["required"] else "no"
        # An empty cell of the sheet is null in the schema.
        allowed = allowed_values(column).removesuffix(" or null")
        lines.append(f"| `{name}` | {needed} | {allowed} | {column['description']} |")
    return "\n".join(lines) + "\n"


def put_table(text: str, name: str, table: str) -> str:
    """Replace the text between `<!-- name:begin -->` and `<!-- name:end -->`; ValueError without them."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    if text.count(begin) != 1 or text.count(end) != 1:
        raise ValueError(f"the markers {begin} and {end} are not there once each")
    pattern = re.compile(f"({re.escape(begin)}\n).*?({re.escape(end)})", re.DOTALL)
    return pattern.sub(lambda match: match[1] + table + match[2], text)


def pages_with_tables(root: Path) -> dict[Path, str]:
    """Return the pages of a repository with their tables up to date, by path."""
    config = read_yaml_strictly(root / "workflow" / "schemas" / "config.schema.yaml")
    sheet = read_yaml_strictly(root / "workflow" / "schemas" / "slides.schema.yaml")
    configuration, inputs = (root / "docs" / name for name in ("configuration.md", "inputs.md"))
    augmentation = config["properties"]["training"]["properties"]["augmentation"]
    text = put_table(configuration.read_text(encoding="utf-8"), "keys", configuration_tables(config))
    return {
        configuration: put_table(text, "presets", preset_table(augmentation)),
        inputs: put_table(inputs.read_text(encoding="utf-8"), "sheet", sheet_table(sheet)),
    }


if __name__ == "__main__":
    for page, text in pages_with_tables(ROOT).items():
        page.write_text(text, encoding="utf-8")
