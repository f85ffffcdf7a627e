"""Which engine and precision a run predicts with: chosen once by timing, then the same for all its jobs.

Jobs, parts and restarts may run on machines of different speed. If each chose for itself, slides of one study
would differ in their last bits; so the first one writes its choice down and the others keep to it.
"""

import contextlib
import json
import logging
import os
import socket
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from slideunet.errors import DamagedDataError
from slideunet.model_json import EngineName, Precision

Auto = Literal["auto"]


def choose_engine(
    folder: Path,
    model: Path,
    facts: Mapping[str, Any],
    *,
    engine: EngineName | Auto,
    precision: Precision | Auto,
    threads: int,
) -> tuple[EngineName, Precision]:
    """Return the engine and the precision of this run.

    Parameters
    ----------
    folder : Path
        Of the predictions; the choice is kept there.
    model : Path
        Folder of the model.
    facts : mapping
        `model.json`.
    engine : "auto", "openvino" or "torch"
    precision : "auto", "fp32" or "bf16"
    threads : int
        To time with.

    Raises
    ------
    DamagedDataError
        When the choice that is kept is not readable.
    """
    if engine != "auto" and precision != "auto":
        return engine, precision
    path = folder / f".choice-{facts['sha256'][:16]}-{engine}-{precision}.json"
    if not path.is_file():
        _keep(path, _time(model, facts, engine, precision, threads))
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        logging.info(f"Engine {kept['engine']}, precision {kept['precision']}, chosen on {kept['host']}")
        return kept["engine"], kept["precision"]
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedDataError(
            f"{path} is not readable ({error}). It says which engine this run predicts with. Delete it; "
            "predictions of another choice are made again."
        ) from error


def _time(
    model: Path,
    facts: Mapping[str, Any],
    engine: EngineName | Auto,
    precision: Precision | Auto,
    threads: int,
) -> dict[str, Any]:
    # Engines load torch, which takes seconds; most jobs find the choice made.
    from slideunet.network.architecture.model_folder import load_network
    from slideunet.network.inference import engines

    name = engines.engine_of_machine(engine)
    seconds: Mapping[Any, float] = {}
    chosen = precision
    if precision == "auto":
        network = load_network(model, facts)
        chosen, seconds = engines.fastest_precision(network, name, threads, facts["halo"])
    return {"engine": name, "precision": chosen, "seconds": dict(seconds), "host": socket.gethostname()}


def _keep(path: Path, choice: dict[str, Any]) -> None:
    """Write the choice unless another job was first: a hard link does not replace a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    own = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    own.write_text(json.dumps(choice, indent=1) + "\n", encoding="utf-8")
    try:
        with contextlib.suppress(FileExistsError):
            os.link(own, path)
    finally:
        own.unlink()
