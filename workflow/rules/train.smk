# One network per seed, and the mean of them, which is the model. A run that uses a model of another run plans none of it.
rule train_unet:
    input:
        split=rules.split_slides.output.table,
        initial=get_model(RUN.initial),
    output:
        facts=f"{SEED}/model.json",
        weights=f"{SEED}/model.safetensors",
        history=f"{SEED}/history.csv",
        curves=report_of_seed(
            f"{SEED}/curves.png",
            caption="../report/seed_curves.rst",
            content="Learning curves",
        ),
        patches=report_of_seed(
            f"{SEED}/patches.png",
            caption="../report/seed_patches.rst",
            content="Training patches",
        ),
    log:
        "logs/train_unet/{seed}.log",
    benchmark:
        "benchmarks/train_unet/{seed}.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: get_cores()
    resources:
        mem_mb=get_memory(6000),
        runtime=get_runtime(1440),
    params:
        slides_folder=SLIDES,
        model=CONFIG["model"],
        data={name: CONFIG["data"][name] for name in ("normalisation", "background")},
        training=get_training,
        states=STATES,
    message:
        "Training the U-Net with seed {wildcards.seed}"
    script:
        "../scripts/train_unet.py"


rule join_seeds:
    input:
        split=rules.split_slides.output.table,
        models=expand(rules.train_unet.output.facts, seed=SEEDS),
        weights=expand(rules.train_unet.output.weights, seed=SEEDS),
        histories=expand(rules.train_unet.output.history, seed=SEEDS),
        curves=expand(rules.train_unet.output.curves, seed=SEEDS),
        patches=expand(rules.train_unet.output.patches, seed=SEEDS),
    output:
        facts=f"{TRAINED}/model.json",
        weights=f"{TRAINED}/model.safetensors",
        history=report(
            f"{TRAINED}/history.csv",
            caption="../report/history.rst",
            category="Training",
            labels={"content": "History", "seed": ALL_SEEDS},
        ),
        curves=report(
            f"{TRAINED}/curves.png",
            caption="../report/curves.rst",
            category="Training",
            labels={"content": "Learning curves", "seed": ALL_SEEDS},
        ),
        patches=report(
            f"{TRAINED}/patches.png",
            caption="../report/patches.rst",
            category="Training",
            labels={"content": "Training patches", "seed": ALL_SEEDS},
        ),
    log:
        "logs/join_seeds.log",
    benchmark:
        "benchmarks/join_seeds.tsv"
    # The mean of one network is that network: a copy.
    localrule: len(SEEDS) == 1
    conda:
        "../../envs/torch.yaml"
    threads: get_cores()
    resources:
        mem_mb=get_memory(6000),
        runtime=get_runtime(240),
    params:
        slides_folder=SLIDES,
    message:
        "Joining the networks of all seeds"
    script:
        "../scripts/join_seeds.py"


rule score_seeds:
    input:
        split=rules.split_slides.output.table,
        models=rules.join_seeds.input.models,
        weights=rules.join_seeds.input.weights,
        joined=rules.join_seeds.output.facts,
        joined_weights=rules.join_seeds.output.weights,
    output:
        scores=report(
            "results/seeds/scores.csv",
            caption="../report/seed_scores.rst",
            category="Training",
            labels={"content": "Scores of every seed", "seed": ALL_SEEDS},
        ),
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
        slides_folder=SLIDES,
        seeds=SEEDS,
    message:
        "Scoring the network of every seed"
    script:
        "../scripts/score_seeds.py"
