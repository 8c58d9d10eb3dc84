"""so3md md --replicas: several runs that differ in their random numbers, each a process of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from so3md import _engine
from so3md.benchmark.cases import threads_text
from so3md.cli.common import given_options, make_console, output_path, team
from so3md.cli.option_files import absolute_structure, command_line
from so3md.cli.progress import ProgressBar
from so3md.cli.signals import GracefulStop
from so3md.cli.summary_file import write_summary
from so3md.dynamics.record import LOG
from so3md.dynamics.settings import Settings
from so3md.dynamics.summary import summary_of
from so3md.replicas import (
    Job,
    Plan,
    has_begun,
    is_done,
    prepare_directory,
    run_jobs,
    seeds_of,
    steps_left,
    thread_shares,
)
from so3md.run_directory import DirectoryLock

#: Options that each replica gets anew, or that are of the command as a whole.
_OWN = ("structure", "example", "replicas", "seed", "threads", "device", "output", "overwrite", "resume", "steps")
#: Columns of the table: of the log, heading, digits after the point.
_SHOWN = (("temperature_K", "T (K)", 1), ("potential_eV", "potential (eV)", 3), ("density_g_cm3", "g/cm^3", 4))


def start(ctx: click.Context, structure: str, settings: Settings, steps: int) -> int:
    """Begin replicas of a structure and run them; returns the exit code. settings: of all but for their seeds."""
    _refuse_mpi()
    options, count = ctx.params, ctx.params["replicas"]
    name = f"{Path(structure).stem}-{settings.kind}-replicas"
    directory = output_path(options["output"], name, options["overwrite"])
    plan = Plan(command_line(ctx, _OWN), absolute_structure(structure), steps, seeds_of(settings.seed, count))
    lock = prepare_directory(directory, count, options["overwrite"])
    try:
        plan.write(directory)
        for number in range(count):
            _output_of(plan, directory, number).unlink(missing_ok=True)
        fresh = dict.fromkeys(range(count), steps)
        return _run(ctx, plan, directory, {number: _begin(plan, directory, number) for number in fresh}, fresh)
    finally:
        lock.release()


def resume(ctx: click.Context, directory: Path, structure: str | None) -> int:
    """Go on with the replicas in a directory, those that had not begun too; returns the exit code."""
    _refuse_mpi()
    given = given_options(ctx)
    if "seed" in given:
        raise click.UsageError("--seed says how a run begins; it does not go with --resume")
    plan = Plan.read(directory)
    lock = DirectoryLock(directory)
    try:
        commands, left = {}, {}
        for number in range(len(plan.seeds)):
            own = plan.directory_of(directory, number)
            if not has_begun(own):
                left[number] = ctx.params["steps"] if "steps" in given else plan.steps
                commands[number] = _begin(plan, directory, number, left[number])
                continue
            if "steps" not in given and is_done(own):
                continue
            left[number] = ctx.params["steps"] if "steps" in given else steps_left(own) or 0
            commands[number] = _go_on(ctx, own, structure, given)
        if not commands:
            raise click.UsageError(f"the replicas in {directory} have done all of their steps; --steps N does N more")
        return _run(ctx, plan, directory, commands, left)
    finally:
        lock.release()


def _refuse_mpi() -> None:
    if team().size > 1:
        raise click.UsageError("--replicas are processes of their own: leave out mpiexec (docs/throughput.md)")


def _begin(plan: Plan, directory: Path, number: int, steps: int | None = None) -> list[str]:
    own = ["--seed", str(plan.seeds[number]), "--steps", str(plan.steps if steps is None else steps)]
    where = ["--output", str(plan.directory_of(directory, number)), "--overwrite"]
    return [*plan.arguments, *own, *where, "--", plan.structure]


def _go_on(ctx: click.Context, own: Path, structure: str | None, given: Mapping[str, Any]) -> list[str]:
    arguments = ["--resume", str(own), *command_line(ctx, _OWN)]
    if "steps" in given:
        arguments += ["--steps", str(given["steps"])]
    return arguments if structure is None else [*arguments, "--", structure]


def _output_of(plan: Plan, directory: Path, number: int) -> Path:
    """The file with what a replica prints, beside its directory."""
    own = plan.directory_of(directory, number)
    return own.with_name(f"{own.name}.out")


# --- running --------------------------------------------------------------------------------------------------------


def _run(
    ctx: click.Context, plan: Plan, directory: Path, commands: Mapping[int, list[str]], left: Mapping[int, int]
) -> int:
    """Run the commands, number -> arguments of `so3md md`, and tell the user about it."""
    console = make_console()
    threads = ctx.params["threads"] or _engine.default_threads()
    at_once, each = thread_shares(threads, len(commands))
    _say(
        console,
        f"{len(commands)} replicas of {plan.structure}, {at_once} at once with {threads_text(each)} each, "
        f"into {directory}; Ctrl-C stops and saves",
    )
    jobs = {}
    for number, arguments in commands.items():
        own = ["--threads", str(each), *_device(ctx.params["device"], number)]
        command = [sys.executable, "-m", "so3md", "md", *own, *arguments]
        jobs[number] = Job(plan.directory_of(directory, number).name, command, _output_of(plan, directory, number))
    before = {number: _last_step(plan.directory_of(directory, number)) for number in jobs}
    with GracefulStop() as stop, ProgressBar(console, sum(left.values())) as progress:
        progress.wait()

        def show() -> None:
            if not progress.due():
                return
            done = sum(max(0, _last_step(plan.directory_of(directory, number)) - before[number]) for number in jobs)
            ended = sum(job.exit_code is not None for job in jobs.values())
            text = f"steps, {ended} of {len(jobs)} replicas done"
            progress.show(done, text, f"{done} of {sum(left.values())} {text}")

        run_jobs(list(jobs.values()), at_once, lambda: stop.requested, show)
    results = _results(plan, directory, jobs)
    _show(console, results)
    summary = {"directory": str(directory), "replicas": results, "all": _spread(results)}
    write_summary(directory / "summary.json", "md --replicas", summary)
    write_summary(ctx.params["json_file"], "md --replicas", summary)
    if stop.requested:
        _say(console, f"Stopped. Go on with: so3md md --resume {directory}")
        return stop.exit_code
    if failed := [item for item in results if item["error"]]:
        reasons = "; ".join(f"{item['name']}: {item['error']}" for item in failed)
        raise click.ClickException(f"{len(failed)} of {len(results)} replicas failed, the others are done: {reasons}")
    return 0


def _device(device: str, number: int) -> list[str]:
    """The option for the device of a replica: they take the GPUs of the machine in turn, unless one was chosen."""
    if device == "cpu":
        return []
    return ["--device", device if ":" in device else f"{device}:{number % _engine.count_devices(device)}"]


def _last_step(directory: Path) -> int:
    """The step of the last row of a log; 0 where there is none."""
    try:
        with (directory / LOG).open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 1000))
            last = file.read().splitlines()[-1]
        return int(last.split(b",")[0])
    except (OSError, IndexError, ValueError):
        return 0


# --- what the user gets ---------------------------------------------------------------------------------------------


def _results(plan: Plan, directory: Path, jobs: Mapping[int, Job]) -> list[dict[str, Any]]:
    """Of each replica, those that have been done before too: name, seed, error and the summary of its run."""
    results = []
    for number, seed in enumerate(plan.seeds):
        own, job = plan.directory_of(directory, number), jobs.get(number)
        failed = job is not None and job.exit_code not in (None, 0, 130, 143, -15)
        found: dict[str, Any] = {"name": own.name, "seed": seed, "error": job.reason() if job and failed else None}
        try:
            found |= summary_of(own)
        except (OSError, ValueError, KeyError):  # it has not begun
            found |= {"steps": 0, "mean": {}, "standard_deviation": {}}
        results.append(found)
    return results


def _spread(results: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean over replicas of their means, and the standard deviation between them, without those that failed."""
    good = [item for item in results if not item["error"]]
    names = [name for name, _, _ in _SHOWN if good and all(name in item["mean"] for item in good)]
    values = {name: np.array([item["mean"][name] for item in good]) for name in names}
    return {
        name: {"mean": float(of.mean()), "standard_deviation": float(of.std(ddof=1)) if len(of) > 1 else float("nan")}
        for name, of in values.items()
    }


def _show(console: Console, results: Sequence[Mapping[str, Any]]) -> None:
    shown = [item for item in _SHOWN if any(item[0] in result["mean"] for result in results)]
    title = "Means of the second half of each log"
    table = Table("replica", "seed", "steps", *(heading for _, heading, _ in shown), title=title, title_justify="left")
    for result in results:
        means = [f"{result['mean'][name]:.{digits}f}" if name in result["mean"] else "" for name, _, digits in shown]
        table.add_row(
            result["name"], str(result["seed"]), "failed" if result["error"] else str(result["steps"]), *means
        )
    spread = _spread(results)
    cells = [
        f"{spread[name]['mean']:.{digits}f} ± {spread[name]['standard_deviation']:.{digits}f}" if name in spread else ""
        for name, _, digits in shown
    ]
    table.add_section()
    table.add_row("all", "", "", *cells)
    table.caption = "all: mean of the replicas ± standard deviation between them"
    console.print(table)


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True, markup=False)
