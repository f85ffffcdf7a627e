"""OpenVINO as the engine on CPUs: the network as one graph, from pixels to maps as bytes."""

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import openvino
import torch
from openvino.frontend import FrontEndManager
from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

from slideunet.geometry.tiles import Tile
from slideunet.model_json import Precision, Ranges
from slideunet.network.architecture.folded import for_inference
from slideunet.network.architecture.fused_decoder import merged
from slideunet.network.architecture.output_maps import to_bytes
from slideunet.network.architecture.unet import UNet, border_margin, core_window
from slideunet.network.inference.cost import MEMORY
from slideunet.network.inference.quantised import quantise
from slideunet.slides.normalisation import Normalisation

_Result = TypeVar("_Result")
_HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32", "int8-bf16": "bf16"}


class SharedGraph:
    """A network, folded, and its graph for tiles of any size: traced once for engines of several precisions.

    Attributes
    ----------
    spec : UNetSpec
    margin : int
        See `slideunet.network.inference.engines.Engine`.
    """

    def __init__(self, network: UNet, halo: int) -> None:
        self.spec = network.spec
        self.margin = min(border_margin(network.spec), halo)
        with _one_torch_thread():
            self._network = merged(for_inference(network).cpu())
        self._graph: openvino.Model | None = None
        self._lock = threading.Lock()

    def copy(self) -> openvino.Model:
        """Return a copy of the graph, which may be changed."""
        with self._lock:
            if self._graph is None:
                with _one_torch_thread():
                    self._graph = _graph(self._network, self.margin)
                image, window = self._graph.inputs
                self._graph.reshape({image: [1, self.spec.channels, -1, -1], window: [4]})
            return self._graph.clone()


class OpenVINOEngine:
    """One graph for all sizes of tiles: as fast as one per size, and not compiled again for a new size.

    See `slideunet.network.inference.engines.Engine` for the attributes. `ranges` are those of the layers that
    int8 quantises. Engines that are given the same `SharedGraph` instead of a network trace it once.
    """

    name = "openvino"
    version = openvino.__version__

    def __init__(
        self,
        network: UNet | SharedGraph,
        precision: Precision,
        threads: int,
        halo: int,
        ranges: Ranges | None = None,
    ) -> None:
        self.precision = precision
        self._shared = network if isinstance(network, SharedGraph) else SharedGraph(network, halo)
        self._ranges = ranges
        self.spec = network.spec
        self.halo = halo
        self.margin = self._shared.margin
        self.step = network.spec.multiple
        self.tile_limit: int | None = None
        self.memory = MEMORY
        self.dtype = np.dtype(np.uint8)
        self._threads = threads
        self._request: openvino.InferRequest | None = None
        self._lock = threading.Lock()

    def predict(self, tiles: Iterable[Tile], constants: Normalisation) -> Iterator[np.ndarray]:
        """Yield the maps uint8 of the core of each tile; see `Engine.predict`."""
        return (self._compute(tile, constants) for tile in tiles)

    def _compute(self, tile: Tile, constants: Normalisation) -> np.ndarray:
        inputs = self.inputs(tile, constants)
        with self._lock:
            if self._request is None:
                self._request = in_own_thread(self._compile)
            self._request.infer(inputs, share_inputs=True)
            return self._request.get_output_tensor().data[0].copy()

    def inputs(self, tile: Tile, constants: Normalisation) -> list[np.ndarray]:
        """Return the inputs of the graph: the normalised pixels (1, c, y, x), and the window to decode."""
        window = core_window(tile.core, self.margin, self.spec)
        return [constants.apply(tile.pixels)[None], np.array(window, np.int32)]

    def graph(self) -> openvino.Model:
        """Return the network as a graph for tiles of any size."""
        model = self._shared.copy()
        if self._ranges is not None:
            quantise(model, self._ranges)
        return model

    def _compile(self) -> openvino.InferRequest:
        properties = {
            "INFERENCE_PRECISION_HINT": _HINTS[self.precision],
            "INFERENCE_NUM_THREADS": self._threads,
            "NUM_STREAMS": 1,
            # With pinning, several processes would be bound to the same core.
            "ENABLE_CPU_PINNING": False,
            # About fifty kernels are cached for each size of a tile; without a bound, images of hundreds of
            # sizes would fill the memory.
            "CPU_RUNTIME_CACHE_CAPACITY": 256,
        }
        return openvino.Core().compile_model(self.graph(), "CPU", properties).create_infer_request()


def in_own_thread(compiling: Callable[..., _Result], *arguments: object) -> _Result:
    """Call a function that compiles networks in a thread which then ends, and return its result.

    Compiling changes the signal stack of its thread, and two deleted networks leave a dangling one: the next
    signal would be a segfault.
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(compiling, *arguments).result()


@contextlib.contextmanager
def _one_torch_thread() -> Iterator[None]:
    """Let torch fold and trace in one thread: the tensors are small, and more threads only wait."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Bytes(torch.nn.Module):
    """The network with `to_bytes` as its last layers, which OpenVINO computes in float32."""

    def __init__(self, network: UNet, margin: int) -> None:
        super().__init__()
        self.network = network
        self.margin = margin

    def forward(self, x: torch.Tensor, window: torch.Tensor) -> torch.Tensor:
        top, left, height, width = window.unbind()
        return to_bytes(self.network(x, self.margin, (top, left, height, width)), self.network.spec.maps)


def _graph(network: UNet, margin: int) -> openvino.Model:
    """Convert a network; `openvino.convert_model` does the same but sends usage statistics to Intel."""
    cells = 2 * margin // network.spec.multiple + 1
    side = cells * network.spec.multiple
    example = torch.zeros(1, network.spec.channels, side, side)
    window = torch.tensor([0, 0, cells, cells], dtype=torch.int32)
    with torch.inference_mode():
        traced = torch.jit.trace(_Bytes(network, margin), (example, window), check_trace=False)
    frontend = FrontEndManager().load_by_framework("pytorch")
    decoder = TorchScriptPythonDecoder(traced)  # The front end does not keep it alive.
    return frontend.convert(frontend.load(decoder))
