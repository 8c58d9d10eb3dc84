"""Fuzzing of the reader of model files: whatever the bytes are, it reads or raises ModelError."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_contents import (
    Contents,
    pack,
    paths,
    read_or_refuse,
    set_at,
    tiny_model,
    tiny_raw,
)

from so3md.model_file import ModelFile, ModelFileError


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that every example overwrites."""
    return tmp_path_factory.mktemp("fuzz") / "altered.safetensors"


EDITS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.integers(0, 1 << 20), st.binary(min_size=1, max_size=8)),
        st.tuples(st.just("insert"), st.integers(0, 1 << 20), st.binary(min_size=1, max_size=64)),
        st.tuples(st.just("delete"), st.integers(0, 1 << 20), st.integers(1, 4096)),
        st.tuples(st.just("copy"), st.integers(0, 1 << 20), st.integers(0, 1 << 20)),
    ),
    min_size=1,
    max_size=6,
)


def edit(raw: bytes, edits: list[tuple], within: int) -> bytes:
    """Bytes with random edits, all of them among the first `within`, where most of what matters is."""
    out = bytearray(raw)
    for kind, place, argument in edits:
        at = place % min(within, max(len(out), 1))
        if kind == "set":
            out[at : at + len(argument)] = argument
        elif kind == "insert":
            out[at:at] = argument
        elif kind == "delete":
            del out[at : at + argument]
        else:
            out[at : at + 32] = out[argument % max(len(out), 1) :][:32]
    return bytes(out)


@settings(max_examples=500, deadline=None)
@given(edits=EDITS, anywhere=st.booleans(), repair=st.booleans())
def test_random_edits(scratch: Path, edits: list[tuple], anywhere: bool, repair: bool) -> None:
    """With `repair` the edits stay in the header and its length is made right, so that they reach the JSON reader."""
    raw = tiny_raw()
    header_length = struct.unpack("<Q", raw[:8])[0]
    header, data = raw[8 : 8 + header_length], raw[8 + header_length :]
    if repair:
        raw = pack(edit(header, edits, header_length), data)
    else:
        raw = edit(raw, edits, len(raw) if anywhere else header_length)
    read_or_refuse(scratch, raw)


@settings(max_examples=200, deadline=None)
@given(raw=st.binary(max_size=300), framed=st.booleans())
def test_random_bytes(scratch: Path, raw: bytes, framed: bool) -> None:
    assert read_or_refuse(scratch, pack(b"{" + raw) if framed else raw) is None


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.integers(-2, 40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "silu", "phys", "cosine", "gaussian", "constant", "none", "eV", "hidden"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "size", "hidden", "value", "sigma", "gamma", "x"]), inner, max_size=3
        )
    ),
    max_leaves=4,
)
TINY_PATHS = [path for path in paths(tiny_model().document) if path != "provenance"]


@settings(max_examples=500, deadline=None)
@given(changes=st.dictionaries(st.sampled_from(TINY_PATHS), JSON_VALUES, min_size=1, max_size=2))
def test_the_readers_of_python_and_engine_agree(scratch: Path, changes: dict[str, Any]) -> None:
    """The format is checked twice, by the Python package and by the engine: what one takes the other must take."""
    contents = Contents(tiny_raw())
    for path in sorted(changes, key=lambda path: -path.count("/")):
        set_at(contents.document, path, changes[path])
    engine_reads = read_or_refuse(scratch, contents.raw()) is not None
    try:
        ModelFile.read(scratch)
        python_reads = True
    except ModelFileError:
        python_reads = False
    assert engine_reads == python_reads
