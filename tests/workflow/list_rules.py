"""Print, as JSON, what Snakemake knows of every rule of a workflow before it plans any job."""

import json
import re
import sys
from pathlib import Path

from snakemake.api import SnakemakeApi
from snakemake.settings.types import ConfigSettings, ResourceSettings


def plain(items):
    """The paths or values of a directive; a function of the wildcards is left out."""
    kept = [item for item in items if not callable(item)]
    return [without_constraints(item) if isinstance(item, str) else item for item in kept]


def without_constraints(path):
    return re.sub(r"\{(\w+),[^}]*\}", r"{\1}", path)


def shown(output):
    """What Snakemake's report says of an output."""
    flag = output.flags["report"]
    return {"caption": str(flag.caption), "category": flag.category, "labels": flag.labels}


def main(snakefile, folder, *config_files):
    with SnakemakeApi() as api:
        workflow = api.workflow(
            resource_settings=ResourceSettings(),
            config_settings=ConfigSettings(configfiles=config_files),
            snakefile=snakefile,
            workdir=folder,
        )._workflow
        rules = {
            rule.name: {
                **{name: plain(getattr(rule, name)) for name in ("input", "output", "params", "log")},
                "report": {
                    without_constraints(str(item)): shown(item)
                    for item in rule.output
                    if "report" in item.flags
                },
                "benchmark": str(rule.benchmark),
                "script": str(rule.script),
                "local": rule.name in workflow._localrules,
            }
            for rule in workflow.rules
        }
    print(json.dumps(rules, default=str))


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:]))
