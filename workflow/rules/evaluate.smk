# Scores against the truth, the report, and the comparison with earlier runs.
rule score_slides:
    input:
        slides=rules.convert_slides.output.manifest,
        predictions=branch(
            get_dropped("predictions"), then=rules.predict_slides.output.manifest
        ),
        cells=rules.label_cells.output.manifest,
    output:
        manifest=f"{BATCH}/score_slides.json",
    log:
        "logs/score_slides/{batch}.log",
    benchmark:
        "benchmarks/score_slides/{batch}.tsv"
    conda:
        "../../envs/imaging.yaml"
    threads: 1
    resources:
        mem_mb=get_memory(4000),
        runtime=get_runtime(240),
    params:
        slides_folder=SLIDES,
        predictions_folder=PREDICTIONS,
        metrics_folder=METRICS,
    message:
        "Scoring batch {wildcards.batch}"
    script:
        "../scripts/score_slides.py"


rule build_report:
    input:
        sheet=RUN.sheet_path,
        split=rules.split_slides.output.table,
        model=MODEL / "model.json",
        history=branch(TRAINING, then=rules.join_seeds.output.history),
        seeds=branch(TRAINING and len(SEEDS) > 1, then=rules.score_seeds.output.scores),
        scores=get_batches(rules.score_slides.output.manifest),
        cells=branch(
            "cells" in KEPT, then=get_batches(rules.measure_cells.output.manifest)
        ),
    output:
        page=report(
            f"{REPORT}/report.html",
            caption="../report/report.rst",
            category="Report",
            labels={"content": "Accuracy report"},
        ),
        table=report(
            f"{REPORT}/metrics.csv",
            caption="../report/metrics.rst",
            category="Report",
            labels={"content": "Metrics of every labelled slide"},
        ),
        summary=report(
            f"{REPORT}/summary.json",
            caption="../report/summary.rst",
            category="Report",
            labels={"content": "Summary for machines"},
        ),
        # Numbers of the figures, and pictures of many slides.
        files=directory(f"{REPORT}/files"),
    log:
        "logs/build_report.log",
    benchmark:
        "benchmarks/build_report.tsv"
    conda:
        "../../envs/imaging.yaml"
    threads: 2
    resources:
        mem_mb=get_memory(4000),
        runtime=get_runtime(60),
    params:
        slides_folder=SLIDES,
        predictions_folder=PREDICTIONS,
        metrics_folder=METRICS,
        quarantine_folder=QUARANTINE,
        config=CONFIG,
        # Functions, because Snakemake takes braces in texts for wildcards.
        command=lambda wildcards: get_command(),
        title=lambda wildcards: CONFIG["report"]["title"],
        by=lambda wildcards: CONFIG["report"]["by"],
    message:
        "Building the report"
    script:
        "../scripts/build_report.py"


rule compare_earlier:
    input:
        # Of a run, the last file that changes with its results.
        earlier=RUN.earlier,
        summary=rules.build_report.output.summary,
    output:
        page=report(
            "results/comparison/comparison.html",
            caption="../report/comparison.rst",
            category="Report",
            labels={"content": "Comparison with earlier runs"},
        ),
        numbers="results/comparison/comparison.json",
    log:
        "logs/compare_earlier.log",
    benchmark:
        "benchmarks/compare_earlier.tsv"
    conda:
        "../../envs/imaging.yaml"
    threads: 1
    resources:
        mem_mb=get_memory(4000),
        runtime=get_runtime(60),
    params:
        # A function, because Snakemake takes braces in texts for wildcards.
        command=lambda wildcards: get_command(),
    message:
        "Comparing with earlier runs"
    script:
        "../scripts/compare_earlier.py"
