"""Tune a model on validation images, by the mean over sources: threshold, separation, range of diameters.

    python resources/models/tune.py MODEL --data packed.zip [--images 20]

MODEL is a folder written by train.py; its model.json changes, its weights do not. Tuning runs on CPUs, in
minutes. The constants are those for images at several zooms, each seen at the scale at which a prediction
sees it. A model trained without a source is tuned on the validation images of the others.
"""

import argparse
import logging
import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "workflow/lib")]

from slideunet.cells.separation.decoding import Decoding, fitting_methods  # noqa: E402
from slideunet.errors import as_command  # noqa: E402
from slideunet.logs import with_lines  # noqa: E402
from slideunet.model_json import read_model_facts  # noqa: E402
from slideunet.network.in_memory.archive import read_archive  # noqa: E402
from slideunet.network.in_memory.folder import add_tuned  # noqa: E402
from slideunet.network.in_memory.recipe import Recipe  # noqa: E402
from slideunet.network.in_memory.tuning.best_diameters import (  # noqa: E402
    ZOOMS,
    as_predicted,
    best_diameters_of,
    see,
)
from slideunet.network.in_memory.tuning.constants import tune  # noqa: E402
from slideunet.network.in_memory.validation import some_of_each  # noqa: E402
from slideunet.network.inference.engines import engine_of_machine, open_engine  # noqa: E402


def main(model: Path, data: Path, images: int | None) -> None:
    """Tune a model and rewrite its model.json."""
    facts = read_model_facts(model)
    recipe, left_out = Recipe(**facts["training"]["recipe"]), facts["training"]["left_out"]
    val = [
        packed
        for packed in read_archive(data, recipe.kind)
        if packed.entry.split == "val" and packed.entry.for_validation and packed.entry.source != left_out
    ]
    threads = len(os.sched_getaffinity(0))
    heads = facts["architecture"]["heads"]
    name = engine_of_machine("auto")
    engine = open_engine(model, facts, engine=name, heads=heads, precision="fp32", threads=threads)
    chosen = some_of_each(val, images)
    # Constants tuned on images as they are would find fewer nuclei that are seen at another scale.
    usual = Decoding(0.5, fitting_methods(engine.spec.maps)[0], min_probability=0.8)
    seen = see(engine, chosen, recipe, usual)
    lines = with_lines(seen, "images seen at several scales", len(chosen) * len(ZOOMS))
    best = best_diameters_of(list(lines))
    shown = as_predicted(engine, chosen, recipe, zooms=ZOOMS, best=best)
    tuned = tune(shown, engine.spec.maps)
    add_tuned(model, tuned | {"diameter": facts["diameter"] | {"best": list(best)}})
    logging.info(f"{model}: threshold {tuned['threshold']:.2f}, best for {best[0]} to {best[1]} px")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="folder of the model")
    parser.add_argument("--data", type=Path, required=True, help="file written by pack.py")
    parser.add_argument("--images", type=int, help="most images of each source")
    with as_command():
        main(**vars(parser.parse_args()))
