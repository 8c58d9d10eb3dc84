"""Registers, spills and static shared memory of each GPU kernel, as nvcc's assembler reports them.

    python scripts/kernel_resources.py                 # compile for sm_90; write docs/notes/gpu_counts.md
    python scripts/kernel_resources.py --print         # print it only

Needs nvcc (CUDACXX, or on the path) and no GPU. Only kernels of the network, which have variants and spills, and those
that use many registers stand in the table; the numbers of all are in benchmarks/results/kernel_resources.json.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "notes" / "gpu_counts.md"
RESULTS = ROOT / "benchmarks" / "results" / "kernel_resources.json"
MARKERS = ("<!-- kernel resources: begin -->", "<!-- kernel resources: end -->")
NOTABLE_REGISTERS = 96

Kernel = dict[str, Any]

_ENTRY = re.compile(r"Compiling entry function '(?P<symbol>[^']+)' for")
_OWN = re.compile(r"Function properties for (?P<symbol>\S+)")
_SPILLS = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_REGISTERS = re.compile(r"Used (\d+) registers")
_SHARED = re.compile(r"(\d+) bytes smem")


def parse_report(report: str) -> list[Kernel]:
    """What `ptxas -v` says of kernels, with mangled symbols. Functions that are no kernels are left out."""
    kernels: list[Kernel] = []
    own = False
    for line in report.splitlines():
        if match := _ENTRY.search(line):
            kernels.append({"symbol": match["symbol"]})
        elif match := _OWN.search(line):
            own = bool(kernels) and match["symbol"] == kernels[-1]["symbol"]
        elif own and (match := _SPILLS.search(line)):
            kernels[-1] |= dict(zip(("stack", "spill_stores", "spill_loads"), map(int, match.groups()), strict=True))
        elif kernels and (match := _REGISTERS.search(line)):
            shared = _SHARED.search(line)
            kernels[-1] |= {"registers": int(match[1]), "shared": int(shared[1]) if shared else 0}
    return kernels


def readable(symbols: list[str]) -> list[str]:
    """Names as in the source, without namespaces and arguments."""
    run = subprocess.run(["c++filt"], input="\n".join(symbols), capture_output=True, text=True, check=True)
    names = run.stdout.splitlines()
    names = [re.sub(r"so3md::cuda::|\(anonymous namespace\)::|^void ", "", name) for name in names]
    return [name.partition("(")[0] for name in names]


def compile_source(nvcc: str, architecture: str, source: Path) -> list[Kernel]:
    """The kernels of one file."""
    command = [
        nvcc,
        "-I",
        str(ROOT / "csrc"),
        "-O3",
        "-DNDEBUG",
        "-std=c++20",
        "--expt-relaxed-constexpr",
        "-Xptxas",
        "-v",
    ]
    command += [
        '-DSO3MD_INTERFACE_VERSION=""',
        f"-arch={architecture}",
        "-cubin",
        "-o",
        os.devnull,
        "-x",
        "cu",
        str(source),
    ]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode != 0:
        raise SystemExit(f"nvcc failed on {source.relative_to(ROOT)}:\n{run.stderr}")
    kernels = parse_report(run.stderr)
    for kernel, name in zip(kernels, readable([kernel["symbol"] for kernel in kernels]), strict=True):
        kernel["kernel"], kernel["file"] = name, str(source.relative_to(ROOT))
    return kernels


def notable(kernel: Kernel) -> bool:
    return kernel["spill_stores"] > 0 or kernel["registers"] >= NOTABLE_REGISTERS


def table(kernels: list[Kernel]) -> str:
    """The rows of docs/notes/gpu_counts.md."""
    lines = [
        "| kernel | registers | spill stores, bytes | spill loads, bytes | static shared memory, bytes |",
        "|---|---|---|---|---|",
    ]
    for kernel in sorted(filter(notable, kernels), key=lambda kernel: kernel["kernel"]):
        numbers = [kernel[key] for key in ("registers", "spill_stores", "spill_loads", "shared")]
        lines.append(f"| `{kernel['kernel']}` | " + " | ".join(map(str, numbers)) + " |")
    return "\n".join(lines)


def section(record: dict[str, Any]) -> str:
    """What stands between the markers."""
    kernels = record["kernels"]
    count = sum(map(notable, kernels))
    return (
        f"{record['compiler']}, for {record['architecture']}. The table has the {count} of {len(kernels)} kernels that "
        f"spill or take {NOTABLE_REGISTERS} registers or more.\nTemplate arguments of the attention: type, passes (one "
        "for each 128 channels), whether heads have the common width,\nwhether warps share the maps.\n\n"
        + table(kernels)
    )


def replace_section(page: str, text: str) -> str:
    """The page with the text between the markers."""
    begin, end = MARKERS
    if page.count(begin) != 1 or page.count(end) != 1:
        raise SystemExit(f"{PAGE.name}: expected one line {begin!r} and one line {end!r}")
    return page[: page.index(begin) + len(begin)] + f"\n\n{text}\n\n" + page[page.index(end) :]


def measure(architecture: str, jobs: int) -> dict[str, Any]:
    nvcc = os.environ.get("CUDACXX") or shutil.which("nvcc")
    if nvcc is None:
        raise SystemExit("nvcc was not found: install the CUDA toolkit, or set CUDACXX to the path of nvcc")
    version = re.search(
        r"release ([\d.]+)", subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=True).stdout
    )
    sources = sorted((ROOT / "csrc" / "cuda").glob("*.cu")) + sorted((ROOT / "csrc" / "cuda").glob("*/*.cu"))
    with ThreadPoolExecutor(jobs) as pool:
        found = [
            kernel
            for some in pool.map(lambda source: compile_source(nvcc, architecture, source), sources)
            for kernel in some
        ]
    # A template that several files use is compiled in each of them, and the linker keeps one.
    kernels = list({kernel.pop("symbol"): kernel for kernel in found}.values())
    return {"compiler": f"nvcc {version[1] if version else '?'}", "architecture": architecture, "kernels": kernels}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", default="sm_90", help="as nvcc's -arch; default: sm_90")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="files that are compiled at once")
    parser.add_argument("--print", action="store_true", help="print the table instead of writing files")
    options = parser.parse_args(arguments)
    record = measure(options.architecture, options.jobs)
    if options.print:
        print(section(record))
        return 0
    RESULTS.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(replace_section(PAGE.read_text(encoding="utf-8"), section(record)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
