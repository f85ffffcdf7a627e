"""torch as the engine: on GPUs, and on CPUs without OpenVINO."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from slideunet.geometry.tiles import Tile
from slideunet.model_json import Precision
from slideunet.network.architecture.folded import for_inference
from slideunet.network.architecture.output_maps import to_bytes
from slideunet.network.architecture.unet import UNet, border_margin, core_window
from slideunet.network.inference.cost import MEMORY
from slideunet.network.inference.device import exact_kernels
from slideunet.network.inference.precision import reduced_precision
from slideunet.slides.normalisation import Normalisation

# On a GPU cores begin and end on multiples of this: few shapes occur, and each has its own kernels.
_GPU_STEP = 256
# Bytes for one tile on a GPU; where less is free, tiles are halved.
_GPU_MEMORY = 6_000_000_000
# Tiles of one thread that wait for the device while the next is cut. A tile takes longer than its launch.
_AHEAD = 2
_STORED = (np.uint8, np.uint16)  # Uploaded as they are; other types are uploaded as float32.


@dataclass(frozen=True)
class _Flight:
    """A tile in flight: memory for its result, and the event of its arrival."""

    result: torch.Tensor
    arrival: torch.cuda.Event | None

    def land(self) -> np.ndarray:
        """Wait for the result (maps, y, x)."""
        if self.arrival is not None:
            self.arrival.synchronize()
        return self.result.numpy()


class TorchEngine:
    """Pixels are uploaded as they are stored and maps downloaded as bytes; the device does the rest.

    While the device computes one tile, the next is uploaded: uploads, kernels and downloads queue in the
    device's stream, and only reading a result waits for them. On a CPU one thread computes, because the
    number of threads changes the last bits; several processes run in parallel instead. See
    `slideunet.network.inference.engines.Engine` for the attributes.

    Parameters
    ----------
    network : UNet
        Not changed.
    precision : "fp32" or "bf16"
    device : torch.device
    halo : int
        See `Engine`.
    threads : int, optional
        Threads on a CPU. With more than 1 the last bits may depend on the tiles.
    logits : bool, optional
        Return the output of the network, float32, instead of bytes.
    """

    name = "torch"
    version = str(torch.__version__)

    def __init__(
        self,
        network: UNet,
        precision: Precision,
        device: torch.device,
        halo: int,
        *,
        threads: int = 1,
        logits: bool = False,
    ) -> None:
        self.precision = precision
        self.spec = network.spec
        self.halo = halo
        self.margin = min(border_margin(network.spec), halo)
        self.tile_limit: int | None = None
        self.memory = _GPU_MEMORY if device.type == "cuda" else MEMORY
        self.dtype = np.dtype(np.float32 if logits else np.uint8)
        self.device = device
        self.step = max(network.spec.multiple, _GPU_STEP) if device.type == "cuda" else network.spec.multiple
        self._threads = threads
        self._network = for_inference(network).to(device)
        if precision == "bf16":
            _round_weights(self._network)

    def predict(self, tiles: Iterable[Tile], constants: Normalisation) -> Iterator[np.ndarray]:
        """Yield the maps of the core of each tile; see `Engine.predict`."""
        offset, scale = (self._upload(np.asarray(v, np.float32)) for v in (constants.offset, constants.scale))
        flights: deque[_Flight] = deque()
        for tile in tiles:
            flights.append(self._start(tile, offset[:, None, None], scale[:, None, None]))
            if len(flights) > _AHEAD:
                yield flights.popleft().land()
        while flights:
            yield flights.popleft().land()

    def _start(self, tile: Tile, offset: torch.Tensor, scale: torch.Tensor) -> _Flight:
        """Launch a tile, or raise MemoryError when it does not fit."""
        try:
            return self._launch(tile, offset, scale)
        except torch.OutOfMemoryError:
            pass
        # Not inside `except`, where the traceback still references the tensors.
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        raise MemoryError(f"a tile of {tile.pixels.shape[1]} x {tile.pixels.shape[2]} px on {self.device}")

    @torch.inference_mode()
    def _launch(self, tile: Tile, offset: torch.Tensor, scale: torch.Tensor) -> _Flight:
        if self.device.type == "cpu":
            torch.set_num_threads(self._threads)
        pixels = self._upload(tile.pixels).float()
        batch = ((pixels - offset) / scale)[None].contiguous(memory_format=torch.channels_last)
        with exact_kernels(self.device), reduced_precision(self.device, self.precision):
            window = core_window(tile.core, self.margin, self.spec)
            output = self._network(batch, self.margin, window)
        maps = output.float() if self.dtype == np.float32 else to_bytes(output.double(), self.spec.maps)
        result, arrival = self._download(maps[0].contiguous())
        return _Flight(result, arrival)

    def _upload(self, values: np.ndarray) -> torch.Tensor:
        dtype = values.dtype if values.dtype in _STORED else np.float32
        tensor = torch.from_numpy(np.require(values, dtype, "W"))  # torch warns about read-only arrays.
        if self.device.type == "cuda":
            tensor = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor)
        return tensor.to(self.device, non_blocking=True)

    def _download(self, maps: torch.Tensor) -> tuple[torch.Tensor, torch.cuda.Event | None]:
        if self.device.type == "cpu":
            return maps, None
        result = torch.empty(maps.shape, dtype=maps.dtype, pin_memory=True)
        result.copy_(maps, non_blocking=True)
        arrival = torch.cuda.Event()
        arrival.record(torch.cuda.current_stream(self.device))
        return result, arrival


def _round_weights(network: nn.Module) -> None:
    """Round the weights of all convolutions to bf16 once, instead of in every pass."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.to(torch.bfloat16)
