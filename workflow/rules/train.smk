# Training; not part of a run that uses the weights of another model.
if TRAINED_HERE:

    rule train_unet:
        input:
            split="results/split.tsv",
            initial=[RUN.initial / "model.json"] if RUN.initial else [],
        output:
            facts="results/model/model.json",
            history="results/model/history.csv",
            curves=report(
                "results/model/curves.png",
                caption="../report/curves.rst",
                category="Training",
            ),
            patches=report(
                "results/model/patches.png",
                caption="../report/patches.rst",
                category="Training",
            ),
        log:
            "logs/train_unet.log",
        benchmark:
            "benchmarks/train_unet.tsv"
        conda:
            "../../envs/torch.yaml"
        threads: get_cores()
        resources:
            mem_mb=get_memory(6000),
            runtime=get_runtime(1440),
        params:
            slides_folder="results/slides",
            model=CONFIG["model"],
            data={
                name: CONFIG["data"][name] for name in ("normalisation", "background")
            },
            training=CONFIG["training"],
            initial=RUN.initial,
        message:
            "Training the U-Net"
        script:
            "../scripts/train_unet.py"
