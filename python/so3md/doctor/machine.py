"""What the machine lets so3md do: instruction set, threads, GPU."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from so3md.build_facts import chosen_instruction_set, has_cuda_library
from so3md.doctor.finding import BROKEN, DOUBT, OFF, OK, Finding

_NVIDIA_DRIVER = Path("/dev/nvidiactl")
_CUDA_PROGRAMS = "/usr/local/cuda/bin"


def findings() -> Iterator[Finding]:
    """Findings on the engine, the processor and a GPU."""
    try:
        from so3md import _engine  # noqa: F401
    except ImportError as error:
        yield Finding("engine", BROKEN, f"it cannot be loaded ({error})", "install so3md again: pip install .", True)
        return
    yield _instruction_set()
    yield _threads()
    yield _gpu()


def _instruction_set() -> Finding:
    from so3md import _engine

    usable, chosen = _engine.instruction_sets(), chosen_instruction_set()
    if chosen is None:
        text = f"SO3MD_INSTRUCTION_SET is {os.environ['SO3MD_INSTRUCTION_SET']!r}, and there are {', '.join(usable)}"
        return Finding("instruction set", BROKEN, text, "unset SO3MD_INSTRUCTION_SET", needed=True)
    built = _engine.build_info()["instruction_sets"]
    text = f"{chosen}; built for {', '.join(built)}, of which this processor has {', '.join(usable)}"
    if chosen != usable[-1]:
        advice = f"unset SO3MD_INSTRUCTION_SET, with which {usable[-1]} is not used"
        return Finding("instruction set", DOUBT, text, advice)
    lacking = set(_engine.processor_instruction_sets()) - set(built)
    if lacking:
        advice = "install so3md again on this machine, which is built for the processor that it is built on"
        return Finding("instruction set", DOUBT, f"{text}, and {' and '.join(sorted(lacking))}", advice)
    return Finding("instruction set", OK, text)


def _threads() -> Finding:
    """How many threads there are by default, and what decides it."""
    from so3md import _engine
    from so3md.benchmark.machine import available_cores

    cores, threads = available_cores(), _engine.default_threads()
    quota, wanted = _engine.cpu_quota(), _engine.threads_in_environment()
    limits = [f"{os.cpu_count()} cores, {cores} of them for this process"]
    if quota is not None:
        limits.append(f"a container that grants the time of {quota:g}")
    given = os.environ.get("OMP_NUM_THREADS")
    limits.append("OMP_NUM_THREADS not set" if given is None else f"OMP_NUM_THREADS={given}")
    text = f"{threads} by default: {'; '.join(limits)}"
    useful = cores if quota is None else max(1, min(cores, math.floor(quota)))
    if given is not None and wanted is None:
        advice = "OMP_NUM_THREADS is no number above 0 and is not looked at: unset it"
    elif threads > useful:
        advice = f"more threads than the time of {useful} are slower: export OMP_NUM_THREADS={useful}, or --threads"
    elif threads < useful:
        advice = f"{useful} could be used: unset OMP_NUM_THREADS, or --threads {useful}"
    else:
        return Finding("threads", OK, text)
    return Finding("threads", DOUBT, text, advice)


def _gpu() -> Finding:
    from so3md import _engine

    try:
        count = _engine.count_devices("cuda")
    except RuntimeError as error:
        text = " ".join(str(error).split())
        if has_cuda_library():
            return Finding("GPU", OFF, text, "none is needed; docs/gpu.md says what would be")
        return Finding("GPU", OFF, text, _how_to_build_for_gpus())
    return Finding("GPU", OK, f"{count} that --device cuda can use")


def _how_to_build_for_gpus() -> str:
    """What to type where the library of the GPU kernels was not built."""
    nvcc = find_nvcc()
    if nvcc is not None:
        variable = "" if os.environ.get("CUDACXX") or shutil.which("nvcc") else f"CUDACXX={nvcc} "
        return (
            f"for GPUs, with {nvcc}: {variable}SO3MD_CUDA=ON pip install . in a checkout of so3md; else none is needed"
        )
    if _NVIDIA_DRIVER.exists():
        return "for its GPU, install the CUDA toolkit, then SO3MD_CUDA=ON pip install . in a checkout of so3md"
    return "none is needed; docs/gpu.md says what would be"


def find_nvcc() -> str | None:
    """The CUDA compiler: that of CUDACXX, on the path, or where its installer puts it."""
    return shutil.which(os.environ.get("CUDACXX") or "nvcc") or shutil.which("nvcc", path=_CUDA_PROGRAMS)
