"""Making sure that all ranks ask for the same evaluation, or telling what differs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from so3md.parallel.team import MPITeam


class RanksDisagreeError(RuntimeError):
    """The ranks gave different structures, parameters or models; the message says what differs, and where."""


@dataclass
class Request:
    """What a rank wants to have evaluated: all that decides the results.

    settings: the model and parameters of the calculator, by name; state: total charge and spin; forces, stresses:
    whether forces, and the stresses of atoms, are wanted. Arrays as in ASE: numbers (n,), positions (n, 3) and cell
    (3, 3) in Angstrom, pbc (3,); velocities (n, 3) where they count; external (n, 4), a potential (V) and its field
    (V/Angstrom) at the atoms, likewise.
    """

    settings: dict[str, Any]
    state: dict[str, float]
    forces: bool
    stresses: bool
    numbers: np.ndarray
    cell: np.ndarray
    pbc: np.ndarray
    positions: np.ndarray
    velocities: np.ndarray | None = None
    external: np.ndarray | None = None

    def digests(self) -> np.ndarray:
        """A 64-bit number for each part: equal for equal parts, and else practically never."""
        parts = (
            repr((sorted(self.settings.items()), sorted(self.state.items()), self.forces, self.stresses)).encode(),
            np.ascontiguousarray(self.numbers).tobytes(),
            self.cell.tobytes() + self.pbc.tobytes(),
            self._by_position(),
        )
        hashes = b"".join(hashlib.blake2b(part, digest_size=8).digest() for part in parts)
        return np.frombuffer(hashes, dtype=np.uint64)

    def _by_position(self) -> bytes | memoryview:
        others = [array for array in (self.velocities, self.external) if array is not None]
        if not others:
            return np.ascontiguousarray(self.positions).data
        return b"".join(array.tobytes() for array in (self.positions, *others))


def agree(team: MPITeam, prepare: Callable[[], Request]) -> Request:
    """The request that `prepare` makes, if it does so on all ranks and all make the same one; one short message.

    Raises on all ranks the same error: that of a rank where prepare failed, or RanksDisagreeError.
    """
    from mpi4py import MPI

    error, request = None, None
    digests = np.zeros(4, dtype=np.uint64)
    try:
        request = prepare()
        digests = request.digests()
    except Exception as found:
        error = found
    # The maximum of the complements tells the minimum.
    extremes = np.concatenate([[np.uint64(error is not None)], digests, ~digests])
    what = "ask for an evaluation with the same structure"
    team.wait(team.messages.Iallreduce(MPI.IN_PLACE, extremes, MPI.MAX), what)
    if extremes[0] or request is None:
        team.raise_together(error)
    if not np.array_equal(extremes[1:5], ~extremes[5:]):
        _explain(team, request)
    return request


def _explain(team: MPITeam, request: Request) -> None:
    leader = team.messages.bcast(request, root=0)
    found = team.messages.allgather(_differences(request, leader))
    different = [rank for rank, text in enumerate(found) if text]
    first = different[0]
    text = found[first].replace("{rank}", str(first))
    others = ", and other ranks differ from rank 0 as well" if len(different) > 1 else ""
    raise RanksDisagreeError(
        f"the ranks ask for different evaluations: {text}{others}. Give all ranks the same structure, parameters and "
        "steps: the same file, the same seeds"
    )


def _differences(own: Request, leader: Request) -> str:
    """How a rank, "{rank}" in the text, differs from the leader: the first kind of difference that there is."""
    for kind in ("settings", "state"):
        here, there = getattr(own, kind), getattr(leader, kind)
        texts = [f"{key} is {here[key]!r} on rank {{rank}} and {there[key]!r} on rank 0" for key in here]
        changed = [text for key, text in zip(here, texts, strict=True) if here[key] != there[key]]
        if changed:
            return "; ".join(changed)
    if (own.forces, own.stresses) != (leader.forces, leader.stresses):
        return f"rank {{rank}} asks for {_wanted(own)} and rank 0 for {_wanted(leader)}"
    if len(own.numbers) != len(leader.numbers):
        return f"rank {{rank}} has {len(own.numbers)} atoms and rank 0 has {len(leader.numbers)}"
    return _structure_differences(own, leader)


def _symbol(number: int) -> str:
    return chemical_symbols[number] if 0 < number < len(chemical_symbols) else f"of atomic number {number}"


def _wanted(request: Request) -> str:
    if request.stresses:
        return "stresses of atoms"
    return "forces" if request.forces else "the energy only"


def _structure_differences(own: Request, leader: Request) -> str:
    changed = np.flatnonzero(own.numbers != leader.numbers)
    if changed.size:
        i = changed[0]
        return f"atom {i} is {_symbol(own.numbers[i])} on rank {{rank}} and {_symbol(leader.numbers[i])} on rank 0"
    if not np.array_equal(own.pbc, leader.pbc):
        return f"pbc is {own.pbc.tolist()} on rank {{rank}} and {leader.pbc.tolist()} on rank 0"
    for key, text in (("velocities", "a heat flux"), ("external", "an energy in an external potential")):
        if (getattr(own, key) is None) != (getattr(leader, key) is None):
            return f"rank {{rank}} asks for an energy or {text} and rank 0 for the other"
    vectors = [
        ("cell vector", "cell", "A", own.cell, leader.cell),
        ("atom", "positions", "A", own.positions, leader.positions),
    ]
    if own.velocities is not None and leader.velocities is not None:
        vectors.append(("atom", "velocities", "in ASE's units", own.velocities, leader.velocities))
    if own.external is not None and leader.external is not None:
        vectors.append(("atom", "external potential and field", "V and V/A", own.external, leader.external))
    for name, what, unit, here, there in vectors:
        changed = np.flatnonzero((here.view(np.uint64) != there.view(np.uint64)).any(axis=1))  # also where both are NaN
        if changed.size:
            return _vector_difference(name, what, unit, here, there, changed)
    return ""


def _vector_difference(
    name: str, what: str, unit: str, here: np.ndarray, there: np.ndarray, changed: np.ndarray
) -> str:
    lengths = np.linalg.norm(here[changed] - there[changed], axis=1)
    i = changed[np.argmax(lengths)]  # the first that is not a number, if there is one
    text = ", ".join(f"{x:.10g}" for x in here[i]), ", ".join(f"{x:.10g}" for x in there[i])
    return (
        f"{what} of {len(changed)} of {len(here)} differ by up to {lengths.max():.3g} {unit}, most at {name} {i}, "
        f"({text[0]}) on rank {{rank}} and ({text[1]}) on rank 0"
    )
