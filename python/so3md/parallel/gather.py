"""The results of the whole structure from those of each rank's atoms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from mpi4py import MPI

#: Results with a row for each atom, and the numbers in a row.
_ROWS = {
    "energies": 1,
    "forces": 3,
    "charges": 1,
    "hirshfeld_ratios": 1,
    "c6_ratios": 1,
    "virials": 9,
    "forces_uncertainty": 1,
}


class Gatherer:
    """Gathers results on all ranks, in one message for each evaluation; and another one whenever atoms move over."""

    def __init__(self, comm: MPI.Intracomm) -> None:
        self._comm = comm
        self._of_rebuild: tuple[int, int] | None = None
        self._counts = np.empty(0, dtype=int)
        self._order = np.empty(0, dtype=np.int32)  # numbers of the atoms, rank by rank

    def gather(self, n_atoms: int, part: dict[str, Any]) -> dict[str, Any]:
        """Collective. part: the results of an engine with a transport; returns those of an engine without one."""
        rebuild = n_atoms, part["neighbour_rebuilds"]  # the same on all ranks
        if rebuild != self._of_rebuild:
            self._gather_order(n_atoms, part["atoms"])
            self._of_rebuild = rebuild
        names = [name for name in _ROWS if name in part]
        own = np.concatenate([part[name].reshape(-1, _ROWS[name]) for name in names], axis=1)
        width = own.shape[1]
        rows = np.empty((n_atoms, width))
        self._comm.Allgatherv(own, (rows, self._counts * width))
        sorted_rows = np.empty_like(rows)
        sorted_rows[self._order] = rows
        whole = {key: value for key, value in part.items() if key not in (*_ROWS, "atoms", "neighbour_rebuilds")}
        columns = np.split(sorted_rows, np.cumsum([_ROWS[name] for name in names])[:-1], axis=1)
        for name, values in zip(names, columns, strict=True):
            whole[name] = np.ascontiguousarray(values).reshape(n_atoms, *part[name].shape[1:])
        return whole

    def owners(self) -> np.ndarray:
        """The rank (n,) that evaluated each atom the last time."""
        owners = np.empty(len(self._order), dtype=int)
        owners[self._order] = np.repeat(np.arange(len(self._counts)), self._counts)
        return owners

    def _gather_order(self, n_atoms: int, atoms: np.ndarray) -> None:
        self._counts = np.array(self._comm.allgather(len(atoms)))
        self._order = np.empty(n_atoms, dtype=np.int32)
        self._comm.Allgatherv(np.ascontiguousarray(atoms, dtype=np.int32), (self._order, self._counts))
