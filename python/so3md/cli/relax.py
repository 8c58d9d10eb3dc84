"""so3md relax: the nearest minimum of the energy."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np
from ase import Atoms
from ase.filters import FrechetCellFilter
from ase.optimize.optimize import Optimizer

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
    structures_options,
    team,
)
from so3md.cli.completed_names import structure_names
from so3md.cli.progress import line_interval
from so3md.cli.signals import GracefulStop
from so3md.cli.structure_output import StructureOutput, refuse_existing
from so3md.cli.summary_file import json_option, write_summary
from so3md.loading import models_text
from so3md.relaxation import AUTO, CELLS, OPTIMIZERS, Relaxation, largest_force
from so3md.run_directory import naming
from so3md.run_directory.files import partial_name
from so3md.structures import parse_index
from so3md.structures.values import drop_values

_FIRST_LINES = 1.0  # seconds between lines


@click.command("relax", cls=ParallelCommand)
@click.argument("structure", shell_complete=structure_names)
@structures_options
@click.option("--all", "all_frames", is_flag=True, help="Relax all frames of the file, side by side: --index :")
@model_options
@click.option(
    "--fmax",
    type=Number(1e-12, 1e3, unit="eV/A"),
    default=0.01,
    show_default=True,
    help="Largest force that may be left, in eV/A.",
)
@click.option("--steps", type=click.IntRange(0, 10**9), default=1000, show_default=True, help="Give up after so many.")
@click.option(
    "--optimizer",
    type=click.Choice([AUTO, *OPTIMIZERS]),
    default=AUTO,
    show_default=True,
    help="auto: model-hessian for molecules, lbfgs for periodic structures.",
)
@click.option(
    "--cell",
    type=click.Choice(CELLS),
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
@json_option
@click.pass_context
def command(ctx: click.Context, /, structure: str, output: Path | None, **options: Any) -> None:
    """Relax STRUCTURE, a file that ASE reads, to the nearest minimum of the energy.

    With --all or a slice for --index, its frames are shared among the cores; those that fail are listed and left out.
    Exit code 1 if the forces are still too large at the end; the structure is written in any case.
    """
    options["precision"] = precision_for(options["fmax"], ctx)
    relaxation = _relaxation(options)
    index = ":" if options["all_frames"] else options["index"]
    if isinstance(frame := parse_index(index), slice):
        from so3md.cli.relax_many import relax_frames

        ctx.exit(relax_frames(structure, index, output, relaxation, options))
    options["index"] = frame
    atoms = read_input(structure, options)
    drop_values(atoms)
    name = f"{Path(structure).stem}-relaxed.xyz"
    file = team().from_leader(lambda: StructureOutput(output_path(output, name, options["overwrite"])))
    team().on_leader(lambda: _check_outputs(file, atoms, options["trajectory"], options["overwrite"]))
    atoms.calc = make_calculator(calculator_parameters(options))
    system = describe_structure(atoms, options["supercell"])
    click.echo(f"{system}; {models_text(options['model'])}, {options['precision']} precision")
    click.echo(long_range_lines(atoms.calc, [atoms], evaluate=True), nl=False)
    outcome, stopped = _relax(atoms, relaxation, options["trajectory"])
    converged = outcome["converged"]
    team().on_leader(lambda: file.write(atoms))
    results = {"structure": structure, "output": str(file.path), **outcome}
    team().on_leader(lambda: write_summary(options["json_file"], "relax", results))
    click.echo(f"In {file.path}: the {'relaxed' if converged else 'last'} structure")
    if stopped:
        ctx.exit(stopped)
    if not converged:
        raise click.ClickException(f"the forces are still above {options['fmax']} eV/A: more --steps are needed")


def _relaxation(options: dict[str, Any]) -> Relaxation:
    if options["cell"] == "fixed" and options["pressure"]:
        raise click.UsageError("--pressure needs a cell that relaxes: add --cell isotropic or --cell full")
    return Relaxation(**{key: options[key] for key in ("fmax", "steps", "optimizer", "cell", "pressure")})


def _relax(atoms: Atoms, relaxation: Relaxation, trajectory: Path | None) -> tuple[dict[str, Any], int]:
    """Relax; returns what has come of it, and the exit code if the user stopped it."""
    target = relaxation.target(atoms)
    begin, due = time.perf_counter(), -np.inf
    with GracefulStop(team()) as stop, _trajectory(trajectory) as name:
        optimizer = relaxation.optimizer_of(target, name)
        for converged in optimizer.irun(fmax=relaxation.fmax, steps=relaxation.steps):
            stopping = stop.share()
            now = time.perf_counter()
            if converged or stopping or optimizer.nsteps == relaxation.steps or now > due:
                due = now + line_interval(now - begin, _FIRST_LINES)
                _print_step(optimizer, target, atoms)
            if stopping:
                break
    outcome = {
        "converged": bool(converged),
        "steps": int(optimizer.nsteps),
        "energy_eV": float(atoms.get_potential_energy()),
        "largest_force_eV_per_A": largest_force(target),
        "volume_A3": float(atoms.get_volume()) if atoms.pbc.all() else None,
    }
    return outcome, stop.exit_code


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


def _print_step(optimizer: Optimizer, target: Atoms | FrechetCellFilter, atoms: Atoms) -> None:
    largest = largest_force(target)
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
