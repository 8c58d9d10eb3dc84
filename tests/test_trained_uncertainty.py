"""What training writes of uncertainty, and whether it tells of errors on structures that were not seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.io import write
from click.testing import CliRunner

pytest.importorskip("torch", reason="training needs PyTorch (extra 'torch')")

from training_tools import labelled, rattled, write_config, write_molecules

from so3md import So3kratesCalculator, evaluate_many
from so3md.cli import main
from so3md.loading import model_path
from so3md.model_file import ModelFile

#: With a hidden layer that is wide enough to tell structures apart: eight values are not.
MODEL: dict[str, Any] = {
    "num_features": 32,
    "num_heads": 4,
    "num_layers": 2,
    "degrees": [1, 2],
    "cutoff": 4.0,
    "radial_basis": {"type": "bernstein", "size": 32},
    "radial_hidden": 32,
    "spherical_hidden": 8,
    "energy_head": {"hidden": 32, "activation": "silu"},
}
#: Displacements (A) of the training set, and of structures of which the last two are outside of it.
SEEN, ASKED = (0.02, 0.05, 0.08), (0.02, 0.05, 0.1, 0.2)


def methanols(count: int, sizes: tuple[float, ...], seed: int) -> list[Atoms]:
    rng, calculator = np.random.default_rng(seed), So3kratesCalculator(threads=1)
    return [labelled(rattled("CH3OH", rng, sizes[k % len(sizes)]), calculator) for k in range(count)]


def ranks(values: np.ndarray) -> np.ndarray:
    return np.argsort(np.argsort(values))


def test_uncertainty_tells_of_errors_that_were_not_seen(tmp_path: Path) -> None:
    write(tmp_path / "molecules.xyz", methanols(60, SEEN, seed=0), format="extxyz")
    config = write_config(
        tmp_path / "config.yaml",
        data={"split": {"train": 45, "validation": 15, "test": None}},
        model=MODEL,
        training={"epochs": 60, "batch_size": 5, "learning_rate": 3e-3},
    )
    result = CliRunner().invoke(main, ["train", str(config)])
    assert result.exit_code == 0, result.output

    frames = methanols(60, ASKED, seed=1)
    bare = [Atoms(atoms.numbers, atoms.positions) for atoms in frames]
    found = list(evaluate_many(bare, tmp_path / "run/model.safetensors"))
    errors = [np.linalg.norm(p.forces - a.get_forces(), axis=1) for p, a in zip(found, frames, strict=True)]
    uncertainties = [p.forces_uncertainty for p in found]
    error, uncertainty = np.concatenate(errors), np.concatenate(uncertainties)

    assert np.corrcoef(ranks(error), ranks(uncertainty))[0, 1] > 0.7
    # Coverage: of normal errors, 61 % are within the root mean square of their length, 99.9 % within 2.3 times that.
    assert 0.4 < np.mean(error < uncertainty) < 0.85
    assert np.mean(error < 2.3 * uncertainty) > 0.85
    # And structures outside of the training set stand out.
    of_structures = np.array([p.uncertainty for p in found]).reshape(-1, len(ASKED))
    assert (np.diff(np.median(of_structures, axis=0)) > 0).all()
    assert np.median(of_structures[:, 3]) > 5 * np.median(of_structures[:, 1])


def test_finetuning_writes_that_of_its_own_tensors(tmp_path: Path) -> None:
    write_molecules(tmp_path / "molecules.xyz")
    config = write_config(tmp_path / "config.yaml", model=None, training={"epochs": 1})
    result = CliRunner().invoke(main, ["finetune", "so3lr", str(config)])
    assert result.exit_code == 0, result.output
    file = ModelFile.read(tmp_path / "run/model.safetensors")
    assert file.uncertainty is not None
    assert file.uncertainty.factor.shape == (128, 128)
    assert file.uncertainty.origin["structures"] == 8
    assert file.uncertainty.origin["calibrated_on_structures"] == 4
    shipped = ModelFile.read(model_path("so3lr"))
    assert file.num_parameters == shipped.num_parameters


def test_without_forces_to_calibrate_it_there_is_none(tmp_path: Path) -> None:
    frames = methanols(8, SEEN, seed=0)
    for number, atoms in enumerate(frames):
        atoms.info["REF_energy"] = atoms.get_potential_energy()
        if number < 6:
            atoms.arrays["REF_forces"] = atoms.get_forces()
        atoms.calc = None
    write(tmp_path / "molecules.xyz", frames, format="extxyz")
    split = {"train": "0:6", "validation": "6:8", "test": None}
    config = write_config(tmp_path / "config.yaml", data={"split": split}, training={"epochs": 1})
    result = CliRunner().invoke(main, ["train", str(config)])
    assert result.exit_code == 0, result.output
    assert ModelFile.read(tmp_path / "run/model.safetensors").uncertainty is None
