"""The parity data of the original programs of 2022 and 2023 (tests/data/README.md) as models and structures.

write_parity_model(tmp_path / "model.safetensors", "dyn_parity_ethanol")
data = load_parity("dyn_parity_ethanol")
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

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
