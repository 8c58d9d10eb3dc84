"""Completion by the shell: what click answers bash, and bash itself where there is one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from so3md.cli import main
from so3md.cli.completion import SHELLS


def completed(words: str, folder: Path) -> list[str]:
    """What is proposed for the last of the words, as bash asks for it."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "_SO3MD_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    program = "from so3md.cli import main; main(prog_name='so3md')"
    run = subprocess.run([sys.executable, "-c", program], env=environment, cwd=folder, capture_output=True, text=True)
    assert run.stderr == ""
    return run.stdout.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("so3md re", ["plain,relax"]),
        ("so3md md --thermo", ["plain,--thermostat"]),
        ("so3md md --ensemble n", ["plain,nve", "plain,nvt", "plain,npt"]),
        ("so3md relax wa", ["plain,water", "file,wa"]),
        ("so3md info so", ["plain,so3lr", "plain,so3lr-fast", "file,so"]),
        ("so3md md water --model so3", ["plain,so3lr", "plain,so3lr-fast", "file,so3"]),
        ("so3md completion z", ["plain,zsh"]),
    ],
)
def test_names_are_completed(words: str, expected: list[str], tmp_path: Path) -> None:
    assert completed(words, tmp_path) == expected


def test_a_file_that_may_be_meant_wins_over_names(tmp_path: Path) -> None:
    (tmp_path / "water_box.xyz").touch()
    assert completed("so3md md wa", tmp_path) == ["file,wa"]


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_has_a_script(shell: str) -> None:
    result = CliRunner().invoke(main, ["completion", shell])
    assert result.exit_code == 0, result.output
    assert f"_SO3MD_COMPLETE={shell}_complete" in result.output
    assert "so3md" in result.output


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
def test_bash_completes_by_the_script(tmp_path: Path) -> None:
    """The script is loaded, and its function asked as bash does when the key is pressed."""
    so3md = tmp_path / "so3md"
    so3md.write_text(
        f'#!/bin/sh\nexec "{sys.executable}" -c "from so3md.cli import main; main(prog_name=\'so3md\')" "$@"\n'
    )
    so3md.chmod(0o755)
    script = """
    set -e
    eval "$(so3md completion bash)"
    function=$(complete -p so3md | sed 's/.*-F \\([^ ]*\\) .*/\\1/')
    COMP_WORDS=(so3md md --ther) COMP_CWORD=2
    "$function" so3md --ther md
    echo "COMPLETED ${COMPREPLY[*]}"
    """
    environment = os.environ | {
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    run = subprocess.run(["bash", "-c", script], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert "COMPLETED --thermostat" in run.stdout, run.stdout + run.stderr
