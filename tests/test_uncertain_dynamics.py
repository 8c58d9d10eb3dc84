"""Runs that look at the uncertainty of their model: what they keep, where they stop, and how they go on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.io import read, write
from click.testing import CliRunner, Result
from toy_models import ETHANOL_LIKE

from so3md import So3kratesCalculator
from so3md.cli import main
from so3md.dynamics import Settings, Simulation

FREQUENT: dict[str, Any] = {"log_interval": 1, "trajectory_interval": 4, "checkpoint_interval": 5, "temperature": 100}


@pytest.fixture
def members(toy_model: Callable[..., Path]) -> list[str]:
    return [str(toy_model(seed=seed)) for seed in range(2)]


def moving(members: list[str]) -> Atoms:
    atoms = Atoms("CCOH6", ETHANOL_LIKE)
    atoms.calc = So3kratesCalculator(members, precision="double", threads=1)
    return atoms


def frames(directory: Path) -> list[Atoms]:
    return read(directory / "uncertain.xyz", ":")


def steps(directory: Path) -> list[int]:
    return [int(atoms.info["step"]) for atoms in frames(directory)]


def test_uncertain_structures_are_kept_once_in_an_interval(tmp_path: Path, members: list[str]) -> None:
    atoms = moving(members)
    settings = Settings(**FREQUENT, uncertainty_threshold=1e-3)  # random models never agree so well
    with Simulation.start(atoms, settings, tmp_path / "run") as run:
        assert run.run(10)
    assert steps(tmp_path / "run") == [1, 5, 9]
    for kept in frames(tmp_path / "run"):
        found = So3kratesCalculator(members, precision="double", threads=1)
        kept.calc = None
        expected = found.get_property("forces_uncertainty", kept)
        # Positions and values of the file have eight digits.
        np.testing.assert_allclose(kept.arrays["forces_uncertainty"], expected, rtol=0, atol=1e-4)
        assert kept.info["uncertainty"] == pytest.approx(expected.max(), abs=1e-4)


def test_structures_below_the_threshold_are_not_kept(tmp_path: Path, members: list[str]) -> None:
    with Simulation.start(moving(members), Settings(**FREQUENT, uncertainty_threshold=1e6), tmp_path / "run") as run:
        assert run.run(3)
    assert (tmp_path / "run/uncertain.xyz").read_bytes() == b""


def test_a_run_that_was_stopped_keeps_what_it_would_have_kept(tmp_path: Path, members: list[str]) -> None:
    settings = Settings(**FREQUENT, uncertainty_threshold=1e-3, seed=3)
    with Simulation.start(moving(members), settings, tmp_path / "whole") as run:
        run.run(15)
    with Simulation.start(moving(members), settings, tmp_path / "parts") as run:
        run.run(10)
    with (tmp_path / "parts/uncertain.xyz").open("a") as file:
        file.write(
            (tmp_path / "whole/uncertain.xyz").read_text()
        )  # as a session that was killed after its checkpoint leaves it
    with Simulation.resume(tmp_path / "parts", moving(members).calc) as run:
        run.run(5)
    assert steps(tmp_path / "whole") == [1, 5, 9, 13]
    assert (tmp_path / "parts/uncertain.xyz").read_text() == (tmp_path / "whole/uncertain.xyz").read_text()


def test_what_was_kept_stays_while_a_run_goes_on_without(tmp_path: Path, members: list[str]) -> None:
    with Simulation.start(moving(members), Settings(**FREQUENT, uncertainty_threshold=1e-3), tmp_path / "run") as run:
        run.run(5)
    for threshold in (None, 1e-3):
        settings = Settings(**FREQUENT, uncertainty_threshold=threshold)
        with Simulation.resume(tmp_path / "run", moving(members).calc, settings=settings) as run:
            run.run(5)
    assert steps(tmp_path / "run") == [1, 5, 11, 15]


def test_a_run_stops_where_it_is_too_uncertain_and_goes_on_with_a_higher_limit(
    tmp_path: Path, members: list[str]
) -> None:
    with Simulation.start(moving(members), Settings(**FREQUENT, stop_uncertainty=1e-3), tmp_path / "run") as run:
        assert not run.run(10)
        assert run.step == 1
        assert run.stop_reason is not None
        assert "above the limit of 0.001" in run.stop_reason
    assert (tmp_path / "run/final.xyz").is_file()
    settings = Settings(**FREQUENT, stop_uncertainty=1e6)
    with Simulation.resume(tmp_path / "run", moving(members).calc, settings=settings) as run:
        assert run.run(2)
        assert (run.step, run.stop_reason) == (3, None)


def test_a_model_without_uncertainty_is_refused_before_a_file_is_there(tmp_path: Path, members: list[str]) -> None:
    atoms = moving(members[:1])
    with pytest.raises(ValueError, match="uncertainty: the model says nothing of it; take several"):
        Simulation.start(atoms, Settings(stop_uncertainty=1.0), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def md(tmp_path: Path, *options: str) -> Result:
    return CliRunner().invoke(main, ["md", *options, "--no-plot", "--threads", "1"], env={"COLUMNS": "300"})


def test_the_command_says_why_it_stopped(tmp_path: Path, members: list[str]) -> None:
    write(tmp_path / "ethanol.xyz", Atoms("CCOH6", ETHANOL_LIKE))
    models = [text for member in members for text in ("--model", member)]
    limits = ["--stop-uncertainty", "1e-3", "--uncertainty-threshold", "1e-3"]
    result = md(tmp_path, str(tmp_path / "ethanol.xyz"), *models, *limits, "--steps", "5", "-o", str(tmp_path / "run"))
    assert result.exit_code == 3, result.output
    assert "Stopped after step 1, everything is saved: the uncertainty of the force on atom" in result.output
    assert "uncertain.xyz" in result.output
    assert len(frames(tmp_path / "run")) == 1
    result = md(tmp_path, "--resume", str(tmp_path / "run"), "--stop-uncertainty", "1e6")
    assert result.exit_code == 0, result.output
