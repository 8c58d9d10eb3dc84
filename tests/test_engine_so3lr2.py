"""Models of the second generation of SO3LR in the engine: parity, precisions, threads, ranks, batches and LAMMPS.

Derivatives and the comparison with the torch reference model, option by option, are in `test_engine_variants.py`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tolerances
from ase import Atoms
from lammps_comparison import waters
from lammps_runs import lmp, needs_lammps
from lammps_tools import Job
from paper_models import (
    RANK_COUNTS,
    assert_same_bits_for_any_number_of_threads,
    assert_same_on_ranks,
    needs_mpi4py,
    random_gas,
    structure_of,
    water,
)
from parallel_runs import run_checks
from so3lr2_models import CASES, Case, load_case, odd_signs, parity_model
from test_engine_paper2022_parallel import write_lammps
from test_lammps_heat_flux import CONSTANTS_OF_OTHER_YEARS, FLUX, flux_of, printed
from toy_models import VARIANTS_SO3LR2, write_toy_model

from so3md import So3kratesCalculator, evaluate_many
from so3md._engine import Engine, Model, instruction_sets

EXACT, PARITY, RANKS = tolerances.EXACT, tolerances.PARITY, tolerances.RANKS
ALL = "all_of_so3lr2"

#: Components of the data and of so3md; the repulsion keeps the name of that of the first generation.
COMPONENTS = {"nn_noshift": "nn", "zbl": "repulsion", "electrostatics": "electrostatics", "dispersion": "dispersion"}
ATOMS = {"charges": "partial_charges", "hirshfeld_ratios": "hirshfeld_ratios", "c6_ratios": "c6_ratios"}


def write_model(folder: Path, name: str, case: Case) -> Path:
    path = folder / f"{name}.safetensors"
    parity_model(name, case.theory_level).write(path)
    return path


def options(case: Case) -> dict[str, float | None]:
    return {"lr_cutoff": case.lr_cutoff, "lr_damping": case.lr_damping}


def toy_path(folder: Path, variant: str = ALL, seed: int = 1) -> Path:
    return write_toy_model(folder / "toy.safetensors", seed, **VARIANTS_SO3LR2[variant])


def assert_close(found: object, expected: object, tolerance: float, what: str = "") -> None:
    np.testing.assert_allclose(found, expected, rtol=0.0, atol=tolerance, err_msg=what)


def assert_parity(engine: Engine, case: Case) -> None:
    found, expected = engine.evaluate(**case.structure), case.expected
    assert_close(found["energy"], expected["energy"], PARITY.energy_per_atom)
    assert_close(found["forces"], expected["forces"], PARITY.forces)
    for ours, theirs in ATOMS.items():
        assert_close(found[ours], expected[theirs], PARITY.charges, ours)
    for ours, theirs in COMPONENTS.items():
        assert_close(found["energy_components"][ours], expected[f"energy_{theirs}"], PARITY.component, ours)
    if case.structure["pbc"].any():
        volume = abs(np.linalg.det(case.structure["cell"]))
        assert_close(found["virial"] / volume, expected["stress"], PARITY.stress)


@pytest.mark.parametrize(("model", "system"), CASES)
def test_parity(model: str, system: str, tmp_path: Path) -> None:
    case = load_case(model, system)
    assert_parity(Engine(Model(str(write_model(tmp_path, model, case))), precision="double", **options(case)), case)


@pytest.mark.parametrize("instruction_set", instruction_sets())
def test_parity_of_every_instruction_set(instruction_set: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SO3MD_INSTRUCTION_SET", instruction_set)
    case = load_case("doubled", "mixed_lr12")
    engine = Engine(Model(str(write_model(tmp_path, "doubled", case))), precision="double", **options(case))
    assert engine.info()["instruction_set"] == instruction_set
    assert_parity(engine, case)


@pytest.mark.parametrize("model", ["all", "all_alt", "doubled"])
def test_features_of_every_layer(model: str, tmp_path: Path) -> None:
    """What comes out of a layer is what goes into the next, already mixed with the embedding."""
    case = load_case(model, "mixed_lr12")
    engine = Engine(Model(str(write_model(tmp_path, model, case))), precision="double", **options(case))
    found, signs = (
        engine.intermediates(**case.structure),
        odd_signs(parity_model(model, case.theory_level).hyperparameters["degrees"]),
    )
    layers = 2
    for t in range(layers):
        after = f"xin{t + 1}" if t + 1 < layers else f"x{t + 1}"
        assert_close(found[f"layer{t}_x_in"], case.expected[f"xin{t}"], PARITY.features)
        assert_close(found[f"layer{t}_x_out"], case.expected[after], PARITY.features)
        assert_close(found[f"layer{t}_chi_out"] * signs, case.expected[f"chi{t + 1}"], PARITY.features)


@pytest.mark.parametrize(("model", "system"), [case for case in CASES if case[1] in ("mixed_lr12", "water8_lr12")])
def test_mixed_agrees_with_double(model: str, system: str, tmp_path: Path) -> None:
    case = load_case(model, system)
    path = write_model(tmp_path, model, case)
    exact, mixed = (
        Engine(Model(str(path)), precision=precision, **options(case)).evaluate(**case.structure)
        for precision in ("double", "mixed")
    )
    bounds = tolerances.rounding(path, case.structure, **options(case))
    tolerances.assert_within(bounds, mixed, exact)
    assert_close(mixed["c6_ratios"], exact["c6_ratios"], bounds["hirshfeld_ratios"])


@pytest.mark.parametrize("precision", ["double", "mixed"])
def test_same_bits_for_any_number_of_threads(precision: str, tmp_path: Path) -> None:
    assert_same_bits_for_any_number_of_threads(Model(toy_path(tmp_path)), precision)


#: More than one block of pairs and, divided, atoms of other ranks that have neighbours of their own elsewhere.
STRUCTURES: dict[str, Atoms] = {
    "gas": random_gas(150, 14.0),
    "water": water(3, 1.0),
    "fewer atoms than ranks": Atoms("CO", [[0.0, 0.0, 0.0], [3.0, 1.0, 0.0]]),
}


@needs_mpi4py
@pytest.mark.parametrize("ranks", [*RANK_COUNTS, 8])
def test_ase_on_several_processes(ranks: int, tmp_path: Path) -> None:
    assert_same_on_ranks(tmp_path, toy_path(tmp_path), STRUCTURES, ranks)


@needs_lammps
@pytest.mark.parametrize("ranks", [1, 2])
def test_lammps(ranks: int, tmp_path: Path) -> None:
    atoms, model = STRUCTURES["water"], toy_path(tmp_path)
    expected = Engine(Model(model), precision="double").evaluate(**structure_of(atoms))
    structure = write_lammps(tmp_path, atoms, model)
    lmp(tmp_path, "-in", "in.lammps", ranks=ranks)
    table = np.loadtxt((tmp_path / "forces.dump").read_text().splitlines()[-len(atoms) :])
    assert_close(table[:, 1:] @ structure.rotation.T, expected["forces"], RANKS.forces)


@needs_lammps
def test_lammps_kspace_forces_are_derivatives(tmp_path: Path) -> None:
    atoms = waters(1, 1, 2)
    model = toy_path(tmp_path)
    job = Job(tmp_path, atoms, f"{model} precision double coulomb kspace lr_cutoff 8.0")
    job.commands("kspace_style ewald 1e-12")
    job.commands(f"fix forces all numdiff 1 {tolerances.FINITE_DIFFERENCE_STEP}")
    job.report("start", columns="f_forces[*]")
    report = job.run(2)["start"]
    scale = max(1.0, np.abs(report.forces).max())
    assert_close(report.forces, report.columns, tolerances.FINITE_DIFFERENCE_FORCES * scale)


@pytest.mark.filterwarnings("ignore::so3md.charge_and_spin.OddElectronsWarning")
def test_calculator_and_batches(tmp_path: Path) -> None:
    path = toy_path(tmp_path)
    structures = [STRUCTURES["water"], random_gas(40, 9.0)]
    for atoms, found in zip(structures, evaluate_many(structures, path, precision="double"), strict=True):
        single = atoms.copy()
        single.calc = So3kratesCalculator(path, precision="double")
        assert_close(found.forces, single.get_forces(), EXACT.forces)
        assert_close(found.c6_ratios, single.calc.get_c6_ratios(single), EXACT.charges)
        reference = Engine(Model(path), precision="double").evaluate(**structure_of(single))
        assert_close(found.c6_ratios, reference["c6_ratios"], EXACT.charges)
        assert abs(found.energy - single.get_potential_energy()) < EXACT.component


@needs_mpi4py
@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_heat_flux_on_several_processes(ranks: int, tmp_path: Path) -> None:
    model = write_toy_model(tmp_path / "toy.safetensors", 1, (1, 6, 7, 8), **VARIANTS_SO3LR2[ALL])
    for key, difference in run_checks("parallel_heat_flux.py", ranks, tmp_path, model).items():
        assert difference < RANKS.component, key


@needs_lammps
@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_heat_flux_in_lammps(ranks: int, tmp_path: Path) -> None:
    model, atoms = toy_path(tmp_path), waters(2, 2, 3)
    job = Job(tmp_path, atoms, f"{model} precision double lr_cutoff 6.0")
    job.commands(f"{FLUX}\nthermo_style custom step c_flux[1]")
    printed(job)
    job.run(ranks)
    parts = So3kratesCalculator(model, precision="double", lr_cutoff=6.0).get_heat_flux_parts(atoms)
    total, convective = flux_of(job)
    size = CONSTANTS_OF_OTHER_YEARS * max(np.abs(part).max() for part in parts.values())
    assert_close(convective, parts["convective"], size + RANKS.component)
    assert_close(total - convective, parts["potential"], size + RANKS.component)
