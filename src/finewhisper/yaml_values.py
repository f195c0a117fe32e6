"""YAML that a user writes, within bounds: equal keys, nesting without end and references that multiply are told, not obeyed."""

from __future__ import annotations

from typing import Any

import yaml

_LARGEST = 1 << 20  # bytes of a file
_DEEPEST = 30
#: Values once all references are written out; a file of a kilobyte can stand for billions.
_MOST_VALUES = 100_000


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with a bound on depth, and without equal keys of which the last wins in silence."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise yaml.MarkedYAMLError(problem=f"nested more than {_DEEPEST} deep", problem_mark=self.get_mark())
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if (key.tag, key.value) in seen:
                    raise yaml.MarkedYAMLError(problem=f"the key {key.value!r} is there twice", problem_mark=key.start_mark)
                seen.add((key.tag, key.value))
        content: dict[Any, Any] = super().construct_mapping(node, deep)
        return content


def parse(content: bytes) -> Any:
    """The values of a file.

    Raises:
        ValueError: a sentence without the file's name; its attribute ``line`` is the line, or None where it is the whole file's.
    """
    if len(content) > _LARGEST:
        raise _fault(f"has {len(content):,} bytes, more than options take")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _fault(f"is not UTF-8 ({error.reason} at byte {error.start}); save the file as UTF-8") from error
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _require_bounded(node)
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error).replace("\n", " ")
        raise _fault(f"is not YAML: {problem}", mark.line + 1 if mark else None) from error
    except (
        ValueError,
        TypeError,
        ArithmeticError,
        AttributeError,
        LookupError,
        RecursionError,
    ) as error:  # of a number or a date that is none
        raise _fault(f"is not YAML: {error}") from error


def _fault(sentence: str, line: int | None = None) -> ValueError:
    error = ValueError(sentence)
    error.line = line  # type: ignore[attr-defined]
    return error


def _require_bounded(root: yaml.Node) -> None:
    """Refuse a graph of nodes that holds itself, that is endless when written out, or that no file can hold. Raises: YAMLError."""
    sizes: dict[int, int] = {}
    open_: set[int] = set()

    def size(node: yaml.Node) -> int:
        known = sizes.get(id(node))
        if known is not None:
            return known
        if id(node) in open_:
            raise yaml.MarkedYAMLError(problem="a value holds itself", problem_mark=node.start_mark)
        open_.add(id(node))
        if isinstance(node, yaml.ScalarNode) and any("\ud800" <= letter <= "\udfff" for letter in node.value):
            raise yaml.MarkedYAMLError(problem="half a surrogate pair is no character", problem_mark=node.start_mark)
        parts = node.value if isinstance(node, yaml.SequenceNode) else ()
        if isinstance(node, yaml.MappingNode):
            parts = [part for pair in node.value for part in pair]
        total = 1 + sum(map(size, parts))
        open_.discard(id(node))
        if total > _MOST_VALUES:
            raise yaml.MarkedYAMLError(problem=f"stands for more than {_MOST_VALUES:,} values", problem_mark=node.start_mark)
        sizes[id(node)] = total
        return total

    size(root)
