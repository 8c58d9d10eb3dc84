"""Averages in multiple time steps beside those of a single one: what must not differ, with statistical errors.

    python benchmarks/mts_averages.py --picoseconds 200
    python benchmarks/mts_averages.py --picoseconds 200 --keep   # another student, the same single steps
    python benchmarks/mts_averages.py --outer 2 2.75 --processes 3 --picoseconds 2 --output /tmp/short.json

Water from the package at 300 K with stochastic velocity rescaling (100 fs), which disturbs motion little: temperature,
potential energy, kinetic energy by element, O-O radial distribution function, diffusion coefficient (without correction
for the size of the box) and spectrum of the hydrogens' velocities. Standard errors are from ten blocks; the difference
of a mean is given in its standard errors. Every run has a process of its own, and what is finished is written at once
to results/mts_averages.json; the drawing lies beside it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from ase import units
from machine import describe_machine
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from mts import SINGLE
from nve_drift import BLOCKS, TEMPERATURE

from so3md import So3kratesCalculator
from so3md.cli.student_options import default_timestep
from so3md.dynamics import Settings, Simulation
from so3md.structures import read_structure
from so3md.student import report_of

RESULT = Path(__file__).parent / "results" / "mts_averages.json"
#: The run that the others are compared with.
REFERENCE = "single"
#: Velocities of so many hydrogens are kept, and their spectrum is that of stretches of this length (fs).
_HYDROGENS, _STRETCH = 128, 2000.0
#: Every so many records one of the positions; bins of the radial distribution function (A).
_POSITIONS_EVERY, _BIN = 10, 0.05
#: The mean square displacement is fitted between these times (ps).
_FIT = (1.0, 5.0)
_CM_PER_FS = 2.99792458e-5


def main() -> None:
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", default="so3lr-fast")
    parser.add_argument("--supercell", type=int, nargs=3, default=(1, 1, 1))
    parser.add_argument("--processes", type=int, default=2, help="runs at once")
    parser.add_argument("--threads", type=int, default=1, help="of each")
    parser.add_argument(
        "--outer", type=float, nargs="+", default=[2.75], help="fs; velocities are kept at this interval"
    )
    parser.add_argument("--inner", type=float, help="fs; default: the shortest part of an outer step from 0.5 fs on")
    parser.add_argument("--hydrogen-mass", type=float, help="u, in all runs")
    parser.add_argument("--equilibration", type=float, default=5.0, help="ps")
    parser.add_argument("--picoseconds", type=float, default=200.0)
    parser.add_argument("--output", type=Path, default=RESULT)
    parser.add_argument("--keep", action="store_true", help="single steps that the output has")
    options = parser.parse_args()
    common = {"thermostat": "csvr", "temperature": TEMPERATURE, "hydrogen_mass": options.hydrogen_mass}
    settings = {REFERENCE: Settings(timestep=SINGLE, seed=1, **common)}
    for outer in options.outer:
        inner = options.inner or default_timestep(outer)
        settings[f"{outer:g} fs"] = Settings(timestep=inner, outer_timestep=outer, seed=2, **common)
    result: dict[str, Any] = {
        "student": report_of(options.student),
        "length_ps": options.picoseconds,
        "supercell": list(options.supercell),
        "equilibration_ps": options.equilibration,
        "single_steps_are_of_an_earlier_run": options.keep,
        "so3md": version("so3md"),
        "machine": describe_machine(),
        "settings": {name: own.physics() for name, own in settings.items()},
        "found": earlier_single_steps(settings, options) if options.keep else {},
        "difference_in_standard_errors": {},
    }
    options.output.parent.mkdir(exist_ok=True)
    with ProcessPoolExecutor(options.processes, multiprocessing.get_context("spawn")) as pool:
        missing = {name: own for name, own in settings.items() if name not in result["found"]}
        names = {pool.submit(measure, own, options): name for name, own in missing.items()}
        for done in as_completed(names):
            result["found"][names[done]] = done.result()
            result["difference_in_standard_errors"] = differences(result["found"])
            options.output.write_text(json.dumps(result, indent=2) + "\n")
            print(f"done: {names[done]}", flush=True)
    print(json.dumps(result["difference_in_standard_errors"], indent=2))
    draw(result["found"], options.output.with_suffix(".png"))


def earlier_single_steps(settings: dict[str, Settings], options: argparse.Namespace) -> dict[str, Any]:
    """Single steps of the output, which need no student, if they are those that are asked for."""
    before = json.loads(options.output.read_text())
    wanted = {
        "length_ps": options.picoseconds,
        "supercell": list(options.supercell),
        "equilibration_ps": options.equilibration,
    }
    same = all(before[name] == value for name, value in wanted.items())
    if not same or before["settings"][REFERENCE] != settings[REFERENCE].physics():
        raise SystemExit(f"{options.output}: single steps of another length, or with other settings; leave out --keep")
    return {REFERENCE: before["found"][REFERENCE]}


def measure(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    """One run."""
    return averages(record(settings, options), interval_of(settings, options))


def interval_of(settings: Settings, options: argparse.Namespace) -> float:
    """Between records, fs."""
    if settings.outer_timestep is not None:
        return settings.outer_timestep
    return SINGLE * int(options.outer[0] / SINGLE)


class Record:
    """What is kept of a run: rows of numbers, velocities of hydrogens, and positions of oxygens with their cell."""

    def __init__(self) -> None:
        self.rows: list[tuple[float, ...]] = []
        self.velocities: list[np.ndarray] = []
        self.oxygens: list[np.ndarray] = []
        self.atoms: Any = None

    def take(self, simulation: Simulation) -> None:
        """The present step."""
        self.atoms = atoms = simulation.atoms
        kinetic = np.square(atoms.get_momenta()).sum(axis=1) / (2 * atoms.get_masses())
        hydrogens = atoms.numbers == 1
        per_degree = 2 / (3 * units.kB) * np.array([kinetic[hydrogens].mean(), kinetic[~hydrogens].mean()])
        temperature = 2 * kinetic.sum() / (simulation.degrees_of_freedom * units.kB)
        self.rows.append((temperature, atoms.get_potential_energy() / len(atoms), *per_degree))
        self.velocities.append(atoms.get_velocities()[hydrogens][:_HYDROGENS].astype(np.float32))
        if len(self.rows) % _POSITIONS_EVERY == 0:
            self.oxygens.append(atoms.positions[~hydrogens].copy())


def record(settings: Settings, options: argparse.Namespace) -> Record:
    """Equilibrate, then keep a record at intervals of the outer step."""
    atoms = read_structure("water", supercell=options.supercell)
    atoms.calc = So3kratesCalculator(threads=options.threads)
    multiple = settings.outer_timestep is not None
    student = So3kratesCalculator(options.student, threads=options.threads) if multiple else None
    interval = interval_of(settings, options)
    kept, every = Record(), round(interval / settings.step_length)
    with (
        tempfile.TemporaryDirectory() as directory,
        Simulation.start(atoms, settings, Path(directory, "run"), student=student) as simulation,
    ):
        simulation.run(round(options.equilibration * 1e3 / settings.step_length))
        first = simulation.step

        def take(run: Simulation) -> None:
            if (run.step - first) % every == 0:
                kept.take(run)

        simulation.run(round(options.picoseconds * 1e3 / settings.step_length), on_step=take)
    return kept


def mean_and_error(values: np.ndarray) -> dict[str, float]:
    """The mean, and its standard error from blocks."""
    blocks = [np.mean(block) for block in np.array_split(values, BLOCKS)]
    return {"mean": float(np.mean(values)), "error": float(np.std(blocks, ddof=1) / np.sqrt(BLOCKS))}


def averages(kept: Record, between: float) -> dict[str, Any]:
    """All that is compared. `between`: fs from one record to the next."""
    columns = np.array(kept.rows).T
    names = ("temperature_K", "potential_eV_per_atom", "temperature_of_hydrogen_K", "temperature_of_oxygen_K")
    result: dict[str, Any] = {"system": f"{kept.atoms.get_chemical_formula()}, {len(kept.atoms)} atoms"}
    result |= {name: mean_and_error(values) for name, values in zip(names, columns, strict=True)}
    interval = between * _POSITIONS_EVERY * 1e-3
    result |= radial_distribution(np.array(kept.oxygens), kept.atoms.cell.lengths())
    result["diffusion_A2_per_ps"] = diffusion(np.array(kept.oxygens), interval)
    return result | spectrum(np.array(kept.velocities), between)


def radial_distribution(oxygens: np.ndarray, edges: np.ndarray) -> dict[str, Any]:
    """Of O-O in a rectangular cell, up to half its shortest edge; the height of the first peak."""
    bins = np.arange(0, edges.min() / 2, _BIN)
    count = oxygens.shape[1]
    first, second = np.triu_indices(count, 1)
    shells = 4 / 3 * np.pi * np.diff(bins**3) * len(first) / np.prod(edges)
    of_frames = []
    for frame in oxygens:
        apart = frame[first] - frame[second]
        apart -= edges * np.round(apart / edges)
        of_frames.append(np.histogram(np.linalg.norm(apart, axis=1), bins)[0] / shells)
    functions = np.array(of_frames)
    peak = int(functions.mean(axis=0).argmax())
    return {
        "rdf_peak_height": mean_and_error(functions[:, peak]),
        "rdf_r_A": (bins[:-1] + _BIN / 2).round(4).tolist(),
        "rdf": functions.mean(axis=0).round(4).tolist(),
    }


def diffusion(oxygens: np.ndarray, interval: float) -> dict[str, float] | None:
    """From the mean square displacement, in each block by itself; None for runs that are too short for it."""
    lags = np.arange(round(_FIT[0] / interval), round(_FIT[1] / interval))
    blocks = np.array_split(oxygens, BLOCKS)
    if len(blocks[-1]) < 2 * lags[-1]:
        return None
    slopes = []
    for block in blocks:
        squares = [np.square(block[lag:] - block[:-lag]).sum(axis=2).mean() for lag in lags]
        slopes.append(np.polyfit(lags * interval, squares, 1)[0] / 6)
    return {"mean": float(np.mean(slopes)), "error": float(np.std(slopes, ddof=1) / np.sqrt(BLOCKS))}


def spectrum(velocities: np.ndarray, interval: float) -> dict[str, Any]:
    """Power of the hydrogens' velocities over wave numbers (1/cm), and the centre of the O-H stretch."""
    length = min(round(_STRETCH / interval), len(velocities))
    stretches = [velocities[start : start + length] for start in range(0, len(velocities) - length + 1, length)]
    window = np.hanning(length)[:, None, None]
    power = np.mean([np.square(np.abs(np.fft.rfft(part * window, axis=0))).sum(axis=(1, 2)) for part in stretches], 0)
    wave_numbers = np.fft.rfftfreq(length, interval) / _CM_PER_FS
    power /= power.sum()
    stretch = wave_numbers > 2200  # heavier hydrogens included
    return {
        "stretch_centre_per_cm": float(np.average(wave_numbers[stretch], weights=power[stretch])),
        "spectrum_per_cm": wave_numbers.round(1).tolist(),
        "spectrum": power.tolist(),
    }


def differences(found: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Differences of the means of each run from those of single steps, in their standard errors."""
    if REFERENCE not in found:
        return {}
    means = {name: value for name, value in found[REFERENCE].items() if isinstance(value, dict)}
    return {
        name: {
            quantity: (own[quantity]["mean"] - single["mean"])
            / float(np.hypot(own[quantity]["error"], single["error"]))
            for quantity, single in means.items()
            if own[quantity] is not None
        }
        for name, own in found.items()
        if name != REFERENCE
    }


def draw(found: dict[str, dict[str, Any]], path: Path) -> None:
    """Radial distribution functions and spectra."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    for name, own in found.items():
        style = "-" if name == REFERENCE else "--"
        left.plot(own["rdf_r_A"], own["rdf"], style, label=f"{name} time step")
        right.plot(own["spectrum_per_cm"], own["spectrum"], style)
    left.set(xlabel="r, Å", ylabel="g(r) of O-O")
    left.legend(frameon=False)
    right.set(xlabel="wave number, 1/cm", ylabel="spectrum of hydrogen velocities", xlim=(0, 4500))
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
