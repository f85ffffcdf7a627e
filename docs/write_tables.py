"""Write the generated tables of the README, configuration keys and sheet columns, between their markers."""

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# A command of its own, outside of Snakemake: the package lies in the workflow.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "workflow" / "lib"))

from slideunet.inputs.configuration.schema import configuration_table
from slideunet.inputs.configuration.strict_yaml import read_yaml_strictly
from slideunet.inputs.configuration.wording import allowed_values

ROOT = Path(__file__).resolve().parent.parent


def sheet_table(schema: Mapping[str, Any]) -> str:
    """Write the columns of the sample sheet as a Markdown table (column, needed, allowed, meaning)."""
    lines = ["| column | needed | allowed | meaning |", "|---|---|---|---|"]
    for name, column in schema["properties"].items():
        needed = "yes" if name in schema["required"] else "no"
        # An empty cell of the sheet is what the schema calls null.
        allowed = allowed_values(column).removesuffix(" or null")
        lines.append(f"| `{name}` | {needed} | {allowed} | {column['description']} |")
    return "\n".join(lines) + "\n"


def put_table(text: str, name: str, table: str) -> str:
    """Replace what lies between `<!-- name:begin -->` and `<!-- name:end -->`; ValueError without them."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    if text.count(begin) != 1 or text.count(end) != 1:
        raise ValueError(f"the markers {begin} and {end} are not there once each")
    pattern = re.compile(f"({re.escape(begin)}\n).*?({re.escape(end)})", re.DOTALL)
    return pattern.sub(lambda found: found[1] + table + found[2], text)


def with_tables(readme: str, schemas: Path) -> str:
    """Return the README with both tables as the schemas have them now."""
    config = read_yaml_strictly(schemas / "config.schema.yaml")
    sheet = read_yaml_strictly(schemas / "slides.schema.yaml")
    readme = put_table(readme, "configuration", configuration_table(config))
    return put_table(readme, "sheet", sheet_table(sheet))


def main(*, readme: Path, schemas: Path) -> None:
    """Write the tables into the README."""
    text = readme.read_text(encoding="utf-8")
    readme.write_text(with_tables(text, schemas), encoding="utf-8")


if __name__ == "__main__":
    main(readme=ROOT / "README.md", schemas=ROOT / "workflow" / "schemas")
