"""The model for TorchSim: its numbers are the calculator's, in batches, in dynamics and in relaxations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.md.verlet import VelocityVerlet
from ase.optimize import LBFGS
from ase.stress import voigt_6_to_full_3x3_stress
from optional_programs import needs
from tolerances import EXACT, FINITE_DIFFERENCE_STEP, FINITE_DIFFERENCE_STRESS, RANKS_TRAJECTORY
from toy_models import VARIANTS, write_toy_model

from so3md import So3kratesCalculator
from so3md.structures import read_structure

pytestmark = needs("torch_sim", install="torch-sim-atomistic (Python 3.12)")

DOUBLE: dict[str, Any] = {"precision": "double", "threads": 1}


def model_of(**parameters: Any) -> Any:
    from so3md.torchsim import So3kratesModel

    return So3kratesModel(**DOUBLE | parameters)


def ions() -> list[Atoms]:
    """A cation, a molecule and an anion, and a radical."""
    hydroxide, hydronium, methyl = Atoms("OH", [[0, 0, 0], [0, 0, 0.97]]), molecule("H2O"), molecule("CH3")
    hydronium += Atoms("H", [[0.3, 0.1, 1.1]])
    hydroxide.info["charge"], hydronium.info["charge"], methyl.info["spin"] = -1, 1, 0.5
    return [hydronium, molecule("CH4"), hydroxide, methyl]


def check(output: dict[str, Any], structures: list[Atoms]) -> None:
    """Against the calculator, structure by structure."""
    calculator, begin = So3kratesCalculator(**DOUBLE), 0
    for number, atoms in enumerate(structures):
        of_atoms = slice(begin, begin := begin + len(atoms))
        forces = calculator.get_forces(atoms)
        energy = calculator.get_potential_energy(atoms)
        assert output["energy"][number].item() == pytest.approx(energy, abs=EXACT.component * len(atoms))
        assert output["forces"][of_atoms].numpy() == pytest.approx(forces, abs=EXACT.forces)
        assert output["partial_charges"][of_atoms].numpy() == pytest.approx(
            calculator.get_charges(atoms), abs=EXACT.charges
        )
        stress = np.full((3, 3), np.nan)
        if atoms.pbc.all():
            stress = voigt_6_to_full_3x3_stress(calculator.get_stress(atoms))
        assert output["stress"][number].numpy() == pytest.approx(stress, abs=EXACT.stress, nan_ok=True)


def skewed(scale: float) -> Atoms:
    """Urea-like: two molecules of water in a small cell without symmetry."""
    atoms = molecule("H2O") + molecule("H2O")
    atoms.positions[3:] += [2.0, 2.0, 1.5]
    atoms.set_cell([[5.0, 0, 0], [1.2, 5.5, 0], [-0.7, 0.9, 6.0]])
    atoms.pbc = True
    atoms.set_cell(atoms.cell * scale, scale_atoms=True)
    return atoms


def test_its_outputs_are_as_torchsim_wants_them(tmp_path: Path) -> None:
    import torch
    from torch_sim.models.interface import validate_model_outputs

    # Of the elements that it tries, without charges, which crystals of a single atom would not have.
    options = {"elements": (1, 6, 12, 14, 26)} | VARIANTS["network_only"]
    path = write_toy_model(tmp_path / "toy.safetensors", **options)
    model = model_of(model=path, charge=0, spin=0)
    validate_model_outputs(model, torch.device("cpu"), torch.float64)


def test_ions_and_radicals_have_their_charges_and_spins() -> None:
    from so3md.torchsim import state_of

    check(model_of()(state_of(ions())), ions())


def test_periodic_systems_have_the_stress() -> None:
    from so3md.torchsim import state_of

    structures = [skewed(1.0), read_structure("water"), skewed(1.1)]
    state = state_of(structures)
    model = model_of()
    output = model(state)
    check(output, structures)
    # The sign and the order of TorchSim's cells, whose vectors are columns: energy by a strain, over the volume.
    strain = np.zeros((3, 3))
    energies = []
    for sign in (1, -1):
        strain[0, 1] = strain[1, 0] = sign * FINITE_DIFFERENCE_STEP / 2
        moved = state_of([skewed(1.0)])
        deformation = moved.positions.new_tensor(np.eye(3) + strain)
        moved.cell = deformation @ moved.cell
        moved.positions = moved.positions @ deformation.T
        energies.append(model(moved)["energy"].item())
    slope = (energies[0] - energies[1]) / (2 * FINITE_DIFFERENCE_STEP) / skewed(1.0).get_volume()
    assert output["stress"][0, 0, 1].item() == pytest.approx(slope, abs=FINITE_DIFFERENCE_STRESS)


def test_what_torchsim_drops_is_refused() -> None:
    import torch_sim

    from so3md.torchsim import state_of

    state = torch_sim.io.atoms_to_state(ions(), dtype=state_of(ions()).dtype)
    with pytest.raises(ValueError, match="does not tell the charge of its systems, and TorchSim drops"):
        model_of()(state)
    with pytest.raises(ValueError, match="pbc"):
        state_of([molecule("H2O"), skewed(1.0)])
    with pytest.raises(ValueError, match=r"system 1 \(Au2\)"):
        model_of()(state_of([molecule("H2O"), Atoms("Au2", [[0, 0, 0], [0, 0, 2.5]])]))
    with pytest.raises(TypeError, match="unknown parameters: treads"):
        model_of(treads=1)
    with pytest.raises(ValueError, match="float32 or"):
        model_of(dtype="double")


def test_a_charge_for_all_systems_and_extras_of_torchsims_own() -> None:
    import torch_sim

    atoms = Atoms("OH", [[0, 0, 0], [0, 0, 0.97]], info={"Q": -1.0, "mult": 1})
    dtype = model_of().dtype
    expected = So3kratesCalculator(charge=-1, **DOUBLE).get_potential_energy(atoms)
    plain = torch_sim.io.atoms_to_state([atoms], dtype=dtype)
    mapped = torch_sim.io.atoms_to_state(
        [atoms], dtype=dtype, system_extras_map={"total_charge": "Q", "multiplicity": "mult"}
    )
    for model, state in ((model_of(charge=-1, spin=0), plain), (model_of(), mapped)):
        assert model(state)["energy"].item() == pytest.approx(expected, abs=EXACT.component)


def test_tensors_have_the_type_that_was_asked_for() -> None:
    import torch

    from so3md.torchsim import state_of

    model = model_of(dtype=torch.float32, compute_stress=False)
    output = model(state_of([molecule("H2O")], dtype=torch.float32))
    assert {value.dtype for value in output.values()} == {torch.float32}
    assert output.keys() == {"energy", "forces", "partial_charges"}
    model.compute_forces, model.compute_stress = False, True
    assert model(state_of([molecule("H2O")])).keys() == {"energy", "stress", "partial_charges"}


def test_dynamics_are_those_of_ase() -> None:
    import torch_sim

    from so3md.torchsim import state_of

    structures, model, step, steps = ions(), model_of(), 0.05, 25  # of 0.5 fs
    state = torch_sim.nve_init(state_of(structures), model, kT=0.025)
    rng = np.random.default_rng(5)
    for atoms in structures:
        atoms.set_momenta(0.5 * rng.normal(size=(len(atoms), 3)))
    state.momenta = state.positions.new_tensor(np.concatenate([atoms.get_momenta() for atoms in structures]))
    for _ in range(steps):
        state = torch_sim.nve_step(state, model, dt=step)
    for atoms in structures:
        atoms.calc = So3kratesCalculator(**DOUBLE)
        VelocityVerlet(atoms, step).run(steps)
    right = np.concatenate([atoms.positions for atoms in structures])
    assert state.positions.numpy() == pytest.approx(right, abs=RANKS_TRAJECTORY)


def test_relaxations_find_the_minima_of_ase() -> None:
    import torch_sim

    from so3md.torchsim import state_of

    structures, fmax = ions(), 1e-3
    final = torch_sim.optimize(
        system=state_of(structures),
        model=model_of(),
        optimizer=torch_sim.Optimizer.fire,
        convergence_fn=torch_sim.generate_force_convergence_fn(force_tol=fmax, include_cell_forces=False),
        max_steps=2000,
    )
    assert final.forces.norm(dim=1).max().item() < fmax
    for number, atoms in enumerate(structures):
        atoms.calc = So3kratesCalculator(**DOUBLE)
        assert LBFGS(atoms, logfile=None).run(fmax=fmax, steps=500)
        # What forces of fmax leave in modes of at least 0.5 eV/A^2, which these molecules have.
        left = 3 * len(atoms) * fmax**2 / (2 * 0.5)
        assert final.energy[number].item() == pytest.approx(atoms.get_potential_energy(), abs=2 * left)
