"""What the commands share: how errors and warnings look, and the options that choose a model."""

from __future__ import annotations

import math
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import click

from so3md.cli.completed_names import model_names
from so3md.cli.option_files import absolute_unless_name
from so3md.devices import checked_device
from so3md.electric_field import LARGEST_FIELD
from so3md.limits import Limits
from so3md.loading import names_of_models
from so3md.long_range import (
    COULOMB,
    EWALD_ACCURACIES,
    EWALD_METHODS,
    LARGEST_LENGTH,
    OF_MODEL,
    SMALLEST_LENGTH,
    tail_text,
)
from so3md.mpi_exit import launched_ranks
from so3md.parallel import ALONE, MPITeam, Team, launched_team, stop_all_on_errors
from so3md.printable import printable

if TYPE_CHECKING:
    from ase import Atoms
    from rich.console import Console

    from so3md.calculator import So3kratesCalculator


class Command(click.Command):
    """A command whose errors and warnings are one line each. Exit codes: 1 for errors, 2 for wrong usage."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.append(click.Option(["--debug"], is_flag=True, help="Show where in the program an error came up."))

    def invoke(self, ctx: click.Context) -> Any:
        debug = ctx.params.pop("debug")
        refuse_control_characters(ctx.params)
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            try:
                return super().invoke(ctx)
            except (click.ClickException, click.exceptions.Exit, click.Abort):
                raise
            except Exception as error:
                if debug:
                    raise
                raise click.ClickException(printable(_one_line(error))) from error


class ParallelCommand(Command):
    """A command that all processes run together that mpiexec has started, see `team`.

    Only the first one prints, and if one fails, all end.
    """

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Meet the other processes, before anything is said."""
        rank, _ = launched_ranks()
        if rank > 0:
            sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (until the process ends)
        try:
            members = launched_team()
        except (ImportError, RuntimeError) as error:
            raise click.ClickException(str(error)) from error
        stop_all_on_errors(members)
        context = super().make_context(*args, **kwargs)
        context.obj = members
        return context

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. An error ends all processes: in step if all have it, else at once."""
        members = team()
        try:
            return super().invoke(ctx)
        except click.exceptions.Exit:
            raise
        except click.ClickException as error:
            if isinstance(members, MPITeam) and not members.all_fail():
                members.abort(f"Error: {error.format_message()}", error.exit_code)
            raise
        except KeyboardInterrupt:
            if isinstance(members, MPITeam) and not members.all_fail():
                members.abort("interrupted", 130)
            raise


def team() -> Team:
    """The processes that run the present command together."""
    return click.get_current_context().obj or ALONE


def make_console(stderr: bool = False) -> Console:
    """Where a command prints. Plain lines if processes work together: Open MPI pretends a terminal, even for a file."""
    from rich.console import Console

    # Names of files, models and elements are text, and no markup or emoji, whatever brackets and colons are in them.
    return Console(force_terminal=False if team().size > 1 else None, stderr=stderr, markup=False, emoji=False)


#: Parameters that are free text, which goes into a model file as it is.
_FREE_TEXT = {"description", "citation", "licence"}


def refuse_control_characters(parameters: dict[str, Any]) -> None:
    """Raise UsageError for a name or a value with a line break, an escape sequence or another control character.

    Names go into generated inputs, logs and the terminal, where such a character would be an instruction.
    """
    for key, value in parameters.items():
        for item in value if isinstance(value, tuple) else (value,):
            text = os.fspath(item) if isinstance(item, str | os.PathLike) else ""
            if key not in _FREE_TEXT and printable(text) != text:
                raise click.UsageError(
                    f"{key.replace('_', '-')} {text!r}: names with control characters are not accepted; rename it"
                )


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, MemoryError):
        return f"not enough memory ({error or 'for a structure of this size'})"
    if isinstance(error, ValueError | OSError | ImportError | RuntimeError | OverflowError):
        return " ".join(str(error).split())
    return f"this should not have happened ({type(error).__name__}: {error}); --debug shows where it did"


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    click.echo(f"Warning: {printable(' '.join(str(message).split()))}", err=True)


class Number(click.ParamType):
    """A number within bounds; neither nan nor infinite, nor too small for its reciprocal to be a number."""

    name = "FLOAT"

    def __init__(self, low: float, high: float, unit: str = "") -> None:
        self.limits = Limits(low, high, unit)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | str:
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = math.nan
        if not self.limits.hold(number):
            self.fail(f"{value!r}: expected {self.limits.text()}", param, ctx)
        return number


class LengthOrNone(Number):
    """A length in Angstrom, or "none"."""

    name = "LENGTH|none"

    def __init__(self) -> None:
        super().__init__(SMALLEST_LENGTH, LARGEST_LENGTH, unit='A, or "none"')

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | str:
        return value if value == "none" else super().convert(value, param, ctx)


class DeviceName(click.ParamType):
    """What evaluates the model."""

    name = "cpu|cuda|cuda:N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return checked_device(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


THREADS = click.IntRange(1, 1024)
_CHARGE_OPTIONS = (
    click.option(
        "--charge",
        type=Number(-1e6, 1e6, unit="e"),
        help="Total charge in e of the structure as given; --supercell multiplies it. "
        "Default: that of the file, else 0.",
    ),
    click.option(
        "--spin",
        type=Number(0, 1e6),
        help="Total spin S (0, 0.5, 1, ...) of the structure as given; --supercell multiplies it. "
        "Default: that of the file, else 0.",
    ),
)
_FORMAT_OPTION = click.option("--format", metavar="NAME", help="ASE's name of the file format, if not guessed.")
_SUPERCELL_OPTION = click.option(
    "--supercell", type=click.IntRange(1, 10_000), nargs=3, default=(1, 1, 1), help="Copies along cell vectors."
)
_STRUCTURE_OPTIONS = (
    click.option("--index", type=int, default=-1, help="Frame of a file that holds several. Default: the last."),
    _FORMAT_OPTION,
    _SUPERCELL_OPTION,
)
_STRUCTURES_OPTIONS = (
    click.option(
        "--index",
        default="-1",
        help="Frame of a file that holds several, or a slice as ASE writes them, such as ::10. Default: the last.",
    ),
    _FORMAT_OPTION,
    _SUPERCELL_OPTION,
)
_MODEL_OPTION: dict[str, Any] = {"show_default": True, "shell_complete": model_names, "multiple": True}


def _one(_: click.Context, __: click.Parameter, models: tuple[str, ...]) -> str | None:
    if len(models) > 1:
        raise click.UsageError(
            f"--model: expected one, found {len(models)}; committees are for so3md md, relax, eval and lammps"
        )
    return models[0] if models else None


def one_model_option(text: str, default: tuple[str, ...] = ("so3lr",)) -> Callable[..., Any]:
    """The option --model of commands that take one model."""
    return click.option("--model", **_MODEL_OPTION, default=default, callback=_one, help=text)


def _one_or_several(_: click.Context, __: click.Parameter, models: tuple[str, ...]) -> str | tuple[str, ...]:
    return models[0] if len(models) == 1 else models


_SEVERAL_MODELS_OPTION = click.option(
    "--model",
    **_MODEL_OPTION,
    default=("so3lr",),
    callback=_one_or_several,
    help="Name of a shipped model, or a model file; several (--model A --model B): a committee.",
)
_OPTIONS_OF_MODELS = (
    *_CHARGE_OPTIONS,
    click.option("--precision", type=click.Choice(["mixed", "double"]), default="mixed", show_default=True),
    click.option("--threads", type=THREADS, help="Threads of each process. Default: OMP_NUM_THREADS, or all cores."),
    click.option(
        "--lr-cutoff",
        type=LengthOrNone(),
        help='Cutoff of electrostatics and dispersion in Angstrom; "none" for molecules in vacuum. '
        "Default: that of the model, for periodic systems or for molecules.",
    ),
    click.option(
        "--lr-damping",
        type=Number(SMALLEST_LENGTH, LARGEST_LENGTH, unit="A"),
        help="Width in Angstrom over which dispersion is switched off. Default: that of the model.",
    ),
    click.option(
        "--dispersion-tail",
        is_flag=True,
        help="Count dispersion beyond --lr-cutoff too, as of evenly spread atoms: for periodic liquids and crystals.",
    ),
    click.option(
        "--electric-field",
        type=Number(-LARGEST_FIELD, LARGEST_FIELD, unit="V/A"),
        nargs=3,
        metavar="X Y Z",
        help="A uniform field in V/Angstrom that acts on the charges of the model.",
    ),
    click.option(
        "--device",
        type=DeviceName(),
        default="cpu",
        show_default=True,
        help="cuda for an NVIDIA GPU, cuda:N for one by its number.",
    ),
)
_EWALD_OPTIONS = (
    click.option(
        "--ewald-accuracy",
        type=Number(*EWALD_ACCURACIES, unit="eV/A"),
        help="Error of forces in eV/A that --coulomb ewald may have. Default: less than that of the precision.",
    ),
    click.option(
        "--ewald-method",
        type=click.Choice(EWALD_METHODS),
        default="auto",
        show_default=True,
        help="How --coulomb ewald adds up images: over waves, or on a particle mesh, which suits large systems.",
    ),
)
_COULOMB_OPTIONS = (
    click.option(
        "--coulomb",
        type=click.Choice(COULOMB),
        default="cutoff",
        show_default=True,
        help="Electrostatics: up to --lr-cutoff, or of all periodic images without a cutoff.",
    ),
    *_EWALD_OPTIONS,
)
MODEL_PARAMETERS = (
    "model",
    "charge",
    "spin",
    "precision",
    "threads",
    "lr_cutoff",
    "lr_damping",
    "coulomb",
    "ewald_accuracy",
    "ewald_method",
    "dispersion_tail",
    "electric_field",
    "device",
)


def adding(*options: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator that adds options to a command, in this order."""

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return add


#: Add the options that choose a model and how it is evaluated, with charge and spin.
model_options = adding(_SEVERAL_MODELS_OPTION, *_OPTIONS_OF_MODELS, *_COULOMB_OPTIONS)
ewald_options = adding(*_EWALD_OPTIONS)
#: The same for hosts with options of their own for electrostatics.
model_options_without_coulomb = adding(_SEVERAL_MODELS_OPTION, *_OPTIONS_OF_MODELS)
#: Add the options that say what of the file STRUCTURE is wanted, see `read_input`.
structure_options = adding(*_STRUCTURE_OPTIONS)
#: The same for a command that takes several.
structures_options = adding(*_STRUCTURES_OPTIONS)
#: Add the one that names the format of an input.
format_option = adding(_FORMAT_OPTION)
#: Add those of charge and spin alone.
charge_options = adding(*_CHARGE_OPTIONS)


def read_input(structure: str, options: dict[str, Any]) -> Atoms:
    """The structure that the user means, with its charge and spin, and replicated."""
    from so3md.structures import read_structure

    wanted = ("index", "supercell", "format", "charge", "spin")
    return read_structure(structure, **{key: options[key] for key in wanted})


def describe_structure(atoms: Atoms, supercell: Sequence[int] = (1, 1, 1)) -> str:
    """Formula, size, charge and spin of a structure, which may be a supercell, as they are used."""
    from so3md.charge_and_spin import describe_charge_and_spin

    state = describe_charge_and_spin(atoms, math.prod(supercell))
    return f"{atoms.get_chemical_formula()}, {len(atoms)} atoms, {state}"


def make_calculator(parameters: dict[str, Any]) -> So3kratesCalculator:
    """The calculator with these parameters, of all processes of the command."""
    from so3md.calculator import So3kratesCalculator

    members = team()
    warn_of_many_threads(parameters.get("threads"))
    return So3kratesCalculator(**parameters, comm=members.comm if isinstance(members, MPITeam) else None)


def warn_of_many_threads(threads: int | None) -> None:
    """Warn of more threads than there are cores for this process: each would wait for the others."""
    if text := more_than_cores("threads", threads):
        warnings.warn(text, stacklevel=2)


def more_than_cores(what: str, number: int | None) -> str | None:
    """A warning of more threads or processes, by the name of their option, than there are cores; None if not."""
    from so3md.benchmark.machine import available_cores

    cores = available_cores()
    if number is None or number <= cores:
        return None
    core = "1 core" if cores == 1 else f"{cores} cores"
    return f"--{what} {number}: this process may use {core}; more {what} are slower"


def long_range_lines(calculator: So3kratesCalculator, structures: Iterable[Atoms], evaluate: bool = False) -> str:
    """Lines that say which long-range cutoff is used for each kind of structure, and whose choice it is; and the field.

    evaluate: also how much dispersion lies beyond it, for which a periodic structure is evaluated, with forces. All
    ranks call then.
    """
    kinds = {bool(atoms.pbc.any()): atoms for atoms in structures}
    texts = []
    for _, atoms in sorted(kinds.items()):
        texts.append(calculator.long_range_text(atoms))
        if evaluate and calculator.has_dispersion_tail(atoms):
            calculator.get_property("forces", atoms)  # of use for the first step too
            texts[-1] += f"; {tail_text(calculator.get_dispersion_tail(atoms) / len(atoms), calculator.counts_tail)}"
    lines = [text[0].upper() + text[1:] for text in texts if text]
    if True in kinds and calculator.cuts_charges(kinds[True]):
        lines.append(
            "It ends the electrostatics too; --coulomb ewald takes those of all periodic images, without a cutoff"
        )
    if (field := calculator.parameters["electric_field"]) is not None:
        lines.append("Electric field {:g} {:g} {:g} V/A".format(*field))
    return "".join(f"{line}\n" for line in lines)


def calculator_parameters(options: dict[str, Any]) -> dict[str, Any]:
    """The parameters of So3kratesCalculator among the options of a command, without charge and spin."""
    parameters = {key: options[key] for key in MODEL_PARAMETERS if key in options and key not in ("charge", "spin")}
    for key in ("lr_cutoff", "lr_damping"):
        if key in parameters:
            parameters[key] = length_parameter(parameters[key])
    if "model" in parameters:
        found = [absolute_unless_name(name) for name in names_of_models(parameters["model"])]
        parameters["model"] = found[0] if len(found) == 1 else found
    return parameters


def length_parameter(option: float | str | None) -> float | str | None:
    """The parameter of So3kratesCalculator for a length that an option gives, for "none", or for no option."""
    if option is None:
        return OF_MODEL
    return None if option == "none" else option


def set_charge_and_spin(atoms: Atoms, options: dict[str, Any]) -> None:
    """Let --charge and --spin, where they are given, replace what the structure says."""
    from so3md.charge_and_spin import set_charge_and_spin

    set_charge_and_spin(atoms, options["charge"], options["spin"])


def given_options(ctx: click.Context) -> dict[str, Any]:
    """The options that stand on the command line, without the defaults."""
    default = click.core.ParameterSource.DEFAULT
    return {key: value for key, value in ctx.params.items() if ctx.get_parameter_source(key) != default}


#: Forces (eV/A) below which rounding in mixed precision, some 1e-5, steers the line searches of the optimizers.
_LEAST_FMAX_OF_MIXED = 1e-3


def precision_for(fmax: float, ctx: click.Context) -> str:
    """The precision in which forces below fmax (eV/A) are reached: double for small ones, unless another was given."""
    precision = ctx.params["precision"]
    if fmax >= _LEAST_FMAX_OF_MIXED or precision != "mixed":
        return precision
    text = f"--fmax {fmax:g} is below {_LEAST_FMAX_OF_MIXED:g} eV/A, too little for mixed precision"
    if "precision" in given_options(ctx):
        warnings.warn(f"{text}: the optimizer may not converge; use --precision double", stacklevel=2)
        return precision
    click.echo(f"{text}: double precision is used")
    return "double"


def plots() -> ModuleType | None:
    """The module that plots; None, which the user is told, if matplotlib is missing."""
    try:
        return import_module("so3md.plots")
    except ImportError as error:
        click.echo(f"No plot: it needs matplotlib, which pip install matplotlib brings ({error})")
        return None


def output_path(given: Path | None, name: str, overwrite: bool) -> Path:
    """Where to write: what the user gave, else the name, which with overwrite is replaced, else a free one like it."""
    return given or (Path(name) if overwrite else free_path(name))


def free_path(name: str) -> Path:
    """The name, or the first of name-2, name-3, ... (before the suffix) that is not taken."""
    wanted = path = Path(name)
    number = 1
    while path.exists():
        number += 1
        path = wanted.with_name(f"{wanted.stem}-{number}{wanted.suffix}")
    return path
