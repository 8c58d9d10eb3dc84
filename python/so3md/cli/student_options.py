"""The options of multiple time steps and of hydrogen masses, which `md` and `lammps` have in common."""

from __future__ import annotations

from typing import Any

import click

from so3md.cli.common import adding

#: Inner and outer time step (fs) of --mts if neither is given, with a thermostat. docs/multiple_time_steps.md says why.
STEPS_OF_MTS = (0.55, 2.75)
#: The same without one, where nothing takes away what a resonance brings in.
STEPS_OF_NVE = (0.5, 2.0)
#: The same with hydrogens of at least so many u.
HEAVY_HYDROGEN, STEPS_OF_HEAVY = 3.0, (1.0, 3.0)
#: Students that are shipped, for the models that they are like.
GENERAL_STUDENTS = {"so3lr": "so3lr-fast"}
#: Options that mean something with --mts only.
OF_STUDENT = ("student", "outer_timestep", "max_difference")

student_options = adding(
    click.option(
        "--hmr",
        "--hydrogen-mass",
        "hydrogen_mass",
        type=float,
        help="Mass of hydrogens (u), such as 3, taken from the atoms that they are bound to. With --mts and at least "
        f"{HEAVY_HYDROGEN:g} u, time steps are {STEPS_OF_HEAVY[0]:g} and {STEPS_OF_HEAVY[1]:g} fs if none is given.",
    ),
    click.option(
        "--mts", is_flag=True, help="Multiple time steps: --student at --timestep, the model at --outer-timestep."
    ),
    click.option(
        "--outer-timestep",
        type=float,
        help=f"Of --mts, in fs. Default: {STEPS_OF_MTS[1]:g}, in NVE {STEPS_OF_NVE[1]:g}.",
    ),
    click.option(
        "--student",
        help="Of --mts: a cheap model like that of --model, as so3md distill makes one. "
        + "".join(f"Default for {teacher}: {student}." for teacher, student in GENERAL_STUDENTS.items()),
    ),
    click.option(
        "--max-difference",
        type=float,
        help="Of --mts: give up where student and model differ by more on one atom (eV/A). "
        "Default: by the student's file.",
    ),
)


def check_student_options(options: dict[str, Any]) -> None:
    """Fill in student and outer time step of --mts. Raises UsageError for options that need it, or that it needs."""
    if not options["mts"]:
        given = [key for key in OF_STUDENT if options.get(key) is not None]
        if given:
            raise click.UsageError(f"--{given[0].replace('_', '-')} is for multiple time steps: give --mts as well")
        return
    if options["student"] is None:
        options["student"] = _general_student(options["model"])
    if options["timestep"] is None and options["outer_timestep"] is None:
        options["timestep"], options["outer_timestep"] = _default_steps(options)
    if options["outer_timestep"] is None:
        options["outer_timestep"] = default_outer_timestep(options["timestep"], _default_steps(options)[1])
    if options["timestep"] is None:
        options["timestep"] = default_timestep(options["outer_timestep"], _are_heavy(options["hydrogen_mass"]))


def default_timestep(outer: float, heavy: bool = False) -> float:
    """In fs, for an outer step: its shortest whole part that is not shorter than a single step, of heavy hydrogens the
    inner one of STEPS_OF_HEAVY. The check of settings speaks of what has no such part.
    """
    single = STEPS_OF_HEAVY[0] if heavy else STEPS_OF_NVE[0]
    return outer / max(1, int(outer / single * (1 + 1e-9))) if outer > 0 else single


def _default_steps(options: dict[str, Any]) -> tuple[float, float]:
    if _are_heavy(options["hydrogen_mass"]):
        return STEPS_OF_HEAVY
    return STEPS_OF_NVE if options["ensemble"] == "nve" else STEPS_OF_MTS


def default_outer_timestep(timestep: float, longest: float = STEPS_OF_MTS[1]) -> float:
    """In fs, for an inner step: as many as fit into the longest outer one.

    The latter itself if two do not fit, for which there is no sense in a student: the check of settings says so.
    """
    fitting = longest * (1 + 1e-9) // timestep if timestep > 0 else 0
    return fitting * timestep if fitting >= 2 else longest


def _are_heavy(hydrogen_mass: float | None) -> bool:
    return hydrogen_mass is not None and hydrogen_mass >= HEAVY_HYDROGEN


def _general_student(teacher: str | tuple[str, ...]) -> str:
    if isinstance(teacher, tuple):
        raise click.UsageError("--mts of several models needs --student FILE, a model that so3md distill makes")
    if teacher not in GENERAL_STUDENTS:
        known = " and ".join(GENERAL_STUDENTS)
        raise click.UsageError(
            f"--mts needs --student FILE, a model that so3md distill --teacher {teacher} makes of your structure: "
            f"only {known} has a student that is shipped"
        )
    return GENERAL_STUDENTS[teacher]
