"""Cutoff and damping of the long-range terms: those that are given, else those that a model was made for.

A model file says which cutoff the model was made for in periodic systems, and which, if any, in systems without a
periodic direction. Lengths are in Angstrom; a cutoff of None means none.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from so3md.charge_and_spin import checked_number

if TYPE_CHECKING:
    from so3md._engine import Model

#: In place of a length: the one that the model was made for.
OF_MODEL = "model"
#: Of a cutoff or damping that a user gives (Angstrom), the engine's bounds too.
SMALLEST_LENGTH, LARGEST_LENGTH = 1e-3, 1e6
#: How charges interact: in pairs up to the cutoff, or with all periodic images, without a cutoff.
COULOMB = ("cutoff", "ewald")
#: How "ewald" adds up images.
EWALD_METHODS = ("auto", "sum", "mesh")
#: Errors of forces (eV/Angstrom) that an Ewald sum can be asked for, the engine's bounds too.
EWALD_ACCURACIES = (1e-12, 1.0)


class ChargedCellWarning(UserWarning):
    """The energy of a periodic system with a total charge is not that of its content."""


class LongRange(NamedTuple):
    """What an evaluation uses."""

    cutoff: float | None
    damping: float


def chosen_lengths(model: Model, lr_cutoff: float | str | None, lr_damping: float | str, periodic: bool) -> LongRange:
    """The lengths for a structure that has, or has no, periodic direction; either may be OF_MODEL.

    Raises ValueError for a periodic structure without a cutoff, and for a given cutoff that is shorter than the
    network's, which cuts off what the model was trained with.
    """
    own = cutoff_of_model(model, periodic)
    cutoff = own if isinstance(lr_cutoff, str) else lr_cutoff
    damping = model.long_range_damping if isinstance(lr_damping, str) else lr_damping
    if periodic and cutoff is None and model.has_long_range:
        if lr_cutoff is None:
            raise ValueError(
                "lr_cutoff=None is for molecules in vacuum, and this structure is periodic: give a cutoff in Angstrom"
            )
        raise ValueError(
            f"the model {model.path} was made for molecules, without a long-range cutoff, and this structure is "
            "periodic: give lr_cutoff in Angstrom (12 is that of SO3LR)"
        )
    if lr_cutoff != OF_MODEL and cutoff is not None and model.has_long_range and cutoff < model.cutoff:
        raise ValueError(
            f"lr_cutoff: {cutoff:g} A is shorter than the cutoff of the network, {model.cutoff:g} A; give at least that"
            f"{'' if own is None else f' (the model was made with {own:g} A)'}"
        )
    return LongRange(cutoff, damping)


def cutoff_of_model(model: Model, periodic: bool) -> float | None:
    """The cutoff that a model was made for."""
    return model.long_range_cutoff if periodic else model.long_range_cutoff_molecules


def checked_coulomb(value: Any) -> str:
    """The parameter coulomb; raises ValueError for an unknown one."""
    if value not in COULOMB:
        raise ValueError(f"coulomb: expected one of {', '.join(COULOMB)}, found {value!r}")
    return value


def checked_accuracy(value: Any) -> float | None:
    """The parameter ewald_accuracy, None for that of the precision; raises ValueError for what is none."""
    if value is None:
        return None
    lowest, highest = EWALD_ACCURACIES
    accuracy = checked_number(value, "ewald_accuracy")
    if not lowest <= accuracy <= highest:
        raise ValueError(
            f"ewald_accuracy: expected an error of forces from {lowest:g} to {highest:g} eV/Angstrom, or None for one "
            f"that is below that of the precision, found {value!r}"
        )
    return accuracy


def checked_method(value: Any) -> str:
    """The parameter ewald_method; raises ValueError for what is none."""
    if value not in EWALD_METHODS:
        raise ValueError(f"ewald_method: expected one of {', '.join(EWALD_METHODS)}, found {value!r}")
    return str(value)


def warn_of_charged_cell(charge: float, pbc: np.ndarray) -> None:
    """Warn of an Ewald sum of a periodic system that has a total charge."""
    if charge and pbc.all():
        warnings.warn(
            f"a periodic system has a total charge of {charge:g} e: a uniform background neutralises it, so that its "
            "energy and stress depend on the size of the cell; add counter-ions if it need not have a charge",
            ChargedCellWarning,
            stacklevel=2,
        )


def describe(model: Model, lengths: LongRange, periodic: bool, coulomb: str = "cutoff") -> str:
    """The lengths in words, and whether they are the model's; nothing for a model without long-range terms."""
    if not model.has_long_range:
        return ""
    own = cutoff_of_model(model, periodic)
    kind = "periodic systems" if periodic else "molecules"
    what = "long-range" if coulomb == "cutoff" else "electrostatics by Ewald summation without a cutoff; dispersion"
    text = f"{what} cutoff {length_text(lengths.cutoff)}"
    text += (
        f" (the model's for {kind})"
        if lengths.cutoff == own
        else f" (given; the model was made with {length_text(own)} for {kind})"
    )
    if lengths.cutoff is None or lengths.damping == model.long_range_damping:
        return text
    return f"{text}, damping {lengths.damping:g} A (given; the model's is {model.long_range_damping:g} A)"


def tail_text(per_atom: float, counted: bool) -> str:
    """How much dispersion, in eV for each atom, lies beyond its cutoff."""
    size = f"dispersion beyond it: about {1e3 * per_atom:.2g} meV/atom"
    return f"{size}, counted as of evenly spread atoms" if counted else f"{size}, not counted (--dispersion-tail)"


def length_text(length: float | None) -> str:
    """A cutoff, for people."""
    return "none" if length is None else f"{length:g} A"
