"""To import this makes the modules of the tests importable: reference data, tolerances, small potentials."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
