"""so3md eval: errors of a model against the reference values of a data set."""

from __future__ import annotations

import csv
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from ase import Atoms
from ase.data import chemical_symbols
from rich.console import Console
from rich.progress import Progress
from rich.table import Column, Table

from so3md.cli.common import (
    ParallelCommand,
    calculator_parameters,
    free_path,
    make_calculator,
    make_console,
    model_options,
    plots,
    set_charge_and_spin,
    team,
)
from so3md.evaluation import OFFSETS, Errors, Evaluation, evaluate
from so3md.structure_checks import warn_of_odd_structures

_COLUMNS = (
    "structure",
    "formula",
    "atoms",
    "reference_energy_eV",
    "energy_eV",
    "energy_error_eV_per_atom",
    "forces_mae_eV_per_A",
    "forces_rmse_eV_per_A",
    "forces_largest_error_eV_per_A",
)


@click.command("eval", cls=ParallelCommand)
@click.argument("dataset", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--index", default=":", show_default=True, help="Frames to take, as ASE writes slices, such as :100 or ::10."
)
@model_options
@click.option(
    "--energy-key", help="Entry with the reference energy (eV). Default: REF_energy and its like, else energy."
)
@click.option(
    "--forces-key", help="Column with the reference forces (eV/A). Default: REF_forces and its like, else forces."
)
@click.option(
    "--energy-offset",
    type=click.Choice(OFFSETS),
    default="elements",
    show_default=True,
    help="Add to the model an energy for each atom of an element, by least squares, or compare energies as they are.",
)
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Directory. Default: named after the data set.")
def command(dataset: Path, index: str, output: Path | None, **options: Any) -> None:
    """Compare energies and forces with the reference values in DATASET, extended XYZ or another file that ASE reads.

    Writes errors.csv (each structure), summary.csv and parity.png. Methods differ in their zero of energy, and SO3LR's
    is one constant for all elements, so that only energies with --energy-offset elements tell of its quality.
    """
    frames = _read_frames(dataset, index)
    for atoms in frames:
        set_charge_and_spin(atoms, options)
    calculator = make_calculator(calculator_parameters(options))
    directory = team().from_leader(lambda: _new_directory(output or free_path(f"{dataset.stem}-eval")))
    console = make_console()
    with Progress(console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("Evaluating", total=len(frames))
        result = evaluate(
            frames,
            calculator,
            energy_key=options["energy_key"],
            forces_key=options["forces_key"],
            offset=options["energy_offset"],
            on_structure=lambda: progress.advance(task),
        )
    team().on_leader(lambda: _write_files(result, directory))
    _show(result, console)
    written = ", ".join(sorted(path.name for path in directory.iterdir()))
    console.print(f"In {directory}: {written}", highlight=False, soft_wrap=True)


def _new_directory(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=False)
    return path


def _read_frames(dataset: Path, index: str) -> list[Atoms]:
    from ase.io import read

    try:
        frames = read(dataset, index=index)
    except Exception as error:  # ASE's readers raise whatever their parsing trips over
        raise ValueError(f"data set {dataset}: ASE could not read it ({type(error).__name__}: {error})") from error
    frames = frames if isinstance(frames, list) else [frames]
    if not frames:
        raise ValueError(f"data set {dataset}: there are no structures in {index!r}")
    warn_of_odd_structures(frames)
    return frames


def _write_files(result: Evaluation, directory: Path) -> None:
    with (directory / "errors.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for number, item in enumerate(result.configurations):
            energy = result.energy(item)
            row: list[Any] = [number, item.formula, len(item.numbers), item.reference_energy, energy]
            row.append(None if item.reference_energy is None else (energy - item.reference_energy) / len(item.numbers))
            if item.reference_forces is not None:
                errors = Errors.of(item.forces - item.reference_forces)
                row += [errors.mae, errors.rmse, errors.largest]
            writer.writerow(row)
    with (directory / "summary.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["quantity", "mae", "rmse", "largest", "count"])
        for name, errors in result.summary().items():
            writer.writerow([name, *asdict(errors).values()])
    if drawing := plots():
        drawing.plot_parity(result.energy_pairs(per_atom=True), result.force_pairs(), directory / "parity.png")


def _show(result: Evaluation, console: Console) -> None:
    table = Table("quantity", *(Column(title, justify="right") for title in ("MAE", "RMSE", "largest", "values")))
    for name, errors in result.summary().items():
        table.add_row(name, f"{errors.mae:.6f}", f"{errors.rmse:.6f}", f"{errors.largest:.6f}", str(errors.count))
    console.print(table)
    if result.offsets:
        offsets = ", ".join(f"{chemical_symbols[z]} {value:.4f}" for z, value in result.offsets.items())
        console.print(f"Energy offsets added to the model (eV/atom): {offsets}", highlight=False, soft_wrap=True)
        if result.independent_offsets < len(result.offsets):
            console.print(
                f"(Compositions of the data set determine {result.independent_offsets} of these {len(result.offsets)} "
                "offsets; which values they have one by one means nothing.)",
                highlight=False,
                soft_wrap=True,
            )
