"""Energies and forces of structures by any calculator of ASE, as reference values for training."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, get_calculator_class

from so3md.charge_and_spin import charge_and_spin_entries, charge_and_spin_of
from so3md.defined_properties import volume_of
from so3md.loading import known_models
from so3md.structures.values import drop_reference_values

#: Calculators that take charge and spin as arguments: import path, what they are given, arguments for a state.
_KNOWN: dict[str, tuple[str, dict[str, Any], Callable[[float, float], dict[str, Any]]]] = {
    "tblite": (
        "tblite.ase:TBLite",
        {"method": "GFN2-xTB", "verbosity": 0},
        lambda charge, spin: {"charge": int(charge), "multiplicity": round(2 * spin) + 1},
    ),
    "xtb": (
        "xtb.ase.calculator:XTB",
        {"method": "GFN2-xTB"},
        lambda charge, spin: {"charge": charge, "uhf": round(2 * spin)} if charge or spin else {},
    ),
}

#: What ASE's structures have of atoms that calculators look at, beside charges.
_OF_ATOMS = {"initial_magmoms", "tags", "masses"}


class Labeller:
    """Gives structures energies, forces and stresses of a calculator.

    name: a model of so3md by its name or file, "tblite" (GFN2-xTB), "package.module:Class", or a name that ASE knows.
    options: arguments of the calculator. Raises ValueError for a name that stands for nothing.
    """

    def __init__(self, name: str, options: Mapping[str, Any] | None = None) -> None:
        self._name, self._options = name, dict(options or {})
        self._takes_states = True
        self._by_state = False
        self._made: dict[tuple[float, float], Calculator] = {}
        if name in known_models() or name.endswith(".safetensors"):
            from so3md.calculator import So3kratesCalculator

            made = So3kratesCalculator(name, **self._options)
            self._make: Callable[[float, float], Calculator] = lambda charge, spin: made
            return
        path, given, state = _KNOWN.get(name, (name, {}, None))
        kind = _class_of(path)
        if state is None:
            self._takes_states = bool(self._options.keys() & {"charge", "spin", "multiplicity", "mult"})
            single = kind(**self._options)
            self._make = lambda charge, spin: single
        else:
            self._by_state = True
            self._make = lambda charge, spin: kind(**given | state(charge, spin) | self._options)

    def label(self, atoms: Atoms) -> Atoms:
        """A copy, its reference values replaced by REF_energy (eV), REF_forces (n, 3) eV/Angstrom and, where the
        structure has a volume and the calculator gives it, REF_stress (3, 3) eV/Angstrom^3. All else is kept.

        Raises ValueError for a charge or spin that the calculator would not see, and for values that are not finite.
        """
        charge, spin = charge_and_spin_of(atoms)
        if (charge or spin) and not self._takes_states:
            raise ValueError(
                f"the structure has charge {charge:g} and spin {spin:g}, which {self._name} does not get from it; give "
                "its own arguments with --set"
            )
        if (charge, spin) not in self._made:
            self._made[charge, spin] = self._make(charge, spin)
        probe = self._seen(atoms)
        probe.calc = self._made[charge, spin]
        energy, forces = float(probe.get_potential_energy()), np.array(probe.get_forces(apply_constraint=False))
        if not (np.isfinite(energy) and np.isfinite(forces).all()):
            raise ValueError(f"{self._name} gives a number that is not finite")
        result = atoms.copy()
        drop_reference_values(result)
        result.info["REF_energy"], result.arrays["REF_forces"] = energy, forces
        if volume_of(probe) is not None:
            with suppress(PropertyNotImplementedError, NotImplementedError):
                result.info["REF_stress"] = probe.get_stress(voigt=False, apply_constraint=False)
        return result

    def _seen(self, atoms: Atoms) -> Atoms:
        """What the calculator gets: no charges of atoms, which some take for the total charge, and magnetic moments
        where it is not told the spin otherwise."""
        result = Atoms(
            atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc, info=charge_and_spin_entries(atoms)
        )
        if not self._by_state:
            for name in _OF_ATOMS & atoms.arrays.keys():
                result.set_array(name, atoms.arrays[name])
        return result


def _class_of(path: str) -> Callable[..., Calculator]:
    module, _, name = path.rpartition(":")
    try:
        return getattr(importlib.import_module(module), name) if module else get_calculator_class(path)
    except (ImportError, AttributeError) as error:
        package = (module or path).split(".")[0]
        raise ValueError(
            f"calculator {path!r}: it cannot be imported ({error}); install {package}, or give a model of so3md, a "
            "name that ASE knows, or package.module:Class"
        ) from error


def same_structure(one: Atoms, other: Atoms) -> bool:
    """Whether atoms and positions are the same, up to the digits of a file."""
    return np.array_equal(one.numbers, other.numbers) and bool(np.abs(one.positions - other.positions).max() < 1e-6)
