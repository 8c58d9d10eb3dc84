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
    assert "the reference model needs PyTorch: pip install 'so3md[torch]'" in result.stderr


def test_model_files_and_conversion_do_not_need_it() -> None:
    result = run_without_torch("import so3md, so3md.model_file, so3md.convert")
    assert result.returncode == 0, result.stderr
