# From the sheet to checked, converted and split slides.
rule check_inputs:
    input:
        sheet=RUN.sheet_path,
        files=RUN.inputs(),
        model=get_model_json(RUN.weights),
    output:
        table=report(
            "results/inputs.tsv",
            caption="../report/inputs.rst",
            category="Cohort",
            labels={"content": "Slides that can be used"},
        ),
        sheet="results/sheet.tsv",
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
        # Of changed inputs whatever their time stamps; only for Snakemake, which runs the job again.
        version=lambda wildcards: RUN.version(),
        channels=CONFIG["data"]["channels"],
        mpp=CONFIG["data"]["mpp"],
        ignore_label=CONFIG["data"]["ignore_label"],
        background_label=CONFIG["data"]["background_label"],
        truth=CONFIG["data"]["truth"],
        outline=CONFIG["data"]["outline"],
        seen=bool(RUN.weights or RUN.initial),
        quarantine_folder=QUARANTINE,
    message:
        "Checking all images and labels"
    script:
        "../scripts/check_inputs.py"


rule convert_slides:
    input:
        # A changed sheet runs every batch again, and each passes over the slides that are up to date. (Snakemake
        # 9.27 plans nothing below a job that has to run again when its output is marked `ancient`.)
        sheet=rules.check_inputs.output.sheet,
        files=get_batch_files,
    output:
        manifest=f"{BATCH}/convert_slides.json",
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
        slides=get_batch_slides,
        version=get_batch_version,
        training=TRAINING,
        slides_folder=SLIDES,
        quarantine_folder=QUARANTINE,
        channels=CONFIG["data"]["channels"],
        mpp=CONFIG["data"]["mpp"],
        ignore_label=CONFIG["data"]["ignore_label"],
        background_label=CONFIG["data"]["background_label"],
        truth=CONFIG["data"]["truth"],
        outline=CONFIG["data"]["outline"],
        ome_zarr=CONFIG["data"]["ome_zarr"],
        keep_pixels="slides" in KEPT,
    message:
        "Converting batch {wildcards.batch} to OME-Zarr"
    script:
        "../scripts/convert_slides.py"


rule split_slides:
    input:
        sheet=rules.check_inputs.output.sheet,
        batches=get_batches(rules.convert_slides.output.manifest),
        learned=get_model_json(RUN.weights or RUN.initial),
    output:
        table=report(
            "results/split.tsv",
            caption="../report/split.rst",
            category="Cohort",
            labels={"content": "Split of the slides"},
        ),
    log:
        "logs/split_slides.log",
    benchmark:
        "benchmarks/split_slides.tsv"
    localrule: True
    conda:
        "../../envs/imaging.yaml"
    threads: 1
    resources:
        mem_mb=get_memory(1000),
        runtime=get_runtime(10),
    params:
        **CONFIG["split"],
        training=TRAINING,
        slides_folder=SLIDES,
    message:
        "Splitting the slides by group"
    script:
        "../scripts/split_slides.py"
