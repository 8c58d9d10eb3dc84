"""Structures of 0 to 60 atoms, any cell and periodicity: all that evaluate them agree, or refuse alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tolerances
from ase import Atoms
from ase.geometry import find_mic
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from lammps_runs import needs_lammps
from lammps_tools import Job, Report
from toy_models import ELEMENTS, write_toy_model

from so3md import So3kratesCalculator, evaluate_many

#: Spin 0 for an odd number of electrons is among them.
pytestmark = pytest.mark.filterwarnings("ignore::so3md.charge_and_spin.OddElectronsWarning")

EXACT = tolerances.EXACT
OPTIONS = {"precision": "double", "threads": 1, "lr_cutoff": 6.0, "lr_damping": 1.5}

#: Forces of that size, eV/A, are what EXACT speaks of: rounding grows with the terms that are summed.
USUAL_FORCE = 10.0

#: Atoms of a structure that shall be evaluated are no closer: below, repulsion alone is some keV.
CLOSEST = 0.7  # A


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every term of the first generation, narrow so that an evaluation takes a millisecond."""
    folder = tmp_path_factory.mktemp("models")
    return write_toy_model(folder / "toy.safetensors", seed=3, num_features=12, num_heads=2, cutoff=3.0)


@st.composite
def cells(draw: st.DrawFn) -> np.ndarray:
    """None, boxes, skewed and left-handed cells, cells thinner than the cutoffs; a vector may be missing."""
    kind = draw(st.sampled_from(["none", "box", "skewed", "skewed", "skewed", "missing", "flat"]))
    if kind == "none":
        return np.zeros((3, 3))
    cell = np.diag(draw(st.tuples(*[st.floats(1.5, 14.0)] * 3)))
    if kind != "box":
        random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        cell = cell @ (np.eye(3) + random.uniform(-0.4, 0.4, (3, 3)))
        cell = cell * draw(st.sampled_from([1, -1]))
    if kind == "missing":
        cell[draw(st.integers(0, 2))] = 0.0
    if kind == "flat":
        cell[2] = cell[0] + 0.5 * cell[1]
    return cell


@st.composite
def structures(draw: st.DrawFn) -> Atoms:
    """Atoms in or around the cell; mostly at distances that occur, sometimes anywhere, on each other or not numbers."""
    count = draw(st.integers(0, 60))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    cell, pbc = draw(cells()), np.array(draw(st.tuples(*[st.booleans()] * 3)))
    if draw(st.sampled_from([True, True, True, False])):
        pbc &= cell.any(axis=1)  # no vector, no period
    box = cell if abs(np.linalg.det(cell)) > 1.0 else np.eye(3) * 9.0
    elements = draw(st.sampled_from([ELEMENTS] * 7 + [(*ELEMENTS, 11)]))
    atoms = Atoms(cell=cell, pbc=pbc)
    for position in random.random((count, 3)) @ box:
        if not len(atoms) or np.linalg.norm(atoms.positions - position, axis=1).min() > CLOSEST:
            atoms += Atoms([int(random.choice(elements))], [position])
    charge = draw(st.sampled_from([0, 0, 1, -2]))
    lowest = 0.5 * ((int(atoms.numbers.sum()) - charge) % 2)  # the spin that an odd electron needs
    atoms.info = {"charge": charge, "spin": draw(st.sampled_from([0, lowest, lowest, lowest + 1, 0.5]))}
    fault = draw(st.sampled_from([None] * 12 + ["same place", "not a number", "far away"]))
    if len(atoms) > 1 and fault == "same place":
        atoms.positions[0] = atoms.positions[-1]
    elif len(atoms) and fault == "not a number":
        atoms.positions[-1, 1] = np.nan
    elif len(atoms) and fault == "far away" and pbc.any():
        atoms.positions[0] += 1e4 * cell[np.flatnonzero(pbc)[0]]
    return atoms


def with_ase(atoms: Atoms, model: Path) -> Atoms | None:
    """The structure with its results, or None if the calculator refuses it."""
    atoms = atoms.copy()
    atoms.calc = So3kratesCalculator(model=str(model), **OPTIONS)
    try:
        atoms.get_forces()
    except ValueError as error:
        event(f"refused: {str(error)[:40]}")
        return None
    return atoms


def allowed(atoms: Atoms) -> float:
    """How much larger than EXACT the differences may be, by the size of the forces."""
    return max(1.0, np.abs(atoms.get_forces()).max(initial=0.0) / USUAL_FORCE)


def assert_alike(atoms: Atoms, energy: float, forces: np.ndarray, charges: np.ndarray, rounding: float = 0.0) -> None:
    """Results of another host are those of the calculator that the structure has.

    rounding (A): of the positions in that host. So much as a displacement by it changes results, they may differ more;
    four times that, as it is in a direction taken by chance.
    """
    scale = allowed(atoms)
    found, exact = (energy, forces, charges), (EXACT.component, EXACT.forces, EXACT.charges)
    expected, moved = results_of(atoms), atoms.copy()
    moved.positions += rounding * np.random.default_rng(0).choice([-1, 1], moved.positions.shape)
    moved.calc = atoms.calc
    changed = results_of(moved) if rounding else expected
    for value, own, other, tolerance in zip(found, expected, changed, exact, strict=True):
        bound = tolerance * scale + 4 * np.abs(other - own).max(initial=0.0)
        np.testing.assert_allclose(value, own, rtol=0, atol=bound)


def results_of(atoms: Atoms) -> list[np.ndarray]:
    """Energy, forces and charges."""
    return [np.array(atoms.get_potential_energy()), atoms.get_forces(), atoms.get_charges()]


def rounding_in_lammps(atoms: Atoms) -> float:
    """LAMMPS reads atoms that are far away and takes one period after the other from them, each time with an error of
    half a digit, all of which may have the same sign. None for those that are near, which lose none that matters.
    """
    edges, farthest = atoms.cell.lengths()[atoms.pbc], np.abs(atoms.positions).max(initial=0.0)
    periods = farthest / edges.min(initial=np.inf)
    return 0.5 * periods * np.spacing(farthest) if periods > 100 else 0.0


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(atoms=structures())
def test_ase_and_evaluate_many_agree(model: Path, atoms: Atoms) -> None:
    single = with_ase(atoms, model)
    (found,) = evaluate_many([atoms], str(model), **OPTIONS, on_error=lambda index, error: None)
    assert (found is None) == (single is None)
    if found is None:
        return
    assert_alike(single, found.energy, found.forces, found.charges)
    if found.stress is not None:
        np.testing.assert_allclose(found.stress, single.get_stress(), rtol=0, atol=EXACT.stress * allowed(single))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(atoms=structures())
def test_ase_and_the_reference_model_agree(model: Path, atoms: Atoms) -> None:
    pytest.importorskip("torch", reason="the reference model needs torch (extra 'torch')")
    from so3md.reference import ReferenceModel

    atoms.info = dict.fromkeys(
        ("charge", "spin"), 0.0
    )  # which charges atoms can have, the reference model does not ask
    single = with_ase(atoms, model)
    try:
        expected = ReferenceModel.from_file(model).evaluate(
            atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, **atoms.info, lr_cutoff=6.0, lr_damping=1.5
        )
    except ValueError:
        expected = None
    if expected is not None and not np.isfinite(expected["energy"]):
        expected = None  # atoms at the same place, of which the reference makes 0 / 0
    assert (expected is None) == (single is None)
    if expected is None:
        return
    assert_alike(single, expected["energy"], expected["forces"], expected["charges"])


#: Periodicity of random structures for LAMMPS: a bulk, a slab, a wire, a molecule.
PERIODICITIES = {"bulk": [1, 1, 1], "slab": [1, 1, 0], "wire": [0, 0, 1], "molecule": [0, 0, 0]}


@needs_lammps
@pytest.mark.parametrize("kind", PERIODICITIES)
def test_ase_and_lammps_agree(model: Path, tmp_path: Path, kind: str) -> None:
    """Every kind for certain; what chance brings comes below."""
    random = np.random.default_rng(list(PERIODICITIES).index(kind))
    pbc = PERIODICITIES[kind]
    shear = random.uniform(-0.3, 0.3, (3, 3)) * np.outer(pbc, pbc)
    cell = np.diag(random.uniform(4.0, 9.0, 3)) @ (np.eye(3) + shear)
    atoms = Atoms(cell=cell, pbc=pbc)
    for position in random.random((60, 3)) @ cell:
        if not len(atoms) or _is_apart(atoms, position):
            atoms += Atoms([int(random.choice(ELEMENTS))], [position])
    expected = with_ase(atoms, model)
    assert expected is not None
    assert len(atoms) > 10
    job = Job(tmp_path, atoms, f"{model} precision double lr_cutoff 6.0 lr_damping 1.5")
    job.report("start")
    report = job.run()["start"]
    assert_alike(expected, report.energy, report.forces, report.charges)


@needs_lammps
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(atoms=structures())
def test_ase_and_lammps_refuse_alike(model: Path, tmp_path_factory: pytest.TempPathFactory, atoms: Atoms) -> None:
    """A few, as every one is a process of LAMMPS, which refuses to do nothing for no atoms."""
    expected = with_ase(atoms, model)
    found = with_lammps(atoms, model, tmp_path_factory.mktemp("lammps"))
    assert (found is None) == (expected is None or not len(atoms))
    if found is None:
        return
    assert_alike(expected, found.energy, found.forces, found.charges, rounding_in_lammps(atoms))


def with_lammps(atoms: Atoms, model: Path, folder: Path) -> Report | None:
    """What LAMMPS reports, or None if it, or what writes its data file, refuses the structure."""
    state = f"charge {atoms.info['charge']} spin {atoms.info['spin']}"
    try:
        job = Job(folder, atoms, f"{model} precision double lr_cutoff 6.0 lr_damping 1.5 {state}")
    except ValueError as error:
        event(f"refused: {str(error)[:40]}")
        return None
    job.report("start")
    result = job.start()
    if result.returncode != 0:
        (line, *_) = [line for line in result.stdout.splitlines() if "ERROR" in line]
        event(f"refused by LAMMPS: {line[:40]}")
        return None
    return job.reports(result)["start"]


def _is_apart(atoms: Atoms, position: np.ndarray) -> bool:
    """Whether an atom at the position is far enough from all others, images included."""
    vectors = atoms.positions - position
    return bool(find_mic(vectors, atoms.cell, atoms.pbc)[1].min() > CLOSEST)
