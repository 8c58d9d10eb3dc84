"""The examples run as they are, and say what they should."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from optional_programs import needs
from sanitizers import patience

EXAMPLES = Path(__file__).parent.parent / "examples" / "ase"

#: Script -> its arguments, and what it must print: an expression whose groups are numbers, with the bounds of each.
EXPECTED = {
    "energy_and_forces.py": ([], r"energy +(-\d+\.\d+) eV", [(-1489, -1487)]),
    "charge_and_spin.py": ([], r"water with (\S+) eV\n.*triplet is (\S+) eV", [(0.3, 1.0), (0.2, 1.5)]),
    "relax_and_vibrate.py": ([], r"Zero-point energy: (\S+) eV", [(0.5, 0.65)]),
    "infrared.py": ([], r"(\d+) cm\^-1 +(\S+) km/mol", [(1500, 1700), (30, 150)]),
    "liquid_infrared.py": (["80"], r"stretches: largest at (\d+) cm", [(2800, 4200)]),
    "reaction_path.py": ([], r"image 3: (\S+) eV", [(0.1, 0.4)]),
    "molecular_dynamics.py": (["20"], r"step 20: (\d+) K", [(200, 400)]),
    "throughput.py": ([], r"H2O: (-\S+) eV after", [(-497, -495)]),
    "continue_a_run.py": ([], r"step 1000: (\d+) K", [(10, 1000)]),
}


#: Script -> a mark that skips it where a package is absent.
MARKS = {"throughput.py": needs("distributed")}


def test_every_example_is_tested():
    assert {path.name for path in EXAMPLES.glob("*.py")} == EXPECTED.keys()


@pytest.mark.parametrize("name", [pytest.param(name, marks=MARKS.get(name, ())) for name in EXPECTED])
def test_an_example_runs(name: str, tmp_path: Path):
    arguments, pattern, bounds = EXPECTED[name]
    result = subprocess.run(
        [sys.executable, EXAMPLES / name, *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=patience(120),
    )
    assert result.returncode == 0, result.stderr
    match = re.search(pattern, result.stdout)
    assert match, result.stdout
    for value, (low, high) in zip(match.groups(), bounds, strict=True):
        assert low < float(value) < high
