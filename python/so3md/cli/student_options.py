"""The options of multiple time steps and of hydrogen masses, which `md` and `lammps` have in common."""

from __future__ import annotations

from typing import Any

import click

from so3md.cli.common import adding

#: With --mts (fs): docs/multiple_time_steps.md says what it was chosen by.
OUTER_TIMESTEP = 2.0
#: Options that mean something with --mts only.
OF_STUDENT = ("student", "outer_timestep", "max_difference")

student_options = adding(
    click.option(
        "--hmr",
        "--hydrogen-mass",
        "hydrogen_mass",
        type=float,
        help="Mass of hydrogens (u), such as 3, taken from the atoms that they are bound to.",
    ),
    click.option(
        "--mts", is_flag=True, help="Multiple time steps: --student at --timestep, the model at --outer-timestep."
    ),
    click.option("--outer-timestep", type=float, help=f"Of --mts, in fs. Default: {OUTER_TIMESTEP:g}."),
    click.option("--student", help="Of --mts: a cheap model like that of --model; so3md distill makes one."),
    click.option(
        "--max-difference",
        type=float,
        help="Of --mts: give up where student and model differ by more on one atom (eV/A). "
        "Default: by the student's file.",
    ),
)


def check_student_options(options: dict[str, Any]) -> None:
    """Fill in the outer time step of --mts. Raises UsageError for options that need it, or that it needs."""
    if not options["mts"]:
        given = [key for key in OF_STUDENT if options.get(key) is not None]
        if given:
            raise click.UsageError(f"--{given[0].replace('_', '-')} is for multiple time steps: give --mts as well")
        return
    if options["student"] is None:
        raise click.UsageError("--mts needs --student FILE, a model that so3md distill makes of your structure")
    if options["outer_timestep"] is None:
        options["outer_timestep"] = OUTER_TIMESTEP
