"""Sequences whose things are made whenever they are asked for, so that not all are in memory at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar, overload

import numpy as np
from ase import Atoms

from so3md.training.sample import Sample

T = TypeVar("T")


class OnDemand(Sequence[T]):
    """A sequence of which a subclass knows its length and how to make one of it; some of it, unless it is a list."""

    def _one(self, place: int) -> T:
        raise NotImplementedError

    def _some(self, places: np.ndarray) -> Sequence[T]:
        return [self._one(place) for place in places]

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        return self._some(np.arange(len(self))[index]) if isinstance(index, slice) else self._one(index)


class Samples(OnDemand[Sample]):
    """Some samples of some sequences, in any order; `sizes` (structures): atoms."""

    def __init__(self, pieces: Sequence[Sequence[Sample]], places: np.ndarray | None = None) -> None:
        """places: which of all samples of the pieces; None: all."""
        self._pieces = pieces
        self._starts = np.cumsum([0, *map(len, pieces)])
        self._places = np.arange(self._starts[-1]) if places is None else places
        of_pieces = [sizes_of(piece, atoms_in) for piece in pieces]
        self.sizes = np.concatenate([np.empty(0, int), *of_pieces])[self._places]

    def __len__(self) -> int:
        return len(self._places)

    def _one(self, place: int) -> Sample:
        place = self._places[place]
        piece = int(np.searchsorted(self._starts, place, side="right")) - 1
        return self._pieces[piece][int(place - self._starts[piece])]

    def _some(self, places: np.ndarray) -> Samples:
        return Samples(self._pieces, self._places[places])


class AtomsOf(OnDemand[Atoms]):
    """Samples as structures of ASE."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = samples

    def __len__(self) -> int:
        return len(self._samples)

    def _one(self, place: int) -> Atoms:
        return self._samples[place].atoms()

    def _some(self, places: np.ndarray) -> AtomsOf:
        return AtomsOf(taken(self._samples, places))


def joined(pieces: Sequence[Sequence[Sample]]) -> Sequence[Sample]:
    """All samples of some sequences: a list if all are lists."""
    filled = [piece for piece in pieces if len(piece)]
    if all(isinstance(piece, list) for piece in filled):
        return [sample for piece in filled for sample in piece]
    return filled[0] if len(filled) == 1 else Samples(filled)


def taken(samples: Sequence[Sample], indices: np.ndarray) -> Sequence[Sample]:
    """Some samples of a sequence: of a list, a list."""
    if isinstance(samples, list):
        return [samples[index] for index in indices]
    whole = samples if isinstance(samples, Samples) else Samples([samples])
    return whole._some(np.asarray(indices, int))


def atoms_in(sample: Sample) -> int:
    """How many atoms a structure has."""
    return len(sample.structure.numbers)


def sizes_of(things: Sequence[T], atoms: Callable[[T], int]) -> np.ndarray:
    """Atoms of each, without making those that are made when they are asked for."""
    known = getattr(things, "sizes", None)
    return np.array([atoms(thing) for thing in things], int) if known is None else known
