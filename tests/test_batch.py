"""Many structures at once: what single evaluations give, in the same order, for any mixture and number of threads."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tolerances
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import PropertyNotImplementedError
from paper_models import structure_of

import so3md.batch
from so3md import So3kratesCalculator, evaluate_many
from so3md.batch import Prediction

EXACT = tolerances.EXACT

#: Models that differ in what couples the atoms of a structure, or in what a batch has to list.
MODELS = [
    "default",
    "network_only",
    "zbl_only",
    "all_of_so3lr2",
    "electrostatics_only",
    "dispersion_only",
    "charge_embedding_only",
    "spin_embedding_only",
    "no_embeddings",
    "gelu",
]

ToyModel = Callable[..., Path]


def displaced(atoms: Atoms, seed: int, **info: float) -> Atoms:
    result = atoms.copy()
    result.positions += 0.05 * np.random.default_rng(seed).standard_normal(result.positions.shape)
    result.info = info
    return result


def molecules() -> list[Atoms]:
    """Neutral ones, ions, radicals, atoms; several with one composition, charge and spin; more atoms than a batch."""
    kinds = [
        displaced(molecule("CH3CH2OH"), 1),
        displaced(molecule("CH3CH2OH"), 2, charge=1, spin=0.5),
        displaced(molecule("CH3OCH3"), 3, charge=1, spin=0.5),
        displaced(molecule("CH4"), 4, charge=1, spin=0.5),
        displaced(molecule("OH"), 5, charge=-1),
        displaced(molecule("OH"), 6, spin=0.5),
        displaced(molecule("O2"), 7, spin=1),
        Atoms("C"),
        Atoms("H", info={"charge": 1}),
        displaced(molecule("H2O"), 8),
        displaced(molecule("CO2"), 9),
        displaced(molecule("C6H6"), 10),
    ]
    copies = [displaced(atoms, 100 * copy + k, **atoms.info) for copy in range(6) for k, atoms in enumerate(kinds)]
    return kinds + copies


def periodic() -> list[Atoms]:
    """Bulk, slab and wire; cells smaller than the cutoff; a charged one; one that is shared by all threads."""
    water = Atoms([*molecule("H2O").numbers] * 3, cell=[6.0, 6.5, 7.0], pbc=True)
    water.positions = np.concatenate([molecule("H2O").positions + shift for shift in ([0, 0, 0], [3, 3, 0], [0, 3, 3])])
    slab = displaced(water, 11)
    slab.pbc = [True, False, True]
    wire = displaced(water, 12)
    wire.pbc = [False, True, False]
    diamond = bulk("C", "diamond", a=3.57)
    cells = [displaced(water, 13), diamond, slab, Atoms("C", cell=[3, 3, 3], pbc=True), displaced(diamond, 14), wire]
    return [*cells, displaced(water, 15, charge=1, spin=0.5), displaced(water * (4, 4, 4), 16)]


def assert_equal(found: Prediction, atoms: Atoms, tolerance: tolerances.Tolerance = EXACT) -> None:
    """All of a prediction is what the calculator of the atoms says."""
    assert abs(found.energy - atoms.get_potential_energy()) / len(atoms) < tolerance.energy_per_atom
    components = atoms.calc.get_energy_components(atoms)
    assert found.energy_components.keys() == components.keys()
    for name, value in components.items():
        assert abs(found.energy_components[name] - value) / len(atoms) < tolerance.component, name
    bounds = {
        "energies": tolerance.component,
        "forces": tolerance.forces,
        "stress": tolerance.stress,
        "charges": tolerance.charges,
        "hirshfeld_ratios": tolerance.charges,
        "dipole": tolerance.charges * 10.0 * len(atoms),  # charges times up to ten Angstrom
    }
    for name, bound in bounds.items():
        value = getattr(found, name)
        expected = defined(atoms, name)
        assert (value is None) == (expected is None), name
        if value is not None:
            np.testing.assert_allclose(value, expected, rtol=0, atol=bound, err_msg=name)


def rounding_of(atoms: Atoms, model: Path) -> tolerances.Tolerance:
    """How far two evaluations of a molecule in `mixed` may lie apart."""
    charge, spin = (float(atoms.info.get(name, 0.0)) for name in ("charge", "spin"))
    bounds = tolerances.rounding(model, structure_of(atoms, charge, spin), lr_cutoff=None)
    return tolerances.Tolerance(
        energy_per_atom=bounds["energies"],
        component=bounds["energies"],
        forces=bounds["forces"],
        charges=max(bounds["charges"], bounds["hirshfeld_ratios"]),
        stress=0.0,
        features=0.0,
    )


def defined(atoms: Atoms, name: str) -> np.ndarray | None:
    """A property, or None where the calculator or its model has none."""
    try:
        atoms.get_forces()
        return atoms.calc.get_property(name, atoms)
    except PropertyNotImplementedError:
        return None


def compare(structures: list[Atoms], model: Path, tolerance: tolerances.Tolerance = EXACT, **options: Any) -> None:
    calculator = So3kratesCalculator(model, **options, threads=1)
    predictions = list(evaluate_many(structures, model, **options, threads=2))
    assert len(predictions) == len(structures)
    for atoms, prediction in zip(structures, predictions, strict=True):
        atoms.calc = calculator
        assert_equal(prediction, atoms, tolerance)


# --- equal to single evaluations ------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::so3md.charge_and_spin.OddElectronsWarning")
@pytest.mark.parametrize("variant", MODELS)
def test_mixtures_equal_single_evaluations(toy_model: ToyModel, variant: str) -> None:
    from toy_models import VARIANTS, VARIANTS_SO3LR2

    model = toy_model(seed=3, **(VARIANTS | VARIANTS_SO3LR2)[variant])
    mixture = [atoms for pair in zip(molecules(), 9 * periodic(), strict=False) for atoms in pair][:60]
    compare(mixture, model, precision="double", lr_cutoff=5.0, lr_damping=1.0)


@pytest.mark.parametrize("variant", ["default", "network_only"])
def test_without_cutoff(toy_model: ToyModel, variant: str) -> None:
    from toy_models import VARIANTS

    compare(molecules(), toy_model(seed=4, **VARIANTS[variant]), precision="double", lr_cutoff=None)


def test_large_structure_among_small_ones(toy_model: ToyModel) -> None:
    structures = [*molecules()[:5], periodic()[-1], *molecules()[5:9]]
    assert max(map(len, structures)) > 512
    compare(structures, toy_model(seed=5), precision="double", lr_cutoff=5.0)


def test_mixed(so3lr_path: Path) -> None:
    """Its tables of the first layer serve one batch after the other, with other elements, charges and spins."""
    structures = [*molecules()[:24], *(displaced(molecule(name), 20) for name in ("NH3", "CH3Cl", "SO2", "PH3", "HF"))]
    calculator = So3kratesCalculator(so3lr_path, lr_cutoff=None, threads=1)
    double = evaluate_many(structures, precision="double", lr_cutoff=None)
    single = evaluate_many(structures, lr_cutoff=None, threads=2)
    for atoms, mixed, exact in zip(structures, single, double, strict=True):
        atoms.calc = calculator
        assert_equal(mixed, atoms, rounding_of(atoms, so3lr_path))
        assert abs(mixed.energy - exact.energy) / len(exact.forces) < tolerances.MIXED_ENERGY_PER_ATOM
        assert np.linalg.norm(mixed.forces - exact.forces, axis=1).max() < tolerances.MIXED_WORST_FORCE


def test_forces_are_central_differences_of_energies(toy_model: ToyModel) -> None:
    """Of radical cations with one composition, whose features depend on it, and which share a domain."""
    model, options = toy_model(seed=6), {"precision": "double", "lr_cutoff": None}
    structures = [atoms for atoms in molecules() if str(atoms.symbols) == "C2OH6" and atoms.info]
    assert structures
    step = tolerances.FINITE_DIFFERENCE_STEP
    moved = []
    for atoms in structures:
        for place in np.ndindex(len(atoms), 3):
            for sign in (1, -1):
                moved.append(atoms.copy())
                moved[-1].positions[place] += sign * step
    energies = np.array([item.energy for item in evaluate_many(moved, model, forces=False, **options)])
    expected = (energies[1::2] - energies[::2]) / (2 * step)
    found = np.concatenate([item.forces.ravel() for item in evaluate_many(structures, model, **options)])
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerances.FINITE_DIFFERENCE_FORCES)


# --- threads, grouping, order ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["mixed", "double"])
def test_any_number_of_threads_gives_the_same_bits(toy_model: ToyModel, precision: str) -> None:
    model, structures = toy_model(seed=7), 4 * molecules() + periodic()
    runs = [
        list(evaluate_many(structures, model, precision=precision, lr_cutoff=5.0, threads=threads))
        for threads in (1, 2, 3)
    ]
    for one, two, three in zip(*runs, strict=True):
        assert one.energy == two.energy == three.energy
        for name in ("forces", "charges", "hirshfeld_ratios"):
            np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
            np.testing.assert_array_equal(getattr(one, name), getattr(three, name))


def test_company_does_not_matter_and_order_is_kept(toy_model: ToyModel) -> None:
    model, structures = toy_model(seed=8), molecules()
    options = {"model": model, "precision": "double", "lr_cutoff": 5.0}
    forwards = list(evaluate_many(structures, **options))
    order = np.random.default_rng(0).permutation(len(structures))
    shuffled = list(evaluate_many([structures[k] for k in order], **options))
    for place, k in enumerate(order):
        assert abs(shuffled[place].energy - forwards[k].energy) / len(structures[k]) < EXACT.energy_per_atom
        np.testing.assert_allclose(shuffled[place].forces, forwards[k].forces, rtol=0, atol=EXACT.forces)


def test_charge_and_spin_for_all(toy_model: ToyModel) -> None:
    model, atoms = toy_model(seed=9), molecule("CH4")
    given = next(evaluate_many([atoms], model, charge=1, spin=0.5))
    atoms.info = {"charge": 1, "spin": 0.5}
    assert next(evaluate_many([atoms], model)).energy == given.energy
    assert given.charges.sum() == pytest.approx(1.0, abs=EXACT.charges)


def test_energies_alone(toy_model: ToyModel) -> None:
    model = toy_model()
    alone = next(evaluate_many(periodic()[:1], model, forces=False))
    assert alone.forces is None
    assert alone.stress is None
    assert alone.energy == next(evaluate_many(periodic()[:1], model)).energy


# --- errors ---------------------------------------------------------------------------------------------------------


def overlapping() -> Atoms:
    atoms = molecule("CH4")
    atoms.positions[3] = atoms.positions[1]
    return atoms


def without_a_place() -> Atoms:
    atoms = molecule("CH4")
    atoms.positions[2, 1] = np.nan
    return atoms


BAD = {
    "overlap": (overlapping(), r"atoms (1 and 3|3 and 1) are at the same place"),
    "element": (molecule("NH3"), r"atom 0 is N \(atomic number 7\)"),
    "position": (without_a_place(), "the position of atom 2"),
    "charge": (Atoms("H", info={"charge": 2}), "only 1 electrons"),
    "entries": (Atoms("H", info={"spin": 0.5, "total_spin": 1.5}), "contradict each other"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_structure_stops_when_its_turn_comes(toy_model: ToyModel, kind: str) -> None:
    atoms, message = BAD[kind]
    predictions = evaluate_many([molecule("CH4"), molecule("H2O"), atoms, molecule("CO2")], toy_model())
    assert next(predictions) is not None
    assert next(predictions) is not None
    with pytest.raises(ValueError, match=rf"structure 2 \({atoms.get_chemical_formula()}\): .*{message}"):
        next(predictions)


def test_bad_structures_can_be_left_out(toy_model: ToyModel) -> None:
    model, good = toy_model(), molecules()[:8]
    structures = [item for pair in zip(good, [atoms for atoms, _ in BAD.values()], strict=False) for item in pair]
    found: dict[int, str] = {}
    options = {"precision": "double", "on_error": lambda index, error: found.update({index: str(error)})}
    predictions = list(evaluate_many(structures, model, **options))
    assert list(found) == [1, 3, 5, 7, 9]
    assert all(text.startswith(f"structure {index} (") for index, text in found.items())
    assert [index for index, item in enumerate(predictions) if item is None] == list(found)
    expected = evaluate_many(structures[::2], model, precision="double")
    for atoms, item, single in zip(structures[::2], predictions[::2], expected, strict=True):
        assert abs(item.energy - single.energy) / len(atoms) < EXACT.energy_per_atom
        np.testing.assert_allclose(item.forces, single.forces, rtol=0, atol=EXACT.forces)


def test_periodic_structures_need_a_cutoff(toy_model: ToyModel) -> None:
    structures = [molecule("CH4"), *periodic()[:1]]
    with pytest.raises(ValueError, match=r"structure 1 .*this structure is periodic: give a cutoff"):
        list(evaluate_many(structures, toy_model(), lr_cutoff=None))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "single"}, "precision: expected one of"),
        ({"lr_cutoff": -1.0}, "lr_cutoff: expected a positive length"),
        ({"lr_cutoff": 7.0, "lr_damping": 8.0}, "lr_damping.* is 8 A: expected"),
        ({"threads": 0}, "threads: expected an integer from 1 to 1024"),
        ({"charge": "much"}, "charge: expected a finite number"),
    ],
)
def test_bad_parameters_are_refused_at_once(toy_model: ToyModel, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate_many([], toy_model(), **options)


# --- many -----------------------------------------------------------------------------------------------------------


def test_nothing_to_do(toy_model: ToyModel) -> None:
    model = toy_model()
    assert list(evaluate_many([], model)) == []
    empty, water = evaluate_many([Atoms(), molecule("H2O")], model)
    assert (empty.energy, empty.forces.shape) == (0.0, (0, 3))
    assert water.energy != 0.0


def test_structures_are_taken_in_as_they_are_needed(toy_model: ToyModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(so3md.batch, "CHUNK_ATOMS", 30)
    alive: weakref.WeakValueDictionary[int, Atoms] = weakref.WeakValueDictionary()
    most = 0

    def waters() -> Iterator[Atoms]:
        nonlocal most
        for seed in range(100):
            atoms = displaced(molecule("H2O"), seed)
            alive[seed] = atoms
            most = max(most, len(alive))
            yield atoms

    predictions = evaluate_many(waters(), toy_model())
    assert most == 0
    assert len(list(predictions)) == 100
    assert most <= 2 * 10 + 1  # of the chunk at hand and of the one before


@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory of the process from /proc")
def test_memory_does_not_grow(toy_model: ToyModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond that of a chunk; kept, the results of this many molecules would take some 25 MB."""
    monkeypatch.setattr(so3md.batch, "CHUNK_ATOMS", 3000)
    model, water = toy_model(num_layers=1), molecule("H2O")

    def resident_bytes(count: int) -> int:
        assert sum(item is not None for item in evaluate_many((water.copy() for _ in range(count)), model)) == count
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return 4096 * pages

    before = resident_bytes(4000)
    assert resident_bytes(20_000) - before < 10e6


def test_structures_without_atoms_are_checked_like_others(toy_model: ToyModel) -> None:
    """A periodic direction without a vector, and vectors that span no volume."""
    flat = [[9, 0, 0], [9, 0, 0], [0, 0, 9]]
    bad = [Atoms(pbc=[False, False, True]), Atoms(cell=flat, pbc=True)]
    messages: list[str] = []
    found = list(
        evaluate_many(
            [Atoms(), *bad, Atoms(cell=[9, 9, 9], pbc=True)],
            toy_model(),
            on_error=lambda index, error: messages.append(str(error)),
        )
    )
    assert [prediction is None for prediction in found] == [False, True, True, False]
    assert "has zero length" in messages[0]
    assert "linearly dependent" in messages[1]
