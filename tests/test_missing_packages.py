"""Without a package that a feature needs, the error names the feature, the package, and what to install."""

from __future__ import annotations

import subprocess
import sys

import pytest

#: What a user does -> what it needs, and what pip is to install.
FEATURES = {
    "from so3md.openmm import create_force; create_force([1, 1])": ("openmm", "pip install openmm"),
    "import so3md.openmm_ml": ("openmmml", "pip install openmm openmmml"),
    "from so3md.ipi import Driver; Driver('water.xyz')": ("ipi", "pip install ipi"),
    "import so3md.torchsim": ("torch_sim", "pip install torch-sim-atomistic"),
    "from so3md.analysis import analyse; analyse('run')": ("MDAnalysis", "pip install '.[analysis]'"),
    "from so3md import So3kratesCalculator; So3kratesCalculator(comm=1).team": ("mpi4py", "pip install mpi4py"),
    "import so3md.training.run": ("torch", "pip install '.[torch]'"),
}


@pytest.mark.parametrize("code", FEATURES)
def test_the_error_says_what_to_install(code: str) -> None:
    package, install = FEATURES[code]
    absent = f"import sys; sys.modules[{package!r}] = None\n"
    result = subprocess.run([sys.executable, "-c", absent + code], capture_output=True, text=True)
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: ")
    assert install in last
