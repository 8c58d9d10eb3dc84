"""Hydrogen bonds, counted by MDAnalysis."""

from __future__ import annotations

import warnings

import numpy as np

from so3md.analysis.dipoles import evenly_spaced
from so3md.analysis.distances import MOST_FRAMES, smallest_height
from so3md.analysis.results import Plot, Section, Unavailable
from so3md.analysis.thermodynamics import averaged
from so3md.analysis.universe import evenly, make_universe
from so3md.analysis.work import Work

#: Donor to hydrogen, donor to acceptor (Angstrom), and the angle at the hydrogen (degrees).
_BOND, _DISTANCE, _ANGLE = 1.2, 3.5, 150.0
_POLAR = ("N", "O", "F")


def hydrogen_bonds(work: Work) -> Section:
    """The section of the report. Raises Unavailable without hydrogen, or without N, O or F."""
    from MDAnalysis.analysis.hydrogenbonds import HydrogenBondAnalysis

    trajectory = work.trajectory
    polar = [element for element in _POLAR if element in trajectory.elements]
    if "H" not in trajectory.elements or not polar:
        raise Unavailable(f"they need hydrogen, and one of {', '.join(_POLAR)}")
    if trajectory.pbc.any() and smallest_height(_cells(work)) < 2 * _DISTANCE:
        raise Unavailable(f"the cell is less than {2 * _DISTANCE:g} Å high, so that atoms would meet their own images")
    frames = evenly(len(trajectory), MOST_FRAMES)
    universe = make_universe(trajectory, frames)
    names = "element " + " ".join(polar)
    search = HydrogenBondAnalysis(
        universe,
        donors_sel=names,
        hydrogens_sel="element H",
        acceptors_sel=names,
        d_h_cutoff=_BOND,
        d_a_cutoff=_DISTANCE,
        d_h_a_angle_cutoff=_ANGLE,
        update_selections=False,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of frames without one
        search.run()
    found = np.reshape(search.results.hbonds, (-1, 6))
    donors, acceptors = (trajectory.symbols[found[:, column].astype(int)] for column in (1, 3))
    section = Section("Hydrogen bonds")
    interval = evenly_spaced(trajectory)
    spacing = None if interval is None else interval * (frames.step or 1)
    count = len(universe.trajectory)
    counts = np.bincount(found[:, 0].astype(int), minlength=count)
    section.quantities.append(averaged("Hydrogen bonds", "", counts, spacing))
    kinds = sorted(set(zip(donors.tolist(), acceptors.tolist(), strict=True)))
    for donor, acceptor in kinds if len(kinds) > 1 else []:
        chosen = found[(donors == donor) & (acceptors == acceptor), 0].astype(int)
        name = f"Hydrogen bonds {donor}-H...{acceptor}"
        section.quantities.append(averaged(name, "", np.bincount(chosen, minlength=count), spacing))
    x = np.arange(count) if trajectory.times is None else trajectory.times[frames]
    label = "Frame" if trajectory.times is None else "Time (ps)"
    section.plots.append(Plot("Hydrogen bonds", label, "Number", {"Hydrogen bonds": (x, counts)}))
    section.notes.append(
        f"Of {count} frames. From {', '.join(polar)} to {', '.join(polar)}, at most {_DISTANCE:g} Å apart, with an "
        f"angle of at least {_ANGLE:g}° at the hydrogen, also within a molecule."
    )
    return section


def _cells(work: Work) -> np.ndarray:
    """Cells whose directions without images are wide."""
    cells = work.trajectory.cells
    if work.trajectory.is_bulk:
        return cells
    from so3md.analysis.trajectory import cells_or_unit

    wide = cells_or_unit(cells).copy()
    wide[:, ~work.trajectory.pbc] *= 1e3
    return wide
