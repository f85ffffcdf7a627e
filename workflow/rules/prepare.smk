# From the sheet to checked, converted and divided slides.
if RUN.made:

    rule draw_demo:
        input:
            sheet=RUN.sheet_path,
        output:
            RUN.made,
        log:
            "logs/draw_demo.log",
        benchmark:
            "benchmarks/draw_demo.tsv"
        conda:
            "../../envs/imaging.yaml"
        threads: 1
        resources:
            mem_mb=get_memory(1000),
            runtime=get_runtime(10),
        message:
            "Drawing the demo cohort"
        script:
            "../scripts/draw_demo.py"


rule check_inputs:
    input:
        sheet=RUN.sheet_path,
        files=RUN.files(),
    output:
        table="results/inputs.tsv",
    log:
        "logs/check_inputs.log",
    benchmark:
        "benchmarks/check_inputs.tsv"
    retries: 0
    conda:
        "../../envs/imaging.yaml"
    threads: get_cores()
    resources:
        mem_mb=get_memory(2000),
        runtime=get_runtime(60),
    params:
        **CONFIG["split"],
        rows=RUN.sheet.to_dict("records"),
        batches=RUN.batches,
        channels=CONFIG["data"]["channels"],
        mpp=CONFIG["data"]["mpp"],
        ignore_label=CONFIG["data"]["ignore_label"],
        weights=RUN.weights,
        required=RUN.required,
        quarantine_folder="results/quarantine",
    message:
        "Checking all images and labels"
    script:
        "../scripts/check_inputs.py"


rule convert_slides:
    input:
        # A changed sheet runs every batch again, and each passes over the slides that are up to date. (Snakemake
        # 9.27 plans nothing below a job that has to run again when its output is marked `ancient`.)
        check="results/inputs.tsv",
        files=get_batch_files,
    output:
        manifest="results/batches/{batch}/convert_slides.json",
    log:
        "logs/convert_slides/{batch}.log",
    benchmark:
        "benchmarks/convert_slides/{batch}.tsv"
    conda:
        "../../envs/imaging.yaml"
    threads: get_batch_threads
    resources:
        mem_mb=get_memory(2000),
        runtime=get_runtime(240),
    params:
        rows=get_batch_rows,
        required=RUN.required,
        slides_folder="results/slides",
        quarantine_folder="results/quarantine",
        channels=CONFIG["data"]["channels"],
        mpp=CONFIG["data"]["mpp"],
        shrink_by=RUN.shrink_by,
        ignore_label=CONFIG["data"]["ignore_label"],
        ome_zarr=CONFIG["data"]["ome_zarr"],
    message:
        "Converting batch {wildcards.batch} to OME-Zarr"
    script:
        "../scripts/convert_slides.py"


rule split_slides:
    input:
        batches=get_batches("convert_slides"),
    output:
        table="results/split.tsv",
    log:
        "logs/split_slides.log",
    benchmark:
        "benchmarks/split_slides.tsv"
    conda:
        "../../envs/imaging.yaml"
    threads: 1
    resources:
        mem_mb=get_memory(1000),
        runtime=get_runtime(10),
    params:
        **CONFIG["split"],
        rows=RUN.sheet[["slide", "group", "stratum", "split", "labels"]].to_dict(
            "records"
        ),
        slides_folder="results/slides",
        model=RUN.weights,
        initial=RUN.initial,
    message:
        "Dividing the slides by group"
    script:
        "../scripts/split_slides.py"
