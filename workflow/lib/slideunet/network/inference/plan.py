"""Settings of a prediction, and the fingerprint of all that its result depends on."""

import importlib.metadata
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from slideunet.cells.separation.decoding import Method, heads_for, method_for
from slideunet.model_json import EngineName, Head, Precision, is_int8, read_model_facts
from slideunet.network.inference.choose_engine import choose_engine
from slideunet.network.inference.scaling.sizing import Sizing, sizing_for
from slideunet.slides.tissue_store import Choice
from slideunet.stores.fingerprint import fingerprint
from slideunet.stores.manifests import read_manifest
from slideunet.stores.ngff_metadata import Version

Part = tuple[int, int]  # (number, parts)

FORMAT = 3  # Raise it when the result changes, so that slides are predicted again.
_USED = ("sha256", "architecture", "normalisation", "background", "halo")


@dataclass(frozen=True)
class PredictionPlan:
    """Settings of a prediction, with engine and precision already chosen.

    Attributes
    ----------
    model : Path
        Folder of the model.
    facts : mapping
        Fields of its `model.json` that a prediction uses: "sha256", "architecture", "normalisation",
        "background", "halo", and for int8 "int8".
    engine : "openvino" or "torch"
    precision : "fp32", "bf16", "int8" or "int8-bf16"
    tile : int or None
        Side of a tile's core in pixels; None is the best for this machine. The result does not depend on it.
    tissue : "auto" or "none"
    version : str
        Version of OME-Zarr.
    heads : tuple of "centres" and "distance"
        Heads whose maps are stored besides the foreground, for the method that separates the cells.
    sizing : Sizing or None
        How the size is chosen at which the network sees a slide; None: as it is.
    """

    model: Path
    facts: Mapping[str, Any]
    engine: EngineName
    precision: Precision
    tile: int | None = None
    tissue: Choice = "auto"
    version: Version = "0.5"
    heads: tuple[Head, ...] = ()
    sizing: Sizing | None = None

    def fingerprint(self, image: Path) -> str:
        """Return the digest of all that a slide's prediction depends on, without code versions and tile.

        Parameters
        ----------
        image : Path
            Manifest of the slide.
        """
        # Predictions that were made before slides were scaled stay current where none is.
        newer = {} if self.sizing is None else {"sizing": asdict(self.sizing)}
        return fingerprint(
            format=FORMAT,
            image=read_manifest(image)["fingerprint"],
            model=dict(self.facts),
            engine=self.engine,
            precision=self.precision,
            tissue=self.tissue,
            version=self.version,
            heads=self.heads,
            **newer,
        )


def used_facts(facts: Mapping[str, Any], precision: Precision = "fp32") -> dict[str, Any]:
    """Return the fields of `model.json` that a prediction uses."""
    names = (*_USED, "int8") if is_int8(precision) else _USED
    return {name: facts[name] for name in names}


def plan_prediction(
    model: Path,
    folder: Path,
    section: Mapping[str, Any],
    *,
    method: Method | Literal["auto"],
    diameter: float | Literal["auto"] | None = None,
    version: Version,
    threads: int,
    pixels: int,
) -> PredictionPlan:
    """Return the plan of a run: read the model, and choose the settings that the configuration leaves open.

    Parameters
    ----------
    model : Path
        Folder of the model.
    folder : Path
        Folder of the predictions, where the choice of the engine is stored for the other jobs.
    section : mapping
        Section `prediction` of the configuration.
    method : str
        Method that separates the cells: the maps that it needs are stored besides the foreground.
    diameter : float, "auto" or None
        `cells.diameter` of the configuration.
    version : "0.5" or "0.4"
        Version of OME-Zarr.
    threads : int
        Threads of an engine while it is timed.
    pixels : int
        Pixels that this job predicts: for few, nothing is timed.

    Raises
    ------
    InputError
        When the folder holds no model, or one without the output heads that the method, the ranges that int8
        or the diameters that `cells.diameter` needs.
    """
    facts = read_model_facts(model)
    heads = heads_for(method_for(method, facts))
    asked = {"engine": section["engine"], "precision": section["precision"], "heads": heads}
    engine, precision = choose_engine(folder, model, facts, **asked, threads=threads, pixels=pixels)
    return PredictionPlan(
        model=model.absolute(),  # Workers of a cluster may have another working directory.
        facts=used_facts(facts, precision),
        engine=engine,
        precision=precision,
        tile=None if section["tile"] == "auto" else section["tile"],
        tissue=section["tissue"],
        version=version,
        heads=heads,
        sizing=sizing_for(facts, diameter, method),
    )


def engine_version(engine: str) -> str:
    """Return the version of an engine's package."""
    return importlib.metadata.version(engine)
