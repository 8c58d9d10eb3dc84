"""so3md relax: the nearest minimum of the energy."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np
from ase import Atoms
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS, FIRE, LBFGS
from ase.optimize.optimize import Optimizer
from ase.parallel import DummyMPI

from so3md.cli.common import (
    Number,
    ParallelCommand,
    calculator_parameters,
    describe_structure,
    long_range_lines,
    make_calculator,
    model_options,
    output_path,
    precision_for,
    read_input,
    structure_options,
    team,
)
from so3md.cli.signals import GracefulStop
from so3md.cli.structure_output import StructureOutput, refuse_existing
from so3md.dynamics.ensembles import BAR
from so3md.run_directory import naming
from so3md.run_directory.files import partial_name
from so3md.structures.values import drop_values

_OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {"lbfgs": LBFGS, "bfgs": BFGS, "fire": FIRE}
_LINE_EVERY = 1.0  # seconds


@click.command("relax", cls=ParallelCommand)
@click.argument("structure")
@structure_options
@model_options
@click.option(
    "--fmax",
    type=Number(1e-12, 1e3, unit="eV/A"),
    default=0.01,
    show_default=True,
    help="Largest force that may be left, in eV/A.",
)
@click.option("--steps", type=click.IntRange(0, 10**9), default=1000, show_default=True, help="Give up after so many.")
@click.option("--optimizer", type=click.Choice(list(_OPTIMIZERS)), default="lbfgs", show_default=True)
@click.option(
    "--cell",
    type=click.Choice(["fixed", "isotropic", "full"]),
    default="fixed",
    show_default=True,
    help="Relax the size of the cell, or size and shape, too.",
)
@click.option(
    "--pressure",
    type=Number(-1e7, 1e7, unit="bar"),
    default=0.0,
    show_default=True,
    help="On a cell that relaxes, in bar.",
)
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="Default: STRUCTURE-relaxed.xyz.")
@click.option("--overwrite", is_flag=True, help="Replace an existing output.")
@click.option("--trajectory", type=click.Path(dir_okay=False, path_type=Path), help="File (.traj) for all the steps.")
@click.pass_context
def command(ctx: click.Context, /, structure: str, output: Path | None, **options: Any) -> None:
    """Relax STRUCTURE, a file that ASE reads, to the nearest minimum of the energy.

    Exit code 1 if the forces are still too large at the end; the structure is written in any case.
    """
    atoms = read_input(structure, options)
    drop_values(atoms)
    name = f"{Path(structure).stem}-relaxed.xyz"
    file = team().from_leader(lambda: StructureOutput(output_path(output, name, options["overwrite"])))
    team().on_leader(lambda: _check_outputs(file, atoms, options["trajectory"], options["overwrite"]))
    options["precision"] = precision_for(options["fmax"], ctx)
    atoms.calc = make_calculator(calculator_parameters(options))
    system = describe_structure(atoms, options["supercell"])
    click.echo(f"{system}; {options['model']}, {options['precision']} precision")
    click.echo(long_range_lines(atoms.calc, [atoms], evaluate=True), nl=False)
    converged, stopped = _relax(atoms, options)
    team().on_leader(lambda: file.write(atoms))
    click.echo(f"In {file.path}: the {'relaxed' if converged else 'last'} structure")
    if stopped:
        ctx.exit(stopped)
    if not converged:
        raise click.ClickException(f"the forces are still above {options['fmax']} eV/A: more --steps are needed")


def _relax(atoms: Atoms, options: dict[str, Any]) -> tuple[bool, int]:
    """Relax; returns whether it converged, and the exit code if the user stopped it."""
    target = _with_cell(atoms, options["cell"], options["pressure"])
    printed = -np.inf
    with GracefulStop(team()) as stop, _trajectory(options["trajectory"]) as trajectory:
        # Left to itself, ASE's optimizer would take part in messages of its own whenever it writes.
        optimizer = _OPTIMIZERS[options["optimizer"]](target, comm=DummyMPI(), logfile=None, trajectory=trajectory)
        for converged in optimizer.irun(fmax=options["fmax"], steps=options["steps"]):
            stopping = stop.share()
            last = converged or stopping or optimizer.nsteps == options["steps"]
            if last or time.perf_counter() > printed + _LINE_EVERY:
                printed = time.perf_counter()
                _print_step(optimizer, target, atoms)
            if stopping:
                break
    return bool(converged), stop.exit_code


@contextmanager
def _trajectory(path: Path | None) -> Iterator[str | None]:
    """Where the optimizer writes its steps: beside the file that is wanted, whose place it takes at the end."""
    if path is None or not team().leads:
        yield None
        return
    partial = partial_name(path)
    try:
        with naming(path):
            yield str(partial)
    finally:
        if partial.exists():
            os.replace(partial, path)


def _with_cell(atoms: Atoms, cell: str, pressure: float) -> Atoms | FrechetCellFilter:
    if cell == "fixed":
        if pressure:
            raise click.UsageError("--pressure needs a cell that relaxes: add --cell isotropic or --cell full")
        return atoms
    if not atoms.pbc.all():
        raise ValueError(f"--cell {cell}: the structure is not periodic in all directions, pbc = {atoms.pbc.tolist()}")
    return FrechetCellFilter(atoms, hydrostatic_strain=cell == "isotropic", scalar_pressure=pressure * BAR)


def _print_step(optimizer: Optimizer, target: Atoms | FrechetCellFilter, atoms: Atoms) -> None:
    largest = np.linalg.norm(target.get_forces(), axis=1).max()
    volume = f", volume {atoms.get_volume():.3f} A^3" if target is not atoms else ""
    click.echo(
        f"step {optimizer.nsteps}: {atoms.get_potential_energy():.6f} eV, largest force {largest:.5f} eV/A{volume}"
    )


def _check_outputs(output: StructureOutput, atoms: Atoms, trajectory: Path | None, overwrite: bool) -> None:
    """Raise, before any work is done, if an output cannot be written or would replace a file."""
    refuse_existing(output.path, "--output", overwrite)
    output.check(atoms)
    if trajectory is None:
        return
    refuse_existing(trajectory, "--trajectory", overwrite)
    if trajectory.suffix != ".traj":
        raise click.UsageError(f"--trajectory {trajectory}: expected a name that ends in .traj, ASE's format for them")
    if trajectory.resolve() == output.path.resolve():
        raise click.UsageError("--output and --trajectory are the same file")
    StructureOutput(trajectory).check(atoms)
