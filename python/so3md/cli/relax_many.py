"""so3md relax of several frames: on all cores, with a table of what became of each."""

from __future__ import annotations

import csv
import io
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from ase import Atoms

from so3md import _engine
from so3md.benchmark.cases import threads_text
from so3md.cli.common import calculator_parameters, long_range_lines, make_calculator, make_console, output_path, team
from so3md.cli.progress import ProgressBar
from so3md.cli.signals import GracefulStop
from so3md.cli.structure_output import StructureOutput, refuse_existing
from so3md.cli.summary_file import write_summary
from so3md.data_sets import read_frames
from so3md.loading import models_text
from so3md.relaxation import CONVERGED, FAILED, Outcome, Relaxation, relax_many
from so3md.replicas import thread_shares
from so3md.run_directory import replace_file
from so3md.structure_checks import warn_of_odd_structures
from so3md.structures import example_path, finished
from so3md.structures.values import drop_values

#: So many failures are named one by one; the table has all.
_NAMED = 10


def relax_frames(
    structure: str, index: str, output: Path | None, relaxation: Relaxation, options: dict[str, Any]
) -> int:
    """Relax the frames that a slice picks; returns the exit code."""
    if team().size > 1:
        raise click.UsageError("several structures are shared among processes without mpiexec: leave it out")
    if options["trajectory"] is not None:
        raise click.UsageError("--trajectory is for one structure: pick a frame with --index")
    numbered, failed = _read(structure, index, options)
    file = StructureOutput(output_path(output, f"{Path(structure).stem}-relaxed.xyz", options["overwrite"]))
    table = file.path.with_suffix(".csv")
    for path in (file.path, table):
        refuse_existing(path, "--output", options["overwrite"])
    frames = [atoms for _, atoms in numbered]
    if frames:
        file.check(frames)
    relaxed, stopped = _relax(structure, numbered, relaxation, options) if numbered else ([], 0)
    outcomes = sorted([*failed, *relaxed], key=lambda outcome: outcome.number)
    done = [outcome.atoms for outcome in outcomes if outcome.atoms is not None]
    if done:
        file.write(done)
    _write_table(outcomes, table)
    counts = Counter(outcome.state for outcome in outcomes)
    results = {"output": str(file.path), "counts": dict(counts), "structures": [_row(item) for item in outcomes]}
    write_summary(options["json_file"], "relax", results)
    for outcome in [item for item in outcomes if item.state == FAILED][:_NAMED]:
        warnings.warn(f"structure {outcome.number} is left out: {outcome.error}", stacklevel=2)
    said = ", ".join(f"{count} {state}" for state, count in counts.items())
    click.echo(f"In {file.path}: {len(done)} structures; {said}. In {table}: what became of each")
    if stopped:
        return stopped
    return 0 if counts[CONVERGED] == len(outcomes) else 1


def _read(structure: str, index: str, options: dict[str, Any]) -> tuple[list[tuple[int, Atoms]], list[Outcome]]:
    """The structures with their numbers in the file, and what cannot even be replicated."""
    given = {key: options[key] for key in ("charge", "spin")}
    numbered, failed = [], []
    for number, atoms in read_frames(example_path(structure), index, options["format"], **given):
        try:
            ready = finished(atoms, options["supercell"])
        except ValueError as error:
            failed.append(Outcome(number, FAILED, error=str(error)))
            continue
        drop_values(ready)
        numbered.append((number, ready))
    warn_of_odd_structures([atoms for _, atoms in numbered], [f"structure {number}" for number, _ in numbered])
    return numbered, failed


def _relax(
    structure: str, numbered: Sequence[tuple[int, Atoms]], relaxation: Relaxation, options: dict[str, Any]
) -> tuple[list[Outcome], int]:
    """The outcomes, and the exit code if the user stopped them."""
    console = make_console()
    parameters = calculator_parameters(options)
    lines = long_range_lines(make_calculator(parameters), [atoms for _, atoms in numbered])
    threads = options["threads"] or _engine.default_threads()
    processes, each = thread_shares(threads if options["device"] == "cpu" else 1, len(numbered))
    click.echo(
        f"{len(numbered)} structures of {structure}; {models_text(options['model'])}, "
        f"{options['precision']} precision; {processes} at once with {threads_text(each)} each\n{lines}",
        nl=False,
    )
    outcomes: list[Outcome] = []
    with GracefulStop() as stop, ProgressBar(console, len(numbered)) as progress:
        work = relax_many(numbered, relaxation, parameters | {"threads": each}, processes, lambda: stop.requested)
        for outcome in work:
            outcomes.append(outcome)
            bad = sum(item.state == FAILED for item in outcomes)
            text = f"relaxed, {bad} failed"
            if progress.due():
                progress.show(len(outcomes), text, f"{len(outcomes)} of {len(numbered)} {text}")
    return outcomes, stop.exit_code


def _row(outcome: Outcome) -> dict[str, Any]:
    atoms = outcome.atoms
    return {
        "structure": outcome.number,
        "formula": "" if atoms is None else atoms.get_chemical_formula(),
        "state": outcome.state,
        "steps": outcome.steps,
        "energy_eV": outcome.energy,
        "largest_force_eV_per_A": outcome.largest_force,
        "error": outcome.error,
    }


def _write_table(outcomes: Sequence[Outcome], path: Path) -> None:
    text = io.StringIO()
    rows = [_row(outcome) for outcome in outcomes]
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    replace_file(path, text.getvalue().encode())
