"""The parity data of tests/data/so3lr2: models of the second generation with random weights, and what they give."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from so3md.convert import model_file_of
from so3md.convert.torch_state import model_of_weights
from so3md.model_file import ModelFile

DIRECTORY = Path(__file__).parent / "data" / "so3lr2"
ELEMENTS = (1, 6, 7, 8, 9, 15, 16, 17)
MODELS = ("all", "all_alt", "c6_dispersion", "doubled")
SYSTEMS = ("mixed_lr12", "water8_lr12", "h2_lr12", "acetate_nolr")
CASES = [(model, system) for model in MODELS for system in SYSTEMS] + [("all", "ethanol_lr1000")]


@dataclass
class Case:
    """A structure, the settings of its evaluation, and every array of the file as `expected`."""

    structure: dict[str, Any]
    lr_cutoff: float | None
    lr_damping: float
    theory_level: int | None
    expected: dict[str, np.ndarray]


def load_case(model: str, system: str) -> Case:
    with np.load(DIRECTORY / f"{model}_{system}.npz", allow_pickle=False) as file:
        data = {key: file[key] for key in file.files}
    cutoff, level = float(data["cutoff_lr"]), int(data["theory_level"])
    finite = bool(np.isfinite(cutoff))
    structure = {name: data[name] for name in ("numbers", "positions", "cell", "pbc")}
    structure |= {"charge": float(data["total_charge"]), "spin": float(data["total_spin"])}
    damping = float(data["dispersion_damping"]) if finite else 2.0  # unused
    return Case(structure, cutoff if finite else None, damping, None if level < 0 else level, data)


def weights_and_settings(model: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Tensors by the names of so3krates-torch, and the settings of the model."""
    with np.load(DIRECTORY / f"params_{model}.npz", allow_pickle=False) as file:
        weights = {key: file[key] for key in file.files if key != "config"}
        return weights, json.loads(str(file["config"]))


@cache
def parity_model(model: str, theory_level: int | None) -> ModelFile:
    """The model, converted in the way of weights and settings. Not to be changed."""
    return model_file_of(model_of_weights(*weights_and_settings(model), theory_level), ELEMENTS, name=model)


def odd_signs(degrees: list[int]) -> np.ndarray:
    """-1 for coordinates of odd degrees, +1 for others: the data have directions from the neighbour to the centre."""
    return np.concatenate([np.full(2 * degree + 1, (-1.0) ** degree) for degree in degrees])
