"""Mean square displacements of centres of mass, by MDAnalysis, and diffusion coefficients with errors from blocks."""

from __future__ import annotations

import numpy as np
from ase import units

from so3md.analysis.results import Plot, Quantity, Section, Unavailable
from so3md.analysis.thermodynamics import mean_temperature
from so3md.analysis.trajectory import Trajectory, cells_or_unit, unwrapped
from so3md.analysis.work import Work

#: The trajectory is cut into so many, whose coefficients differ by chance.
BLOCKS = 5
#: Part of a block between which the displacements are fitted.
_FIT = (0.1, 0.5)
#: Of frames in a block: fewer have too few lags, more take long and say no more.
_FEWEST, _MOST = 20, 2000
#: Power of time with which squares of displacements of diffusion grow, give or take noise.
_DIFFUSIVE = (0.8, 1.2)
#: Part of the cell that a particle may move between frames, so that its image is known.
_LONGEST_STEP = 0.4
#: Of a cube (Yeh and Hummer, J. Phys. Chem. B 108, 15873, 2004).
_CUBE = 2.837297
_TO_NANO = 10.0  # Angstrom^2/ps in 1e-9 m^2/s
_UNIT = "10⁻⁹ m²/s"


def diffusion(work: Work) -> Section:
    """The section of the report. Raises Unavailable for what is not a liquid's, or is too short."""
    trajectory = work.trajectory
    if not trajectory.is_bulk:
        raise Unavailable("it needs a system that is periodic in all directions")
    interval = trajectory.interval
    length = len(trajectory) // BLOCKS
    if length < _FEWEST:
        raise Unavailable(f"expected at least {BLOCKS * _FEWEST} frames, found {len(trajectory)}")
    stride = -(-length // _MOST)
    section, curves = Section("Diffusion"), {}
    for name, paths in _particles(work).items():
        work.say(name)
        blocks = [
            mean_square_displacement(paths[begin : begin + length : stride], interval * stride)
            for begin in range(0, BLOCKS * length, length)
        ]
        lags, squares = blocks[0][0], np.array([values for _, values in blocks])
        curves[name] = (lags, squares.mean(axis=0))
        try:
            quantity = coefficient(name, lags, squares)
        except Unavailable as reason:
            section.missing[f"Diffusion of {name}"] = str(reason)
            continue
        section.quantities.append(quantity)
        _add_infinite(section, quantity, work)
    section.plots.append(Plot("Mean square displacement", "Time (ps)", "MSD (Å²)", curves))
    section.notes.append(
        f"Of centres of mass, relative to that of the whole system. {BLOCKS} blocks of {length * interval:.3g} ps; "
        f"lines through {_FIT[0]:.0%} to {_FIT[1]:.0%} of their lengths."
    )
    if section.quantities and work.options.viscosity is None:
        section.notes.append("In an infinite system they are larger; --viscosity gives the correction.")
    return section


def _particles(work: Work) -> dict[str, np.ndarray]:
    """Name -> paths (f, particles, 3): of molecules, or of atoms where there are none; the centre of mass rests."""
    trajectory = work.trajectory
    try:
        molecules = work.molecules
    except Unavailable:
        positions, masses = trajectory.positions, trajectory.masses
        groups = {element: np.flatnonzero(trajectory.symbols == element) for element in trajectory.elements}
    else:
        positions, masses = molecules.centres(trajectory), molecules.masses(trajectory)
        groups = molecules.species()
    if len(masses) == 1:
        raise Unavailable("there is one molecule, beside which nothing moves")
    paths = _continuous(positions, trajectory)
    paths -= np.average(paths, axis=1, weights=masses)[:, None]
    return {name: paths[:, which] for name, which in groups.items()}


def _continuous(positions: np.ndarray, trajectory: Trajectory) -> np.ndarray:
    """Paths without jumps. Raises Unavailable where particles move so far between frames that images are unknown."""
    cells = cells_or_unit(trajectory.cells)
    inverse = np.linalg.inv(cells)
    fractions = np.einsum("fmi,fij->fmj", positions, inverse)
    if np.ptp(trajectory.cells, axis=0).max() == 0 and np.ptp(fractions, axis=0).max() > 1:
        return positions.copy()  # farther than within the cell: they were never wrapped
    paths = unwrapped(positions, trajectory.cells, trajectory.pbc)
    longest = np.abs(np.einsum("fmi,fij->fmj", np.diff(paths, axis=0), inverse[1:])).max()
    if longest > _LONGEST_STEP:
        raise Unavailable(
            f"particles move by up to {longest:.0%} of the cell between frames, so that images are unknown; write more "
            "frames"
        )
    return paths


def mean_square_displacement(paths: np.ndarray, interval: float) -> tuple[np.ndarray, np.ndarray]:
    """Lags (ps) and mean square displacements (Angstrom^2) of paths (f, particles, 3) without jumps."""
    import MDAnalysis
    from MDAnalysis.analysis.msd import EinsteinMSD
    from MDAnalysis.coordinates.memory import MemoryReader

    universe = MDAnalysis.Universe.empty(paths.shape[1], trajectory=False)
    # Single precision, as MDAnalysis has it, of numbers that are not larger than they need to be.
    apart = (paths - paths[:1]).astype(np.float32)
    universe.load_new(apart, format=MemoryReader, order="fac", dt=interval)
    result = EinsteinMSD(universe, fft=False).run().results  # fft needs another package
    return interval * np.arange(len(paths)), result.timeseries


def coefficient(name: str, lags: np.ndarray, squares: np.ndarray) -> Quantity:
    """The diffusion coefficient from squares (blocks, lags) of displacements, with its error.

    Raises Unavailable where squares do not grow as time does.
    """
    fitted = (lags >= _FIT[0] * lags[-1]) & (lags <= _FIT[1] * lags[-1]) & (lags > 0)
    mean = squares.mean(axis=0)[fitted]
    power = float(np.polyfit(np.log(lags[fitted]), np.log(np.maximum(mean, 1e-30)), 1)[0])
    if not _DIFFUSIVE[0] <= power <= _DIFFUSIVE[1]:
        raise Unavailable(
            f"squares of displacements grow as time to the power of {power:.2f} from {lags[fitted][0]:.3g} to "
            f"{lags[fitted][-1]:.3g} ps, and not as time: no diffusion, or a trajectory that is too short"
        )
    slopes = np.polyfit(lags[fitted], squares[:, fitted].T, 1)[0] / 6 * _TO_NANO
    error = float(slopes.std(ddof=1) / np.sqrt(len(slopes)))
    return Quantity(f"Diffusion of {name}", float(slopes.mean()), _UNIT, error, note=f"MSD ~ time^{power:.2f}")


def _add_infinite(section: Section, quantity: Quantity, work: Work) -> None:
    """The coefficient without the drag of images, where the viscosity is known."""
    if work.options.viscosity is None:
        return
    name = f"{quantity.name}, infinite system"
    try:
        added = yeh_hummer(mean_temperature(work.trajectory), work.options.viscosity, cube_edge(work.trajectory))
    except Unavailable as reason:
        section.missing[name] = str(reason)
        return
    note = f"Yeh and Hummer: {added:.3g} added"
    section.quantities.append(Quantity(name, quantity.value + added, _UNIT, quantity.error, note=note))


def yeh_hummer(temperature: float, viscosity: float, edge: float) -> float:
    """What a periodic cube takes off diffusion coefficients (1e-9 m^2/s); edge in Angstrom, viscosity in mPa s."""
    thermal = units._k * temperature
    return 1e9 * _CUBE * thermal / (6 * np.pi * viscosity * 1e-3 * edge * 1e-10)


def cube_edge(trajectory: Trajectory) -> float:
    """The mean edge (Angstrom). Raises Unavailable for cells that are no cubes."""
    edges = np.linalg.norm(trajectory.cells, axis=2)
    cosines = np.einsum("fai,fbi->fab", trajectory.cells / edges[:, :, None], trajectory.cells / edges[:, :, None])
    if np.ptp(edges, axis=1).max() > 1e-3 * edges.mean() or np.abs(cosines - np.eye(3)).max() > 1e-3:
        raise Unavailable("the correction is that of a cubic cell, which this is not")
    return float(edges.mean())
