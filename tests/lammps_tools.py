"""Structures evaluated by LAMMPS: inputs written, `lmp` run as a user does, results read back in ASE's units and frame.

    job = Job(tmp_path, atoms, pair_style="so3lr precision double")
    job.report("start"); job.commands("run 50"); job.report("end")
    reports = job.run(ranks=2)
    reports["end"].forces

A job is one LAMMPS process (or one under mpiexec), however many reports it makes.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from lammps_runs import run

from so3md.lammps_input import LammpsStructure

#: 1 eV in LAMMPS's unit of energy, and 1 unit of energy per A^3 in its unit of pressure: LAMMPS's own constants.
ENERGY_UNIT = {"metal": 1.0, "real": 23.060549}
PRESSURE_UNIT = {"metal": 1.6021765e6, "real": 68568.415}

COMPONENTS = ("nn", "zbl", "electrostatics", "dispersion")

_COMPUTES = """
compute virial all pressure NULL virial
compute components all pair so3krates
compute atomic all pe/atom
fix values all pair 1 so3krates charge 0 hirshfeld_ratio 0
thermo_style custom step pe evdwl ecoul elong vol c_virial[*] c_components[*]
"""
_REPORT = """
run 0 post no
print "REPORT {name} $(pe:%.17g) $(evdwl:%.17g) $(ecoul:%.17g) $(elong:%.17g) $(vol:%.17g)"
print "VIRIAL {name} $(c_virial[1]:%.17g) $(c_virial[2]:%.17g) $(c_virial[3]:%.17g) &
$(c_virial[4]:%.17g) $(c_virial[5]:%.17g) $(c_virial[6]:%.17g)"
print "COMPONENTS {name} $(c_components[1]:%.17g) $(c_components[2]:%.17g) $(c_components[3]:%.17g) &
$(c_components[4]:%.17g) $(c_components[5]:%.17g) $(c_components[6]:%.17g)"
write_dump all custom {name}.dump id proc x y z fx fy fz c_atomic f_values[1] f_values[2] {columns} &
  modify sort id format float %.17g
"""


@dataclass
class Report:
    """A state of a job. Energies in eV, lengths in A; rows of atoms in the order of the structure."""

    energy: float
    vdwl: float
    coulomb: float
    long_range: float  # of the kspace style
    volume: float
    stress: np.ndarray  # (3, 3), eV/A^3, ASE's sign
    components: dict[str, float]
    bytes_sent: float  # by all processes in this evaluation
    processes: np.ndarray  # (n,) owners
    positions: np.ndarray
    forces: np.ndarray
    energies: np.ndarray  # (n,)
    charges: np.ndarray
    hirshfeld_ratios: np.ndarray
    columns: np.ndarray  # (n, number of further columns)


class Job:
    """An input for LAMMPS that sets up a structure and reports what becomes of it."""

    def __init__(
        self,
        directory: Path,
        atoms: Atoms,
        pair_style: str | None = "so3lr precision double",
        units: str = "metal",
        atom_style: str = "charge",
        before_box: str = "",
        columns: str = "",
    ) -> None:
        self.directory = directory
        self.units = units
        self.columns = columns
        self.structure = LammpsStructure.of(atoms)
        (directory / "data.lammps").write_text(self.structure.data_file("test", units=units, atom_style=atom_style))
        self.lines = [
            f"units {units}",
            f"atom_style {atom_style}",
            "atom_modify map yes",
            f"boundary {self.structure.boundary}",
            before_box,
            "read_data data.lammps",
        ]
        if pair_style is not None:
            self.commands(f"pair_style so3krates {pair_style}\npair_coeff * * {self.elements}")
        self.has_computes = False

    @property
    def elements(self) -> str:
        """Elements of the atom types."""
        return " ".join(self.structure.symbols)

    def commands(self, text: str) -> None:
        """Add lines of input."""
        self.lines.append(text)

    def report(self, name: str, columns: str = "") -> None:
        """Evaluate the state that the system has now and report it; `columns`: of the dump, besides those of Report."""
        if not self.has_computes:
            self.commands(_COMPUTES)
            self.has_computes = True
        self.commands(_REPORT.format(name=name, columns=columns or self.columns))

    def start(self, ranks: int | None = None, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the input, successful or not."""
        (self.directory / "in.lammps").write_text("\n".join(self.lines) + "\n")
        command = ["lmp", "-in", "in.lammps", *arguments]
        if ranks is not None:
            command = ["mpiexec", "-n", str(ranks), *command]
        return run(command, self.directory)

    def run(self, ranks: int | None = None, *arguments: str) -> dict[str, Report]:
        """Run the input, which must succeed; the reports by name."""
        result = self.start(ranks, *arguments)
        assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]
        return self.reports(result)

    def reports(self, result: subprocess.CompletedProcess[str]) -> dict[str, Report]:
        """Those of an input that has run, by name."""
        self.output = result.stdout
        names = re.findall(r"^REPORT (\S+) ", result.stdout, flags=re.MULTILINE)
        return {name: self._read(name) for name in names}

    def numbers(self, label: str) -> np.ndarray:
        """What the last run printed after a label at the beginning of a line."""
        found = re.findall(rf"^{re.escape(label)} (.*)$", self.output, flags=re.MULTILINE)
        assert found, f"no line that begins with {label} in\n{self.output}"
        return np.array(found[-1].split(), dtype=float)

    def last_snapshot(self, file: str) -> np.ndarray:
        """The rows of the last snapshot of a dump."""
        lines = (self.directory / file).read_text().splitlines()
        return np.loadtxt(lines[-len(self.structure.types) :], ndmin=2)

    def _read(self, name: str) -> Report:
        energy_unit, rotation = ENERGY_UNIT[self.units], self.structure.rotation
        energies = self.numbers(f"REPORT {name}")
        virial = -self.numbers(f"VIRIAL {name}") / PRESSURE_UNIT[self.units] / energy_unit
        xx, yy, zz, xy, xz, yz = virial
        stress = rotation @ np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]) @ rotation.T
        components = self.numbers(f"COMPONENTS {name}")
        table = self.last_snapshot(f"{name}.dump")
        return Report(
            *(energies[:4] / energy_unit),
            volume=energies[4],
            stress=stress,
            components=dict(zip(COMPONENTS, components[:4] / energy_unit, strict=True)),
            bytes_sent=components[4],
            processes=table[:, 1].astype(int),
            positions=table[:, 2:5] @ rotation.T,
            forces=table[:, 5:8] @ rotation.T / energy_unit,
            energies=table[:, 8] / energy_unit,
            charges=table[:, 9],
            hirshfeld_ratios=table[:, 10],
            columns=table[:, 11:],
        )


def failure(job: Job, ranks: int | None = None) -> str:
    """What LAMMPS says when the job fails, which it must, once."""
    result = job.start(ranks)
    assert result.returncode != 0, result.stdout
    messages = re.findall(r"^ERROR.*: .*$", result.stdout + result.stderr, flags=re.MULTILINE)
    assert len(set(messages)) == 1, result.stdout + result.stderr
    return messages[0]
