"""What `so3md eval --predictions` writes: the structures, with what the model says of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress

from so3md.cli.structure_output import StructureOutput, refuse_existing
from so3md.evaluation import Configuration


def predictions_file(
    path: Path | None, overwrite: bool, dataset: Path, frames: Sequence[Atoms]
) -> StructureOutput | None:
    """The file, which is tried before the work; None where none is wanted.

    Raises ValueError for a format that is no good, OSError for a file that cannot be written or may not be replaced.
    """
    if path is None:
        return None
    if path.resolve() == dataset.resolve():
        raise ValueError(f"--predictions {path}: this is the data set; choose another file")
    refuse_existing(path, "--predictions", overwrite)
    file = StructureOutput(path)
    file.check(frames)
    return file


def with_predictions(
    numbers: Sequence[int], frames: Sequence[Atoms], configurations: Iterable[Configuration]
) -> list[Atoms]:
    """Copies of the structures that were evaluated; `info["structure"]` is the number of each in its file."""
    by_number = dict(zip(numbers, frames, strict=True))
    predicted = []
    for item in configurations:
        atoms = by_number[item.number].copy()
        results: dict[str, Any] = {
            name: item.model[name] for name in ("energy", "forces", "dipole", "charges") if name in item.model
        }
        if "stress" in item.model:
            results["stress"] = full_3x3_to_voigt_6_stress(item.model["stress"])
        if "hirshfeld_ratios" in item.model:
            atoms.set_array("hirshfeld_ratios", item.model["hirshfeld_ratios"])
        atoms.info["structure"] = item.number
        atoms.calc = SinglePointCalculator(atoms, **results)
        predicted.append(atoms)
    return predicted
