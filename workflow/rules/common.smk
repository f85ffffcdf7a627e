# Loads and checks the configuration and the sheet, and names what the rules need. Holds no rule.
import os
import time
from pathlib import Path

from slideunet.inputs.load_run import account_of_failures, load_run, stop_on_input_errors

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
SEEDS = CONFIG["training"]["seeds"]
# The training of one seed is the model; those of several are joined.
JOINED = TRAINED_HERE and len(SEEDS) > 1
TRAINED = "results/seeds/{seed}" if JOINED else "results/model"


wildcard_constraints:
    batch="|".join(RUN.batches),
    part=r"\d+",
    seed=r"\d+",


def get_batch_files(wildcards):
    return RUN.files(wildcards.batch)


def get_batch_rows(wildcards):
    return RUN.rows(wildcards.batch, ["slide", "image", "labels", "mpp"])


def get_batch_threads(wildcards):
    # Small slides run in parallel as batches, a large one by itself.
    return get_cores() if is_large(wildcards.batch) else 1


def get_worker_threads(wildcards):
    # Elsewhere than here, the workers have CPUs of their own.
    return get_batch_threads(wildcards) if CONFIG["dask"]["cluster"] == "local" else 1


def is_large(batch):
    return batch.startswith("large-")


def get_batches(rule):
    return expand(f"results/batches/{{batch}}/{rule}.json", batch=RUN.batches)


def get_shared():
    """The cells in the further formats that are asked for."""
    return get_batches("share_cells") if CONFIG["cells"]["ome_tiff"] else []


def get_parts(wildcards):
    """The parts of a large slide, as far as it is to be predicted in parts."""
    parts = CONFIG["prediction"]["parts"]
    if parts == 1 or not is_large(wildcards.batch):
        return []
    return expand(
        "results/batches/{batch}/predict_part-{part}.json",
        batch=wildcards.batch,
        part=range(parts),
    )


def get_training(wildcards):
    """The choices of the training of one seed."""
    return CONFIG["training"] | {"seeds": [int(getattr(wildcards, "seed", SEEDS[0]))]}


def get_history(wildcards):
    return ["results/model/history.csv"] if TRAINED_HERE else []


def get_seed_scores(wildcards):
    return ["results/seeds/scores.csv"] if JOINED else []


def get_command():
    """What a user types to make this run again, for the report."""
    files = " ".join(str(path) for path in workflow.overwrite_configfiles)
    return "snakemake --cores all" + (f" --configfile {files}" if files else "")


def get_cores():
    """CPUs of one job: those that SLURM gave, not all that the node has."""
    given = os.environ.get("SLURM_CPUS_PER_TASK") if workflow.remote_exec else None
    return min(workflow.cores, int(given or workflow.cores))


def get_runtime(minutes):
    """More time with every attempt."""
    return lambda wildcards, attempt: minutes * attempt


def get_memory(megabytes):
    """More memory with every attempt, for slides that are larger than most."""
    return lambda wildcards, attempt: megabytes * 2 ** (attempt - 1)


def get_block_memory(wildcards, attempt, threads):
    """A worker holds a block with its margin and what is computed of it; there is one per thread."""
    return (2000 + 2000 * threads) * 2 ** (attempt - 1)


def end_with_account():
    """A run whose slides were not all done is no success, although its report is there."""
    # Loads zarr, which every job would wait for at the top of this file.
    from slideunet import quarantine

    page = Path("results/report/report.html")
    if page.is_file():  # Not when a single file was asked for.
        print(f"\nThe report: {page.absolute()}")
    code, account = quarantine.exit_summary(quarantine.read(Path("results/quarantine")))
    if code:
        print(f"\n{account}", file=sys.stderr, flush=True)
        workflow.persistence.unlock()
        os._exit(code)


def end_with_exit_code():
    """Snakemake ends with 1 whatever went wrong; the jobs left what it really was beside their logs."""
    code, account = account_of_failures(Path("logs"), START)
    print(account, file=sys.stderr, flush=True)
    workflow.persistence.unlock()
    os._exit(code)
