"""so3md eval: errors of a model against the reference values of a data set."""

from __future__ import annotations

import csv
import io
import itertools
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from ase import Atoms
from ase.data import chemical_symbols
from rich.console import Console

from so3md.cli.common import (
    ParallelCommand,
    calculator_parameters,
    format_option,
    long_range_lines,
    make_calculator,
    make_console,
    model_options,
    output_path,
    plots,
    set_charge_and_spin,
    team,
)
from so3md.cli.predictions import predictions_file, with_predictions
from so3md.cli.progress import ProgressBar
from so3md.cli.reference_table import error_table, show_found
from so3md.cli.summary_file import json_option, write_summary
from so3md.data_sets import (
    SPIN_CONVENTIONS,
    doubt_about_spins,
    has_constrained_forces,
    read_frames,
    spins_of,
    take_spin_convention,
    warn_of_constrained_forces,
)
from so3md.evaluation import OFFSETS, Configuration, Errors, Evaluation, evaluate, read_references
from so3md.reference_values import NOT_FINITE, Reference, inventory
from so3md.run_directory import replace_file
from so3md.structure_checks import warn_of_odd_structures
from so3md.structures import example_path

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
    "stress_mae_eV_per_A3",
    "dipole_mae_eA",
    "charges_mae_e",
    "hirshfeld_ratios_mae",
    "uncertainty_eV_per_A",
)
_MORE = ("stress", "dipole", "charges", "hirshfeld_ratios")  # quantities of the last columns


#: Quantity of `so3md.reference_values.KEYS` -> option, and what the entry holds.
_KEY_OPTIONS = {
    "energy": ("--energy-key", "energy (eV)"),
    "forces": ("--forces-key", "forces (eV/A)"),
    "stress": ("--stress-key", "stress (eV/A^3, ASE's sign)"),
    "virial": ("--virial-key", "virial (eV, -stress * volume)"),
    "dipole": ("--dipole-key", "dipole (e A)"),
    "charges": ("--charges-key", "charges of atoms (e)"),
    "hirshfeld_ratios": ("--hirshfeld-ratios-key", "Hirshfeld ratios"),
}
#: So many structures with a value that is not finite, or that fail, are named one by one.
_NAMED = 10


class _DataSet(click.Path):
    """A file, or the name of an example that ships with so3md."""

    def __init__(self) -> None:
        super().__init__(exists=True, dir_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(example_path(value), param, ctx)


def _key_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for quantity, (name, what) in reversed(_KEY_OPTIONS.items()):
        stem = "" if quantity == "virial" else f" Default: REF_{quantity} and its like, else {quantity}."
        function = click.option(name, help=f"Entry with the reference {what}.{stem}")(function)
    return function


@click.command("eval", cls=ParallelCommand)
@click.argument("dataset", type=_DataSet())
@click.option(
    "--index", default=":", show_default=True, help="Frames to take, as ASE writes slices, such as :100 or ::10."
)
@format_option
@model_options
@_key_options
@click.option(
    "--spin-convention",
    type=click.Choice(SPIN_CONVENTIONS),
    help='What info["spin"] of the data set is: the total spin S (default), the multiplicity, or the number of '
    "unpaired electrons.",
)
@click.option(
    "--energy-offset",
    type=click.Choice(OFFSETS),
    default="elements",
    show_default=True,
    help="Add to the model an energy for each atom of an element, by least squares, or compare energies as they are.",
)
@click.option(
    "--predictions",
    type=click.Path(path_type=Path),
    help="Also write the structures with the model's energies, forces, ... to this file, such as NAME.xyz. DATASET "
    "needs no reference values then.",
)
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Directory. Default: named after the data set.")
@click.option("--overwrite", is_flag=True, help="Replace the files of an evaluation that the directory holds.")
@json_option
def command(dataset: Path, index: str, output: Path | None, overwrite: bool, **options: Any) -> None:
    """Compare a model with the reference values in DATASET, extended XYZ or another file that ASE reads.

    Energies, forces, stress, dipoles, charges of atoms and Hirshfeld ratios, as far as data set and model have them.
    Writes errors.csv (each structure), summary.csv and parity.png. Methods differ in their zero of energy, and SO3LR's
    is one constant for all elements, so that only energies with --energy-offset elements tell of its quality.
    """
    given = {key: options[key] for key in ("charge", "spin")}
    numbers, frames = zip(*read_frames(dataset, index, options["format"], **given), strict=True)
    keys = {name: options[_parameter(option)] for name, (option, _) in _KEY_OPTIONS.items()}
    keys = {name: key for name, key in keys.items() if key is not None}
    wanted = options["predictions"]
    references = read_references(zip(numbers, frames, strict=True), keys, dataset.name, required=wanted is None)
    console = make_console()
    show_found(inventory(dataset.name, references), console)
    _warn_of_numbers(numbers, frames, references)
    pairs = zip(frames, references, strict=True)
    constrained = sum(has_constrained_forces(atoms, reference.forces) for atoms, reference in pairs)
    warn_of_constrained_forces(dataset.name, constrained)
    warn_of_odd_structures(frames, [f"structure {number}" for number in numbers])
    _set_states(frames, options)
    calculator = make_calculator(calculator_parameters(options))
    console.print(long_range_lines(calculator, frames), end="", highlight=False, soft_wrap=True, markup=False)
    predictions = team().from_leader(lambda: predictions_file(wanted, overwrite, dataset, frames))
    name = f"{dataset.stem}-eval"
    directory = team().from_leader(lambda: _new_directory(output_path(output, name, overwrite), overwrite))
    failed: list[ValueError] = []
    with ProgressBar(console, len(frames)) as progress:
        done = itertools.count(1)
        result = evaluate(
            frames,
            calculator,
            references=references,
            numbers=numbers,
            offset=options["energy_offset"],
            on_structure=lambda: progress.show(next(done), "evaluated"),
            on_error=failed.append,
        )
    _show(result, console)
    team().on_leader(lambda: _write_files(result, directory))
    if predictions is not None:
        predicted = with_predictions(numbers, frames, result.configurations)
        team().on_leader(lambda: predictions.write(predicted))
        console.print(f"In {wanted}: {len(predicted)} structures", highlight=False, soft_wrap=True, markup=False)
    written = ", ".join(sorted(path.name for path in directory.iterdir()))
    console.print(f"In {directory}: {written}", highlight=False, soft_wrap=True)
    team().on_leader(lambda: write_summary(options["json_file"], "eval", _results(result, dataset, directory, failed)))
    if failed:
        for error in failed[1:_NAMED]:
            warnings.warn(f"{error} (left out)", stacklevel=2)
        more = f"; so were {len(failed) - 1} others" if len(failed) > 1 else ""
        raise ValueError(f"{failed[0]} (this structure was left out{more})")


def _results(result: Evaluation, dataset: Path, directory: Path, failed: Sequence[ValueError]) -> dict[str, Any]:
    return {
        "dataset": str(dataset),
        "directory": str(directory),
        "structures": len(result.configurations),
        "errors": {name: asdict(errors) for name, errors in result.summary().items()},
        "energy_offsets_eV": {chemical_symbols[z]: value for z, value in result.offsets.items()},
        "failed": list(map(str, failed)),
    }


def _parameter(option: str) -> str:
    return option.removeprefix("--").replace("-", "_")


def _new_directory(path: Path, overwrite: bool) -> Path:
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists already; give another --output, or --overwrite")
    path.mkdir(parents=True, exist_ok=overwrite)
    return path


def _set_states(frames: Sequence[Atoms], options: dict[str, Any]) -> None:
    """Charge and spin of each structure: those of the options, else its own, in the convention of the data set."""
    convention = options["spin_convention"]
    doubt = doubt_about_spins(list(spins_of(frames))) if convention is None and options["spin"] is None else None
    if doubt:
        warnings.warn(doubt.replace("spin_convention", "--spin-convention"), stacklevel=2)
    for atoms in frames:
        take_spin_convention(atoms, convention)
        set_charge_and_spin(atoms, options)


def _warn_of_numbers(numbers: Sequence[int], frames: Sequence[Atoms], references: Sequence[Reference]) -> None:
    """Name the structures with reference values that are not finite."""
    found = [
        f"structure {number} ({atoms.get_chemical_formula()}): the reference {quantity} {NOT_FINITE}; it is left out"
        for number, atoms, reference in zip(numbers, frames, references, strict=True)
        for quantity, reason in reference.left_out.items()
        if reason == NOT_FINITE
    ]
    for text in found[:_NAMED]:
        warnings.warn(text, stacklevel=2)
    if len(found) > _NAMED:
        warnings.warn(f"{len(found) - _NAMED} more values are left out likewise", stacklevel=2)


def _write_files(result: Evaluation, directory: Path) -> None:
    rows = [_row(result, item) for item in result.configurations]
    _write_csv(directory / "errors.csv", _COLUMNS, rows)
    summary = [[name, *asdict(errors).values()] for name, errors in result.summary().items()]
    _write_csv(directory / "summary.csv", ("quantity", "mae", "rmse", "largest", "count"), summary)
    image = directory / "parity.png"
    if summary and (drawing := plots()):
        drawing.plot_parity(result.energy_pairs(per_atom=True), result.force_pairs(), image)
    else:
        image.unlink(missing_ok=True)  # that of an earlier evaluation


def _write_csv(path: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    replace_file(path, text.getvalue().encode())


def _row(result: Evaluation, item: Configuration) -> list[Any]:
    energy, reference = result.energy(item), item.reference.energy
    row: list[Any] = [item.number, item.formula, len(item.numbers), reference, energy]
    row.append(None if reference is None else (energy - reference) / len(item.numbers))
    row += _errors(item, "forces")
    return [*row, *(_errors(item, name)[0] for name in _MORE), item.model.get("uncertainty")]


def _errors(item: Configuration, quantity: str) -> list[float | None]:
    reference = getattr(item.reference, quantity)
    if reference is None or quantity not in item.model:
        return [None] * 3
    errors = Errors.of(item.model[quantity] - reference)
    return [errors.mae, errors.rmse, errors.largest]


def _show(result: Evaluation, console: Console) -> None:
    if result.summary():
        console.print(error_table(result))
    for name, count in result.not_compared().items():
        console.print(
            f"Not compared: {name} of {count} structures, for which this model gives none",
            highlight=False,
            soft_wrap=True,
        )
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
