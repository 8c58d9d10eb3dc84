"""Radial distribution functions by pairs of elements, by MDAnalysis."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations_with_replacement

import numpy as np

from so3md.analysis.results import Plot, Quantity, Section, Unavailable
from so3md.analysis.trajectory import Trajectory
from so3md.analysis.universe import evenly, make_universe

#: Frames that are looked at, at most.
MOST_FRAMES = 500
#: How far pairs are counted by default, and the width of a bin, in Angstrom.
_FARTHEST, _WIDTH = 10.0, 0.05
#: Molecules have a bond length, whose peak would leave nothing to see of the rest.
_HIGHEST_SHOWN = 4.0


def radial_distributions(
    trajectory: Trajectory, say: Callable[[str], None] = lambda _: None, farthest: float | None = None
) -> Section:
    """The section of the report. farthest (Angstrom): how far pairs are counted, by default half of the smallest
    height of the cell, and 10 at most. Raises Unavailable for what is not periodic in all directions."""
    from MDAnalysis.analysis.rdf import InterRDF

    if not trajectory.is_bulk:
        raise Unavailable("they need a system that is periodic in all directions, which has a density")
    largest = smallest_height(trajectory.cells) / 2
    if farthest is not None and farthest > largest:
        raise Unavailable(f"pairs can be counted up to half of the smallest height of the cell, {largest:.2f} Å")
    reach = farthest or min(largest, _FARTHEST)
    frames = evenly(len(trajectory), MOST_FRAMES)
    universe = make_universe(trajectory, frames)
    section, curves = Section("Radial distribution functions"), {}
    pairs = list(combinations_with_replacement(trajectory.elements, 2))
    for number, (first, second) in enumerate(pairs, start=1):
        name = f"{first}-{second}"
        say(f"{name}, {number} of {len(pairs)} pairs")
        groups = [universe.select_atoms(f"element {element}") for element in (first, second)]
        if first == second and len(groups[0]) < 2:
            section.missing[f"g(r) of {name}"] = "there is one atom of this element"
            continue
        same = (1, 1) if first == second else None
        result = (
            InterRDF(*groups, nbins=max(1, round(reach / _WIDTH)), range=(0.0, reach), exclusion_block=same)
            .run()
            .results
        )
        curves[name] = (result.bins, result.rdf)
        highest = int(np.argmax(result.rdf))
        section.quantities.append(
            Quantity(f"Peak of g(r) {name}", float(result.bins[highest]), "Å", note=f"g = {result.rdf[highest]:.3g}")
        )
    section.plots += [
        Plot(f"g(r) of {name}", "r (Å)", "g(r)", {name: curve}, y_range=_shown(curve[1]))
        for name, curve in curves.items()
    ]
    section.notes.append(
        f"Of {len(universe.trajectory)} frames, with pairs within molecules. Pictures end at g = "
        f"{_HIGHEST_SHOWN:g}; higher peaks are cut off."
    )
    return section


def _shown(values: np.ndarray) -> tuple[float, float] | None:
    return (0.0, _HIGHEST_SHOWN) if values.max() > _HIGHEST_SHOWN else None


def smallest_height(cells: np.ndarray) -> float:
    """The least distance between opposite faces of cells (f, 3, 3), in Angstrom."""
    return float(1 / np.linalg.norm(np.linalg.inv(cells), axis=1).max())
