# Loads and checks the configuration and the sheet, and names what the rules need. Holds no rule.
import os
import time
from pathlib import Path

from slideunet.inputs.load_run import (
    account_of_failures,
    load_run,
    stop_on_input_errors,
)
from slideunet.stores.kept import KEEPABLE, kept_parts

ROOT = Path(workflow.basedir)
START = time.time()

with stop_on_input_errors():
    RUN = load_run(
        config,
        config_files=USER_CONFIG_FILES or [ROOT / "config.yaml"],
        schemas=ROOT / "workflow" / "schemas",
        root=ROOT,
    )

CONFIG = RUN.config
TRAINING = RUN.weights is None
LABELLED = any(RUN.sheet["labels"] != "")
SEEDS = CONFIG["training"]["seeds"]
KEPT = kept_parts(CONFIG["data"]["keep"])
ALL_SEEDS = ", ".join(map(str, SEEDS))

# Where results go. What a job works through, slide by slide, lies in folders that are no declared outputs; the
# manifest of the batch is (docs/decisions/0001-batches-and-manifests.md).
BATCH = "results/batches/{batch}"
SLIDES = "results/slides"
PREDICTIONS = "results/predictions"
CELLS = "results/cells"
METRICS = "results/metrics"
QUARANTINE = "results/quarantine"
SEED = "results/seeds/{seed}"
STATES = "results/seeds/state"
TRAINED = "results/model"
MODEL = RUN.weights or Path(TRAINED)
REPORT = "results/report"

# Snakemake gives no job more than --cores and --max-threads.
ALL_CORES = 1024


wildcard_constraints:
    batch="|".join(RUN.batches),
    part=r"\d+",
    seed=r"\d+",


def get_batch_files(wildcards):
    return RUN.inputs(wildcards.batch)


def get_batch_version(wildcards):
    return RUN.version(wildcards.batch)


def get_batch_slides(wildcards):
    return RUN.batches[wildcards.batch]


def get_batch_threads(wildcards):
    # Small slides run in parallel as batches, a large one by itself.
    return get_cores() if wildcards.batch in RUN.large else 1


def get_worker_threads(wildcards):
    # Elsewhere than here, the workers have CPUs of their own.
    return get_batch_threads(wildcards) if CONFIG["dask"]["cluster"] == "local" else 1


def get_batches(manifest):
    """The manifests of one rule for all batches."""
    return expand(manifest, batch=RUN.batches)


def get_shared_cells():
    """The cells in the further formats that are asked for."""
    manifest = rules.share_cells.output.manifest
    return get_batches(manifest) if CONFIG["cells"]["ome_tiff"] else []


def get_comparison():
    """The comparison with earlier runs, if any are named."""
    return [rules.compare_earlier.output.page] if RUN.earlier else []


def temp_unless_kept(manifest, *parts):
    """The manifest of a batch whose stores are dropped after their last use: then it is gone, too.

    So Snakemake knows that it has to make them again when, and only when, a job that reads them has to run.
    The stores themselves it could not remove: it would do so before a job that goes on with unfinished ones.
    """
    return manifest if set(parts) <= set(KEPT) else temp(manifest)


def get_dropped(*parts):
    """Those of the parts that are not to stay."""
    return [part for part in parts if part not in KEPT]


def get_dropped_parts():
    """The jobs of batches that drop maps or predictions, where these are not to stay."""
    dropped = get_dropped("maps", "predictions")
    return get_batches(rules.drop_parts.output.manifest) if dropped else []


def get_dropping():
    """The last jobs of batches and run, where not everything is to stay."""
    last = [rules.drop_labels.output.manifest]
    return [*get_dropped_parts(), *(last if get_dropped("labels", "cells") else [])]


def get_later():
    """What comes after predictions: where parts of them are dropped, it tells which are needed again."""
    if not get_dropped("maps", "predictions", "labels"):
        return None
    return {
        "slides": SLIDES,
        "cells": CELLS,
        "metrics": METRICS,
        "threshold": CONFIG["prediction"]["threshold"],
        "separation": get_separation(),
        "version": CONFIG["data"]["ome_zarr"],
        "ome_tiff": CONFIG["cells"]["ome_tiff"],
    }


def get_separation():
    """What separates cells, of the section `cells`."""
    return {
        name: CONFIG["cells"][name]
        for name in ("method", "min_area", "min_probability")
    }


def get_measurements(wildcards):
    """The manifest of the measured cells, unless nobody wants them: nothing else is made of them."""
    return [] if get_dropped("cells") else rules.measure_cells.output.manifest


def get_parts(wildcards):
    """The parts of a large slide, as far as it is to be predicted in parts."""
    parts = CONFIG["prediction"]["parts"]
    if parts == 1 or wildcards.batch not in RUN.large:
        return []
    return expand(
        f"{BATCH}/predict_part-{{part}}.json", part=range(parts), allow_missing=True
    )


def get_model_json(folder):
    """The description of a model; nothing when there is no model."""
    return [folder / "model.json"] if folder else []


def get_model(folder):
    """Description and weights of a model; nothing when there is no model."""
    return [folder / "model.json", folder / "model.safetensors"] if folder else []


def get_training(wildcards):
    """The choices of the training of one seed; the model that it begins with is an input."""
    return CONFIG["training"] | {"seeds": [int(wildcards.seed)], "init_from": None}


def report_of_seed(path, caption, content):
    """A figure of one seed, in Snakemake's report if there are several: that of the model is the same with one."""
    if len(SEEDS) == 1:
        return path
    labels = {"content": content, "seed": "{seed}"}
    return report(path, caption=caption, category="Training", labels=labels)


def get_command():
    """What a user types to make this run again, for the report."""
    files = " ".join(str(path) for path in USER_CONFIG_FILES)
    return "snakemake --cores all" + (f" --configfile {files}" if files else "")


def get_cores():
    """CPUs of a job that can use many: in a SLURM job those that it was given, not all that the node has."""
    given = os.environ.get("SLURM_CPUS_PER_TASK") if ON_NODE else None
    return int(given or ALL_CORES)


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

    page = Path(rules.build_report.output.page)
    if page.is_file():  # Not when a single file was asked for.
        print(f"\nThe report: {page.absolute()}")
    code, account = quarantine.exit_summary(quarantine.read(Path(QUARANTINE)))
    if code:
        end_run(code, f"\n{account}")


def end_with_exit_code():
    """Snakemake ends with 1 whatever went wrong; the jobs left what it really was beside their logs."""
    end_run(*account_of_failures(Path("logs"), START))
