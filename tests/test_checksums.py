"""Models and data are the files that they were when they were checked; the list says so, and finds what is not."""

from __future__ import annotations

import shutil
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts" / "checksums"


@pytest.fixture
def checksums() -> ModuleType:
    loader = SourceFileLoader("checksums", str(SCRIPT))
    module = module_from_spec(spec_from_loader("checksums", loader))
    loader.exec_module(module)
    return module


def test_models_and_data_are_those_of_the_list(checksums: ModuleType) -> None:
    text = checksums.LIST.read_text(encoding="utf-8")
    assert checksums.differences(ROOT, text) == []
    names = checksums.listed(text)
    assert "python/so3md/models/so3lr.safetensors" in names
    assert "tests/data/so3lr/bb.npz" in names
    assert "examples/lammps/data/water.data" in names


def test_the_package_in_use_has_the_model_of_the_list(checksums: ModuleType, so3lr_path: Path) -> None:
    listed = checksums.listed(checksums.LIST.read_text(encoding="utf-8"))
    assert checksums.checksum(so3lr_path) == listed["python/so3md/models/so3lr.safetensors"]


def test_what_is_other_missing_or_new_is_found(checksums: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "python" / "so3md" / "structures"
    folder.mkdir(parents=True)
    for name in ("a", "b", "c"):
        shutil.copy(ROOT / "python/so3md/structures/water_64.xyz", folder / f"{name}.xyz")
    text = "".join(f"{checksums.checksum(tmp_path / path)}  {path}\n" for path in checksums.data_files(tmp_path))
    assert checksums.differences(tmp_path, text) == []
    with (folder / "a.xyz").open("a") as file:
        file.write(" ")
    (folder / "b.xyz").rename(folder / "d.xyz")
    found = checksums.differences(tmp_path, text)
    assert [line.partition(": ")[0].rpartition("/")[2] for line in found] == ["d.xyz", "a.xyz", "b.xyz"]
