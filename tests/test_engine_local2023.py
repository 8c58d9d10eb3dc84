"""The options of 2023 in the engine: the original's numbers, halos, batches, threads.

Derivatives and the comparison with the torch reference model are in `test_engine_variants.py`, with the other options.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tolerances
from ase import Atoms
from lammps_runs import lmp, needs_lammps
from paper_models import NAMES_2023, load_parity, write_parity_model
from parallel_runs import run_checks
from test_engine_paper2022 import random_gas, structure_of, water
from test_engine_paper2022_parallel import RANK_COUNTS, needs_mpi4py, write_lammps
from toy_models import VARIANTS_2023, write_toy_model

from so3md import evaluate_many
from so3md._engine import Engine, Model, instruction_sets

EXACT, PARITY, RANKS = tolerances.EXACT, tolerances.PARITY, tolerances.RANKS
WITHOUT_CELL = {"cell": np.zeros((3, 3)), "pbc": [False] * 3}


def toy_path(folder: Path, variant: str = "all_of_2023", seed: int = 1) -> Path:
    return write_toy_model(folder / "toy.safetensors", seed, **VARIANTS_2023[variant])


def parity_engine(folder: Path, name: str, **options: Any) -> Engine:
    return Engine(Model(write_parity_model(folder / "model.safetensors", name)), **options)


class TestParity:
    @pytest.mark.parametrize("name", NAMES_2023)
    def test_energy_and_forces(self, name: str, tmp_path: Path) -> None:
        data = load_parity(name)
        found = parity_engine(tmp_path, name, precision="double").evaluate(**data.structure, **WITHOUT_CELL)
        assert abs(found["energy"] - data.energy) < PARITY.component
        np.testing.assert_allclose(found["forces"], data.forces, rtol=0, atol=PARITY.forces)

    @pytest.mark.parametrize("name", NAMES_2023)
    def test_features_of_every_layer(self, name: str, tmp_path: Path) -> None:
        data = load_parity(name)
        found = parity_engine(tmp_path, name, precision="double").intermediates(**data.structure, **WITHOUT_CELL)
        expected = {
            "layer0_x_in": data.arrays["inter/feature_embeddings_0"],
            "layer0_chi_in": data.arrays["inter/geometry_embeddings_0/chi"],
        }
        for layer in range(data.config["n_layers"]):
            expected[f"layer{layer}_x_out"] = data.arrays[f"inter/layers_{layer}/x"]
            expected[f"layer{layer}_chi_out"] = data.arrays[f"inter/layers_{layer}/chi"]
        for key, values in expected.items():
            np.testing.assert_allclose(found[key], values, rtol=0, atol=PARITY.features, err_msg=key)

    @pytest.mark.parametrize("name", NAMES_2023)
    def test_mixed(self, name: str, tmp_path: Path) -> None:
        data = load_parity(name)
        found = parity_engine(tmp_path, name, precision="mixed").evaluate(**data.structure, **WITHOUT_CELL)
        allowed = tolerances.SINGLE_RELATIVE * np.abs(data.forces).max()
        np.testing.assert_allclose(found["forces"], data.forces, rtol=0, atol=allowed)

    @pytest.mark.parametrize("instruction_set", instruction_sets())
    @pytest.mark.parametrize("precision", ["double", "mixed"])
    def test_every_instruction_set(
        self, instruction_set: str, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SO3MD_INSTRUCTION_SET", instruction_set)
        data = load_parity("sphcnorm_ln_res_C9H4")
        engine = parity_engine(tmp_path, "sphcnorm_ln_res_C9H4", precision=precision)
        assert engine.info()["instruction_set"] == instruction_set
        found = engine.evaluate(**data.structure, **WITHOUT_CELL)["forces"]
        allowed = PARITY.forces if precision == "double" else tolerances.SINGLE_RELATIVE * np.abs(data.forces).max()
        np.testing.assert_allclose(found, data.forces, rtol=0, atol=allowed)


@pytest.mark.parametrize("precision", ["double", "mixed"])
@pytest.mark.parametrize("variant", ["all_of_2023", "neighbour_sum", "pre_norm"])
def test_same_bits_for_any_number_of_threads(variant: str, precision: str, tmp_path: Path) -> None:
    model, structure = Model(toy_path(tmp_path, variant)), structure_of(water(4))
    expected = Engine(model, precision=precision, threads=1).evaluate(**structure)
    for threads in (2, 3, 7):
        found = Engine(model, precision=precision, threads=threads).evaluate(**structure)
        for key in ("energies", "forces", "virial"):
            assert np.array_equal(found[key], expected[key]), (key, threads)


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
    model = toy_path(tmp_path, variant)
    structures = {name: structure_of(atoms) for name, atoms in STRUCTURES.items()}
    expected = {
        (name, precision): Engine(Model(model), precision=precision, threads=1).evaluate(**structure)
        for name, structure in structures.items()
        for precision in ("double", "mixed")
    }
    files = [tmp_path / "structures.pickle", tmp_path / "expected.pickle"]
    for file, contents in zip(files, (structures, expected), strict=True):
        file.write_bytes(pickle.dumps(contents))
    for key, found in run_checks("parallel_paper2022.py", ranks, tmp_path, model, *files).items():
        atoms = len(STRUCTURES[key.rsplit(" ", 1)[0]])
        exact = key.endswith("double")
        assert found["owners"] == min(ranks, atoms), key
        if exact:
            assert found["energies"] < RANKS.energy_per_atom, key
        else:  # the tolerance is that of the whole system, where errors of atoms average out
            assert found["energy"] / atoms < tolerances.RANKS_MIXED_ENERGY_PER_ATOM, key
        assert found["forces"] < (RANKS.forces if exact else tolerances.RANKS_MIXED_FORCES), key


@needs_lammps
@pytest.mark.parametrize("ranks", [1, 2])
def test_lammps(ranks: int, tmp_path: Path) -> None:
    atoms, model = STRUCTURES["water"], toy_path(tmp_path)
    expected = Engine(Model(model), precision="double").evaluate(**structure_of(atoms))
    structure = write_lammps(tmp_path, atoms, model)
    lmp(tmp_path, "-in", "in.lammps", ranks=ranks)
    table = np.loadtxt((tmp_path / "forces.dump").read_text().splitlines()[-len(atoms) :])
    np.testing.assert_allclose(table[:, 1:] @ structure.rotation.T, expected["forces"], rtol=0, atol=RANKS.forces)
