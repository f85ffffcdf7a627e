# Scores against the truth, and the report.
rule score_slides:
    input:
        slides="results/batches/{batch}/convert_slides.json",
        cells="results/batches/{batch}/label_cells.json",
    output:
        manifest="results/batches/{batch}/score_slides.json",
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
        slides_folder="results/slides",
        predictions_folder="results/predictions",
        metrics_folder="results/metrics",
    message:
        "Scoring batch {wildcards.batch}"
    script:
        "../scripts/score_slides.py"


rule build_report:
    input:
        split="results/split.tsv",
        model=MODEL / "model.json",
        history=get_history,
        seeds=get_seed_scores,
        scores=get_batches("score_slides"),
        cells=get_batches("measure_cells"),
    output:
        page=report(
            "results/report/report.html",
            caption="../report/report.rst",
            category="Report",
        ),
        table=report(
            "results/report/metrics.csv",
            caption="../report/metrics.rst",
            category="Report",
        ),
        summary="results/report/summary.json",
    log:
        "logs/build_report.log",
    benchmark:
        "benchmarks/build_report.tsv"
    conda:
        "../../envs/imaging.yaml"
    threads: 1
    resources:
        mem_mb=get_memory(4000),
        runtime=get_runtime(60),
    params:
        sheet=RUN.sheet_path,
        slides_folder="results/slides",
        predictions_folder="results/predictions",
        metrics_folder="results/metrics",
        history="results/model/history.csv" if TRAINED_HERE else None,
        seed_scores="results/seeds/scores.csv" if JOINED else None,
        quarantine_folder="results/quarantine",
        config=CONFIG,
        command=get_command(),
        title=CONFIG["report"]["title"],
        by=CONFIG["report"]["by"],
    message:
        "Building the report"
    script:
        "../scripts/build_report.py"
