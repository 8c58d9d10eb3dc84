"""The reference model of the paper's network: derivatives, symmetries, attention between distant atoms, batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from scipy.spatial.transform import Rotation
from tolerances import EXACT, FINITE_DIFFERENCE_FORCES, FINITE_DIFFERENCE_STEP, FINITE_DIFFERENCE_STRESS
from toy_models import VARIANTS_2022, make_toy_model

torch = pytest.importorskip("torch", reason="the reference model needs PyTorch (extra 'torch')")

from so3md.model_file import PAPER_2022, expected_tensors  # noqa: E402
from so3md.reference import ReferenceModel, Structure, reference_model  # noqa: E402
from so3md.reference.graph import nearest_images  # noqa: E402
from so3md.reference.paper2022 import norms, safe_sqrt  # noqa: E402

#: Float arithmetic against double, of forces of order one.
SINGLE_PRECISION = 1e-3


def toy(seed: int = 0, dtype: torch.dtype = torch.float64, **overrides: Any) -> ReferenceModel:
    return reference_model(make_toy_model(seed, architecture=PAPER_2022, **overrides), dtype)


def evaluate(model: ReferenceModel, atoms: Atoms, **options: Any) -> dict[str, Any]:
    return model.evaluate(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, **options)


def assert_close(found: Any, expected: Any, tolerance: float) -> None:
    np.testing.assert_allclose(found, expected, rtol=0.0, atol=tolerance)


def rattled(name: str, seed: int = 0) -> Atoms:
    atoms = molecule(name)
    atoms.rattle(0.1, seed=seed)
    return atoms


def two_waters(distance: float, angle: float = 0.0) -> Atoms:
    """Two molecules, the second turned by an angle (degrees) about an axis through its oxygen."""
    first, second = rattled("H2O", 1), rattled("H2O", 2)
    second.rotate(angle, (1, 2, 3), center=second.positions[0])
    second.translate([distance, 0.0, 0.0])
    return first + second


class TestOptions:
    @pytest.mark.parametrize("variant", VARIANTS_2022)
    def test_every_tensor_has_a_place(self, variant: str) -> None:
        file = make_toy_model(architecture=PAPER_2022, **VARIANTS_2022[variant])
        model = reference_model(file)
        assert model.state_dict().keys() == expected_tensors(file.hyperparameters, 3, PAPER_2022).keys()
        for name, values in model.tensors().items():
            np.testing.assert_array_equal(values, file.tensors[name])

    @pytest.mark.parametrize("variant", VARIANTS_2022)
    def test_every_number_matters(self, variant: str) -> None:
        """Every tensor has a gradient: no weight is read and then forgotten."""
        model = toy(**VARIANTS_2022[variant])
        atoms = rattled("H2CO")
        structure = Structure(atoms.numbers, atoms.positions, charge=1.0, spin=0.5)
        graph = model.make_graph([structure], torch.tensor(structure.positions))
        tensors = {name: value.requires_grad_() for name, value in model.state_dict(keep_vars=True).items()}
        outcome = (torch.linspace(0.5, 1.5, len(atoms), dtype=torch.float64) * model(graph)["energies"]).sum()
        gradients = torch.autograd.grad(outcome, list(tensors.values()), allow_unused=True)
        silent = {name for name, g in zip(tensors, gradients, strict=True) if g is None or not g.abs().max() > 1e-9}
        last = model.hyperparameters["num_layers"] - 1
        # Nobody reads the coordinates after the last layer, and one degree alone couples with nothing.
        expected = {f"layers.{last}.coordinate_norm2.scale"} & tensors.keys()
        if len(model.hyperparameters["degrees"]) == 1:
            expected |= {f"layers.{t}.self_mix.{name}" for t in (0, 1) for name in ("coefficients", "gate.weight")}
        assert silent == expected

    @pytest.mark.parametrize("variant", VARIANTS_2022)
    def test_forces_and_virial_are_derivatives(self, variant: str) -> None:
        model = toy(seed=2, **VARIANTS_2022[variant])
        atoms = rattled("H2CO", seed=3)
        atoms.set_cell([[8.4, 0.3, 0.0], [1.2, 9.1, -0.4], [0.5, 0.1, 6.0]])
        atoms.positions += [[7.0, 0.0, 0.0], [0.0, 7.5, 0.0], [0.0, 0.0, 0.0], [-3.0, 2.0, 0.0]]
        atoms.pbc = (True, True, False)
        rng = np.random.default_rng(4)
        found = evaluate(model, atoms, charge=-1.0, spin=0.5)

        def energy(displacement: np.ndarray, strain: np.ndarray) -> float:
            moved = atoms.copy()
            moved.positions = (atoms.positions + displacement) @ (np.eye(3) + strain)
            moved.set_cell(atoms.cell.array @ (np.eye(3) + strain))
            return evaluate(model, moved, charge=-1.0, spin=0.5)["energy"]

        step = FINITE_DIFFERENCE_STEP
        direction, strain = rng.standard_normal(atoms.positions.shape), rng.standard_normal((3, 3))
        direction, strain = direction / np.linalg.norm(direction), strain / np.linalg.norm(strain)
        slope = (energy(step * direction, 0 * strain) - energy(-step * direction, 0 * strain)) / (2 * step)
        assert abs(slope) > 1e-4
        assert_close(-(found["forces"] * direction).sum(), slope, FINITE_DIFFERENCE_FORCES)
        slope = (energy(0 * direction, step * strain) - energy(0 * direction, -step * strain)) / (2 * step)
        assert_close((found["stress"] * strain).sum(), slope / atoms.get_volume(), FINITE_DIFFERENCE_STRESS)

    def test_charge_and_spin(self) -> None:
        model, atoms = toy(**VARIANTS_2022["charge_and_spin"]), rattled("H2CO")
        states = [(0.0, 0.0), (1.0, 0.0), (-1.0, 0.0), (0.0, 0.5)]
        energies = [evaluate(model, atoms, charge=charge, spin=spin)["energy"] for charge, spin in states]
        assert len({round(energy, 4) for energy in energies}) == 4


class TestSymmetries:
    @pytest.mark.parametrize("variant", ["default", "local", "static", "parity", "norms", "four_degrees"])
    def test_rotation_and_translation(self, variant: str) -> None:
        model, atoms = toy(seed=7, **VARIANTS_2022[variant]), rattled("CH3COOH")
        rotation = Rotation.from_rotvec([0.3, -1.1, 0.7]).as_matrix()
        first = evaluate(model, atoms)
        second = model.evaluate(atoms.numbers, atoms.positions @ rotation.T + [3.0, -2.0, 11.0])
        assert_close(second["energies"], first["energies"], EXACT.energy_per_atom)
        assert_close(second["forces"], first["forces"] @ rotation.T, EXACT.forces)
        assert_close(second["virial"], rotation @ first["virial"] @ rotation.T, EXACT.forces)

    @pytest.mark.parametrize("parity", [False, True])
    def test_inversion(self, parity: bool) -> None:
        """Only the filter keeps the energy of a chiral arrangement that of its mirror image."""
        model, atoms = toy(seed=7, parity=parity), rattled("CH3COOH")
        first = evaluate(model, atoms)
        second = model.evaluate(atoms.numbers, -atoms.positions)
        if parity:
            assert_close(second["energies"], first["energies"], EXACT.energy_per_atom)
            assert_close(second["forces"], -first["forces"], EXACT.forces)
        else:
            assert abs(second["energies"] - first["energies"]).max() > 1e-6

    @pytest.mark.parametrize("variant", ["default", "static", "norms"])
    def test_permutation(self, variant: str) -> None:
        model, atoms = toy(**VARIANTS_2022[variant]), rattled("CH3COOH")
        order = np.random.default_rng(0).permutation(len(atoms))
        first, second = evaluate(model, atoms), evaluate(model, atoms[order])
        assert_close(second["energies"], first["energies"][order], EXACT.energy_per_atom)
        assert_close(second["forces"], first["forces"][order], EXACT.forces)

    def test_supercell_of_a_local_model(self) -> None:
        """Energy and stress; forces on equivalent atoms hang on the cusp of |chi_i - chi_j| at zero."""
        model, atoms = toy(**VARIANTS_2022["local"]), bulk("C", "diamond", a=3.4)
        atoms.rattle(0.1, seed=0)
        first, second = evaluate(model, atoms), evaluate(model, atoms.repeat((2, 1, 3)))
        assert_close(second["energy"] / 6, first["energy"], EXACT.component)
        assert_close(second["stress"], first["stress"], EXACT.stress)


class TestBatches:
    @pytest.mark.parametrize("variant", ["default", "static", "local", "norms", "charge_and_spin"])
    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
    def test_a_batch_is_the_sum_of_its_structures(self, variant: str, dtype: torch.dtype) -> None:
        """With the dynamic cutoff 1/n each structure has its own n."""
        model = toy(dtype=dtype, **VARIANTS_2022[variant])
        cell = np.diag([9.0, 9.5, 10.0])
        atoms = [rattled("H2CO"), Atoms("OCH", rattled("H2O").positions, cell=cell, pbc=True), rattled("CH3COOH")]
        atoms.append(Atoms("H"))
        structures = [
            Structure(a.numbers, a.positions, a.cell.array, a.pbc, charge=q)
            for a, q in zip(atoms, (1, 0, -1, 0), strict=True)
        ]
        positions = torch.tensor(np.concatenate([s.positions for s in structures]), dtype=dtype, requires_grad=True)
        found = model(model.make_graph(structures, positions))
        forces = -torch.autograd.grad(found["energy"].sum(), positions)[0]
        alone = [model.evaluate(s.numbers, s.positions, s.cell, s.pbc, s.charge) for s in structures]
        exact = dtype == torch.float64
        energy, force = (EXACT.component, EXACT.forces) if exact else (SINGLE_PRECISION, SINGLE_PRECISION)
        assert_close(found["energy"].detach(), [one["energy"] for one in alone], energy)
        assert_close(forces, np.concatenate([one["forces"] for one in alone]), force)

    @pytest.mark.parametrize("variant", VARIANTS_2022)
    def test_training_on_forces(self, variant: str) -> None:
        """The gradient of a loss on forces, a second derivative, against differences in a direction of all weights."""
        model, atoms = toy(seed=3, **VARIANTS_2022[variant]), [rattled("H2CO", 1), rattled("H2O", 2)]
        structures = [Structure(a.numbers, a.positions, charge=1.0) for a in atoms]
        positions = torch.tensor(np.concatenate([a.positions for a in atoms]), requires_grad=True)
        graph = model.make_graph(structures, positions)
        targets = torch.from_numpy(np.random.default_rng(5).standard_normal(positions.shape))

        def loss() -> torch.Tensor:
            energy = model(graph)["energy"].sum()
            gradient = torch.autograd.grad(energy, positions, create_graph=True)[0]
            return ((gradient - targets) ** 2).sum()

        parameters = list(model.parameters())
        generator = torch.Generator().manual_seed(6)
        directions = [torch.randn(p.shape, generator=generator, dtype=p.dtype) * p.detach().abs() for p in parameters]
        gradients = torch.autograd.grad(loss(), parameters, allow_unused=True)
        expected = sum((g * d).sum() for g, d in zip(gradients, directions, strict=True) if g is not None).item()

        def shifted(step: float) -> float:
            with torch.no_grad():
                for p, d in zip(parameters, directions, strict=True):
                    p += step * d
            value = loss().item()
            with torch.no_grad():
                for p, d in zip(parameters, directions, strict=True):
                    p -= step * d
            return value

        step = 1e-5
        slope = (shifted(step) - shifted(-step)) / (2 * step)
        assert expected == pytest.approx(slope, rel=1e-5)

    @pytest.mark.parametrize("variant", VARIANTS_2022)
    def test_training_in_single_precision(self, variant: str) -> None:
        """The gradient of a loss on forces is that of double precision, to what single precision leaves of it."""
        atoms, found = rattled("H2CO", 1), []
        for dtype in (torch.float64, torch.float32):
            model = toy(seed=3, dtype=dtype, **VARIANTS_2022[variant])
            positions = torch.tensor(atoms.positions, dtype=dtype, requires_grad=True)
            graph = model.make_graph([Structure(atoms.numbers, atoms.positions, charge=1.0, spin=0.5)], positions)
            gradient = torch.autograd.grad(model(graph)["energy"].sum(), positions, create_graph=True)[0]
            parameters = [p for name, p in model.named_parameters() if name.endswith("weight")]
            parts = torch.autograd.grad((gradient**2).sum(), parameters, allow_unused=True)
            found.append(torch.cat([part.flatten().double() for part in parts if part is not None]))
        assert found[0].norm() > 1e-3
        assert (found[1] - found[0]).norm() < SINGLE_PRECISION * found[0].norm()

    def test_single_precision_is_close(self) -> None:
        atoms = rattled("CH3COOH")
        double, single = (evaluate(toy(dtype=dtype), atoms) for dtype in (torch.float64, torch.float32))
        assert_close(single["forces"], double["forces"], SINGLE_PRECISION)


class TestDistantAtoms:
    def test_only_nonlocal_attention_sees_them(self) -> None:
        """Turning a molecule changes the energies of another one 15 A away, beyond any chain of neighbours."""
        for variant, seen in (("default", True), ("static", True), ("local", False)):
            model = toy(seed=1, **VARIANTS_2022[variant])
            first, second = (evaluate(model, two_waters(15.0, angle))["energies"][:3] for angle in (0.0, 60.0))
            assert (abs(first - second).max() > 1e-6) == seen, variant

    def test_weights_and_cutoffs(self) -> None:
        """f from the definition, written out with loops."""
        atoms = rattled("CH3COOH")
        for variant, cutoff in (("default", 1 / len(atoms)), ("static", 0.4)):
            found = evaluate(toy(**VARIANTS_2022[variant]), atoms, intermediates=True)["intermediates"]
            chi, n = found["chi_initial"], len(atoms)
            expected = {}
            for i in range(n):
                powers = {j: np.exp(np.linalg.norm(chi[i] - chi[j])) for j in range(n) if j != i}
                for j, power in powers.items():
                    u = power / sum(powers.values()) / cutoff
                    expected[i, j] = 1 - 28 * u**6 + 48 * u**7 - 21 * u**8 if u < 1 else 0.0
            pairs = zip(found["edge_i"], found["edge_j"], strict=True)
            assert_close(found["layer0_nonlocal_cutoff"], [expected[pair] for pair in pairs], EXACT.features)
            assert np.count_nonzero(found["layer0_nonlocal_cutoff"]) > 0

    def test_atoms_without_neighbours(self) -> None:
        """Equal distances give weights 1/(n-1) > 1/n: nothing is coupled, and nothing is infinite."""
        model, alone = toy(), evaluate(toy(), Atoms("C"))
        found = evaluate(model, Atoms("C4", 30.0 * np.eye(4)[:, :3]))
        assert_close(found["energies"], np.full(4, alone["energy"]), EXACT.energy_per_atom)
        assert (found["forces"] == 0).all()

    def test_equal_environments(self) -> None:
        """Molecules that are translated copies: coordinates at distance zero, where the norm has a cusp."""
        first = rattled("H2O", 1)
        first.positions = np.round(1024 * first.positions) / 1024  # so that the copies differ in no bit
        second = first.copy()
        second.translate([16.0, 0.0, 0.0])
        found = evaluate(toy(), first + second, intermediates=True)
        coordinates = found["intermediates"]["chi_initial"]
        assert (coordinates[:3] == coordinates[3:]).all()
        assert np.isfinite(found["forces"]).all()


class TestPeriodicStructures:
    def test_the_nearest_image_counts(self) -> None:
        """Atoms moved by whole cells change nothing, and a wide cell gives the molecule alone."""
        model, atoms = toy(), two_waters(5.5)
        free = evaluate(model, atoms)
        atoms.set_cell([[40.0, 0.0, 0.0], [9.0, 40.0, 0.0], [0.0, -7.0, 40.0]])
        atoms.pbc = True
        wide = evaluate(model, atoms)
        assert_close(wide["energies"], free["energies"], EXACT.energy_per_atom)
        atoms.positions += np.array([[0, 0, 0], [1, 0, 0], [0, -2, 0], [0, 0, 1], [1, 1, 1], [-1, 0, 2]]) @ atoms.cell
        moved = evaluate(model, atoms)
        assert_close(moved["energies"], free["energies"], EXACT.energy_per_atom)
        assert_close(moved["forces"], free["forces"], EXACT.forces)

    def test_nearest_images_in_a_skewed_cell(self) -> None:
        rng = np.random.default_rng(0)
        cell = np.array([[8.0, 0.0, 0.0], [6.5, 8.0, 0.0], [-3.0, 5.0, 9.0]])
        structure = Structure(np.ones(12), rng.uniform(-10, 10, (12, 3)), cell, (True, False, True))
        centre, neighbour, offset = nearest_images(structure, 2.0)
        shifts = [[i, 0, j] @ cell for i in range(-8, 9) for j in range(-8, 9)]
        difference = structure.positions[neighbour] - structure.positions[centre]
        best = np.min([np.linalg.norm(difference + shift, axis=1) for shift in shifts], axis=0)
        assert len(centre) == 12 * 11
        assert_close(np.linalg.norm(difference + offset, axis=1), best, 1e-12)

    def test_a_chain_without_a_volume_has_no_stress(self) -> None:
        atoms = rattled("H2CO")
        alone = evaluate(toy(), atoms)
        atoms.cell[0, 0], atoms.pbc = 30.0, (True, False, False)
        found = evaluate(toy(), atoms)
        assert "stress" not in found
        assert_close(found["energies"], alone["energies"], EXACT.energy_per_atom)
        assert_close(found["virial"], alone["virial"], EXACT.forces)

    def test_a_cell_that_is_too_small_is_refused(self) -> None:
        model, atoms = toy(), bulk("C", "diamond", a=3.4, cubic=True)
        with pytest.raises(ValueError, match=r"expected heights above 8 A along periodic .* found 3\.4 A; repeat the"):
            evaluate(model, atoms)
        atoms.set_cell([9.0, 9.0, 3.4])
        atoms.pbc = (True, True, False)
        assert np.isfinite(evaluate(model, atoms)["energy"])

    def test_pairs_within_the_cutoff_are_the_neighbours(self) -> None:
        """Where nothing is coupled beyond the cutoff, a non-local model is the local one."""
        atoms = rattled("CH3COOH")
        atoms.set_cell([8.2, 8.3, 8.4])
        atoms.pbc = True
        overrides = {"nonlocal": {"type": "static", "cutoff": 1e-9}}
        first, second = evaluate(toy(**overrides), atoms), evaluate(toy(**VARIANTS_2022["local"]), atoms)
        assert_close(first["energies"], second["energies"], EXACT.energy_per_atom)
        assert_close(first["forces"], second["forces"], EXACT.forces)
        assert_close(first["stress"], second["stress"], EXACT.stress)


class TestNorms:
    def test_values_and_derivatives_at_zero(self) -> None:
        t = torch.tensor([0.0, 4.0], dtype=torch.float64, requires_grad=True)
        root = safe_sqrt(t)
        slope = torch.autograd.grad(root.sum(), t, create_graph=True)[0]
        curvature = torch.autograd.grad(slope.sum(), t)[0]
        assert root.tolist() == [0.0, 2.0]
        assert slope.tolist() == [0.0, 0.25]
        assert curvature.tolist() == [0.0, -1 / 32]

    def test_norms_of_degrees(self) -> None:
        chi = torch.arange(1.0, 9.0, dtype=torch.float64)[None]
        assert_close(norms(chi, [1, 2]), [[np.sqrt(14), np.sqrt(16 + 25 + 36 + 49 + 64)]], EXACT.features)


def test_unknown_elements_are_refused() -> None:
    with pytest.raises(ValueError, match="not Na"):
        toy().evaluate([11], [[0.0, 0.0, 0.0]])
