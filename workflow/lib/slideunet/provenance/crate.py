"""A run as an RO-Crate: `ro-crate-metadata.json` beside its results, so that the folder can be deposited.

RO-Crate 1.1 with the profile Process Run Crate 0.5: one action, the run, with the software, its inputs and
parameters, and all files that it wrote.
"""

import hashlib
import mimetypes
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rocrate.model.contextentity import ContextEntity
from rocrate.model.entity import Entity
from rocrate.rocrate import ROCrate

from slideunet.errors import InputError
from slideunet.stores.manifests import read_manifest

PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
CONTEXT = "https://w3id.org/ro/terms/workflow-run/context"
SUMMARY = "results/report/summary.json"
# What a reader wants to know of each part of the results; the first pattern that fits describes a file.
FILES = {
    "results/report/**/*": "Report on accuracy and origin of the results",
    "results/comparison/*": "Comparison with earlier runs",
    "results/*.tsv": "Sample sheet, checked inputs, or split of the slides",
    "results/model/*": "Trained model, its description and its learning curves",
    "results/seeds/*.csv": "Scores of the networks of all seeds",
    "results/seeds/[0-9]*/*": "Network of one seed",
    "results/slides/*.json": "Manifest of a converted slide",
    "results/predictions/*.json": "Manifest of a prediction and its cells",
    "results/cells/*": "Cells of a slide: table, outlines or labels",
    "results/metrics/*.json": "Scores of a slide",
    "results/quarantine/*.json": "Why a slide was skipped",
    "benchmarks/**/*.tsv": "Time and memory of a job, by Snakemake",
    "logs/**/*.log": "Log of a job",
}
STORES = {
    "results/slides/*.zarr": "Converted slide and its labels (OME-Zarr)",
    "results/predictions/*.zarr": "Foreground probability and labelled cells (OME-Zarr)",
}
TYPES = {
    ".parquet": "application/vnd.apache.parquet",
    ".tsv": "text/tab-separated-values",
    ".log": "text/plain",
    ".gz": "application/gzip",
}


def write_crate(run: Path, licence: str) -> Path:
    """Write `ro-crate-metadata.json` into the working directory of a run, and return its path.

    Parameters
    ----------
    run : Path
        Folder with `results/`. No other file is written or moved.
    licence : str
        Of the results: an address or an SPDX identifier.

    Raises
    ------
    InputError
        If the folder has no report, or one of a version that did not write its origin, or without a licence.
    """
    if not licence.strip():
        raise InputError(
            "A deposit needs the licence of the results. Name one, for example LICENSE=CC-BY-4.0."
        )
    summary = _summary(run)
    crate = ROCrate(version="1.1")
    crate.metadata.extra_contexts.append(CONTEXT)
    crate.name = summary["title"]
    crate.description = (
        f"Cells of {summary['n_slides']} microscopy images, segmented and measured by slideunet: "
        f"{summary['n_cells']} cells, with model, measurements and report."
    )
    crate.license = licence
    crate.root_dataset["conformsTo"] = _context(crate, PROFILE, "CreativeWork", name="Process Run Crate")
    written = [*_files(crate, run), *_stores(crate, run)]
    sheet = crate.dereference("results/sheet.tsv")
    inputs = [*([sheet] if sheet else []), *_images(crate, run), *_models(crate, run, summary)]
    action = crate.add_action(
        _software(crate, summary),
        identifier="#run",
        object=[*inputs, *_parameters(crate, summary["config"])],
        result=[entity for entity in written if entity != sheet],
        properties=_course(summary),
    )
    crate.root_dataset["mentions"] = action
    crate.metadata.write(run)
    return run / crate.metadata.id


def _summary(run: Path) -> dict[str, Any]:
    if not (run / SUMMARY).is_file():
        raise InputError(
            f"{run} has no {SUMMARY}. Name the working directory of a finished run, the folder with results/."
        )
    summary = read_manifest(run / SUMMARY)
    if not summary.get("provenance") or "config" not in summary:
        raise InputError(
            f"{run / SUMMARY} does not say where the results come from: an earlier version wrote it. Write "
            "the report again: run the same command with `--forcerun build_report`."
        )
    return summary


def _course(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return command, time and machine of the run."""
    origin = summary["provenance"]
    machine = origin["machine"]
    computer = [machine["processor"], f"{machine['cores']} cores", *machine["gpus"], machine["system"]]
    times = {"startTime": origin["started"], "endTime": origin["ended"]}
    return {
        "@type": "CreateAction",
        "name": "Run of slideunet",
        "description": f"{summary['command']} (on {', '.join(computer)})",
        "actionStatus": {"@id": "http://schema.org/CompletedActionStatus"},
        **{name: time for name, time in times.items() if time},
    }


def _software(crate: ROCrate, summary: Mapping[str, Any]) -> Entity:
    versions, state = dict(summary["versions"]), summary["provenance"]["workflow"]
    own = {"name": "slideunet", "softwareVersion": versions.pop("slideunet", "unknown")}
    if state["commit"]:
        own["version"] = state["commit"] + (" with changes" if state["changed"] else "")
    libraries = [
        _context(crate, f"#software/{name}", "SoftwareApplication", name=name, softwareVersion=version)
        for name, version in versions.items()
    ]
    return _context(crate, "#slideunet", "SoftwareApplication", **own, softwareRequirements=libraries)


def _files(crate: ROCrate, run: Path) -> Iterator[Entity]:
    for path, about in _found(run, FILES):
        if path.is_file():
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            kind = TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
            facts = {"name": path.name, "description": about, "encodingFormat": kind, "sha256": digest}
            facts["contentSize"] = str(path.stat().st_size)
            yield crate.add_file(path, path.relative_to(run).as_posix(), properties=facts)


def _stores(crate: ROCrate, run: Path) -> Iterator[Entity]:
    for path, about in _found(run, STORES):
        facts = {"name": path.name, "description": about}
        yield crate.add_dataset(path, path.relative_to(run).as_posix(), properties=facts)


def _found(run: Path, patterns: Mapping[str, str]) -> Iterator[tuple[Path, str]]:
    """Yield the visible files of each pattern, once: hidden ones are locks and unfinished work."""
    seen: set[Path] = set()
    for pattern, about in patterns.items():
        for path in sorted(set(run.glob(pattern)) - seen):
            if not path.name.startswith("."):
                yield path, about
            seen.add(path)


def _images(crate: ROCrate, run: Path) -> Iterator[Entity]:
    """Yield the images and labels of the user, which lie elsewhere, by the digest of their pixels."""
    for path in sorted(run.glob("results/slides/[!.]*.json")):
        facts = read_manifest(path)
        for kind, digest in (("image", facts["content"]), ("labels", facts["truth_content"])):
            if facts["source"][kind] is not None:
                yield _context(
                    crate,
                    f"#{kind}/{facts['slide']}",
                    "CreativeWork",
                    name=Path(facts["source"][kind]).name,
                    identifier=f"sha256 of the decoded pixels: {digest}",
                )


def _models(crate: ROCrate, run: Path, summary: Mapping[str, Any]) -> Iterator[Entity]:
    """Yield the model that the run was given: to use, or to fine-tune."""
    trained = run / "results" / "model" / "model.json"
    name, given = "Model that was used", summary["model_sha256"]
    if summary["config"].get("model", {}).get("weights") is None and trained.is_file():
        name, given = "Model that was fine-tuned", read_manifest(trained)["training"].get("init_from")
    if given:
        yield _context(crate, "#model", "CreativeWork", name=name, sha256=given)


def _parameters(crate: ROCrate, config: Mapping[str, Any], prefix: str = "") -> Iterator[Entity]:
    """Yield every value of the configuration."""
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _parameters(crate, value, f"{prefix}{name}.")
        else:
            key = prefix + name
            yield _context(crate, f"#config/{key}", "PropertyValue", name=key, value=str(value))


def _context(crate: ROCrate, identifier: str, kind: str, /, **properties: Any) -> Entity:  # noqa: ANN401
    address = quote(identifier, safe="#/:")
    return crate.add(ContextEntity(crate, address, properties={"@type": kind} | properties))
