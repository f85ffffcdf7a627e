"""What is asked of a prediction, and the fingerprint of all that its result depends on."""

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from slideunet.cells.separation.decoding import Method, heads_for, method_for
from slideunet.model_json import EngineName, Head, Precision, read_model_facts
from slideunet.network.inference.choose_engine import choose_engine
from slideunet.slides.tissue_store import Choice
from slideunet.stores.fingerprint import fingerprint
from slideunet.stores.manifests import read_manifest
from slideunet.stores.ngff_metadata import Version

Part = tuple[int, int]  # (number, parts)

FORMAT = 2  # Raise when predictions are made differently, so that old ones are made again.
_USED = ("sha256", "architecture", "normalisation", "background", "halo")


@dataclass(frozen=True)
class PredictionPlan:
    """What is asked of a prediction, engine and precision already chosen.

    Attributes
    ----------
    model : Path
        Its folder.
    facts : mapping
        What a prediction uses of its `model.json`: "sha256", "architecture", "normalisation", "background"
        and "halo".
    engine : "openvino" or "torch"
    precision : "fp32" or "bf16"
    tile : int or None
        Side of a tile's core in pixels; None is the best for this machine. The result does not depend on it.
    tissue : "auto" or "none"
    version : str
        Of OME-Zarr.
    heads : tuple of "centres" and "distance"
        Of the model: what is kept besides the foreground, for the method that separates the cells.
    """

    model: Path
    facts: Mapping[str, Any]
    engine: EngineName
    precision: Precision
    tile: int | None = None
    tissue: Choice = "auto"
    version: Version = "0.5"
    heads: tuple[Head, ...] = ()

    def fingerprint(self, image: Path) -> str:
        """Return the digest of all that the prediction of a slide depends on: no version, and not the tile.

        Parameters
        ----------
        image : Path
            Manifest of the slide.
        """
        return fingerprint(
            format=FORMAT,
            image=read_manifest(image)["fingerprint"],
            model=dict(self.facts),
            engine=self.engine,
            precision=self.precision,
            tissue=self.tissue,
            version=self.version,
            heads=self.heads,
        )


def used_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a prediction uses of `model.json`."""
    return {name: facts[name] for name in _USED}


def plan_prediction(
    model: Path,
    folder: Path,
    section: Mapping[str, Any],
    *,
    method: Method | Literal["auto"],
    version: Version,
    threads: int,
    pixels: int,
) -> PredictionPlan:
    """Return the plan of a run: read the model, and choose what the configuration leaves open.

    Parameters
    ----------
    model : Path
        Its folder.
    folder : Path
        Of the predictions, where the choice of the engine is kept for the other jobs.
    section : mapping
        `prediction` of the configuration.
    method : str
        That will separate the cells: what it needs of the model is kept besides the foreground.
    version : "0.5" or "0.4"
        Of OME-Zarr.
    threads : int
        To time engines with.
    pixels : int
        That this job is to predict: for few, nothing is timed.

    Raises
    ------
    InputError
        When the folder holds no model, or one without what the method needs.
    """
    facts = read_model_facts(model)
    asked = {"engine": section["engine"], "precision": section["precision"]}
    engine, precision = choose_engine(folder, model, facts, **asked, threads=threads, pixels=pixels)
    return PredictionPlan(
        model=model.absolute(),  # Workers of another cluster have a working directory of their own.
        facts=used_facts(facts),
        engine=engine,
        precision=precision,
        tile=None if section["tile"] == "auto" else section["tile"],
        tissue=section["tissue"],
        version=version,
        heads=heads_for(method_for(method, facts)),
    )


def engine_version(engine: str) -> str:
    """Return the version of the package that an engine is."""
    return importlib.metadata.version(engine)
