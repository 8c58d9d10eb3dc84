"""YAML from anyone: plain values only, with bounds, so that no text takes all memory or all stack.

Only imported where YAML is read: PyYAML comes with the extra `torch`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


class YamlError(ValueError):
    """A text that is not YAML, or too much of it."""


#: How deep keys and lists may lie in each other, and how many values there may be, aliases counted where they are used:
#: a few lines of nested aliases stand for more values than fit into any memory.
_DEEPEST, _MOST_VALUES = 50, 1_000_000


class _Loader(yaml.SafeLoader):
    """YAML without doubled keys, which plain YAML resolves in silence, and without bottomless nesting."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.depth += 1
        try:
            _refuse_depth(self.depth)
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value if key.tag != _MERGE]
        for key in keys:
            if keys.count(key) > 1:
                raise YamlError(f"{key}: the key stands twice, near line {node.start_mark.line + 1}")
        return super().construct_mapping(node, deep)


_MERGE = "tag:yaml.org,2002:merge"


def parse_yaml(text: str) -> Any:
    """The document in a text. Raises YamlError."""
    try:
        return _parse(text)
    except YamlError:
        raise
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # numbers and dates that are none raise the latter
        raise YamlError(f"not valid YAML ({error})") from error


def read_mapping(path: Path) -> dict[Any, Any]:
    """The keys and values of a file. Raises YamlError, naming it, for what has none, OSError if it cannot be read."""
    try:
        document = parse_yaml(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise YamlError(f"{path}: not valid YAML ({error})") from error
    except YamlError as error:
        raise YamlError(f"{path}: {error}") from error
    if not isinstance(document, dict):
        raise YamlError(f"{path}: expected keys and values, as in `key: value`, found {shown(document)}")
    return document


def shown(value: Any) -> str:
    """A value in a message."""
    try:
        text = "null" if value is None else repr(value)
    except ValueError:  # Python does not write out integers of thousands of digits
        return "a number of thousands of digits"
    return text if len(text) <= 80 else text[:77] + "..."


def _parse(text: str) -> Any:
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        size, _ = _extent(node, 1, {})
        if size > _MOST_VALUES:
            raise YamlError(f"expected at most {_MOST_VALUES} values, found more: aliases (*name) in each other")
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _extent(node: yaml.Node, level: int, known: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """Number of values and of levels of a node, with its aliases written out. Raises YamlError if there is no end."""
    found = known.get(id(node))
    if found is None:
        _refuse_depth(level)  # which also ends what contains itself
        children = node.value if isinstance(node, yaml.CollectionNode) else []
        if isinstance(node, yaml.MappingNode):
            children = [item for pair in node.value for item in pair]
        parts = [_extent(child, level + 1, known) for child in children]
        found = 1 + sum(size for size, _ in parts), 1 + max((depth for _, depth in parts), default=0)
        known[id(node)] = found
    _refuse_depth(level + found[1] - 1)
    return found


def _refuse_depth(depth: int) -> None:
    if depth > _DEEPEST:
        raise YamlError(f"expected keys and lists at most {_DEEPEST} levels deep in each other, found more")
