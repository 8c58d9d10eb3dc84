"""Fuzzing of the reader of model files: whatever the bytes are, it reads or raises ModelError."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable
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


def both_read(path: Path, raw: bytes) -> bool:
    """Whether the engine reads a file; the Python package must say the same of it."""
    engine_reads = read_or_refuse(path, raw) is not None
    try:
        ModelFile.read(path)
        python_reads = True
    except ModelFileError:
        python_reads = False
    assert engine_reads == python_reads, f"the engine {'takes' if engine_reads else 'refuses'} it, Python does not"
    return engine_reads


@settings(max_examples=500, deadline=None)
@given(changes=st.dictionaries(st.sampled_from(TINY_PATHS), JSON_VALUES, min_size=1, max_size=2))
def test_the_readers_of_python_and_engine_agree(scratch: Path, changes: dict[str, Any]) -> None:
    """The format is checked twice, by the Python package and by the engine: what one takes the other must take."""
    contents = Contents(tiny_raw())
    for path in sorted(changes, key=lambda path: -path.count("/")):
        set_at(contents.document, path, changes[path])
    both_read(scratch, contents.raw())


@settings(max_examples=300, deadline=None)
@given(edits=EDITS)
def test_they_agree_on_random_edits_of_the_header(scratch: Path, edits: list[tuple]) -> None:
    raw = tiny_raw()
    header_length = struct.unpack("<Q", raw[:8])[0]
    both_read(scratch, pack(edit(raw[8 : 8 + header_length], edits, header_length), raw[8 + header_length :]))


@settings(max_examples=300, deadline=None)
@given(edits=EDITS)
def test_they_agree_on_random_edits_of_the_document(scratch: Path, edits: list[tuple]) -> None:
    contents = Contents(tiny_raw())
    text = json.dumps(contents.document).encode()
    both_read(scratch, with_document(contents, edit(text, edits, len(text)).decode(errors="replace")))


def with_document(contents: Contents, text: str) -> bytes:
    """The file with another text as its document."""
    header = {"__metadata__": {"so3md": text}, **contents.table}
    return pack(json.dumps(header), contents.data)


#: Numbers as a text may have them, of which JSON readers think differently.
NUMBERS = (
    *(
        "0",
        "-0",
        "-0.0",
        "1.0",
        "1e0",
        "1E5",
        "1e5",
        "3",
        "3.0",
        "0.3e1",
        "1e400",
        "-1e400",
        "1e-400",
        "5e-324",
        "1e308",
    ),
    *("18446744073709551615", "18446744073709551616", "-9223372036854775808", "-9223372036854775809", "9" * 25),
    *("9" * 400, "9" * 5000, "1" + "0" * 308, "0." + "0" * 400 + "1", "NaN", "Infinity", "-Infinity", "nan"),
    *("+1", "01", "-01", ".5", "1.", "1.e3", "-", "1e", "0x10", "1_000", "\u0661", "\uff11", "true", "null", '"3"'),
)

#: Texts in the same way, without their quotes.
TEXTS = (
    *(r"\ud800", r"\udc00", r"\udc00\ud800", r"\ud83d\ude00", r"\ud800\u0041", r"\uD800\uDBFF", r"\u0000", r"\ufeff"),
    *("\u0000", "\u0001", "\t", "\n", "\u007f", "\u2028", "\U0001f600", r"\x41", r"\u00", r"\/", "\ufffd", "\ufeff"),
)

PLACES = ("cutoff", "num_layers", "degrees", "switch_on", "hidden", "elements", "provenance", "name", "format_version")


@pytest.mark.parametrize("form", ["{}", "[{}]", '{{"x": {}}}'])
@pytest.mark.parametrize("place", PLACES)
def test_they_agree_on_every_spelling_of_a_number(scratch: Path, place: str, form: str) -> None:
    contents = Contents(tiny_raw())
    value = rf'(?<="{place}": )(?:\[[^]]*\]|\{{[^}}]*\}}|"[^"]*"|[^,}}]*)'
    before, after = re.split(value, json.dumps(contents.document), maxsplit=1)
    taken = {
        number
        for number in NUMBERS
        if both_read(scratch, with_document(contents, before + form.format(number) + after))
    }
    assert not taken & {"1e400", "-1e400", "9" * 400, "9" * 5000, "NaN", "+1", "01", ".5", "1.", "0x10", "\u0661"}
    if (place, form) in (("cutoff", "{}"), ("provenance", '{{"x": {}}}')):
        assert {"3", "3.0", "0.3e1", "1.0", "1e0"} <= taken


@pytest.mark.parametrize("place", ["name", "license", "provenance", "citation"])
def test_they_agree_on_every_spelling_of_a_text(scratch: Path, place: str) -> None:
    contents = Contents(tiny_raw())
    forms = {"name": '"{}"', "license": '"{}"', "provenance": '{{"{}": "{}"}}', "citation": '["{}"]'}
    contents.document[place] = "PLACE"
    text = json.dumps(contents.document)
    taken = set()
    for part in TEXTS:
        spelt = forms[place].replace("{}", part).replace("{{", "{").replace("}}", "}")
        if both_read(scratch, with_document(contents, text.replace('"PLACE"', spelt))):
            taken.add(part)
    assert r"\ud83d\ude00" in taken
    assert "\U0001f600" in taken
    assert not taken & {r"\ud800", r"\udc00", r"\udc00\ud800", "\u0000", "\t", r"\x41"}


@pytest.mark.parametrize("depth", [28, 30, 31, 32, 33, 34, 100, 20_000])
def test_they_agree_on_how_deep_a_document_may_be(scratch: Path, depth: int) -> None:
    contents = Contents(tiny_raw())
    contents.document["provenance"] = {"x": "PLACE"}
    text = json.dumps(contents.document)
    for nested in ("[" * depth + "]" * depth, "[" * depth + "1" + "]" * depth, '{"x":' * depth + "1" + "}" * depth):
        assert (
            both_read(scratch, with_document(contents, text.replace('"PLACE"', nested))) == (depth <= 30) or depth == 31
        )


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "\ufeff" + text,
        lambda text: text + "\u0000",
        lambda text: text + " \n\t\r",
        lambda text: text + "\u00a0",
        lambda text: text + ",",
        lambda text: text + "{}",
        lambda text: text.replace('"name"', '"name": "a", "name"', 1),
        lambda text: text.replace('"name"', '"na\\u006de": "a", "name"', 1),
        lambda text: text.replace('"provenance": {', '"provenance": {"a": 1, "a": 2, ', 1).replace("2, }", "2}"),
        lambda text: text.replace("{", "{ /* c */", 1),
        lambda text: text.replace("}", ",}", 1),
        lambda text: text.replace('"', "'"),
        lambda text: f"[{text}]",
        lambda text: "null",
        lambda text: "",
    ],
)
def test_they_agree_on_the_form_of_a_document(scratch: Path, change: Callable[[str], str]) -> None:
    contents = Contents(tiny_raw())
    text = json.dumps(contents.document)
    assert change(text) != text
    both_read(scratch, with_document(contents, change(text)))


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace('"dtype"', '"dtype": "F32", "dtype"', 1),
        lambda text: text.replace('"dtype"', '"more": 1, "dtype"', 1),
        lambda text: text.replace('"F32"', '"BF16"', 1),
        lambda text: text.replace('"F32"', '"f32"', 1),
        lambda text: text.replace('"shape": [', '"shape": [-0, ', 1),
        lambda text: text.replace('"shape": [', '"shape": [1.0, ', 1),
        lambda text: text.replace('"data_offsets": [0', '"data_offsets": [-0', 1),
        lambda text: text.replace('"data_offsets": [0', '"data_offsets": [0.0', 1),
        lambda text: text.replace('{"__metadata__"', '{"__metadata__": {"so3md": "x"}, "__metadata__"', 1),
        lambda text: text.replace('{"__metadata__": {', '{"__metadata__": {"other": "\\ud800", ', 1),
        lambda text: text.replace('{"__metadata__": {', '{"__metadata__": {"other": 3, ', 1),
        lambda text: text.replace('{"__metadata__": {', '{"__metadata__": {"other": "\\u0000", ', 1),
        lambda text: " " + text,
        lambda text: "\ufeff" + text,
        lambda text: text + " ",
        lambda text: text + "\u0000",
    ],
)
def test_they_agree_on_the_form_of_a_header(scratch: Path, change: Callable[[str], str]) -> None:
    contents = Contents(tiny_raw())
    text = json.dumps(contents.header())
    assert change(text) != text
    both_read(scratch, pack(change(text), contents.data))


def test_they_agree_on_a_tensor_that_occurs_twice(scratch: Path) -> None:
    contents = Contents(tiny_raw())
    text = json.dumps(contents.header())
    name, entry = next(iter(contents.table.items()))
    assert not both_read(scratch, pack(text[:-1] + f", {json.dumps(name)}: {json.dumps(entry)}}}", contents.data))


@pytest.mark.parametrize("value", [0.0, -0.0, -1.0, float("inf"), float("nan"), 1e-40, 3e38])
def test_they_agree_on_the_numbers_of_every_tensor(scratch: Path, value: float) -> None:
    for name in Contents(tiny_raw()).table:
        contents = Contents(tiny_raw())
        contents.set_number(name, 0, value)
        both_read(scratch, contents.raw())
