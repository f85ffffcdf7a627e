# Loads and checks the configuration and the sheet, and names what the rules need. Holds no rule.
import os
import time
from pathlib import Path

from slideunet.inputs.start import account_of_failures, load_run, stop_on_input_errors

ROOT = Path(workflow.basedir)
START = time.time()

with stop_on_input_errors():
    RUN = load_run(
        config,
        config_files=[Path(path) for path in workflow.configfiles],
        schemas=ROOT / "workflow" / "schemas",
        root=ROOT,
    )

CONFIG = RUN.config
TRAINED_HERE = RUN.weights is None
MODEL = RUN.weights or Path("results/model")


wildcard_constraints:
    batch="|".join(RUN.batches),


def get_batch_files(wildcards):
    return RUN.files(wildcards.batch)


def get_batch_rows(wildcards):
    return RUN.rows(wildcards.batch, ["slide", "image", "labels", "mpp"])


def get_batch_slides(wildcards):
    return list(RUN.batches[wildcards.batch])


def get_batch_threads(wildcards):
    # Small slides run in parallel as batches, a large one by itself.
    return workflow.cores if wildcards.batch.startswith("large-") else 1


def get_batches(rule):
    return expand(f"results/batches/{{batch}}/{rule}.json", batch=RUN.batches)


def get_history(wildcards):
    return ["results/model/history.csv"] if TRAINED_HERE else []


def get_command():
    """What a user types to make this run again, for the report."""
    files = " ".join(str(path) for path in workflow.overwrite_configfiles)
    return "snakemake --cores all" + (f" --configfile {files}" if files else "")


def get_memory(megabytes):
    """More memory with every attempt, for slides that are larger than most."""
    return lambda wildcards, attempt: megabytes * 2 ** (attempt - 1)


def end_with_exit_code():
    """Snakemake ends with 1 whatever went wrong; the jobs left what it really was beside their logs."""
    code, account = account_of_failures(Path("logs"), START)
    print(account, file=sys.stderr, flush=True)
    workflow.persistence.unlock()
    os._exit(code)
