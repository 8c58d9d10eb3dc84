"""The long-range cutoff and damping of a model file are those that everything uses unless others are given."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from click.testing import CliRunner
from lammps_runs import needs_lammps
from lammps_tools import Job
from parallel_runs import finish, start
from tolerances import EXACT, RANKS
from toy_models import make_toy_model

from so3md import So3kratesCalculator, evaluate_many, load_model
from so3md.cli import main
from so3md.dynamics import Settings, Simulation
from so3md.model_file import ModelFile

#: What models say (periodic systems, molecules, damping), and what molecules and boxes are then evaluated with.
MADE_FOR = {
    "as SO3LR": (6.0, None, 2.0),
    "one cutoff": (6.0, "same", 2.0),
    "two cutoffs": (6.0, 5.0, 2.0),
    "another damping": (6.0, 7.0, 1.0),
    "molecules only": (None, None, 2.0),
    "molecules with a cutoff": (None, 5.0, 2.0),
}


def model_made_for(path: Path, periodic: float | None, molecules: float | str | None, damping: float = 2.0) -> str:
    model = make_toy_model(seed=3)
    model.long_range_cutoff, model.long_range_cutoff_molecules, model.long_range_damping = periodic, molecules, damping
    model.write(path)
    return str(path)


@pytest.fixture(params=MADE_FOR)
def made_for(request: pytest.FixtureRequest) -> tuple[float | None, float | None, float]:
    periodic, molecules, damping = MADE_FOR[request.param]
    return periodic, periodic if molecules == "same" else molecules, damping


@pytest.fixture
def model(made_for: tuple[float | None, float | None, float], tmp_path: Path) -> str:
    return model_made_for(tmp_path / "made.safetensors", *made_for)


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ethanol() -> Atoms:
    return molecule("CH3CH2OH")


def two_waters(pbc: bool | tuple[bool, bool, bool] = True) -> Atoms:
    """Molecules 4 A apart, so that cutoffs of 5, 6 and 7 A all tell."""
    atoms = molecule("H2O") + molecule("H2O")
    atoms.positions[3:] += [4.0, 0.3, 0.2]
    atoms.positions += 2.0
    atoms.set_cell([9.0, 8.0, 8.5])
    atoms.pbc = pbc
    return atoms


def result_of(atoms: Atoms, model: str, **parameters: Any) -> tuple[float, np.ndarray]:
    atoms = atoms.copy()
    atoms.calc = So3kratesCalculator(model, threads=1, **({"precision": "double"} | parameters))
    return atoms.get_potential_energy(), atoms.get_forces()


def so3md(*arguments: str | Path, code: int = 0) -> str:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


def assert_same(found: tuple[float, np.ndarray], expected: tuple[float, np.ndarray]) -> None:
    assert found[0] == expected[0]
    np.testing.assert_array_equal(found[1], expected[1])


# --- the model file ---------------------------------------------------------------------------------------------------


def test_both_readers_say_the_same(made_for: tuple, model: str) -> None:
    found = ModelFile.read(model)
    assert (found.long_range_cutoff, found.molecule_cutoff, found.long_range_damping) == made_for
    opened = load_model(model)
    own = opened.long_range_cutoff, opened.long_range_cutoff_molecules, opened.long_range_damping
    assert own == made_for
    assert opened.has_long_range
    again = ModelFile.read(model)
    again.write("again.safetensors")
    assert Path("again.safetensors").read_bytes() == Path(model).read_bytes()


def test_a_file_from_before_has_one_cutoff_for_all() -> None:
    """Models were trained with it then, whatever the structures."""
    old = make_toy_model()
    old.long_range_cutoff = 9.0
    assert "long_range_cutoff_molecules" not in old.document
    old.write("old.safetensors")
    opened = load_model("old.safetensors")
    assert (opened.long_range_cutoff, opened.long_range_cutoff_molecules, opened.long_range_damping) == (9.0, 9.0, 2.0)


def test_so3lr_is_made_for_12_a_and_for_molecules_without_cutoff() -> None:
    opened = load_model("so3lr")
    assert (opened.long_range_cutoff, opened.long_range_cutoff_molecules, opened.long_range_damping) == (
        12.0,
        None,
        2.0,
    )
    assert_same(result_of(ethanol(), "so3lr"), result_of(ethanol(), "so3lr", lr_cutoff=None))
    assert_same(result_of(two_waters(), "so3lr"), result_of(two_waters(), "so3lr", lr_cutoff=12.0, lr_damping=2.0))


def test_info_shows_it() -> None:
    text = " ".join(so3md("info", "so3lr").split())
    for line in ("long-range cutoff 12 A", "long-range cutoff of molecules none", "long-range damping 2 A"):
        assert line in text
    document = json.loads(so3md("info", model_made_for(Path("m.safetensors"), None, 5.0, 1.5), "--json"))
    keys = ("long_range_cutoff", "long_range_cutoff_molecules", "long_range_damping")
    assert [document[key] for key in keys] == [None, 5.0, 1.5]
    local = make_toy_model(electrostatics=None, dispersion=None)
    local.write("local.safetensors")
    assert "long-range terms none" in " ".join(so3md("info", "local.safetensors").split())


# --- the calculator, and many structures ------------------------------------------------------------------------------


def test_the_calculator_takes_what_the_model_says(made_for: tuple, model: str) -> None:
    periodic, molecules, damping = made_for
    given = {"lr_cutoff": molecules, "lr_damping": damping}
    assert_same(result_of(ethanol(), model), result_of(ethanol(), model, **given))
    assert So3kratesCalculator(model).identity(ethanol()) == So3kratesCalculator(model, **given).identity(ethanol())
    if periodic is None:
        with pytest.raises(
            ValueError, match="made for molecules, without a long-range cutoff, and this structure is per"
        ):
            result_of(two_waters(), model)
        assert np.isfinite(result_of(two_waters(), model, lr_cutoff=6.0)[0])
        return
    given["lr_cutoff"] = periodic
    for pbc in (True, (True, True, False), (False, False, True)):
        assert_same(result_of(two_waters(pbc), model), result_of(two_waters(pbc), model, **given))
    assert result_of(two_waters(), model)[0] != result_of(two_waters(), model, lr_cutoff=5.5)[0]


def test_a_value_that_is_given_wins() -> None:
    model = model_made_for(Path("m.safetensors"), 6.0, None)
    energies = {cutoff: result_of(ethanol(), model, lr_cutoff=cutoff)[0] for cutoff in (None, 5.0, 6.0, "model")}
    assert energies["model"] == energies[None]
    assert len(set(energies.values())) == 3
    calculator = So3kratesCalculator(model, lr_cutoff=5.0, lr_damping=1.0)
    assert calculator.long_range(ethanol()) == {"lr_cutoff": 5.0, "lr_damping": 1.0}
    assert calculator.long_range_text(ethanol()) == (
        "long-range cutoff 5 A (given; the model was made with none for molecules), "
        "damping 1 A (given; the model's is 2 A)"
    )
    assert (
        So3kratesCalculator(model).long_range_text(two_waters())
        == "long-range cutoff 6 A (the model's for periodic systems)"
    )
    with pytest.raises(ValueError, match="lr_cutoff=None is for molecules"):
        result_of(two_waters(), model, lr_cutoff=None)
    for wrong in ("none", "mine", -1.0, float("nan")):
        with pytest.raises(ValueError, match="lr_cutoff: expected"):
            So3kratesCalculator(model, lr_cutoff=wrong)
    with pytest.raises(ValueError, match="lr_damping: expected"):
        So3kratesCalculator(model, lr_damping="none")


def test_structures_of_both_kinds_may_take_turns(tmp_path: Path) -> None:
    model = model_made_for(tmp_path / "m.safetensors", 6.0, 5.0, 1.5)
    calculator = So3kratesCalculator(model, precision="double", threads=1)
    for atoms in (ethanol(), two_waters(), ethanol(), two_waters(), two_waters((False, True, False))):
        atoms.calc = calculator
        found = atoms.get_potential_energy(), atoms.get_forces()
        cutoff = 6.0 if atoms.pbc.any() else 5.0
        assert_same(found, result_of(atoms, model, lr_cutoff=cutoff, lr_damping=1.5))
        assert (calculator.engine_info()["lr_cutoff"], calculator.engine_info()["lr_damping"]) == (cutoff, 1.5)
    # The same structure with and without its periodicity: what it was is no longer asked.
    atoms = two_waters()
    atoms.calc = calculator
    with_images = atoms.get_potential_energy()
    atoms.pbc = False
    assert atoms.get_potential_energy() == result_of(two_waters(False), model, lr_cutoff=5.0, lr_damping=1.5)[0]
    atoms.pbc = True
    assert atoms.get_potential_energy() == with_images
    calculator.set(lr_cutoff=7.0)
    assert atoms.get_potential_energy() == result_of(two_waters(), model, lr_cutoff=7.0, lr_damping=1.5)[0]
    calculator.forget_neighbours()
    assert calculator.todict() == {"model": model, "precision": "double", "threads": 1, "lr_cutoff": 7.0}


def test_a_model_without_long_range_terms_needs_no_cutoff() -> None:
    local = make_toy_model(electrostatics=None, dispersion=None)
    local.write("local.safetensors")
    for cutoff in ("model", None, 9.0):
        assert_same(
            result_of(two_waters(), "local.safetensors", lr_cutoff=cutoff), result_of(two_waters(), "local.safetensors")
        )
    assert So3kratesCalculator("local.safetensors").long_range_text(two_waters()) == ""


def test_many_structures_of_both_kinds(made_for: tuple, model: str) -> None:
    periodic, molecules, damping = made_for
    structures = [ethanol(), two_waters(), molecule("CH4"), two_waters(), two_waters(False)]
    failures: dict[int, str] = {}
    found = list(
        evaluate_many(
            structures, model, precision="double", on_error=lambda index, error: failures.update({index: str(error)})
        )
    )
    for number, (atoms, prediction) in enumerate(zip(structures, found, strict=True)):
        if atoms.pbc.any() and periodic is None:
            assert prediction is None
            assert "give lr_cutoff in Angstrom" in failures.pop(number)
            continue
        cutoff = periodic if atoms.pbc.any() else molecules
        energy, forces = result_of(atoms, model, lr_cutoff=cutoff, lr_damping=damping)
        assert prediction.energy == pytest.approx(energy, rel=0, abs=EXACT.energy_per_atom * len(atoms))
        np.testing.assert_allclose(prediction.forces, forces, rtol=0, atol=EXACT.forces)
    assert not failures


# --- the commands -----------------------------------------------------------------------------------------------------


def labelled(atoms: Atoms, energy: float, forces: np.ndarray) -> Atoms:
    atoms = atoms.copy()
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
    return atoms


def test_eval_takes_the_cutoffs_of_the_model(made_for: tuple, model: str) -> None:
    """Reference values by the model with what it was made for: no error is left."""
    periodic, molecules, damping = made_for
    given = {"lr_damping": damping}
    frames = [labelled(a, *result_of(a, model, lr_cutoff=molecules, **given)) for a in (ethanol(), molecule("H2O"))]
    if periodic is not None:
        frames.append(labelled(two_waters(), *result_of(two_waters(), model, lr_cutoff=periodic, **given)))
    write("frames.xyz", frames, format="extxyz")

    def largest_error(*options: str) -> float:
        output = so3md("eval", "frames.xyz", "--model", model, "--precision", "double", *options)
        table = Path(re.search(r"In (\S+):", output)[1], "summary.csv").read_text()
        return float(re.search(r"^forces \(eV/A\),[^,]*,[^,]*,([^,]*)", table, re.M)[1])

    assert largest_error() < 1e-7  # as the file has them, to 8 digits
    assert largest_error("--lr-cutoff", "4.5") > 1e-4
    output = so3md("eval", "frames.xyz", "--model", model, "-o", "last")
    assert "Long-range cutoff" in output
    assert "for molecules)" in output
    assert ("for periodic systems)" in output) == (periodic is not None)


def test_commands_say_that_a_periodic_structure_needs_a_cutoff() -> None:
    model = model_made_for(Path("m.safetensors"), None, None)
    write("box.xyz", labelled(two_waters(), 0.0, np.zeros((6, 3))), format="extxyz")
    for command in (["md", "--steps", "0"], ["relax"], ["eval"], ["lammps"], ["lammps", "--no-evaluate"]):
        output = so3md(*command, "box.xyz", "--model", model, code=1)
        assert output.splitlines()[-1].startswith("Error: ")
        assert "give lr_cutoff in Angstrom" in output


def test_dynamics_take_the_cutoff_of_the_model_and_record_it(made_for: tuple, model: str) -> None:
    _, molecules, damping = made_for
    write("ethanol.xyz", ethanol())
    length = "none" if molecules is None else f"{molecules:g} A"
    options = ("ethanol.xyz", "--model", model, "--steps", "4", "--seed", "1", "--threads", "1", "--no-plot")
    output = so3md("md", *options, "-o", "own")
    assert f"Long-range cutoff {length} (the model's for molecules)" in output
    identity = json.loads(Path("own/run.json").read_text())["identity"]
    assert (identity["lr_cutoff"], identity["lr_damping"]) == (molecules, damping)
    explicit = ("--lr-cutoff", "none" if molecules is None else str(molecules), "--lr-damping", str(damping))
    so3md("md", *options, "-o", "given", *explicit)
    assert Path("own/final.xyz").read_text() == Path("given/final.xyz").read_text()
    so3md("md", "--resume", "own", "--steps", "2", "--no-plot", *explicit)
    so3md("md", "--resume", "given", "--steps", "2", "--no-plot")
    assert Path("own/final.xyz").read_text() == Path("given/final.xyz").read_text()
    output = so3md("md", *options, "-o", "other", "--lr-cutoff", "4.5")
    assert f"Long-range cutoff 4.5 A (given; the model was made with {length} for molecules)" in output
    assert Path("other/final.xyz").read_text() != Path("own/final.xyz").read_text()
    refused = so3md("md", "--resume", "own", "--steps", "1", "--lr-cutoff", "4.5", code=1)
    assert f"lr_cutoff: the checkpoint has {molecules}, this run 4.5" in refused


def test_a_run_from_before_goes_on_with_its_cutoff() -> None:
    """run.json says nothing of values that were the defaults of the version that began the run."""
    model = model_made_for(Path("m.safetensors"), 12.0, None)
    write("ethanol.xyz", ethanol())
    so3md("md", "ethanol.xyz", "--model", model, "--lr-cutoff", "12", "--steps", "2", "-o", "run", "--no-plot")
    record = json.loads(Path("run/run.json").read_text())
    assert record["calculator"].pop("lr_cutoff") == 12.0
    Path("run/run.json").write_text(json.dumps(record))
    output = so3md("md", "--resume", "run", "--steps", "2", "--no-plot")
    assert "Long-range cutoff 12 A (given; the model was made with none for molecules)" in output
    with Simulation.resume("run", So3kratesCalculator(model, lr_cutoff=12.0)) as simulation:
        assert simulation.step == 4
    with pytest.raises(ValueError, match=r"lr_cutoff: the checkpoint has 12\.0, this run None"):
        Simulation.resume("run", So3kratesCalculator(model))


def test_a_simulation_checks_the_lengths_and_not_how_they_were_chosen() -> None:
    model = model_made_for(Path("m.safetensors"), 6.0, None)
    atoms = two_waters()
    atoms.calc = So3kratesCalculator(model, threads=1)
    with Simulation.start(atoms, Settings(seed=1, timestep=0.1), "run") as simulation:
        simulation.run(2)
    with Simulation.resume("run", So3kratesCalculator(model, lr_cutoff=6.0, lr_damping=2.0, threads=1)) as simulation:
        simulation.run(2)


def test_relaxation_takes_the_cutoff_of_the_model(made_for: tuple, model: str) -> None:
    periodic, molecules, damping = made_for
    options = ("--model", model, "--steps", "5", "--precision", "double", "--threads", "1", "--fmax", "1e-9")
    for atoms, cutoff in ((ethanol(), molecules), (two_waters(), periodic)):
        if atoms.pbc.any() and periodic is None:
            continue
        write("start.xyz", atoms, format="extxyz")
        length = "none" if cutoff is None else str(cutoff)
        output = so3md("relax", "start.xyz", *options, "-o", "own.xyz", "--overwrite", code=1)
        assert "(the model's for " in output
        explicit = ("--lr-cutoff", length, "--lr-damping", damping)
        so3md("relax", "start.xyz", *options, "-o", "given.xyz", "--overwrite", *explicit, code=1)
        np.testing.assert_array_equal(read("own.xyz").positions, read("given.xyz").positions)
        assert read("own.xyz").get_potential_energy() == read("given.xyz").get_potential_energy()


def test_inputs_for_lammps_have_the_cutoff_of_the_model(made_for: tuple, model: str) -> None:
    periodic, molecules, damping = made_for
    for atoms, cutoff in ((ethanol(), molecules), (two_waters(), periodic)):
        if atoms.pbc.any() and periodic is None:
            continue
        write("start.xyz", atoms, format="extxyz")
        output = so3md("lammps", "start.xyz", "--model", model, "-o", "run", "--overwrite")
        length = "none" if cutoff is None else f"{cutoff:g}"
        assert f" lr_cutoff {length} lr_damping {damping:g} " in Path("run/in.lammps").read_text()
        assert "(the model's for " in output
        energy = float(re.search(r"Its energy is (\S+) eV", output)[1])
        assert energy == pytest.approx(result_of(atoms, model, precision="mixed")[0], abs=6e-5)
    so3md("lammps", "start.xyz", "--model", model, "-o", "other", "--lr-cutoff", "4.5")
    assert " lr_cutoff 4.5 " in Path("other/in.lammps").read_text()


# --- LAMMPS -----------------------------------------------------------------------------------------------------------


def lammps_job(atoms: Atoms, words: str) -> Job:
    return Job(Path.cwd(), atoms, words + " precision double")


@needs_lammps
@pytest.mark.parametrize("ranks", [1, 2])
def test_the_pair_style_takes_what_the_model_says(made_for: tuple, model: str, ranks: int) -> None:
    periodic, molecules, damping = made_for
    for atoms, cutoff in (
        (two_waters(False), molecules),
        (two_waters(), periodic),
        (two_waters((True, False, True)), periodic),
    ):
        job = lammps_job(atoms, model)
        job.report("start")
        if atoms.pbc.any() and periodic is None:
            result = job.start(ranks)
            assert "was made without a long-range cutoff" in result.stdout + result.stderr
            continue
        found = job.run(ranks)["start"]
        energy, forces = result_of(atoms, model, lr_cutoff=cutoff, lr_damping=damping)
        assert found.energy == pytest.approx(energy, rel=0, abs=RANKS.energy_per_atom * len(atoms))
        np.testing.assert_allclose(found.forces, forces, rtol=0, atol=RANKS.forces)
        kind = "periodic systems" if atoms.pbc.any() else "systems without periodic directions"
        length = "none" if cutoff is None else f"{cutoff:g} A"
        assert f"and {length} (the model's for {kind})" in job.output


@needs_lammps
def test_the_pair_style_says_when_another_cutoff_is_used() -> None:
    model = model_made_for(Path("m.safetensors"), 6.0, None)
    job = lammps_job(two_waters(), f"{model} lr_cutoff 5.0 lr_damping 1.0")
    job.report("start")
    found = job.run()["start"]
    expected = result_of(two_waters(), model, lr_cutoff=5.0, lr_damping=1.0)
    np.testing.assert_allclose(found.forces, expected[1], rtol=0, atol=EXACT.forces)
    assert (
        "and 5 A (given; the model was made with 6 A for periodic systems), damping 1 A (given; the model's is 2 A)"
        in job.output
    )


@needs_lammps
def test_a_restart_file_keeps_the_cutoff_of_its_run() -> None:
    """Also where the model file is another one by then: a run goes on as it began."""
    model = model_made_for(Path("m.safetensors"), 6.0, 5.0)
    job = lammps_job(two_waters(False), model)
    job.report("start")
    job.commands("write_restart first.restart")
    first = job.run()["start"]
    again = lammps_job(two_waters(False), model)
    again.lines = ["atom_modify map yes", "read_restart first.restart"]
    again.report("again")
    found = again.run()["again"]
    assert found.energy == pytest.approx(first.energy, rel=0, abs=EXACT.energy_per_atom * 6)
    changed = ModelFile.read(model)
    changed.long_range_cutoff_molecules = 7.0
    changed.write(model)
    assert again.run()["again"].energy == pytest.approx(first.energy, rel=0, abs=EXACT.energy_per_atom * 6)
    assert "and 5 A (given; the model was made with 7 A" in again.output


@needs_lammps
def test_boundaries_may_change_before_a_run() -> None:
    model = model_made_for(Path("m.safetensors"), 6.0, 5.0)
    job = lammps_job(two_waters(), model)
    job.report("periodic")
    job.commands("change_box all boundary s s s")
    job.report("molecules")
    found = job.run()
    for name, atoms in (("periodic", two_waters()), ("molecules", two_waters(False))):
        energy, forces = result_of(atoms, model)
        assert found[name].energy == pytest.approx(energy, rel=0, abs=EXACT.energy_per_atom * 6)
        np.testing.assert_allclose(found[name].forces, forces, rtol=0, atol=EXACT.forces)


# --- ranks of ASE -----------------------------------------------------------------------------------------------------

_TURNS = """
import sys
from ase.io import read
from mpi4py import MPI
from so3md import So3kratesCalculator
calculator = So3kratesCalculator(sys.argv[1], precision="double", threads=1, comm=MPI.COMM_WORLD)
for atoms in read("turns.traj", ":"):
    atoms.calc = calculator
    forces, energy = atoms.get_forces(), atoms.get_potential_energy()
    calculator.forget_neighbours()
    if MPI.COMM_WORLD.rank == 0:
        print("RESULT", repr(energy), repr(float(abs(forces).sum())), calculator.engine_info()["lr_cutoff"])
"""


def test_ranks_switch_together() -> None:
    pytest.importorskip("mpi4py")
    model = model_made_for(Path("m.safetensors"), 6.0, None)
    turns = [two_waters(False), two_waters(), two_waters(False), two_waters()]
    write("turns.traj", turns)
    Path("turns.py").write_text(_TURNS)
    output = finish(start(2, "turns.py", model, cwd=Path.cwd()))
    rows = [line.split()[1:] for line in output.splitlines() if line.startswith("RESULT")]
    assert [row[2] for row in rows] == ["None", "6.0", "None", "6.0"], output
    for atoms, row in zip(turns, rows, strict=True):
        energy, forces = result_of(atoms, model)
        assert float(row[0]) == pytest.approx(energy, rel=0, abs=RANKS.energy_per_atom * len(atoms))
        assert float(row[1]) == pytest.approx(abs(forces).sum(), abs=RANKS.forces * forces.size)
