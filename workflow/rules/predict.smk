# From a model to probabilities, cells and their measurements.
rule predict_slides:
    input:
        slides="results/batches/{batch}/convert_slides.json",
        model=MODEL / "model.json",
    output:
        manifest="results/batches/{batch}/predict_slides.json",
    log:
        "logs/predict_slides/{batch}.log",
    benchmark:
        "benchmarks/predict_slides/{batch}.tsv"
    retries: 1
    conda:
        "../../envs/torch.yaml"
    threads: get_batch_threads
    resources:
        mem_mb=get_memory(4000),
        runtime=480,
    params:
        slides=get_batch_slides,
        slides_folder="results/slides",
        predictions_folder="results/predictions",
        precision=CONFIG["prediction"]["precision"],
        tile=CONFIG["prediction"]["tile"],
        ome_zarr=CONFIG["data"]["ome_zarr"],
    message:
        "Predicting batch {wildcards.batch}"
    script:
        "../scripts/predict_slides.py"


rule label_cells:
    input:
        predictions="results/batches/{batch}/predict_slides.json",
        model=MODEL / "model.json",
    output:
        manifest="results/batches/{batch}/label_cells.json",
    log:
        "logs/label_cells/{batch}.log",
    benchmark:
        "benchmarks/label_cells/{batch}.tsv"
    retries: 1
    conda:
        "../../envs/imaging.yaml"
    threads: 1
    resources:
        mem_mb=get_memory(4000),
        runtime=240,
    params:
        slides=get_batch_slides,
        predictions_folder="results/predictions",
        threshold=CONFIG["prediction"]["threshold"],
        method=CONFIG["cells"]["method"],
        min_area=CONFIG["cells"]["min_area"],
        ome_zarr=CONFIG["data"]["ome_zarr"],
    message:
        "Separating the cells of batch {wildcards.batch}"
    script:
        "../scripts/label_cells.py"


rule measure_cells:
    input:
        slides="results/batches/{batch}/convert_slides.json",
        cells="results/batches/{batch}/label_cells.json",
    output:
        manifest="results/batches/{batch}/measure_cells.json",
    log:
        "logs/measure_cells/{batch}.log",
    benchmark:
        "benchmarks/measure_cells/{batch}.tsv"
    retries: 1
    conda:
        "../../envs/imaging.yaml"
    threads: 1
    resources:
        mem_mb=get_memory(4000),
        runtime=240,
    params:
        slides=get_batch_slides,
        slides_folder="results/slides",
        predictions_folder="results/predictions",
        cells_folder="results/cells",
    message:
        "Measuring the cells of batch {wildcards.batch}"
    script:
        "../scripts/measure_cells.py"
