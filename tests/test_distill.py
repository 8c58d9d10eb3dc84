"""Distillation: what the student's file says is so, a run that stops goes on, and nothing is replaced unasked."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.constraints import FixAtoms
from ase.io import read, write
from test_cli import fail, succeed

pytest.importorskip("torch")

from so3md import evaluate_many
from so3md.distillation import Distillation, Plan
from so3md.distillation.sampling import SamplingError
from so3md.model_file import ModelFile
from so3md.run_directory import CheckpointError, LockedError
from so3md.student import limits_of, report_of
from so3md.training.run import Run

SMALL = {"temperatures": (300.0, 500.0), "frames": 10, "layers": 1, "features": 8, "epochs": 3, "threads": 1}
COMMAND = (
    "--frames",
    "10",
    "--layers",
    "1",
    "--features",
    "8",
    "--epochs",
    "2",
    "--threads",
    "1",
    "-o",
    "water.safetensors",
)


@pytest.fixture(autouse=True)
def in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def hydroxide() -> Atoms:
    return Atoms("OH", [(0, 0, 0), (0, 0, 0.97)], info={"charge": -1})


def start(name: str, structures: list[Atoms] | None = None, **others) -> Distillation:
    given = [molecule("H2O")] if structures is None else structures
    return Distillation.start(given, Plan(**(SMALL | others)), name, f"{name}.safetensors")


def train(work: Distillation, stop_after: int | None = None) -> bool:
    """Train to the end, or for some steps; returns whether the end was reached."""
    steps = []
    with work.training() as run:
        run.train(on_step=lambda: steps.append(1), should_stop=lambda: len(steps) == stop_after)
        return run.trainer.stop_reason is not None


def finished(name: str, structures: list[Atoms] | None = None, **others) -> ModelFile:
    with start(name, structures, **others) as work:
        assert work.sample()
        assert train(work)
        work.finish()
    return ModelFile.read(f"{name}.safetensors")


# --- what comes of it -----------------------------------------------------------------------------------------------


def test_the_file_of_the_student_says_how_far_it_is_from_the_teacher():
    report = finished("water").provenance["distill"]
    assert report == report_of("water.safetensors")
    frames = [frame for path in sorted(Path("water").glob("frames-*.xyz")) for frame in read(path, ":")]
    assert len(frames) == report["frames"] == 20
    apart = np.concatenate(
        [
            frame.get_forces() - prediction.forces
            for frame, prediction in zip(frames, evaluate_many(frames, "water.safetensors"), strict=True)
        ]
    )
    assert report["errors"]["force_largest"] == pytest.approx(np.linalg.norm(apart, axis=1).max(), rel=1e-5)
    with Run.resume(Path("water/training")) as run:
        held_out = run.parts["test"]
    assert len(held_out) == 2
    predictions = list(evaluate_many([sample.atoms() for sample in held_out], "water.safetensors"))
    apart = np.concatenate([s.forces - p.forces for s, p in zip(held_out, predictions, strict=True)])
    assert report["errors"]["force_rms"] == pytest.approx(np.sqrt(np.square(apart).sum(axis=1).mean()), rel=1e-5)
    assert report["errors"]["force_mae"] == pytest.approx(np.abs(apart).mean(), rel=1e-5)
    assert report["cost"]["student"] > 0 < report["cost"]["teacher"]


def test_frames_are_new_ones_of_each_temperature_with_the_teachers_forces():
    with start("two", [molecule("H2O"), hydroxide()]) as work:
        assert work.total_frames == 40
        seen = []
        assert work.sample(seen.append)
    assert sorted(seen) == seen
    assert seen[-1] == 40
    for number, structure in enumerate((molecule("H2O"), hydroxide())):
        for temperature in ("300K", "500K"):
            frames = read(f"two/frames-{number}-{temperature}.xyz", ":")
            assert len(frames) == 10
            forces = [frame.get_forces() for frame in frames]
            for frame in frames:
                assert not {"charge", "spin", "energy"} & {*frame.info}
                frame.info = dict(structure.info)
            for found, prediction in zip(forces, evaluate_many(frames), strict=True):
                np.testing.assert_allclose(found, prediction.forces, rtol=0, atol=1e-5)  # rounded positions of a file
            lengths = np.array([frame.get_distance(0, 1) for frame in frames])
            assert lengths.std() > 0.01
            assert len(np.unique(lengths.round(6))) == 10


@pytest.mark.filterwarnings("error::so3md.charge_and_spin.OddElectronsWarning")
def test_a_student_of_an_ion_needs_no_charge():
    file = finished("ion", [hydroxide()])
    assert not file.hyperparameters["charge_embedding"]
    write("ion.xyz", hydroxide())
    options = ("--mts", "--student", "ion.safetensors", "--max-difference", "100", "--steps", "3", "--no-plot")
    output = succeed("md", "ion.xyz", "--charge", "-1", *options)
    assert "changes nothing" not in output


def test_its_report_is_the_limit_of_a_run():
    errors = finished("water").provenance["distill"]["errors"]

    class Student:
        name = "so3krates"
        parameters = {"model": "water.safetensors"}  # noqa: RUF012

    limits = limits_of(Student())
    assert limits.largest == pytest.approx(3 * errors["force_largest"])
    assert limits.rms == pytest.approx(3 * errors["force_rms"])
    Student.parameters = {"model": "so3lr"}
    assert limits_of(Student()).reason == "the limit for a student without a report of its errors"


def test_fixed_atoms_move_while_frames_are_taken():
    atoms = molecule("H2O")
    atoms.set_constraint(FixAtoms([0, 1, 2]))
    with start("fixed", [atoms]) as work:
        work.sample()
    assert read("fixed/frames-0-300K.xyz", ":")[5].get_distance(0, 1) != pytest.approx(
        atoms.get_distance(0, 1), abs=1e-6
    )


# --- going on -------------------------------------------------------------------------------------------------------


def test_it_goes_on_to_the_bit_from_wherever_it_stopped():
    whole = finished("whole")
    seen = []
    with start("parts") as work:
        assert not work.sample(seen.append, should_stop=lambda: len(seen) > 14)
    assert [path.name for path in Path("parts").glob("frames-*.xyz")] == ["frames-0-300K.xyz"]
    with Distillation.resume("parts") as work:
        assert work.sample()
        assert not train(work, stop_after=1)
    with Distillation.resume("parts") as work:
        assert work.sample()
        assert train(work)
        work.finish()
    parts = ModelFile.read("parts.safetensors")
    for name, tensor in whole.tensors.items():
        np.testing.assert_array_equal(parts.tensors[name], tensor, err_msg=name)
    assert parts.provenance["distill"]["errors"] == whole.provenance["distill"]["errors"]


def test_another_teacher_or_a_damaged_record_is_refused(toy_model):
    teacher = toy_model(seed=1)
    with start("work", teacher=str(teacher)):
        pass
    teacher.write_bytes(toy_model(seed=2).read_bytes())
    with pytest.raises(CheckpointError, match="teacher_checksum"):
        Distillation.resume("work")
    record = json.loads(Path("work/distill.json").read_text())
    for change, message in (({"plan": {}}, "of another version"), ({"output": 3}, "'output' is missing or wrong")):
        Path("work/distill.json").write_text(json.dumps(record | change))
        with pytest.raises(ValueError, match=f"damaged.*{message}"):
            Distillation.resume("work")
    with pytest.raises(FileNotFoundError, match="nowhere is not the directory of a distillation"):
        Distillation.resume("nowhere")


def test_one_process_at_a_time_works_in_the_directory():
    with start("work"), pytest.raises(LockedError):
        Distillation.resume("work")
    Distillation.resume("work").close()


# --- errors ---------------------------------------------------------------------------------------------------------


def test_structures_that_cannot_be_sampled_are_named_before_or_when_it_shows():
    with pytest.raises(ValueError, match="U"):
        start("uranium", [Atoms("U")])
    assert not Path("uranium").exists()
    with pytest.raises(ValueError, match="structures: expected at least one"):
        start("none", [])
    close = Atoms("H2", [(0, 0, 0), (0, 0, 0.2)])
    with start("close", [close]) as work, pytest.raises(SamplingError, match=r"of H2 at 300 K failed.*Relax the struc"):
        work.sample()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"features": 10}, "features 10: expected a multiple of 4"),
        ({"temperatures": ()}, "temperatures: expected at least one"),
        ({"temperatures": (0.0,)}, "temperature 0.0: expected a positive number from 1"),
        ({"cutoff": float("nan")}, "cutoff nan: expected"),
        ({"frames": 3}, "frames 3: expected an integer from 10"),
    ],
)
def test_plans_that_cannot_be_are_refused(wrong: dict, message: str):
    with pytest.raises(ValueError, match=message):
        Plan(**wrong)


# --- the command ----------------------------------------------------------------------------------------------------


def test_the_command_makes_a_student_that_dynamics_takes():
    write("water.xyz", molecule("H2O"))
    output = succeed("distill", "water.xyz", *COMMAND)
    assert "Forces of student and teacher differ by" in output
    assert "The student: " in output
    assert re.search(r"It has learned too little: the difference is (9\d|1\d\d) % of the teacher's forces", output)
    assert "Take it with" not in output
    succeed("md", "water.xyz", "--mts", "--student", "water.safetensors", "--max-difference", "100", "--steps", "2")
    assert "water.safetensors exists; choose another --output" in fail("distill", "water.xyz", *COMMAND)
    Path("water.safetensors").unlink()
    assert "holds a distillation already" in fail("distill", "water.xyz", *COMMAND)
    output = succeed("distill", "water.xyz", *COMMAND, "--overwrite", "--epochs", "400")
    assert "Take it with: so3md md STRUCTURE --mts --student water.safetensors" in output
    assert "too little" not in output
    Path("water.safetensors").unlink()
    assert "The student: " in succeed("distill", "--resume", "water")  # of what is done, the file again
    assert Path("water.safetensors").exists()


def test_wrong_usage_of_the_command_is_named():
    assert "as it is: no STRUCTURES" in fail("distill", "water", "--resume", "water", code=2)
    assert "as it is: no --layers" in fail("distill", "--resume", "water", "--layers", "1", code=2)
    assert "ends in .safetensors" in fail("distill", "water", "-o", "student", code=2)
    assert "there is no such file" in fail("distill", "nothing.xyz")
    assert "neither a file nor a name" in fail("distill", "water", "--teacher", "nobody")
