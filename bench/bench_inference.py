"""Tiled prediction against MONAI's sliding window; what folding, layout and bf16 bring. Ratios of one run.

    python bench/bench_inference.py [side]

Writes bench/results/inference.json.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "workflow/lib"))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from monai.inferers import sliding_window_inference  # noqa: E402

from slideunet.images.normalisation import Normalisation  # noqa: E402
from slideunet.network.inference import for_inference, predict_tiles, reduced_precision  # noqa: E402
from slideunet.network.unet import PRESETS, UNet, UNetSpec  # noqa: E402

CPU = torch.device("cpu")


def timed(work: Callable[[], object]) -> float:
    """Return the better of two times in seconds."""
    times = []
    for _ in range(2):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def monai(network: UNet, image: torch.Tensor, precision: str) -> None:
    """Predict as MONAI's users do: windows of 512, overlap 0.25, Gaussian weights."""
    with torch.inference_mode(), reduced_precision(CPU, precision):
        sliding_window_inference(image, 512, 1, network, overlap=0.25, mode="gaussian")


def main(side: int) -> None:
    """Time all variants on one random image of side x side pixels and print them as ratios."""
    torch.manual_seed(0)
    plain = UNet(UNetSpec(channels=1, **PRESETS["light"])).eval()
    folded = for_inference(plain)
    pixels = np.random.default_rng(0).integers(0, 255, (1, side, side), dtype=np.uint8)
    constants = Normalisation((0.0,), (255.0,))
    image = torch.from_numpy(constants.apply(pixels))[None]
    seconds = {}
    for precision in ("fp32", "bf16"):
        seconds[f"MONAI, plain network, {precision}"] = timed(lambda p=precision: monai(plain, image, p))
        seconds[f"MONAI, folded, channels last, {precision}"] = timed(
            lambda p=precision: monai(folded, image, p)
        )
        for tile in (512, 1024, 2048):
            seconds[f"exact tiles of {tile}, {precision}"] = timed(
                lambda p=precision, t=tile: list(
                    predict_tiles(folded, pixels, constants, tile=t, precision=p)
                )
            )
    base = seconds["MONAI, plain network, fp32"]
    for name, value in seconds.items():
        print(f"{name:42} {side * side / value / 1e6:6.2f} Mpx/s   {base / value:5.2f} x")
    results = ROOT / "bench/results"
    results.mkdir(exist_ok=True)
    found = {"side": side, "threads": torch.get_num_threads(), "seconds": seconds}
    (results / "inference.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2048)
