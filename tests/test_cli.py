"""The command line: each command does its work, and says in one line what is wrong."""

from __future__ import annotations

import csv
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.constraints import FixAtoms, FixBondLengths
from ase.io import read, write
from click.testing import CliRunner, Result

import so3md
from so3md import So3kratesCalculator, load_model
from so3md.cli import main
from so3md.structures import read_structure

DATA = Path(__file__).parent / "data"


@pytest.fixture(autouse=True)
def in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def ethanol() -> str:
    write("ethanol.xyz", molecule("CH3CH2OH"))
    return "ethanol.xyz"


def run(*arguments: str) -> Result:
    """The outcome of `so3md ARGUMENTS`."""
    return CliRunner().invoke(main, arguments)


def succeed(*arguments: str) -> str:
    """Run a command that must succeed; returns what it printed."""
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


def fail(*arguments: str, code: int = 1) -> str:
    """Run a command that must fail with one line for the user; returns that line."""
    result = run(*arguments)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    message = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    assert len(message) == 1, result.output
    return message[0]


def read_csv(path: str) -> list[dict[str, str]]:
    """The rows of a file."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# --- in general -----------------------------------------------------------------------------------------------------


def test_version_and_help_answer():
    assert succeed("--version").splitlines()[0] == f"so3md {so3md.__version__}"
    overview = succeed("--help")
    for command in (
        "md",
        "relax",
        "eval",
        "info",
        "convert",
        "bench",
        "lammps",
        "train",
        "finetune",
        "distill",
        "doctor",
        "completion",
    ):
        assert f"\n  {command} " in overview
        assert f"Usage: main {command}" in succeed(command, "--help")


def test_wrong_usage_ends_with_code_two(ethanol: str):
    assert "No such option" in fail("md", "--temprature", "300", code=2)
    assert "invalid" in fail("md", ethanol, "--steps", "many", code=2).lower()
    assert "no such command 'mdd': did you mean 'md'?" in fail("mdd", code=2)
    assert "no such command 'xyz': known are md, relax," in fail("xyz", code=2)


def test_debug_shows_where_an_error_came_up():
    result = run("info", "so4lr", "--debug")
    assert isinstance(result.exception, FileNotFoundError)


# --- md -------------------------------------------------------------------------------------------------------------


def test_md_writes_everything_to_one_directory(ethanol: str):
    output = succeed("md", ethanol, "--steps", "20", "--threads", "1", "-o", "run")
    assert "ns/day" in output
    assert "us/atom/step" in output
    names = {path.name for path in Path("run").iterdir()}
    expected = {
        "run.json",
        "config.yaml",
        "log.csv",
        "trajectory.xyz",
        "checkpoint.npz",
        "checkpoint_previous.npz",
        "final.xyz",
        "log.png",
    }
    assert names == expected
    assert [row["step"] for row in read_csv("run/log.csv")] == ["0", "10", "20"]
    assert Path("run/log.png").read_bytes().startswith(b"\x89PNG")
    record = json.loads(Path("run/run.json").read_text())
    assert record["settings"]["ensemble"] == "nvt"
    assert record["sessions"][0]["so3md"] == so3md.__version__


def test_md_runs_water_by_default():
    succeed("md", "--steps", "1", "--no-plot")
    assert len(read("water-nvt-langevin/trajectory.xyz")) == 192
    succeed("md", "--example", "water", "--steps", "0", "--no-plot")
    assert Path("water-nvt-langevin-2").is_dir()


@pytest.mark.parametrize(
    "options",
    [
        ["--ensemble", "nve", "--precision", "double"],
        ["--thermostat", "csvr", "--taut", "50", "--temperature", "350"],
        ["--friction", "5", "--timestep", "0.25", "--lr-cutoff", "none"],
    ],
)
def test_md_goes_on_as_if_it_had_not_stopped(ethanol: str, options: list[str]):
    common = [
        "--seed",
        "5",
        "--threads",
        "1",
        "--checkpoint-interval",
        "10",
        "--log-interval",
        "5",
        "--no-plot",
        *options,
    ]
    succeed("md", ethanol, "--steps", "20", "-o", "whole", *common)
    succeed("md", ethanol, "--steps", "10", "-o", "parts", *common)
    succeed("md", "--resume", "parts", "--steps", "10", "--no-plot")
    for name in ("log.csv", "final.xyz"):
        assert Path("whole", name).read_text() == Path("parts", name).read_text()


def test_md_resumes_with_what_is_left():
    write("atom.xyz", Atoms("Cl", positions=[[0, 0, 0]]))
    succeed("md", "atom.xyz", "--spin", "0.5", "--ensemble", "nve", "--steps", "3", "-o", "run", "--no-plot")
    assert "done all of its 3 steps" in fail("md", "--resume", "run", code=2)
    record = json.loads(Path("run/run.json").read_text())
    record["planned_steps"] = 5
    Path("run/run.json").write_text(json.dumps(record))
    succeed("md", "--resume", "run", "--no-plot")
    assert read("run/final.xyz").info["step"] == 5


def test_md_refuses_to_resume_another_run(ethanol: str):
    succeed("md", ethanol, "--steps", "1", "-o", "run", "--threads", "1", "--no-plot")
    write("water.xyz", molecule("H2O"))
    for options, expected in {
        ("water.xyz",): "structure: the checkpoint has C2H6O",
        ("--temperature", "310"): "temperature: the checkpoint has 300.0, this run 310.0",
        ("--charge", "2"): "charge: the checkpoint has 0.0, this run 2.0",
        ("--precision", "double"): "precision: the checkpoint has mixed, this run double",
        ("--lr-cutoff", "12"): "lr_cutoff: the checkpoint has None, this run 12.0",
    }.items():
        assert expected in fail("md", "--resume", "run", "--steps", "1", *options)
    assert "does not go with --resume" in fail("md", "--resume", "run", "--output", "other", code=2)
    succeed("md", ethanol, "--resume", "run", "--steps", "1", "--temperature", "300", "--no-plot")


def test_md_never_overwrites_silently(ethanol: str):
    succeed("md", ethanol, "--steps", "0", "-o", "run", "--no-plot")
    assert "has files in it" in fail("md", ethanol, "--steps", "0", "-o", "run")
    succeed("md", ethanol, "--steps", "0", "-o", "run", "--no-plot", "--overwrite")


def test_md_takes_charge_and_spin_from_options_or_structure():
    radical = molecule("OH")
    radical.info["spin"] = 0.5
    write("radical.xyz", radical)
    assert "charge 0, spin 0.5" in succeed("md", "radical.xyz", "--steps", "1", "-o", "radical", "--no-plot")
    options = ("--charge", "-1", "--spin", "0", "--steps", "1", "-o", "anion", "--no-plot")
    assert "charge -1, spin 0" in succeed("md", "radical.xyz", *options)
    assert read("anion/trajectory.xyz").info["charge"] == -1


def test_md_replicates_the_structure():
    write("cell.xyz", Atoms("H2O", molecule("H2O").positions + 2, cell=[4, 5, 6], pbc=True))
    succeed("md", "cell.xyz", "--supercell", "2", "1", "3", "--steps", "1", "-o", "run", "--no-plot")
    frame = read("run/trajectory.xyz")
    assert len(frame) == 18
    assert frame.cell.lengths() == pytest.approx([8, 5, 18])


def test_md_says_in_one_line_what_is_wrong(ethanol: str):
    broken = molecule("CH3CH2OH")
    broken.positions[1] = broken.positions[0]
    write("broken.xyz", broken)
    Path("notes.xyz").write_text("not a structure")
    write("uranium.xyz", Atoms("U"))
    for arguments, expected in {
        ("nowhere.xyz",): "there is no such file",
        ("notes.xyz",): "ASE could not read it",
        ("uranium.xyz",): "is U (atomic number 92)",
        ("broken.xyz",): "at the same place",
        (ethanol, "--model", "so4lr"): "known names: so3lr",
        (ethanol, "--model", "notes.xyz"): "notes.xyz",
        (ethanol, "--ensemble", "npt"): "must be periodic in all directions",
        (ethanol, "--ensemble", "nve", "--friction", "1"): "nve has no such setting",
        (ethanol, "--supercell", "2", "2", "2"): "is not periodic along cell vector 1",
        (ethanol, "--spin", "0.5"): "cannot be unpaired",
        (ethanol, "--velocities", "file"): "the structure has none",
        ("water", "--lr-cutoff", "none"): "lr_cutoff=None is for molecules in vacuum",
        (ethanol, "-o", "notes.xyz/run"): "Not a directory",
    }.items():
        assert expected in fail("md", *arguments)
    assert not [path for path in Path().iterdir() if path.is_dir()]  # none of them left a run behind
    assert "not both" in fail("md", ethanol, "--example", "water", code=2)


def test_md_warns_of_an_odd_number_of_electrons_in_one_line():
    write("radical.xyz", molecule("OH"))
    output = succeed("md", "radical.xyz", "--steps", "1", "--no-plot")
    assert output.count("Warning: charge 0 leaves 9 electrons") == 1


def test_md_saves_the_step_of_an_explosion(ethanol: str):
    message = fail(
        "md", ethanol, "--ensemble", "nve", "--timestep", "20", "--steps", "1000", "-o", "run", "--seed", "1"
    )
    assert "the dynamics failed at step" in message
    assert Path("run/blow_up.xyz").exists()


def test_without_matplotlib_there_is_everything_but_the_plot(ethanol: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(sys.modules, "so3md.plots", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib.axes", None)
    assert "No plot: it needs matplotlib" in succeed("md", ethanol, "--steps", "0", "-o", "run")
    assert Path("run/log.csv").exists()
    data_set("data.xyz")
    assert "No plot: it needs matplotlib" in succeed("eval", "data.xyz", "-o", "out")
    assert {path.name for path in Path("out").iterdir()} == {"errors.csv", "summary.csv"}


# --- relax ----------------------------------------------------------------------------------------------------------


def test_relax_finds_the_minimum(ethanol: str):
    succeed("relax", ethanol)
    atoms = read("ethanol-relaxed.xyz")
    stored = atoms.get_forces()
    assert np.linalg.norm(stored, axis=1).max() <= 0.01
    atoms.calc = So3kratesCalculator()
    np.testing.assert_allclose(atoms.get_forces(), stored, rtol=0, atol=1e-4)  # of positions rounded to eight digits


@pytest.mark.parametrize("cell", ["isotropic", "full"])
def test_relax_relaxes_the_cell(cell: str):
    atoms = Atoms("CO2", [[0, 0, 0], [0, 0, 1.17], [0, 0, -1.17]], cell=[4, 4, 5], pbc=True)
    write("crystal.xyz", atoms)
    succeed(
        "relax", "crystal.xyz", "--cell", cell, "--fmax", "0.02", "-o", "relaxed.traj", "--trajectory", "steps.traj"
    )
    relaxed = read("relaxed.traj")
    same_shape = relaxed.cell.lengths() / atoms.cell.lengths()
    assert (np.ptp(same_shape) < 1e-6) == (cell == "isotropic")
    assert abs(relaxed.get_volume() / atoms.get_volume() - 1) > 0.01
    assert len(read("steps.traj", index=":")) > 1


def test_relax_says_when_it_did_not_converge(ethanol: str):
    assert "forces are still above 0.01" in fail("relax", ethanol, "--steps", "1")
    assert Path("ethanol-relaxed.xyz").exists()


def test_relax_checks_before_it_works(ethanol: str):
    Path("taken.xyz").write_text("mine")
    assert "taken.xyz exists" in fail("relax", ethanol, "-o", "taken.xyz")
    assert Path("taken.xyz").read_text() == "mine"
    assert "taken.xyz exists" in fail("relax", ethanol, "--trajectory", "taken.xyz")
    assert "cannot write a file format" in fail("relax", ethanol, "-o", "relaxed.nonsense")
    assert "No such file or directory" in fail("relax", ethanol, "-o", "nowhere/relaxed.xyz")
    assert "not periodic" in fail("relax", ethanol, "--cell", "full")
    assert "add --cell" in fail("relax", ethanol, "--pressure", "5", code=2)
    assert "expected a positive number from 1e-12 to 1000 eV/A" in fail("relax", ethanol, "--fmax", "0", code=2)


# --- eval -----------------------------------------------------------------------------------------------------------


def data_set(path: str, shift: float = 0.0) -> list[Atoms]:
    """Small molecules with the energies and forces of SO3LR as the reference, energies shifted for each element."""
    calculator = So3kratesCalculator(precision="double")
    rng = np.random.default_rng(3)
    frames = []
    for name in ("H2O", "NH3", "H2", "CH4") * 2:
        atoms = molecule(name)
        atoms.positions += rng.normal(scale=0.05, size=atoms.positions.shape)
        atoms.calc = calculator
        atoms.info["REF_energy"] = atoms.get_potential_energy() + shift * atoms.numbers.sum()
        atoms.arrays["REF_forces"] = atoms.get_forces()
        atoms.calc = None
        frames.append(atoms)
    write(path, frames)
    return frames


def read_summary(path: str) -> dict[str, dict[str, str]]:
    return {row["quantity"]: row for row in read_csv(path)}


def test_eval_of_a_model_against_itself_finds_no_error():
    data_set("data.xyz")
    output = succeed("eval", "data.xyz", "--energy-offset", "none", "--precision", "double")
    assert "MAE" in output
    summary = read_summary("data-eval/summary.csv")
    assert float(summary["energy (eV/atom)"]["largest"]) < 1e-7  # positions and forces are written with eight digits
    assert float(summary["forces (eV/A)"]["largest"]) < 1e-6
    assert float(summary["forces on H (eV/A)"]["count"]) == 3 * 2 * (2 + 3 + 2 + 4)
    assert len(read_csv("data-eval/errors.csv")) == 8
    assert Path("data-eval/parity.png").read_bytes().startswith(b"\x89PNG")


def test_eval_reports_a_known_error():
    frames = data_set("data.xyz")
    for sign, atoms in zip((1, -1) * 4, frames, strict=True):
        atoms.info["REF_energy"] += sign * 0.3
        atoms.arrays["REF_forces"] += sign * 0.2
    write("data.xyz", frames)
    succeed("eval", "data.xyz", "--energy-offset", "none", "--precision", "double", "-o", "out")
    summary = read_summary("out/summary.csv")
    for quantity, expected in (("energy (eV)", 0.3), ("forces (eV/A)", 0.2)):
        for statistic in ("mae", "rmse", "largest"):
            assert float(summary[quantity][statistic]) == pytest.approx(expected, rel=1e-4)


def test_eval_removes_another_zero_of_energy():
    data_set("data.xyz", shift=-7.0)
    output = succeed("eval", "data.xyz", "--precision", "double", "-o", "out")
    assert float(read_summary("out/summary.csv")["energy (eV/atom)"]["largest"]) < 1e-6
    assert "H -7.0000, C -42.0000, N -49.0000, O -56.0000" in output


def test_eval_takes_the_entries_that_are_named_and_some_of_the_frames():
    frames = data_set("data.xyz")
    for atoms in frames:
        atoms.info["mine"] = atoms.info.pop("REF_energy") + 1.0
    write("data.xyz", frames)
    succeed("eval", "data.xyz", "--index", ":3", "--energy-key", "mine", "--energy-offset", "none", "-o", "out")
    rows = read_csv("out/errors.csv")
    assert [float(row["energy_error_eV_per_atom"]) * int(row["atoms"]) for row in rows] == pytest.approx(
        [-1] * 3, abs=1e-4
    )


def test_eval_says_in_one_line_what_is_wrong():
    write("bare.xyz", molecule("H2O"))
    Path("notes.xyz").write_text("no data")
    write("uranium.xyz", [molecule("H2O"), Atoms("U", info={"REF_energy": -1.0})])
    assert "no reference values" in fail("eval", "bare.xyz")
    assert "no entry 'mine'" in fail("eval", "bare.xyz", "--energy-key", "mine")
    assert "ASE could not read it" in fail("eval", "notes.xyz")
    assert "structure 1 (U): " in fail("eval", "uranium.xyz")
    assert "does not exist" in fail("eval", "nowhere.xyz", code=2)


# --- info and convert -----------------------------------------------------------------------------------------------


def test_info_says_what_a_model_is():
    output = succeed("info")
    for expected in ("SO3LR", "H C N O F P S Cl", "MIT", "10.1021/jacs.5c09558", "num features", "errors of at most"):
        assert expected in output
    assert "not used" in succeed("info", "so3lr", "--precision", "double")
    facts = json.loads(succeed("info", "so3lr", "--json"))
    assert facts["elements"] == load_model("so3lr").elements
    assert facts["engine"]["table_error"]["value"] < 1e-4
    assert "Permission is hereby granted" in succeed("info", "--license")


def test_info_shortens_long_lists_and_leaves_out_what_is_not_set():
    output = " ".join(succeed("info", "so3lr-fast").split())
    files = json.loads(succeed("info", "so3lr-fast", "--json"))["provenance"]["train"]["config"]["data"]["files"]
    assert len(files) > 100
    assert f"..., {files[-1]} ({len(files)} in all)" in output
    assert "None" not in output
    assert len(output) < 10_000


def test_info_refuses_what_is_no_model(so3lr_path: Path):
    Path("truncated.safetensors").write_bytes(so3lr_path.read_bytes()[:5000])
    assert "truncated.safetensors" in fail("info", "truncated.safetensors")
    assert "known names: so3lr" in fail("info", "so4lr")


def test_convert_makes_a_model_file_that_runs(ethanol: str):
    Path("source").mkdir()
    shutil.copy(DATA / "jax_pickles" / "jax0.10_numpy2_numpy.pkl", "source/params.pkl")
    shutil.copy(DATA / "jax_pickles" / "hyperparameters.json", "source")
    assert "--elements" in fail("convert", "source", "mine.safetensors")
    succeed("convert", "source", "mine.safetensors", "--elements", "H, C, O", "--license", "MIT", "--name", "mine")
    assert load_model("mine.safetensors").elements == [1, 6, 8]
    assert "mine" in succeed("info", "mine.safetensors")
    succeed("md", ethanol, "--model", "mine.safetensors", "--steps", "1", "--timestep", "0.01", "--no-plot")
    assert "mine.safetensors exists" in fail("convert", "source", "mine.safetensors", "--elements", "H")


def test_convert_refuses_what_it_does_not_know():
    Path("notes.model").write_text("no model")
    assert "notes.model" in fail("convert", "notes.model", "mine.safetensors")
    assert not Path("mine.safetensors").exists()


def test_relax_keeps_masses_and_constraints():
    atoms = molecule("H2O")
    atoms.set_masses([15.999, 2.014, 2.014])
    atoms.set_constraint([FixAtoms([0]), FixBondLengths([[1, 2]])])
    write("heavy.traj", atoms)
    succeed("relax", "heavy.traj", "--lr-cutoff", "none", "--threads", "1", "--steps", "2", "--fmax", "10")
    relaxed = read_structure("heavy-relaxed.xyz")
    assert relaxed.get_masses().tolist() == [15.999, 2.014, 2.014]
    assert [type(constraint).__name__ for constraint in relaxed.constraints] == ["FixAtoms", "FixBondLengths"]
    output = succeed("relax", "heavy.traj", "--lr-cutoff", "none", "--steps", "0", "--fmax", "10", "-o", "heavy.pdb")
    assert "do not keep FixAtoms, FixBondLengths, masses" in output


def test_lammps_input_of_the_last_structure_of_a_run_has_its_masses():
    atoms = molecule("H2O")
    atoms.set_masses([15.999, 2.014, 2.014])
    write("heavy.traj", atoms)
    succeed("md", "heavy.traj", "--lr-cutoff", "none", "--threads", "1", "--steps", "1", "--no-plot", "-o", "run")
    succeed("lammps", "run/final.xyz", "--lr-cutoff", "none", "-o", "input")
    assert "1 2.014 " in Path("input/data.lammps").read_text()


def test_constant_pressure_shows_density_and_pressure():
    output = succeed("md", "--ensemble", "npt", "--steps", "2", "--threads", "1", "--no-plot", "-o", "run")
    line = next(line for line in output.splitlines() if line.startswith("step 2 of 2: "))
    row = read_csv("run/log.csv")[0]
    assert re.search(r" K, -[\d.]+ eV, [01]\.\d+ g/cm\^3, -?\d+ bar, ", line)
    assert float(row["density_g_cm3"]) == pytest.approx(float(re.search(r"([\d.]+) g/cm", line)[1]), rel=1e-3)


NUMBERS = ("temperature", "timestep", "friction", "max-temperature", "log-interval", "seed", "steps")


@pytest.mark.parametrize("option", [*NUMBERS, "trajectory-interval", "checkpoint-interval"])
@pytest.mark.parametrize("value", ["1e308", "-1e308", "nan", "inf", "-1", "1" + 400 * "0"], ids=lambda text: text[:6])
def test_no_number_of_md_ends_in_surprise(option: str, value: str, ethanol: str):
    result = run("md", ethanol, f"--{option}", value, "--threads", "1", "-o", "run")
    assert result.exit_code in (1, 2)
    assert "should not have happened" not in result.output
    assert f"{option.replace('-', '_')} " in result.output or f"--{option}" in result.output
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("settings", "temperature", None),
        ("settings", "timestep", "x"),
        ("calculator", "threads", "x"),
        ("calculator", "cutoff", 5.0),
        ("calculator", "precision", []),
        ("identity", "structure", 1e308),
    ],
)
def test_no_damage_to_the_record_of_a_run_ends_in_surprise(part: str, key: str, value, ethanol: str):
    succeed("md", ethanol, "--steps", "1", "--threads", "1", "--no-plot", "--lr-cutoff", "none", "-o", "run")
    record = json.loads(Path("run/run.json").read_text())
    record[part][key] = value
    Path("run/run.json").write_text(json.dumps(record))
    assert "should not have happened" not in fail("md", "--resume", "run", "--steps", "1")
