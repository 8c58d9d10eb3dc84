"""Cutoff and damping of the long-range terms: those that are given, else those that a model was made for.

A model file says which cutoff the model was made for in periodic systems, and which, if any, in systems without a
periodic direction. Lengths are in Angstrom; a cutoff of None means none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from so3md._engine import Model

#: In place of a length: the one that the model was made for.
OF_MODEL = "model"
#: Of a cutoff or damping that a user gives (Angstrom), the engine's bounds too.
SMALLEST_LENGTH, LARGEST_LENGTH = 1e-3, 1e6


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


def describe(model: Model, lengths: LongRange, periodic: bool) -> str:
    """The lengths in words, and whether they are the model's; nothing for a model without long-range terms."""
    if not model.has_long_range:
        return ""
    own = cutoff_of_model(model, periodic)
    kind = "periodic systems" if periodic else "molecules"
    text = f"long-range cutoff {length_text(lengths.cutoff)}"
    text += (
        f" (the model's for {kind})"
        if lengths.cutoff == own
        else f" (given; the model was made with {length_text(own)} for {kind})"
    )
    if lengths.cutoff is None or lengths.damping == model.long_range_damping:
        return text
    return f"{text}, damping {lengths.damping:g} A (given; the model's is {model.long_range_damping:g} A)"


def length_text(length: float | None) -> str:
    """A cutoff, for people."""
    return "none" if length is None else f"{length:g} A"
