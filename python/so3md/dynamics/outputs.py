"""What a run writes as it goes: a log of numbers (CSV) and a trajectory, by default extended XYZ."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import PropertyNotImplementedError
from ase.constraints import FixAtoms, FixCartesian
from ase.io.extxyz import write_xyz
from ase.md.md import MolecularDynamics

from so3md.charge_and_spin import charge_and_spin_entries
from so3md.dynamics.ensembles import BAR, conserved_energy
from so3md.dynamics.record import LOG
from so3md.dynamics.trajectories import TrajectoryWriter
from so3md.run_directory import GrowingFile, whole_frames, whole_rows
from so3md.structures.constraints import has_own_masses, header_entries

if TYPE_CHECKING:
    from so3md.dynamics.uncertain import UncertainStructures

_GRAM_PER_CM3 = 1e24 / units.mol  # of amu/Angstrom^3


@dataclass
class Observation:
    """One row of the log. None where the quantity is not defined: the conserved energy of Langevin dynamics; volume,
    density and pressure (which includes the kinetic part) of structures that are not periodic in all directions."""

    step: int
    time_ps: float
    temperature_K: float
    potential_eV: float
    kinetic_eV: float
    total_eV: float
    conserved_eV: float | None
    volume_A3: float | None = None
    density_g_cm3: float | None = None
    pressure_bar: float | None = None

    def row(self) -> list[str]:
        """The values as text; those that are not defined are empty."""
        return [_text(value) for value in asdict(self).values()]


def _text(value: float | None) -> str:
    if value is None:
        return ""
    if isinstance(value, int):
        return str(value)
    return f"{value:.10g}" if abs(value) < 1e4 else f"{value:.6f}"


COLUMNS = [field.name for field in fields(Observation)]


def read_log(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The columns of a log.csv as arrays; nan where the log has nothing."""
    with Path(path).open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
        names = reader.fieldnames or []
    return {name: np.array([float(row[name] or "nan") for row in rows]) for name in names}


def temperature(kinetic: float, degrees_of_freedom: int) -> float:
    """Temperature (K) of a kinetic energy (eV)."""
    return 2 * kinetic / (degrees_of_freedom * units.kB) if degrees_of_freedom else 0.0


def observe(driver: MolecularDynamics, step: int, degrees_of_freedom: int) -> Observation:
    """The numbers of the log for the present state of a run; costs no evaluation."""
    atoms = driver.atoms
    potential, kinetic = atoms.get_potential_energy(), atoms.get_kinetic_energy()
    result = Observation(
        step=step,
        time_ps=step * driver.dt / (1e3 * units.fs),
        temperature_K=temperature(kinetic, degrees_of_freedom),
        potential_eV=potential,
        kinetic_eV=kinetic,
        total_eV=potential + kinetic,
        conserved_eV=conserved_energy(driver),
    )
    if atoms.pbc.all():
        result.volume_A3 = atoms.get_volume()
        result.density_g_cm3 = atoms.get_masses().sum() / result.volume_A3 * _GRAM_PER_CM3
        result.pressure_bar = _pressure(atoms)
    return result


def _pressure(atoms: Atoms) -> float | None:
    try:
        return -np.trace(atoms.get_stress(voigt=False, include_ideal_gas=True)) / 3 / BAR
    except PropertyNotImplementedError:
        return None


class LogWriter(GrowingFile):
    """log.csv: one row per observation."""

    def __init__(self, path: Path, size: int | None = None) -> None:
        super().__init__(path, size, whole_rows)
        if self.size == 0:
            self.append(_csv_line(COLUMNS))

    def write(self, observation: Observation) -> None:
        """Add a row; it is in the file when this returns."""
        self.append(_csv_line(observation.row()))


def _csv_line(values: list[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()


class XyzWriter(GrowingFile):
    """trajectory.xyz: extended XYZ, which ASE, OVITO and VMD read.

    Positions (Angstrom) are not wrapped into the cell, so that diffusion can be measured. With velocities, a column of
    momenta in ASE's unit; with forces, one of forces (eV/Angstrom).
    """

    def __init__(self, path: Path, size: int | None = None, velocities: bool = False, forces: bool = False) -> None:
        super().__init__(path, size, whole_frames)
        self._velocities, self._forces = velocities, forces

    def write(self, atoms: Atoms, observation: Observation) -> None:
        """Add a frame; it is in the file when this returns."""
        info = {
            "step": observation.step,
            "time_ps": observation.time_ps,
            "energy": observation.potential_eV,
            "temperature_K": observation.temperature_K,
        }
        forces = atoms.get_forces(apply_constraint=False) if self._forces else None
        self.append(frame_text(atoms, info, self._velocities, forces))


class Outputs:
    """The files of a run that grow: log, trajectory, and the uncertain structures where they are kept."""

    def __init__(
        self,
        directory: Path,
        positions: Mapping[str, int],
        trajectory: TrajectoryWriter,
        name: str,
        uncertain: UncertainStructures | None = None,
    ) -> None:
        """positions: name -> where to go on with existing files, see `sync`; name: that of the trajectory."""
        self.uncertain = uncertain
        self._log = LogWriter(directory / LOG, positions.get(LOG))
        self._trajectory, self._name = trajectory, name

    def write(self, observation: Observation, atoms: Atoms, row: bool, frame: bool) -> None:
        """Add a row to the log, a frame to the trajectory, or both."""
        if row:
            self._log.write(observation)
        if frame:
            self._trajectory.write(atoms, observation)

    def sync(self) -> dict[str, int]:
        """Wait until everything is safely on disk; returns name -> where to go on: bytes, or frames."""
        kept = {} if self.uncertain is None else {self.uncertain.path.name: self.uncertain.sync()}
        return {LOG: self._log.sync(), self._name: self._trajectory.sync()} | kept

    def close(self) -> None:
        """Close the files."""
        self._log.close()
        self._trajectory.close()
        if self.uncertain is not None:
            self.uncertain.close()


def frame_text(
    atoms: Atoms,
    info: Mapping[str, object],
    velocities: bool,
    forces: np.ndarray | None = None,
    all_constraints: bool = False,
    uncertainties: np.ndarray | None = None,
) -> str:
    """One frame of extended XYZ; its header has the entries of info, and the charge and spin of the structure.

    Masses have a column where they are not the natural ones, fixed atoms and directions another, move_mask. Of other
    constraints the header has all, or only the names.
    """
    entries = dict(info) | charge_and_spin_entries(atoms) | header_entries(atoms, all_constraints)
    frame = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc, info=entries)
    # For move_mask, which is left out where all atoms move; other constraints have no part in it.
    frame.set_constraint([item for item in atoms.constraints if isinstance(item, FixAtoms | FixCartesian)])
    columns = ["symbols", "positions", "move_mask"]
    if has_own_masses(atoms):
        frame.set_masses(atoms.get_masses())
        columns.append("masses")
    if velocities:
        frame.set_momenta(atoms.get_momenta(), apply_constraint=False)
        columns.append("momenta")
    if forces is not None:
        frame.new_array("forces", forces)
        columns.append("forces")
    if uncertainties is not None:
        frame.new_array("forces_uncertainty", uncertainties)
        columns.append("forces_uncertainty")
    text = io.StringIO()
    write_xyz(text, frame, columns=columns, write_results=False)
    return text.getvalue()
