"""What machine a benchmark ran on, and how fast it multiplies matrices: the limit beside every figure."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

#: Floating-point operations of SO3LR per atom and step in liquid water, with tables, a nearly free first layer and
#: symmetric filters (docs/performance.md counts them).
MFLOP_PER_ATOM = 3.4

_MATRIX_PRODUCT = """
import json, time
import numpy as np
rng = np.random.default_rng(0)
size = 2048
a = rng.random((size, size), dtype=np.float32)
b = rng.random((size, size), dtype=np.float32)
seconds = []
for _ in range(8):
    begin = time.perf_counter()
    a @ b
    seconds.append(time.perf_counter() - begin)
print(json.dumps(2 * size**3 / sorted(seconds)[len(seconds) // 2] / 1e9))
"""


def describe_machine() -> dict[str, Any]:
    """Processor, cores that this process may use, memory (GiB), system and load average before the benchmark."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": _cpu_field("model name") or platform.processor() or platform.machine(),
        "instruction_sets": [name for name in ("avx2", "avx512f") if name in _cpu_field("flags").split()],
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(memory / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "load_average_before": round(os.getloadavg()[0], 2),
    }


def _cpu_field(name: str) -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return ""
    for line in cpuinfo.read_text().splitlines():
        if line.startswith(name) and ":" in line:
            return line.split(":", 1)[1].strip()
    return ""


def matrix_product_gflops(threads: int) -> float:
    """Rate of a large product of float matrices (NumPy's BLAS) on so many threads, median of eight."""
    limits = {name: str(threads) for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    command = [sys.executable, "-c", _MATRIX_PRODUCT]
    run = subprocess.run(command, env={**os.environ, **limits}, check=True, capture_output=True, text=True)
    return json.loads(run.stdout)


def limit_us_per_atom(gflops: float) -> float:
    """Time per atom and step if all operations ran at the rate of a large matrix product."""
    return MFLOP_PER_ATOM * 1e3 / gflops
