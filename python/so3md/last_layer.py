"""Last-layer uncertainty: how far an atom's hidden values of the energy head are from those of a training set.

docs/uncertainty.md says what it means, docs/theory.md (section 18) has the equations, docs/model_file.md the format.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms

if TYPE_CHECKING:
    from so3md.model_file import ModelFile

#: Parts of the mean square of a hidden value that are added to all of them, so that values which never changed in the
#: training set count for something and not for everything. Which one, the validation set decides.
RIDGES = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
_DEFAULT_RIDGE = 1e-4
#: Exponents of the distance that are tried: 0 is an error that does not depend on it.
_EXPONENTS = np.linspace(0.0, 4.0, 81)
#: More atoms than this change nothing.
MOST_ATOMS = 200_000


@dataclass
class LastLayer:
    """What a model file has of it: d^2 = |factor h|^2 of the h hidden values, and the error scale d^exponent.

    factor: (h, h), scaled so that the mean of d^2 is 1 over the training set. scale: eV/Angstrom, the error of the
    force of an atom, as root mean square of its length, at d = 1. origin: what it was made of, free.
    """

    factor: np.ndarray
    scale: float
    exponent: float
    origin: dict[str, Any] = field(default_factory=dict)

    def distances(self, hidden: np.ndarray) -> np.ndarray:
        """d (n,) of hidden values (n, h)."""
        return np.linalg.norm(hidden @ self.factor.T.astype(float), axis=1)

    def errors(self, hidden: np.ndarray) -> np.ndarray:
        """The errors (n,) of forces to be expected, eV/Angstrom."""
        return self.scale * self.distances(hidden) ** self.exponent


def has_last_layer(file: ModelFile) -> bool:
    """Whether a model can have it: of the architecture so3krates, and with a hidden layer in its energy head."""
    return file.architecture == "so3krates" and file.hyperparameters["energy_head"]["hidden"] > 0


def features_of(model: Any, structures: Iterable[Atoms]) -> Iterable[np.ndarray]:
    """The features (n, F) of the atoms after the last layer of an opened model, structure by structure."""
    from so3md._engine import Engine
    from so3md.charge_and_spin import charge_and_spin_of
    from so3md.loading import hyperparameters_of

    # Long-range terms have no part in it.
    engine = Engine(model, precision="double", lr_cutoff=model.cutoff, lr_damping=0.1 * model.cutoff)
    name = f"layer{hyperparameters_of(model)['num_layers'] - 1}_x_out"
    for atoms in structures:
        state = charge_and_spin_of(atoms, None, None)
        found = engine.intermediates(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, **state._asdict())
        yield found[name]


def hidden_values(file: ModelFile, structures: Iterable[Atoms]) -> np.ndarray:
    """The hidden values (atoms, h) of the energy head, of all atoms of structures, at most `MOST_ATOMS`."""
    from so3md.loading import load_model

    with TemporaryDirectory() as directory, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # said when the data were read
        path = Path(directory) / "model.safetensors"
        file.write(path)
        features = np.concatenate(list(features_of(load_model(path), structures)))
    weight, bias = (file.tensors[f"energy.dense1.{name}"].astype(float) for name in ("weight", "bias"))
    return activated(file.hyperparameters["energy_head"]["activation"], features @ weight.T + bias)


def activated(name: str, x: np.ndarray) -> np.ndarray:
    """An activation function of docs/model_file.md."""
    if name == "silu":
        return x / (1 + np.exp(-x))
    if name == "tanh":
        return np.tanh(x)
    if name == "gelu":
        return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    return np.maximum(x, 0) if name == "relu" else x


def factor_of(hidden: np.ndarray, ridge: float) -> np.ndarray:
    """The factor (h, h), upper triangular, of the hidden values (n, h) of a training set: uncertainty (eq. 107)."""
    moments = hidden.T @ hidden / len(hidden)
    moments += ridge * (np.trace(moments) / len(moments) + np.finfo(float).tiny) * np.eye(len(moments))
    factor = np.linalg.inv(np.linalg.cholesky(moments))
    mean = np.mean(np.square(hidden @ factor.T).sum(axis=1))
    return factor / np.sqrt(mean) if mean > 0 else factor


def calibrated(distances: np.ndarray, errors: np.ndarray) -> tuple[float, float, float]:
    """Scale and exponent that make errors (n, 3) of forces most likely, and the mean logarithm of that likelihood.

    Errors are taken to be normal with the variance (scale d^exponent)^2 / 3 in each direction: uncertainty (eq. 108).
    """
    logarithms = np.log(np.maximum(distances, np.finfo(float).tiny))
    squares = np.square(errors).sum(axis=1)
    best = (0.0, 0.0, -np.inf)
    for exponent in _EXPONENTS:
        scale = np.sqrt(np.mean(squares * np.exp(-2 * exponent * logarithms)))
        likelihood = -3 * (np.log(max(scale, np.finfo(float).tiny)) + exponent * logarithms.mean())
        if likelihood > best[2]:
            best = float(scale), float(exponent), float(likelihood)
    return best


def fit(
    file: ModelFile, training: Sequence[Atoms], validation: Sequence[tuple[Atoms, np.ndarray]] | None = None
) -> LastLayer:
    """The uncertainty of a model that was trained on structures.

    validation: others, with the errors (n, 3) of the model's forces there (eV/Angstrom), of which scale and exponent
    are made. Without, there is nothing to say about errors: scale and exponent are 1, and what comes out is a distance
    without a unit. Raises ValueError for a model that cannot have it, and without structures.
    """
    if not has_last_layer(file):
        raise ValueError("uncertainty: expected the architecture so3krates and a hidden layer in the energy head")
    if not training:
        raise ValueError("uncertainty: expected structures of the training set, found none")
    of_training = hidden_values(file, _some(training))
    origin: dict[str, Any] = {"structures": len(training), "atoms": len(of_training)}
    if not validation:
        return LastLayer(_stored(factor_of(of_training, _DEFAULT_RIDGE)), 1.0, 1.0, origin | {"calibrated": False})
    of_validation = hidden_values(file, [atoms for atoms, _ in validation])
    errors = np.concatenate([error for _, error in validation])
    best: tuple[float, LastLayer] | None = None
    for ridge in RIDGES:
        factor = _stored(factor_of(of_training, ridge))
        scale, exponent, likelihood = calibrated(LastLayer(factor, 1, 1).distances(of_validation), errors)
        if best is None or likelihood > best[0]:
            # The smallest scale that a model file can hold, for a model without errors.
            best = likelihood, LastLayer(factor, max(scale, 1e-15), exponent, origin)
    assert best is not None
    best[1].origin |= {"calibrated": True, "calibrated_on_structures": len(validation)}
    return best[1]


def _stored(factor: np.ndarray) -> np.ndarray:
    return factor.astype(np.float32)


def _some(structures: Sequence[Atoms]) -> list[Atoms]:
    """Structures with at most `MOST_ATOMS` atoms, taken evenly from all."""
    total = sum(map(len, structures))
    every = max(1, -(-total // MOST_ATOMS))
    return list(structures[::every])


def farthest(features: np.ndarray, count: int, known: np.ndarray | None = None) -> list[int]:
    """The rows of features (n, f) that are chosen one after the other, each the farthest from those before.

    known: rows (m, f) that are there already; without, the first one is that which is farthest from the mean. Ends
    early where all that is left has been chosen already.
    """
    if known is None or len(known) == 0:
        distances = np.linalg.norm(features - features.mean(axis=0), axis=1)
        first = int(distances.argmax())
        chosen, distances = [first], np.linalg.norm(features - features[first], axis=1)
    else:
        chosen = []
        distances = np.min([np.linalg.norm(features - row, axis=1) for row in known], axis=0)
    while len(chosen) < min(count, len(features)):
        following = int(distances.argmax())
        if distances[following] == 0:
            break
        chosen.append(following)
        distances = np.minimum(distances, np.linalg.norm(features - features[following], axis=1))
    return chosen[:count]
