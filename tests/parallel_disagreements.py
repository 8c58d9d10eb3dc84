"""Under mpiexec: every error that all ranks must raise alike. Prints a JSON document: case -> error, or what is wrong.

    mpiexec -n RANKS python parallel_disagreements.py MODEL

MODEL is a model file other than SO3LR.
"""

from __future__ import annotations

import copy
import json
import os
import pickle
import sys
import warnings
from collections.abc import Callable

import numpy as np
from ase import Atoms
from ase.build import molecule
from mpi4py import MPI
from parallel_systems import make_calculator

from so3md import So3kratesCalculator
from so3md.dynamics import Settings, Simulation

COMM = MPI.COMM_WORLD
LAST = COMM.rank == COMM.size - 1
OTHER_MODEL = sys.argv[1]


def ethanol() -> Atoms:
    """A structure with a fresh calculator, so that every rank has something to evaluate."""
    atoms = molecule("CH3CH2OH")
    atoms.calc = make_calculator(comm=COMM)
    return atoms


def on_last_rank(change: Callable[[Atoms], object]) -> Callable[[], object]:
    """A case in which the structure, or its calculator, differs on the last rank."""

    def case() -> object:
        atoms = ethanol()
        if LAST:
            change(atoms)
        return atoms.get_forces()

    return case


def everywhere(change: Callable[[Atoms], object]) -> Callable[[], object]:
    """A case in which all ranks have the same bad structure."""

    def case() -> object:
        atoms = ethanol()
        change(atoms)
        return atoms.get_forces()

    return case


def forces_on_one() -> object:
    atoms = ethanol()
    return atoms.get_forces() if LAST else atoms.get_potential_energy()


def stress_on_one() -> object:
    atoms = ethanol()
    return atoms.get_stress() if LAST else atoms.get_potential_energy()


def full_disk() -> object:
    """The first rank, which alone writes, cannot."""
    with Simulation.start(ethanol(), Settings(ensemble="nve", log_interval=1), "full-disk") as simulation:
        if COMM.rank == 0:

            def fail(*_: object) -> None:
                raise OSError("no space left")

            simulation._outputs.write = fail
        return simulation.run(3)


def set_position(value: float) -> Callable[[Atoms], object]:
    return lambda atoms: atoms.positions.__setitem__((4, 1), value)


CASES: dict[str, Callable[[], object]] = {
    "positions": on_last_rank(lambda atoms: atoms.positions.__setitem__(5, atoms.positions[5] + [0, 0, 1e-12])),
    "numbers": on_last_rank(lambda atoms: atoms.numbers.__setitem__(2, 7)),
    "number of atoms": on_last_rank(lambda atoms: atoms.__delitem__([7, 8])),
    "cell": on_last_rank(lambda atoms: atoms.set_cell([0, 9, 0])),
    "pbc": on_last_rank(lambda atoms: (atoms.set_cell([9, 9, 9]), atoms.set_pbc([True, False, False]))),
    "charge": on_last_rank(lambda atoms: atoms.info.update(charge=-2)),
    "precision": on_last_rank(lambda atoms: atoms.calc.set(precision="mixed")),
    "cutoff": on_last_rank(lambda atoms: atoms.calc.set(lr_cutoff=None)),
    "model": on_last_rank(lambda atoms: atoms.calc.set(model=OTHER_MODEL)),
    "one position is not a number": on_last_rank(set_position(np.nan)),
    "bad info": on_last_rank(lambda atoms: atoms.info.update(charge="one")),
    "periodic without cutoff": on_last_rank(
        lambda atoms: (atoms.calc.set(lr_cutoff=None), atoms.set_cell([9, 9, 9]), atoms.set_pbc(True))
    ),
    "forces on one": forces_on_one,
    "undefined on one": stress_on_one,
    "all positions are not numbers": everywhere(set_position(np.nan)),
    "overlap": everywhere(lambda atoms: atoms.positions.__setitem__(5, atoms.positions[4])),
    "unknown element": everywhere(lambda atoms: atoms.numbers.__setitem__(2, 92)),
    "unknown model on one": lambda: So3kratesCalculator("so4lr" if LAST else "so3lr", comm=COMM),
    "bad parameter on one": lambda: So3kratesCalculator(precision="half" if LAST else "double", comm=COMM),
    "no communicator": lambda: So3kratesCalculator(comm="COMM_WORLD"),
    "pickle": lambda: pickle.dumps(ethanol().calc),
    "full disk": full_disk,
}


def outcome(case: Callable[[], object]) -> str:
    """The error that all ranks raise, as "type: text"."""
    try:
        case()
        text = "no error"
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
    texts = COMM.allgather(text)
    return text if len(set(texts)) == 1 else f"different: {texts}"


def check_what_works() -> None:
    """After all these errors: evaluating, copies, and forked processes, which are alone."""
    atoms = ethanol()
    energy = atoms.get_potential_energy()
    duplicate = copy.deepcopy(atoms)
    duplicate.positions += 0.0625
    assert abs(duplicate.get_potential_energy() - energy) < 1e-9
    assert duplicate.calc.engine_info()["halo"]["exchanges"] > 0
    alone = copy.deepcopy(atoms)
    child = os.fork()
    if child == 0:
        alone.calc.reset()
        os._exit(0 if abs(alone.get_potential_energy() - energy) < 1e-9 and alone.calc.team.size == 1 else 1)
    assert os.waitpid(child, 0)[1] == 0, "the forked process failed"
    assert "comm" not in atoms.calc.todict()
    check_teams()


def check_teams() -> None:
    """Two teams that evaluate different structures at the same time, as for the images of a reaction path."""
    mine = COMM.Split(COMM.rank % 2)
    for _ in range(2):  # the second calculator uses the communicators of the first
        atoms = molecule("C6H6" if COMM.rank % 2 else "CH3CH2OH")
        atoms.calc = make_calculator(comm=mine)
        energies = []
        for step in range(3 + COMM.rank % 2):
            atoms.rattle(0.01, seed=step)
            energies.append(atoms.get_potential_energy())
        atoms.calc = make_calculator()
        assert abs(atoms.get_potential_energy() - energies[-1]) < 1e-9


def main() -> None:
    """Try all."""
    warnings.simplefilter("ignore")
    report = {name: outcome(case) for name, case in CASES.items()}
    check_what_works()
    if COMM.rank == 0:
        print(json.dumps(report))


if __name__ == "__main__":
    main()
