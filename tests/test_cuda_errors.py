"""What is said where a device cannot be used, and the ways by which users ask for one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.io import write
from click.testing import CliRunner
from reference_data import load_system
from tolerances import DEVICE
from toy_models import write_toy_model

from so3md import So3kratesCalculator, evaluate_many
from so3md._engine import Engine, Model, count_devices
from so3md.build_facts import has_cuda_library
from so3md.cli import main as so3md_command
from so3md.model_file import PAPER_2022

EMULATION = "cuda-emulation"


def has_emulation() -> bool:
    try:
        return count_devices(EMULATION) > 0
    except RuntimeError:
        return False


needs_emulation = pytest.mark.skipif(
    not has_emulation(), reason="this build has no emulation of the GPU (SO3MD_CUDA_EMULATION=OFF, or not Linux)"
)


def evaluate_in_a_new_process(device: str, **environment: str) -> subprocess.CompletedProcess[str]:
    code = (
        "import sys\nfrom so3md._engine import Engine, Model\nfrom so3md.loading import model_path\n"
        "try:\n    Engine(Model(str(model_path('so3lr'))), device=sys.argv[1])\n"
        "except RuntimeError as error:\n    sys.exit(str(error))\n"
    )
    command = [sys.executable, "-c", code, device]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("name", ["tpu", "cuda:", "cuda:x", "cuda:-1", "cpu:1", "CUDA", ""])
def test_an_unknown_device_is_refused(so3lr_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="expected cpu, cuda, or cuda:N"):
        Engine(Model(str(so3lr_path)), device=name)
    with pytest.raises(ValueError, match="device: expected one of cpu, cuda, or cuda:N"):
        So3kratesCalculator(device=name)


@pytest.mark.parametrize(
    ("device", "expected"), [("cuda", "SO3MD_CUDA=ON pip install ."), (EMULATION, "SO3MD_CUDA_EMULATION=ON")]
)
def test_a_build_without_the_library_says_how_to_get_it(tmp_path: Path, device: str, expected: str) -> None:
    run = evaluate_in_a_new_process(device, SO3MD_DEVICE_LIBRARIES=str(tmp_path))
    assert run.returncode == 1
    assert f"device '{device}': this so3md was built " in run.stderr
    assert expected in run.stderr
    assert f"in {tmp_path}. " in run.stderr
    assert "use device 'cpu'" in run.stderr


@pytest.mark.parametrize("device", ["cuda", EMULATION])
def test_a_broken_library_is_named(tmp_path: Path, device: str) -> None:
    (tmp_path / f"so3md_{device.replace('-', '_')}.so").write_text("not a library")
    run = evaluate_in_a_new_process(device, SO3MD_DEVICE_LIBRARIES=str(tmp_path))
    assert run.returncode == 1
    assert "the library of the GPU kernels could not be opened" in run.stderr


def test_cuda_works_or_says_why_not() -> None:
    run = evaluate_in_a_new_process("cuda")
    if run.returncode == 0:
        return
    reasons = ("no NVIDIA driver", "needs CUDA", "sees no GPU")
    if not has_cuda_library():
        reasons = ("SO3MD_CUDA=ON pip install .",)
    assert any(reason in run.stderr for reason in reasons), run.stderr


@needs_emulation
@pytest.mark.parametrize(
    ("environment", "device", "expected"),
    [
        ({"SO3MD_EMULATION_DEVICES": "0"}, EMULATION, "the NVIDIA driver sees no GPU"),
        ({"SO3MD_EMULATION_DEVICES": "-1"}, EMULATION, "the NVIDIA driver supports CUDA 11.0, but this build"),
        ({"SO3MD_EMULATION_DEVICES": "2"}, EMULATION + ":2", "there is no GPU number 2: this machine has 2"),
        ({"SO3MD_EMULATION_MEMORY": "100000"}, EMULATION, "the GPU has no memory left:"),
    ],
    ids=["no device", "old driver", "too few", "no memory"],
)
def test_what_a_machine_lacks_is_said(
    so3lr_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], device: str, expected: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RuntimeError, match=expected):
        Engine(Model(str(so3lr_path)), device=device)


@needs_emulation
def test_memory_that_runs_out_in_an_evaluation(so3lr_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(Model(str(so3lr_path)), device=EMULATION)
    structure = load_system("ethanol").structure
    in_use = engine.info()["device_memory"]["now"]
    monkeypatch.setenv("SO3MD_EMULATION_MEMORY", str(in_use + 2000))
    with pytest.raises(RuntimeError, match=r"the GPU has no memory left: \d+ MB were asked for"):
        engine.evaluate(**structure)
    monkeypatch.delenv("SO3MD_EMULATION_MEMORY")
    expected = Engine(Model(str(so3lr_path))).evaluate(**structure)
    assert engine.evaluate(**structure)["energy"] == pytest.approx(expected["energy"], rel=1e-6)


@needs_emulation
def test_models_of_2022_are_for_the_cpu(tmp_path: Path) -> None:
    model = Model(str(write_toy_model(tmp_path / "toy.safetensors", 0, architecture=PAPER_2022)))
    with pytest.raises(ValueError, match="so3krates-2022 are evaluated on the CPU only"):
        Engine(model, device=EMULATION)


# --- ways to ask for a device ---------------------------------------------------------------------------------------


@needs_emulation
def test_calculator_and_many_structures() -> None:
    atoms = molecule("H2O")
    expected = So3kratesCalculator(precision="double")
    found = So3kratesCalculator(precision="double", device=EMULATION)
    np.testing.assert_allclose(found.get_forces(atoms), expected.get_forces(atoms), rtol=0, atol=DEVICE.forces)
    assert found.engine_info()["device"] == EMULATION
    structures = [molecule("H2O"), molecule("NH3"), Atoms("H"), molecule("H2O")]
    structures[2].info["spin"] = 0.5
    predictions = list(evaluate_many(structures, precision="double", device=EMULATION))
    for one, other in zip(predictions, evaluate_many(structures, precision="double"), strict=True):
        assert one.energy == pytest.approx(other.energy, abs=DEVICE.component)
        np.testing.assert_allclose(one.forces, other.forces, rtol=0, atol=DEVICE.forces)


@needs_emulation
def test_command_line(tmp_path: Path) -> None:
    file = tmp_path / "water.xyz"
    write(file, molecule("H2O"))
    command = ["md", str(file), "--steps", "1", "--ensemble", "nve", "-o", str(tmp_path / "run"), "--device"]
    outcome = CliRunner().invoke(so3md_command, [*command, EMULATION])
    assert outcome.exit_code == 0, outcome.output
    assert "emulation on the host" in outcome.output
    outcome = CliRunner().invoke(so3md_command, [*command, "tpu"])
    assert outcome.exit_code == 2
    assert "cuda:N" in outcome.output
