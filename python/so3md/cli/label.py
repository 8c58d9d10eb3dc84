"""so3md label: reference values of structures from a calculator of ASE."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import click
from ase import Atoms
from ase.io import read
from ase.io.extxyz import write_xyz

from so3md.cli.common import Command, charge_options, format_option, make_console
from so3md.cli.progress import ProgressBar
from so3md.cli.signals import GracefulStop
from so3md.data_sets import read_frames
from so3md.run_directory import GrowingFile, whole_frames


@click.command("label", cls=Command)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--calculator", required=True, help="A model of so3md, tblite, a name of ASE's, or package.module:Class.")
@click.option(
    "--set",
    "given",
    multiple=True,
    metavar="KEY=VALUE",
    help="An argument of the calculator; VALUE as JSON, or a text.",
)
@click.option("--index", default=":", show_default=True, help="Frames to take, as ASE writes slices.")
@format_option
@charge_options
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Default: FILE-labelled.xyz.")
@click.option("--overwrite", is_flag=True, help="Replace the output.")
@click.option("--resume", is_flag=True, help="Go on with an output that has the first structures already.")
@click.pass_context
def command(
    ctx: click.Context, /, file: Path, calculator: str, given: tuple[str, ...], output: Path | None, **options: Any
) -> None:
    """Compute energies and forces of the structures in FILE, for so3md train and finetune.

    Extended XYZ with REF_energy, REF_forces and, of periodic structures, REF_stress, in the place of such values of the
    file; all else that the file says is kept. Each structure is written once it
    is done; Ctrl-C stops after the present one, and --resume goes on. Structures that the calculator fails for are
    left out and told.
    """
    from so3md.labels import Labeller

    path = output or file.with_name(f"{file.stem}-labelled.xyz")
    states = {key: options[key] for key in ("charge", "spin")}
    frames = [atoms for _, atoms in read_frames(file, options["index"], options["format"], **states)]
    labeller = Labeller(calculator, dict(map(_argument, given)))
    left, size = _left(path, frames, options["overwrite"], options["resume"])
    failed: list[str] = []
    labelled = 0
    target = GrowingFile(path, size, whole_frames)
    console = make_console()
    try:
        with GracefulStop() as stop, ProgressBar(console, len(left)) as progress:
            for number, atoms in enumerate(left, len(frames) - len(left)):
                try:
                    target.append(_text(labeller.label(atoms)))
                    labelled += 1
                except Exception as error:  # calculators raise what they like
                    failed.append(f"structure {number} ({atoms.get_chemical_formula()}): {error}")
                if progress.due():
                    done = labelled + len(failed)
                    progress.show(done, "", f"{done} of {len(left)} structures")
                if stop.requested:
                    break
    finally:
        target.sync()
        target.close()
    for text in failed[:10]:
        click.echo(f"Left out: {text}")
    click.echo(f"{labelled} structures labelled by {calculator}, {len(failed)} left out, in {path}")
    if stop.requested:
        ctx.exit(stop.exit_code)
    if failed and not labelled:
        raise RuntimeError(f"no structure could be labelled; the first: {failed[0]}")


def _argument(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.isidentifier():
        raise click.UsageError(f"--set {text}: expected KEY=VALUE, such as method=GFN1-xTB")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def _left(path: Path, frames: list[Atoms], overwrite: bool, resume: bool) -> tuple[list[Atoms], int | None]:
    """The structures that are left to do, and the size of the output so far. Raises for an output that is in the way,
    and one that is of other structures."""
    from so3md.labels import same_structure

    if not path.exists() or overwrite:
        return frames, None
    if not resume:
        raise FileExistsError(f"{path} exists; give another --output, --resume to go on with it, or --overwrite")
    with path.open("rb") as file:
        size = whole_frames(file, path.stat().st_size)
    with path.open("rb") as file:
        text = file.read(size).decode()
    done = read(io.StringIO(text), ":", format="extxyz") if text else []
    left = list(frames)
    for atoms in done:
        while left and not same_structure(atoms, left[0]):
            left.pop(0)  # it was left out
        if not left:
            raise ValueError(f"{path}: it has structures that the input does not have in this order; give --overwrite")
        left.pop(0)
    return left, size


def _text(atoms: Atoms) -> str:
    text = io.StringIO()
    write_xyz(text, atoms, write_results=False)
    return text.getvalue()
