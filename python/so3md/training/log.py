"""The CSV log of a training: one row for each validation."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from so3md.run_directory import GrowingFile, whole_rows
from so3md.training.config import QUANTITIES, LossConfig
from so3md.training.trainer import Validation

_UNITS = {"energy": "eV", "forces": "eV_per_A", "stress": "eV_per_A3", "dipole": "eA", "hirshfeld_ratios": "1"}


class Log(GrowingFile):
    """Rows that are appended to a file; those after a checkpoint, which records the `size`, are taken back."""

    def __init__(self, path: Path, loss: LossConfig, size: int | None = None) -> None:
        """size: that of the checkpoint; None for a new log."""
        super().__init__(path, size, whole_rows)
        self._loss = loss
        self._quantities = [name for name in QUANTITIES if getattr(loss, name) or name in ("energy", "forces")]
        if self.size == 0:
            self.append(self._line(self.columns))

    @property
    def columns(self) -> list[str]:
        """Names with units; energies are per atom or per structure, as in the loss."""
        names = ["epoch", "step", "seconds", "learning_rate", "train_loss", "validation_loss", "best"]
        for part in ("train", "validation"):
            for quantity in self._quantities:
                unit = _UNITS[quantity]
                if quantity == "energy" and self._loss.energy_per == "atom":
                    unit += "_per_atom"
                names += [f"{part}_{quantity}_{kind}_{unit}" for kind in ("mae", "rmse")]
        return names

    def write(self, row: Validation, seconds: float) -> None:
        """Append a row."""
        numbers: list[object] = [row.epoch, row.step, f"{seconds:.1f}", f"{row.learning_rate:.6g}"]
        numbers += [f"{row.train.loss(self._loss):.8g}", f"{row.loss:.8g}", int(row.best)]
        for errors in (row.train, row.validation):
            for quantity in self._quantities:
                numbers += [_number(errors.mae(quantity)), _number(errors.rmse(quantity))]
        self.append(self._line(numbers))

    @staticmethod
    def _line(values: Sequence[object]) -> str:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(values)
        return text.getvalue()


def read_log(path: Path) -> dict[str, np.ndarray]:
    """Column -> values of a log; NaN where a field is empty."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    names = rows[0].keys() if rows else ()
    return {name: np.array([float(row[name] or "nan") for row in rows]) for name in names}


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
