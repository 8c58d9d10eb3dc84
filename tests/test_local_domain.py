"""The domain of one of several processes, and the halo exchange between them, without MPI."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from parallel_threads import ThreadedEngines
from reference_data import load_system
from tolerances import RANKS, RANKS_RELATIVE_ENERGY, assert_within, rounding
from toy_models import VARIANTS, VARIANTS_SO3LR2

from so3md import _engine, load_model

SHORT, LONG = 3.0, 5.0
PERIODIC, OPEN, SLAB = (True, True, True), (False, False, False), (True, True, False)
SKEWED = np.array([[11.0, 0.0, 0.0], [2.5, 10.0, 0.0], [-1.5, 1.0, 9.0]])

SYSTEMS = {
    "bulk": (np.eye(3) * 12.0, PERIODIC, 70),
    "skewed": (SKEWED, PERIODIC, 50),
    "slab": (SKEWED, SLAB, 50),
    "cluster": (np.eye(3) * 9.0, OPEN, 40),
    "thinner than the cutoffs": (np.diag([2.6, 4.1, 14.0]), PERIODIC, 12),
}


# --- the domain of a process ----------------------------------------------------------------------------------------


def random_system(name: str) -> tuple[np.ndarray, np.ndarray, tuple[bool, bool, bool]]:
    """Positions, some of them outside of the cell, the cell, and its periodic directions."""
    cell, pbc, n = SYSTEMS[name]
    fractions = np.random.default_rng(n).uniform(-0.3, 1.3, (n, 3))
    return fractions @ cell, cell, pbc


def images(cell: np.ndarray, pbc: tuple[bool, bool, bool]) -> np.ndarray:
    """The lattice vectors by which neighbours may be displaced."""
    heights = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    reach = np.where(pbc, np.ceil(LONG / heights).astype(int) + 2, 0)  # atoms lie up to two cells apart
    return np.array(list(product(*(range(-r, r + 1) for r in reach)))) @ cell


def brute_force(positions: np.ndarray, shifts: np.ndarray, i: int, radius: float) -> Counter:
    """The neighbours of an atom within a radius: (atom, rounded displacement) of each."""
    apart = positions[:, None] + shifts - positions[i]
    squared = np.einsum("jta,jta->jt", apart, apart)
    return Counter(key(j, apart[j, t]) for j, t in np.argwhere((squared < radius**2) & (squared > 0)))


def key(atom: int, displacement: np.ndarray) -> tuple[int, ...]:
    return (int(atom), *(np.round(displacement, 5) * 1e5).astype(int).tolist())


def neighbours(domain: dict[str, Any], kind: str, i: int, radius: float, atom_of_slot: list[int]) -> Counter:
    """The same from a domain, whose lists may hold pairs that are rounding errors beyond the radius."""
    offsets, sites = domain[f"{kind}_offsets"], domain[f"{kind}_sites"]
    found: Counter = Counter()
    for site in sites[offsets[i] : offsets[i + 1]]:
        displacement = domain["positions"][site] - domain["positions"][i]
        if np.linalg.norm(displacement) < radius:
            found[key(atom_of_slot[domain["slot"][site]], displacement)] += 1
    return found


def check_domain(
    domain: dict[str, Any], process: int, owners: np.ndarray, atom_of_slot: list[int], system: tuple[Any, ...]
) -> None:
    """owners: the process of each atom; atom_of_slot: the atom that the domain shows in a slot."""
    positions, cell, pbc = system
    n_owned, n_near, n_far = domain["n_owned"], domain["n_near"], domain["n_far"]
    assert sorted(atom_of_slot[:n_owned]) == np.flatnonzero(owners == process).tolist()
    assert len(set(atom_of_slot)) == len(atom_of_slot) == n_owned + n_near + n_far
    assert all(owners[atom] != process for atom in atom_of_slot[n_owned:])
    np.testing.assert_array_equal(domain["slot"][:n_owned], np.arange(n_owned))
    shifts = images(cell, pbc)
    near, all_remote = set(), set()
    for i in range(n_owned):
        short = neighbours(domain, "short", i, SHORT, atom_of_slot)
        assert short == brute_force(positions, shifts, atom_of_slot[i], SHORT)
        long = neighbours(domain, "long", i, LONG, atom_of_slot)
        assert long == brute_force(positions, shifts, atom_of_slot[i], LONG)
        of_others = {atom for atom, *_ in short if owners[atom] != process}
        assert not of_others or i >= domain["n_interior"]
        near |= of_others
        all_remote |= {atom for atom, *_ in long if owners[atom] != process}
    assert near == set(atom_of_slot[n_owned : n_owned + n_near])
    assert all_remote == set(atom_of_slot[n_owned:])


@pytest.mark.parametrize("processes", [1, 2, 3, 5])
@pytest.mark.parametrize("name", SYSTEMS)
def test_a_domain_of_a_periodic_cell_has_all_neighbours_and_only_the_halo_that_it_needs(name: str, processes: int):
    system = positions, cell, pbc = random_system(name)
    owners = _engine.partition(positions, cell, pbc, processes)
    pairs = np.column_stack([owners, np.arange(len(positions))])
    for process in range(processes):
        domain = _engine.local_domain(positions, cell, pbc, pairs, process, SHORT, LONG)
        assert domain["halo"] == [tuple(pairs[atom]) for atom in domain["point_of_slot"][domain["n_owned"] :]]
        check_domain(domain, process, owners, domain["point_of_slot"], system)


@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("name", SYSTEMS)
def test_a_domain_of_ghosts_is_the_same_as_that_of_the_periodic_cell(name: str, processes: int):
    """Hosts such as LAMMPS show images and atoms of other processes as further points, without periodic directions."""
    system = positions, cell, pbc = random_system(name)
    owners = _engine.partition(positions, cell, pbc, processes)
    number_there = np.empty(len(positions), dtype=int)  # own atoms come first in each process
    for process in range(processes):
        own = np.flatnonzero(owners == process)
        number_there[own] = np.arange(len(own))
    for process in range(processes):
        own = np.flatnonzero(owners == process)
        atoms, points = with_ghosts(own, positions, images(cell, pbc))
        pairs = np.column_stack([owners[atoms], number_there[atoms]])
        domain = _engine.local_domain(points, np.zeros((3, 3)), OPEN, pairs, process, SHORT, LONG)
        atom_of_slot = [int(atoms[point]) for point in domain["point_of_slot"]]
        assert domain["halo"] == [
            (int(owners[atom]), int(number_there[atom])) for atom in atom_of_slot[domain["n_owned"] :]
        ]
        check_domain(domain, process, owners, atom_of_slot, system)


def with_ghosts(own: np.ndarray, positions: np.ndarray, shifts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Atoms (by number) and places of own points and then of all others within the long radius of any of them."""
    places = positions[:, None] + shifts
    apart = np.linalg.norm(places[None] - positions[own][:, None, None], axis=3).min(axis=0, initial=np.inf)
    ghost = apart < LONG + 0.1
    ghost[np.ix_(own, np.flatnonzero(np.all(shifts == 0, axis=1)))] = False
    atoms, _ = np.nonzero(ghost)
    return np.concatenate([own, atoms]), np.concatenate([positions[own], places[ghost]])


def test_without_a_cutoff_every_other_atom_is_in_the_halo():
    positions, cell, pbc = random_system("cluster")
    pairs = np.column_stack([_engine.partition(positions, cell, pbc, 3), np.arange(len(positions))])
    for process in range(3):
        domain = _engine.local_domain(positions, cell, pbc, pairs, process, SHORT, np.inf)
        assert domain["n_owned"] + domain["n_near"] + domain["n_far"] == len(positions)
        assert "long_sites" not in domain


def test_a_process_without_atoms_has_an_empty_domain():
    positions, cell, pbc = random_system("bulk")
    pairs = np.column_stack([np.zeros(len(positions), dtype=int), np.arange(len(positions))])
    domain = _engine.local_domain(positions, cell, pbc, pairs, 1, SHORT, LONG)
    assert domain["n_owned"] == domain["n_near"] == domain["n_far"] == 0
    assert domain["halo"] == []


# --- the exchange ---------------------------------------------------------------------------------------------------

#: Several processes in threads; more is for MPI (test_parallel_ase.py).
PROCESSES = (1, 2, 3, 5, 8)


@pytest.fixture(scope="module")
def so3lr() -> Any:
    return load_model("so3lr")


def options(system: Any, precision: str = "double") -> dict[str, Any]:
    return {"precision": precision, "lr_cutoff": system.lr_cutoff}


def check_equal(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    assert abs(found["energy"] - expected["energy"]) <= RANKS_RELATIVE_ENERGY * abs(expected["energy"])
    np.testing.assert_allclose(found["forces"], expected["forces"], rtol=0, atol=RANKS.forces)
    np.testing.assert_allclose(found["virial"], expected["virial"], rtol=0, atol=RANKS.component)
    for name in ("charges", "hirshfeld_ratios"):
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=RANKS.charges)


@pytest.mark.parametrize("processes", PROCESSES)
@pytest.mark.parametrize("name", ["water_64_triclinic", "water_64_slab", "atat_nocut", "nh4cl_p1"])
def test_engines_that_share_the_work_have_the_results_of_one(so3lr: Any, name: str, processes: int):
    system = load_system(name)
    team = ThreadedEngines(processes, so3lr, **options(system))
    expected = _engine.Engine(so3lr, threads=1, **options(system)).evaluate(**system.structure)
    check_equal(team.evaluate(system.structure), expected)
    assert team.job.messages_left() == 0


@pytest.mark.parametrize("variant", VARIANTS | VARIANTS_SO3LR2)
def test_every_kind_of_model_can_be_shared(variant: str, toy_model: Callable[..., Path]):
    rng = np.random.default_rng(8)
    cell = np.diag([9.0, 8.0, 10.0])
    grid = np.array(list(product(range(3), repeat=3))) / 3
    structure = {
        "numbers": rng.choice([1, 6, 8], len(grid)),
        "positions": grid @ cell + rng.uniform(-0.5, 0.5, (len(grid), 3)),
        "cell": cell,
        "pbc": np.array([True, True, False]),
        "charge": 1.0,
        "spin": 0.5,
    }
    model = load_model(toy_model(**(VARIANTS | VARIANTS_SO3LR2)[variant]))
    exact = {"forces": RANKS.forces, "energies": RANKS.forces, "virial": RANKS.forces * len(grid)}
    for precision, bounds in (("double", exact), ("mixed", rounding(model, structure, lr_cutoff=6.0))):
        choice = {"precision": precision, "lr_cutoff": 6.0}
        expected = _engine.Engine(model, threads=1, **choice).evaluate(**structure)
        found = ThreadedEngines(3, model, **choice).evaluate(structure)
        assert np.abs(expected["forces"]).max() > 1e-3
        assert_within(bounds, found, expected, precision)


def test_the_number_of_atoms_may_change_and_be_zero(so3lr: Any):
    system = load_system("water_64")
    team = ThreadedEngines(3, so3lr, **options(system))
    alone = _engine.Engine(so3lr, threads=1, **options(system))
    for n in (192, 0, 2, 192):
        part = system.structure | {"numbers": system.numbers[:n], "positions": system.positions[:n]}
        found, expected = team.evaluate(part), alone.evaluate(**part)
        if n > 0:
            check_equal(found, expected)
        else:
            assert found["energy"] == expected["energy"] == 0.0


def test_lists_are_rebuilt_by_all_and_atoms_move_over(so3lr: Any):
    system = load_system("water_64")
    team = ThreadedEngines(4, so3lr, **options(system))
    alone = _engine.Engine(so3lr, threads=1, **options(system))
    first = team.parts(system.structure)
    moved = system.structure | {"positions": system.positions + np.array([0.0, 0.0, 3.0])}
    parts = team.parts(moved)
    assert any(set(a["atoms"]) == set(b["atoms"]) for a, b in zip(first, parts, strict=True)), "nothing but a shift"
    rng = np.random.default_rng(0)
    shaken = system.structure | {"positions": system.positions + rng.normal(0, 0.15, system.positions.shape)}
    check_equal(team.evaluate(shaken), alone.evaluate(**shaken))
    later = team.parts(shaken)
    assert any(set(a["atoms"]) != set(b["atoms"]) for a, b in zip(first, later, strict=True))
    assert len({part["neighbour_rebuilds"] for part in later}) == 1


@pytest.mark.parametrize("precision", ["double", "mixed"])
@pytest.mark.parametrize("processes", [2, 5])
def test_bytes_are_those_of_the_rows_of_the_halo(so3lr: Any, processes: int, precision: str):
    system = load_system("water_64")
    team = ThreadedEngines(processes, so3lr, **options(system, precision))
    team.evaluate(system.structure)  # the plan
    planned = [(transport.bytes_sent, transport.messages_sent) for transport in team.transports]
    before = [engine.info()["halo"] for engine in team.engines]
    team.evaluate(system.structure)
    after = [engine.info()["halo"] for engine in team.engines]
    near_numbers, number_size = NUMBERS_PER_EVALUATION[precision]
    for a, b, transport, (old_bytes, old_messages) in zip(before, after, team.transports, planned, strict=True):
        sent = b["bytes"] - a["bytes"]
        assert sent == number_size * (b["near_rows_sent"] * near_numbers + b["all_rows_sent"] * 2)
        assert sent == transport.bytes_sent - old_bytes
        assert b["messages"] - a["messages"] == transport.messages_sent - old_messages
        assert b["exchanges"] - a["exchanges"] == 6
        assert b["sums"] - a["sums"] == 3
    for name, rows in (("near", ("n_near",)), ("all", ("n_near", "n_far"))):  # what is sent is received
        assert sum(info[f"{name}_rows_sent"] for info in after) == sum(info[row] for info in after for row in rows)


#: For SO3LR: numbers in a near row over an evaluation with forces, and their bytes. 128 features and 24 coordinates go
#: out after each of three layers but the last, and their gradients before each; in `mixed`, the first layer's gradients
#: of features are those of 4 heads for each of 8 elements. In an all-row, charge and polarisability.
NUMBERS_PER_EVALUATION = {"double": (5 * (128 + 24), 8), "mixed": (4 * (128 + 24) + 4 * 8 + 24, 4)}


def test_a_failure_on_one_process_fails_all_and_the_next_evaluation_works(so3lr: Any):
    system = load_system("water_64")
    team = ThreadedEngines(3, so3lr, **options(system))
    expected = team.evaluate(system.structure)
    positions = system.positions.copy()
    positions[17] = positions[90]
    errors = team.parts(system.structure | {"positions": positions})
    kinds = {type(error) for error in errors}
    assert ValueError in kinds
    assert kinds <= {ValueError, _engine.FailedElsewhere}
    assert any("atoms 17 and 90 are at" in str(error) or "atoms 90 and 17 are at" in str(error) for error in errors)
    np.testing.assert_array_equal(team.evaluate(system.structure)["forces"], expected["forces"])


def test_what_a_transport_raises_comes_out_of_the_evaluation(so3lr: Any):
    class Broken:
        rank, size = 0, 2

        def transpose(self, send: np.ndarray, received: np.ndarray) -> None:
            raise ConnectionError("the cable is cut")

    engine = _engine.Engine(so3lr, threads=1, transport=Broken())
    with pytest.raises(ConnectionError, match="the cable is cut"):
        engine.evaluate(**load_system("nh4cl_0").structure)


def test_a_rank_that_cannot_be_is_refused(so3lr: Any):
    class Outside:
        rank, size = 2, 2

    with pytest.raises(ValueError, match="rank 2 of 2: expected 0 or more, and less than the size"):
        _engine.Engine(so3lr, transport=Outside())
    with pytest.raises(AttributeError, match="rank"):
        _engine.Engine(so3lr, transport=Path())


def test_features_of_layers_are_those_of_one_process(so3lr: Any):
    system = load_system("nh4cl_0")
    expected = _engine.Engine(so3lr, threads=1, **options(system)).intermediates(**system.structure)
    team = ThreadedEngines(3, so3lr, **options(system))
    parts = team.on_each(lambda engine: engine.intermediates(**system.structure))
    for name, values in expected.items():
        for part in parts:
            np.testing.assert_allclose(part[name], values[part["atoms"]], rtol=0, atol=RANKS.features, err_msg=name)
