# `make help` lists the commands. Each makes .venv when it is missing; it needs Python 3.11, 3.12 or 3.13, pip and make.
# A name on PATH need not run (pyenv), and Debian has Python without ensurepip; so each is asked, the newest first.
ACCEPTED := import ensurepip, sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3; do \
	$$python -c "$(ACCEPTED)" 2> /dev/null && echo $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin
DOCS := .venv-docs/bin
CORES ?= all
# A path may hold every character. So make takes these values as they are, and the shell sees none of them as a part of
# a command, only as an environment variable.
MODEL ?= nuclei-fluorescence
$(foreach name,IMAGES LABELS OUT MODEL FORMAT CHANNELS DIAMETER A B C D SPLIT METRIC MARGIN RUN SLIDE AT PORT LICENSE,$(eval override export $(name) := $$(value $(name))))
# The jobs of a run find the interpreter and its tools by PATH.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help demo histology sheet predict view compare test quick test-pythons test-slurm test-gpu lint format hooks docs docs-site share crate calibrate wheels bench clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

# An environment whose Python is gone, as after an upgrade of the system, is made again.
$(BIN)/python $(DOCS)/python:
	@"$(PYTHON)" -c "$(ACCEPTED)" 2> /dev/null || { echo "No Python 3.11, 3.12 or 3.13 with venv: $(or $(PYTHON),python3.13 python3.12 python3.11 python3). Install one (on Debian and Ubuntu with python3-venv) or name it: make PYTHON=/path/to/python3.12 ..." >&2; exit 4; }
	"$(PYTHON)" -m venv $(if $(wildcard $(@D)/../pyvenv.cfg),--clear) $(@:/bin/python=)

$(BIN)/.run: envs/requirements.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r envs/requirements.txt
	touch $@

$(BIN)/.dev: envs/requirements-dev.txt $(BIN)/.run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r envs/requirements-dev.txt
	touch $@

$(BIN)/.view: envs/requirements-view.txt $(BIN)/.run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r envs/requirements-view.txt
	touch $@

demo: $(BIN)/.run ## install, fine-tune a bundled model on real fluorescence images, print the path of the report
	snakemake --cores $(CORES)

histology: $(BIN)/.run ## the same on real H&E, in results-histology/
	snakemake --cores $(CORES) --configfile resources/demo/histology.yaml --directory results-histology

sheet: $(BIN)/.run ## IMAGES=folder [LABELS=folder] [OUT=slides.tsv]: write a sample sheet and say what did not pair
	$(BIN)/python workflow/scripts/make_sheet.py --images="$$IMAGES" $${LABELS:+--labels="$$LABELS"} --out="$${OUT:-slides.tsv}"

predict: $(BIN)/.run ## IMAGES=folder [MODEL=name or folder] [OUT=folder] [CHANNELS=grey] [DIAMETER=px]: the cells of images by a trained model, nuclei-fluorescence if none is named
	$(BIN)/python workflow/scripts/make_sheet.py --keep --images="$$IMAGES" --out="$${OUT:-predicted}/slides.tsv"
	$(BIN)/python workflow/scripts/configure_prediction.py --model="$$MODEL" --channels="$$CHANNELS" --diameter="$$DIAMETER" --out="$${OUT:-predicted}/config.yaml"
	snakemake --cores $(CORES) --configfile="$${OUT:-predicted}/config.yaml" --directory="$${OUT:-predicted}"

view: $(BIN)/.view ## RUN=folder SLIDE=name [AT=y,x] [PORT=number]: a slide of a run in the browser: cells, their rows, the errors
	$(BIN)/python workflow/scripts/view_slide.py --run="$${RUN:-.}" --slide="$$SLIDE" --at="$$AT" --port="$$PORT"

compare: $(BIN)/.run ## A=run B=run [C=run] [D=run] [OUT=folder] [METRIC=ap50] [MARGIN=0.01] [SPLIT=test]: runs on the same slides; fails if one is worse than A by more than MARGIN
	$(BIN)/python workflow/scripts/compare_runs.py $${A:+--run="$$A"} $${B:+--run="$$B"} $${C:+--run="$$C"} $${D:+--run="$$D"} $${SPLIT:+--split="$$SPLIT"} $${METRIC:+--metric="$$METRIC"} $${MARGIN:+--margin="$$MARGIN"} --out="$${OUT:-comparison}"

share: $(BIN)/.run ## MODEL=name or folder FORMAT=onnx|bioimageio|half OUT=file: a model for other programs
	$(BIN)/python workflow/scripts/share_model.py --model="$$MODEL" --format="$$FORMAT" --out="$$OUT"

crate: $(BIN)/.run ## RUN=folder LICENSE=CC-BY-4.0: describe a finished run as an RO-Crate, to be deposited
	$(BIN)/python workflow/scripts/write_crate.py --run="$$RUN" --licence="$$LICENSE"

calibrate: $(BIN)/.run ## MODEL=name or folder IMAGES=folder or packed.zip: ranges for prediction.precision int8, into its model.json; needs nncf
	$(BIN)/python workflow/scripts/calibrate_model.py --model="$$MODEL" --images="$$IMAGES"

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

test-pythons: $(BIN)/python ## fast tests without torch on the other accepted Pythons that this machine has
	tests/pythons.sh $$($(BIN)/python -c "import sys; print(sys.version_info.minor)")

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

$(DOCS)/zensical: envs/requirements-docs.txt | $(DOCS)/python
	$(DOCS)/python -m pip install --quiet --disable-pip-version-check -r envs/requirements-docs.txt
	touch $@

docs-site: $(DOCS)/zensical ## the documentation as a web site, in site/html
	rm -rf site && mkdir -p site/source
	git ls-files '*.md' docs/pictures docs/schemas resources/benchmarks LICENSE CITATION.cff tests/slurm/cluster.sh | tar -cT - | tar -xC site/source
	$(DOCS)/zensical build --strict

bench: $(BIN)/.run ## the benchmarks: prints ratios, writes bench/results/*.json
	for script in bench/bench_*.py; do $(BIN)/python $$script || exit 1; done

clean: ## remove what the demo made
	rm -rf results results-histology logs benchmarks .snakemake
