"""What is asked of a prediction, and the fingerprint of all that its result depends on."""

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slideunet.errors import InputError
from slideunet.model_json import EngineName, Head, Precision
from slideunet.slides.tissue_store import Choice
from slideunet.stores.fingerprint import fingerprint
from slideunet.stores.manifests import read_manifest
from slideunet.stores.ngff_metadata import Version

Part = tuple[int, int]  # (number, parts)

FORMAT = 2  # Raise when predictions are made differently, so that old ones are made again.


@dataclass(frozen=True)
class Plan:
    """What is asked of a prediction, engine and precision already chosen.

    Attributes
    ----------
    engine : "openvino" or "torch"
    precision : "fp32" or "bf16"
    tile : int or None
        Side of a tile's core in pixels; None is the best for this machine. The result does not depend on it.
    halo : int or None
        Context of a tile in pixels; None is the halo of the model, with which the result is exact.
    tissue : "auto" or "none"
    version : str
        Of OME-Zarr.
    heads : tuple of "centres" and "distance"
        Of the model: what is kept besides the foreground, for the method that separates the cells.
    """

    engine: EngineName
    precision: Precision
    tile: int | None
    halo: int | None
    tissue: Choice
    version: Version
    heads: tuple[Head, ...] = ()

    @classmethod
    def from_section(
        cls,
        section: Mapping[str, Any],
        engine: EngineName,
        precision: Precision,
        version: Version,
        heads: tuple[Head, ...],
    ) -> "Plan":
        """Read the section `prediction` of the configuration."""
        return cls(
            engine=engine,
            precision=precision,
            tile=None if section["tile"] == "auto" else section["tile"],
            halo=None if section["halo"] == "exact" else section["halo"],
            tissue=section["tissue"],
            version=version,
            heads=heads,
        )

    def check_halo(self, facts: Mapping[str, Any]) -> None:
        """Raise InputError when the halo does not fit the model, given by its `model.json`."""
        multiple = 2 ** facts["architecture"]["depth"]
        if self.halo is not None and (self.halo % multiple or self.halo >= facts["halo"]):
            raise InputError(
                f"prediction.halo is {self.halo}. For this model it must be a multiple of {multiple} below "
                f"{facts['halo']}, which is the exact one. Correct it, or set exact."
            )

    def fingerprint(self, image: Path, facts: Mapping[str, Any]) -> str:
        """Return the digest of all that the prediction of a slide depends on: no version, and not the tile.

        With less than the exact halo the tile counts.

        Parameters
        ----------
        image : Path
            Manifest of the slide.
        facts : mapping
            `model.json`.
        """
        names = ("sha256", "architecture", "normalisation", "background", "halo")
        return fingerprint(
            format=FORMAT,
            image=read_manifest(image)["fingerprint"],
            model={name: facts[name] for name in names},
            engine=self.engine,
            precision=self.precision,
            halo=self.halo,
            tile=None if self.halo is None else self.tile,
            tissue=self.tissue,
            version=self.version,
            heads=self.heads,
        )


def engine_version(engine: str) -> str:
    """Return the version of the package that an engine is."""
    return importlib.metadata.version(engine)
