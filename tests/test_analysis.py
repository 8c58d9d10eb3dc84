"""What analyses compute, against numbers that are known: series, walks, oscillations and counts by hand."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.collections import s22

from so3md import So3kratesCalculator
from so3md.structures import read_structure

pytest.importorskip("MDAnalysis", reason="MDAnalysis is not installed (the extra `analysis`)")

from so3md.analysis.averages import block_average, drift
from so3md.analysis.diffusion import BLOCKS, cube_edge, diffusion, yeh_hummer
from so3md.analysis.dipoles import dipoles_of
from so3md.analysis.distances import radial_distributions
from so3md.analysis.hydrogen_bonds import hydrogen_bonds
from so3md.analysis.molecules import find_molecules
from so3md.analysis.results import Quantity, Section, Unavailable
from so3md.analysis.spectra import KM_PER_MOL, absorption_of, infrared_spectrum, velocity_spectrum
from so3md.analysis.thermodynamics import KINETIC_UNIT, thermodynamics
from so3md.analysis.trajectory import Trajectory, unwrapped
from so3md.analysis.work import Options, Work

_THZ_PER_WAVE = 0.0299792458  # of 1/cm


def trajectory_of(frames: list[Atoms], interval: float = 0.001, **more: object) -> Trajectory:
    """A trajectory of structures, interval ps apart."""
    first = frames[0]
    return Trajectory(
        source="test",
        numbers=first.numbers,
        masses=first.get_masses(),
        pbc=first.pbc,
        positions=np.array([atoms.positions for atoms in frames]),
        cells=np.array([atoms.cell.array for atoms in frames]),
        times=interval * np.arange(len(frames)),
        degrees_of_freedom=3 * len(first) - 3,
        **more,
    )


def work_of(trajectory: Trajectory, **options: object) -> Work:
    return Work(trajectory, Options(**options))


def quantity(section: Section, name: str) -> Quantity:
    return next(item for item in section.quantities if item.name == name)


# --- averages ---------------------------------------------------------------------------------------------------------

PHI = 0.9  # of a series x' = phi x + noise, whose numbers correlate as phi^lag


def correlated(rng: np.random.Generator, count: int) -> np.ndarray:
    """Such a series with variance 1 and mean 0, stationary from the first number on."""
    from scipy.signal import lfilter

    noise = rng.normal(size=count)
    start = rng.normal()
    return lfilter([np.sqrt(1 - PHI**2)], [1, -PHI], noise, zi=[PHI * start])[0]


def test_errors_of_a_correlated_series_are_those_that_theory_has() -> None:
    count, series = 16384, 100
    rng = np.random.default_rng(1)
    averages = [block_average(correlated(rng, count)) for _ in range(series)]
    inefficiency = (1 + PHI) / (1 - PHI)
    exact = inefficiency / count
    found = np.array([average.error for average in averages], dtype=float)
    # Blocks of some 256 numbers: their means still correlate, which takes 2 phi / (1 - phi^2) / 256 = 4 % off.
    # The 64 blocks leave sqrt(2 / 63) = 18 % of chance in each variance, 1.8 % in the mean of a hundred; four times
    # that is 7 %.
    assert np.mean(found**2) == pytest.approx(exact, rel=0.11)
    times = np.array([average.correlation_time for average in averages], dtype=float)
    assert times.mean() == pytest.approx(inefficiency / 2, rel=0.11)
    # The means miss by what the errors say: chance leaves 1 / sqrt(2 * 100) = 7 % in their ratio.
    misses = np.array([average.mean for average in averages]) / found
    assert np.sqrt(np.mean(misses**2)) == pytest.approx(1, abs=0.3)


def test_independent_numbers_have_half_an_interval_of_correlation() -> None:
    average = block_average(np.random.default_rng(2).normal(3.0, 2.0, 10_000))
    assert average.error == pytest.approx(2 / 100, rel=0.15)
    assert average.correlation_time == pytest.approx(0.5, rel=0.3)
    assert abs(average.mean - 3.0) < 5 * 0.02


@pytest.mark.parametrize("count", [1, 7, 64])
def test_a_series_that_is_too_short_has_no_error(count: int) -> None:
    assert block_average(correlated(np.random.default_rng(3), count)).error is None


def test_a_drift_has_its_slope_and_an_error_that_counts_correlation() -> None:
    rng, times = np.random.default_rng(4), np.arange(8192) * 0.01
    found = [drift(times, 0.5 * times - 7 + correlated(rng, len(times))) for _ in range(60)]
    misses = np.array([(slope.value - 0.5) / slope.error for slope in found])
    assert np.sqrt(np.mean(misses**2)) == pytest.approx(1, abs=0.4)  # chance: 1 / sqrt(120) = 9 %, four times
    assert np.ptp(found[0].line - 0.5 * times) < 1  # the line of the fit


# --- thermodynamics ---------------------------------------------------------------------------------------------------


def test_temperature_and_density_come_from_frames_where_there_is_no_log() -> None:
    atoms = read_structure("water")
    velocities = np.random.default_rng(5).normal(size=(40, len(atoms), 3))
    section = thermodynamics(trajectory_of([atoms] * 40, velocities=velocities))
    frames = []
    for values in velocities:
        atoms.set_velocities(values / (1e3 * units.fs))
        frames.append(2 * atoms.get_kinetic_energy() / units.kB / (3 * len(atoms) - 3))
    assert quantity(section, "Temperature").value == pytest.approx(np.mean(frames), rel=1e-9)
    density = atoms.get_masses().sum() / atoms.get_volume() * 1.66053907
    assert quantity(section, "Density").value == pytest.approx(density, rel=1e-6)
    assert "there is no log" in section.missing["Potential energy"]


# --- distances --------------------------------------------------------------------------------------------------------


def test_radial_distributions_are_those_of_a_count_by_hand() -> None:
    rng = np.random.default_rng(6)
    cell = np.array([[9.0, 0, 0], [1.5, 8.5, 0], [-1.0, 0.7, 9.5]])
    symbols = np.array(["O"] * 20 + ["H"] * 35)
    frames = [Atoms(symbols, rng.random((55, 3)) @ cell * 2, cell=cell, pbc=True) for _ in range(3)]
    section = radial_distributions(trajectory_of(frames), farthest=4.0)
    # Positions of up to 20 A are rounded to single precision, 1e-6 A, so that pairs near an edge may be on either side.
    rounding = 1e-5
    for plot in section.plots:
        ((name, (centres, values)),) = plot.curves.items()
        first, second = name.split("-")
        counts = np.array([counted(atoms, first, second, 80, 4.0, rounding) for atoms in frames]).sum(axis=0)
        edges = np.linspace(0, 4, 81)
        ones, others = (symbols == first).sum(), (symbols == second).sum()
        pairs = ones * (others - (first == second))
        shells = 4 / 3 * np.pi * np.diff(edges**3) * pairs / frames[0].get_volume() * len(frames)
        assert (values * shells >= counts[0] - 0.01).all()
        assert (values * shells <= counts[1] + 0.01).all()
        assert counts[1].sum() > 100
        assert counts[1].sum() - counts[0].sum() < 4  # hardly any is near an edge
        np.testing.assert_allclose(centres, (edges[1:] + edges[:-1]) / 2, atol=1e-12)
    assert {name for plot in section.plots for name in plot.curves} == {"H-H", "H-O", "O-O"}


def counted(atoms: Atoms, first: str, second: str, bins: int, reach: float, rounding: float) -> np.ndarray:
    """(2, bins): pairs and their images that are certainly, and perhaps, in each bin."""
    symbols = np.array(atoms.get_chemical_symbols())
    inside = atoms.get_positions(wrap=True)
    ones, others = inside[symbols == first], inside[symbols == second]
    shifts = np.array(list(product((-2, -1, 0, 1, 2), repeat=3))) @ atoms.cell.array
    apart = np.linalg.norm(ones[:, None, None] - others[None, :, None] + shifts, axis=3).ravel()
    apart = apart[apart > rounding]  # not an atom with itself
    edges = np.linspace(0, reach, bins + 1)
    above, below = edges[:-1, None], edges[1:, None]
    surely = ((apart > above + rounding) & (apart < below - rounding)).sum(axis=1)
    perhaps = ((apart > above - rounding) & (apart < below + rounding)).sum(axis=1)
    return np.array([surely, perhaps])


def test_radial_distributions_need_a_periodic_system_and_half_a_cell() -> None:
    with pytest.raises(Unavailable, match="periodic in all directions"):
        radial_distributions(trajectory_of([molecule("H2O")]))
    with pytest.raises(Unavailable, match="half of the smallest height"):
        radial_distributions(trajectory_of([read_structure("water")]), farthest=7.0)


# --- diffusion --------------------------------------------------------------------------------------------------------

STEP, EDGE = 0.12, 24.0  # Angstrom


def walk(frames: int, seed: int = 7, cell_noise: float = 0.0) -> list[Atoms]:
    """216 atoms that walk at random, in frames that are wrapped into a cube."""
    rng = np.random.default_rng(seed)
    grid = 4.0 * np.array(list(product(range(6), repeat=3)), dtype=float)
    paths = grid + np.cumsum(rng.normal(0, STEP, (frames, len(grid), 3)), axis=0)
    result = []
    for positions in paths:
        edge = EDGE * (1 + cell_noise * rng.normal())
        atoms = Atoms("Ar216", positions % EDGE * (edge / EDGE), cell=[edge] * 3, pbc=True)
        result.append(atoms)
    return result


@pytest.fixture(scope="module")
def walkers() -> Trajectory:
    return trajectory_of(walk(1000), interval=0.1, log={"temperature_K": np.full(5, 300.0)})


def test_a_random_walk_has_its_diffusion_coefficient(walkers: Trajectory) -> None:
    section = diffusion(work_of(walkers, viscosity=0.5))
    found = quantity(section, "Diffusion of Ar")
    exact = 10 * STEP**2 / (2 * 0.1)  # 1e-9 m^2/s; less 1/216 of it, as the centre of mass rests
    assert found.error is not None
    # Squares over lags of 2 to 10 ps in blocks of 20 ps, of 648 coordinates: some 4 independent stretches in 5 blocks
    # each, which leave about sqrt(2 / (648 * 20)) = 1.2 %.
    assert 0.002 < found.error / exact < 0.05
    assert abs(found.value - exact) < 5 * found.error
    assert abs(found.value / exact - 1) < 0.06
    infinite = quantity(section, "Diffusion of Ar, infinite system")
    assert infinite.value - found.value == pytest.approx(yeh_hummer(300, 0.5, EDGE), rel=1e-6)
    lags, squares = section.plots[0].curves["Ar"]
    short = slice(1, 20)
    np.testing.assert_allclose(squares[short], 3 * STEP**2 * (lags[short] / 0.1), rtol=0.03)
    assert f"{BLOCKS} blocks of 20 ps" in section.notes[0]


def test_errors_of_diffusion_coefficients_are_as_large_as_their_misses() -> None:
    exact, misses = 10 * STEP**2 / 0.2 * (1 - 1 / 216), []
    for seed in range(12):
        trajectory = trajectory_of(walk(150, seed), interval=0.1)
        found = quantity(diffusion(work_of(trajectory)), "Diffusion of Ar")
        misses.append((found.value - exact) / present_error(found))
    # Student's t with 4 degrees of freedom has variance 2; chance leaves some 50 % in the mean of 12 squares.
    assert 0.4 < np.mean(np.square(misses)) < 6


def present_error(found: Quantity) -> float:
    assert found.error is not None
    return found.error


def test_a_cell_that_changes_adds_nothing_to_displacements() -> None:
    still = unwrapped_paths(walk(300, cell_noise=0.0))
    moving = unwrapped_paths(walk(300, cell_noise=0.001))
    # Scaling of the cell by 0.1 % moves atoms within it by up to 0.024 A a frame, and without a trend.
    assert np.mean(np.sum((moving[-1] - moving[0]) ** 2, axis=1)) == pytest.approx(
        np.mean(np.sum((still[-1] - still[0]) ** 2, axis=1)), rel=0.25
    )


def unwrapped_paths(frames: list[Atoms]) -> np.ndarray:
    trajectory = trajectory_of(frames)
    return unwrapped(trajectory.positions, trajectory.cells, trajectory.pbc)


def test_unwrapping_gives_back_the_path() -> None:
    rng = np.random.default_rng(8)
    cell = np.array([[9.0, 0, 0], [3.0, 8.0, 0], [-2.0, 1.0, 9.0]])
    path = np.cumsum(rng.normal(0, 0.5, (400, 10, 3)), axis=0)
    wrapped = path @ np.linalg.inv(cell) % 1 @ cell
    found = unwrapped(wrapped, np.tile(cell, (400, 1, 1)), np.array([True] * 3))
    np.testing.assert_allclose(found - found[0], path - path[0], atol=1e-9)


def test_what_does_not_diffuse_has_no_coefficient_but_a_reason() -> None:
    frames = walk(200)
    grid, direction = frames[0].positions.copy(), np.random.default_rng(9).normal(size=(216, 3))
    flying = [Atoms("Ar216", grid + 0.01 * n * direction, cell=[EDGE] * 3, pbc=True) for n in range(200)]
    section = diffusion(work_of(trajectory_of(flying, 0.1)))
    assert "power of 2.00" in section.missing["Diffusion of Ar"]
    with pytest.raises(Unavailable, match="at least 100 frames, found 50"):
        diffusion(work_of(trajectory_of(frames[:50], 0.1)))
    far = [
        Atoms("Ar216", atoms.positions * 0 + grid + 8.0 * (n % 3) * direction, cell=[EDGE] * 3, pbc=True)
        for n, atoms in enumerate(frames)
    ]
    for atoms in far:
        atoms.wrap()
    with pytest.raises(Unavailable, match="images are unknown"):
        diffusion(work_of(trajectory_of(far, 0.1)))


def test_the_correction_is_that_of_yeh_and_hummer() -> None:
    # By hand: 2.837297 * 1.380649e-23 J/K * 298 K / (6 pi * 0.89e-3 Pa s * 18.64e-10 m) = 3.733e-10 m^2/s.
    assert yeh_hummer(298, 0.89, 18.64) == pytest.approx(0.3733, rel=1e-3)


def test_the_correction_is_for_cubes_only() -> None:
    cube, brick = read_structure("water"), read_structure("water")
    brick.cell[2] *= 1.01
    assert cube_edge(trajectory_of([cube])) == pytest.approx(cube.cell.lengths()[0], rel=1e-12)
    with pytest.raises(Unavailable, match="cubic"):
        cube_edge(trajectory_of([brick]))


# --- molecules, dipoles, hydrogen bonds -------------------------------------------------------------------------------


def test_molecules_are_found_and_put_together_across_faces() -> None:
    atoms = read_structure("water")
    atoms.wrap()
    trajectory = trajectory_of([atoms])
    molecules = find_molecules(trajectory)
    assert {name: len(which) for name, which in molecules.species().items()} == {"H2O": 64}
    whole = molecules.whole(trajectory.positions, trajectory.cells, trajectory.pbc)[0]
    spread = [np.ptp(whole[molecules.label == number], axis=0).max() for number in range(64)]
    assert max(spread) < 2 < np.ptp(atoms.positions, axis=0).max()


def test_a_crystal_of_bonds_has_no_molecules() -> None:
    with pytest.raises(Unavailable, match="without an end"):
        find_molecules(trajectory_of([bulk("C", "diamond", a=3.57, cubic=True)]))


def test_dipoles_of_molecules_do_not_depend_on_images() -> None:
    atoms, rng = read_structure("water"), np.random.default_rng(10)
    charges = np.where(atoms.numbers == 8, -0.7, 0.35)[None] + rng.normal(0, 0.05, (1, len(atoms)))
    trajectory = trajectory_of([atoms])
    before = dipoles_of(trajectory, charges, lambda: find_molecules(trajectory))
    moved = atoms.copy()
    moved.positions += rng.integers(-2, 3, (len(atoms), 3)) @ atoms.cell.array
    other = trajectory_of([moved])
    after = dipoles_of(other, charges, lambda: find_molecules(other))
    np.testing.assert_allclose(after.total, before.total, atol=1e-9)
    np.testing.assert_allclose(before.by_species["H2O"].sum(axis=1), before.total, atol=1e-9)
    assert np.linalg.norm(before.by_species["H2O"], axis=2).max() < 1  # e A, of molecules as they are


def test_the_dipole_of_a_molecule_is_about_its_centre_of_mass() -> None:
    atoms = molecule("H2O")
    charges = np.array([[-0.8, 0.4, 0.4]])
    dipoles = dipoles_of(trajectory_of([atoms]), charges, lambda: pytest.fail("no molecules are needed"))
    np.testing.assert_allclose(dipoles.total[0], charges[0] @ atoms.positions, atol=1e-12)


def test_hydrogen_bonds_are_counted() -> None:
    dimer = s22["Water_dimer"]
    apart = dimer.copy()
    apart.positions[3:] += [5.0, 0, 0]
    section = hydrogen_bonds(work_of(trajectory_of([dimer, dimer, dimer, apart])))
    assert quantity(section, "Hydrogen bonds").value == 0.75
    dimer.set_cell([12, 12, 12])
    dimer.pbc = True
    dimer.positions += [0, 0, 11.7]
    dimer.wrap()
    assert quantity(hydrogen_bonds(work_of(trajectory_of([dimer] * 2))), "Hydrogen bonds").value == 1
    with pytest.raises(Unavailable, match="hydrogen"):
        hydrogen_bonds(work_of(trajectory_of(walk(2))))


# --- spectra ----------------------------------------------------------------------------------------------------------


def test_an_oscillation_has_its_peak_and_the_integral_is_the_number_of_states() -> None:
    times = 0.001 * np.arange(20_000)
    waves = {"O": 900.0, "H": 3600.0}
    symbols = ["O", "H", "H"]
    phases = np.random.default_rng(11).random((3, 3)) * 2 * np.pi
    rates = np.array([waves[symbol] * _THZ_PER_WAVE * 2 * np.pi for symbol in symbols])
    velocities = np.cos(times[:, None, None] * rates[None, :, None] + phases[None])
    atoms = molecule("H2O")
    atoms.symbols = symbols
    section = velocity_spectrum(work_of(trajectory_of([atoms] * len(times), velocities=velocities)))
    (plot,) = section.plots
    for element, wave in waves.items():
        x, y = plot.curves[element]
        assert x[np.argmax(y)] == pytest.approx(wave, abs=10)  # the resolution
    x, y = plot.curves["all"]
    assert y.sum() * (x[1] - x[0]) == pytest.approx(9, rel=1e-9)


def test_an_oscillating_dipole_absorbs_as_harmonic_theory_says() -> None:
    times, wave, size, temperature = 0.0005 * np.arange(40_000), 1500.0, 0.02, 300.0
    rate = 2 * np.pi * wave * _THZ_PER_WAVE
    dipoles = np.zeros((len(times), 3))
    dipoles[:, 1] = 4.0 + size * np.cos(rate * times)  # e A
    waves, absorption = absorption_of(dipoles, 0.0005, temperature, 10.0)
    assert waves[np.argmax(absorption)] == pytest.approx(wave, abs=10)
    # The dipole's rate is that by the mode, mu', times the mode's, whose mean square is k T: A = 42.26 mu'^2 km/mol.
    mean_square = (size / units.Debye * rate) ** 2 / 2
    expected = KM_PER_MOL * mean_square / (units.kB * temperature / KINETIC_UNIT)
    # The square of the wave number weighs a peak that is 20/cm wide: (20 / 1500)^2 and the window's edges.
    assert absorption.sum() * (waves[1] - waves[0]) == pytest.approx(expected, rel=5e-3)
    assert pytest.approx(42.255, abs=0.002) == KM_PER_MOL  # as published, e.g. in ase.vibrations.Infrared


def test_a_vibration_in_a_box_absorbs_by_its_current_of_polarization() -> None:
    """Of two molecules over a face of the cell, between which charge flows: by their Born charges."""
    times, wave, size, temperature = 0.002 * np.arange(600), 1000.0, 1e-3, 300.0
    atoms = s22["Water_dimer"]
    atoms.set_cell(np.diag([13.0, 14.0, 15.0]))
    atoms.pbc = True
    rate = 2 * np.pi * wave * _THZ_PER_WAVE
    mode = np.random.default_rng(3).normal(size=(len(atoms), 3))
    frames = []
    for time in times:
        frames.append(atoms.copy())
        frames[-1].positions += size * mode * np.cos(rate * time)
        frames[-1].wrap()
    velocities = -size * rate * mode * np.sin(rate * times)[:, None, None]
    known = {"log": {"temperature_K": np.full(len(times), temperature)}}
    moving = trajectory_of(frames, 0.002, velocities=velocities, **known)
    section = infrared_spectrum(work_of(moving, model="so3lr", threads=1))
    assert quantity(section, "Infrared peak").value == pytest.approx(wave, abs=15)  # the resolution of 1.2 ps
    born = So3kratesCalculator(threads=1).get_born_charges(atoms)
    mean_square = (np.einsum("ni,nij->j", mode, born) * size * rate / units.Debye) ** 2 / 2
    expected = KM_PER_MOL * mean_square.sum() / (units.kB * temperature / KINETIC_UNIT)
    integral = quantity(section, "Infrared integral").value
    assert integral == pytest.approx(expected, rel=5e-3)  # Born charges change by some 1e-3 along the mode
    assert "Of the current of polarization" in section.notes[-1]
    without = infrared_spectrum(work_of(trajectory_of(frames, 0.002, **known), model="so3lr", threads=1))
    assert abs(quantity(without, "Infrared integral").value / integral - 1) > 0.02  # what flows between the two
    assert "--write-velocities" in without.notes[-1]


def test_spectra_say_what_they_lack() -> None:
    atoms = molecule("H2O")
    velocities = np.zeros((100, 3, 3))
    coarse = trajectory_of([atoms] * 100, 0.05, velocities=velocities)
    with pytest.raises(Unavailable, match=r"50 fs apart; waves up to 4500/cm need at most 3\.71 fs"):
        velocity_spectrum(work_of(coarse))
    with pytest.raises(Unavailable, match=r"at least 0\.5 ps"):
        velocity_spectrum(work_of(trajectory_of([atoms] * 100, velocities=velocities)))
    with pytest.raises(Unavailable, match="--write-velocities"):
        velocity_spectrum(work_of(trajectory_of([atoms] * 1000)))
    with pytest.raises(Unavailable, match="no charges; --model"):
        infrared_spectrum(work_of(trajectory_of([atoms] * 1000)))


def test_times_must_be_known_and_even() -> None:
    trajectory = trajectory_of([molecule("H2O")] * 10)
    trajectory.times = None
    with pytest.raises(Unavailable, match="--frame-interval"):
        _ = trajectory.interval
    trajectory.times = np.array([0, 1, 2, 4, 5, 6, 7, 8, 9, 10.0])
    with pytest.raises(Unavailable, match="evenly spaced"):
        _ = trajectory.interval
