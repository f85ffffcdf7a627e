"""A model as an ONNX graph: from normalised pixels to probabilities and pixels, for any runtime."""

from pathlib import Path

import torch
from torch import nn

from slideunet.network.architecture.folded import for_inference
from slideunet.network.architecture.output_maps import OFFSET_UNIT
from slideunet.network.architecture.unet import UNet

OPSET = 18
_OFFSETS = ("dy", "dx")


class Maps(nn.Module):
    """The network with its maps in units that mean something.

    Input (n, c, y, x) float32, normalised; y and x are multiples of 2^depth. Output (n, maps, y, x) float32:
    probabilities 0 to 1, and of dy and dx pixels to the centre of the cell.
    """

    def __init__(self, network: UNet) -> None:
        super().__init__()
        # Plain layout and folded batch normalisation: the graph holds convolutions and little else.
        self.network = for_inference(network).cpu().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        offsets = torch.tensor([name in _OFFSETS for name in network.spec.maps])
        self.offsets: torch.Tensor
        self.register_buffer("offsets", offsets[:, None, None])

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the maps of an image."""
        output = self.network(image)
        return torch.where(self.offsets, OFFSET_UNIT * output, output.sigmoid())


def write_onnx(maps: Maps, path: Path) -> None:
    """Write a model as one ONNX file, for images of any number and size.

    Parameters
    ----------
    maps : Maps
    path : Path
        Input "image" and output "maps"; see `Maps`.
    """
    spec = maps.network.spec
    side = 4 * spec.multiple
    # Sides that differ, or the exporter takes them for one; a batch of two, or it is fixed at one.
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
