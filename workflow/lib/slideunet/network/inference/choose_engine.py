"""Which engine and precision a run predicts with: chosen once, then the same for all its jobs.

Jobs, parts and restarts may run on machines of different speed. If each chose for itself, slides of one study
would differ in their last bits; so the first one stores its choice and the others use it.
"""

import json
import logging
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from slideunet.errors import DamagedDataError, InputError
from slideunet.model_json import EngineName, Head, Precision, int8_ranges, is_int8
from slideunet.stores.files import write_once

Auto = Literal["auto"]

# Pixels. Fewer are predicted in either precision before two networks are ready and timed.
_LEAST_TIMED = 4_000_000


def choose_engine(
    folder: Path,
    model: Path,
    facts: Mapping[str, Any],
    *,
    engine: EngineName | Auto,
    precision: Precision | Auto,
    heads: Sequence[Head],
    threads: int,
    pixels: int,
) -> tuple[EngineName, Precision]:
    """Return the engine and the precision of this run.

    OpenVINO's precisions are timed only where there are several and many pixels to predict: bf16 where the
    processor has it, int8 where the model was calibrated for it. For few pixels it is bf16 where the
    processor has it, else fp32, without timing.

    Parameters
    ----------
    folder : Path
        Folder of the predictions; the choice is stored there.
    model : Path
        Folder of the model.
    facts : mapping
        `model.json`.
    engine : "auto", "openvino" or "torch"
    precision : "auto", "fp32", "bf16", "int8" or "int8-bf16"
    heads : sequence of "centres" and "distance"
        Output heads that the run computes. The chosen engine of OpenVINO, if it was timed, stays ready
        for `open_engine`.
    threads : int
        Threads of the engine while it is timed.
    pixels : int
        Pixels that this job predicts.

    Raises
    ------
    InputError
        When int8 is asked for and the model was not calibrated, or the engine is torch.
    DamagedDataError
        When the stored choice is not readable, or the ranges for int8 are damaged.
    """
    if is_int8(precision):
        engine = _engine_of_int8(facts, engine)
    if engine != "auto" and precision != "auto":
        return engine, precision
    path = folder / f".choice-{facts['sha256'][:16]}-{engine}-{precision}.json"
    if not path.is_file():
        _keep(path, _choose(model, facts, engine, precision, heads, threads, pixels))
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        logging.info(f"Engine {kept['engine']}, precision {kept['precision']}, chosen on {kept['host']}")
        return kept["engine"], kept["precision"]
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedDataError(
            f"{path} is not readable ({error}). It names the engine that this run predicts with. Delete it; "
            "if the next choice differs, all slides are predicted again."
        ) from error


def _engine_of_int8(facts: Mapping[str, Any], engine: EngineName | Auto) -> EngineName:
    int8_ranges(facts)
    if engine == "torch":
        raise InputError(
            "prediction.precision is int8, which OpenVINO computes, and prediction.engine is torch. Set the "
            "engine to auto or openvino, or another precision."
        )
    return "openvino"


def _choose(
    model: Path,
    facts: Mapping[str, Any],
    engine: EngineName | Auto,
    precision: Precision | Auto,
    heads: Sequence[Head],
    threads: int,
    pixels: int,
) -> dict[str, Any]:
    # Engines load torch, which takes seconds; most jobs find the choice made.
    from slideunet.network.architecture.model_folder import load_network
    from slideunet.network.inference import engines

    name = engines.engine_of_machine(engine)
    seconds: Mapping[Any, float] = {}
    chosen = engines.claimed_precision(name) if precision == "auto" else precision
    ranges = int8_ranges(facts) if "int8" in facts and name == "openvino" else None
    precisions = engines.candidates(name, ranges is not None) if precision == "auto" else ()
    if chosen is None or (len(precisions) > 1 and pixels >= _LEAST_TIMED):
        network = load_network(model, facts).with_heads(heads)
        best, seconds = engines.fastest_engine(network, name, threads, facts["halo"], precisions, ranges)
        chosen = best.precision
        if name == "openvino":  # torch compiles nothing.
            engines.keep_engine(best, facts, heads=heads, threads=threads)
    return {"engine": name, "precision": chosen, "seconds": dict(seconds), "host": socket.gethostname()}


def _keep(path: Path, choice: dict[str, Any]) -> None:
    """Write the choice unless another job was first."""
    write_once(path, json.dumps(choice, indent=1) + "\n")
