"""The options of 2023 in the engine: halos, batches, threads. The original's numbers are in `test_engine_parity.py`.

Derivatives and the comparison with the torch reference model are in `test_engine_variants.py`, with the other options.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tolerances
from ase import Atoms
from lammps_runs import lmp, needs_lammps
from paper_models import (
    RANK_COUNTS,
    assert_same_bits_for_any_number_of_threads,
    assert_same_on_ranks,
    needs_mpi4py,
    random_gas,
    structure_of,
    water,
)
from test_engine_paper2022_parallel import write_lammps
from toy_models import VARIANTS_2023, write_toy_model

from so3md import evaluate_many
from so3md._engine import Engine, Model

EXACT, RANKS = tolerances.EXACT, tolerances.RANKS


def toy_path(folder: Path, variant: str = "all_of_2023", seed: int = 1) -> Path:
    return write_toy_model(folder / "toy.safetensors", seed, **VARIANTS_2023[variant])


@pytest.mark.parametrize("precision", ["double", "mixed"])
@pytest.mark.parametrize("variant", ["all_of_2023", "neighbour_sum", "pre_norm"])
def test_same_bits_for_any_number_of_threads(variant: str, precision: str, tmp_path: Path) -> None:
    assert_same_bits_for_any_number_of_threads(Model(toy_path(tmp_path, variant)), precision)


@pytest.mark.filterwarnings("ignore::so3md.charge_and_spin.OddElectronsWarning")
@pytest.mark.parametrize("variant", ["all_of_2023", "neighbour_sum", "pre_norm_attention_only"])
def test_batches_are_separate_systems(variant: str, tmp_path: Path) -> None:
    path = toy_path(tmp_path, variant)
    structures = [*(random_gas(count, 8.0, seed) for seed, count in enumerate((1, 5, 40, 12, 30))), water(3, 1.0)]
    engine = Engine(Model(path), precision="double")
    for atoms, found in zip(structures, evaluate_many(structures, path, precision="double"), strict=True):
        alone = engine.evaluate(**structure_of(atoms))
        np.testing.assert_allclose(found.forces, alone["forces"], rtol=0, atol=EXACT.forces)
        assert abs(found.energy - alone["energy"]) < EXACT.component


#: More than one block of pairs and, divided, atoms of other ranks that have neighbours of their own elsewhere.
STRUCTURES: dict[str, Atoms] = {
    "gas": random_gas(150, 14.0),
    "water": water(3, 1.0),
    "fewer atoms than ranks": Atoms("CO", [[0.0, 0.0, 0.0], [3.0, 1.0, 0.0]]),
}


@needs_mpi4py
@pytest.mark.parametrize("variant", ["all_of_2023", "neighbour_sum"])
@pytest.mark.parametrize("ranks", RANK_COUNTS)
def test_ase_on_several_processes(variant: str, ranks: int, tmp_path: Path) -> None:
    assert_same_on_ranks(tmp_path, toy_path(tmp_path, variant), STRUCTURES, ranks)


@needs_lammps
@pytest.mark.parametrize("ranks", [1, 2])
def test_lammps(ranks: int, tmp_path: Path) -> None:
    atoms, model = STRUCTURES["water"], toy_path(tmp_path)
    expected = Engine(Model(model), precision="double").evaluate(**structure_of(atoms))
    structure = write_lammps(tmp_path, atoms, model)
    lmp(tmp_path, "-in", "in.lammps", ranks=ranks)
    table = np.loadtxt((tmp_path / "forces.dump").read_text().splitlines()[-len(atoms) :])
    np.testing.assert_allclose(table[:, 1:] @ structure.rotation.T, expected["forces"], rtol=0, atol=RANKS.forces)
