# slideunet: from a sample sheet of microscopy images to separated, measured cells and an accuracy report.
# This file is the table of contents; every rule is in workflow/rules, every script bears the name of its rule.
import sys

from snakemake.utils import min_version

min_version("9.0")

# The library; jobs inherit the search path.
sys.path.insert(0, f"{workflow.basedir}/workflow/lib")


include: "workflow/rules/internals.smk"


# config.yaml is the demo's. A user's own --configfile stands alone, so that no value of the demo leaks into it.
if not USER_CONFIG_FILES:

    configfile: f"{workflow.basedir}/config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/prepare.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/predict.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/drop.smk"


rule all:
    default_target: True
    input:
        rules.build_report.output.page,
        get_comparison(),
        get_shared_cells(),
        get_dropping(),


onsuccess:
    end_with_account()


onerror:
    end_with_exit_code()
