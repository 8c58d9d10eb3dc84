"""Sources of the converter, altered at random: whatever they are, they are converted, or refused with one line.

    python tests/converter_fuzzing.py --runs 100000 --seconds 3600 [--seed 1]

`scripts/fuzz --only converter` calls it, and test_convert.py with a small number. Valid sources, models of
so3krates-torch, of JAX and of the paper, are altered inside: their pickles opcode by opcode, their options value by
value, archives and files byte by byte. From an audit hook of the interpreter the program knows whether anything was
executed, opened outside of its folder, or sent.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import pickletools
import random
import re
import shutil
import sys
import tempfile
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from foreign_models import foreign_toy_model, jax_parameters, write_jax_model, write_torch_model

from so3md.convert import ConversionError, convert
from so3md.model_file import ModelFile

ELEMENTS = ["H", "C", "O"]
PAPER = Path(__file__).parent / "data" / "paper2022"

#: Longer ones fill a terminal.
LONGEST_MESSAGE = 2100

#: What no conversion needs: programs, code, connections, other pickles. Imports are over once every format was read.
_FORBIDDEN = re.compile(
    r"(os\.(system|exec|fork|forkpty|posix_spawn|spawn|kill)|subprocess\.|socket\.|exec$|compile$|pickle\.|ctypes\.)"
)

#: Values that an option may get, at the edges of what it can be.
_VALUES = (
    0,
    1,
    -1,
    2,
    3,
    10**30,
    0.5,
    -0.0,
    1e308,
    float("nan"),
    float("inf"),
    True,
    False,
    None,
    "",
    "silu",
    "gaussian",
    [],
    [1],
    [0, 1],
    {},
    {"a": 1},
)


class Faults(Exception):
    """What a source made the converter do."""


class Watch:
    """Whether something forbidden happens; the hook cannot be removed, so that it is told when to look."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self._folder: str | None = None
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._folder is None:
            return
        if _FORBIDDEN.match(event):
            self.seen.append(f"{event} {arguments!r:.200}")
        elif event == "open" and isinstance(arguments[0], str) and not arguments[0].startswith(self._folder):
            self.seen.append(f"open {arguments[0]}")

    @contextlib.contextmanager
    def over(self, folder: Path) -> Iterator[None]:
        """Look while the block runs; raises Faults."""
        self.seen, self._folder = [], str(folder)
        try:
            yield
        finally:
            self._folder = None
        if self.seen:
            raise Faults(f"the converter did what it must not: {'; '.join(self.seen[:5])}")


_watch: list[Watch] = []  # one for the process


def write_sources(folder: Path) -> list[Path]:
    """A valid source of each format."""
    folder.mkdir(parents=True, exist_ok=True)
    local = {"charge_head": None, "hirshfeld_head": None, "zbl": None, "electrostatics": None, "dispersion": None}
    return [
        write_torch_model(folder / "toy.model", foreign_toy_model()),
        write_torch_model(folder / "local.model", foreign_toy_model(**local)),
        write_jax_model(folder / "jax", *jax_parameters(foreign_toy_model())),
        write_jax_model(folder / "jax_local", *jax_parameters(foreign_toy_model(**local)), protocol=2),
    ]


# --- alterations ----------------------------------------------------------------------------------------------------


def altered_bytes(content: bytes, rng: random.Random) -> bytes:
    """A few bytes changed, left out or doubled; or the end cut off."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(data)) if data else 0
        what = rng.randrange(5)
        if what == 0 and data:
            data[place] ^= 1 << rng.randrange(8)
        elif what == 1 and data:
            data[place] = rng.randrange(256)
        elif what == 2:
            del data[place : place + rng.randint(1, 8)]
        elif what == 3:
            data[place:place] = data[rng.randrange(len(data) + 1) :][: rng.randint(1, 16)]
        else:
            del data[place:]
            break
    return bytes(data)


def altered_pickle(content: bytes, rng: random.Random) -> bytes:
    """One instruction left out, doubled, moved, replaced by another of the same pickle, or with another argument."""
    try:
        places = [place for _, _, place in pickletools.genops(content)]
    except Exception:  # not a whole pickle any more
        return altered_bytes(content, rng)
    ends = [*places[1:], len(content)]
    parts = [content[begin:end] for begin, end in zip(places, ends, strict=True)]
    number, other = rng.randrange(len(parts)), rng.randrange(len(parts))
    what = rng.randrange(6)
    if what == 0:
        del parts[number]
    elif what == 1:
        parts.insert(other, parts[number])
    elif what == 2:
        parts[number] = parts[other]
    elif what == 3:
        parts[number], parts[other] = parts[other], parts[number]
    elif what == 4:
        parts[number] = parts[number][:1] + altered_bytes(parts[number][1:], rng)
    else:
        parts[number] = rng.choice(
            (
                b"N",
                b"\x88",
                b"K\x05",
                b"]",
                b"}",
                b")",
                b"\x85",
                b"R",
                b"b",
                b"s",
                b"u",
                b"e",
                b"J\xff\xff\xff\xff",
                b"G\x7f\xf8\x00\x00\x00\x00\x00\x00",
            )
        )
    return b"".join(parts)


def altered_options(content: bytes, rng: random.Random) -> bytes:
    """One value of a JSON document becomes another, or a key is left out."""
    document = json.loads(content)
    place: Any = document
    while True:
        keys: list[Any] = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            return altered_bytes(content, rng)
        key = rng.choice(keys)
        if not isinstance(place[key], dict | list) or not place[key] or rng.random() < 0.2:
            break
        place = place[key]
    if rng.random() < 0.2:
        del place[key]
    else:
        place[key] = copy.deepcopy(rng.choice(_VALUES))
    return json.dumps(document).encode()


def altered_archive(content: bytes, rng: random.Random, folder: Path) -> bytes:
    """A member of a zip archive is altered, left out, or there twice."""
    path = folder / "archive.zip"
    path.write_bytes(content)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = (
        next(name for name in members if name.endswith("data.pkl")) if rng.random() < 0.7 else rng.choice(list(members))
    )
    if rng.random() < 0.05:
        del members[name]
    else:
        change = altered_pickle if name.endswith("data.pkl") and rng.random() < 0.8 else altered_bytes
        members[name] = change(members[name], rng)
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as archive:
        warnings.simplefilter("ignore")
        for member, data in members.items():
            archive.writestr(member, data)
        if rng.random() < 0.02:
            archive.writestr(name, members.get(name, b""))
    return path.read_bytes()


def altered(source: Path, target: Path, rng: random.Random) -> None:
    """Write an altered copy of a source."""
    if source.is_dir():
        shutil.copytree(source, target)
        file = target / rng.choice(sorted(path.name for path in source.iterdir()))
        change: Callable[[bytes, random.Random], bytes] = altered_pickle if file.suffix == ".pkl" else altered_options
        change = change if rng.random() < 0.85 else altered_bytes
        file.write_bytes(change(file.read_bytes(), rng))
        return
    content = source.read_bytes()
    whole = rng.random() < 0.1
    target.write_bytes(altered_bytes(content, rng) if whole else altered_archive(content, rng, target.parent))


# --- the campaign ---------------------------------------------------------------------------------------------------


def attempt(source: Path, folder: Path) -> str:
    """Convert it; returns what came of it: "converted" or "refused". Raises Faults for anything else."""
    output = folder / "out.safetensors"
    output.unlink(missing_ok=True)
    try:
        with _watch[0].over(folder), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            convert(source, output, elements=ELEMENTS)
    except (ConversionError, FileNotFoundError) as error:
        message = str(error)
        if "\n" in message or len(message) > LONGEST_MESSAGE or not message.isprintable():
            raise Faults(f"the message is not one line that can be shown: {message[:300]!r}") from error
        if output.exists():
            raise Faults("a source was refused and its model is there") from error
        return "refused"
    except Faults:
        raise
    except Exception as error:
        raise Faults(f"{type(error).__name__} instead of ConversionError: {error}") from error
    ModelFile.read(output)
    return "converted"


def fuzz(runs: int, seconds: float, seed: int, folder: Path) -> Counter[str]:
    """So many altered sources, in a time; counts what came of them. Raises Faults, the source being kept."""
    if not _watch:
        _watch.append(Watch())
    folder = folder.resolve()
    sources, counts, end = write_sources(folder / "sources"), Counter[str](), time.monotonic() + seconds
    for source in sources:
        convert(source, folder / "out.safetensors", elements=ELEMENTS)  # imports what converting needs
        ModelFile.read(folder / "out.safetensors")
    for run in range(runs):
        if time.monotonic() > end:
            break
        rng = random.Random(f"{seed} {run}")
        source = rng.choice(sources)
        work = folder / "work"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        target = work / source.name
        altered(source, target, rng)
        try:
            counts[attempt(target, work)] += 1
        except Faults as fault:
            kept = folder / f"failed-{seed}-{run}"
            shutil.copytree(work, kept, dirs_exist_ok=True)
            raise Faults(f"{fault}; in {kept}") from fault
    return counts


def main() -> int:
    """The campaign of scripts/fuzz."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0, help="0: another one each time")
    parser.add_argument("--folder", type=Path, help="where an input that failed is kept")
    options = parser.parse_args()
    seed = options.seed or random.randrange(1, 2**31)
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        try:
            counts = fuzz(options.runs, options.seconds, seed, folder)
        except Faults as fault:
            print(f"SUMMARY: converter: {fault}", flush=True)
            return 1
    inputs, took = sum(counts.values()), round(time.monotonic() - started)
    print(f"Done {inputs} runs in {took} second(s): {dict(counts)}, seed {seed}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
