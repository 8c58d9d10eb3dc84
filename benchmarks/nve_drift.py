"""Drift of the total energy of water in NVE molecular dynamics, in ASE and in LAMMPS on one and two processes.

    python benchmarks/nve_drift.py
    python benchmarks/nve_drift.py --hosts ASE --coulomb cutoff ewald mesh --output results/nve_drift_ewald.json

64 molecules are brought to 300 K for 1 ps, then move freely for 10 ps with a time step of 0.5 fs in `mixed` precision,
from the same start in every host. The drift is the slope of a straight line through the total energy, for the whole box
(eV/ps) and per degree of freedom (kT/ns), with a standard error from ten blocks. Written to results/nve_drift.json.
With other electrostatics than up to the cutoff, which --coulomb chooses, the start is brought to 300 K with these.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.io.lammpsdata import write_lammps_data
from machine import describe_machine
from rich.console import Console

from so3md import So3kratesCalculator
from so3md.cli.run_display import RunDisplay
from so3md.dynamics import Settings, Simulation
from so3md.dynamics.outputs import read_log
from so3md.structures import read_structure

RESULT = Path(__file__).parent / "results" / "nve_drift.json"
TEMPERATURE = 300.0  # K
BLOCKS = 10
HOSTS = {"ASE": 0, "LAMMPS, 1 process": 1, "LAMMPS, 2 processes": 2}
COULOMB: dict[str, dict[str, Any]] = {
    "cutoff": {},
    "ewald": {"coulomb": "ewald", "ewald_method": "sum"},
    "mesh": {"coulomb": "ewald", "ewald_method": "mesh"},
}

LAMMPS_INPUT = """
units metal
atom_style atomic
read_data water.data
pair_style so3krates so3lr precision {precision} threads {threads} {coulomb}
pair_coeff * * H O
neighbor 1.0 bin
timestep {timestep}
fix move all nve
thermo {every}
thermo_style custom time etotal ke temp
thermo_modify format 2 %.9f format 3 %.9f
run {steps}
"""


def main() -> None:
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picoseconds", type=float, default=10.0)
    parser.add_argument("--equilibration", type=float, default=1.0, help="ps")
    parser.add_argument("--timestep", type=float, default=0.5, help="fs")
    parser.add_argument("--precision", choices=["mixed", "double"], default="mixed")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--hosts", nargs="+", choices=list(HOSTS), default=list(HOSTS))
    parser.add_argument("--coulomb", nargs="+", choices=list(COULOMB), default=["cutoff"])
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    machine = describe_machine()
    drifts = {}
    with tempfile.TemporaryDirectory() as directory:
        thermostat = Settings(thermostat="csvr", temperature=TEMPERATURE, timestep=options.timestep, seed=1)
        for coulomb in options.coulomb:
            atoms = read_structure("water")
            atoms.calc = calculator(coulomb, options)
            run_ase(atoms, thermostat, options.equilibration, Path(directory, f"{coulomb}_nvt"))
            for host in options.hosts:
                name = host if coulomb == "cutoff" else f"{host}, {coulomb}"
                log = run_host(host, coulomb, atoms.copy(), options, Path(directory, name.replace(" ", "_")))
                drifts[name] = drift(log, len(atoms))
                print(name, json.dumps(drifts[name], indent=2), flush=True)
    result = {
        "system": f"{atoms.get_chemical_formula()}, {len(atoms)} atoms",
        "model": "so3lr",
        "precision": options.precision,
        "timestep_fs": options.timestep,
        "length_ps": options.picoseconds,
        "engine": atoms.calc.engine_info()["instruction_set"],
        "so3md": version("so3md"),
        "machine": machine,
        "hosts": drifts,
    }
    options.output.parent.mkdir(exist_ok=True)
    options.output.write_text(json.dumps(result, indent=2) + "\n")


def calculator(coulomb: str, options: argparse.Namespace) -> So3kratesCalculator:
    return So3kratesCalculator(precision=options.precision, threads=options.threads, **COULOMB[coulomb])


def run_host(
    host: str, coulomb: str, atoms: Atoms, options: argparse.Namespace, directory: Path
) -> dict[str, np.ndarray]:
    """Move atoms freely from where they are; returns time_ps, total_eV, kinetic_eV and temperature_K."""
    if HOSTS[host] > 0:
        return run_lammps(HOSTS[host], coulomb, atoms, options, directory)
    atoms.calc = calculator(coulomb, options)
    free = Settings(ensemble="nve", timestep=options.timestep)
    return run_ase(atoms, free, options.picoseconds, directory)


def run_ase(atoms: Atoms, settings: Settings, picoseconds: float, directory: Path) -> dict[str, np.ndarray]:
    """Move atoms, in place, for so long; returns the log."""
    steps = round(picoseconds * 1e3 / settings.timestep)
    with (
        Simulation.start(atoms, settings, directory) as simulation,
        RunDisplay(simulation, steps, Console()) as display,
    ):
        simulation.run(steps, on_step=display.update)
    return read_log(directory / "log.csv")


def run_lammps(
    processes: int, coulomb: str, atoms: Atoms, options: argparse.Namespace, directory: Path
) -> dict[str, np.ndarray]:
    directory.mkdir()
    write_lammps_data(
        directory / "water.data", atoms, specorder=["H", "O"], masses=True, velocities=True, atom_style="atomic"
    )
    text = LAMMPS_INPUT.format(
        precision=options.precision, threads=options.threads, timestep=options.timestep * 1e-3, every=10,
        steps=round(options.picoseconds * 1e3 / options.timestep),
        coulomb=" ".join(word for item in COULOMB[coulomb].items() for word in item),
    )  # fmt: skip
    (directory / "in.water").write_text(text)
    launcher = ["mpiexec", "-n", str(processes)] if processes > 1 else []
    command = [*launcher, "lmp", "-in", "in.water", "-screen", "none"]
    subprocess.run(command, cwd=directory, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True)
    table = re.search(r"^ *Time +TotEng.*?\n(.*?)^Loop time", (directory / "log.lammps").read_text(), re.M | re.S)
    columns = np.array([[float(word) for word in line.split()] for line in table.group(1).splitlines()]).T
    return dict(zip(("time_ps", "total_eV", "kinetic_eV", "temperature_K"), columns, strict=True))


def drift(log: dict[str, np.ndarray], n_atoms: int) -> dict[str, Any]:
    """Slope of the total energy, in all units, and what is around it."""
    time, energy = log["time_ps"], log["total_eV"]
    slope, start = np.polyfit(time, energy, 1)
    # The energy is correlated in time, so the error of the line is taken from the means of blocks.
    residuals = [np.mean(block) for block in np.array_split(energy - slope * time - start, BLOCKS)]
    centres = [np.mean(block) for block in np.array_split(time, BLOCKS)]
    standard_error = np.std(residuals, ddof=2) / np.sqrt(BLOCKS) / np.std(centres)
    per_freedom = 1e3 / (units.kB * TEMPERATURE * (3 * n_atoms - 3))  # eV/ps -> kT/ns per degree of freedom
    return {
        "drift_eV_per_ps": slope,
        "drift_standard_error_eV_per_ps": standard_error,
        "drift_kT_per_ns_per_degree_of_freedom": slope * per_freedom,
        "drift_standard_error_kT_per_ns_per_degree_of_freedom": standard_error * per_freedom,
        "fluctuation_of_total_energy_eV": float(np.std(energy)),
        "fluctuation_of_kinetic_energy_eV": float(np.std(log["kinetic_eV"])),
        "mean_temperature_K": float(np.mean(log["temperature_K"])),
    }


if __name__ == "__main__":
    main()
