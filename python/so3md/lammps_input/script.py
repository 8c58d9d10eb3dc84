"""The input file: what LAMMPS is told to do, with comments for people who change it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from so3md.calculator_parameters import PRECISIONS
from so3md.devices import checked_device
from so3md.dynamics.settings import Settings
from so3md.dynamics.uncertain import NO_UNCERTAINTY, looks_at_uncertainty
from so3md.lammps_input.structure import LammpsStructure
from so3md.lammps_input.text import comment, word
from so3md.limits import Limits
from so3md.loading import names_of_models
from so3md.long_range import LARGEST_LENGTH, OF_MODEL, SMALLEST_LENGTH
from so3md.student import ForceLimits

#: Names of the two files.
INPUT, DATA = "in.lammps", "data.lammps"

ATOM_STYLES = ("atomic", "charge", "full")
COULOMB = ("cut", "ewald", "kspace")
CELLS = ("fixed", "isotropic", "anisotropic", "full")

#: LAMMPS's expression for whether -var restart was given.
_GOES_ON = "$(is_defined(variable,restart))"

#: How far atoms may move, in Angstrom, before neighbour lists are made anew; half of it for each of two atoms.
SKIN = 1.0
#: LAMMPS's random numbers take seeds up to nine times as large; the number of the first step is added.
LARGEST_SEED = 100_000_000
#: LAMMPS counts the steps of a run, and those between outputs, in 32 bits; a minimisation has ten evaluations for each.
_COUNT = Limits(0, 2**31 - 1, whole=True)
_MINIMIZATION_STEPS = Limits(0, 10**8, whole=True)
_THREADS = Limits(1, 1024, whole=True)
#: As the pair style takes them.
_LENGTH = Limits(SMALLEST_LENGTH, LARGEST_LENGTH, "A")
_FORCE, _PRESSURE = Limits(1e-12, 1e6, "eV/A"), Limits(-1e8, 1e8, "bar")
#: Of the pair style, by the compute that the input has for it.
_UNCERTAINTY = "c_terms[7]"
#: Steps between two rows of the log of a minimisation.
MINIMIZATION_LOG_INTERVAL = 10


class _Units(NamedTuple):
    """A unit system of LAMMPS: how much of its unit a unit of ours is, and the names that the comments use."""

    per_fs: float
    per_bar: float
    per_ev: float
    time: str
    pressure: str
    energy: str


#: With LAMMPS's own conversion factors, as for `units real` its pair styles use them.
UNITS = {
    "metal": _Units(1e-3, 1.0, 1.0, "ps", "bar", "eV"),
    "real": _Units(1.0, 1 / 1.01325, 23.060549, "fs", "atm", "kcal/mol"),
}


@dataclass(frozen=True)
class ForceField:
    """The arguments of `pair_style so3krates`. Lengths in Angstrom, charge in e, spin S; threads of each process.

    model: a name or path, or several: a committee. has_uncertainty: whether they say how uncertain forces are, which a
    committee does.
    Lengths that are OF_MODEL are left to the pair style, which takes those of the model; lr_cutoff None keeps all pairs
    of a structure without periodic directions. coulomb "ewald" takes the whole periodic sum of the electrostatics, with
    ewald_accuracy and ewald_method as of `So3kratesCalculator`; so does "kspace", by LAMMPS's PPPM, with gewald
    (1/Angstrom, one over the length over which the model smears charges) and the relative accuracy of the forces that
    PPPM aims at.
    electric_field: in V/Angstrom, in the frame of the original structure. student: the model of the inner steps, where
    the settings have an outer_timestep; student_state: which of charge and spin it knows of; student_limits: how far
    its forces and the model's may be apart.
    """

    model: str | Sequence[str]
    charge: float = 0.0
    spin: float = 0.0
    lr_cutoff: float | str | None = OF_MODEL
    lr_damping: float | str = OF_MODEL
    precision: str = "mixed"
    threads: int | None = None
    device: str = "cpu"
    coulomb: str = "cut"
    gewald: float | None = None
    accuracy: float = 1e-5
    ewald_accuracy: float | None = None
    ewald_method: str = "auto"
    dispersion_tail: bool = False
    electric_field: Sequence[float] | None = None
    student: str | None = None
    student_state: Sequence[str] = ()
    student_limits: ForceLimits = field(default_factory=ForceLimits)
    has_uncertainty: bool = False

    @property
    def style(self) -> str:
        """What stands before the keywords."""
        return f"so3krates {' '.join(word(name) for name in names_of_models(self.model))}"


@dataclass(frozen=True)
class Minimization:
    """Relaxation until no force is above fmax (eV/Angstrom); cell: what of it relaxes too, at a pressure (bar)."""

    fmax: float = 0.01
    pressure: float = 0.0
    cell: str = "fixed"

    kind = "minimize"

    def __post_init__(self) -> None:
        _FORCE.checked("fmax", self.fmax)
        _PRESSURE.checked("pressure", self.pressure)
        if self.pressure and self.cell == "fixed":
            raise ValueError("a pressure needs a cell that relaxes: choose an isotropic, anisotropic or full one")


def script(
    structure: LammpsStructure,
    force_field: ForceField,
    task: Settings | Minimization,
    *,
    steps: int,
    units: str = "metal",
    atom_style: str = "charge",
    cell: str = "isotropic",
    heading: Sequence[str] = (),
) -> str:
    """The text of the input file.

    task: the settings of molecular dynamics, with temperatures in K, times in fs, pressure in bar (`cell` says what
    constant pressure changes), or a minimisation; steps: its length. heading: lines for the comment at its top.
    Raises ValueError for what does not go together.

    >>> from so3md.lammps_input import ForceField, LammpsStructure, Minimization, script
    >>> from so3md.structures import read_structure
    >>> water = LammpsStructure.of(read_structure("water"))
    >>> text = script(water, ForceField("so3lr"), Minimization(fmax=0.01), steps=100)
    >>> [line.split()[:2] for line in text.splitlines() if line.startswith("pair_")]
    [['pair_style', 'so3krates'], ['pair_coeff', '*']]
    """
    _check(structure, force_field, task, units, atom_style, cell)
    _check_numbers(force_field, task, steps)
    dynamics = isinstance(task, Settings)
    parts = [
        _header(heading, dynamics),
        _variables(task, units, steps),
        _structure(structure, task, units, atom_style, cell),
        _force_field(structure, force_field, task, units),
        _dynamics(structure, force_field, task, units, cell) if isinstance(task, Settings) else _minimization(task),
        _output(structure, force_field, task, units, atom_style),
        _run(task, units),
    ]
    return "\n".join("\n".join(lines) + "\n" for lines in parts)


def _changing_cell(task: Settings | Minimization, cell: str) -> str:
    """What of the cell changes: one of CELLS."""
    if isinstance(task, Minimization):
        return task.cell
    return cell if task.ensemble == "npt" else "fixed"


# --- checks ---------------------------------------------------------------------------------------------------------


def _check_periodic(pbc: np.ndarray, what: str) -> None:
    if not pbc.all():
        raise ValueError(f"{what}: the structure must be periodic in all directions, found pbc = {pbc.tolist()}")


def check_long_range(force_field: ForceField, pbc: np.ndarray) -> None:
    """Raise ValueError for what cannot be had: sums over all images of molecules and slabs, or without charges."""
    if force_field.dispersion_tail:
        _check_periodic(pbc, "dispersion_tail")
    if force_field.coulomb == "cut":
        return
    _check_periodic(pbc, f"coulomb {force_field.coulomb}")
    if force_field.gewald is None:
        raise ValueError(f"coulomb {force_field.coulomb}: this model has no electrostatics; leave it out")


def _check(
    structure: LammpsStructure,
    force_field: ForceField,
    task: Settings | Minimization,
    units: str,
    atom_style: str,
    cell: str,
) -> None:
    for name, value, known in (
        ("units", units, tuple(UNITS)),
        ("atom_style", atom_style, ATOM_STYLES),
        ("coulomb", force_field.coulomb, COULOMB),
        ("precision", force_field.precision, PRECISIONS),
        ("cell", cell, CELLS),
    ):
        if value not in known:
            raise ValueError(f"{name} {value!r}: expected one of {', '.join(known)}")
    checked_device(force_field.device)
    pbc = structure.atoms.pbc
    if _changing_cell(task, cell) != "fixed":
        _check_periodic(pbc, "a cell that changes")
    check_long_range(force_field, pbc)
    _check_student(force_field, task)
    _check_committee(force_field, task)
    if isinstance(task, Settings):
        _check_dynamics(task, cell)
    if force_field.coulomb == "kspace" and atom_style == "atomic":
        raise ValueError("coulomb kspace: the atoms need charges, which atom style atomic has not; use charge or full")


def _check_student(force_field: ForceField, task: Settings | Minimization) -> None:
    outer = task.outer_timestep if isinstance(task, Settings) else None
    if (force_field.student is None) != (outer is None):
        raise ValueError("multiple time steps need both a student and an outer time step (outer_timestep)")
    if force_field.student is not None and force_field.coulomb == "kspace":
        raise ValueError("coulomb kspace: LAMMPS has it at one time step only; take cut or ewald with a student")


def _check_committee(force_field: ForceField, task: Settings | Minimization) -> None:
    if len(names_of_models(force_field.model)) > 1:
        if force_field.coulomb == "kspace":
            raise ValueError("coulomb kspace is for a single model; take cut or ewald for a committee")
        if force_field.device != "cpu":
            raise ValueError("in LAMMPS, a committee runs on processors only: take device cpu, or one model")
    if isinstance(task, Settings) and looks_at_uncertainty(task) and not force_field.has_uncertainty:
        raise ValueError(NO_UNCERTAINTY)


def _check_numbers(force_field: ForceField, task: Settings | Minimization, steps: int) -> None:
    for name, length in (("lr_cutoff", force_field.lr_cutoff), ("lr_damping", force_field.lr_damping)):
        if length is not None and length != OF_MODEL:
            _LENGTH.checked(name, length)
    if force_field.threads is not None:
        _THREADS.checked("threads", force_field.threads)
    if isinstance(task, Minimization):
        _MINIMIZATION_STEPS.checked("steps", steps)
        return
    _COUNT.checked("steps", steps)
    for name in ("log_interval", "trajectory_interval", "checkpoint_interval"):
        _COUNT.checked(name, getattr(task, name))


def _check_dynamics(task: Settings, cell: str) -> None:
    if task.ensemble == "npt" and cell == "fixed":
        raise ValueError("npt: the cell cannot be fixed; choose isotropic, anisotropic or full")
    if task.friction == 0:
        raise ValueError("friction 0 is no thermostat; use the ensemble nve")
    if not 0 < task.seed <= LARGEST_SEED:
        raise ValueError(f"seed {task.seed}: expected an integer from 1 to {LARGEST_SEED}")


# --- parts of the file ----------------------------------------------------------------------------------------------


def _header(heading: Sequence[str], dynamics: bool) -> list[str]:
    lines = [comment(line) for line in heading]
    lines += [
        "#",
        "# Run it in this directory, on one core or on several:",
        f"#   lmp -in {INPUT}",
        f"#   mpiexec -n 4 lmp -in {INPUT}",
    ]
    if dynamics:
        lines += [
            "# Change what is set in the first lines: add for instance -var steps 100000 -var temperature 350",
            "# Go on from a restart file, the newer of run.restart.1 and run.restart.2, under another name:",
            f"#   lmp -in {INPUT} -var restart run.restart.1 -var name run2",
            "# If the run was killed while it wrote one of them, that one is cut short and the other is whole: LAMMPS",
            '# stops at the short one with "Incomplete or corrupted LAMMPS restart file", or "Invalid ...".',
        ]
    return lines


def _variable(name: str, value: object, comment: str) -> str:
    return f"{f'variable {name} index {value}':<36}# {comment}"


def _variables(task: Settings | Minimization, units: str, steps: int) -> list[str]:
    unit = UNITS[units]
    lines = [_variable("steps", steps, "how many")]
    if isinstance(task, Settings):
        lines += [
            _variable("timestep", _number(task.step_length * unit.per_fs), unit.time),
            _variable("temperature", _number(task.temperature), "K"),
        ]
    pressure = task.pressure if isinstance(task, Settings) or task.cell != "fixed" else None
    if pressure is not None:
        lines.append(_variable("pressure", _number(pressure * unit.per_bar), unit.pressure))
    if isinstance(task, Settings):
        lines.append(_variable("seed", task.seed, "of the random numbers"))
    lines.append(_variable("name", "run", "what the names of all written files begin with"))
    return [*lines, "", f"{'log ${name}.log':<36}# log.lammps has only the lines above"]


def _structure(
    structure: LammpsStructure, task: Settings | Minimization, units: str, atom_style: str, cell: str
) -> list[str]:
    lines = [
        "# --- structure",
        f"units           {units}",
        f"atom_style      {atom_style}",
    ]
    if not structure.atoms.pbc.all():
        lines.append("# m: not periodic; the box of the data file encloses the atoms, and grows if they leave it")
    lines.append(f"boundary        {structure.boundary}")
    if isinstance(task, Settings):
        lines.append(
            f"""if "$(is_defined(variable,restart))" then "read_restart ${{restart}}" else "read_data {DATA}\""""
        )
    else:
        lines.append(f"read_data       {DATA}")
    if _changing_cell(task, cell) == "full" and not structure.is_skewed:
        lines.append("change_box      all triclinic          # so that the shape of the cell can change")
    return lines


def _force_field(
    structure: LammpsStructure, force_field: ForceField, task: Settings | Minimization, units: str
) -> list[str]:
    options: dict[str, object] = {
        "charge": _number(force_field.charge),
        "spin": _number(force_field.spin),
        **_lengths(force_field),
        "coulomb": force_field.coulomb,
        "precision": force_field.precision,
    }
    if force_field.ewald_accuracy is not None and force_field.coulomb == "ewald":
        options["ewald_accuracy"] = _number(force_field.ewald_accuracy)
    if force_field.ewald_method != "auto" and force_field.coulomb == "ewald":
        options["ewald_method"] = force_field.ewald_method
    if force_field.dispersion_tail:
        options["dispersion_tail"] = "yes"
    if force_field.electric_field is not None:
        field = np.round(np.asarray(force_field.electric_field) @ structure.rotation, 12) + 0.0  # no -0
        options["electric_field"] = " ".join(_number(component) for component in field)
    if force_field.threads is not None:
        options["threads"] = force_field.threads
    if force_field.device != "cpu":
        options["device"] = force_field.device
    if isinstance(task, Settings) and task.stop_uncertainty is not None:
        options["threshold"] = _number(task.stop_uncertainty * UNITS[units].per_ev)
    keywords = " ".join(f"{key} {value}" for key, value in options.items())
    style, elements = f"{force_field.style} {keywords}", " ".join(structure.symbols)
    lines = [
        "# --- force field",
        f"pair_style      {style}",
        f"pair_coeff      * * {elements}          # the elements of the atom types, in turn",
    ]
    if force_field.student is not None:
        shared = (*force_field.student_state, "precision", "threads", "device")
        of_student = {key: value for key, value in options.items() if key in shared}
        keywords = " ".join(f"{key} {value}" for key, value in of_student.items())
        student = f"so3krates {word(force_field.student)} {keywords}"
        lines[1:] = [
            "# A student, the model, and minus the student",
            f"pair_style      hybrid/scaled 1.0 {student} 1.0 {style} -1.0 {student}",
            *(f"pair_coeff      * * so3krates {number} {elements}" for number in (1, 2, 3)),
        ]
    if force_field.coulomb == "kspace" and force_field.gewald is not None:
        lines += [
            f"kspace_style    pppm {_number(force_field.accuracy)}",
            f"kspace_modify   gewald {_number(force_field.gewald)}         # one over the length that smears charges",
        ]
    return [
        *lines,
        f"neighbor        {SKIN} bin",
        "neigh_modify    every 1 delay 0 check yes",
    ]


def _lengths(force_field: ForceField) -> dict[str, str]:
    """Keywords of the pair style for the long-range lengths that are given."""
    given = {"lr_cutoff": force_field.lr_cutoff, "lr_damping": force_field.lr_damping}
    return {
        key: "none" if length is None else _number(length)
        for key, length in given.items()
        if not isinstance(length, str)
    }


def _dynamics(structure: LammpsStructure, force_field: ForceField, task: Settings, units: str, cell: str) -> list[str]:
    lines = ["# --- dynamics", "timestep        ${timestep}"]
    if task.outer_timestep is not None:
        lines += [
            "# The student at the inner level, the model minus the student at the outer one, whose step it is",
            f"run_style       respa 2 {task.substeps} hybrid 1 2 2",
            *_student_guard(force_field.student_limits, units),
        ]
    if not structure.has_velocities and len(structure.atoms) > 1:  # of one atom, LAMMPS would take off all of it
        create = "velocity all create ${temperature} ${seed} mom yes rot no dist gaussian"
        if task.temperature == 0:
            create = "velocity all set 0 0 0"
        lines.append(f"""if "!{_GOES_ON}" then "{create}\"""")
    return lines + _ensemble(task, units, cell)


def _student_guard(limits: ForceLimits, units: str) -> list[str]:
    """Stop where forces of student and model are apart: those of the outer level, before any fix has added to them."""
    per_ev = UNITS[units].per_ev
    lines = [
        f"# Stop where the student is wrong: {limits.reason}",
        "fix             apart all store/force",
        'variable        apart atom "sqrt(f_apart[1]^2+f_apart[2]^2+f_apart[3]^2)"',
        "compute         most_apart all reduce max v_apart",
        "variable        most_apart equal c_most_apart",
        f"fix             student_fails all halt 1 v_most_apart > {_number(limits.largest * per_ev)} error hard",
    ]
    if math.isfinite(limits.rms):
        lines += [
            "compute         rms_apart all reduce avesq v_apart",
            'variable        rms_apart equal "sqrt(c_rms_apart)"',
            f"fix             student_fails_rms all halt 1 v_rms_apart > {_number(limits.rms * per_ev)} error hard",
        ]
    return lines


def _ensemble(task: Settings, units: str, cell: str) -> list[str]:
    unit = UNITS[units]
    temperatures = "${temperature} ${temperature}"  # at the beginning and at the end
    times = {key: _number(getattr(task, key) * unit.per_fs) for key in ("taut", "taup") if getattr(task, key)}
    if task.kind == "nvt-langevin" and task.friction:
        damping = _number(1e3 / task.friction * unit.per_fs)
        return [
            "fix             integrate all nve",
            "# Other random numbers for each part of a run that is continued",
            f"fix             thermostat all langevin {temperatures} {damping} $(v_seed+step) tally yes",
            "# Langevin dynamics moves the centre of mass too: its three degrees of freedom count",
            "compute_modify  thermo_temp extra/dof 0",
        ]
    if task.kind == "nvt-csvr":
        return [
            "fix             integrate all nve",
            f"fix             thermostat all temp/csvr {temperatures} {times['taut']} $(v_seed+step)",
        ]
    if task.ensemble == "npt":
        coupling = {"isotropic": "iso", "anisotropic": "aniso", "full": "tri"}[cell]
        return [
            f"fix             integrate all npt temp {temperatures} {times['taut']} "
            f"{coupling} ${{pressure}} ${{pressure}} {times['taup']}"
        ]
    return ["fix             integrate all nve"]


def _minimization(task: Minimization) -> list[str]:
    lines = ["# --- minimisation", "min_style       cg", "min_modify      norm max dmax 0.1"]
    if task.cell != "fixed":
        coupling = {"isotropic": "iso", "anisotropic": "aniso", "full": "tri"}[task.cell]
        lines.append(f"fix             relax_cell all box/relax {coupling} ${{pressure}} vmax 0.001")
    return lines


def _output(
    structure: LammpsStructure, force_field: ForceField, task: Settings | Minimization, units: str, atom_style: str
) -> list[str]:
    columns = ["step", "time", "temp", "pe", "ke", "etotal", "econserve"]
    if isinstance(task, Minimization):
        columns = ["step", "pe", "fmax"]
    if structure.atoms.pbc.all():
        columns += ["press", "vol", "density"]
    log, trajectory, checkpoint = (
        (task.log_interval, task.trajectory_interval, task.checkpoint_interval)
        if isinstance(task, Settings)
        else (MINIMIZATION_LOG_INTERVAL, MINIMIZATION_LOG_INTERVAL, 0)
    )
    if force_field.has_uncertainty:
        columns.append(_UNCERTAINTY)
    charges = "" if atom_style == "atomic" else " q"
    lines = [
        "# --- output",
        *_uncertainty(structure, force_field, task, units, charges),
        f"thermo          {log}",
        f"thermo_style    custom {' '.join(columns)}",
        "thermo_modify   flush yes",
        "# For OVITO, VMD and ASE; positions are not wrapped into the cell",
        f"dump            trajectory all custom {trajectory} ${{name}}.lammpstrj id type element xu yu zu{charges}",
        f"dump_modify     trajectory element {' '.join(structure.symbols)} sort id format float %.10g",
    ]
    if isinstance(task, Settings):
        lines += [
            "# Two files in turn, so that one is whole whatever happens",
            f"restart         {checkpoint} ${{name}}.restart.1 ${{name}}.restart.2",
            "# Give up if something is badly wrong",
            "variable        heat equal temp",
            f"fix             give_up all halt {log} v_heat > {_number(task.temperature_limit)} error hard",
        ]
    return lines


def _uncertainty(
    structure: LammpsStructure, force_field: ForceField, task: Settings | Minimization, units: str, charges: str
) -> list[str]:
    """The largest uncertainty for the log, and structures above the threshold."""
    if not force_field.has_uncertainty:
        return []
    number = "" if force_field.student is None else " 2"
    lines = [
        "# The largest uncertainty of the force on an atom, in the unit of forces",
        f"compute         terms all pair so3krates{number}",
    ]
    if not isinstance(task, Settings) or task.uncertainty_threshold is None:
        return lines
    threshold = _number(task.uncertainty_threshold * UNITS[units].per_ev)
    interval = task.trajectory_interval
    return [
        *lines,
        "# Structures with more than that, and the uncertainties of their atoms",
        f'variable        certain equal "{_UNCERTAINTY} <= {threshold}"',
        f"compute         unsure all so3krates/atom uncertainty{number}",
        f"dump            unsure all custom {interval} ${{name}}.uncertain.lammpstrj "
        f"id type element xu yu zu{charges} c_unsure",
        f"dump_modify     unsure element {' '.join(structure.symbols)} sort id format float %.10g skip v_certain",
    ]


def _run(task: Settings | Minimization, units: str) -> list[str]:
    if isinstance(task, Settings):
        return ["run             ${steps}", "write_restart   ${name}.restart", "write_data      ${name}.data nocoeff"]
    unit = UNITS[units]
    return [
        f"# Until no force is above {_number(task.fmax)} eV/Angstrom",
        f"minimize        0.0 {_number(task.fmax * unit.per_ev)} ${{steps}} $(10*v_steps)",
        "write_data      ${name}.data nocoeff",
    ]


def _number(value: float) -> str:
    return f"{value:.10g}"
