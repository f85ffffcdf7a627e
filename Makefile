# `make help` lists the commands. Each makes .venv when it is missing; it needs python3.11, pip and make.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
CORES ?= all
# The jobs of a run find the interpreter and its tools by PATH.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help demo histology sheet predict test quick test-slurm test-gpu lint format hooks docs docs-site share calibrate wheels bench clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(BIN)/.run: envs/requirements.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r envs/requirements.txt
	touch $@

$(BIN)/.dev: envs/requirements-dev.txt $(BIN)/.run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r envs/requirements-dev.txt
	touch $@

demo: $(BIN)/.run ## install, fine-tune a bundled model on real fluorescence images, print the path of the report
	snakemake --cores $(CORES)

histology: $(BIN)/.run ## the same on real H&E, in results-histology/
	snakemake --cores $(CORES) --configfile resources/demo/histology.yaml --directory results-histology

sheet: $(BIN)/.run ## IMAGES=folder [LABELS=folder] [OUT=slides.tsv]: write a sample sheet and say what did not pair
	$(BIN)/python workflow/scripts/make_sheet.py --images "$(IMAGES)" $(if $(LABELS),--labels "$(LABELS)") --out "$(or $(OUT),slides.tsv)"

PREDICTED = $(or $(OUT),predicted)
# A name of resources/models, or the folder of another model.
MODEL ?= nuclei-fluorescence
predict: $(BIN)/.run ## IMAGES=folder [MODEL=name or folder] [OUT=folder] [CHANNELS=grey] [DIAMETER=px]: the cells of images by a trained model, nuclei-fluorescence if none is named
	test -f "$(PREDICTED)/slides.tsv" || $(BIN)/python workflow/scripts/make_sheet.py --images "$(IMAGES)" --out "$(PREDICTED)/slides.tsv"
	printf 'slides: slides.tsv\nmodel: {weights: "%s"}\ndata: {channels: %s}\ncells: {diameter: %s}\n' "$(if $(wildcard $(MODEL)/model.json),$(abspath $(MODEL)),$(MODEL))" "$(or $(CHANNELS),null)" "$(or $(DIAMETER),null)" > "$(PREDICTED)/config.yaml"
	snakemake --cores $(CORES) --configfile "$(PREDICTED)/config.yaml" --directory "$(PREDICTED)"

share: $(BIN)/.run ## MODEL=name or folder FORMAT=onnx|bioimageio|half OUT=file: a model for other programs
	$(BIN)/python workflow/scripts/share_model.py --model "$(if $(wildcard $(MODEL)/model.json),$(MODEL),resources/models/$(MODEL))" --format "$(FORMAT)" --out "$(OUT)"

calibrate: $(BIN)/.run ## MODEL=name or folder IMAGES=folder or packed.zip: ranges for prediction.precision int8, into its model.json; needs nncf
	$(BIN)/python workflow/scripts/calibrate_model.py --model "$(if $(wildcard $(MODEL)/model.json),$(MODEL),resources/models/$(MODEL))" --images "$(IMAGES)"

wheels: $(BIN)/.run ## wheels/: what a machine with torch for CUDA and Python 3.12 lacks, see docs/gpu.md
	$(BIN)/python -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.12 --implementation cp $(addprefix --platform ,manylinux_2_28_x86_64 manylinux_2_17_x86_64 manylinux2014_x86_64) -d wheels -r envs/requirements-gpu.txt

test: $(BIN)/.dev ## the tests
	$(BIN)/python -m pytest -n 2 --dist loadfile --max-worker-restart 0

quick: $(BIN)/.dev ## lint and the fast tests, before every commit
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile workflow/rules
	mypy
	$(BIN)/python -m pytest -q -n 2 --dist worksteal -m "not slow and not workflow"

test-slurm: $(BIN)/.dev ## a run on a SLURM of two nodes that is started here (Debian, root), or the reason why not
	tests/slurm/cluster.sh during $(BIN)/python -m pytest tests/slurm || test $$? -eq 77

test-gpu: $(BIN)/.dev ## the tests that need a GPU, or the reason why they are skipped
	$(BIN)/python -m pytest tests/gpu -m gpu

lint: $(BIN)/.dev ## ruff, snakefmt, snakemake --lint, mypy
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile workflow/rules
	snakemake --lint
	mypy

format: $(BIN)/.dev ## ruff and snakefmt, in place
	ruff check --fix .
	ruff format .
	snakefmt Snakefile workflow/rules

hooks: $(BIN)/.dev ## let git check style and title at every commit
	pre-commit install

docs: $(BIN)/.run ## write the tables of configuration and sheet into the docs
	$(BIN)/python docs/write_tables.py

DOCS := .venv-docs/bin
$(DOCS)/zensical: envs/requirements-docs.txt
	test -x $(DOCS)/python || $(PYTHON) -m venv .venv-docs
	$(DOCS)/python -m pip install --quiet --disable-pip-version-check -r envs/requirements-docs.txt
	touch $@

docs-site: $(DOCS)/zensical ## the documentation as a web site, in site/html
	rm -rf site && mkdir -p site/source
	git ls-files '*.md' docs/pictures resources/benchmarks LICENSE CITATION.cff tests/slurm/cluster.sh | tar -cT - | tar -xC site/source
	$(DOCS)/zensical build --strict

bench: $(BIN)/.run ## the benchmarks: prints ratios, writes bench/results/*.json
	for script in bench/bench_*.py; do $(BIN)/python $$script || exit 1; done

clean: ## remove what the demo made
	rm -rf results results-histology logs benchmarks .snakemake
