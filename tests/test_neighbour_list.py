"""The engine's own neighbour list: complete, symmetric, and built again only when that is needed."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import NamedTuple

import ase.io
import ase.neighborlist
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from so3md._engine import NeighbourList

FloatArray = NDArray[np.float64]
Pbc = tuple[bool, bool, bool]
Pair = tuple[int, int, int, int, int]  # i, j, lattice vectors from j to its image
Pairs = tuple[NDArray[np.int32], NDArray[np.int32], FloatArray]  # i, j, displacements

#: 64 water molecules in a cube of 12.4 A, from the test data of SO3LR (MIT licence).
WATER = Path(__file__).parent / "data" / "water_64.xyz"

ALL_PBC = list(itertools.product([False, True], repeat=3))
NOT_PERIODIC = (False, False, False)
PERIODIC = (True, True, True)

#: Lists are built in float and so may hold pairs a little beyond cutoff + skin, never fewer (A).
BUILD_ROUNDING = 1e-3
#: A pair this close to a limit may count as inside or outside, as displacements are rounded (A).
ROUNDING = 1e-9


class System(NamedTuple):
    """What NeighbourList.update takes."""

    positions: FloatArray
    cell: FloatArray
    pbc: Pbc

    @property
    def periodic_vectors(self) -> FloatArray:
        """The cell, with zeros in place of the vectors that must not matter."""
        return np.where(np.array(self.pbc)[:, None], self.cell, 0.0)


def water(repeat: int | tuple[int, int, int] = 1) -> System:
    atoms = ase.io.read(WATER).repeat(repeat)
    return System(atoms.positions, atoms.cell.array, PERIODIC)


def random_cell(kind: str, rng: np.random.Generator) -> FloatArray:
    """A cell of some angstroms; every kind can be combined with every periodicity."""
    cell = np.diag(rng.uniform(2.5, 9, 3))
    if kind == "triclinic":
        cell = cell + rng.uniform(-1.2, 1.2, (3, 3))
    elif kind == "left-handed":
        cell = (cell + rng.uniform(-1, 1, (3, 3)))[[1, 0, 2]]
    elif kind == "skewed":
        cell[1] += cell[0] * rng.uniform(2, 4)
        cell[2] -= cell[1] * rng.uniform(1, 2)
    elif kind == "thin":
        cell[rng.integers(3)] *= 0.25
    return cell @ np.linalg.qr(rng.normal(size=(3, 3)))[0]


CELL_KINDS = ["rectangular", "triclinic", "left-handed", "skewed", "thin"]


def random_system(
    n: int, rng: np.random.Generator, pbc: Pbc = PERIODIC, kind: str = "triclinic", spread: float = 1.0
) -> System:
    """Atoms up to `spread` cells away from the origin, to both sides."""
    cell = random_cell(kind, rng)
    return System(rng.uniform(-spread, spread, (n, 3)) @ cell, cell, pbc)


def all_distances(system: System, cutoff: float) -> tuple[FloatArray, NDArray[np.int_]]:
    """Distances (image, i, j) with j moved by every shift (image, 3) that could bring it within the cutoff."""
    positions, vectors = system.positions, system.periodic_vectors
    inverse = np.linalg.pinv(vectors)
    fractions = positions @ inverse  # zero in directions that are not periodic
    spread = np.ptp(fractions, axis=0) if len(positions) else np.zeros(3)
    reach = np.where(system.pbc, np.ceil(spread + cutoff * np.linalg.norm(inverse, axis=0)), 0).astype(int)
    shifts = np.array(list(itertools.product(*(range(-r, r + 1) for r in reach))))
    displacements = (positions[None, :] - positions[:, None]) + (shifts @ vectors)[:, None, None]
    distances = np.linalg.norm(displacements, axis=3)
    np.fill_diagonal(distances[len(shifts) // 2], np.inf)  # the zero shift stands in the middle
    return distances, shifts


def brute_force(system: System, cutoff: float) -> set[Pair]:
    distances, shifts = all_distances(system, cutoff)
    image, i, j = np.nonzero(distances < cutoff)
    return set(zip(i.tolist(), j.tolist(), *shifts[image].T.tolist(), strict=True))


def listed(pairs: Pairs, system: System) -> dict[Pair, float]:
    """Distances by pair. Displacements must be those of the positions as given plus whole lattice vectors."""
    i, j, displacements = pairs
    positions, vectors = system.positions, system.periodic_vectors
    translations = displacements - (positions[j] - positions[i])
    shifts = np.rint(translations @ np.linalg.pinv(vectors)).astype(int)
    scale = 1 + max(np.abs(positions).max(initial=0), np.abs(displacements).max(initial=0))
    np.testing.assert_allclose(shifts @ vectors, translations, rtol=0, atol=1e-12 * scale)
    keys = list(zip(i.tolist(), j.tolist(), *shifts.T.tolist(), strict=True))
    assert len(set(keys)) == len(keys), "a pair is listed twice"
    return dict(zip(keys, np.linalg.norm(displacements, axis=1), strict=True))


def assert_complete(pairs: Pairs, system: System, cutoff: float) -> dict[Pair, float]:
    """All pairs within the cutoff are listed, and what is listed within it exists."""
    found = listed(pairs, system)
    assert brute_force(system, cutoff - ROUNDING) <= found.keys()
    inside = {pair for pair, distance in found.items() if distance < cutoff - ROUNDING}
    assert inside <= brute_force(system, cutoff)
    return found


def assert_same_distances(pairs: Pairs, system: System, cutoff: float) -> None:
    """As assert_complete, in less time: for long runs."""
    found = np.linalg.norm(pairs[2], axis=1)
    expected = all_distances(system, cutoff)[0]
    found, expected = (np.sort(distances[distances < cutoff]) for distances in (found, expected))
    np.testing.assert_allclose(found, expected, rtol=0, atol=ROUNDING)


def assert_symmetric(found: dict[Pair, float]) -> None:
    assert all((j, i, -a, -b, -c) in found for i, j, a, b, c in found)


def assert_valid_domain(neighbours: NeighbourList, n: int) -> None:
    domain = neighbours.domain()
    slot = domain["slot"]
    assert sorted(neighbours.order) == list(range(n))
    assert slot[:n].tolist() == list(range(n))
    assert domain["positions"].shape == (len(slot), 3)
    referenced = set(range(n))
    for name in ("short", "long"):
        if name + "_sites" not in domain:
            continue
        sites, offsets = domain[name + "_sites"], domain[name + "_offsets"]
        assert len(offsets) == n + 1
        assert offsets[-1] == len(sites)
        for begin, end in itertools.pairwise(offsets):
            assert (np.diff(sites[begin:end]) > 0).all(), "a row is not in ascending order"
        referenced.update(sites.tolist())
    assert referenced == set(range(len(slot))), "an image site is in no list"


def check_against_brute_force(system: System, short_cutoff: float, long_cutoff: float, skin: float) -> None:
    neighbours = NeighbourList(short_cutoff, long_cutoff, skin)
    assert neighbours.update(*system)
    for cutoff, pairs in ((short_cutoff, neighbours.short_pairs()), (long_cutoff, neighbours.long_pairs())):
        if cutoff == 0:
            assert pairs is None
            continue
        found = assert_complete(pairs, system, cutoff + skin)
        assert found.keys() <= brute_force(system, cutoff + skin + BUILD_ROUNDING)
        assert_symmetric(found)
    assert_valid_domain(neighbours, len(system.positions))


# All pairs, in any cell


@pytest.mark.parametrize("kind", CELL_KINDS)
@pytest.mark.parametrize("pbc", ALL_PBC)
def test_every_kind_of_cell_and_periodicity_equals_brute_force(kind: str, pbc: Pbc) -> None:
    check_against_brute_force(random_system(7, np.random.default_rng(1), pbc, kind), 3.1, 5.2, 0.4)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(CELL_KINDS),
    pbc=st.sampled_from(ALL_PBC),
    n=st.integers(0, 20),
    spread=st.sampled_from([0.3, 1.0, 3.0]),
    cutoffs=st.tuples(st.floats(0.5, 5), st.just(0.0) | st.floats(0.5, 5)),
    skin=st.floats(0, 1),
)
@example(seed=0, kind="triclinic", pbc=PERIODIC, n=1, spread=1.0, cutoffs=(5.0, 4.0), skin=0.0)
@example(seed=0, kind="thin", pbc=PERIODIC, n=1, spread=1.0, cutoffs=(4.0, 5.0), skin=0.5)
def test_random_systems_equal_brute_force(
    seed: int, kind: str, pbc: Pbc, n: int, spread: float, cutoffs: tuple[float, float], skin: float
) -> None:
    check_against_brute_force(random_system(n, np.random.default_rng(seed), pbc, kind, spread), *cutoffs, skin)


@pytest.mark.parametrize("pbc", ALL_PBC[:-1])
def test_vectors_of_directions_that_are_not_periodic_may_be_zero(pbc: Pbc) -> None:
    full = random_system(15, np.random.default_rng(2), pbc)
    check_against_brute_force(full._replace(cell=full.periodic_vectors), 3.0, 6.0, 0.5)


@pytest.mark.parametrize("cutoff", [4.5, 12.0])
def test_water_equals_ase(cutoff: float) -> None:
    system = water()
    neighbours = NeighbourList(4.5, 12.0, 0.5)
    neighbours.update(*system)
    found = listed(neighbours.short_pairs() if cutoff == 4.5 else neighbours.long_pairs(), system)
    i, j, shifts = ase.neighborlist.neighbor_list("ijS", ase.io.read(WATER), cutoff)
    expected = set(zip(i.tolist(), j.tolist(), *shifts.T.tolist(), strict=True))
    assert {pair for pair, distance in found.items() if distance < cutoff} == expected


def test_supercells_have_the_same_neighbours_per_atom() -> None:
    counts = []
    for repeat in (1, 2, 3):
        system = water((repeat, 1, 2))
        neighbours = NeighbourList(4.5, 12.0, 0.0)
        neighbours.update(*system)
        distances = np.linalg.norm(neighbours.long_pairs()[2], axis=1)
        counts.append([np.count_nonzero(distances < cutoff) / len(system.positions) for cutoff in (4.5, 12.0)])
    np.testing.assert_array_equal(counts[1:], counts[:-1])


@pytest.mark.parametrize("pbc", [NOT_PERIODIC, PERIODIC])
def test_no_atoms(pbc: Pbc) -> None:
    system = System(np.zeros((0, 3)), 10 * np.eye(3), pbc)
    check_against_brute_force(system, 4.5, 12.0, 0.5)
    neighbours = NeighbourList(4.5, 12.0, 0.5)
    assert [neighbours.update(*system) for _ in range(2)] == [True, False]


def test_one_atom_sees_its_own_images() -> None:
    neighbours = NeighbourList(1.1, 1.5, 0.0)
    neighbours.update([[0.3, 0.4, 99.0]], np.eye(3), PERIODIC)
    assert len(neighbours.short_pairs()[0]) == 6
    assert len(neighbours.long_pairs()[0]) == 18
    assert len(neighbours.domain()["slot"]) == 19


def test_infinite_cutoff_needs_no_list() -> None:
    neighbours = NeighbourList(2.0, np.inf, 0.5)
    neighbours.update([[0, 0, 0], [1, 0, 0], [50, 0, 0]], np.zeros((3, 3)), NOT_PERIODIC)
    assert neighbours.long_pairs() is None
    assert len(neighbours.short_pairs()[0]) == 2


def test_atoms_that_left_the_cell_keep_their_pairs_and_need_no_more_sites() -> None:
    inside = water()
    shifts = np.random.default_rng(3).integers(-5, 6, inside.positions.shape)
    outside = inside._replace(positions=inside.positions + shifts @ inside.cell)
    distances, n_sites = [], []
    for system in (inside, outside):
        neighbours = NeighbourList(4.5, 12.0, 0.5)
        neighbours.update(*system)
        distances.append(sorted(listed(neighbours.long_pairs(), system).values()))
        n_sites.append(len(neighbours.domain()["slot"]))
    np.testing.assert_allclose(distances[1], distances[0], rtol=0, atol=ROUNDING)
    assert n_sites[0] == n_sites[1]


def test_order_is_compact_in_space() -> None:
    system = water(3)
    shuffled = system.positions[np.random.default_rng(4).permutation(len(system.positions))]
    neighbours = NeighbourList(4.5, 12.0, 0.5)
    neighbours.update(shuffled, system.cell, PERIODIC)

    def mean_step(positions: FloatArray) -> float:
        steps = np.diff(positions, axis=0) @ np.linalg.inv(system.cell)
        return float(np.linalg.norm((steps - np.rint(steps)) @ system.cell, axis=1).mean())

    assert mean_step(shuffled[neighbours.order]) < 0.5 * mean_step(shuffled)


@pytest.mark.parametrize("distance", [1e4, 9.9e7])
def test_molecules_far_apart(distance: float) -> None:
    molecule = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1.3, 0.2]])
    other = molecule + np.array([distance, -distance, distance])
    system = System(np.concatenate([molecule, other]), np.zeros((3, 3)), NOT_PERIODIC)
    check_against_brute_force(system, 4.5, 12.0, 0.5)


def test_cluster_in_a_large_periodic_cell() -> None:
    positions = np.random.default_rng(5).uniform(-4, 4, (60, 3))  # across the faces of the cell
    check_against_brute_force(System(positions, np.diag([500.0, 600.0, 700.0]), PERIODIC), 3.0, 6.0, 0.5)


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_do_not_change_anything(threads: int) -> None:
    system = water((2, 1, 1))
    domains = []
    for count in (1, threads):
        neighbours = NeighbourList(4.5, 12.0, 0.5)
        neighbours.update(*system, threads=count)
        domains.append(neighbours.domain())
    assert domains[0].keys() == domains[1].keys()
    for name, values in domains[0].items():
        np.testing.assert_array_equal(domains[1][name], values)


# The skin


def small_step(kind: str, system: System, rng: np.random.Generator) -> System:
    positions, cell, pbc = system
    strain = np.eye(3) + rng.normal(scale=4e-4, size=(3, 3))
    if kind != "cell alone":
        positions = positions + rng.normal(scale=0.01, size=positions.shape)
    if kind == "all drift":
        positions = positions + np.array([0.4, -0.7, 0.2])
    if kind == "cell with atoms":
        positions = positions @ strain
    if kind.startswith("cell"):
        cell = cell @ strain
    return System(positions, cell, pbc)


@pytest.mark.parametrize("kind", ["atoms", "all drift", "cell alone", "cell and atoms", "cell with atoms"])
@pytest.mark.parametrize("pbc", [NOT_PERIODIC, (False, True, False), (True, False, True), PERIODIC])
def test_pairs_stay_complete_between_rebuilds(kind: str, pbc: Pbc) -> None:
    rng = np.random.default_rng(6)
    system = random_system(12, rng, pbc)
    neighbours = NeighbourList(2.5, 4.5, 0.6)
    steps = 80
    for _ in range(steps):
        neighbours.update(*system)
        assert_same_distances(neighbours.short_pairs(), system, 2.5)
        assert_same_distances(neighbours.long_pairs(), system, 4.5)
        system = small_step(kind, system, rng)
    assert neighbours.updates == steps
    assert 1 <= neighbours.rebuilds <= steps / 8


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), pbc=st.sampled_from(ALL_PBC), scale=st.sampled_from([0.003, 0.03, 0.3]))
def test_any_change_leaves_the_pairs_complete(seed: int, pbc: Pbc, scale: float) -> None:
    rng = np.random.default_rng(seed)
    system = random_system(6, rng, pbc)
    neighbours = NeighbourList(4.0, 2.0, 0.5)
    for _ in range(4):
        neighbours.update(*system)
        assert_complete(neighbours.short_pairs(), system, 4.0)
        assert_complete(neighbours.long_pairs(), system, 2.0)
        strain = np.eye(3) + rng.normal(scale=0.1 * scale, size=(3, 3))
        moved = system.positions @ (strain if rng.random() < 0.5 else np.eye(3))
        system = System(moved + rng.normal(scale=scale, size=moved.shape), system.cell @ strain, pbc)


def test_two_atoms_may_approach_by_the_skin() -> None:
    neighbours = NeighbourList(4.5, 0.0, 0.5)
    start = np.array([[0.0, 0, 0], [5.01, 0, 0], [20.0, 0, 0]])
    step = np.array([[1.0, 0, 0], [-1.0, 0, 0], [0, 0, 0]])
    updates = [neighbours.update(start + t * step, np.zeros((3, 3)), NOT_PERIODIC) for t in (0, 0.249, 0.26)]
    assert updates == [True, False, True]
    assert len(neighbours.short_pairs()[0]) == 2


def test_the_two_largest_moves_count_together() -> None:
    # The middle of all moves is zero; the first atom moves further from it than the second one, and they meet head on.
    directions = np.array([[1.0, 1, 0], [-1, 0, 0], [0, -1, 0]])
    start = np.array([[0.0, 0, 0], np.array([2, 1, 0]) / np.sqrt(5) * 5.01, [0, 0, 30]])
    neighbours = NeighbourList(4.5, 0.0, 0.5)
    updates = [neighbours.update(start + t * directions, np.zeros((3, 3)), NOT_PERIODIC) for t in (0, 0.2, 0.24)]
    assert updates == [True, False, True]
    assert len(neighbours.short_pairs()[0]) == 2


def test_shear_brings_atoms_together_along_the_diagonal() -> None:
    positions = np.array([[0.0, 0, 0], [5.01 / np.sqrt(2), -5.01 / np.sqrt(2), 0]])
    neighbours = NeighbourList(4.5, 0.0, 0.5)
    for shear in (0, 0.05, 0.11):
        strain = np.array([[1, shear, 0], [shear, 1, 0], [0, 0, 1]])
        system = System(positions @ strain, 20 * strain, PERIODIC)
        neighbours.update(*system)
        assert_complete(neighbours.short_pairs(), system, 4.5)
    assert neighbours.rebuilds == 2


def test_an_image_without_a_site_comes_within_the_cutoff() -> None:
    neighbours = NeighbourList(4.5, 0.0, 0.5)
    neighbours.update([[1.0, 2.0, 3.0]], np.diag([5.2, 20, 20]), PERIODIC)
    assert len(neighbours.domain()["slot"]) == 1
    assert neighbours.update([[1.0, 2.0, 3.0]], np.diag([4.4, 20, 20]), PERIODIC)
    assert len(neighbours.short_pairs()[0]) == 2


def test_far_images_in_a_shrinking_cell_are_not_missed() -> None:
    # Each lattice vector shrinks by little, but the image at the cutoff comes closer by 26 times that.
    neighbours = NeighbourList(13.0, 0.0, 0.1)
    for side in np.linspace(0.5, 0.48, 41):
        system = System(np.zeros((1, 3)), np.diag([side, 1, 1]), (True, False, False))
        neighbours.update(*system)
        assert_complete(neighbours.short_pairs(), system, 13.0)
    assert 2 <= neighbours.rebuilds < 20


@pytest.mark.parametrize("pbc", [NOT_PERIODIC, PERIODIC])
def test_motion_of_everything_needs_no_rebuild(pbc: Pbc) -> None:
    rng = np.random.default_rng(7)
    system = random_system(10, rng, pbc)
    neighbours = NeighbourList(2.5, 4.5, 0.5)
    neighbours.update(*system)
    drift = np.array([30.0, -50.0, 7.0])
    assert not neighbours.update(system.positions + drift, system.cell, pbc)
    if pbc == PERIODIC:
        rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        assert not neighbours.update(system.positions @ rotation, system.cell @ rotation, pbc)


@pytest.mark.parametrize("skin", [0.0, 0.5])
def test_where_nothing_moves_nothing_is_built(skin: float) -> None:
    neighbours = NeighbourList(4.5, 12.0, skin)
    assert [neighbours.update(*water()) for _ in range(3)] == [True, False, False]
    assert neighbours.rebuilds == 1


def test_number_of_atoms_and_periodicity_force_a_rebuild() -> None:
    start = random_system(9, np.random.default_rng(8))
    neighbours = NeighbourList(2.5, 4.5, 0.5)
    for n, pbc in ((9, PERIODIC), (8, PERIODIC), (9, PERIODIC), (9, (True, True, False)), (9, NOT_PERIODIC)):
        system = System(start.positions[:n], start.cell, pbc)
        assert neighbours.update(*system)
        assert_complete(neighbours.long_pairs(), system, 4.5)


def test_periodicity_counts_where_the_vectors_are_those_that_stand_in_for_none() -> None:
    neighbours = NeighbourList(1.1, 0.0, 0.5)
    counts = []
    for pbc in (NOT_PERIODIC, (True, False, False), PERIODIC, NOT_PERIODIC):
        neighbours.update(np.zeros((1, 3)), np.eye(3), pbc)
        counts.append(np.count_nonzero(np.linalg.norm(neighbours.short_pairs()[2], axis=1) < 1.1))
    assert counts == [0, 2, 6, 0]


def test_mirrored_cell() -> None:
    system = random_system(9, np.random.default_rng(9))
    neighbours = NeighbourList(2.5, 4.5, 0.5)
    for mirror in ([1, 1, 1], [-1, -1, -1], [1, 1, -1]):
        mirrored = system._replace(cell=system.cell * np.array(mirror)[:, None])
        neighbours.update(*mirrored)
        assert_complete(neighbours.long_pairs(), mirrored, 4.5)


# Bad input


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e8, -3e9])
def test_impossible_position_is_named_and_the_list_goes_on(bad: float) -> None:
    system = random_system(9, np.random.default_rng(10))
    neighbours = NeighbourList(2.5, 4.5, 0.5)
    neighbours.update(*system)
    broken = system.positions.copy()
    broken[7, 1] = bad
    with pytest.raises(ValueError, match=r"atom 7 .*expected finite"):
        neighbours.update(broken, system.cell, PERIODIC)
    neighbours.update(*system)
    assert_complete(neighbours.long_pairs(), system, 4.5)


@pytest.mark.parametrize(
    ("cell", "pbc", "message"),
    [
        (np.diag([5.0, 0, 5]), PERIODIC, r"cell vector 2 of 3 has zero length.*pbc\[1\]"),
        (np.array([[5.0, 0, 0], [10, 0, 0], [0, 0, 5]]), PERIODIC, "linearly dependent"),
        (np.array([[5.0, 0, 0], [10, 0, 0], [0, 0, 5]]), (True, True, False), "linearly dependent"),
        (np.array([[5.0, 0, 0], [0, 5, 0], [3, 4, 0]]), PERIODIC, "linearly dependent"),
        (np.diag([5.0, np.nan, 5]), PERIODIC, "cell vector 2 of 3 .*finite"),
        (np.diag([5.0, 5, np.inf]), NOT_PERIODIC, "cell vector 3 of 3 .*finite"),
        (np.diag([0.1, 0.1, 0.1]), PERIODIC, "too thin"),
        (np.eye(2), PERIODIC, r"expected \(3, 3\)"),
    ],
)
def test_impossible_cell(cell: FloatArray, pbc: Pbc, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NeighbourList(4.5, 12.0, 0.5).update(np.eye(3), cell, pbc)


def test_too_many_images() -> None:
    atoms = np.linspace(0, 1, 30000)[:, None] * np.ones(3)
    with pytest.raises(ValueError, match="too many atoms"):
        NeighbourList(4.5, 12.0, 0.5).update(atoms, 0.6 * np.eye(3), PERIODIC)


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ((0.0, 12.0, 0.5), "short cutoff"),
        ((np.inf, 12.0, 0.5), "short cutoff"),
        ((np.nan, 12.0, 0.5), "short cutoff"),
        ((4.5, -1.0, 0.5), "long cutoff"),
        ((4.5, np.nan, 0.5), "long cutoff"),
        ((4.5, 12.0, -0.1), "skin"),
        ((4.5, 12.0, np.inf), "skin"),
    ],
)
def test_impossible_lengths(lengths: tuple[float, float, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NeighbourList(*lengths)


@pytest.mark.parametrize("pbc", ALL_PBC[1:])
def test_infinite_cutoff_is_refused_for_periodic_systems(pbc: Pbc) -> None:
    with pytest.raises(ValueError, match="infinite"):
        NeighbourList(4.5, np.inf, 0.5).update(np.zeros((1, 3)), 10 * np.eye(3), pbc)


def test_positions_of_the_wrong_shape() -> None:
    with pytest.raises(ValueError, match=r"expected \(number of atoms, 3\)"):
        NeighbourList(4.5).update(np.zeros((3, 2)), np.eye(3), NOT_PERIODIC)
