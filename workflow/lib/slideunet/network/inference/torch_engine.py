"""torch as the engine: on GPUs, and on CPUs that OpenVINO does not know."""

import numpy as np
import torch

from slideunet.model_json import Precision
from slideunet.network.architecture.output_maps import to_bytes
from slideunet.network.architecture.receptive_field import halo
from slideunet.network.architecture.unet import UNet
from slideunet.network.inference.convolutions import least_core
from slideunet.network.inference.precision import reduced_precision
from slideunet.network.inference.torch_tiles import for_inference, large_enough
from slideunet.slides.normalisation import Normalisation

# On a GPU the sides of tiles are rounded up to this: few shapes are seen, and each has its own kernels.
_GPU_STEP = 256


class TorchEngine:
    """Pixels go to the device as they are stored, bytes come back; all between happens there.

    On a CPU one thread computes, because their number changes the last bits; processes are what runs in
    parallel. See `slideunet.network.inference.engines.Engine` for the attributes.
    """

    name = "torch"
    version = str(torch.__version__)

    def __init__(self, network: UNet, precision: Precision, device: torch.device) -> None:
        self.precision = precision
        self.spec = network.spec
        self.halo = halo(network.spec)
        self.tile_limit: int | None = None
        self.device = device
        self.step = max(network.spec.multiple, _GPU_STEP) if device.type == "cuda" else network.spec.multiple
        self._network = for_inference(network).to(device)

    def predict(self, block: np.ndarray, constants: Normalisation, margin: int) -> np.ndarray:
        """Return the maps uint8 of a block (c, y, x) without `margin` pixels on every side.

        Raises
        ------
        MemoryError
            When the block does not fit into the memory of the device.
        """
        if self.device.type == "cpu":
            torch.set_num_threads(1)
        height, width = (side - 2 * margin for side in block.shape[1:])
        try:
            found = self._compute(self._with_room(block, margin), constants, margin)
        except torch.OutOfMemoryError:
            found = None
        # Not inside `except`, where the traceback still holds the tensors.
        if found is None:
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            raise MemoryError(f"a block of {block.shape[1]} x {block.shape[2]} px on {self.device}")
        return found[:, :height, :width]

    def _with_room(self, block: np.ndarray, margin: int) -> np.ndarray:
        """Lengthen a block at its ends, where no pixel of the result sees it."""
        least = least_core(self.spec, margin, large_enough)
        sides = [max(side - 2 * margin, least) for side in block.shape[1:]]
        goal = [side + -side % self.step + 2 * margin for side in sides]
        ends = [(0, more - side) for more, side in zip(goal, block.shape[1:], strict=True)]
        return np.pad(block, [(0, 0), *ends], mode="edge")

    @torch.inference_mode()
    def _compute(self, block: np.ndarray, constants: Normalisation, margin: int) -> np.ndarray:
        stored = torch.from_numpy(block if block.dtype == np.uint8 else block.astype(np.float32))
        if self.device.type == "cuda":
            stored = stored.pin_memory()
        pixels = stored.to(self.device, non_blocking=True).float()
        offset, scale = (
            torch.tensor(values, dtype=torch.float32, device=self.device)[:, None, None]
            for values in (constants.offset, constants.scale)
        )
        batch = ((pixels - offset) / scale)[None].contiguous(memory_format=torch.channels_last)
        exact = torch.backends.cudnn.flags(benchmark=False, deterministic=True, allow_tf32=False)
        with exact, reduced_precision(self.device, self.precision):
            output = self._network(batch, margin)
        return to_bytes(output.double(), self.spec.maps)[0].cpu().numpy()
