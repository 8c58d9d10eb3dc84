"""Instructions that each instruction set needs for a step: for an emulated processor, whose clock counts them.

    scripts/emulate_avx512.py --kernel vmlinuz --program benchmarks/instruction_counts.py

Energy, forces and virial of 64 water molecules with all terms of SO3LR, one thread. The emulator's clock advances by
the same time for every instruction, so that times are counts; on a real processor this program would print times. It
does not say how fast a set is: wide instructions may take longer, and memory is not in it.
"""

from __future__ import annotations

import os
import time

import numpy as np
from reference_data import load_system  # of the tests, which the emulated machine finds

from so3md import _engine
from so3md.loading import model_path


def count(instruction_set: str, precision: str) -> float:
    """Seconds of the clock for a step, the smallest of three."""
    os.environ["SO3MD_INSTRUCTION_SET"] = instruction_set
    engine = _engine.Engine(_engine.Model(str(model_path("so3lr"))), precision=precision, threads=1)
    assert engine.info()["instruction_set"] == instruction_set
    structure = load_system("water_64").structure
    engine.evaluate(**structure)
    found = []
    for step in range(3):
        moved = structure["positions"] + 1e-3 * np.sin(step + np.arange(structure["positions"].size)).reshape(-1, 3)
        begin = time.perf_counter()
        engine.evaluate(**structure | {"positions": moved})
        found.append(time.perf_counter() - begin)
    return min(found)


for precision in ("mixed", "double"):
    portable = count("portable", precision)
    for instruction_set in _engine.instruction_sets():
        seconds = count(instruction_set, precision)
        times_as_many = portable / seconds
        print(f"{precision} {instruction_set}: {seconds:.4f} s, portable {times_as_many:.2f} times as much", flush=True)
