"""The ASE calculator: reference values, ASE's protocol, charge and spin, bad input."""

from __future__ import annotations

import copy
import functools
import multiprocessing
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import PropertyNotImplementedError, get_calculator_class
from ase.calculators.fd import FiniteDifferenceCalculator
from ase.io import read, write
from reference_data import ReferenceSystem, load_system
from sanitizers import patience
from tolerances import (
    EXACT,
    FINITE_DIFFERENCE_FORCES,
    FINITE_DIFFERENCE_STEP,
    FINITE_DIFFERENCE_STRESS,
    REFERENCE,
)

from so3md import So3kratesCalculator, evaluate_many, load_model
from so3md.charge_and_spin import OddElectronsWarning

EXTENDED_XYZ = 1e-8  # eV/A: ASE writes eight digits


@functools.cache
def double_calculator(lr_cutoff: float | None = 12.0, lr_damping: float = 2.0) -> So3kratesCalculator:
    """One calculator for all structures with these settings, as a user would share it."""
    return So3kratesCalculator(lr_cutoff=lr_cutoff, lr_damping=lr_damping, precision="double", threads=1)


def atoms_of(system: ReferenceSystem) -> Atoms:
    info = {"charge": system.charge, "spin": system.spin}
    atoms = Atoms(system.numbers, system.positions, cell=system.cell, pbc=system.pbc, info=info)
    atoms.calc = double_calculator(system.lr_cutoff, system.lr_damping)
    return atoms


@pytest.fixture
def ethanol() -> Atoms:
    atoms = molecule("CH3CH2OH")
    atoms.calc = So3kratesCalculator(threads=1)
    return atoms


@pytest.fixture
def water_box() -> Atoms:
    """Eight molecules of water in a triclinic box that is thinner than the cutoffs."""
    molecules = [molecule("H2O") for _ in range(8)]
    rng = np.random.default_rng(5)
    atoms = Atoms(cell=[[6.3, 0, 0], [0.8, 6.2, 0], [-0.5, 0.4, 6.1]], pbc=True)
    for number, single in enumerate(molecules):
        single.rotate(rng.uniform(0, 360), rng.normal(size=3), center="COM")
        single.translate(np.array([number & 1, number >> 1 & 1, number >> 2]) / 2 @ atoms.cell.array)
        atoms += single
    atoms.calc = double_calculator()
    return atoms


# --- values ---------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::so3md.charge_and_spin.OddElectronsWarning")
def test_results_are_those_of_the_reference(reference_system: ReferenceSystem):
    atoms, expected = atoms_of(reference_system), reference_system.expected
    assert atoms.get_potential_energy() == pytest.approx(
        float(expected["energy"]), rel=0, abs=REFERENCE.energy_per_atom * len(atoms)
    )
    assert atoms.calc.get_property("free_energy", atoms) == atoms.get_potential_energy()
    np.testing.assert_allclose(atoms.get_forces(), expected["forces"], rtol=0, atol=REFERENCE.forces)
    np.testing.assert_allclose(atoms.get_charges(), expected["partial_charges"], rtol=0, atol=REFERENCE.charges)
    np.testing.assert_allclose(
        atoms.calc.get_hirshfeld_ratios(atoms), expected["hirshfeld_ratios"], rtol=0, atol=REFERENCE.charges
    )
    if atoms.pbc.any():
        np.testing.assert_allclose(atoms.get_stress(voigt=False), expected["stress"], rtol=0, atol=REFERENCE.stress)
    else:
        extent = np.abs(atoms.positions).sum()
        np.testing.assert_allclose(
            atoms.get_dipole_moment(), expected["dipole"], rtol=0, atol=REFERENCE.charges * max(extent, 1)
        )


def test_energies_and_components_add_up_to_the_energy(ethanol: Atoms):
    energy = ethanol.get_potential_energy()
    tolerance = EXACT.component
    assert ethanol.get_potential_energies().sum() == pytest.approx(energy, rel=0, abs=tolerance)
    components = ethanol.calc.get_energy_components(ethanol)
    terms = [components[name] for name in ("nn", "zbl", "electrostatics", "dispersion")]
    assert sum(terms) == pytest.approx(energy, rel=0, abs=tolerance)


def test_forces_and_stress_are_derivatives_of_the_energy(water_box: Atoms):
    differences = FiniteDifferenceCalculator(
        double_calculator(), eps_disp=FINITE_DIFFERENCE_STEP, eps_strain=FINITE_DIFFERENCE_STEP
    )
    np.testing.assert_allclose(
        water_box.get_stress(), differences.get_stress(water_box), rtol=0, atol=FINITE_DIFFERENCE_STRESS
    )
    few = water_box[:3]
    few.calc = double_calculator()
    np.testing.assert_allclose(few.get_forces(), differences.get_forces(few), rtol=0, atol=FINITE_DIFFERENCE_FORCES)


def test_stresses_of_atoms_add_up_to_the_stress(water_box: Atoms):
    stresses = water_box.get_stresses()
    assert stresses.shape == (len(water_box), 6)
    np.testing.assert_allclose(stresses.sum(axis=0), water_box.get_stress(), rtol=0, atol=EXACT.stress)
    np.testing.assert_allclose(
        water_box.get_stresses(voigt=False).sum(axis=0), water_box.get_stress(voigt=False), rtol=0, atol=EXACT.stress
    )


def test_stresses_of_a_molecule_are_its_own_share(ethanol: Atoms):
    """Half of a pair for either atom: what is between the atoms of one molecule stays with them."""
    ethanol.calc = double_calculator()
    ethanol.set_cell(30 * np.eye(3))
    ethanol.pbc = True
    alone = ethanol.get_stress()
    both = ethanol.repeat((2, 1, 1))  # the same charges, out of each other's reach
    both.calc = ethanol.calc
    for part in np.split(both.get_stresses(), 2):
        np.testing.assert_allclose(2 * part.sum(axis=0), alone, rtol=0, atol=EXACT.stress)


def test_stresses_do_not_cost_other_results(water_box: Atoms):
    forces = water_box.get_forces()
    water_box.get_stresses()
    before = water_box.calc.engine_info()["evaluations"]
    np.testing.assert_array_equal(water_box.get_forces(), forces)
    assert {"energies", "charges", "stress"} <= water_box.calc.results.keys()
    assert water_box.calc.engine_info()["evaluations"] == before


# --- where properties are defined -----------------------------------------------------------------------------------


def test_a_molecule_has_no_stress(ethanol: Atoms):
    with pytest.raises(PropertyNotImplementedError, match="stress: expected a periodic structure"):
        ethanol.get_stress()
    with pytest.raises(PropertyNotImplementedError, match="stresses: expected a periodic structure"):
        ethanol.get_stresses()


def test_a_slab_without_a_third_cell_vector_has_no_stress(ethanol: Atoms):
    ethanol.cell, ethanol.pbc = [8, 8, 0], [True, True, False]
    with pytest.raises(PropertyNotImplementedError, match="2 cell vectors"):
        ethanol.get_stress()


def test_a_slab_whose_cell_vectors_are_in_a_plane_has_no_stress(ethanol: Atoms):
    """Their volume is zero, or what rounding makes of it."""
    ethanol.cell, ethanol.pbc = [[8, 1, 0.3], [0.7, 8, 0.2], [8.35, 5, 0.4]], [True, True, False]
    assert ethanol.get_volume() < 1e-12
    with pytest.raises(PropertyNotImplementedError, match="not in a plane"):
        ethanol.get_stress()
    (prediction,) = evaluate_many([ethanol])
    assert prediction.stress is None
    assert np.isfinite(prediction.forces).all()


def test_the_dipole_of_a_periodic_structure_is_that_of_its_positions(water_box: Atoms):
    """Without an evaluation of its own, and not wrapped."""
    water_box.get_forces()
    before, charges = water_box.calc.engine_info()["evaluations"], water_box.get_charges()
    dipole = water_box.get_dipole_moment()
    np.testing.assert_allclose(dipole, charges @ water_box.positions, rtol=0, atol=1e-12)
    assert water_box.calc.engine_info()["evaluations"] == before
    water_box.positions[:3] += water_box.cell[1] - water_box.cell[2]  # a whole molecule
    moved = charges[:3].sum() * (water_box.cell[1] - water_box.cell[2])
    np.testing.assert_allclose(water_box.get_dipole_moment() - dipole, moved, rtol=0, atol=1e-5)
    assert "dipole" not in water_box.calc.export_properties()


def test_asking_for_an_undefined_property_keeps_the_results(ethanol: Atoms):
    ethanol.get_forces()
    before = ethanol.calc.engine_info()["evaluations"]
    with pytest.raises(PropertyNotImplementedError):
        ethanol.get_stress()
    ethanol.get_forces()
    assert ethanol.calc.engine_info()["evaluations"] == before


def test_the_dipole_of_an_ion_is_about_the_origin():
    atoms = atoms_of(load_system("ammonium_p1"))
    before = atoms.get_dipole_moment()
    shift = np.array([1.0, 2.0, 3.0])
    atoms.translate(shift)
    np.testing.assert_allclose(atoms.get_dipole_moment() - before, shift, rtol=0, atol=REFERENCE.charges)


# --- charge and spin ------------------------------------------------------------------------------------------------


def test_charge_and_spin_come_from_info_and_changes_are_noticed():
    radical, anion = (atoms_of(load_system(name)) for name in ("oh_radical_spin05", "oh_radical_spin05"))
    neutral = radical.get_potential_energy()
    anion.info = {"charge": -1, "spin": 0}
    assert anion.get_potential_energy() != pytest.approx(neutral, abs=0.1)
    anion.info = {"total_charge": 0, "total_spin": 0.5}
    assert anion.get_potential_energy() == neutral


def test_parameters_win_over_info():
    ion = atoms_of(load_system("ammonium_p1"))
    expected = ion.get_potential_energy()
    ion.info = {"charge": 3}
    ion.calc = So3kratesCalculator(charge=1, lr_cutoff=12.0, precision="double", threads=1)
    assert ion.get_potential_energy() == pytest.approx(expected, rel=0, abs=EXACT.component)


@pytest.mark.parametrize(
    ("charge", "spin", "message"),
    [
        (0.5, 0, "charge 0.5: expected an integer"),
        (-1.0000001, 0, "charge -1.0000001: expected an integer"),
        (0, 0.25, "spin 0.25: expected 0, 0.5, 1"),
        (0, -1, "spin -1: expected 0, 0.5, 1"),
        (0, 0.5, r"charge 0 leaves 26 electrons, of which 1 cannot be unpaired"),
        (1, 1, r"charge 1 leaves 25 electrons, of which 2 cannot be unpaired"),
        (0, 14, "needs 28 unpaired electrons, and there are 26"),
        (27, 0, "the atoms have only 26 electrons"),
        (float("nan"), 0, "charge.*expected a finite number"),
        ("one", 0, "charge.*expected a finite number"),
    ],
)
def test_charge_and_spin_that_cannot_go_together_are_refused(ethanol: Atoms, charge, spin, message):
    ethanol.info = {"charge": charge, "spin": spin}
    for _ in range(2):  # it must not slip through at the second attempt either
        with pytest.raises(ValueError, match=message):
            ethanol.get_potential_energy()


def test_a_multiplicity_is_understood_and_never_ignored():
    """By the calculator and by evaluate_many; what contradicts it or cannot be one is refused by its name."""
    settings = {"lr_cutoff": None, "threads": 1, "precision": "double"}
    radical = molecule("CH3")
    radical.calc = calculator = So3kratesCalculator(**settings)
    radical.info["spin"] = 0.5
    expected = radical.get_potential_energy()
    assert expected != So3kratesCalculator(**settings, spin=1.5).get_potential_energy(radical)
    for key in ("multiplicity", "Multiplicity", "spin_multiplicity", "mult"):
        radical.info = {key: 2}
        assert radical.get_potential_energy() == expected
        many = next(evaluate_many([radical], **settings))
        assert many.energy == pytest.approx(expected, rel=0, abs=EXACT.component)
        radical.info = {key: 4}
        assert radical.get_potential_energy() != expected  # a change is noticed
        for bad, message in ((0, "expected 1, 2, 3"), (2.5, "expected 1, 2, 3"), ("two", "expected a finite number")):
            radical.info = {key: bad}
            with pytest.raises(ValueError, match=key):
                radical.get_potential_energy()
            with pytest.raises(ValueError, match=message):
                next(evaluate_many([radical], **settings))
        radical.info = {key: 2, "spin": 1.5}
        with pytest.raises(ValueError, match="contradict each other"):
            calculator.get_potential_energy(radical)


def test_an_odd_number_of_electrons_without_spin_is_warned_about(ethanol: Atoms):
    ethanol.info = {"charge": 1}
    with pytest.warns(OddElectronsWarning, match="leaves 25 electrons"):
        ethanol.get_potential_energy()


def test_contradicting_entries_are_refused(ethanol: Atoms):
    ethanol.info = {"charge": 1, "total_charge": 0}
    with pytest.raises(ValueError, match="contradict"):
        ethanol.get_potential_energy()


# --- keeping and sharing --------------------------------------------------------------------------------------------


def test_nothing_is_evaluated_twice(ethanol: Atoms):
    ethanol.get_forces()
    count = ethanol.calc.engine_info()["evaluations"]
    for _ in range(2):
        ethanol.get_potential_energy()
        ethanol.get_forces()
        ethanol.get_charges()
        ethanol.get_dipole_moment()
    assert ethanol.calc.engine_info()["evaluations"] == count


def test_the_neighbour_list_is_kept_while_atoms_move_little_and_rebuilt_on_demand(water_box: Atoms):
    water_box.calc = calculator = So3kratesCalculator(threads=1)
    water_box.get_forces()
    rebuilds = calculator.engine_info()["neighbour_rebuilds"]
    for _ in range(5):
        water_box.positions += 1e-3
        water_box.get_forces()
    assert calculator.engine_info()["neighbour_rebuilds"] == rebuilds
    water_box.positions[0] += 1e-3
    calculator.forget_neighbours()
    water_box.get_forces()
    assert calculator.engine_info()["neighbour_rebuilds"] > rebuilds


@pytest.mark.parametrize(
    "change",
    [
        lambda atoms: atoms.positions.__setitem__((0, 0), atoms.positions[0, 0] + 0.1),
        lambda atoms: atoms.set_cell(atoms.cell.array * 1.02),
        lambda atoms: atoms.set_pbc([True, True, False]),
        lambda atoms: atoms.symbols.__setitem__(0, "S"),
        lambda atoms: atoms.__delitem__([0, 1, 2]),
    ],
    ids=["positions", "cell", "pbc", "numbers", "fewer atoms"],
)
def test_every_change_of_the_structure_is_noticed(water_box: Atoms, change):
    before = water_box.get_potential_energy()
    change(water_box)
    after = water_box.get_potential_energy()
    assert after != before
    fresh = water_box.copy()
    fresh.calc = So3kratesCalculator(precision="double", threads=1)
    assert after == pytest.approx(fresh.get_potential_energy(), rel=0, abs=EXACT.component)


def test_several_structures_and_threads_share_a_calculator():
    calculator = So3kratesCalculator(precision="double", threads=1)
    structures = [molecule(name) for name in ("CH3CH2OH", "H2O", "NH3", "C6H6")] * 3
    for atoms in structures:
        atoms.calc = calculator
    expected = [(atoms.get_potential_energy(), atoms.get_forces()) for atoms in structures]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda atoms: (atoms.get_potential_energy(), atoms.get_forces()), structures))
    for (energy, forces), (expected_energy, expected_forces) in zip(found, expected, strict=True):
        assert energy == pytest.approx(expected_energy, rel=0, abs=EXACT.component)
        np.testing.assert_allclose(forces, expected_forces, rtol=0, atol=EXACT.forces)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda calculator: pickle.loads(pickle.dumps(calculator))])
def test_copies_are_independent_and_agree(ethanol: Atoms, duplicate):
    energy = ethanol.get_potential_energy()
    other = molecule("CH3CH2OH")
    other.calc = duplicate(ethanol.calc)
    assert other.calc.engine_info()["evaluations"] == 0
    other.rattle(0.01)
    other.positions[:] = ethanol.positions
    assert other.get_potential_energy() == energy


def _energy_in_child(atoms: Atoms, queue: multiprocessing.Queue) -> None:
    queue.put(atoms.get_potential_energy())


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system has no fork")
def test_a_forked_process_can_use_an_inherited_calculator():
    atoms = molecule("CH3CH2OH")
    atoms.calc = So3kratesCalculator(threads=2)
    atoms.get_potential_energy()
    atoms.positions[0] += 0.05  # so that the child has to evaluate
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_energy_in_child, args=(atoms, queue))
    child.start()
    found = queue.get(timeout=patience(60))
    child.join(timeout=patience(60))
    assert child.exitcode == 0
    assert found == atoms.get_potential_energy()


def test_it_can_be_made_again_from_its_name_and_parameters(ethanol: Atoms):
    first = So3kratesCalculator(charge=0, lr_cutoff=None, precision="double", threads=1)
    ethanol.calc = first
    again = get_calculator_class(first.name)(**first.todict())
    assert again.todict(skip_default=False) == first.todict(skip_default=False)
    other = molecule("CH3CH2OH")
    other.calc = again
    assert other.get_potential_energy() == ethanol.get_potential_energy()
    assert So3kratesCalculator().todict() == {}


def test_ase_finds_it_among_its_plugins():
    plugins = pytest.importorskip("ase._4.plugins", reason="this ASE has no plugins (3.29 has)")
    import so3md.ase_plugin

    (plugin,) = plugins.PluginCollection(so3md.ase_plugin.__ase_plugins__).calculators
    assert plugin.name == So3kratesCalculator.name
    assert plugin() is So3kratesCalculator
    project = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    assert '[project.entry-points."ase.plugins"]\nso3md = "so3md.ase_plugin"' in project
    if any(entry.value == "so3md.ase_plugin" for entry in entry_points(group="ase.plugins")):  # an installed so3md
        listed = subprocess.run(
            [sys.executable, "-m", "ase", "info", "--plugins"], capture_output=True, text=True, check=True
        )
        assert "so3krates" in listed.stdout


def test_an_ase_without_plugins_gets_none():
    code = (
        "import sys; sys.modules['ase._4.plugins.plugin'] = None\n"
        "from so3md.ase_plugin import __ase_plugins__; print(__ase_plugins__)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "set()\n"


def test_parameters_can_be_changed(ethanol: Atoms):
    without_cutoff = ethanol.get_potential_energy()
    assert ethanol.calc.set(lr_cutoff=12.0) == {"lr_cutoff": 12.0}
    assert ethanol.get_potential_energy() != without_cutoff
    ethanol.calc.set(lr_cutoff=None)
    assert ethanol.get_potential_energy() == without_cutoff
    assert ethanol.calc.set(lr_cutoff="model") == {"lr_cutoff": "model"}
    assert ethanol.get_potential_energy() == without_cutoff
    with pytest.raises(TypeError, match="unknown parameter 'cutoff'"):
        ethanol.calc.set(cutoff=5.0)


def test_results_can_be_written_and_read_with_the_structure(ethanol: Atoms, tmp_path):
    forces = ethanol.get_forces()
    for name in ("a.xyz", "a.traj", "a.json"):
        write(tmp_path / name, ethanol)
        back = read(tmp_path / name)
        assert back.get_potential_energy() == pytest.approx(
            ethanol.get_potential_energy(), rel=0, abs=EXACT.energy_per_atom
        )
        np.testing.assert_allclose(back.get_forces(), forces, rtol=0, atol=EXTENDED_XYZ)
    assert ethanol.calc.export_properties()["energy"] == ethanol.get_potential_energy()


# --- bad input ------------------------------------------------------------------------------------------------------


def with_nan(atoms: Atoms) -> None:
    atoms.positions[2, 1] = np.nan


def with_infinity(atoms: Atoms) -> None:
    atoms.positions[2, 1] = np.inf


def with_unknown_element(atoms: Atoms) -> None:
    atoms.symbols[1] = "U"


def with_two_atoms_at_the_same_place(atoms: Atoms) -> None:
    atoms.positions[3] = atoms.positions[1]


def with_a_periodic_direction_of_zero_length(atoms: Atoms) -> None:
    atoms.cell, atoms.pbc = [10, 0, 10], True


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (with_nan, r"(?i)atom 2.*(finite|nan)"),
        (with_infinity, r"(?i)atom 2.*(finite|inf)"),
        (with_unknown_element, r"(?i)atom 1 is U \(atomic number 92\)"),
        (with_two_atoms_at_the_same_place, r"(?i)atoms \d and \d are at the same place"),
        (with_a_periodic_direction_of_zero_length, r"(?i)(cell|periodic|vector)"),
    ],
)
def test_structures_that_cannot_be_evaluated_are_refused(ethanol: Atoms, spoil, message):
    good = ethanol.get_potential_energy()
    bad = ethanol.copy()
    bad.calc = ethanol.calc
    spoil(bad)
    for _ in range(2):
        with pytest.raises(ValueError, match=message):
            bad.get_forces()
    assert ethanol.get_potential_energy() == good


def test_a_periodic_structure_needs_a_long_range_cutoff(water_box: Atoms):
    water_box.calc = So3kratesCalculator(lr_cutoff=None, threads=1)
    with pytest.raises(ValueError, match="lr_cutoff=None is for molecules in vacuum"):
        water_box.get_potential_energy()


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"model": "so4lr"}, FileNotFoundError, "known names: so3lr"),
        ({"model": "/"}, FileNotFoundError, "is a directory"),
        (
            {"model": None},
            ValueError,
            "model: expected a name, or the path of a model file, or a list of them, found None",
        ),
        ({"precision": "single"}, ValueError, "precision: expected one of mixed, double, found 'single'"),
        ({"device": "tpu"}, ValueError, "device: expected one of cpu, cuda, or cuda:N.*found 'tpu'"),
        ({"threads": 0}, ValueError, "threads: expected an integer from 1 to 1024"),
        ({"threads": 1.5}, ValueError, "threads: expected an integer from 1 to 1024"),
        ({"lr_cutoff": -1}, ValueError, "lr_cutoff: expected a positive length"),
        ({"lr_cutoff": "far"}, ValueError, "lr_cutoff: expected a finite number"),
        ({"lr_cutoff": 5.0, "lr_damping": 6.0}, ValueError, "damping"),
        ({"charge": "positive"}, ValueError, "charge: expected a finite number"),
    ],
)
def test_bad_parameters_are_refused_at_once(parameters, error, message):
    with pytest.raises(error, match=message):
        So3kratesCalculator(**parameters)


def test_a_file_that_is_no_model_is_refused(tmp_path):
    path = tmp_path / "notes.safetensors"
    path.write_text("not a model")
    with pytest.raises(ValueError, match="notes"):
        So3kratesCalculator(model=path)


# --- models ---------------------------------------------------------------------------------------------------------


def test_models_are_found_by_name_and_by_path(so3lr_path):
    assert load_model("so3lr").elements == load_model(so3lr_path).elements == [1, 6, 7, 8, 9, 15, 16, 17]


def test_a_model_without_charges_has_none(toy_model):
    atoms = molecule("H2O")
    path = toy_model(charge_head=None, hirshfeld_head=None, electrostatics=None, dispersion=None)
    atoms.calc = So3kratesCalculator(model=path, threads=1)
    assert np.isfinite(atoms.get_forces()).all()
    for name in ("charges", "dipole", "hirshfeld_ratios"):
        with pytest.raises(PropertyNotImplementedError):
            atoms.calc.get_property(name, atoms)


def test_importing_the_package_imports_nothing_heavy():
    program = "import sys, so3md; print([m for m in ('numpy', 'ase', 'torch', 'so3md._engine') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
