"""Attention in the space of coordinates on several processes: in ASE and in LAMMPS, the results of one process."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from lammps_runs import lmp, needs_lammps
from lammps_runs import run as run_lammps
from paper_models import RANK_COUNTS, assert_same_on_ranks, needs_mpi4py, random_gas, structure_of, water
from tolerances import RANKS
from toy_models import VARIANTS_2022, write_toy_model

from so3md._engine import Engine, Model
from so3md.lammps_input import LammpsStructure
from so3md.model_file import PAPER_2022

STRUCTURES: dict[str, Atoms] = {
    "gas": random_gas(150, 14.0),
    "water": water(3, 1.0),
    "fewer atoms than ranks": Atoms("CO", [[0.0, 0.0, 0.0], [5.0, 1.0, 0.0]]),
}


def write_model(folder: Path, variant: str = "default") -> Path:
    return write_toy_model(folder / "toy.safetensors", 1, architecture=PAPER_2022, **VARIANTS_2022[variant])


@needs_mpi4py
@pytest.mark.parametrize("variant", ["default", "norms"])
@pytest.mark.parametrize("ranks", RANK_COUNTS)
def test_ase(variant: str, ranks: int, tmp_path: Path) -> None:
    assert_same_on_ranks(tmp_path, write_model(tmp_path, variant), STRUCTURES, ranks)


LAMMPS_INPUT = """
units metal
atom_style atomic
atom_modify map yes
boundary {boundary}
read_data data.lammps
pair_style so3krates {model} precision double
pair_coeff * * {elements}
thermo_style custom step pe
thermo_modify format float %.17g
run {steps}
write_dump all custom forces.dump id fx fy fz modify sort id format float %.17g
"""


def write_lammps(folder: Path, atoms: Atoms, model: Path, steps: int = 0) -> LammpsStructure:
    structure = LammpsStructure.of(atoms)
    (folder / "data.lammps").write_text(structure.data_file("test", units="metal", atom_style="atomic"))
    symbols = " ".join(structure.symbols)
    text = LAMMPS_INPUT.format(boundary=structure.boundary, model=model, elements=symbols, steps=steps)
    (folder / "in.lammps").write_text(text)
    return structure


@needs_lammps
@pytest.mark.parametrize("ranks", RANK_COUNTS)
@pytest.mark.parametrize("name", ["gas", "water"])
def test_lammps(name: str, ranks: int, tmp_path: Path) -> None:
    atoms, model = STRUCTURES[name], write_model(tmp_path)
    expected = Engine(Model(model), precision="double", threads=1).evaluate(**structure_of(atoms))
    structure = write_lammps(tmp_path, atoms, model)
    output = lmp(tmp_path, "-in", "in.lammps", ranks=ranks)
    table = np.loadtxt((tmp_path / "forces.dump").read_text().splitlines()[-len(atoms) :])
    forces = table[:, 1:] @ structure.rotation.T
    np.testing.assert_allclose(forces, expected["forces"], rtol=0, atol=RANKS.forces)
    rows = [line.split() for line in output.splitlines()]
    energy = float(next(row for before, row in pairwise(rows) if before[:2] == ["Step", "PotEng"])[1])
    assert abs(energy - expected["energy"]) < RANKS.component


@needs_lammps
@pytest.mark.parametrize("ranks", [1, 2])
def test_lammps_refuses_a_box_with_several_images_in_reach(ranks: int, tmp_path: Path) -> None:
    atoms = Atoms("CO", [[0, 0, 0], [1.2, 0, 0]], cell=[20.0, 7.5, 20.0], pbc=True)
    write_lammps(tmp_path, atoms, write_model(tmp_path))
    result = run_lammps(["mpiexec", "-n", str(ranks), "lmp", "-in", "in.lammps"], tmp_path)
    assert result.returncode != 0
    assert "sees only the nearest image of every atom" in result.stdout + result.stderr
