"""Data sets that stay on disk: the same training to the bit, converted once, and nothing half done that counts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import ase.db
import numpy as np
import pytest
from ase.io import read, write

torch = pytest.importorskip("torch", reason="training needs PyTorch (extra 'torch')")

from training_tools import MOLECULES, rattled, write_config, write_molecules  # noqa: E402

from so3md.training import streaming  # noqa: E402
from so3md.training.ahead import Ahead  # noqa: E402
from so3md.training.config import DataConfig, read_config  # noqa: E402
from so3md.training.data import checksum, read_files  # noqa: E402
from so3md.training.run import Run  # noqa: E402
from so3md.training.sample import Sample  # noqa: E402
from so3md.training.schema import build  # noqa: E402
from so3md.training.stored import StoredSamples  # noqa: E402


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write_molecules(tmp_path / "molecules.xyz")
    return tmp_path


def train(project: Path, name: str, data: dict[str, Any], **sections: Any) -> Run:
    config = read_config(write_config(project / f"{name}.yaml", data=data, **sections))
    run = Run.start(config, project, project / name)
    run.train()
    return run


def read_data(project: Path, file: str = "molecules.xyz", **options: Any) -> Any:
    return read_files(file, build(DataConfig, {"files": file} | options), project)


def caches(project: Path) -> list[Path]:
    return sorted(project.glob("*.so3md-*"))


def assert_same(found: Sample, expected: Sample) -> None:
    assert found.structure.positions.flags.c_contiguous
    for name, value in vars(expected).items():
        other = getattr(found, name)
        if name == "structure":
            for key, array in vars(value).items():
                np.testing.assert_array_equal(getattr(other, key), array)
        elif isinstance(value, np.ndarray):
            np.testing.assert_array_equal(other, value)
        else:
            assert other == value, name


def test_a_training_on_disk_is_the_same_to_the_bit(project: Path) -> None:
    options = {"files": "molecules.xyz", "split": {"train": 8, "validation": 4, "test": 4}}
    runs = [train(project, name, options | {"on_disk": name == "disk"}) for name in ("memory", "disk")]
    assert [isinstance(run.parts["train"], list) for run in runs] == [True, False]
    assert runs[0].record["data"] == runs[1].record["data"]  # checksums
    states = [run.trainer.checkpoint({}) for run in runs]
    for name, values in states[0].tensors.items():
        assert torch.equal(states[1].tensors[name], values), name
    assert states[0].state | {"seconds": 0} == states[1].state | {"seconds": 0}


def test_a_training_on_disk_goes_on(project: Path) -> None:
    data = {"on_disk": True}
    whole = train(project, "whole", data)
    config = read_config(write_config(project / "part.yaml", data=data))
    part = Run.start(config, project, project / "part")
    part.train(should_stop=lambda: part.trainer.step >= 4)
    resumed = Run.resume(project / "part")
    resumed.train()
    assert torch.equal(resumed.trainer.best_values, whole.trainer.best_values)


def write_everything(path: Path) -> None:
    """Structures with all that a sample may have, some of it missing here and there."""
    rng = np.random.default_rng(1)
    frames = [rattled(MOLECULES[number % 4], rng) for number in range(6)]
    for number, atoms in enumerate(frames):
        atoms.info |= {"REF_energy": float(number), "charge": number % 2, "spin": 0.5 * (number % 2)}
        if number != 1:
            atoms.arrays["REF_forces"] = rng.normal(size=(len(atoms), 3))
        if number > 2:
            atoms.set_cell([8.0, 9.0, 10.0])
            atoms.pbc = (True, True, number > 3)
            atoms.info |= {"REF_stress": rng.normal(size=(3, 3)), "REF_dipole": rng.normal(size=3)}
            atoms.arrays["hirshfeld_ratios"] = rng.normal(size=len(atoms))
    write(path, frames, format="extxyz")


@pytest.mark.parametrize("index", [":", "1::2", "-2:", "3"])
def test_stored_samples_are_those_of_the_file(index: str, project: Path) -> None:
    write_everything(project / "all.xyz")
    source = [{"path": "all.xyz", "index": index}]
    units = {"energy": "kcal/mol", "length": "Bohr"}
    found, expected = (
        read_files(config.files, config, project)
        for config in (
            build(DataConfig, {"files": source, "units": units, "on_disk": on_disk}) for on_disk in (True, False)
        )
    )
    assert len(found) == len(expected) == len(range(6)[slice(*(int(p) if p else None for p in index.split(":")))]
                                              if ":" in index else [0])  # fmt: skip
    for one, other in zip(found, expected, strict=True):
        if index == ":":
            assert_same(one, other)
        else:  # names of entries are those of the whole file
            assert_same(one, type(other)(**vars(other) | {"names": one.names}))
    assert checksum(found) == checksum(expected)


def test_a_database_of_ase_is_read(project: Path) -> None:
    with ase.db.connect(project / "molecules.db") as database:
        for atoms in read(project / "molecules.xyz", ":"):
            database.write(atoms)
    found = read_data(project, "molecules.db", on_disk=True)
    expected = read_data(project, "molecules.db", on_disk=False)
    assert len(found) == 16
    for one, other in zip(found, expected, strict=True):
        assert_same(one, other)


def test_what_was_converted_is_found_again(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_data(project, on_disk=True)
    (cache,) = caches(project)
    content = {path.name: path.read_bytes() for path in cache.iterdir()}
    assert sorted(name.split("-")[0] for name in content) == ["atoms", "data.json", "structures"]
    monkeypatch.setattr(streaming, "_convert", None)
    assert len(read_data(project, on_disk=True)) == 16
    os.utime(project / "molecules.xyz", (1, 1))  # copied, with the same content
    assert len(read_data(project, on_disk=True)) == 16
    assert {path.name: path.read_bytes() for path in cache.iterdir()} == content


def test_a_file_that_has_changed_is_converted_anew(project: Path) -> None:
    before = read_data(project, on_disk=True)
    text = (project / "molecules.xyz").read_text()
    last = text.rindex("0.")
    (project / "molecules.xyz").write_text(text[:last] + "9" + text[last + 1 :])  # of the same size
    after = read_data(project, on_disk=True)
    assert checksum(after) == checksum(read_data(project, on_disk=False)) != checksum(before)
    assert len(list(before)) == 16  # a training that goes on with the data that it began with
    (cache,) = caches(project)
    assert len(list(cache.glob("*.bin"))) == 2


@pytest.mark.parametrize("damage", ["no index", "cut", "index"])
def test_a_conversion_that_is_not_whole_is_made_anew(damage: str, project: Path) -> None:
    expected = checksum(read_data(project, on_disk=True))
    (cache,) = caches(project)
    if damage == "no index":
        (cache / "data.json").unlink()
    elif damage == "cut":
        (atoms,) = cache.glob("atoms-*.bin")
        os.truncate(atoms, 100)
    else:
        (cache / "data.json").write_text("{}")
    assert checksum(read_data(project, on_disk=True)) == expected
    assert len(list(cache.glob("*.bin"))) == 2


KILLED = """
import os, signal, sys
from pathlib import Path
from so3md.training import stored
from so3md.training.config import DataConfig
from so3md.training.data import read_files

add, when = stored.SampleWriter.add, int(sys.argv[1])

def killed(self, sample, frame, spin):
    add(self, sample, frame, spin)
    if frame == when:
        os.kill(os.getpid(), signal.SIGKILL)

stored.SampleWriter.add = killed
read_files("molecules.xyz", DataConfig("molecules.xyz", on_disk=True), Path("."))
"""


@pytest.mark.parametrize("when", [0, 15], ids=["first structure", "last structure"])
def test_a_kill_leaves_nothing_that_counts(when: int, project: Path) -> None:
    result = subprocess.run([sys.executable, "-c", KILLED, str(when)], cwd=project, check=False)
    assert result.returncode == -signal.SIGKILL
    (cache,) = caches(project)
    with pytest.raises(ValueError, match="holds no data set"):
        StoredSamples(cache, "molecules.xyz")
    assert checksum(read_data(project, on_disk=True)) == checksum(read_data(project, on_disk=False))
    assert len(list(cache.glob("*.bin"))) == 2


def test_warnings_are_repeated(project: Path) -> None:
    atoms = read(project / "molecules.xyz", 0)
    atoms.positions[1] = atoms.positions[0] + 0.05
    atoms.info["spin"] = 1
    write(project / "odd.xyz", [atoms], format="extxyz")
    found = []
    for on_disk in (False, True, True):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            read_data(project, "odd.xyz", on_disk=on_disk)
        found.append(sorted(str(item.message) for item in caught))
    assert found[0]
    assert found[0] == found[1] == found[2]


def test_a_folder_for_converted_data(project: Path) -> None:
    read_data(project, on_disk=True, cache="elsewhere/deep")
    assert caches(project) == []
    assert len(caches(project / "elsewhere" / "deep")) == 1


def test_a_folder_that_cannot_be_written_is_named(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "file").touch()
    with pytest.raises(OSError, match=r"give a folder for converted data as data\.cache"):
        read_data(project, on_disk=True, cache="file/folder")


def test_large_files_stay_on_disk_by_themselves(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(read_data(project), list)
    monkeypatch.setattr(streaming, "LARGE", 1000)
    assert not isinstance(read_data(project), list)
    assert isinstance(read_data(project, on_disk=False), list)


def test_other_formats_are_refused_with_what_to_do(project: Path) -> None:
    write(project / "molecules.traj", read(project / "molecules.xyz", ":"))
    with pytest.raises(ValueError, match=r"data\.on_disk: expected extended XYZ or an ASE database"):
        read_data(project, "molecules.traj", on_disk=True)


def test_a_damaged_structure_is_named_and_leaves_nothing(project: Path) -> None:
    frames = read(project / "molecules.xyz", ":")
    frames[5].calc.results["forces"][0, 0] = np.nan
    write(project / "bad.xyz", frames, format="extxyz")
    with pytest.raises(ValueError, match=r"bad\.xyz, structure 5: forces"):
        read_data(project, "bad.xyz", on_disk=True)
    (cache,) = caches(project)
    assert list(cache.iterdir()) == []


def test_things_are_made_one_ahead_in_the_background() -> None:
    made: list[int] = []

    def make(number: int) -> int:
        if number == 7:
            raise ValueError("seven")
        made.append(number)
        return number

    ahead = Ahead(make, 10, wanted=True)
    assert ahead.take(4) == 4
    deadline = time.monotonic() + 10
    while made != [4, 5]:
        assert time.monotonic() < deadline
    assert [ahead.take(number) for number in (5, 6, 2)] == [5, 6, 2]
    with pytest.raises(ValueError, match="seven"):
        ahead.take(7)
    assert Ahead(make, 10, wanted=False).take(9) == 9
    assert made[-1] == 9
    assert ahead.take(9) == 9
    assert ahead.take(0) == 0  # by the same thread, after what it had to do before
    assert 10 not in made  # there is no tenth
