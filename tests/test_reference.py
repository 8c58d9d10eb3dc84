"""The reference model: parity with the reference data, derivatives, symmetries, every option."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import bulk, molecule
from reference_data import ENERGY_COMPONENTS, INTERMEDIATES, ReferenceSystem, load_intermediates, load_system
from scipy.spatial.transform import Rotation
from tolerances import EXACT, FINITE_DIFFERENCE_FORCES, FINITE_DIFFERENCE_STEP, FINITE_DIFFERENCE_STRESS, REFERENCE
from toy_models import VARIANTS, VARIANTS_2023, VARIANTS_SO3LR2, make_toy_model

torch = pytest.importorskip("torch", reason="the reference model needs PyTorch (extra 'torch')")

from so3md.model_file import ModelFile, expected_tensors  # noqa: E402
from so3md.reference import ReferenceModel, Structure  # noqa: E402
from so3md.reference.functions import ACTIVATIONS, cutoff_function, spherical_harmonics, switch  # noqa: E402

EVERY_VARIANT = VARIANTS | VARIANTS_2023 | VARIANTS_SO3LR2


@pytest.fixture(scope="module")
def so3lr(so3lr_path: Path) -> ReferenceModel:
    return ReferenceModel.from_file(so3lr_path)


def evaluate(model: ReferenceModel, system: ReferenceSystem, **options: Any) -> dict[str, Any]:
    return model.evaluate(**system.structure, lr_cutoff=system.lr_cutoff, lr_damping=system.lr_damping, **options)


def assert_close(found: Any, expected: Any, tolerance: float) -> None:
    np.testing.assert_allclose(found, expected, rtol=0.0, atol=tolerance)


class TestParity:
    def test_so3lr(self, so3lr: ReferenceModel, reference_system: ReferenceSystem) -> None:
        found, expected = evaluate(so3lr, reference_system), reference_system.expected
        atoms = len(reference_system.numbers)
        assert_close(found["energy"] / atoms, expected["energy"] / atoms, REFERENCE.energy_per_atom)
        assert_close(found["energies"], expected["node_energies"], REFERENCE.energy_per_atom)
        for name in ENERGY_COMPONENTS:
            assert_close(found["energy_components"][name], expected[f"energy_{name}"], REFERENCE.component)
        assert_close(found["forces"], expected["forces"], REFERENCE.forces)
        assert_close(found["charges"], expected["partial_charges"], REFERENCE.charges)
        assert_close(found["hirshfeld_ratios"], expected["hirshfeld_ratios"], REFERENCE.charges)
        assert ("stress" in found) == bool(reference_system.pbc.any())
        if "stress" in found:
            assert_close(found["stress"], expected["stress"], REFERENCE.stress)
            assert_close(found["virial"], expected["virial_dE_dstrain"], REFERENCE.stress * reference_volume(expected))
        else:
            assert_close(found["dipole"], expected["dipole"], REFERENCE.charges)

    @pytest.mark.parametrize("name", INTERMEDIATES)
    def test_intermediate_quantities(self, so3lr: ReferenceModel, name: str) -> None:
        system = load_intermediates(name)
        found = evaluate(so3lr, system, intermediates=True)["intermediates"]
        expected = system.expected
        for suffix in ("", "_lr"):
            order = np.lexsort((found[f"edge_j{suffix}"], found[f"edge_i{suffix}"]))
            wanted = np.lexsort((expected[f"edge_j{suffix}"], expected[f"edge_i{suffix}"]))
            edges = len(order)
            for key in [key for key in found if key in expected and len(found[key]) == edges != len(system.numbers)]:
                found[key], expected[key] = found[key][order], expected[key][wanted]
        settings = {"numbers", "positions", "cell", "pbc", "energy", "forces", "total_charge", "total_spin"}
        settings |= {"cutoff_lr", "dispersion_damping"}
        assert not expected.keys() - settings - found.keys()
        for key in expected.keys() - settings:
            assert found[key].shape == expected[key].shape, key
            np.testing.assert_allclose(found[key], expected[key], rtol=0.0, atol=REFERENCE.features, err_msg=key)


def reference_volume(expected: dict[str, np.ndarray]) -> float:
    return abs(np.linalg.det(expected["cell"]))


class TestOptions:
    @pytest.mark.parametrize("variant", EVERY_VARIANT)
    def test_every_tensor_has_a_place(self, variant: str) -> None:
        file = make_toy_model(**EVERY_VARIANT[variant])
        model = ReferenceModel.from_model_file(file)
        assert model.state_dict().keys() == expected_tensors(file.hyperparameters, 3).keys()
        for name, values in model.tensors().items():
            np.testing.assert_array_equal(values, file.tensors[name])

    @pytest.mark.parametrize("variant", EVERY_VARIANT)
    def test_every_number_matters(self, variant: str) -> None:
        """Every tensor has a gradient: no weight is read and then forgotten."""
        file = make_toy_model(**EVERY_VARIANT[variant])
        model = ReferenceModel.from_model_file(file)
        atoms = molecule("H2CO")
        atoms.rattle(0.1, seed=1)
        structure = Structure(atoms.numbers, atoms.positions, charge=1.0, spin=0.5)
        positions = torch.tensor(structure.positions)
        tensors = {name: value.requires_grad_() for name, value in model.state_dict(keep_vars=True).items()}
        found = model(model.make_graph([structure], positions, lr_cutoff=None), None)
        per_atom = [found[name] for name in ("energies", "charges", "hirshfeld_ratios", "c6_ratios") if name in found]
        weights = torch.linspace(0.5, 1.5, len(atoms), dtype=torch.float64)
        outcome = sum((weights * value).sum() for value in per_atom)
        gradients = torch.autograd.grad(outcome, list(tensors.values()), allow_unused=True)
        silent = {name for name, g in zip(tensors, gradients, strict=True) if g is None or not g.abs().max() > 1e-9}
        # The coordinates chi are zero before most first layers, and charge conservation undoes a shift of all charges.
        expected = {f"layers.0.filter_{block}.spherical1.weight" for block in ("features", "coordinates")}
        if model.hyperparameters["initial_coordinates"]["type"] == "neighbour_sum":
            expected = set()
        if "charge.dense2.bias" in tensors:
            expected.add("charge.dense2.bias")
        assert silent == expected

    @pytest.mark.parametrize("variant", EVERY_VARIANT)
    def test_forces_and_virial_are_derivatives(self, variant: str) -> None:
        model = ReferenceModel.from_model_file(make_toy_model(seed=2, **EVERY_VARIANT[variant]))
        atoms = molecule("H2CO")
        atoms.set_cell([[4.1, 0.3, 0.0], [0.2, 4.6, -0.4], [0.5, 0.1, 5.2]])
        atoms.pbc = (True, True, False)
        atoms.rattle(0.1, seed=3)
        options = {"pbc": atoms.pbc, "charge": -1.0, "spin": 0.5, "lr_cutoff": 7.0}
        rng = np.random.default_rng(4)
        found = model.evaluate(atoms.numbers, atoms.positions, atoms.cell.array, **options)

        def energy(positions: np.ndarray, strain: np.ndarray) -> float:
            deformation = np.eye(3) + strain
            return model.evaluate(atoms.numbers, positions @ deformation, atoms.cell.array @ deformation, **options)[
                "energy"
            ]

        step, zero = FINITE_DIFFERENCE_STEP, np.zeros((3, 3))
        direction = rng.standard_normal(atoms.positions.shape)
        direction /= np.linalg.norm(direction)
        moved = [energy(atoms.positions + sign * step * direction, zero) for sign in (1, -1)]
        assert_close(-(found["forces"] * direction).sum(), (moved[0] - moved[1]) / (2 * step), FINITE_DIFFERENCE_FORCES)
        strain = rng.standard_normal((3, 3))
        strain /= np.linalg.norm(strain)
        strained = [energy(atoms.positions, sign * step * strain) for sign in (1, -1)]
        derivative = (strained[0] - strained[1]) / (2 * step)
        assert_close((found["stress"] * strain).sum(), derivative / atoms.get_volume(), FINITE_DIFFERENCE_STRESS)

    def test_charge_and_spin_embedding_tell_signs_apart(self) -> None:
        model = ReferenceModel.from_model_file(make_toy_model())
        atoms = molecule("H2CO")

        def energies(charge: float, spin: float) -> np.ndarray:
            return model.evaluate(atoms.numbers, atoms.positions, charge=charge, spin=spin)["energies"]

        states = [energies(0.0, 0.0), energies(1.0, 0.0), energies(-1.0, 0.0), energies(0.0, 0.5)]
        for i, first in enumerate(states):
            for second in states[:i]:
                assert abs(first - second).max() > 1e-3


class TestSymmetries:
    @pytest.fixture(params=["default", "neighbour_sum", "pre_norm_attention_only"])
    def model(self, request: pytest.FixtureRequest) -> ReferenceModel:
        overrides = {"degrees": [1, 2, 3, 4]} | EVERY_VARIANT[request.param]
        return ReferenceModel.from_model_file(make_toy_model(seed=7, **overrides))

    def test_rotation_and_translation(self, model: ReferenceModel) -> None:
        atoms = molecule("CH3COOH")
        rotation = Rotation.from_rotvec([0.3, -1.1, 0.7]).as_matrix()
        first = model.evaluate(atoms.numbers, atoms.positions, charge=1.0)
        second = model.evaluate(atoms.numbers, atoms.positions @ rotation.T + [3.0, -2.0, 11.0], charge=1.0)
        assert_close(second["energies"], first["energies"], EXACT.energy_per_atom)
        assert_close(second["forces"], first["forces"] @ rotation.T, EXACT.forces)
        assert_close(second["virial"], rotation @ first["virial"] @ rotation.T, EXACT.forces)
        assert_close(second["charges"], first["charges"], EXACT.charges)

    def test_inversion(self, model: ReferenceModel) -> None:
        atoms = molecule("CH3COOH")
        first = model.evaluate(atoms.numbers, atoms.positions)
        second = model.evaluate(atoms.numbers, -atoms.positions)
        assert_close(second["energy"], first["energy"], EXACT.component)
        assert_close(second["forces"], -first["forces"], EXACT.forces)

    def test_permutation(self, model: ReferenceModel) -> None:
        atoms = molecule("CH3COOH")
        order = np.random.default_rng(0).permutation(len(atoms))
        first = model.evaluate(atoms.numbers, atoms.positions)
        second = model.evaluate(atoms.numbers[order], atoms.positions[order])
        assert_close(second["energies"], first["energies"][order], EXACT.energy_per_atom)
        assert_close(second["forces"], first["forces"][order], EXACT.forces)

    def test_supercell(self, model: ReferenceModel) -> None:
        """An atom and its images; cells thinner than the cutoffs."""
        atoms = bulk("C", "diamond", a=3.4)
        atoms.rattle(0.1, seed=0)
        large = atoms.repeat((2, 1, 3))
        first, second = (
            model.evaluate(a.numbers, a.positions, a.cell.array, a.pbc, lr_cutoff=6.0) for a in (atoms, large)
        )
        assert_close(second["energy"] / 6, first["energy"], EXACT.component)
        assert_close(second["forces"], np.tile(first["forces"], (6, 1)), EXACT.forces)
        assert_close(second["stress"], first["stress"], EXACT.stress)

    def test_a_batch_is_the_sum_of_its_structures(self, model: ReferenceModel) -> None:
        atoms = [molecule("H2CO"), bulk("C", "diamond", a=3.4), molecule("H2O")]
        structures = [
            Structure(a.numbers, a.positions, a.cell.array, a.pbc, charge=q)
            for a, q in zip(atoms, (1, 0, -1), strict=True)
        ]
        positions = torch.tensor(np.concatenate([s.positions for s in structures]), requires_grad=True)
        graph = model.make_graph(structures, positions, lr_cutoff=6.0)
        found = model(graph, lr_cutoff=6.0)
        forces = -torch.autograd.grad(found["energy"].sum(), positions)[0].numpy()
        alone = [model.evaluate(s.numbers, s.positions, s.cell, s.pbc, s.charge, lr_cutoff=6.0) for s in structures]
        assert_close(found["energy"].detach(), [one["energy"] for one in alone], EXACT.component)
        assert_close(found["charges"].detach(), np.concatenate([one["charges"] for one in alone]), EXACT.charges)
        assert_close(forces, np.concatenate([one["forces"] for one in alone]), EXACT.forces)

    def test_charges_add_up(self, model: ReferenceModel) -> None:
        atoms = molecule("CH3COOH")
        for charge in (0.0, 2.0, -1.0):
            found = model.evaluate(atoms.numbers, atoms.positions, charge=charge)
            assert_close(found["charges"].sum(), charge, EXACT.charges)


class TestFunctions:
    def test_spherical_harmonics_are_orthonormal(self) -> None:
        """Quadrature on the sphere, exact for the products of degrees up to eight."""
        nodes, weights = np.polynomial.legendre.leggauss(20)
        angles = np.arange(40) * 2 * np.pi / 40
        z, phi = (a.ravel() for a in np.meshgrid(nodes, angles, indexing="ij"))
        s = np.sqrt(1 - z**2)
        y = spherical_harmonics(torch.tensor(np.stack([s * np.cos(phi), s * np.sin(phi), z], -1)), range(9)).numpy()
        weight = np.repeat(weights, 40) * 2 * np.pi / 40
        assert_close(y.T @ (weight[:, None] * y), np.eye(81), 1e-12)

    def test_spherical_harmonics_written_out(self) -> None:
        """Order and signs of degrees 1 to 3 (docs/theory.md)."""
        unit = np.random.default_rng(0).standard_normal((5, 3))
        unit /= np.linalg.norm(unit, axis=1, keepdims=True)
        x, y, z = unit.T
        pi = np.pi
        expected = [np.sqrt(3 / (4 * pi)) * c for c in (y, z, x)]
        expected += [np.sqrt(15 / pi) / 2 * x * y, np.sqrt(15 / pi) / 2 * y * z, np.sqrt(5 / pi) / 4 * (3 * z**2 - 1)]
        expected += [np.sqrt(15 / pi) / 2 * x * z, np.sqrt(15 / pi) / 4 * (x**2 - y**2)]
        expected += [np.sqrt(35 / (2 * pi)) / 4 * y * (3 * x**2 - y**2), np.sqrt(105 / pi) / 2 * x * y * z]
        expected += [np.sqrt(21 / (2 * pi)) / 4 * y * (5 * z**2 - 1), np.sqrt(7 / pi) / 4 * (5 * z**3 - 3 * z)]
        expected += [np.sqrt(21 / (2 * pi)) / 4 * x * (5 * z**2 - 1), np.sqrt(105 / pi) / 4 * (x**2 - y**2) * z]
        expected += [np.sqrt(35 / (2 * pi)) / 4 * x * (x**2 - 3 * y**2)]
        found = spherical_harmonics(torch.tensor(unit), [1, 2, 3]).numpy()
        assert_close(found, np.stack(expected, -1), 1e-14)

    @pytest.mark.parametrize("kind", ["phys", "cosine", "polynomial", "exponential"])
    def test_cutoff_functions_end_smoothly(self, kind: str) -> None:
        r = torch.tensor([1e-9, 2.0, 4.0 - 1e-5, 4.0, 5.0, 100.0], dtype=torch.float64, requires_grad=True)
        phi = cutoff_function(kind, r, 4.0, 6.0)
        slope = torch.autograd.grad(phi.sum(), r)[0]
        assert_close(phi[0].item(), 1.0, 1e-8)
        assert 0 < phi[1] < 1
        assert_close(phi[2:].detach(), 0.0, 1e-9)
        assert_close(slope[2:], 0.0, 1e-4)
        assert (phi[3:] == 0).all()

    @pytest.mark.parametrize("kind", ["phys", "cosine", "polynomial", "exponential"])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_cutoff_functions_just_below_the_cutoff(self, kind: str, dtype: torch.dtype) -> None:
        """The last numbers before the cutoff, with two derivatives, as training needs them."""
        cutoff = 4.7
        r = [torch.tensor(cutoff, dtype=dtype)]
        for _ in range(50):
            r.append(torch.nextafter(r[-1], torch.zeros((), dtype=dtype)))
        r = torch.stack(r).requires_grad_()
        phi = cutoff_function(kind, r, cutoff, 6.0)
        slope = torch.autograd.grad(phi.sum(), r, create_graph=True)[0]
        curvature = torch.autograd.grad(slope.sum(), r)[0]
        assert torch.isfinite(torch.stack([phi, slope, curvature])).all()
        assert phi.abs().max() < 16 * torch.finfo(dtype).eps

    def test_switch(self) -> None:
        r = torch.tensor([-1.0, 0.0, 1.0, 1.5, 2.0, 3.0], dtype=torch.float64, requires_grad=True)
        found = switch(r, 1.0, 2.0)
        assert found.tolist() == [1.0, 1.0, 1.0, 0.5, 0.0, 0.0]
        assert torch.isfinite(torch.autograd.grad(found.sum(), r)[0]).all()

    def test_gelu_is_the_tanh_form(self) -> None:
        t = torch.linspace(-3, 3, 7, dtype=torch.float64)
        expected = t / (1 + torch.exp(-2 * np.sqrt(2 / np.pi) * (t + 0.044715 * t**3)))
        assert_close(ACTIVATIONS["gelu"](t), expected, 1e-14)


class TestErrors:
    def test_unknown_element(self, so3lr: ReferenceModel) -> None:
        with pytest.raises(ValueError, match="not Na"):
            so3lr.evaluate([11], [[0.0, 0.0, 0.0]])

    def test_periodic_structure_needs_a_long_range_cutoff(self, so3lr: ReferenceModel) -> None:
        with pytest.raises(ValueError, match="needs a finite long-range cutoff"):
            so3lr.evaluate([6], [[0.0, 0.0, 0.0]], np.eye(3) * 5, True, lr_cutoff=None)

    def test_lengths_differ(self, so3lr: ReferenceModel) -> None:
        with pytest.raises(ValueError, match="2 atomic numbers, but 1 positions"):
            so3lr.evaluate([6, 1], [[0.0, 0.0, 0.0]])


def test_single_precision_is_close(so3lr_path: Path) -> None:
    """Training runs in single precision."""
    system = load_system("ethanol")
    model = ReferenceModel.from_file(so3lr_path, dtype=torch.float32)
    assert_close(evaluate(model, system)["forces"], system.expected["forces"], 1e-3)


def test_parameters_go_back_to_a_model_file(so3lr_path: Path, tmp_path: Path) -> None:
    file = ModelFile.read(so3lr_path)
    model = ReferenceModel.from_model_file(file)
    with torch.no_grad():
        model.energy.shift += 1.0
    file.tensors = model.tensors()
    file.write(tmp_path / "trained.safetensors")
    system = load_system("ethanol")
    found = evaluate(ReferenceModel.from_file(tmp_path / "trained.safetensors"), system)["energy"]
    assert_close(found, system.expected["energy"] + len(system.numbers), REFERENCE.component)
