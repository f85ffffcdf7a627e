"""Name and instructions of the processor, for the rows of the benchmarks."""

import os
import platform
from collections.abc import Mapping
from pathlib import Path

# What matters for convolutions, and the flags of Linux that tell it (x86, then ARM).
_INSTRUCTIONS = {
    "AVX2": ("avx2",),
    "AVX-512": ("avx512bw",),
    "VNNI": ("avx512_vnni", "avx_vnni"),
    "bf16": ("avx512_bf16", "amx_bf16", "bf16"),
    "AMX": ("amx_tile",),
    "NEON": ("asimd",),
    "dot product": ("asimddp",),
}
_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")  # read by OpenVINO and torch


def processor() -> str:
    """Return e.g. "AMD EPYC (AVX2, AVX-512, VNNI, bf16)", and the limit set by oneDNN's variables if any."""
    path = Path("/proc/cpuinfo")
    return described(path.read_text(encoding="utf-8") if path.is_file() else "", os.environ)


def described(cpuinfo: str, environment: Mapping[str, str]) -> str:
    """Describe the first processor of a `/proc/cpuinfo`; systems without one give the name alone."""
    fields: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    known = [name for name, wanted in _INSTRUCTIONS.items() if flags.intersection(wanted)]
    name = fields.get("model name") or platform.processor() or platform.machine()
    limit = next((f", limited to {environment[key]}" for key in _LIMITS if environment.get(key)), "")
    return f"{name} ({', '.join(known) or 'instructions unknown'}{limit})"
