"""OpenVINO as the engine on CPUs: the network as one graph, from pixels to maps as bytes."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import openvino
import torch
from openvino.frontend import FrontEndManager
from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

from slideunet.model_json import Precision
from slideunet.network.architecture.fused_decoder import merged
from slideunet.network.architecture.output_maps import to_bytes
from slideunet.network.architecture.receptive_field import halo
from slideunet.network.architecture.unet import UNet
from slideunet.network.inference.convolutions import Convolution, least_core
from slideunet.network.inference.torch_tiles import for_inference
from slideunet.slides.normalisation import Normalisation

_HINTS = {"fp32": "f32", "bf16": "bf16"}
# Narrower feature maps may be computed by kernels that add in another order: other last bits in float32.
_NARROW = 16


class OpenVINOEngine:
    """One graph for all sizes of tiles: it is as fast as one per size and needs no compiling for a new size.

    See `slideunet.network.inference.engines.Engine` for the attributes.
    """

    name = "openvino"
    version = openvino.__version__

    def __init__(self, network: UNet, precision: Precision, threads: int) -> None:
        self.precision = precision
        self.spec = network.spec
        self.halo = halo(network.spec)
        self.tile_limit: int | None = None
        self._network = merged(for_inference(network).cpu())
        self._threads = threads
        self._requests: dict[int, openvino.InferRequest] = {}
        self._lock = threading.Lock()

    def predict(self, block: np.ndarray, constants: Normalisation, margin: int) -> np.ndarray:
        """Return the maps uint8 of a block (c, y, x) without `margin` pixels on every side."""
        height, width = (side - 2 * margin for side in block.shape[1:])
        least = least_core(self.spec, margin, _wide_enough)
        if min(height, width) < least:
            # Room at the ends, where no pixel of the result sees it.
            ends = [(0, max(least - side, 0)) for side in (height, width)]
            block = np.pad(block, [(0, 0), *ends], mode="edge")
        batch = constants.apply(block)[None]
        with self._lock:
            if margin not in self._requests:
                # Compiling changes the stack for signals of its thread, and two dropped engines leave a
                # dangling one: the next signal would be a segfault. A thread of its own takes it along.
                with ThreadPoolExecutor(1) as thread:
                    self._requests[margin] = thread.submit(self._compile, margin).result()
            request = self._requests[margin]
            request.infer([batch], share_inputs=True)
            return request.get_output_tensor().data[0, :, :height, :width].copy()

    def _compile(self, margin: int) -> openvino.InferRequest:
        model = _graph(self._network, margin)
        model.reshape([1, self.spec.channels, -1, -1])
        properties = {
            "INFERENCE_PRECISION_HINT": _HINTS[self.precision],
            "INFERENCE_NUM_THREADS": self._threads,
            "NUM_STREAMS": 1,
            # Several processes would be bound to the same core.
            "ENABLE_CPU_PINNING": False,
            # About fifty kernels are kept for each size of a tile; without a bound, images of hundreds of
            # sizes would fill the memory.
            "CPU_RUNTIME_CACHE_CAPACITY": 256,
        }
        return openvino.Core().compile_model(model, "CPU", properties).create_infer_request()


def _wide_enough(convolution: Convolution) -> bool:
    return convolution.side >= _NARROW


class _Bytes(torch.nn.Module):
    """The network and what makes bytes of its output: OpenVINO does it in its last layers, in float32."""

    def __init__(self, network: UNet, margin: int) -> None:
        super().__init__()
        self.network = network
        self.margin = margin

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return to_bytes(self.network(x, self.margin), self.network.spec.maps)


def _graph(network: UNet, margin: int) -> openvino.Model:
    """Convert a network; `openvino.convert_model` does the same, and would send usage statistics to Intel."""
    side = 2 * margin + network.spec.multiple
    example = torch.zeros(1, network.spec.channels, side, side)
    with torch.inference_mode():
        traced = torch.jit.trace(_Bytes(network, margin), example, check_trace=False)
    frontend = FrontEndManager().load_by_framework("pytorch")
    decoder = TorchScriptPythonDecoder(traced)  # The front end does not keep it alive.
    return frontend.convert(frontend.load(decoder))
