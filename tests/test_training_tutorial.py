"""The tutorial of docs/training.md runs as it is written."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from ase import units
from ase.io import read
from click.testing import CliRunner

from so3md.cli import main
from so3md.structures import EXAMPLES, example_path, read_structure

DOCUMENT = Path(__file__).parent.parent / "docs" / "training.md"


def commands() -> list[str]:
    """The commands of the first block, without comments."""
    block = re.search(r"```sh\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    lines = [line.split("#")[0].strip() for line in block[1].splitlines()]
    return [line for line in lines if line.startswith("so3md ")]


def test_the_commands_of_the_tutorial_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch", reason="training needs PyTorch (extra 'torch')")
    monkeypatch.chdir(tmp_path)
    assert len(commands()) >= 7
    for line in commands():
        command, _, target = line.partition(" > ")
        result = CliRunner().invoke(main, [*shlex.split(command)[1:], *shorter(command)])
        assert result.exit_code == 0, f"{line}\n{result.output}"
        if target:
            Path(target).write_text(re.sub(r"epochs: \d+", "epochs: 1", result.output) + "threads: 1\n")
    for path in ("ethanol/model.safetensors", "ethanol-finetuned/model.safetensors", "ethanol_50-eval/summary.csv"):
        assert Path(path).exists(), path


def shorter(command: str) -> list[str]:
    """Options that leave little of what takes time."""
    if "--resume" in command:
        return ["--epochs", "2"]
    return ["--steps", "2", "--no-plot"] if command.startswith("so3md md") else []


def test_the_sample_is_md17_ethanol() -> None:
    frames = read(example_path("ethanol"), index=":")
    assert len(frames) == 50
    energies = np.array([atoms.get_potential_energy() for atoms in frames])
    assert abs(energies.mean() / (units.kcal / units.mol) + 97190) < 20  # kcal/mol, as MD17 ethanol has
    # Forces of MD17 add up to 0.2 kcal/mol/A at most, by the grids of the reference.
    assert all(np.abs(atoms.get_forces().sum(axis=0)).max() < 0.01 for atoms in frames)
    assert read_structure("ethanol").get_chemical_formula() == "C2H6O"


def test_every_example_has_a_source() -> None:
    sources = example_path("water").with_name("SOURCES.md").read_text(encoding="utf-8")
    for name, file in EXAMPLES.items():
        assert f"| `{file}` | `{name}` |" in sources
