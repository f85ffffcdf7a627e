# From a model to probabilities, cells and their measurements.
rule predict_slides:
    input:
        slides=rules.convert_slides.output.manifest,
        parts=get_parts,
        model=get_model(MODEL),
        # What is wrong with the split, or with labelled slides that are equal, ends a run before this.
        split=branch(LABELLED, then=rules.split_slides.output.table),
    output:
        manifest=temp_unless_kept(f"{BATCH}/predict_slides.json", "maps", "predictions"),
    log:
        "logs/predict_slides/{batch}.log",
    benchmark:
        "benchmarks/predict_slides/{batch}.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: get_worker_threads
    resources:
        mem_mb=get_block_memory,
        runtime=get_runtime(480),
    params:
        slides_folder=SLIDES,
        predictions_folder=PREDICTIONS,
        prediction=CONFIG["prediction"],
        method=CONFIG["cells"]["method"],
        diameter=RUN.diameter,
        dask=CONFIG["dask"],
        ome_zarr=CONFIG["data"]["ome_zarr"],
        keep=KEPT,
        later=get_later(),
    message:
        "Predicting batch {wildcards.batch}"
    script:
        "../scripts/predict_slides.py"


# A share of the blocks of large slides; `predict_slides` finishes what these have begun.
use rule predict_slides as predict_part with:
    input:
        slides=rules.convert_slides.output.manifest,
        model=get_model(MODEL),
        split=rules.predict_slides.input.split,
    output:
        manifest=temp_unless_kept(
            f"{BATCH}/predict_part-{{part}}.json", "maps", "predictions"
        ),
    log:
        "logs/predict_part/{batch}-{part}.log",
    benchmark:
        "benchmarks/predict_part/{batch}-{part}.tsv"
    message:
        "Predicting part {wildcards.part} of batch {wildcards.batch}"


rule label_cells:
    input:
        predictions=rules.predict_slides.output.manifest,
        model=MODEL / "model.json",
    output:
        manifest=temp_unless_kept(f"{BATCH}/label_cells.json", "labels"),
    log:
        "logs/label_cells/{batch}.log",
    benchmark:
        "benchmarks/label_cells/{batch}.tsv"
    conda:
        "../../envs/imaging.yaml"
    threads: get_worker_threads
    resources:
        mem_mb=get_block_memory,
        runtime=get_runtime(240),
    params:
        predictions_folder=PREDICTIONS,
        threshold=CONFIG["prediction"]["threshold"],
        cells=get_separation(),
        dask=CONFIG["dask"],
        ome_zarr=CONFIG["data"]["ome_zarr"],
        keep=KEPT,
        later=get_later(),
    message:
        "Separating the cells of batch {wildcards.batch}"
    script:
        "../scripts/label_cells.py"


rule measure_cells:
    input:
        slides=rules.convert_slides.output.manifest,
        predictions=branch(
            get_dropped("predictions"), then=rules.predict_slides.output.manifest
        ),
        cells=rules.label_cells.output.manifest,
    output:
        manifest=f"{BATCH}/measure_cells.json",
    log:
        "logs/measure_cells/{batch}.log",
    benchmark:
        "benchmarks/measure_cells/{batch}.tsv"
    conda:
        "../../envs/imaging.yaml"
    threads: get_worker_threads
    resources:
        mem_mb=get_block_memory,
        runtime=get_runtime(240),
    params:
        slides_folder=SLIDES,
        predictions_folder=PREDICTIONS,
        cells_folder=CELLS,
        dask=CONFIG["dask"],
    message:
        "Measuring the cells of batch {wildcards.batch}"
    script:
        "../scripts/measure_cells.py"


rule share_cells:
    input:
        cells=rules.label_cells.output.manifest,
    output:
        manifest=f"{BATCH}/share_cells.json",
    log:
        "logs/share_cells/{batch}.log",
    benchmark:
        "benchmarks/share_cells/{batch}.tsv"
    conda:
        "../../envs/imaging.yaml"
    threads: 1
    resources:
        mem_mb=get_memory(2000),
        runtime=get_runtime(240),
    params:
        predictions_folder=PREDICTIONS,
        cells_folder=CELLS,
    message:
        "Writing the label images of batch {wildcards.batch}"
    script:
        "../scripts/share_cells.py"
