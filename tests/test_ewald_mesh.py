"""Electrostatics of all periodic images on a particle mesh: ewald_method="mesh"."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from derivatives import assert_forces_are_derivatives
from ewald_reference import smeared_energy, wave_sum
from lammps_comparison import skewed_waters, waters
from test_ewald import DIRECT_SUM, evaluated, needle, structure
from tolerances import (
    EXACT,
    FINITE_DIFFERENCE_FORCES,
    FINITE_DIFFERENCE_STEP,
    FINITE_DIFFERENCE_STRESS,
    assert_within,
    rounding,
)

from so3md import So3kratesCalculator, _engine, evaluate_many
from so3md._engine import Engine, Model

pytestmark = [
    pytest.mark.filterwarnings("ignore::so3md.long_range.ChargedCellWarning"),
    pytest.mark.filterwarnings("ignore::so3md.charge_and_spin.OddElectronsWarning"),
]

#: Of sums of some hundred terms of 1 to 100 eV, made in two ways in double precision.
ROUNDING = 1e-11

CELLS = {
    "cube": np.eye(3) * 14.0,
    "triclinic": np.array([[13.0, 0, 0], [4.0, 12.0, 0], [-3.0, 5.0, 15.0]]),
    "left-handed": np.array([[0.5, 13.0, 1.0], [14.0, 0.0, -2.0], [1.0, 2.0, 12.0]]),
    "needle": np.array([[4.0, 0, 0], [-2.5, 6, 0], [3, -3, 18]]),
}


def ions(cell: np.ndarray, count: int = 60, charge: float = 0.0) -> dict[str, np.ndarray]:
    """Charges of size 1 anywhere, also in other cells than the first; `charge` in all."""
    random = np.random.default_rng(count)
    charges = np.where(np.arange(count) % 2 == 0, 1.0, -1.0)
    charges += charge / max(1, count)
    return {"positions": random.uniform(-2, 3, size=(count, 3)) @ cell, "charges": charges, "cell": cell}


def on_mesh(system: dict[str, np.ndarray], points: tuple[int, int, int], order: int, **options: Any) -> dict[str, Any]:
    return _engine.ewald_mesh(**system, points=points, order=order, **options)


def energy(system: dict[str, np.ndarray], points: tuple[int, int, int], order: int) -> float:
    return float(on_mesh(system, points, order, forces=False)["energies"].sum())


# --- Fourier transforms ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("shape", [(4, 4, 4), (5, 3, 8), (9, 15, 20), (2, 25, 6), (7, 11, 13), (16, 45, 12)])
def test_transforms_are_those_of_numpy(shape: tuple[int, int, int], threads: int) -> None:
    mesh = np.random.default_rng(0).normal(size=shape)
    waves, back = _engine.fourier_mesh(mesh, threads)
    np.testing.assert_allclose(waves, np.fft.rfftn(mesh), rtol=0, atol=1e-14 * mesh.size)
    np.testing.assert_allclose(back / mesh.size, mesh, rtol=0, atol=1e-14 * mesh.size)


# --- the mesh by itself ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("charge", [0.0, 3.0])
@pytest.mark.parametrize("name", CELLS)
def test_fine_meshes_give_what_waves_do(name: str, charge: float) -> None:
    system = ions(CELLS[name], charge=charge)
    potentials, forces, virials = wave_sum(**system)
    found = on_mesh(system, (45, 48, 60), 16)
    np.testing.assert_allclose(found["potentials"], potentials, rtol=0, atol=ROUNDING)
    np.testing.assert_allclose(found["energies"], 0.5 * system["charges"] * potentials, rtol=0, atol=ROUNDING)
    np.testing.assert_allclose(found["forces"], forces, rtol=0, atol=ROUNDING)
    np.testing.assert_allclose(found["virials"], virials, rtol=0, atol=10 * ROUNDING)
    total = on_mesh(system, (45, 48, 60), 16, atomic_virials=False)
    np.testing.assert_allclose(total["virials"].sum(axis=0), virials.sum(axis=0), rtol=0, atol=100 * ROUNDING)
    np.testing.assert_allclose(total["virials"], total["virials"][:1].repeat(60, axis=0), rtol=0, atol=0)


@pytest.mark.parametrize("order", [4, 6, 8, 10, 12, 14, 16])
@pytest.mark.parametrize("name", ["cube", "triclinic"])
def test_results_are_derivatives_of_the_energy_on_any_mesh(name: str, order: int) -> None:
    """Coarse and odd ones too, whose energy is far from that of the waves."""
    system, points = ions(CELLS[name], count=20), (order + 1, order | 1, 4 * ((order + 3) // 4))
    found = on_mesh(system, points, order)
    step = FINITE_DIFFERENCE_STEP

    def slope(key: str, change: Callable[[float], np.ndarray]) -> float:
        energies = [energy(system | {key: change(sign * step)}, points, order) for sign in (1, -1)]
        return (energies[0] - energies[1]) / (2 * step)

    for atom in (0, 7, 19):
        unit = np.zeros(20)
        unit[atom] = 1
        by_charge = slope("charges", lambda h, unit=unit: system["charges"] + h * unit)
        assert found["potentials"][atom] == pytest.approx(by_charge, rel=0, abs=FINITE_DIFFERENCE_FORCES)
        for axis in range(3):
            move = np.outer(unit, np.eye(3)[axis])
            force = -slope("positions", lambda h, move=move: system["positions"] + h * move)
            assert found["forces"][atom, axis] == pytest.approx(force, rel=0, abs=FINITE_DIFFERENCE_FORCES)
    virial = np.zeros((3, 3))
    for a, b in np.ndindex(3, 3):
        energies = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[a, b] += sign * step
            strained = {"positions": system["positions"] @ strain, "cell": system["cell"] @ strain}
            energies.append(energy(system | strained, points, order))
        virial[a, b] = (energies[0] - energies[1]) / (2 * step)
    volume = abs(np.linalg.det(system["cell"]))
    np.testing.assert_allclose(
        found["virials"].sum(axis=0) / volume, virial / volume, rtol=0, atol=FINITE_DIFFERENCE_STRESS
    )


@pytest.mark.parametrize("accuracy", [1e-2, 1e-4, 1e-7, 1e-11])
@pytest.mark.parametrize("name", ["cube", "triclinic", "left-handed"])
def test_forces_are_as_accurate_as_was_asked_for(name: str, accuracy: float) -> None:
    """With every order, whose own mesh is as coarse as the estimate of the error allows."""
    system = ions(CELLS[name], count=200)
    _, forces, _ = wave_sum(**system)
    plan = _engine.ewald_plan(cell=system["cell"], num_atoms=200, accuracy=accuracy, method="mesh")
    found = on_mesh(system, plan["points"], plan["order"])["forces"]
    error = np.sqrt(np.mean(np.sum((found - forces) ** 2, axis=1)))
    assert error < accuracy
    assert error > 1e-3 * accuracy  # and not for nothing
    # Waves conserve momentum. A mesh leaves a sum of 200 errors: three times its root mean square.
    assert np.linalg.norm(found.sum(axis=0)) < 3 * accuracy * np.sqrt(200)


def test_bits_do_not_depend_on_threads() -> None:
    system = ions(CELLS["triclinic"], count=700)
    for atomic in (True, False):
        results = [on_mesh(system, (15, 18, 20), 8, threads=threads, atomic_virials=atomic) for threads in (1, 2, 3, 8)]
        for name, expected in results[0].items():
            for other in results[1:]:
                assert expected.tobytes() == other[name].tobytes(), name


@pytest.mark.parametrize("name", CELLS)
def test_atoms_on_points_and_faces(name: str) -> None:
    """Where a coordinate is rounded to one side or the other, nothing may jump."""
    cell, points = CELLS[name], (20, 24, 28)
    fractional = np.random.default_rng(4).integers(0, 20, size=(30, 3)) / np.array(points)
    fractional[:8] = np.array(list(np.ndindex(2, 2, 2)))  # corners
    fractional[8:12] = np.array([-1e-17, 1 - 2**-53, 5 - 2**-51, -3])[:, None]
    system = {"positions": fractional @ cell, "charges": np.tile([1.0, -0.8, -0.2], 10), "cell": cell}
    _, forces, _ = wave_sum(**system)
    found = on_mesh(system, (40, 48, 56), 16)
    np.testing.assert_allclose(found["forces"], forces, rtol=0, atol=ROUNDING)
    for nudge in (1e-15, -1e-15):
        near = on_mesh(system | {"positions": (fractional + nudge) @ cell}, points, 6)
        exact = on_mesh(system, points, 6)
        for quantity in ("potentials", "forces", "virials"):
            np.testing.assert_allclose(near[quantity], exact[quantity], rtol=0, atol=ROUNDING)


def test_no_atoms_and_no_numbers() -> None:
    none = on_mesh(ions(CELLS["cube"], count=0), (8, 8, 8), 4)
    assert none["forces"].shape == (0, 3)
    system = ions(CELLS["cube"])
    system["positions"][3, 1] = np.nan
    assert np.isnan(on_mesh(system, (20, 20, 20), 8)["energies"]).all()


# --- in the engine --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("charge", [0, 1, -2])
@pytest.mark.parametrize("make", [lambda: waters(2, 2, 2), skewed_waters, needle])
def test_results_are_those_of_the_sum(make: Callable[[], Atoms], charge: int) -> None:
    mesh, waves = (evaluated(make(), charge=charge, ewald_method=method) for method in ("mesh", "sum"))
    components = mesh.calc.get_energy_components(mesh)
    expected = smeared_energy(mesh, mesh.get_charges())
    assert components["electrostatics"] == pytest.approx(expected, rel=DIRECT_SUM)
    assert mesh.get_potential_energy() == pytest.approx(waves.get_potential_energy(), rel=0, abs=EXACT.component)
    np.testing.assert_allclose(mesh.get_forces(), waves.get_forces(), rtol=0, atol=EXACT.forces)
    np.testing.assert_allclose(mesh.get_stress(), waves.get_stress(), rtol=0, atol=EXACT.stress)
    np.testing.assert_allclose(
        mesh.get_potential_energies(), waves.get_potential_energies(), rtol=0, atol=EXACT.component
    )
    np.testing.assert_allclose(mesh.get_stresses(), waves.get_stresses(), rtol=0, atol=EXACT.stress)
    np.testing.assert_allclose(mesh.get_stresses().sum(axis=0), mesh.get_stress(), rtol=0, atol=EXACT.stress)


def test_forces_are_derivatives_with_moving_charges() -> None:
    """On a coarse mesh, whose energy is another one."""
    atoms = evaluated(skewed_waters(), ewald_accuracy=1e-2, ewald_method="mesh")
    apart = np.abs(atoms.get_forces() - evaluated(skewed_waters()).get_forces()).max()
    assert apart > 10 * FINITE_DIFFERENCE_FORCES
    assert_forces_are_derivatives(atoms, (0, 5, 23))


@pytest.mark.parametrize("make", [lambda: waters(3, 3, 4), needle])
def test_mixed_precision_has_rounding_errors_only(so3lr_path: Path, make: Callable[[], Atoms]) -> None:
    model, atoms = Model(str(so3lr_path)), make()
    bounds = rounding(model, structure(atoms), coulomb="ewald")
    expected = Engine(model, precision="double", tabulate=False, coulomb="ewald").evaluate(**structure(atoms))
    mesh = Engine(model, precision="mixed", tabulate=False, coulomb="ewald", ewald_method="mesh")
    assert_within(bounds, mesh.evaluate(**structure(atoms)), expected)


@pytest.mark.parametrize("precision", ["mixed", "double"])
def test_bits_of_the_engine_do_not_depend_on_threads(so3lr_path: Path, precision: str) -> None:
    model, atoms = Model(str(so3lr_path)), waters(4, 4, 5)
    options = {"precision": precision, "coulomb": "ewald", "ewald_method": "mesh"}
    results = [Engine(model, threads=threads, **options).evaluate(**structure(atoms)) for threads in (1, 2, 3, 8)]
    for name in ("energy", "energies", "forces", "virial", "charges"):
        for other in results[1:]:
            assert np.asarray(results[0][name]).tobytes() == np.asarray(other[name]).tobytes(), name


def test_many_structures_are_evaluated_as_one_by_one() -> None:
    structures = [skewed_waters(), waters(1, 1, 2), needle(), waters(6, 5, 6)]
    options = {"coulomb": "ewald", "ewald_method": "mesh", "precision": "double"}
    for prediction, atoms in zip(evaluate_many(structures, **options, stresses=True), structures, strict=True):
        expected = evaluated(atoms)
        np.testing.assert_allclose(prediction.forces, expected.get_forces(), rtol=0, atol=EXACT.forces)
        np.testing.assert_allclose(prediction.stress, expected.get_stress(), rtol=0, atol=EXACT.stress)
        np.testing.assert_allclose(prediction.stresses, expected.get_stresses(), rtol=0, atol=EXACT.stress)


# --- which of the two -----------------------------------------------------------------------------------------------


def plan_of_water(molecules: int, **options: Any) -> dict[str, Any]:
    length = (29.9 * molecules) ** (1 / 3)
    return _engine.ewald_plan(cell=length * np.eye(3), num_atoms=3 * molecules, accuracy=1e-7, **options)


@pytest.mark.parametrize("single_precision", [False, True])
def test_large_systems_go_on_a_mesh(single_precision: bool) -> None:
    on_a_mesh = [plan_of_water(10**power, single_precision=single_precision)["on_mesh"] for power in range(7)]
    assert on_a_mesh == sorted(on_a_mesh)
    assert not on_a_mesh[2]
    assert on_a_mesh[5]
    # Each process transforms all of the mesh, and sums over its own atoms.
    assert not plan_of_water(10**4, single_precision=single_precision, processes=1000)["on_mesh"]
    assert not plan_of_water(10**5, method="sum")["on_mesh"]
    assert plan_of_water(1, method="mesh")["on_mesh"]


def test_time_on_a_mesh_grows_as_the_number_of_atoms() -> None:
    small, large = (plan_of_water(count)["microseconds"] for count in (10**5, 10**6))
    assert 8 < large / small < 14


def test_meshes_have_small_factors_and_room_for_their_splines() -> None:
    for cell in CELLS.values():
        for accuracy in (1e-3, 1e-7, 1e-12):
            plan = _engine.ewald_plan(cell=cell, num_atoms=100, accuracy=accuracy, method="mesh")
            assert plan["points"][2] % 4 == 0
            for points in plan["points"]:
                assert points >= plan["order"]
                for factor in (2, 3, 5):
                    while points % factor == 0:
                        points //= factor
                assert points == 1


def test_small_systems_are_summed_by_default() -> None:
    default, summed, mesh = (
        evaluated(skewed_waters(), ewald_method=method).get_forces() for method in ("auto", "sum", "mesh")
    )
    np.testing.assert_array_equal(default, summed)
    assert (mesh != summed).any()


@pytest.mark.parametrize("device", ["cuda", "cuda-emulation"])
def test_gpus_have_no_mesh(so3lr_path: Path, device: str) -> None:
    with pytest.raises(ValueError, match="ewald_method 'mesh' is for the CPU, and the device is a GPU"):
        Engine(Model(str(so3lr_path)), device=device, coulomb="ewald", ewald_method="mesh")


def test_bad_methods_are_refused() -> None:
    for value in ("pme", None, 1):
        with pytest.raises(ValueError, match="ewald_method: expected one of auto, sum, mesh, found"):
            So3kratesCalculator(coulomb="ewald", ewald_method=value)
        with pytest.raises(ValueError, match="ewald_method: expected one of auto, sum, mesh, found"):
            evaluate_many([], coulomb="ewald", ewald_method=value)
