"""Child process of a benchmark: one backend, asked over a pipe to evaluate energies and forces through ASE.

Runs under the Python of the backend, which need not have so3md: only numpy and ASE are imported at the top.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from serving import serve

LR_CUTOFF = 12.0  # A, both backends
LR_DAMPING = 2.0  # A
#: Atoms move along their velocities for this many steps and then back, so that structures stay those of the liquid.
STEPS_BEFORE_RETURN = 20


def so3md_calculator(precision: str, threads: int) -> Calculator:
    from so3md import So3kratesCalculator

    return So3kratesCalculator(
        "so3lr", lr_cutoff=LR_CUTOFF, lr_damping=LR_DAMPING, precision=precision, threads=threads
    )


def so3krates_torch_calculator(precision: str, threads: int) -> Calculator:
    import torch
    from so3krates_torch.calculator.so3 import SO3LRCalculator

    torch.set_num_threads(threads)
    return SO3LRCalculator(
        r_max_lr=LR_CUTOFF, dispersion_energy_cutoff_lr_damping=LR_DAMPING, default_dtype=precision, device="cpu"
    )


def compiled_so3krates_torch_calculator(precision: str, threads: int) -> Calculator:
    """The same with each of its layers under torch.compile."""
    import torch._dynamo

    # Compiled code is kept for each layer and size of system, and PyTorch silently gives up at eight: fail instead.
    torch._dynamo.config.recompile_limit = 64
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    calculator = so3krates_torch_calculator(precision, threads)
    for layer in calculator.models[0].euclidean_transformers:
        layer.compile()  # sizes that change, like the number of pairs, become variables after the first call
    return calculator


BACKENDS = {
    "so3md": so3md_calculator,
    "so3krates-torch": so3krates_torch_calculator,
    "so3krates-torch-compiled": compiled_so3krates_torch_calculator,
}


def memory_kb(field: str) -> int:
    """VmRSS (now) or VmHWM (peak since the last reset) of this process.

    Not getrusage's ru_maxrss: a child inherits from its parent the peak that the parent had before the exec.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    raise RuntimeError(f"/proc/self/status has no line {field}; memory is measured on Linux only")


def reset_peak_memory() -> None:
    Path("/proc/self/clear_refs").write_text("5")


class Worker:
    def __init__(self, calculator: Calculator) -> None:
        self.calculator = calculator
        self.step = 0

    def load_system(self, file: str) -> dict[str, Any]:
        """Start with the structure of a file written by `systems.save_motion`, and warm up.

        Three evaluations: code is compiled in the first, and again in the second, where the number of pairs changes.
        """
        data = np.load(file)
        self.atoms = Atoms(numbers=data["numbers"], positions=data["positions"], cell=data["cell"], pbc=data["pbc"])
        self.start = data["positions"]
        self.displacement = data["displacement_per_step"]
        self.atoms.calc = self.calculator
        self.step = 0
        return {"seconds": self.evaluate_moved(3)["seconds"][-1]}

    def evaluate_moved(self, calls: int) -> dict[str, Any]:
        """Move all atoms, then evaluate energy and forces; so many times. Seconds of each call."""
        seconds = []
        for _ in range(calls):
            self.step += 1
            phase = self.step % (2 * STEPS_BEFORE_RETURN)
            self.atoms.positions = self.start + self.displacement * min(phase, 2 * STEPS_BEFORE_RETURN - phase)
            begin = time.perf_counter()
            self.atoms.get_forces()
            self.atoms.get_potential_energy()
            seconds.append(time.perf_counter() - begin)
        return {"seconds": seconds}

    def save_results(self, file: str) -> dict[str, Any]:
        """Energy and forces of the unmoved structure, to a file."""
        self.atoms.positions = self.start
        np.savez(file, forces=self.atoms.get_forces(), energy=self.atoms.get_potential_energy())
        return {}

    def measure_memory(self, file: str) -> dict[str, Any]:
        """Peak of resident memory during evaluations above what the process holds with the model loaded, in kB."""
        reset_peak_memory()
        before = memory_kb("VmRSS")
        self.load_system(file)
        self.evaluate_moved(STEPS_BEFORE_RETURN // 2)
        return {"model_loaded_kb": before, "peak_kb": memory_kb("VmHWM")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("backend", choices=BACKENDS)
    parser.add_argument("--precision", required=True)
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()

    serve(lambda: Worker(BACKENDS[arguments.backend](arguments.precision, arguments.threads)))


if __name__ == "__main__":
    main()
