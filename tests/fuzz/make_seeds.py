"""What the fuzzers start from: valid model files of a few kilobytes, their documents, short tables of tensors, and a
dictionary of the words in them.

    python tests/fuzz/make_seeds.py FOLDER DICTIONARY

Both are made by the same code as the models of the tests, so that they are never older than the format.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from model_contents import Contents, pack
from toy_models import VARIANTS, VARIANTS_2022, VARIANTS_2023, VARIANTS_SO3LR2, make_toy_model, toy_hyperparameters

from so3md.model_file import PAPER_2022, SO3KRATES, ModelFile

#: Numbers at the edges of what the reader takes.
_NUMBERS = (
    "-0",
    "-1",
    "1e-15",
    "1e15",
    "1e308",
    "1e-320",
    "65536",
    "65537",
    "18446744073709551615",
    "9223372036854775808",
)

_VARIANTS = {SO3KRATES: VARIANTS | VARIANTS_2023 | VARIANTS_SO3LR2, PAPER_2022: VARIANTS_2022}


def smallest(architecture: str, name: str) -> ModelFile:
    """The variant with as few numbers as it can have."""
    hyper = toy_hyperparameters(architecture, **_VARIANTS[architecture][name])
    hyper |= {"num_features": 1, "num_heads": 1, "num_layers": 1, "radial_hidden": 1, "spherical_hidden": 1}
    repeated = len(set(hyper["degrees"])) < len(hyper["degrees"])
    hyper |= {"degrees": [1, 1], "num_features": 2} if repeated else {"degrees": hyper["degrees"][:1]}
    hyper["radial_basis"]["size"] = 2
    for head in hyper.keys() & {"energy_head", "charge_head", "hirshfeld_head", "c6_head"}:
        for width in (hyper[head] or {}).keys() & {"hidden", "size"}:
            hyper[head][width] = min(hyper[head][width], 1)
    elements = [1, 8] if name == "default" else [1]
    return make_toy_model(seed=1, elements=elements, architecture=architecture, **hyper)


def seeds() -> Iterator[tuple[str, ModelFile]]:
    """Name and content of every seed."""
    for architecture, variants in _VARIANTS.items():
        for name in variants:
            yield f"{architecture}_{name}", smallest(architecture, name)


def texts(value: Any) -> Iterator[str]:
    """Every key and every text in JSON."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)


def words(path: Path) -> set[str]:
    """The words of a model file: keys, choices, names of tensors."""
    contents = Contents(path.read_bytes())
    return {text for text in (*texts(contents.header()), *texts(contents.document)) if text and len(text) < 40}


def tables() -> Iterator[tuple[str, bytes]]:
    """Short files with tensors, which are not models."""
    for name, count, dtype in (("none", 0, "F32"), ("float", 1, "F32"), ("double", 2, "F64"), ("empty", 3, "F32")):
        size = 8 if dtype == "F64" else 4
        shape = [0, 2] if name == "empty" else [1]
        bytes_of_one = 0 if name == "empty" else size
        table = {
            f"t{k}": {"dtype": dtype, "shape": shape, "data_offsets": [k * bytes_of_one, (k + 1) * bytes_of_one]}
            for k in range(count)
        }
        header = {"__metadata__": {"so3md": "{}"}, **table}
        yield name, pack(json.dumps(header, separators=(",", ":")), bytes(count * bytes_of_one))


def main(folder: Path, dictionary: Path) -> None:
    for kind in ("tables", "documents", "models"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    found = set(_NUMBERS)
    for name, raw in tables():
        (folder / "tables" / name).write_bytes(raw)
    for name, model in seeds():
        path = folder / "models" / name
        model.write(path)
        found |= words(path)
        document = Contents(path.read_bytes()).document
        (folder / "documents" / name).write_text(json.dumps(document, separators=(",", ":")), encoding="utf-8")
    dictionary.write_text("".join(f"{json.dumps(word)}\n" for word in sorted(found)), encoding="ascii")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
