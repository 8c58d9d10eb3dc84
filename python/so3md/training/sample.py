"""A structure and its reference values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass

from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from so3md.reference.graph import Structure
from so3md.reference_values import Reference


@dataclass
class Sample(Reference):
    """A structure and its reference values; no loss asks for charges.

    file, and origin: that and number of the structure in it, for messages; names: of all entries of the file.
    """

    structure: Structure
    _: KW_ONLY
    origin: str = ""
    file: str = ""
    names: frozenset[str] = frozenset()

    def atoms(self) -> Atoms:
        """The structure for ASE, with the reference values as results of a calculator."""
        item = self.structure
        atoms = Atoms(numbers=item.numbers, positions=item.positions, cell=item.cell, pbc=item.pbc)
        atoms.info["origin"] = self.origin
        for name, value in (("charge", item.charge), ("spin", item.spin)):
            if value:
                atoms.info[name] = float(value)
        if self.energy is not None or self.forces is not None:
            results = {"energy": self.energy, "forces": self.forces}
            atoms.calc = SinglePointCalculator(atoms, **{k: v for k, v in results.items() if v is not None})
        return atoms


#: Training, validation and test structures.
Parts = Mapping[str, Sequence[Sample]]


def all_of(parts: Parts) -> Iterator[Sample]:
    """The samples of all parts, one after the other."""
    for part in parts.values():
        yield from part


def thinned(samples: Sequence[Sample], most: int) -> Sequence[Sample]:
    """At most so many, taken evenly."""
    return samples[:: max(1, -(-len(samples) // most))]
