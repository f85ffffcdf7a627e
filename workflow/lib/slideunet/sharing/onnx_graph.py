"""A model as an ONNX graph from normalised pixels to maps in physical units, for any runtime."""

from pathlib import Path

import torch
from torch import nn

from slideunet.network.architecture.folded import for_inference
from slideunet.network.architecture.output_maps import OFFSET_UNIT
from slideunet.network.architecture.unet import UNet

OPSET = 18
_OFFSETS = ("dy", "dx")


class MapsGraph(nn.Module):
    """The network with output maps in physical units.

    Input (n, c, y, x) float32, normalised; y and x are multiples of 2^depth. Output (n, maps, y, x) float32:
    probabilities and distances from 0 to 1, dy and dx in pixels to the centre of the cell.
    """

    def __init__(self, network: UNet) -> None:
        super().__init__()
        # Contiguous layout and folded batch normalisation keep the graph to little more than convolutions.
        self.network = for_inference(network).cpu().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        offsets = torch.tensor([name in _OFFSETS for name in network.spec.maps])
        self.offsets: torch.Tensor
        self.register_buffer("offsets", offsets[:, None, None])

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the maps of a batch of images."""
        output = self.network(image)
        return torch.where(self.offsets, OFFSET_UNIT * output, output.sigmoid())


def write_onnx(maps: MapsGraph, path: Path) -> None:
    """Write a model as one ONNX file: input "image", output "maps", any batch and image size."""
    spec = maps.network.spec
    side = 4 * spec.multiple
    # The exporter would unify equal sides, and fix a batch size of one.
    example = torch.zeros(2, spec.channels, side, side + spec.multiple)
    free = torch.export.Dim.DYNAMIC
    program = torch.onnx.export(
        maps.eval(),
        (example,),
        input_names=["image"],
        output_names=["maps"],
        dynamic_shapes=({0: free, 2: free, 3: free},),
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    program.save(path, external_data=False)
