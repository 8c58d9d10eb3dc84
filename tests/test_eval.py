"""Errors against a data set: what counts as a reference value, what is left out and said, and what is compared."""

from __future__ import annotations

import csv
import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tolerances
from ase import Atoms
from ase.build import molecule
from ase.calculators.lj import LennardJones
from ase.constraints import FixAtoms
from ase.io import read, write
from click.testing import CliRunner, Result
from parallel_runs import run

import so3md.cli.evaluate
from so3md import So3kratesCalculator
from so3md.cli import main
from so3md.data_sets import read_frames
from so3md.evaluation import evaluate
from so3md.reference_values import Factors, find_in_atoms, make_reference

#: Positions and forces are written with eight digits after the point.
ROUNDED = 1e-6


@pytest.fixture(autouse=True)
def in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def so3md_eval(*arguments: str) -> Result:
    options = ("--precision", "double", "--threads", "1", "--lr-cutoff", "12")
    return CliRunner().invoke(main, ["eval", *arguments, *options], env={"COLUMNS": "200"})


def succeed(*arguments: str) -> str:
    result = so3md_eval(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


def fail(*arguments: str) -> str:
    """The one line of a command that must fail."""
    result = so3md_eval(*arguments)
    assert result.exit_code == 1, result.output
    (line,) = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    return line


def rows(path: str) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def summary(path: str) -> dict[str, dict[str, str]]:
    return {row["quantity"]: row for row in rows(path)}


def labelled(count: int = 4, periodic: bool = False) -> list[Atoms]:
    """Rattled water with everything that SO3LR says of it as reference values, under the names of REF_energy."""
    calculator = So3kratesCalculator(precision="double", threads=1, lr_cutoff=12.0)
    frames = []
    for seed in range(count):
        atoms = molecule("H2O", cell=[7, 8, 9], pbc=True) if periodic else molecule("H2O")
        atoms.rattle(0.05, seed=seed)
        probe = atoms.copy()
        probe.calc = calculator
        atoms.arrays["REF_forces"] = probe.get_forces()
        atoms.arrays["REF_charges"] = probe.get_charges()
        atoms.arrays["REF_hirshfeld_ratios"] = calculator.get_hirshfeld_ratios(probe)
        atoms.info["REF_energy"] = probe.get_potential_energy()
        if periodic:
            atoms.info["REF_stress"] = probe.get_stress()
        else:
            atoms.info["REF_dipole"] = probe.get_dipole_moment()
        frames.append(atoms)
    return frames


# --- what is compared -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("periodic", [False, True], ids=["molecules", "cells"])
def test_every_quantity_that_the_model_has_is_compared(periodic: bool) -> None:
    frames = labelled(periodic=periodic)
    write("set.xyz", frames)
    kind = ("stress", "stress (eV/A^3)", 9) if periodic else ("dipole", "dipole (e A)", 3)
    output = succeed("set.xyz", "-o", "out")
    found = summary("out/summary.csv")
    counts = {kind[1]: kind[2] * 4, "charges (e)": 12, "hirshfeld ratios (1)": 12, "forces (eV/A)": 36}
    for name, count in counts.items():
        assert int(found[name]["count"]) == count
        assert float(found[name]["largest"]) < ROUNDED, name
        assert name in output
    for atoms in frames:
        atoms.info[f"REF_{kind[0]}"] = atoms.info[f"REF_{kind[0]}"] + 0.25
    write("set.xyz", frames)
    succeed("set.xyz", "-o", "shifted")
    assert float(summary("shifted/summary.csv")[kind[1]]["mae"]) == pytest.approx(0.25, abs=ROUNDED)
    column = "stress_mae_eV_per_A3" if periodic else "dipole_mae_eA"
    assert [float(row[column]) for row in rows("shifted/errors.csv")] == pytest.approx([0.25] * 4, abs=ROUNDED)


def test_what_the_model_does_not_give_is_said() -> None:
    frames = labelled(2, periodic=True)
    for atoms in frames:
        atoms.info["REF_dipole"] = np.zeros(3)
    write("set.xyz", frames)
    assert "Not compared: dipole of 2 structures" in succeed("set.xyz")


@pytest.mark.parametrize("name", ["REF_virial", "REF_virials", "virial", "virials"])
def test_a_virial_is_minus_the_stress_times_the_volume(name: str) -> None:
    frames = labelled(2, periodic=True)
    expected = []
    for atoms in frames:
        stress = atoms.info.pop("REF_stress")
        full = stress[[0, 5, 4, 5, 1, 3, 4, 3, 2]].reshape(3, 3)
        expected.append(full)
        atoms.info[name] = -full * atoms.get_volume()
    write("set.xyz", frames)
    output = succeed("set.xyz", "-o", "out")
    assert f"stress = -{name} / volume" in output
    assert float(summary("out/summary.csv")["stress (eV/A^3)"]["largest"]) < ROUNDED
    for (_, atoms), stress in zip(read_frames(Path("set.xyz")), expected, strict=True):
        found = make_reference(find_in_atoms(atoms, {}), len(atoms), atoms.get_volume(), Factors(energy=2.0))
        np.testing.assert_allclose(found.stress, 2.0 * stress, rtol=0, atol=ROUNDED)  # of other units of energy


def test_a_stress_and_a_virial_that_contradict_each_other_are_refused() -> None:
    frames = labelled(2, periodic=True)
    for atoms in frames:
        full = atoms.info["REF_stress"][[0, 5, 4, 5, 1, 3, 4, 3, 2]].reshape(3, 3)
        atoms.info["REF_virial"] = -full * atoms.get_volume()
    write("set.xyz", frames)
    succeed("set.xyz")
    frames[1].info["REF_virial"] *= -1
    write("set.xyz", frames)
    message = fail("set.xyz")
    assert "structure 1 (H2O): stress: the entries REF_stress and REF_virial contradict each other" in message


def test_the_stress_of_a_structure_without_volume_is_left_out_and_said() -> None:
    frames = labelled(2, periodic=True) + labelled(1)
    frames[2].info["REF_stress"] = np.zeros(6)
    write("set.xyz", frames)
    assert "stress of 1 structure left out: the structure has no volume" in succeed("set.xyz", "-o", "out")
    assert int(summary("out/summary.csv")["stress (eV/A^3)"]["count"]) == 18


# --- what was found -------------------------------------------------------------------------------------------------


def test_the_table_says_what_was_read_from_where() -> None:
    frames = labelled(3)
    del frames[1].arrays["REF_forces"]
    for atoms in frames:
        del atoms.arrays["REF_charges"]
        atoms.info["my_energy"] = atoms.info.pop("REF_energy")
    write("set.xyz", frames)
    output = succeed("set.xyz", "--energy-key", "my_energy")
    table = [line.split("  ") for line in output.splitlines() if line.startswith("set.xyz  ")]
    cells = [[cell.strip() for cell in line if cell.strip()] for line in table]
    found = {row[1]: row[2:] for row in cells}
    assert found["energy"] == ["my_energy", "3 of 3", "3"]
    assert found["forces"] == ["REF_forces", "2 of 3", "18"]
    assert "charges" not in found


def test_a_quantity_that_is_nowhere_is_named_with_the_entries_that_look_like_it() -> None:
    frames = labelled(2)
    for atoms in frames:
        atoms.info["total_energy"] = atoms.info.pop("REF_energy")
        atoms.arrays["dft_force"] = atoms.arrays.pop("REF_forces")
        del atoms.info["REF_dipole"], atoms.arrays["REF_charges"], atoms.arrays["REF_hirshfeld_ratios"]
    write("set.xyz", frames)
    message = fail("set.xyz")
    assert "set.xyz has no reference values" in message
    assert "energy: entries that look like it: total_energy" in message
    assert "forces: entries that look like it: dft_force" in message
    message = fail("set.xyz", "--forces-key", "dft_forces")
    assert "set.xyz: there is no entry 'dft_forces' for the reference forces" in message
    assert "entries that look like it: dft_force" in message
    assert "no entry 'virials' for the reference virial" in fail("set.xyz", "--virial-key", "virials")
    succeed("set.xyz", "--forces-key", "dft_force", "--energy-key", "total_energy")


@pytest.mark.parametrize("quantity", ["energy", "forces", "dipole"])
def test_a_reference_that_is_not_finite_is_named_and_the_rest_compared(quantity: str) -> None:
    frames = labelled(4)
    for number, value in ((1, np.nan), (3, np.inf)):
        place = frames[number].arrays if quantity == "forces" else frames[number].info
        place[f"REF_{quantity}"] = place[f"REF_{quantity}"] * np.ones_like(place[f"REF_{quantity}"])
        place[f"REF_{quantity}"] = np.full_like(place[f"REF_{quantity}"], value)
    write("set.xyz", frames)
    output = succeed("set.xyz", "-o", "out")
    for number in (1, 3):
        assert f"Warning: structure {number} (H2O): the reference {quantity} holds a number that is not" in output
    found = summary("out/summary.csv")
    name = {"energy": "energy (eV)", "forces": "forces (eV/A)", "dipole": "dipole (e A)"}[quantity]
    assert int(found[name]["count"]) == 2 * {"energy": 1, "forces": 9, "dipole": 3}[quantity]
    assert float(found[name]["largest"]) < ROUNDED
    assert len(rows("out/errors.csv")) == 4


def test_a_structure_that_cannot_be_evaluated_is_named_at_the_end_and_the_rest_compared() -> None:
    frames = labelled(3)
    frames[1].positions[1] = frames[1].positions[0]
    write("set.xyz", frames)
    message = fail("set.xyz", "-o", "out")
    assert "structure 1 (H2O): " in message
    assert "at the same place" in message
    assert [row["structure"] for row in rows("out/errors.csv")] == ["0", "2"]


# --- frames and files -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("index", "expected"),
    [("1::2", [1, 3]), ("2", [2]), ("-1", [3]), ("-2:", [2, 3]), ("::-2", [3, 1]), (":2", [0, 1])],
)
def test_structures_are_called_by_their_number_in_the_file(index: str, expected: list[int]) -> None:
    write("set.xyz", labelled(4))
    succeed("set.xyz", "--index", index, "-o", "out")
    assert [int(row["structure"]) for row in rows("out/errors.csv")] == expected


@pytest.mark.parametrize("index", ["9", "-9", "7:", "4:2"])
def test_an_index_beyond_the_end_is_said_with_the_number_of_structures(index: str) -> None:
    write("set.xyz", labelled(4))
    assert f"there are no structures in '{index}'; it holds 4, counted from 0" in fail("set.xyz", "--index", index)


def test_an_evaluation_is_replaced_only_if_asked_for() -> None:
    write("set.xyz", labelled(2))
    succeed("set.xyz")
    succeed("set.xyz")
    assert Path("set-eval-2").is_dir()
    assert "set-eval exists already; give another --output, or --overwrite" in fail("set.xyz", "-o", "set-eval")
    write("set.xyz", labelled(3))
    for arguments in ((), ("-o", "set-eval")):
        succeed("set.xyz", "--overwrite", *arguments)
        assert len(rows("set-eval/errors.csv")) == 3
    assert not Path("set-eval-3").exists()


def test_the_errors_are_printed_before_files_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(so3md.cli.evaluate, "replace_file", full_disk)
    write("set.xyz", labelled(2))
    result = so3md_eval("set.xyz", "-o", "out")
    assert result.exit_code == 1
    table, error = (
        result.output.index("forces on H (eV/A)"),
        result.output.index("Error: out/errors.csv: No space left"),
    )
    assert table < error


# --- spins ----------------------------------------------------------------------------------------------------------


def test_spins_can_be_multiplicities() -> None:
    calculator = So3kratesCalculator(precision="double", threads=1, lr_cutoff=12.0)
    frames = []
    for name, spin in (("O2", 1.0), ("OH", 0.5), ("H2O", 0.0)):
        atoms = molecule(name)
        probe = atoms.copy()
        probe.info["spin"], probe.calc = spin, calculator
        atoms.info |= {"REF_energy": probe.get_potential_energy(), "spin": int(2 * spin + 1)}
        atoms.arrays["REF_forces"] = probe.get_forces()
        frames.append(atoms)
    write("set.xyz", frames)
    offset = ("--energy-offset", "none")
    output = succeed("set.xyz", "--spin-convention", "multiplicity", "-o", "out", *offset)
    assert "Warning" not in output
    assert float(summary("out/summary.csv")["energy (eV)"]["largest"]) < ROUNDED
    for atoms in frames:
        atoms.info["spin"] -= 1
    write("set.xyz", frames)
    succeed("set.xyz", "--spin-convention", "unpaired", "-o", "other", *offset)
    assert float(summary("other/summary.csv")["energy (eV)"]["largest"]) < ROUNDED


def test_spins_that_look_like_multiplicities_are_doubted() -> None:
    frames = labelled(2)
    for atoms in frames:
        atoms.info["spin"] = 1
    write("set.xyz", frames)
    assert "say which they are with --spin-convention" in succeed("set.xyz")
    assert "Warning" not in succeed("set.xyz", "--spin-convention", "S")
    frames[0].info["spin"] = 0
    write("set.xyz", frames)
    assert "Warning" not in succeed("set.xyz")
    assert "a multiplicity 2 S + 1 is at least 1" in fail("set.xyz", "--spin-convention", "multiplicity")


# --- one path -------------------------------------------------------------------------------------------------------


def constrained(frames: list[Atoms]) -> list[Atoms]:
    for atoms in frames:
        atoms.set_constraint(FixAtoms([0, 1]))
    return frames


def test_any_number_of_processes_gives_the_same_errors_to_the_bit() -> None:
    pytest.importorskip("mpi4py")
    write("set.xyz", constrained(labelled(5)), columns=["symbols", "positions", "REF_forces", "move_mask"])
    arguments = ("eval", "set.xyz", "--precision", "double", "--threads", "1")
    CliRunner().invoke(main, [*arguments, "-o", "one"])
    for ranks in (2, 3):
        run(ranks, "-m", "so3md", *arguments, "-o", str(ranks), cwd=Path())
        for name in ("errors.csv", "summary.csv"):
            assert Path(f"{ranks}/{name}").read_text() == Path(f"one/{name}").read_text()


def test_a_structure_that_one_process_cannot_evaluate_is_named_by_all() -> None:
    pytest.importorskip("mpi4py")
    frames = labelled(4)
    frames[3].positions[1] = frames[3].positions[0]
    write("set.xyz", frames)
    result = run(2, "-m", "so3md", "eval", "set.xyz", "--threads", "1", "-o", "out", cwd=Path(), code=1)
    assert "structure 3 (H2O): " in result
    assert len(rows("out/errors.csv")) == 3


def test_forces_of_fixed_atoms_are_compared_as_they_are() -> None:
    (atoms,) = constrained(labelled(1))
    calculator = So3kratesCalculator(precision="double", threads=1, lr_cutoff=12.0)
    reference, found = evaluate([atoms], calculator).force_pairs()
    np.testing.assert_allclose(found, reference, rtol=0, atol=tolerances.EXACT.forces)


def test_reference_forces_that_were_written_with_constraints_are_warned_about() -> None:
    frames = constrained(labelled(3))
    columns = ["symbols", "positions", "REF_forces", "move_mask"]
    write("set.xyz", frames, columns=columns)
    text = "the reference forces of fixed atoms are exactly zero in 2 structures"
    assert text not in succeed("set.xyz", "-o", "free")
    for atoms in frames[:2]:
        atoms.arrays["REF_forces"][:2] = 0
    write("set.xyz", frames, columns=columns)
    assert text in succeed("set.xyz", "-o", "zero")


def test_calculators_of_other_kinds_are_compared_without_constraints_too() -> None:
    atoms = Atoms("Ar3", [[0, 0, 0], [1.1, 0, 0], [0, 1.2, 0]])
    atoms.calc = LennardJones()
    atoms.arrays["REF_forces"], atoms.info["REF_energy"] = atoms.get_forces(), atoms.get_potential_energy()
    atoms.calc = None
    (atoms,) = constrained([atoms])
    result = evaluate([atoms], LennardJones(), offset="none")
    assert result.summary()["forces (eV/A)"].largest < tolerances.EXACT.forces
    assert np.abs(result.configurations[0].model["forces"][:2]).max() > 0.1


# --- predictions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("periodic", [False, True])
def test_predictions_are_those_of_the_calculator_and_need_no_reference(periodic: bool) -> None:
    frames = [atoms.copy() for atoms in labelled(3, periodic)]
    for atoms in frames:
        for name in [name for name in atoms.arrays if name.startswith("REF_")]:
            del atoms.arrays[name]
        atoms.info = {"source": "mine"}
    frames.insert(1, molecule("SiH4"))
    write("plain.xyz", frames)
    assert "--predictions FILE" in fail("plain.xyz")
    assert "structure 1 (H4Si)" in fail("plain.xyz", "--predictions", "predicted.xyz", "-o", "out")
    predicted = read("predicted.xyz", ":")
    assert [atoms.info["structure"] for atoms in predicted] == [0, 2, 3]
    calculator = So3kratesCalculator(precision="double", threads=1, lr_cutoff=12.0)
    for atoms in predicted:
        own = frames[atoms.info["structure"]].copy()
        own.calc = calculator
        assert atoms.info["source"] == "mine"
        assert atoms.get_potential_energy() == pytest.approx(own.get_potential_energy(), abs=ROUNDED)
        assert atoms.get_forces() == pytest.approx(own.get_forces(), abs=ROUNDED)
        assert atoms.get_charges() == pytest.approx(own.get_charges(), abs=ROUNDED)
        assert atoms.arrays["hirshfeld_ratios"] == pytest.approx(calculator.get_hirshfeld_ratios(own), abs=ROUNDED)
        if periodic:
            assert atoms.get_stress() == pytest.approx(own.get_stress(), abs=ROUNDED)
            assert "dipole" not in atoms.calc.results  # of another choice of images it is another one
        else:
            assert atoms.get_dipole_moment() == pytest.approx(own.get_dipole_moment(), abs=ROUNDED)
    assert {path.name for path in Path("out").iterdir()} == {"errors.csv", "summary.csv"}


def test_ctrl_c_has_its_exit_code_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    write("data.xyz", labelled())
    monkeypatch.setattr(so3md.cli.evaluate, "read_frames", interrupted)
    result = so3md_eval("data.xyz", "-o", "out")
    assert result.exit_code == 130
    assert result.output.strip() == "Stopped by Ctrl-C"
    assert [path.name for path in Path.cwd().iterdir()] == ["data.xyz"]


def test_predictions_come_beside_the_comparison_and_replace_nothing_unasked() -> None:
    write("data.xyz", labelled())
    output = succeed("data.xyz", "--predictions", "predicted.xyz", "-o", "out")
    assert "forces (eV/A)" in output
    assert "In predicted.xyz: 4 structures" in output
    assert "REF_forces" in read("predicted.xyz").arrays
    assert "predicted.xyz exists" in fail("data.xyz", "--predictions", "predicted.xyz", "-o", "again")
    assert "this is the data set" in fail("data.xyz", "--predictions", "data.xyz", "--overwrite")
    assert not Path("again").exists()
