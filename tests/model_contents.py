"""Model files taken apart and put together again with something wrong in them, for the tests of the reader."""

from __future__ import annotations

import json
import struct
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from toy_models import make_toy_model

from so3md._engine import Model, ModelError
from so3md.model_file import ModelFile

MISSING = object()


@cache
def tiny_model() -> ModelFile:
    """A model of a few kilobytes that has every part a model can have."""
    return make_toy_model(
        num_features=6,
        num_heads=2,
        degrees=[1, 3],
        num_layers=1,
        radial_basis={"type": "gaussian", "size": 3},
        radial_hidden=3,
        spherical_hidden=2,
        residual_mlp_2=True,
    )


@cache
def tiny_raw() -> bytes:
    """The model file of `tiny_model`."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "tiny.safetensors"
        tiny_model().write(path)
        return path.read_bytes()


def refusal_message(path: Path, raw: bytes | None = None) -> str:
    """The message, without the path, with which a file is refused; an assertion fails if it is not.

    raw: what to write to the file first.
    """
    if raw is not None:
        path.write_bytes(raw)
    with pytest.raises(ModelError) as caught:
        Model(str(path))
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


def read_or_refuse(path: Path, raw: bytes) -> Model | None:
    """The model, or None if the reader refused it; any other exception passes through."""
    path.write_bytes(raw)
    try:
        return Model(str(path))
    except ModelError:
        return None


class Contents:
    """A model file taken apart, to be put together again with something wrong in it."""

    def __init__(self, raw: bytes) -> None:
        (length,) = struct.unpack("<Q", raw[:8])
        self.table: dict[str, Any] = json.loads(raw[8 : 8 + length])
        self.document: dict[str, Any] = json.loads(self.table.pop("__metadata__")["so3md"])
        self.data = bytearray(raw[8 + length :])

    def header(self) -> dict[str, Any]:
        return {"__metadata__": {"so3md": json.dumps(self.document)}, **self.table}

    def raw(self) -> bytes:
        return pack(json.dumps(self.header()), self.data)

    def set_number(self, name: str, index: int, value: float) -> None:
        struct.pack_into("<f", self.data, self.table[name]["data_offsets"][0] + 4 * index, value)


def pack(header: str | bytes, data: bytes = b"") -> bytes:
    header = header.encode() if isinstance(header, str) else header
    return struct.pack("<Q", len(header)) + header + data


def set_at(document: dict[str, Any], path: str, value: Any) -> None:
    *parents, key = path.split("/")
    for parent in parents:
        document = document[parent]
    if value is MISSING:
        del document[key]
    else:
        document[key] = value


def paths(value: Any, prefix: str = "") -> Iterator[str]:
    """The paths of everything in a document that has a fixed form."""
    for key, item in value.items():
        yield prefix + key
        if isinstance(item, dict) and key != "provenance":
            yield from paths(item, f"{prefix}{key}/")


def without(contents: Contents, name: str) -> Contents:
    """The file without a tensor, otherwise in order."""
    begin, end = contents.table.pop(name)["data_offsets"]
    del contents.data[begin:end]
    for entry in contents.table.values():
        if entry["data_offsets"][0] >= end:
            entry["data_offsets"] = [offset - (end - begin) for offset in entry["data_offsets"]]
    return contents
