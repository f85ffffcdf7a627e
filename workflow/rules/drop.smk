# Removes what `data.keep` does not name, after its last use (docs/decisions/0015-keep.md).
rule drop_parts:
    input:
        slides=[rules.convert_slides.output.manifest],
        scores=rules.score_slides.output.manifest,
        cells=get_measurements,
    output:
        manifest=f"{BATCH}/drop_parts.json",
    log:
        "logs/drop_parts/{batch}.log",
    benchmark:
        "benchmarks/drop_parts/{batch}.tsv"
    localrule: True
    conda:
        "../../envs/imaging.yaml"
    threads: 1
    resources:
        mem_mb=get_memory(1000),
        runtime=get_runtime(30),
    params:
        parts=get_dropped("maps", "predictions"),
        predictions_folder=PREDICTIONS,
        cells_folder=CELLS,
    message:
        "Dropping the maps of batch {wildcards.batch}"
    script:
        "../scripts/drop_parts.py"


localrules:
    drop_labels,


# Report and comparison show cells, so their labels stay until both are written.
use rule drop_parts as drop_labels with:
    input:
        slides=get_batches(rules.convert_slides.output.manifest),
        page=rules.build_report.output.page,
        comparison=get_comparison(),
        shared=get_shared_cells(),
        # Both write what is gone into the manifests of the predictions: one after the other.
        earlier=get_dropped_parts(),
    output:
        manifest="results/batches/drop_labels.json",
    log:
        "logs/drop_labels.log",
    benchmark:
        "benchmarks/drop_labels.tsv"
    params:
        parts=get_dropped("labels", "cells"),
        predictions_folder=PREDICTIONS,
        cells_folder=CELLS,
    message:
        "Dropping the labels of all batches"
