"""What computes the network: OpenVINO or torch, behind one interface."""

import importlib.util
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from slideunet.errors import MachineError
from slideunet.model_json import EngineName, Head, Precision
from slideunet.network.architecture.model_folder import load_network
from slideunet.network.architecture.unet import UNet, UNetSpec
from slideunet.network.inference.device import best_device
from slideunet.network.inference.precision import choose_precision
from slideunet.network.inference.torch_engine import TorchEngine
from slideunet.slides.normalisation import Normalisation

# Side of the core that is timed to choose a precision, in pixels. A GPU computes a small tile as quickly in
# either: launching takes longer.
_TRIAL, _GPU_TRIAL = 256, 1024


class Engine(Protocol):
    """A network that is ready to predict; several threads may use it.

    Attributes
    ----------
    name, version : str
        "openvino" or "torch", and its version: a prediction depends on both.
    precision : "fp32" or "bf16"
    spec : UNetSpec
    halo : int
        Pixels of context with which a prediction is exact; a multiple of 2^depth.
    tile_limit : int or None
        Side of the largest core that fits into memory, once a larger one did not.
    memory : int
        Bytes for one tile, when its side is to be chosen; see `best_tile`.
    dtype : numpy.dtype
        Of the result: uint8, but for engines that return logits.
    """

    name: str
    version: str
    precision: Precision
    spec: UNetSpec
    halo: int
    tile_limit: int | None
    memory: int
    dtype: np.dtype

    def predict(self, tiles: Iterable[np.ndarray], constants: Normalisation) -> Iterator[np.ndarray]:
        """Predict tiles, in their order; a GPU has several of them in hand.

        Parameters
        ----------
        tiles : iterable of ndarray (c, y, x)
            Raw pixels of a core and `halo` pixels around it; the sides are multiples of 2^depth, and so is
            where they begin in the slide.
        constants : Normalisation
            Of the whole slide.

        Yields
        ------
        ndarray (maps, y - 2 halo, x - 2 halo) uint8
            The maps of `spec`, as `output_maps.to_bytes` makes them; the first is the foreground,
            round(255 p).

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
        With model.safetensors.
    facts : mapping
        "architecture", "sha256" and "halo" of its `model.json`.
    engine : "openvino" or "torch"
    heads : sequence of "centres" and "distance"
        Those of the model that are computed; the foreground always is.
    precision : "fp32" or "bf16"
    threads : int
        Inside one prediction. OpenVINO's result does not depend on it; torch uses one on a CPU.

    Raises
    ------
    InputError, DamagedDataError
        See `load_network`.
    """
    network = load_network(model_folder, facts)
    return build_engine(network.with_heads(heads), engine, precision, threads, facts["halo"])


def engine_of_machine(engine: EngineName | Literal["auto"]) -> EngineName:
    """Return the engine to use: for "auto" torch on a GPU, OpenVINO on a CPU, torch where that is missing.

    Raises
    ------
    MachineError
        When OpenVINO is asked for and is not installed.
    """
    installed = importlib.util.find_spec("openvino") is not None
    if engine == "openvino" and not installed:
        raise MachineError(
            "The engine openvino was asked for and OpenVINO is not installed, which computes on CPUs. "
            "Install the package openvino, or let the engine be chosen (auto)."
        )
    if engine != "auto":
        return engine
    if best_device().type == "cuda":
        return "torch"
    if not installed:
        logging.warning("OpenVINO is not installed: torch computes the network, at about half the speed.")
    return "openvino" if installed else "torch"


def build_engine(network: UNet, engine: EngineName, precision: Precision, threads: int, halo: int) -> Engine:
    """Make a network that is in memory ready to predict; the network itself is not changed."""
    if engine == "torch":
        return TorchEngine(network, precision, best_device(), halo)
    from slideunet.network.inference.openvino_engine import OpenVINOEngine

    return OpenVINOEngine(network, precision, threads, halo)


def claimed_precision(engine: EngineName) -> Precision | None:
    """Return the faster precision as the engine knows it without a trial, None for torch, which does not.

    OpenVINO names bf16 among its capabilities where the processor has instructions for it (AVX512_BF16 or
    AMX), and nowhere else is it faster.
    """
    if engine == "torch":
        return None
    import openvino

    return "bf16" if "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "fp32"


def fastest_precision(
    network: UNet, engine: EngineName, threads: int, halo: int
) -> tuple[Precision, dict[Precision, float]]:
    """Time one tile in fp32 and in bf16 on this machine, with the engine that will be used, and choose.

    Returns
    -------
    "fp32" or "bf16", and the best time of each in seconds; see `choose_precision`.
    """
    precisions: tuple[Precision, ...] = ("fp32", "bf16")
    ready = {precision: build_engine(network, engine, precision, threads, halo) for precision in precisions}
    on_gpu = engine == "torch" and best_device().type == "cuda"
    side = (_GPU_TRIAL if on_gpu else _TRIAL) + 2 * halo
    tile = np.random.default_rng(0).random((network.spec.channels, side, side), np.float32)
    constants = Normalisation((0.0,) * network.spec.channels, (1.0,) * network.spec.channels)
    chosen, seconds = choose_precision(lambda precision: list(ready[precision].predict([tile], constants)))
    logging.info(
        f"Precision {chosen}: a tile takes "
        + ", ".join(f"{s * 1000:.0f} ms in {p}" for p, s in seconds.items())
        + f" ({engine})"
    )
    return chosen, seconds
