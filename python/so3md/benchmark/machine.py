"""What machine a benchmark runs on, and how fast it multiplies matrices: the limit beside every figure."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

#: Numbers of threads of the BLAS libraries that NumPy is built with.
_BLAS_THREADS = (
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)

#: Rows and columns of the matrices whose product is timed: 16 MB each in single precision, beyond most caches.
PRODUCT_SIZE = 2048

_MATRIX_PRODUCT = """
import sys, time
import numpy as np
rng = np.random.default_rng(0)
size = int(sys.argv[3])
a = rng.random((size, size)).astype(sys.argv[1])
b = rng.random((size, size)).astype(sys.argv[1])
seconds = []
while len(seconds) < 3 or sum(seconds) < float(sys.argv[2]):
    begin = time.perf_counter()
    a @ b
    seconds.append(time.perf_counter() - begin)
print(2 * size**3 / sorted(seconds)[len(seconds) // 2] / 1e9)
"""


def describe_machine() -> dict[str, Any]:
    """Processor, cores that this process may use, memory (GiB), system and load average before the benchmark."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": _cpu_field("model name") or platform.processor() or platform.machine(),
        "instruction_sets": [name for name in ("avx2", "avx512f") if name in _cpu_field("flags").split()],
        "cores": available_cores(),
        "memory_gib": round(memory / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "load_average_before": round(os.getloadavg()[0], 2),
    }


def available_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def matrix_product_gflops(threads: int, dtype: str = "float32", seconds: float = 1.0) -> float:
    """Rate of a large matrix product (NumPy's BLAS) on so many threads: median, in billion operations per second.

    seconds: how long to multiply, at least.

    In a process of its own, because BLAS libraries read their number of threads when they are loaded. Raises
    RuntimeError if that fails.
    """
    limits = {name: str(threads) for name in _BLAS_THREADS}
    command = [sys.executable, "-c", _MATRIX_PRODUCT, dtype, str(seconds), str(PRODUCT_SIZE)]
    run = subprocess.run(command, env={**os.environ, **limits}, capture_output=True, text=True)
    if run.returncode:
        raise RuntimeError(f"the matrix product with {threads} threads failed: {' '.join(run.stderr.split())}")
    return json.loads(run.stdout)


def _cpu_field(name: str) -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return ""
    for line in cpuinfo.read_text().splitlines():
        if line.startswith(name) and ":" in line:
            return line.split(":", 1)[1].strip()
    return ""
