# Training; not part of a run that uses the weights of another model.
if TRAINED_HERE:

    rule train_unet:
        input:
            split="results/split.tsv",
            initial=[RUN.initial / "model.json"] if RUN.initial else [],
        output:
            facts=f"{TRAINED}/model.json",
            history=f"{TRAINED}/history.csv",
            curves=report(
                f"{TRAINED}/curves.png",
                caption="../report/curves.rst",
                category="Training",
            ),
            patches=report(
                f"{TRAINED}/patches.png",
                caption="../report/patches.rst",
                category="Training",
            ),
        log:
            "logs/train_unet/{seed}.log" if JOINED else "logs/train_unet.log",
        benchmark:
            "benchmarks/train_unet/{seed}.tsv"
            if JOINED
            else "benchmarks/train_unet.tsv"
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
            training=get_training,
            initial=RUN.initial,
            states="results/model/state",
        message:
            "Training the U-Net"
        script:
            "../scripts/train_unet.py"


# The mean of several seeds, and how far they are apart.
if JOINED:

    rule join_seeds:
        input:
            split="results/split.tsv",
            models=expand("results/seeds/{seed}/model.json", seed=SEEDS),
        output:
            facts="results/model/model.json",
            history="results/model/history.csv",
            curves="results/model/curves.png",
            patches="results/model/patches.png",
        log:
            "logs/join_seeds.log",
        benchmark:
            "benchmarks/join_seeds.tsv"
        conda:
            "../../envs/torch.yaml"
        threads: get_cores()
        resources:
            mem_mb=get_memory(6000),
            runtime=get_runtime(240),
        params:
            slides_folder="results/slides",
        message:
            "Joining the networks of all seeds"
        script:
            "../scripts/join_seeds.py"

    rule score_seeds:
        input:
            split="results/split.tsv",
            models=expand("results/seeds/{seed}/model.json", seed=SEEDS),
            joined="results/model/model.json",
        output:
            scores="results/seeds/scores.csv",
        log:
            "logs/score_seeds.log",
        benchmark:
            "benchmarks/score_seeds.tsv"
        conda:
            "../../envs/torch.yaml"
        threads: get_cores()
        resources:
            mem_mb=get_memory(6000),
            runtime=get_runtime(240),
        params:
            slides_folder="results/slides",
            seeds=SEEDS,
        message:
            "Scoring the network of every seed"
        script:
            "../scripts/score_seeds.py"
