"""Without PyTorch everything but the reference model works, and its tests are skipped with a reason."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def run_without_torch(program: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [sys.executable, "-c", f"import sys; sys.modules['torch'] = None\n{program}"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )


def test_the_tests_of_the_reference_model_are_skipped_with_a_reason() -> None:
    tests = str(Path(__file__).parent / "test_reference.py")
    result = run_without_torch(f"import pytest; sys.exit(pytest.main([{tests!r}, '-rs', '-p', 'no:cacheprovider']))")
    assert "1 skipped" in result.stdout
    assert "the reference model needs PyTorch (extra 'torch')" in result.stdout
    assert "failed" not in result.stdout


def test_the_import_says_what_to_install() -> None:
    result = run_without_torch("import so3md.reference")
    assert result.returncode == 1
    assert "training and the reference model need PyTorch: pip install '.[torch]'" in result.stderr


def test_the_command_says_what_to_install_and_its_example_needs_nothing(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("data: {files: a.xyz}")
    arguments = ["train", str(tmp_path / "config.yaml")]
    result = run_without_torch(f"from so3md.cli import main; main({arguments!r})")
    assert result.returncode == 1
    assert result.stderr.startswith("Error: training and the reference model need PyTorch: pip install '.[torch]'")
    assert len(result.stderr.splitlines()) == 1
    result = run_without_torch("from so3md.cli import main; main(['distill', 'water'])")
    assert result.stderr.startswith("Error: training and the reference model need PyTorch: pip install '.[torch]'")
    for command in ("train", "finetune"):
        result = run_without_torch(f"from so3md.cli import main; main([{command!r}, '--example'])")
        assert result.returncode == 0, result.stderr
        assert "data:" in result.stdout


def test_model_files_and_conversion_do_not_need_it() -> None:
    result = run_without_torch("import so3md, so3md.model_file, so3md.convert")
    assert result.returncode == 0, result.stderr
