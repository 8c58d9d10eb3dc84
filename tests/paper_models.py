"""The parity data of the original programs of 2022 and 2023 (tests/data/README.md) as models and structures.

Also what the engine has to make of them, and other structures to test these architectures with.

write_parity_model(tmp_path / "model.safetensors", "dyn_parity_ethanol")
data = load_parity("dyn_parity_ethanol")
"""

from __future__ import annotations

import importlib.util
import json
import pickle
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tolerances
from ase import Atoms
from ase.build import molecule
from parallel_runs import run_checks

from so3md._engine import Engine, Model
from so3md.convert import model_file_of
from so3md.convert.paper_params import read_paper_params
from so3md.model_file import ModelFile

DIRECTORIES = {
    "2022": Path(__file__).parent / "data" / "paper2022",
    "2023": Path(__file__).parent / "data" / "local2023",
}
NAMES_2022 = sorted(path.stem for path in DIRECTORIES["2022"].glob("*.npz"))
NAMES_2023 = sorted(path.stem for path in DIRECTORIES["2023"].glob("*.npz"))
NAMES = NAMES_2022 + NAMES_2023

WITHOUT_CELL = {"cell": np.zeros((3, 3)), "pbc": [False] * 3}

RANK_COUNTS = (1, 2, 3)
needs_mpi4py = pytest.mark.skipif(
    importlib.util.find_spec("mpi4py") is None, reason="mpi4py is not installed (pip install '.[mpi]')"
)

#: The elements of the molecules. The tables of the sources have rows up to potassium.
ELEMENTS = (1, 6, 8)


@dataclass(frozen=True)
class ParityData:
    """What a file holds, padding removed.

    numbers (n), positions (n, 3) in A; energy in eV, forces (n, 3) in eV/A; pairs (2, p): centre and neighbour of the
    pairs in the order of the data; config: the options of the original; arrays: all of the file, by name.
    """

    name: str
    numbers: np.ndarray
    positions: np.ndarray
    energy: float
    forces: np.ndarray
    pairs: np.ndarray
    config: dict[str, Any]
    arrays: dict[str, np.ndarray]

    @property
    def structure(self) -> dict[str, np.ndarray]:
        """Arguments of an `evaluate`."""
        return {"numbers": self.numbers, "positions": self.positions}

    @property
    def layers(self) -> dict[str, np.ndarray]:
        """Features and coordinates of every layer, by their names among the engine's intermediates."""
        found = {
            "layer0_x_in": self.arrays["inter/feature_embeddings_0"],
            "layer0_chi_in": self.arrays["inter/geometry_embeddings_0/chi"],
        }
        for layer in range(self.config["n_layers"]):
            found |= {f"layer{layer}_{key}_out": self.arrays[f"inter/layers_{layer}/{key}"] for key in ("x", "chi")}
        return found


@cache
def load_parity(name: str) -> ParityData:
    """The data of one configuration and molecule, such as "dyn_ethanol"."""
    directory = DIRECTORIES["2022" if name in NAMES_2022 else "2023"]
    with np.load(directory / f"{name}.npz", allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    real = arrays["in/idx_i"] >= 0
    of_pairs = [key for key, values in arrays.items() if values.shape[:1] == real.shape and not key.startswith("param")]
    arrays |= {key: arrays[key][real] for key in of_pairs}
    return ParityData(
        name=name,
        numbers=arrays["in/z"],
        positions=arrays["in/R"],
        energy=float(arrays["out/E"][0]),
        forces=arrays["out/F"],
        pairs=np.stack([arrays["in/idx_i"], arrays["in/idx_j"]]),
        config=json.loads(str(arrays["config"])),
        arrays=arrays,
    )


def parity_model(name: str) -> ModelFile:
    """The model of a configuration, for hydrogen, carbon and oxygen."""
    data = load_parity(name)
    parameters = {key.removeprefix("param/"): v for key, v in data.arrays.items() if key.startswith("param/")}
    return model_file_of(read_paper_params(parameters, stack_net(data.config)), ELEMENTS, name=name)


def write_parity_model(path: Path, name: str) -> Path:
    """Write the model file of a configuration and return its path."""
    parity_model(name).write(path)
    return path


def stack_net(config: dict[str, Any]) -> dict[str, Any]:
    """The options of the data in the form of the original's hyperparameters.json."""
    if "geo" in config:
        geometry, layers, energy = config["geo"], config["layer"], config["obs"]
    else:
        names = {"rbf": "radial_basis_function", "cutoff_fn": "radial_cutoff_fn"}
        keys = ("degrees", "n_rbf", "r_cut", *names)
        geometry = {"geometry_embed": {names.get(key, key): config[key] for key in keys}}
        layers = [{"so3krates_layer": config["layer"]}] * config["n_layers"]
        energy = {key: config[key] for key in ("per_atom_scale", "per_atom_shift")}
    return {
        "stack_net": {"geometry_embeddings": [geometry], "layers": layers, "observables": [{"energy": energy}]},
    }


def parity_engine(folder: Path, name: str, **options: Any) -> Engine:
    """The engine with the model of a configuration."""
    return Engine(Model(write_parity_model(folder / "model.safetensors", name)), **options)


def assert_parity(folder: Path, name: str) -> None:
    """The engine has the original's energy and forces."""
    data = load_parity(name)
    found = parity_engine(folder, name, precision="double").evaluate(**data.structure, **WITHOUT_CELL)
    assert abs(found["energy"] - data.energy) < tolerances.PARITY.component
    np.testing.assert_allclose(found["forces"], data.forces, rtol=0, atol=tolerances.PARITY.forces)


def assert_parity_of_layers(folder: Path, name: str) -> None:
    """The engine has the original's features and coordinates in every layer."""
    data = load_parity(name)
    found = parity_engine(folder, name, precision="double").intermediates(**data.structure, **WITHOUT_CELL)
    for key, values in data.layers.items():
        np.testing.assert_allclose(found[key], values, rtol=0, atol=tolerances.PARITY.features, err_msg=key)


def assert_parity_of_instruction_set(folder: Path, name: str, instruction_set: str, precision: str) -> None:
    """The engine says that it uses the instruction set, and has the original's forces."""
    if precision == "mixed":
        assert_parity_of_mixed(folder, name, instruction_set)
        return
    data = load_parity(name)
    engine = parity_engine(folder, name, precision=precision)
    assert engine.info()["instruction_set"] == instruction_set
    found = engine.evaluate(**data.structure, **WITHOUT_CELL)["forces"]
    np.testing.assert_allclose(found, data.forces, rtol=0, atol=tolerances.PARITY.forces)


def assert_parity_of_mixed(folder: Path, name: str, instruction_set: str | None = None) -> None:
    """The engine in `mixed` has the original's energy and forces, but for rounding."""
    data = load_parity(name)
    structure = data.structure | WITHOUT_CELL
    engine = parity_engine(folder, name, precision="mixed")
    assert instruction_set in (None, engine.info()["instruction_set"])
    found, bounds = engine.evaluate(**structure), tolerances.rounding(folder / "model.safetensors", structure)
    for key, expected in (("energy", data.energy), ("forces", data.forces)):
        np.testing.assert_allclose(found[key], expected, rtol=0, atol=bounds[key], err_msg=key)


def structure_of(atoms: Atoms, charge: float = 0.0, spin: float = 0.0) -> dict[str, Any]:
    """Arguments of an `evaluate`."""
    about = {"cell": np.array(atoms.cell.array), "pbc": np.array(atoms.pbc), "charge": charge, "spin": spin}
    return {"numbers": atoms.numbers, "positions": atoms.positions, **about}


def random_gas(count: int, edge: float, seed: int = 0) -> Atoms:
    """Hydrogen, carbon and oxygen at random places that are not too close, in a box that does not repeat."""
    rng = np.random.default_rng(seed)
    positions: list[np.ndarray] = []
    while len(positions) < count:
        place = rng.uniform(0, edge, 3)
        if all(np.linalg.norm(place - other) > 1.1 for other in positions):
            positions.append(place)
    return Atoms(rng.choice([1, 6, 8], count), positions)


def water(copies: int = 4, skew: float = 0.0) -> Atoms:
    """A periodic box of copies^3 molecules, turned at random; skew: of the cell, A."""
    rng = np.random.default_rng(2)
    edge = 3.1 * copies
    atoms = Atoms(cell=[[edge, 0, 0], [skew, edge, 0], [-skew, 0.5 * skew, edge]], pbc=True)
    for place in np.ndindex(copies, copies, copies):
        single = molecule("H2O")
        single.rotate(rng.uniform(0, 360), rng.normal(size=3), center="COM")
        single.translate((np.array(place) + rng.uniform(0, 0.1, 3)) / copies @ atoms.cell.array)
        atoms += single
    return atoms


def assert_same_bits_for_any_number_of_threads(model: Model, precision: str) -> None:
    """Energies, forces and virial of a box of water."""
    structure = structure_of(water(4))
    expected = Engine(model, precision=precision, threads=1).evaluate(**structure)
    for threads in (2, 3, 7):
        found = Engine(model, precision=precision, threads=threads).evaluate(**structure)
        for key in ("energies", "forces", "virial"):
            assert np.array_equal(found[key], expected[key]), (key, threads)


def differences_on_ranks(folder: Path, model: Path, structures: dict[str, Atoms], ranks: int) -> dict[str, Any]:
    """Differences of an evaluation on several processes from one on one, by "structure precision", as
    `parallel_paper2022.py` reports them; those in `mixed` with their "bounds"."""
    arguments = {name: structure_of(atoms) for name, atoms in structures.items()}
    expected = {
        (name, precision): Engine(Model(model), precision=precision, threads=1).evaluate(**structure)
        for name, structure in arguments.items()
        for precision in ("double", "mixed")
    }
    files = [folder / "structures.pickle", folder / "expected.pickle"]
    for file, contents in zip(files, (arguments, expected), strict=True):
        file.write_bytes(pickle.dumps(contents))
    found = run_checks("parallel_paper2022.py", ranks, folder, model, *files)
    assert set(found) == {f"{name} {precision}" for name, precision in expected}
    for name, structure in arguments.items():
        found[f"{name} mixed"]["bounds"] = tolerances.rounding(model, structure)
    return found


def assert_same_on_ranks(folder: Path, model: Path, structures: dict[str, Atoms], ranks: int) -> None:
    """Several processes give what one gives, and each structure is divided among all of them."""
    for key, found in differences_on_ranks(folder, model, structures, ranks).items():
        atoms = len(structures[key.rsplit(" ", 1)[0]])
        assert found["owners"] == min(ranks, atoms), key
        of_ranks = tolerances.RANKS
        exact = {
            "energies": of_ranks.energy_per_atom,
            "forces": of_ranks.forces,
            "virial": 10 * atoms * of_ranks.forces,
        }
        for quantity, bound in found.get("bounds", exact).items():
            assert found[quantity] <= bound, (key, quantity)
