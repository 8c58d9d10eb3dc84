"""What a file from anyone can do: be read, or be refused. Nothing in it is executed (SECURITY.md).

The files here are harmless: what would be executed writes an empty file into the folder of the test.
"""

from __future__ import annotations

import ast
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import molecule
from click.testing import CliRunner

import so3md
from so3md import load_model
from so3md.bounded_yaml import YamlError, parse_yaml
from so3md.cli import main
from so3md.dynamics.checkpoint import Checkpoint, CheckpointError
from so3md.structures.constraints import constraints_of_text
from so3md.structures.reading import read_frames

PACKAGE = Path(so3md.__file__).parent

#: Modules that execute what a file says, or start a shell; who may import them, and what for.
EXECUTING = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "code", "runpy"}
#: Functions of the language that do.
EXECUTING_CALLS = {"eval", "exec", "compile", "__import__"}


class Attack:
    """Writes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


@pytest.fixture
def attack(tmp_path: Path) -> Attack:
    """An object that would leave a trace; the trace is looked for in the end."""
    return Attack(tmp_path / "executed")


def test_the_attack_would_leave_a_trace(attack: Attack) -> None:
    pickle.loads(pickle.dumps(attack))
    assert attack.marker.exists()


def object_array(attack: Attack) -> np.ndarray:
    return np.array([attack], dtype=object)


def test_a_checkpoint_cannot_execute_anything(attack: Attack, tmp_path: Path) -> None:
    np.savez(tmp_path / "checkpoint.npz", document=object_array(attack), positions=object_array(attack))
    with pytest.raises(CheckpointError, match="damaged, or not a checkpoint"):
        Checkpoint.read(tmp_path / "checkpoint.npz")
    (tmp_path / "checkpoint.npz").write_bytes(pickle.dumps(attack))
    with pytest.raises(CheckpointError, match="damaged, or not a checkpoint"):
        Checkpoint.read(tmp_path / "checkpoint.npz")
    assert not attack.marker.exists()


@pytest.mark.parametrize("name", ["eval", "os.system", "__import__", "__builtins__", "np.load", "So3kratesCalculator"])
def test_constraints_are_those_of_ase_alone(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be restored"):
        constraints_of_text(f'[{{"name": "{name}", "kwargs": {{}}}}]')


def test_reference_data_cannot_execute_anything(attack: Attack, tmp_path: Path) -> None:
    pytest.importorskip("yaml", reason="settings of a training need PyYAML (extra 'torch')")
    pytest.importorskip("torch", reason="training needs PyTorch (extra 'torch')")
    from so3md.training.config import DataConfig, Units
    from so3md.training.data import read_files
    from so3md.training.schema import ConfigError
    from so3md.training.splits import _read_split_file

    np.savez(tmp_path / "data.npz", z=object_array(attack), R=object_array(attack), E=object_array(attack))
    with pytest.raises(ValueError, match=r"data\.npz: "):
        read_files("data.npz", DataConfig("-", units=Units("eV", "A")), tmp_path)
    np.savez(tmp_path / "split.npz", idx_train=object_array(attack))
    with pytest.raises(ConfigError, match=r"expected an \.npz of arrays of indices"):
        _read_split_file(tmp_path / "split.npz")
    assert not attack.marker.exists()


@pytest.mark.parametrize("name", ["old.traj", "old.trj", "old.xyz", "pickled"])
@pytest.mark.parametrize("magic", [b"PickleTrajectory", b""])
def test_a_structure_cannot_execute_anything(attack: Attack, tmp_path: Path, name: str, magic: bytes) -> None:
    """ASE once had pickled trajectories, which begin with that word."""
    (tmp_path / name).write_bytes(magic + pickle.dumps({"positions": attack}))
    with pytest.raises(ValueError, match="structure "):
        read_frames(tmp_path / name)
    assert not attack.marker.exists()


def test_a_model_cannot_execute_anything(attack: Attack, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(pickle.dumps(attack))
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        load_model(path)
    result = CliRunner().invoke(main, ["convert", str(path), str(tmp_path / "out.safetensors")])
    assert result.exit_code == 1
    assert not attack.marker.exists()
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize(
    "tag",
    ["!!python/object/apply:os.mkdir", "!!python/object/new:os.mkdir", "!!python/name:os.mkdir", "!!python/module:os"],
)
def test_a_configuration_makes_no_objects(tmp_path: Path, tag: str) -> None:
    pytest.importorskip("yaml", reason="configurations need PyYAML (extra 'config')")
    target = tmp_path / "executed"
    text = f"steps: {tag} ['{target}']\n"
    with pytest.raises(YamlError, match="could not determine a constructor"):
        parse_yaml(text)
    (tmp_path / "run.yaml").write_text(text)
    result = CliRunner().invoke(main, ["md", "water", "--config", str(tmp_path / "run.yaml")])
    assert result.exit_code != 0
    assert "Traceback" not in result.output
    assert not target.exists()


def test_a_structure_is_no_path_into_something_else(tmp_path: Path) -> None:
    """ASE takes `name@index` and addresses of databases; here a name is that of a file."""
    molecule("H2O").write(tmp_path / "water.xyz")
    assert len(read_frames(tmp_path / "water.xyz")[0]) == 1
    for name in (f"{tmp_path}/water.xyz@0", "postgresql://user@localhost:5432/base", "-"):
        with pytest.raises(ValueError, match="structure "):
            read_frames(Path(name))


# --- the source -----------------------------------------------------------------------------------------------------


def called(node: ast.Call) -> str:
    """The function of a call as it is written, such as np.load."""
    return ast.unparse(node.func)


def keywords(node: ast.Call) -> dict[str | None, str]:
    return {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}


def what_executes(source: str) -> list[str]:
    """Places in a Python source that could execute what a file says."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            found += [f"import {name}" for name in names if name.split(".")[0] in EXECUTING]
        elif isinstance(node, ast.Call):
            name, given = called(node), keywords(node)
            if name in EXECUTING_CALLS or name in ("os.system", "os.popen"):
                found.append(name)
            if name.rpartition(".")[2] == "load" and name.split(".")[0] in ("np", "numpy"):
                found += [] if given.get("allow_pickle") == "False" else [f"{name} without allow_pickle=False"]
            if name == "torch.load":
                found += [] if given.get("weights_only") == "True" else [f"{name} without weights_only=True"]
            if name in ("yaml.load", "yaml.full_load", "yaml.unsafe_load", "yaml.load_all"):
                found += [] if "Loader" in given and "Safe" in given["Loader"] else [f"{name}, which makes objects"]
            if given.get("shell") == "True":
                found.append(f"{name} with shell=True")
            if name.endswith((".extractall", ".extract")):
                found.append(f"{name}, which writes where an archive says")
    return found


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from marshal import loads",
        "eval(text)",
        "numpy.load(path)",
        "np.load(path, allow_pickle=True)",
        "torch.load(path)",
        "yaml.load(text, Loader=yaml.Loader)",
        "subprocess.run(line, shell=True)",
        "archive.extractall(folder)",
    ],
)
def test_what_executes_is_found(source: str) -> None:
    assert len(what_executes(source)) == 1


def test_nothing_in_the_package_executes_what_a_file_says() -> None:
    sources = sorted(PACKAGE.rglob("*.py"))
    assert len(sources) > 100
    found = {str(path.relative_to(PACKAGE)): what_executes(path.read_text(encoding="utf-8")) for path in sources}
    assert {name: places for name, places in found.items() if places} == {}
