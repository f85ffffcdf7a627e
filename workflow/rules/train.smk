# One network per seed, and the mean of them, which is the model. A run that uses a model of another run plans none of it.
rule train_unet:
    input:
        split=rules.split_slides.output.table,
        initial=get_model(RUN.initial),
    output:
        facts=f"{SEED}/model.json",
        weights=f"{SEED}/model.safetensors",
        history=f"{SEED}/history.csv",
        curves=f"{SEED}/curves.png",
        patches=f"{SEED}/patches.png",
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
        slides_folder=SLIDES,
        seeds=SEEDS,
    message:
        "Scoring the network of every seed"
    script:
        "../scripts/score_seeds.py"
