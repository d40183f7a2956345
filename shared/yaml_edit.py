"""One value of a YAML document changed, and everything else as it was: comments, order, quotes and blank lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode

from shared.errors import Permanent
from shared.yaml_documents import merged


def with_value(text: str, key: Sequence[str], value: str) -> str:
    """The document with the scalar at `key` set to a plain value; a key that is not there is added.

    Raises Permanent where the document has something else there, or would not say exactly what was meant.
    """
    dotted = ".".join(key)
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        before = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise Permanent(f"the file is not valid YAML, so {dotted} cannot be set: {error}") from error
    if not isinstance(root, MappingNode) or not isinstance(before, dict):
        raise Permanent(f"the file holds no keys, so {dotted} cannot be set: look at it")
    changed = _set(text, root, tuple(key), value)
    meant: Any = yaml.safe_load(value)
    for name in reversed(key):
        meant = {name: meant}
    if yaml.safe_load(changed) != merged(before, meant):
        raise Permanent(f"{dotted} cannot be set to {value} without changing something else: edit the file by hand")
    return changed


def _set(text: str, mapping: MappingNode, key: tuple[str, ...], value: str) -> str:
    name, deeper = key[0], key[1:]
    node = next((node for known, node in mapping.value if known.value == name), None)
    if node is None:
        return _add(text, mapping, key, value)
    if deeper:
        if not isinstance(node, MappingNode):
            raise Permanent(f"{name} holds no keys, so {'.'.join(key)} cannot be set: look at the file")
        return _set(text, node, deeper, value)
    if not isinstance(node, ScalarNode):
        raise Permanent(f"{name} holds keys or a list, and a value was to be set: look at the file")
    return text[: _index(node)] + value + text[node.end_mark.index :]


def _add(text: str, mapping: MappingNode, key: tuple[str, ...], value: str) -> str:
    """The key as the mapping's first, written as its neighbours are."""
    name, deeper = key[0], key[1:]
    if mapping.flow_style:
        at = _index(mapping) + 1
        entry = value
        for part in reversed(key):
            entry = f"{part}: {entry}" if entry == value else f"{part}: {{{entry}}}"
        return f"{text[:at]}{entry}{', ' if mapping.value else ''}{text[at:]}"
    column, at = mapping.start_mark.column, _index(mapping)
    entry = f"{name}: {value}" if not deeper else f"{name}:"
    for depth, part in enumerate(deeper, start=1):
        last = depth == len(deeper)
        entry += f"\n{' ' * (column + 2 * depth)}{part}:{f' {value}' if last else ''}"
    return f"{text[:at]}{entry}\n{' ' * column}{text[at:]}"


def _index(node: Node) -> int:
    return int(node.start_mark.index)
