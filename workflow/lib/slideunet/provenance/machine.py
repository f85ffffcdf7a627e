"""The computer that a process runs on."""

import contextlib
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
_SECONDS = 20


@dataclass(frozen=True)
class Machine:
    """A computer, without its name.

    Attributes
    ----------
    system : str
        Operating system and architecture.
    processor : str
        Model.
    cores : int
        Logical processors.
    memory_gb : float or None
        Physical memory in 10^9 bytes; None if unknown.
    gpus : tuple of str
        Models of NVIDIA's GPUs with their memory.
    """

    system: str
    processor: str
    cores: int
    memory_gb: float | None
    gpus: tuple[str, ...]


def this_machine() -> Machine:
    """Describe the computer of this process."""
    return Machine(
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        processor=_processor(),
        cores=os.cpu_count() or 1,
        memory_gb=_memory(),
        gpus=_gpus(),
    )


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name" and value.strip():
                return value.strip()
    return platform.processor() or platform.machine()


def _memory() -> float | None:
    with contextlib.suppress(OSError, ValueError):
        return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1)
    return None


def _gpus() -> tuple[str, ...]:
    """Ask the driver's own tool: torch would take seconds to load."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    command = [tool, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(line.strip() for line in listed.splitlines() if line.strip())
