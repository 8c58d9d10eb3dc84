"""The studies of benchmarks/paper: their settings are valid, and committed results say what the plots and tables do."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

PAPER = Path(__file__).parent.parent / "benchmarks" / "paper"
sys.path.insert(0, str(PAPER))

pytest.importorskip("torch", reason="training needs PyTorch")

import acac_far  # noqa: E402
import accuracy  # noqa: E402
import cumulenes  # noqa: E402
import data_efficiency  # noqa: E402
import optimisers  # noqa: E402
import peers  # noqa: E402
import runs  # noqa: E402
from acac_far_data import torsion_of  # noqa: E402
from ase.io import read  # noqa: E402

from so3md.training.config import Config  # noqa: E402
from so3md.training.data import read_files  # noqa: E402
from so3md.training.hyperparameters import complete  # noqa: E402
from so3md.training.schema import build  # noqa: E402


def checked(config: dict[str, Any]) -> Config:
    return build(Config, config)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A directory with the names of all data files."""
    for name in ("md17_ethanol.npz", "acac/train_300K.xyz", "acac/test_MD_300K.xyz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize("molecule", accuracy.AIMS)
def test_settings_for_accuracy_are_valid(molecule: str, data: Path) -> None:
    config = accuracy.load_config(molecule, data)
    settings = checked(config)
    assert settings.training.epochs > 0
    files = [v for k, v in config["data"].items() if k.endswith("files")]
    assert files
    assert all(Path(file).is_absolute() for file in files)


def test_missing_data_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"md17_ethanol\.npz.*--data"):
        accuracy.load_config("ethanol", tmp_path)


@pytest.mark.parametrize("degrees", data_efficiency.DEGREES)
def test_settings_for_data_efficiency_are_valid(degrees: tuple[int, ...], data: Path) -> None:
    steps = []
    for size in data_efficiency.SIZES:
        config = checked(data_efficiency.make_config(degrees, size, 4000, 0, data))
        complete(config.model, [])
        steps.append(config.training.epochs * size / config.training.batch_size)
        train, validation = (
            range(*map(int, part.split(":"))) for part in (config.data.split.train, config.data.split.validation)
        )
        assert train.stop <= validation.start
    np.testing.assert_allclose(steps, 4000, rtol=0.02)  # the same number of steps for every size


def test_settings_for_optimisers_differ_in_them_alone(data: Path) -> None:
    configs = [optimisers.config_of(name, 1e-3, 4000, data) for name in optimisers.OPTIMISERS]
    assert {checked(config).training.optimiser for config in configs} == {"adamw", "muon"}
    for config in configs:
        del config["training"]["optimiser"]
    assert configs[0] == configs[1]


def test_exponents_are_those_of_powers_whatever_the_seeds_scatter() -> None:
    """Errors that scatter evenly about 300 n^-0.5, by a factor of 1.1 up and down."""
    points = [
        {"degrees": [1], "size": size, "forces_mae_meV_per_A": [300 * size**-0.5 * factor for factor in (1.1, 1 / 1.1)]}
        for size in (50, 100, 200, 400)
    ]
    found = data_efficiency.exponents(points)["{1}"]
    assert found["exponent"] == pytest.approx(-0.5, abs=1e-12)
    distances = np.log([50, 100, 200, 400]) - np.mean(np.log([50, 100, 200, 400]))
    freedom = 8 - 2
    assert found["standard_error"] == pytest.approx(np.log(1.1) * np.sqrt(8 / freedom / (2 * (distances**2).sum())))
    assert data_efficiency.exponents(points[:2]) == {}


@pytest.mark.parametrize("n", cumulenes.LENGTHS)
def test_the_models_for_cumulenes_differ_in_non_local_attention_alone(n: int) -> None:
    local, nonlocal_ = (cumulenes.make_config(n, kind, 1600, 0) for kind in cumulenes.KINDS)
    assert local["model"].pop("nonlocal") is None
    assert nonlocal_["model"].pop("nonlocal") == {"type": "dynamic"}
    assert local == nonlocal_
    config = checked(local)
    assert len(read_files(config.data.files, config.data, PAPER)) == cumulenes.CONFIGURATIONS


def test_a_finished_training_is_not_repeated(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text('{"steps": 7}')
    assert runs.train({}, tmp_path) == {"steps": 7}


def results(name: str) -> dict[str, Any]:
    return json.loads((PAPER / "results" / name).read_text())


def test_results_for_cumulenes_follow_from_their_profiles() -> None:
    report = results("cumulenes.json")
    profiles = cumulenes.read_profiles()
    for length, result in report["lengths"].items():
        reference = np.array([atoms.get_potential_energy() for atoms in profiles[int(length)]])
        np.testing.assert_allclose(result["reference_eV"], reference - reference.mean(), atol=1e-4)
        for kind in cumulenes.KINDS:
            differences = np.array(result[kind]["energies_eV"]) - result["reference_eV"]
            assert result[kind]["profile_rmse_eV"] == pytest.approx(differences.std(), abs=1e-4)


def test_acetylacetone_far_from_300_K_is_what_the_file_says() -> None:
    structures = read(acac_far.FILE, ":")
    scan = [atoms for atoms in structures if atoms.info["kind"] == "torsion"]
    assert [atoms.info["torsion"] for atoms in scan] == list(acac_far.TORSIONS)
    chosen = torsion_of(scan[0])
    for atoms in scan:
        away = (atoms.get_dihedral(*chosen) - atoms.info["torsion"] + 180) % 360 - 180
        assert abs(away) < 0.05  # degrees: positions have four decimals
    assert len(structures) == len(scan) + acac_far.HOT
    rounding = 0.5e-4 * len(scan[0])  # forces have four decimals, and nothing pulls on a molecule as a whole
    np.testing.assert_allclose([atoms.get_forces().sum(axis=0) for atoms in structures], 0, atol=rounding)
    report = results("acac_far.json")
    assert report["labels"]["profile_eV"] == pytest.approx(acac_far.profile(scan, None))
    shipped = report["models"]["so3lr"]
    assert shipped["torsion"] == pytest.approx(acac_far.errors(scan, "so3lr"), rel=1e-3)
    assert shipped["profile_eV"] == pytest.approx(acac_far.profile(scan, "so3lr"), abs=1e-3)


def test_results_of_peers_are_complete_and_printed(capsys: pytest.CaptureFixture[str]) -> None:
    report = results("peers.json")
    assert report["machine"]["processor"]
    for name, program in report["programs"].items():
        assert name in peers.PROGRAMS
        assert program["parameters"] > 0
        for key in peers.TIMES:
            low, high = program["range"][key]
            assert 0 < low <= program["seconds"][key] <= high
    peers.print_table(report["programs"])
    assert "PaiNN" in capsys.readouterr().out
