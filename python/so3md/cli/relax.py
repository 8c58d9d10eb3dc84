"""so3md relax: the nearest minimum of the energy."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click
import numpy as np
from ase import Atoms
from ase.filters import FrechetCellFilter
from ase.io import write
from ase.io.formats import UnknownFileTypeError, filetype, get_ioformat
from ase.optimize import BFGS, FIRE, LBFGS
from ase.optimize.optimize import Optimizer
from ase.parallel import DummyMPI

from so3md.cli.common import (
    ParallelCommand,
    calculator_parameters,
    free_path,
    make_calculator,
    model_options,
    set_charge_and_spin,
    team,
)
from so3md.cli.signals import GracefulStop
from so3md.dynamics.ensembles import BAR
from so3md.structures import read_structure

_OPTIMIZERS: dict[str, type[Optimizer]] = {"lbfgs": LBFGS, "bfgs": BFGS, "fire": FIRE}
_LINE_EVERY = 1.0  # seconds


@click.command("relax", cls=ParallelCommand)
@click.argument("structure")
@click.option("--index", type=int, default=-1, help="Frame of a file that holds several. Default: the last.")
@click.option("--supercell", type=click.IntRange(min=1), nargs=3, default=(1, 1, 1), help="Copies along cell vectors.")
@model_options
@click.option("--fmax", type=float, default=0.01, show_default=True, help="Largest force that may be left, in eV/A.")
@click.option("--steps", type=click.IntRange(min=0), default=1000, show_default=True, help="Give up after so many.")
@click.option("--optimizer", type=click.Choice(list(_OPTIMIZERS)), default="lbfgs", show_default=True)
@click.option(
    "--cell",
    type=click.Choice(["fixed", "isotropic", "full"]),
    default="fixed",
    show_default=True,
    help="Relax the size of the cell, or size and shape, too.",
)
@click.option("--pressure", type=float, default=0.0, show_default=True, help="On a cell that relaxes, in bar.")
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="Default: STRUCTURE-relaxed.xyz.")
@click.option("--overwrite", is_flag=True, help="Replace an existing output.")
@click.option("--trajectory", type=click.Path(dir_okay=False, path_type=Path), help="File (.traj) for all the steps.")
@click.pass_context
def command(ctx: click.Context, structure: str, output: Path | None, **options: Any) -> None:
    """Relax STRUCTURE, a file that ASE reads, to the nearest minimum of the energy.

    Exit code 1 if the forces are still too large at the end; the structure is written in any case.
    """
    atoms = read_structure(structure, options["index"], options["supercell"])
    set_charge_and_spin(atoms, options)
    output = output or team().from_leader(lambda: free_path(f"{Path(structure).stem}-relaxed.xyz"))
    team().on_leader(lambda: _check_outputs(output, options["trajectory"], options["overwrite"]))
    if not options["fmax"] > 0:
        raise ValueError(f"fmax {options['fmax']}: expected a positive number")
    atoms.calc = make_calculator(calculator_parameters(options))
    converged, stopped = _relax(atoms, options)
    team().on_leader(lambda: write(output, atoms, parallel=False))
    click.echo(f"In {output}: the {'relaxed' if converged else 'last'} structure")
    if stopped:
        ctx.exit(stopped)
    if not converged:
        raise click.ClickException(f"the forces are still above {options['fmax']} eV/A: more --steps are needed")


def _relax(atoms: Atoms, options: dict[str, Any]) -> tuple[bool, int]:
    """Relax; returns whether it converged, and the exit code if the user stopped it."""
    target = _with_cell(atoms, options["cell"], options["pressure"])
    # Left to itself, ASE's optimizer would take part in messages of its own whenever it writes.
    alone = {"comm": DummyMPI(), "logfile": None, "trajectory": options["trajectory"] if team().leads else None}
    optimizer = _OPTIMIZERS[options["optimizer"]](target, **alone)
    printed = -np.inf
    with GracefulStop(team()) as stop:
        for converged in optimizer.irun(fmax=options["fmax"], steps=options["steps"]):
            stopping = stop.share()
            last = converged or stopping or optimizer.nsteps == options["steps"]
            if last or time.perf_counter() > printed + _LINE_EVERY:
                printed = time.perf_counter()
                _print_step(optimizer, target, atoms)
            if stopping:
                break
    return bool(converged), stop.exit_code


def _with_cell(atoms: Atoms, cell: str, pressure: float) -> Atoms | FrechetCellFilter:
    if cell == "fixed":
        if pressure:
            raise click.UsageError("--pressure acts on a cell that relaxes: add --cell isotropic or --cell full")
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


def _check_outputs(path: Path, trajectory: Path | None, overwrite: bool) -> None:
    """Raise, before any work is done, if an output cannot be written or would replace a file."""
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists; choose another --output, or --overwrite")
    if trajectory and trajectory.exists() and not overwrite:
        raise FileExistsError(f"{trajectory} exists; choose another --trajectory, or --overwrite")
    try:
        writable = get_ioformat(filetype(str(path), read=False)).can_write
    except UnknownFileTypeError:
        writable = False
    if not writable:
        raise ValueError(f"{path}: ASE cannot write a file format of that name; .xyz is a good choice")
    existed = path.exists()
    path.open("ab").close()
    if not existed:
        path.unlink()
