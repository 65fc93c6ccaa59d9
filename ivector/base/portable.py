"""One order of operations on every x86-64: what picks instructions by the processor is held back.

Sums of floating-point numbers depend on their order, and fast code takes another order on a
processor with wider vectors: Numba (through LLVM), OpenBLAS, NumPy's own loops, the C library's
exp and log, torch. Each has a switch in the environment, read when it is loaded; `variables` has
all of them, and a process that starts with these gives the same bytes on every x86-64 with the same
versions of the packages. The C library's are glibc's; on another (macOS, Windows, musl) and on ARM
its last digits are its own.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import platform
from pathlib import Path

MARK = "IVECTOR_PORTABLE"
# What every x86-64 of the last fifteen years has; NumPy's wheels ask for as much.
_SWITCHES = {
    MARK: "1",
    "NUMBA_CPU_NAME": "generic",
    "NUMBA_CPU_FEATURES": "",
    "NUMBA_DISABLE_INTEL_SVML": "1",
    "OPENBLAS_CORETYPE": "Nehalem",
    "OPENBLAS_L2_SIZE": "512",  # kilobytes; sizes of blocks follow from it
    # Both names: the second of glibc before 2.33. Unknown ones are passed over.
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps="
    + ",".join(f"-{name},-{name}_Usable" for name in ("FMA", "FMA4", "AVX2", "AVX", "AVX512F")),
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "MKL_CBWR": "COMPATIBLE",
}


def variables() -> dict[str, str]:
    """Environment variables of a process whose results do not depend on the processor.

    NumPy names the instructions that it picks among; they differ from version to version.
    """
    import numpy as np

    package = "numpy._core" if hasattr(np, "_core") else "numpy.core"
    umath = importlib.import_module(f"{package}._multiarray_umath")
    return {**_SWITCHES, "NPY_DISABLE_CPU_FEATURES": " ".join(umath.__cpu_dispatch__)}


def is_portable() -> bool:
    """Whether this process was started with `variables`."""
    return os.environ.get(MARK) == "1"


def processor() -> str:
    """Name of the processor, for readers; the kind of machine where the system tells none."""
    with contextlib.suppress(OSError):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        for line in text.splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
