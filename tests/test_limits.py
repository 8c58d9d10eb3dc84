"""Numbers that nobody can mean are refused, whoever gives them; the largest that are accepted give right results."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from model_contents import Contents, read_or_refuse, set_at, tiny_raw
from reference_data import load_system
from tolerances import EXACT

from so3md import So3kratesCalculator, _engine, evaluate_many, load_model
from so3md.model_file import ModelFile, ModelFileError

#: Beyond every bound; the squares of some overflow, and then the numbers themselves.
HUGE = (1e7, 1e20, 1e155, 1e308, -1e308, np.nan)
LARGEST_LENGTH = 1e6  # A (csrc/common/largest_length.h)


def evaluate_calculator(atoms: Atoms, **options: Any) -> Any:
    atoms = atoms.copy()
    atoms.calc = So3kratesCalculator(threads=1, **options)
    return atoms.get_potential_energy()


def evaluate_batch(atoms: Atoms, **options: Any) -> Any:
    return next(evaluate_many([atoms], threads=1, **options)).energy


def evaluate_engine(atoms: Atoms, **options: Any) -> Any:
    totals = {key: options.pop(key) for key in ("charge", "spin") if key in options}
    engine = _engine.Engine(load_model("so3lr"), threads=1, **options)
    return engine.evaluate(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, **totals)["energy"]


EVALUATIONS = [evaluate_calculator, evaluate_batch, evaluate_engine]


@pytest.mark.parametrize("evaluate", EVALUATIONS)
@pytest.mark.parametrize("name", ["lr_cutoff", "lr_damping", "charge", "spin"])
@pytest.mark.parametrize("value", HUGE)
def test_huge_numbers_are_refused_by_name(evaluate: Callable[..., Any], name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name}.*expected") as info:
        evaluate(molecule("CH3CH2OH"), **{name: value})
    assert "\n" not in str(info.value)


@pytest.mark.parametrize("value", HUGE)
def test_a_huge_damping_is_refused_without_a_cutoff_too(value: float) -> None:
    with pytest.raises(ValueError, match="lr_damping"):
        evaluate_calculator(molecule("H2O"), lr_cutoff=None, lr_damping=value)


@pytest.mark.parametrize("evaluate", EVALUATIONS)
@pytest.mark.parametrize("value", [0.0, -0.0, 1e-320, 1e-300, 1e-9, 9e-4])
def test_lengths_next_to_nothing_are_refused(evaluate: Callable[..., Any], value: float) -> None:
    """A dispersion that is switched off within less than a hundredth of an atom has no derivative to speak of."""
    for options in ({"lr_cutoff": value}, {"lr_damping": value}, {"lr_damping": value, "lr_cutoff": 12.0}):
        name = next(iter(options))
        with pytest.raises(ValueError, match=rf"{name}.*expected a (positive )?length from 0\.001 ") as info:
            evaluate(molecule("H2O"), **options)
        assert "\n" not in str(info.value)


def test_the_smallest_damping_is_taken() -> None:
    """All pairs of a water molecule are nearer than the cutoff by more than either width."""
    energies = [evaluate_calculator(molecule("H2O"), lr_cutoff=12.0, lr_damping=width) for width in (1e-3, 1.0)]
    assert energies[0] == energies[1]


@pytest.mark.parametrize("threads", [1025, 1 << 31, 1 << 40, -1])
def test_more_threads_than_any_machine_has_are_refused(threads: int) -> None:
    for evaluate in EVALUATIONS:
        with pytest.raises(ValueError, match=r"threads.*expected"):
            evaluate(molecule("H2O")) if threads == 0 else _with_threads(evaluate, threads)
    with pytest.raises(ValueError, match=r"threads.*expected"):
        _engine.NeighbourList(4.0).update(np.eye(3), np.zeros((3, 3)), [False] * 3, threads=threads)


def _with_threads(evaluate: Callable[..., Any], threads: int) -> None:
    if evaluate is evaluate_calculator:
        So3kratesCalculator(threads=threads)
    elif evaluate is evaluate_batch:
        evaluate_many([], threads=threads)
    else:
        _engine.Engine(load_model("so3lr"), threads=threads)


@pytest.mark.parametrize("value", HUGE)
def test_lengths_of_a_neighbour_list(value: float) -> None:
    for lengths in ((value, 0.0, 0.5), (4.5, value, 0.5), (4.5, 12.0, value)):
        with pytest.raises(ValueError, match=r"expected a (positive )?length"):
            _engine.NeighbourList(*lengths)
    with pytest.raises(ValueError, match="skin"):
        _engine.Engine(load_model("so3lr"), skin=value)


@pytest.mark.parametrize("number", [119, -1, 1 << 31, (1 << 32) + 6, (1 << 62) + 6])
def test_numbers_of_no_element_are_not_cut_to_those_of_one(number: int) -> None:
    engine = _engine.Engine(load_model("so3lr"), threads=1)
    with pytest.raises(ValueError, match=f"atom 1 .*{number}"):
        engine.evaluate(np.array([6, number]), np.eye(3)[:2], np.zeros((3, 3)), [False] * 3)


@pytest.mark.parametrize("precision", ["mixed", "double"])
def test_the_largest_cutoff_is_as_good_as_none(precision: str) -> None:
    atoms = molecule("CH3CH2OH")
    unlimited = evaluate_calculator(atoms, lr_cutoff=None, precision=precision)
    for cutoff in (1e4, LARGEST_LENGTH):
        # The electrostatics is shifted to zero at the cutoff: by k_e q_i q_j / R for each of the pairs.
        shift = 14.4 * len(atoms) ** 2 / 2 / cutoff
        assert abs(evaluate_calculator(atoms, lr_cutoff=cutoff, precision=precision) - unlimited) < shift


def water() -> Atoms:
    system = load_system("water_64")
    return Atoms(system.numbers, system.positions, cell=system.cell, pbc=True)


@pytest.mark.parametrize("evaluate", EVALUATIONS)
@pytest.mark.parametrize("cutoff", [2000.0, 1e5, LARGEST_LENGTH])
def test_a_cutoff_with_too_many_images_says_why(evaluate: Callable[..., Any], cutoff: float) -> None:
    begin = time.monotonic()
    with pytest.raises(ValueError, match=r"too thin for the cutoff.*shorten lr_cutoff"):
        evaluate(water(), lr_cutoff=cutoff)
    assert time.monotonic() - begin < 20


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="only Linux tells how much memory is left")
@pytest.mark.parametrize("pbc", [(True, True, True), (True, True, False), (False, True, False), (False, False, False)])
def test_a_list_that_fills_the_memory_says_so_before_it_does(pbc: tuple[bool, bool, bool]) -> None:
    # Pairs within the radius are more than any machine has memory for.
    n, cell, radius = {
        3: (12_000, 50.0, 1000.0),
        2: (200_000, 100.0, 2000.0),
        1: (1_000_000, 100.0, 1e4),
        0: (3_000_000, 100.0, 1e4),
    }[sum(pbc)]
    positions = np.random.default_rng(0).uniform(0, cell, (n, 3))
    begin = time.monotonic()
    with pytest.raises(ValueError, match=r"lists within .* A .* need .* [TP]B of memory"):
        _engine.NeighbourList(4.5, radius, 0.0).update(positions, cell * np.eye(3), pbc)
    assert time.monotonic() - begin < 20


@pytest.mark.parametrize("length", [1e5, 9e7])
def test_a_molecule_in_a_huge_cell_costs_what_it_costs_in_a_small_one(length: float) -> None:
    atoms = molecule("CH3CH2OH")
    atoms.set_cell(30 * np.eye(3))
    atoms.pbc = True
    small = evaluate_calculator(atoms, precision="double")
    atoms.set_cell(length * np.eye(3))
    begin = time.monotonic()
    assert abs(evaluate_calculator(atoms, precision="double") - small) < EXACT.component
    assert time.monotonic() - begin < 5


def test_energies_that_are_no_numbers_are_never_handed_out(tmp_path: Path) -> None:
    """Weights of a file may be anything: here the energies leave the range of single precision."""
    contents = Contents(tiny_raw())
    for index in range(3):
        contents.set_number("energy.scale", index, 3e38)
    path = tmp_path / "large.safetensors"
    path.write_bytes(contents.raw())
    symbols = np.array(_engine.Model(str(path)).elements)[[0, 0, 0]]
    for weight in range(np.prod(contents.table["energy.dense2.weight"]["shape"])):
        contents.set_number("energy.dense2.weight", weight, 3e38)
    path.write_bytes(contents.raw())
    atoms = Atoms(symbols, positions=[[0, 0, 0], [0, 0, 1.2], [0, 1.1, 0.3]])
    message = r"no finite energy \(network\) for this structure"
    with pytest.raises(ValueError, match=message):
        evaluate_calculator(atoms, model=path)
    with pytest.raises(ValueError, match=message):
        evaluate_batch(atoms, model=path)


#: Hyperparameters that are numbers, with the largest value that both readers take.
BOUNDS = {
    "hyperparameters/cutoff": 100.0,
    "hyperparameters/layer_norm_epsilon": 1e15,
    "hyperparameters/zbl/switch_off": 1e15,
    "hyperparameters/electrostatics/sigma": 1e15,
    "hyperparameters/dispersion/damping_scale": 1e15,
    "long_range_cutoff": LARGEST_LENGTH,
}


@pytest.mark.parametrize("path", BOUNDS)
def test_numbers_of_model_files_are_bounded_in_both_readers(path: str, tmp_path: Path) -> None:
    file = tmp_path / "altered.safetensors"
    for factor, taken in ((1, True), (1 + 1e-6, False), (1e10, False), (1e290, False), (1e-200, False), (-1, False)):
        contents = Contents(tiny_raw())
        set_at(contents.document, path, BOUNDS[path] * factor)
        assert (read_or_refuse(file, contents.raw()) is not None) == taken, factor
        if taken:
            ModelFile.read(file)
            continue
        with pytest.raises(ModelFileError, match=re.escape(path.replace("/", "."))):
            ModelFile.read(file)
