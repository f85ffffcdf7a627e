"""Write the weights of an encoder pretrained on ImageNet in half precision, up to the depth of the U-Net.

    python resources/models/halve_encoder.py --out encoder.safetensors [--depth 4]

For machines without the package and without internet: --set encoder_weights=encoder.safetensors.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "workflow/lib")]

import safetensors.torch  # noqa: E402

from slideunet.network.architecture.encoder_weights import load_encoder_weights, published_name  # noqa: E402
from slideunet.network.architecture.encoders import build_encoder  # noqa: E402
from slideunet.network.architecture.imagenet_encoders import PRETRAINED, EncoderName  # noqa: E402
from slideunet.network.architecture.model_folder import half_precision  # noqa: E402


def main(out: Path, encoder: EncoderName, depth: int) -> None:
    """Write the file and print its size."""
    network = build_encoder(encoder, 3, 16, depth)
    load_encoder_weights(network, encoder, "imagenet")
    weights = {
        published_name(key): tensor.contiguous()
        for key, tensor in half_precision(network.state_dict()).items()
        if key.startswith("stages.") and "num_batches" not in key
    }
    safetensors.torch.save_file(weights, out)
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--encoder", choices=PRETRAINED, default="efficientnet_lite0")
    parser.add_argument("--depth", type=int, default=4)
    main(**vars(parser.parse_args()))
