"""What a small run costs besides computing: CPU seconds of every process, and of what each script imports.

    python bench/bench_start.py [--side 320] [--slides 2] [--model nuclei-fluorescence] [--precision auto]

Two drawn fields are predicted by a model that ships, as `make predict` does, once. Every Python process of
the run writes its CPU time when it ends (a `sitecustomize.py` on its search path); "exit" is what the
processes need after that. CPU time depends much less than wall time on what else the machine does. Then each
script is imported by itself: `start` is the CPU time of a process that does nothing else, its exit included,
and `modules` are the packages whose own imports take longest (`python -X importtime`, seconds of wall time
without what they import from one another).
Writes bench/results/start.json.
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIBRARY, SCRIPTS = ROOT / "workflow/lib", ROOT / "workflow/scripts"
sys.path[:0] = [str(LIBRARY), str(ROOT / "tests"), str(ROOT / "bench")]

from processor import processor  # noqa: E402
from synthetic.scene import Scene  # noqa: E402
from synthetic.write_files import write_field  # noqa: E402

# In the order in which they run.
JOBS = (
    "check_inputs", "convert_slides", "split_slides", "predict_slides", "label_cells", "score_slides",
    "measure_cells", "build_report",
)  # fmt: skip
GOALS = {"wall": 20, "cpu": 18, "start": 1.5}
_SHOWN = 8  # packages per script

_AT_EXIT = """
import atexit, json, os, sys, time

def _write():
    with open(os.environ["START_LOG"], "a", encoding="utf-8") as file:
        file.write(json.dumps([sys.argv[0], time.process_time()]) + "\\n")

atexit.register(_write)
"""


def run_workflow(folder: Path, *, side: int, slides: int, model: str, precision: str) -> dict[str, object]:
    """Predict drawn fields in `folder`: seconds of wall and CPU time, and CPU seconds by process.

    Raises
    ------
    subprocess.CalledProcessError
        When the run fails.
    """
    rows = ["slide\timage"]
    for number in range(slides):
        scene = Scene("fluorescence", number + 1, number + 1, side, side, 1.0, 0.5)
        write_field(scene, folder / f"field{number}.tif", None)
        rows.append(f"field{number}\tfield{number}.tif")
    (folder / "slides.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    config = f"slides: slides.tsv\nmodel: {{weights: {model}}}\nprediction: {{precision: {precision}}}\n"
    (folder / "config.yaml").write_text(config, encoding="utf-8")
    site, log = folder / "site", folder / "cpu.jsonl"
    site.mkdir()
    (site / "sitecustomize.py").write_text(_AT_EXIT, encoding="utf-8")
    environment = os.environ | {
        "PYTHONPATH": str(site),
        "START_LOG": str(log),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    command = ["snakemake", "--cores", "all", "--snakefile", str(ROOT / "Snakefile")]
    command += ["--configfile", str(folder / "config.yaml"), "--directory", str(folder)]
    before, start = _cpu_of_children(), time.perf_counter()
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, timeout=600)
    wall, cpu = time.perf_counter() - start, _cpu_of_children() - before
    lines = log.read_text(encoding="utf-8").splitlines()
    by_process = [(_name(argument), seconds) for argument, seconds in map(json.loads, lines)]
    by_process.append(("exit", cpu - sum(seconds for _, seconds in by_process)))
    return {"wall": round(wall, 2), "cpu": round(cpu, 2), "processes": _sums(by_process)}


def imports_of(script: str) -> dict[str, object]:
    """CPU seconds of a process that only imports a script, and the packages that take longest."""
    environment = os.environ | {"PYTHONPATH": f"{LIBRARY}{os.pathsep}{SCRIPTS}"}

    def python(*options: str) -> str:
        command = [sys.executable, *options, "-c", f"import {script}"]
        return subprocess.run(
            command, env=environment, check=True, capture_output=True, text=True, timeout=600
        ).stderr

    before = _cpu_of_children()
    python()
    cpu = _cpu_of_children() - before
    own: Counter[str] = Counter()
    for line in python("-X", "importtime").splitlines():
        if found := re.match(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\w+)", line):
            own[found[2]] += int(found[1])
    modules = {name: round(micros / 1e6, 3) for name, micros in own.most_common(_SHOWN)}
    return {"start": round(cpu, 2), "modules": modules}


def main() -> None:
    """Measure, print and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--side", type=int, default=320, help="of the fields, in pixels")
    parser.add_argument("--slides", type=int, default=2)
    parser.add_argument("--model", default="nuclei-fluorescence")
    # With ONEDNN_MAX_CPU_ISA=AVX2 on a processor with bf16, OpenVINO offers bf16 and then fails: take fp32.
    parser.add_argument("--precision", default="auto", choices=["auto", "fp32", "bf16"])
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = run_workflow(Path(folder), **vars(chosen))
    print(f"whole run: {run['wall']} s, {run['cpu']} s of CPU (goals {GOALS['wall']}, {GOALS['cpu']})")
    place = processor()
    for name, seconds in run["processes"].items():
        print(f"  {name:16} {seconds:6.2f}   {place}")
    scripts = {script: imports_of(script) for script in JOBS}
    print(f"imports (goal {GOALS['start']} s)")
    for script, found in scripts.items():
        slowest = ", ".join(f"{name} {seconds:.2f}" for name, seconds in list(found["modules"].items())[:4])
        print(f"  {script:16} {found['start']:6.2f}   {slowest}   {place}")
    results = ROOT / "bench/results"
    results.mkdir(exist_ok=True)
    record = vars(chosen) | {"processor": place, "goals": GOALS, "run": run, "scripts": scripts}
    (results / "start.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _name(argument: str) -> str:
    """Return the rule of a process: Snakemake copies its script to `tmp....{rule}.py`."""
    return Path(argument).stem.rpartition(".")[2]


def _sums(seconds: list[tuple[str, float]]) -> dict[str, float]:
    sums: Counter[str] = Counter()
    for name, value in seconds:
        sums[name] += value
    return {name: round(value, 2) for name, value in sums.items()}


if __name__ == "__main__":
    main()
