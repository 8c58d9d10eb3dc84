"""so3md md: molecular dynamics from the command line."""

from __future__ import annotations

import secrets
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import fields
from math import prod
from pathlib import Path
from typing import Any

import click
from rich.console import Console

import so3md
from so3md.cli.common import (
    ParallelCommand,
    calculator_parameters,
    describe_structure,
    given_options,
    long_range_lines,
    make_calculator,
    make_console,
    model_options,
    output_path,
    plots,
    read_input,
    structure_options,
    team,
)
from so3md.cli.completed_names import structure_names
from so3md.cli.option_files import (
    absolute_structure,
    absolute_unless_name,
    config_option,
    config_text,
    effective_options,
    without_rival,
)
from so3md.cli.run_display import RunDisplay
from so3md.cli.signals import GracefulStop
from so3md.cli.student_options import OF_STUDENT, STEPS_OF_MTS, check_student_options, student_options
from so3md.cli.summary_file import json_option, write_summary
from so3md.dynamics import Settings, Simulation
from so3md.dynamics.record import (
    CHECKPOINT,
    CONFIG,
    FINAL,
    LOG,
    PLOT,
    START,
    UNCERTAIN,
    has_final,
    read_record,
    recorded_parameters,
    recorded_settings,
)
from so3md.dynamics.settings import ENSEMBLES, STEPS, THERMOSTATS
from so3md.dynamics.simulation import VELOCITIES
from so3md.dynamics.summary import summary_of
from so3md.dynamics.trajectories import FORMATS
from so3md.loading import models_text, names_of_models
from so3md.replicas.plan import RECORD as REPLICAS
from so3md.run_directory import naming, replace_file
from so3md.structures import EXAMPLES, read_structure

_DEFAULT_STEPS = 2000
_UNCERTAIN_EXIT = 3  # of a run that --stop-uncertainty ended
_SETTINGS = tuple(field.name for field in fields(Settings))
# Say how a run begins, so that they mean nothing for one that goes on.
_ONLY_AT_START = (
    "output",
    "overwrite",
    "velocities",
    "write_velocities",
    "write_forces",
    "trajectory_format",
    "replicas",
)


@click.command("md", cls=ParallelCommand)
@click.argument("structure", required=False, shell_complete=structure_names)
@click.option("--example", type=click.Choice(list(EXAMPLES)), help="An example instead of a structure of your own.")
@structure_options
@model_options
@click.option("--ensemble", type=click.Choice(ENSEMBLES), help="Default: nvt.")
@click.option("--thermostat", type=click.Choice(THERMOSTATS), help="Of nvt. Default: langevin.")
@click.option("--temperature", type=float, help="In K. Default: 300.")
@click.option("--timestep", type=float, help=f"In fs. Default: 0.5; of --mts {STEPS_OF_MTS[0]:g}, in NVE 0.5.")
@click.option(
    "--steps",
    type=click.IntRange(0, int(STEPS.highest)),
    help=f"Default: {_DEFAULT_STEPS}, or what is left of a resumed run. With --mts, outer ones.",
)
@student_options
@click.option("--friction", type=float, help="Of langevin, in 1/ps. Default: 1.")
@click.option("--taut", type=float, help="Time constant of csvr and of the thermostat of npt, in fs. Default: 100.")
@click.option("--taup", type=float, help="Time constant of the barostat of npt, in fs. Default: 1000.")
@click.option("--pressure", type=float, help="Of npt, in bar. Default: 1.01325.")
@click.option("--seed", type=click.IntRange(min=0), help="Of the random numbers. Default: another one for each run.")
@click.option("--velocities", type=click.Choice(VELOCITIES), default="auto", help="Default: the file's, else drawn.")
@click.option(
    "--max-temperature", type=float, help="Give up above it (K). Default: 10 times the target, at least 3000."
)
@click.option(
    "--stop-uncertainty", type=float, help="Stop where the uncertainty of a force is above it (eV/A); exit code 3."
)
@click.option(
    "--uncertainty-threshold",
    type=float,
    help="Keep structures with more uncertainty (eV/A) in uncertain.xyz, at most one per --trajectory-interval.",
)
@click.option("--log-interval", type=int, help="In steps. Default: 10.")
@click.option("--trajectory-interval", type=int, help="In steps. Default: 100.")
@click.option("--checkpoint-interval", type=int, help="In steps. Default: 1000.")
@click.option(
    "--trajectory-format",
    type=click.Choice(FORMATS),
    default="xyz",
    help="Of the trajectory: extended XYZ (the default), ASE's, CHARMM's, GROMACS's, or HDF5.",
)
@click.option("--write-velocities", is_flag=True, help="Add velocities (as momenta) to the trajectory.")
@click.option("--write-forces", is_flag=True, help="Add forces to the trajectory.")
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Directory. Default: named after the run.")
@click.option("--overwrite", is_flag=True, help="Replace the run that the directory holds.")
@click.option("--resume", type=click.Path(path_type=Path), help="Directory of a run to go on with.")
@click.option("--plot/--no-plot", default=True, help="Plot the log at the end. Default: yes.")
@click.option(
    "--replicas", type=click.IntRange(1, 10_000), help="Run so many, with other seeds, side by side on the threads."
)
@config_option
@json_option
@click.pass_context
def command(
    ctx: click.Context, /, structure: str | None, example: str | None, resume: Path | None, **options: Any
) -> None:
    """Run molecular dynamics of STRUCTURE, a file that ASE reads or the example "water" (the default).

    Everything goes to one directory: log.csv, trajectory.xyz (for ASE, OVITO, VMD; --trajectory-format has others),
    log.png, final.xyz, run.json, config.yaml (for --config) and checkpoint.npz, from which --resume goes on exactly.
    Ctrl-C stops after the present step with everything saved.
    """
    structure, example = without_rival(ctx, "structure", "example")
    if structure and example:
        raise click.UsageError("give a STRUCTURE or --example, not both")
    structure = structure or example
    if resume:
        _refuse_options_of_start(given_options(ctx))
    if options["replicas"] or (resume and (resume / REPLICAS).is_file()):
        ctx.exit(_run_replicas(ctx, structure, resume))
    simulation = _resume(resume, structure, given_options(ctx)) if resume else _start(structure or "water", options)
    with simulation:
        steps = _steps(simulation, options["steps"], bool(resume))
        if not resume:
            team().on_leader(lambda: _write_config(ctx, simulation, structure or "water", steps))
        ctx.exit(_run(simulation, steps, options))


def _write_config(ctx: click.Context, simulation: Simulation, structure: str, steps: int) -> None:
    """Write all options as they are used, with which the run can be repeated."""
    replaced: dict[str, Any] = {name: getattr(simulation.settings, name) for name in _SETTINGS}
    replaced |= {"example": None, "steps": steps}
    replaced["structure"] = absolute_structure(structure)
    replaced["model"] = [absolute_unless_name(name) for name in names_of_models(ctx.params["model"])]
    student = simulation.student  # which may be the general one of the model
    replaced["student"] = None if student is None else absolute_unless_name(student.parameters["model"])
    heading = (
        f"Written by so3md {so3md.__version__}. This repeats the run:",
        f"so3md md --config {CONFIG} -o DIRECTORY",
    )
    text = config_text(effective_options(ctx, replaced), heading)
    replace_file(simulation.directory / CONFIG, text.encode(errors="backslashreplace"))


def _run_replicas(ctx: click.Context, structure: str | None, directory: Path | None) -> int:
    """Begin replicas, or go on with those in a directory; returns the exit code."""
    from so3md.cli import replicas

    if directory:
        return replicas.resume(ctx, directory, structure)
    read_input(structure or "water", ctx.params)  # what is wrong with it is said once, before they begin
    steps = ctx.params["steps"]
    return replicas.start(ctx, structure or "water", _settings(ctx.params), _DEFAULT_STEPS if steps is None else steps)


def _settings(options: dict[str, Any]) -> Settings:
    check_student_options(options)
    given = {key: options[key] for key in _SETTINGS if options[key] is not None}
    return Settings(**({"seed": team().from_leader(lambda: secrets.randbits(32))} | given))


def _refuse_options_of_start(given: Mapping[str, Any]) -> None:
    for key in _ONLY_AT_START:
        if key in given:
            raise click.UsageError(f"--{key.replace('_', '-')} says how a run begins; it does not go with --resume")


def _start(structure: str, options: dict[str, Any]) -> Simulation:
    atoms = read_input(structure, options)
    settings = _settings(options)
    atoms.calc = make_calculator(calculator_parameters(options))
    student = make_calculator(_student_parameters(options)) if options["mts"] else None
    name = f"{Path(structure).stem}-{settings.kind}"
    return Simulation.start(
        atoms,
        settings,
        team().from_leader(lambda: output_path(options["output"], name, options["overwrite"])),
        velocities=options["velocities"],
        write_velocities=options["write_velocities"],
        write_forces=options["write_forces"],
        trajectory_format=options["trajectory_format"],
        overwrite=options["overwrite"],
        notes={"command": shlex.join(["so3md", *sys.argv[1:]]), "structure": structure},
        student=student,
    )


def _student_parameters(options: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of the student's calculator among the options: its own model, evaluated as the other one is."""
    shared = ("precision", "threads", "device")
    return calculator_parameters({"model": options["student"], **{key: options[key] for key in shared}})


def _resume(directory: Path, structure: str | None, given: dict[str, Any]) -> Simulation:
    record = team().from_leader(lambda: read_record(directory))
    settings = recorded_settings(directory, record, {key: given[key] for key in _SETTINGS if key in given})
    cells = prod(given.get("supercell", (1, 1, 1)))  # given again to have the structure checked
    parameters = recorded_parameters(directory, record, replaced=given) | calculator_parameters(given)
    parameters |= {key: given[key] * cells for key in ("charge", "spin") if key in given}
    student = None
    if "student" in record:
        of_student: dict[str, Any] = {key: given[key] for key in ("threads", "device") if key in given}
        of_student |= calculator_parameters({"model": given["student"]}) if "student" in given else {}
        recorded = recorded_parameters(directory, record, replaced=of_student, of="student")
        student = make_calculator(recorded | of_student)
    elif not given.keys().isdisjoint(("mts", *OF_STUDENT)):
        raise click.UsageError("the run has a single time step, and goes on so: leave out the options of --mts")
    initial = None
    if structure is not None:
        initial = read_structure(
            structure, given.get("index", -1), given.get("supercell", (1, 1, 1)), format=given.get("format")
        )
    return Simulation.resume(
        directory, make_calculator(parameters), settings=settings, structure=initial, student=student
    )


def _steps(simulation: Simulation, steps: int | None, resumed: bool) -> int:
    if steps is not None:
        return steps
    if not resumed:
        return _DEFAULT_STEPS
    left = max(0, simulation.planned_steps - simulation.step)
    done = not left and team().from_leader(lambda: has_final(simulation.directory, simulation.step))
    if done:
        raise click.UsageError(f"the run has done all of its {simulation.planned_steps} steps; --steps N does N more")
    return left


def _run(simulation: Simulation, steps: int, options: dict[str, Any]) -> int:
    """Run, and tell the user about it; returns the exit code."""
    console = make_console()
    _say(console, _describe(simulation, steps, options["supercell"]))
    first, begin = simulation.step, time.perf_counter()
    with GracefulStop(team()) as stop, RunDisplay(simulation, steps, console) as display:
        simulation.run(steps, should_stop=lambda: stop.requested, on_step=display.update)
        stop.share()
    seconds = time.perf_counter() - begin
    if stop.requested:
        _say(console, f"Stopped after step {simulation.step}. Go on with: so3md md --resume {simulation.directory}")
    team().on_leader(lambda: _plot(simulation.directory, options["plot"]))
    if simulation.stop_reason:
        _say(
            console,
            f"Stopped after step {simulation.step}, everything is saved: {simulation.stop_reason}. Go on with: "
            f"so3md md --resume {simulation.directory} --stop-uncertainty HIGHER",
        )
    names = (LOG, simulation.trajectory.name, START, FINAL, CHECKPOINT, PLOT, UNCERTAIN)
    files = ", ".join(name for name in names if (simulation.directory / name).exists())
    _say(console, f"In {simulation.directory}: {files}")
    session = {"from_step": first, "to_step": simulation.step, "seconds": seconds, "stopped": stop.requested}
    team().on_leader(lambda: _write_summary(options["json_file"], simulation.directory, session))
    return _UNCERTAIN_EXIT if simulation.stop_reason else stop.exit_code


def _write_summary(path: Path | None, directory: Path, session: Mapping[str, Any]) -> None:
    if path is not None:
        write_summary(path, "md", {**summary_of(directory), "session": session})


def _plot(directory: Path, wanted: bool) -> None:
    if wanted and (drawing := plots()):
        with naming(directory / PLOT):
            drawing.plot_log(directory / LOG, directory / PLOT)


def _describe(simulation: Simulation, steps: int, supercell: Sequence[int]) -> str:
    atoms, settings = simulation.atoms, simulation.settings
    info = atoms.calc.engine_info()
    threads = "1 thread" if info["threads"] == 1 else f"{info['threads']} threads"
    if team().size > 1:
        threads = f"{team().size} processes with {threads} each"
    details = ", ".join(f"{key} {value}" for key, value in settings.physics().items() if not isinstance(value, str))
    student = simulation.student
    by_student = ""
    if student is not None:
        by_student = (
            f"Multiple time steps: {student.parameters['model']} every {settings.timestep:g} fs, "
            f"{models_text(atoms.calc.parameters['model'])} every {settings.step_length:g} fs, which is a step\n"
        )
    return (
        f"{describe_structure(atoms, supercell)}; {models_text(atoms.calc.parameters['model'])}, "
        f"{info['precision']} precision, {threads}, {info['instruction_set']}\n"
        f"{long_range_lines(atoms.calc, [atoms], evaluate=True)}"
        f"{settings.kind}: {details}\n{by_student}"
        f"Steps {simulation.step} to {simulation.step + steps}, into {simulation.directory}; Ctrl-C stops and saves"
    )


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True, markup=False)
