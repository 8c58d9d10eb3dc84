"""Total charges and spins of which a model knows nothing: they change no energy and no force.

A network knows of the charge by an embedding; electrostatics depend on it because partial charges add up to it. Of the
spin only an embedding knows.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

from so3md.charge_and_spin import ChargeAndSpin


class IgnoredStateWarning(UserWarning):
    """A charge or a spin was given to a model whose energy does not depend on it."""


def ignored_quantities(hyper: Mapping[str, Any]) -> tuple[str, ...]:
    """Which of "charge" and "spin" the energy of a model with these hyperparameters does not depend on."""
    knows = {
        "charge": bool(hyper.get("charge_embedding")) or hyper.get("electrostatics") is not None,
        "spin": bool(hyper.get("spin_embedding")),
    }
    return tuple(name for name, known in knows.items() if not known)


class StateWatch:
    """Warns, once for each quantity, of charges and spins that a model takes no notice of."""

    def __init__(self, hyper: Mapping[str, Any]) -> None:
        self._ignored = list(ignored_quantities(hyper))

    def look_at(self, states: Iterable[ChargeAndSpin]) -> None:
        """Warn (`IgnoredStateWarning`) if a state has a charge or a spin that is not zero and does nothing."""
        if not self._ignored:
            return
        for state in states:
            for name in [name for name in self._ignored if getattr(state, name) != 0]:
                self._ignored.remove(name)
                warnings.warn(ignored_text(name, getattr(state, name)), IgnoredStateWarning, stacklevel=2)


def ignored_text(name: str, value: float) -> str:
    """What a user is told."""
    return (
        f"{name} {value:g} changes nothing: this model has no {name} embedding, so that energies and forces are "
        f"the same for every {name}. Take a model that was trained with one, or leave the {name} out"
    )
