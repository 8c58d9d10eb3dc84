"""What `eval` and the trainings print of reference values: those that were found, and the errors against them."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Column, Table

from so3md.evaluation import Evaluation
from so3md.reference_values import KEYS, Found


def show_found(rows: Sequence[Found], console: Console) -> None:
    """Print what each file has of each quantity, and what of it is left out and why."""
    right = [Column(title, justify="right") for title in ("structures", "values")]
    table = Table("file", "reference", "read from", *right, box=None, pad_edge=False)
    for row in rows:
        read_from = ", ".join(row.entries) or "-"
        table.add_row(row.file, row.quantity, read_from, f"{row.structures} of {row.of}", str(row.values))
    if rows:
        console.print(table)
    else:
        _note("No reference values were found under names that are known", console)
    for row in rows:
        for reason, count in row.left_out.items():
            _note(f"{row.file}: {row.quantity} of {_structures(count)} left out: {reason}", console)
        virials = [name for name in row.entries if name in KEYS["virial"]]
        if row.quantity == "stress" and virials:
            _note(
                f"{row.file}: stress = -{virials[0]} / volume, the sign and unit (energy) of MACE, GAP and QUIP",
                console,
            )


def error_table(result: Evaluation) -> Table:
    """The errors of each quantity."""
    table = Table("quantity", *(Column(title, justify="right") for title in ("MAE", "RMSE", "largest", "values")))
    for name, errors in result.summary().items():
        table.add_row(name, *map(_number, (errors.mae, errors.rmse, errors.largest)), str(errors.count))
    return table


def _number(value: float) -> str:
    """Six decimals; small values, such as those of a stress, with three digits."""
    return f"{value:.6f}" if value >= 1e-3 or value == 0 else f"{value:.2e}"


def _structures(count: int) -> str:
    return "1 structure" if count == 1 else f"{count} structures"


def _note(text: str, console: Console) -> None:
    console.print(text, highlight=False, soft_wrap=True, markup=False)
