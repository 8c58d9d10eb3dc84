"""Child process of neighbour_lists.py: one program, asked to build full neighbour lists on one thread.

Runs under the Python of the program, which need not have so3md: only NumPy is imported at the top. A full list holds
each pair from both of its ends; who, whom and which periodic image, so that a displacement can be computed, is what
every program is asked for.
"""

from __future__ import annotations

import argparse
import time
from typing import Any, Protocol

import numpy as np
from serving import serve

Pairs = tuple[np.ndarray, np.ndarray]


class ListBuilder(Protocol):
    """A program: `build` is timed; `pairs` gives first atoms and displacements of what was built last."""

    def __init__(self, radius: float, cell: np.ndarray, pbc: np.ndarray) -> None: ...
    def build(self, positions: np.ndarray) -> None: ...
    def pairs(self) -> Pairs: ...


class So3md:
    def __init__(self, radius: float, cell: np.ndarray, pbc: np.ndarray) -> None:
        from so3md import _engine

        # Without a skin, a list is built whenever an atom has moved.
        self.list = _engine.NeighbourList(radius, skin=0.0)
        self.cell, self.pbc, self.radius = cell, pbc, radius

    def build(self, positions: np.ndarray) -> None:
        if not self.list.update(positions, self.cell, self.pbc, threads=1):
            raise RuntimeError("the list was not built again: expected positions that differ from the last ones")

    def pairs(self) -> Pairs:
        first, _, displacements = self.list.short_pairs()
        return first, displacements


class Vesin:
    def __init__(self, radius: float, cell: np.ndarray, pbc: np.ndarray) -> None:
        from vesin import NeighborList

        self.list = NeighborList(cutoff=radius, full_list=True, n_threads=1)
        self.cell, self.pbc = (cell if pbc.any() else np.zeros((3, 3))), pbc

    def build(self, positions: np.ndarray) -> None:
        self.positions = positions
        # copy=False: views of the arrays of the library, which it keeps from call to call; its fastest way.
        self.found = self.list.compute(positions, self.cell, self.pbc, "ijS", copy=False)

    def pairs(self) -> Pairs:
        i, j, shifts = self.found
        return i, self.positions[j] - self.positions[i] + shifts @ self.cell


class Matscipy:
    def __init__(self, radius: float, cell: np.ndarray, pbc: np.ndarray) -> None:
        from matscipy.neighbours import neighbour_list

        self.neighbour_list, self.radius = neighbour_list, radius
        self.where = {"cell": cell, "pbc": pbc} if pbc.any() else {}  # else it puts a box around the atoms

    def build(self, positions: np.ndarray) -> None:
        self.positions = positions
        self.found = self.neighbour_list("ijS", cutoff=self.radius, positions=positions, **self.where)

    def pairs(self) -> Pairs:
        i, j, shifts = self.found
        displacements = self.positions[j] - self.positions[i]
        return i, displacements + shifts @ self.where["cell"] if self.where else displacements


PROGRAMS: dict[str, type[ListBuilder]] = {"so3md": So3md, "vesin": Vesin, "matscipy": Matscipy}


class Worker:
    def __init__(self, program: type[ListBuilder]) -> None:
        self.program = program

    def load_system(self, file: str, radius: float) -> dict[str, Any]:
        """Start with the structure of a file written by `systems.save_motion`. Seconds of a build, warmed up."""
        with np.load(file) as data:
            self.start, self.displacement = data["positions"], data["displacement_per_step"]
            self.builder = self.program(radius, data["cell"], data["pbc"])
        self.radius, self.step = radius, 0
        return {"seconds": self.build_moved(2)["seconds"][-1]}

    def build_moved(self, calls: int) -> dict[str, Any]:
        """Move all atoms to and fro, then build the list; so many times. Seconds of each build."""
        seconds = []
        for _ in range(calls):
            self.step += 1
            positions = self.start + (self.step % 2) * self.displacement
            begin = time.perf_counter()
            self.builder.build(positions)
            seconds.append(time.perf_counter() - begin)
        return {"seconds": seconds}

    def count_pairs(self) -> dict[str, Any]:
        """What the list of the unmoved structure holds: pairs, the sum of their distances (Angstrom), and a sum in
        which pairs of different first atoms count differently."""
        self.builder.build(self.start + 2 * self.displacement)  # another one, so that the next is built
        self.builder.build(self.start)
        first, displacements = self.builder.pairs()
        distances = np.linalg.norm(displacements, axis=1)
        within = distances < self.radius  # a list may hold some more
        distances, first = distances[within], first[within]
        weights = np.cos(first.astype(np.float64))
        return {"pairs": int(within.sum()), "distances": float(distances.sum()), "weighted": float(weights @ distances)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", choices=PROGRAMS)
    program = parser.parse_args().program
    serve(lambda: Worker(PROGRAMS[program]))


if __name__ == "__main__":
    main()
