"""The container of a model file: everything that is not a sound safetensors file is refused."""

from __future__ import annotations

import copy
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_contents import (
    Contents,
    pack,
    read_or_refuse,
    refusal_message,
    tiny_raw,
)


@pytest.fixture
def tiny() -> Contents:
    return Contents(tiny_raw())


@pytest.fixture
def refusal(tmp_path: Path) -> Callable[[bytes], str]:
    """A function that returns the message with which the bytes of a file are refused."""
    return partial(refusal_message, tmp_path / "altered.safetensors")


# What is not a model file


def test_missing_file(tmp_path: Path, refusal: Callable) -> None:
    assert "no such file" in refusal_message(tmp_path / "nowhere.safetensors")


def test_directory(tmp_path: Path, refusal: Callable) -> None:
    assert "found a directory" in refusal_message(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_named_pipe_is_refused_without_waiting(tmp_path: Path, refusal: Callable) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in refusal_message(tmp_path / "pipe")


@pytest.mark.parametrize("raw", [b"", b"x", b"\0" * 8, b"\0" * 100, b"This is a text about a model.\n" * 10])
def test_not_safetensors(raw: bytes, refusal: Callable) -> None:
    message = refusal(raw)
    assert "expected a safetensors file" in message
    assert "check the path" in message


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_is_sent_to_the_converter(protocol: int, refusal: Callable) -> None:
    assert "so3md convert" in refusal(pickle.dumps({"params": [1.0] * 50}, protocol))


def test_zip_is_sent_to_the_converter(tmp_path: Path, refusal: Callable) -> None:
    with zipfile.ZipFile(tmp_path / "torch.model", "w") as archive:
        archive.writestr("archive/data.pkl", b"")
    assert "so3md convert" in refusal_message(tmp_path / "torch.model")


def test_safetensors_file_of_something_else(tiny: Contents, refusal: Callable) -> None:
    message = 'expected the entry "so3md"'
    assert message in refusal(pack(json.dumps(tiny.table), tiny.data))
    assert message in refusal(pack(json.dumps({"__metadata__": {"format": "pt"}, **tiny.table}), tiny.data))


# Damaged files


def test_truncated_anywhere(refusal: Callable) -> None:
    for length in [*range(0, len(tiny_raw()), 97), len(tiny_raw()) - 1]:
        refusal(tiny_raw()[:length])


def test_truncated_so3lr(so3lr_path: Path, refusal: Callable) -> None:
    raw = so3lr_path.read_bytes()
    assert "truncated" in refusal(raw[: len(raw) // 2])


def test_longer_than_its_tensors(refusal: Callable) -> None:
    assert "to end at byte" in refusal(tiny_raw() + b"\0")


def test_altered_byte_of_the_header(tiny: Contents, tmp_path: Path) -> None:
    """A flipped bit may change a number or a text of the document, but a model that reads has its tensors in place."""
    masks = cycle([0x01, 0x20, 0x80, 0x04])
    for position in [*range(8), *range(8, len(tiny_raw()) - len(tiny.data), 5)]:
        raw = bytearray(tiny_raw())
        raw[position] ^= next(masks)
        model = read_or_refuse(tmp_path / "altered.safetensors", bytes(raw))
        if model is not None:
            assert position >= 8
            assert Contents(bytes(raw)).table == tiny.table


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_tensor_that_is_not_finite(value: float, tiny: Contents, refusal: Callable) -> None:
    for name, entry in tiny.table.items():
        altered = copy.deepcopy(tiny)
        last = int(np.prod(entry["shape"])) - 1
        altered.set_number(name, last, value)
        message = refusal(altered.raw())
        assert f'tensor "{name}": expected finite numbers' in message
        assert f"at index {last}" in message


# The header of the container


def test_huge_header(refusal: Callable) -> None:
    for length in (len(tiny_raw()), 1 << 40, (1 << 63) - 1, (1 << 64) - 8, (1 << 64) - 1):
        assert f"a header of {length} bytes" in refusal(struct.pack("<Q", length) + tiny_raw()[8:])


def test_header_that_fits_the_file_but_not_the_bound(tmp_path: Path, refusal: Callable) -> None:
    length = (16 << 20) + 1
    (tmp_path / "large").write_bytes(pack(b"{" + b" " * (length - 2) + b"}"))
    assert "a header may have 16777216" in refusal_message(tmp_path / "large")


@pytest.mark.parametrize(
    "header",
    [
        b"[]",
        b"{",
        b"{} {}",
        b"{}\0",
        b"{'a': 1}",
        b'{"a": NaN}',
        b'{"a": 1e999}',
        b'{"\xff": 1}',
        b'{"a": "\\ud800"}',
        b"{,}",
    ],
)
def test_header_that_is_not_a_json_object(header: bytes, refusal: Callable) -> None:
    message = refusal(pack(header))
    assert "not valid JSON" in message or "does not begin with {" in message


@pytest.mark.parametrize("opening", ['{"a":', "["])
def test_header_that_nests_deeply(opening: str, refusal: Callable) -> None:
    assert "nests deeper" in refusal(pack('{"a": ' + opening * 100_000))


@pytest.mark.parametrize("value", ["text", 1, None, [], {"so3md": {}}, {"so3md": None}])
def test_metadata_that_is_not_text(value: Any, tiny: Contents, refusal: Callable) -> None:
    assert "__metadata__" in refusal(pack(json.dumps({"__metadata__": value, **tiny.table}), tiny.data))


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        (None, "with exactly the keys"),
        ([], "with exactly the keys"),
        ({"dtype": "F32", "shape": [3]}, "with exactly the keys"),
        ({"dtype": "F32", "shape": [3], "data_offsets": [0, 12], "strides": [1]}, "with exactly the keys"),
        ({"dtype": "F16"}, 'expected the dtype F32 or F64, found "F16"'),
        ({"dtype": "I64"}, "expected the dtype F32 or F64"),
        ({"dtype": 32}, "expected the dtype F32 or F64, found 32"),
        ({"dtype": "F64"}, "bytes for the shape"),
        ({"shape": 3}, "expected a shape"),
        ({"shape": [-3]}, "expected a shape"),
        ({"shape": [3.0]}, "expected a shape"),
        ({"shape": [True]}, "expected a shape"),
        ({"shape": [1] * 9}, "expected a shape of at most 8"),
        ({"shape": [4]}, "expected 16 bytes"),
        ({"shape": [1 << 32, 1 << 32]}, "fits into memory"),
        ({"shape": [1 << 62, 4, 3]}, "fits into memory"),
        ({"shape": [(1 << 64) - 1]}, "fits into memory"),
        ({"shape": [1 << 70]}, "expected a shape"),
        ({"shape": [0, 1 << 63]}, "fits into memory"),
        ({"data_offsets": [0]}, "expected data_offsets"),
        ({"data_offsets": "0 12"}, "expected data_offsets"),
        ({"data_offsets": [12, 0]}, "expected data_offsets"),
        ({"data_offsets": [-12, 0]}, "expected data_offsets"),
        ({"data_offsets": [0, 12.0]}, "expected data_offsets"),
        ({"data_offsets": [1 << 40, (1 << 40) + 12]}, "expected data_offsets"),
        ({"data_offsets": [(1 << 64) - 12, (1 << 64) - 1]}, "expected data_offsets"),
    ],
)
def test_entry_of_the_tensor_table(entry: Any, problem: str, tiny: Contents, refusal: Callable) -> None:
    name = "energy.shift"
    assert tiny.table[name]["shape"] == [3]
    whole = not isinstance(entry, dict) or len(entry) > 1
    tiny.table[name] = entry if whole else tiny.table[name] | entry
    message = refusal(tiny.raw())
    assert f'tensor "{name}"' in message
    assert problem in message


def test_overlapping_tensors(tiny: Contents, refusal: Callable) -> None:
    tiny.table["energy.shift"]["data_offsets"] = tiny.table["energy.scale"]["data_offsets"]
    assert "they overlap another tensor" in refusal(tiny.raw())


def test_gap_between_tensors(tiny: Contents, refusal: Callable) -> None:
    begin = tiny.table["energy.shift"]["data_offsets"][0]
    tiny.data[begin:begin] = b"\0" * 4
    for entry in tiny.table.values():
        if entry["data_offsets"][0] >= begin:
            entry["data_offsets"] = [offset + 4 for offset in entry["data_offsets"]]
    assert "(a gap)" in refusal(tiny.raw())


@pytest.mark.parametrize("place", ["header", "entry", "document", "hyperparameters", "provenance"])
def test_key_that_occurs_twice(place: str, tiny: Contents, refusal: Callable) -> None:
    tiny.document["provenance"] = {"source": "here"}
    document = json.dumps(tiny.document)
    for within, key in (("document", '"name"'), ("hyperparameters", '"num_layers"'), ("provenance", '"source"')):
        if place == within:
            document = document.replace(key, f"{key}: 1, {key}", 1)
    header = json.dumps({"__metadata__": {"so3md": document}, **tiny.table})
    if place == "header":
        header = header.replace('"energy.scale"', '"energy.shift"')
    if place == "entry":
        header = header.replace('"dtype"', '"dtype": "F32", "dtype"', 1)
    assert "occurs twice" in refusal(pack(header, tiny.data))
