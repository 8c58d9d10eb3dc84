"""LBFGS with a model Hessian: the minima of ASE's optimizers, in fewer steps."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.collections import s22
from ase.constraints import FixAtoms
from ase.filters import FrechetCellFilter
from ase.optimize import LBFGS

from so3md import So3kratesCalculator
from so3md.optimizers import ModelHessianLBFGS
from so3md.relaxation import Relaxation
from so3md.structures import read_structure


@pytest.fixture(scope="module")
def calculator() -> So3kratesCalculator:
    return So3kratesCalculator(precision="double", threads=1)


def relaxed(optimizer: type, atoms: Atoms, calculator: So3kratesCalculator, fmax: float) -> tuple[Atoms, int]:
    atoms = atoms.copy()
    atoms.calc = calculator
    steps = optimizer(atoms, logfile=None)
    assert steps.run(fmax=fmax, steps=1000)
    return atoms, int(steps.nsteps)


@pytest.mark.parametrize("name", ["H2O", "C2H2", "CH3CH2OH", "H2", "HCN"])
def test_it_finds_the_minimum(name: str, calculator: So3kratesCalculator) -> None:
    atoms = molecule(name)
    atoms.rattle(0.1, seed=4)
    found, steps = relaxed(ModelHessianLBFGS, atoms, calculator, 1e-3)
    right, steps_of_ase = relaxed(LBFGS, atoms, calculator, 1e-3)
    # Forces of 1e-3 eV/A in modes as soft as 0.1 eV/A^2 leave at most 3 n f^2 / (2 k) of energy.
    left = 3 * len(atoms) * 1e-3**2 / (2 * 0.1)
    assert found.get_potential_energy() == pytest.approx(right.get_potential_energy(), abs=2 * left)
    assert steps <= steps_of_ase + 5  # where all that moves is a few stiff bonds, ASE's start is as good


def test_it_takes_a_fraction_of_the_steps_where_bonds_and_torsions_move(calculator: So3kratesCalculator) -> None:
    atoms = s22["Adenine-thymine_complex_stack"]
    assert relaxed(ModelHessianLBFGS, atoms, calculator, 0.01)[1] < 0.5 * relaxed(LBFGS, atoms, calculator, 0.01)[1]


def test_fixed_atoms_stay(calculator: So3kratesCalculator) -> None:
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.1, seed=1)
    atoms.set_constraint(FixAtoms([0, 3]))
    before = atoms.get_positions()
    found, _ = relaxed(ModelHessianLBFGS, atoms, calculator, 0.01)
    assert (found.positions[[0, 3]] == before[[0, 3]]).all()


def test_a_single_atom_is_relaxed(calculator: So3kratesCalculator) -> None:
    assert relaxed(ModelHessianLBFGS, Atoms("O"), calculator, 0.01)[1] == 0


def test_it_is_for_molecules(calculator: So3kratesCalculator) -> None:
    with pytest.raises(ValueError, match="without a periodic direction; take LBFGS"):
        ModelHessianLBFGS(bulk("C"))
    with pytest.raises(ValueError, match="keeps no file"):
        ModelHessianLBFGS(molecule("H2O"), restart="old.json")
    water = read_structure("water")
    water.calc = calculator
    chosen = Relaxation(cell="full")
    for target in (water, FrechetCellFilter(water)):
        assert type(chosen.optimizer_of(target)) is LBFGS
    assert isinstance(chosen.optimizer_of(molecule("H2O")), ModelHessianLBFGS)
    assert isinstance(Relaxation(optimizer="lbfgs").optimizer_of(molecule("H2O")), LBFGS)


def test_steps_are_no_longer_than_those_of_ase(calculator: So3kratesCalculator) -> None:
    atoms = molecule("C2H6")
    atoms.positions *= 1.4
    atoms.calc = calculator
    optimizer = ModelHessianLBFGS(atoms, logfile=None)
    for _ in range(10):
        before = atoms.get_positions()
        optimizer.step()
        assert np.linalg.norm(atoms.positions - before, axis=1).max() <= 0.2 + 1e-12
