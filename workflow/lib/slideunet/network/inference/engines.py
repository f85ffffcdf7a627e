"""OpenVINO or torch as the engine that computes the network, behind one interface."""

import importlib.util
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from slideunet.errors import MachineError
from slideunet.geometry.tiles import Tile
from slideunet.model_json import EngineName, Head, Precision, Ranges, int8_ranges, is_int8
from slideunet.network.architecture.model_folder import load_network
from slideunet.network.architecture.unet import UNet, UNetSpec
from slideunet.network.inference.device import best_device
from slideunet.network.inference.precision import choose_precision
from slideunet.network.inference.torch_engine import TorchEngine
from slideunet.slides.normalisation import Normalisation
from slideunet.stores.fingerprint import fingerprint

# Side in pixels of the core that is timed to choose a precision. On a GPU a small tile takes as long in
# either precision, because launching takes longer than computing.
_TRIAL, _GPU_TRIAL = 256, 1024


class Engine(Protocol):
    """A network that is ready to predict; several threads may use it.

    Attributes
    ----------
    name, version : str
        "openvino" or "torch", and its version: a prediction depends on both.
    precision : "fp32", "bf16", "int8" or "int8-bf16"
    spec : UNetSpec
    halo : int
        Pixels of context with which a prediction is exact; a multiple of 2^depth.
    margin : int
        Context of the decoder, and mirrored pixels beyond the border of a slide; see `border_margin`.
    step : int
        Cores begin and end on multiples of it: 2^depth, or more for an engine that wants few shapes.
    tile_limit : int or None
        Side of the largest core that fits into memory, once a larger one did not.
    memory : int
        Bytes for one tile, when its side is to be chosen; see `best_tile`.
    dtype : numpy.dtype
        Type of the result: uint8, except for engines that return logits.
    """

    name: str
    version: str
    precision: Precision
    spec: UNetSpec
    halo: int
    margin: int
    step: int
    tile_limit: int | None
    memory: int
    dtype: np.dtype

    def predict(self, tiles: Iterable[Tile], constants: Normalisation) -> Iterator[np.ndarray]:
        """Predict tiles, in their order; a GPU has several of them in flight.

        Parameters
        ----------
        tiles : iterable of Tile
        constants : Normalisation
            Constants of the whole slide.

        Yields
        ------
        ndarray (maps, y, x) uint8
            The maps of `spec` of each core, as `output_maps.to_bytes` encodes them; the first is the
            foreground, round(255 p).

        Raises
        ------
        MemoryError
            When a tile is too large for this machine.
        """


def open_engine(
    model_folder: Path,
    facts: Mapping[str, Any],
    *,
    engine: EngineName,
    heads: Sequence[Head] = (),
    precision: Precision,
    threads: int,
) -> Engine:
    """Load a model folder into an engine.

    Parameters
    ----------
    model_folder : Path
        Folder with model.safetensors.
    facts : mapping
        "architecture", "sha256" and "halo" of its `model.json`, and for int8 "int8".
    engine : "openvino" or "torch"
    heads : sequence of "centres" and "distance"
        Output heads of the model that are computed; the foreground always is.
    precision : "fp32", "bf16", "int8" or "int8-bf16"
    threads : int
        Threads of one prediction. OpenVINO's result does not depend on it; torch uses one on a CPU.

    Raises
    ------
    InputError, DamagedDataError
        See `load_network` and `int8_ranges`.
    """
    if kept := _kept.pop(_key(facts, engine, heads, precision, threads), None):
        return kept
    ranges = int8_ranges(facts) if is_int8(precision) else None
    network = load_network(model_folder, facts)
    return build_engine(network.with_heads(heads), engine, precision, threads, facts["halo"], ranges)


def keep_engine(engine: Engine, facts: Mapping[str, Any], *, heads: Sequence[Head], threads: int) -> None:
    """Keep an engine that is ready, instead of an earlier one, until `open_engine` is asked for its like.

    The arguments are those of `open_engine`.
    """
    _kept.clear()
    _kept[_key(facts, engine.name, heads, engine.precision, threads)] = engine


def discard_kept_engine() -> None:
    """Free the memory of an engine that is not wanted in this process."""
    _kept.clear()


# Compiled while the precision was chosen: made once more, it would take a second.
_kept: dict[str, Engine] = {}


def _key(
    facts: Mapping[str, Any], engine: str, heads: Sequence[Head], precision: Precision, threads: int
) -> str:
    """Return a digest of all that an engine depends on."""
    names = ("sha256", "architecture", "halo") + (("int8",) if is_int8(precision) else ())
    used = {name: facts[name] for name in names}
    return fingerprint(facts=used, engine=engine, heads=list(heads), precision=precision, threads=threads)


def engine_of_machine(engine: EngineName | Literal["auto"]) -> EngineName:
    """Return the engine to use: for "auto" torch on a GPU, OpenVINO on a CPU, torch where that is missing.

    Raises
    ------
    MachineError
        When OpenVINO is configured and not installed.
    """
    installed = importlib.util.find_spec("openvino") is not None
    if engine == "openvino" and not installed:
        raise MachineError(
            "prediction.engine is openvino, and OpenVINO, which computes on CPUs, is not installed. "
            "Install the package openvino, or set the engine to auto."
        )
    if engine != "auto":
        return engine
    if best_device().type == "cuda":
        return "torch"
    if not installed:
        logging.warning("OpenVINO is not installed: torch computes the network, at about half the speed.")
    return "openvino" if installed else "torch"


def build_engine(
    network: UNet,
    engine: EngineName,
    precision: Precision,
    threads: int,
    halo: int,
    ranges: Ranges | None = None,
) -> Engine:
    """Return an engine for a network in memory; the network itself is not changed.

    `ranges` are those of a calibrated network, for int8.
    """
    if engine == "torch":
        return TorchEngine(network, precision, best_device(), halo)
    from slideunet.network.inference.openvino_engine import OpenVINOEngine

    return OpenVINOEngine(network, precision, threads, halo, ranges if is_int8(precision) else None)


def claimed_precision(engine: EngineName) -> Precision | None:
    """Return the faster precision that the engine reports without timing; None for torch, which reports none.

    OpenVINO names bf16 among its capabilities where the processor has instructions for it (AVX512_BF16 or
    AMX); on other processors bf16 is not faster.
    """
    if engine == "torch":
        return None
    import openvino

    return "bf16" if "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "fp32"


def candidates(engine: EngineName, calibrated: bool) -> tuple[Precision, ...]:
    """Return the precisions that may be the fastest on this machine, the most exact first.

    Parameters
    ----------
    engine : "openvino" or "torch"
    calibrated : bool
        Whether the model has ranges for int8, which OpenVINO computes.
    """
    claimed = claimed_precision(engine)
    floats: tuple[Precision, ...] = ("fp32",) if claimed == "fp32" else ("fp32", "bf16")
    if engine == "torch" or not calibrated:
        return floats
    return (*floats, "int8") if claimed == "fp32" else (*floats, "int8", "int8-bf16")


def fastest_engine(
    network: UNet,
    engine: EngineName,
    threads: int,
    halo: int,
    precisions: Sequence[Precision],
    ranges: Ranges | None = None,
) -> tuple[Engine, dict[Precision, float]]:
    """Time one tile in several precisions on this machine, with the engine of the run, and choose.

    Returns
    -------
    The engine with the chosen precision, ready, and the best time of each in seconds; see `choose_precision`.
    """
    ready = _engines(network, engine, threads, halo, precisions, ranges)
    on_gpu = engine == "torch" and best_device().type == "cuda"
    side = (_GPU_TRIAL if on_gpu else _TRIAL) + 2 * halo
    pixels = np.random.default_rng(0).random((network.spec.channels, side, side), np.float32)
    core = (halo, side - halo)
    tile = Tile(pixels, (core, core))
    constants = Normalisation((0.0,) * network.spec.channels, (1.0,) * network.spec.channels)
    chosen, seconds = choose_precision(
        lambda precision: list(ready[precision].predict([tile], constants)), precisions
    )
    logging.info(
        f"Precision {chosen}: a tile takes "
        + ", ".join(f"{s * 1000:.0f} ms in {p}" for p, s in seconds.items())
        + f" ({engine})"
    )
    return ready[chosen], seconds


def _engines(
    network: UNet,
    engine: EngineName,
    threads: int,
    halo: int,
    precisions: Sequence[Precision],
    ranges: Ranges | None,
) -> dict[Precision, Engine]:
    """Return an engine for each precision; OpenVINO's have one graph."""
    if engine == "torch":
        return {
            precision: build_engine(network, engine, precision, threads, halo) for precision in precisions
        }
    from slideunet.network.inference import openvino_engine

    shared = openvino_engine.SharedGraph(network, halo)
    return {
        precision: openvino_engine.OpenVINOEngine(
            shared, precision, threads, halo, ranges if is_int8(precision) else None
        )
        for precision in precisions
    }
