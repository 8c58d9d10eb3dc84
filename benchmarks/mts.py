"""Multiple time steps against a single one: ns per day, and drift of the energy over outer steps.

    python benchmarks/mts.py                                    # distils a student of water first
    python benchmarks/mts.py --student so3lr-fast --supercell 2 2 2 --picoseconds 10
    python benchmarks/mts.py --student so3lr-fast --peptide GAVLIFYWSTNQ --supercell 2 2 3

Water from the package, or a peptide in it (which needs RDKit), brought to 300 K. Speed: turns of the single step (0.5
fs) and of every pair of an inner and an outer step, interleaved, in NVE; ratios are taken turn by turn, so that what
else the machine does affects both. Drift: from the same start, each moves freely, and a line through the teacher's
energy has the slope that is reported, with a standard error from ten blocks. Written to results/mts.json, and the
drift over outer steps is drawn beside it. `mts_averages.py` compares averages.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.md.verlet import VelocityVerlet
from machine import describe_machine
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from nve_drift import TEMPERATURE, drift, run_ase
from solvated_peptide import solvated_peptide
from student_structures import relax

from so3md import So3kratesCalculator
from so3md.distillation import Distillation, Plan
from so3md.dynamics import RespaVerlet, Settings, StudentError
from so3md.structures import read_structure
from so3md.structures.hydrogen_mass import repartition
from so3md.student import report_of

RESULT = Path(__file__).parent / "results" / "mts.json"
SINGLE = 0.5  # fs
RELAXATION = 50  # steps, of a peptide in water
LARGEST_DRIFT = 0.5  # eV per atom: what has gained more is no dynamics of water any more


def main() -> None:
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", help="a file or a name; default: one is distilled")
    parser.add_argument("--supercell", type=int, nargs=3, default=(1, 1, 1))
    parser.add_argument("--peptide", metavar="SEQUENCE", help="one letter for each residue")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--inner", type=float, nargs="+", default=[0.5, 0.55, 1.0], help="fs")
    parser.add_argument("--outer", type=float, nargs="+", default=[2.0, 2.5, 2.75, 3.0, 3.5, 4.0], help="fs")
    parser.add_argument("--hydrogen-mass", type=float, help="u, for all; default: natural masses")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--femtoseconds", type=float, default=24.0, help="of a turn, rounded to whole steps")
    parser.add_argument("--equilibration", type=float, default=1.0, help="ps")
    parser.add_argument("--picoseconds", type=float, default=2.0, help="of the drift; 0: none")
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    machine = describe_machine()
    with tempfile.TemporaryDirectory() as directory:
        options.student = options.student or str(distil(Path(directory), options.threads))
        atoms = structure(options)
        if options.hydrogen_mass is not None:
            repartition(atoms, options.hydrogen_mass)
        atoms.calc = So3kratesCalculator(threads=options.threads)
        thermostat = Settings(thermostat="csvr", temperature=TEMPERATURE, seed=1)
        run_ase(atoms, thermostat, options.equilibration, Path(directory, "nvt"))
        steps = [(SINGLE, SINGLE), *((inner, outer) for inner in options.inner for outer in options.outer)]
        # Without a student's step in between, an outer step of the same length is only a dearer single one.
        steps = [pair for pair in steps if pair == (SINGLE, SINGLE) or is_multiple(pair)]
        speeds = measure_speeds(atoms, steps, options)
        drifts = [measure_drift(atoms, pair, options) for pair in steps] if options.picoseconds else [{}] * len(steps)
        result = {
            "system": f"{atoms.get_chemical_formula()}, {len(atoms)} atoms",
            "peptide": options.peptide,
            "student": report_of(options.student),
            "hydrogen_mass_u": options.hydrogen_mass,
            "threads": options.threads,
            "turns": options.turns,
            "length_of_drift_ps": options.picoseconds,
            "engine": atoms.calc.engine_info()["instruction_set"],
            "so3md": version("so3md"),
            "machine": machine,
            "steps": [
                {"inner_fs": inner, "outer_fs": outer} | speed | drifted
                for (inner, outer), speed, drifted in zip(steps, speeds, drifts, strict=True)
            ],
        }
    options.output.parent.mkdir(exist_ok=True)
    options.output.write_text(json.dumps(result, indent=2) + "\n")
    if options.picoseconds:
        draw(result["steps"], options.output.with_suffix(".png"))


def structure(options: argparse.Namespace) -> Atoms:
    """Water, or a peptide in it, from which the worst contacts are gone."""
    if options.peptide is None:
        return read_structure("water", supercell=options.supercell)
    atoms = solvated_peptide(options.peptide, options.supercell)
    relax(atoms, So3kratesCalculator(threads=options.threads), RELAXATION)
    return atoms


def draw(steps: list[dict[str, Any]], path: Path) -> None:
    """The drift over outer steps, a line for each inner one; those that stopped have no point."""
    figure = Figure(figsize=(5, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    name = "drift_kT_per_ns_per_degree_of_freedom"
    for inner in sorted({step["inner_fs"] for step in steps}):
        own = [step for step in steps if step["inner_fs"] == inner and name in step]
        errors = [step["drift_standard_error_kT_per_ns_per_degree_of_freedom"] for step in own]
        outer, drifts = [step["outer_fs"] for step in own], [step[name] for step in own]
        axis.errorbar(outer, drifts, errors, marker="o", label=f"inner step {inner:g} fs")
    axis.set(xlabel="outer step, fs", ylabel="drift, kT per ns and degree of freedom")
    axis.set_yscale("symlog", linthresh=1.0)
    axis.legend(frameon=False)
    figure.savefig(path, dpi=150)


def is_multiple(pair: tuple[float, float]) -> bool:
    """Whether the outer step is some inner ones, and more than one."""
    ratio = pair[1] / pair[0]
    return ratio > 1 and abs(ratio - round(ratio)) < 1e-9


def distil(directory: Path, threads: int) -> Path:
    """A student of water, by the defaults of `so3md distill`."""
    output = directory / "student.safetensors"
    with Distillation.start([read_structure("water")], Plan(threads=threads), directory / "student", output) as work:
        work.sample()
        with work.training() as run:
            run.train()
        print(json.dumps(work.finish(), indent=2), flush=True)
    return output


def driver_of(atoms: Atoms, pair: tuple[float, float], options: argparse.Namespace) -> VelocityVerlet | RespaVerlet:
    """The integrator with these inner and outer steps (fs) for a structure, which gets a calculator."""
    inner, outer = pair
    atoms.calc = So3kratesCalculator(threads=options.threads)
    if pair == (SINGLE, SINGLE):
        return VelocityVerlet(atoms, SINGLE * units.fs)
    student = So3kratesCalculator(options.student, threads=options.threads)
    return RespaVerlet(atoms, outer * units.fs, student, substeps=round(outer / inner))


def measure_speeds(start: Atoms, steps: list[tuple[float, float]], options: argparse.Namespace) -> list[dict[str, Any]]:
    """ns per day of each, and how many times that of the first: medians over the turns, with the least and the most."""
    moving = [start.copy() for _ in steps]
    drivers = [driver_of(atoms, pair, options) for atoms, pair in zip(moving, steps, strict=True)]
    speeds: list[list[float]] = [[] for _ in steps]
    for turn in range(options.turns + 1):
        for driver, pair, found in zip(drivers, steps, speeds, strict=True):
            outer_steps = round(options.femtoseconds / pair[1])
            begin = time.perf_counter()
            for _ in range(outer_steps):
                driver.step()
            if turn:  # the first one makes lists and warms up
                found.append(outer_steps * pair[1] * 1e-6 / (time.perf_counter() - begin) * 86400)
    result = []
    for pair, found in zip(steps, speeds, strict=True):
        ratios = [own / single for own, single in zip(found, speeds[0], strict=True)]
        own = {
            "ns_per_day": statistics.median(found),
            "times_single": statistics.median(ratios),
            "times_single_least": min(ratios),
            "times_single_most": max(ratios),
        }
        print(*pair, json.dumps(own), flush=True)
        result.append(own)
    return result


def measure_drift(start: Atoms, pair: tuple[float, float], options: argparse.Namespace) -> dict[str, Any]:
    """Drift of the teacher's energy; "stopped_after_ps" where there was no way on."""
    atoms = start.copy()
    driver = driver_of(atoms, pair, options)
    rows, stopped = [], None
    first = None
    for step in range(round(options.picoseconds * 1e3 / pair[1])):
        try:
            driver.step()
        except StudentError:
            stopped = step * pair[1] * 1e-3
            break
        kinetic = atoms.get_kinetic_energy()
        total = kinetic + atoms.get_potential_energy()
        first = total if first is None else first
        rows.append(((step + 1) * pair[1] * 1e-3, total, kinetic, atoms.get_temperature()))
        if abs(total - first) > LARGEST_DRIFT * len(atoms):
            stopped = rows[-1][0]
            break
    if stopped is not None:
        print(*pair, f"stopped after {stopped:.3g} ps", flush=True)
        return {"stopped_after_ps": stopped}
    columns = np.array(rows).T
    names = ("time_ps", "total_eV", "kinetic_eV", "temperature_K")
    found = drift(dict(zip(names, columns, strict=True)), len(atoms))
    print(*pair, f"{found['drift_kT_per_ns_per_degree_of_freedom']:.3g} kT/ns/dof", flush=True)
    return found


if __name__ == "__main__":
    main()
