"""JSON that users, their scripts and other programs write, within bounds. What is wrong with it is a sentence.

Python's reader keeps the last of two equal keys in silence, passes on halves of surrogate pairs that no file can hold afterwards, and ends
deep nesting with a RecursionError.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_LARGEST = 1 << 28  # bytes of a file; the largest of a model are some megabytes
_DEEPEST = 100


class Reader:
    """A decoder that knows which keys the last value repeated."""

    def __init__(self) -> None:
        self._repeated: list[str] = []
        self._decoder = json.JSONDecoder(object_pairs_hook=self._object)

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        content = dict(pairs)
        if len(content) < len(pairs):
            values: dict[str, list[Any]] = {}
            for key, value in pairs:
                values.setdefault(key, []).append(value)
            self._repeated += [
                f"has the key {key!r} {len(found)} times ({', '.join(map(_short, found))}); keep one"
                for key, found in values.items()
                if len(found) > 1
            ]
        return content

    def value(self, text: str, at: int) -> tuple[Any, int, list[str]]:
        """The value that begins at ``at``, where it ends, and what is wrong with it. Raises: ValueError, RecursionError."""
        self._repeated = []
        content, end = self._decoder.raw_decode(text, at)
        return content, end, self._repeated

    def whole(self, text: str) -> tuple[Any, list[str]]:
        """The only value of ``text``, and what is wrong with it. Raises: ValueError, RecursionError."""
        self._repeated = []
        return self._decoder.decode(text), self._repeated


def read(path: Path) -> Any:
    """The value that a file holds.

    Raises:
        ValueError: a sentence without the file's name.
        OSError: the file cannot be read.
    """
    size = path.stat().st_size
    if size > _LARGEST:
        raise ValueError(f"has {size:,} bytes, too many for such a file")
    return parse(path.read_bytes())


def parse(content: str | bytes) -> Any:
    """The value that ``content`` holds, UTF-8 with or without a byte-order mark. Raises: ValueError: a sentence that lacks its subject."""
    try:
        text = content if isinstance(content, str) else content.decode("utf-8-sig")
        value, faults = Reader().whole(text)
    except UnicodeDecodeError as error:
        raise ValueError(not_utf8(error)) from error
    except (ValueError, RecursionError) as error:
        raise ValueError(not_json(error)) from error
    if faults:
        raise ValueError(faults[0])
    _require_shallow(value)
    if "\\u" in text:  # only an escape can stand for half a surrogate pair
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise ValueError("holds half a surrogate pair, which is no character") from error
    return value


def not_utf8(error: UnicodeDecodeError) -> str:
    """What is wrong with bytes that are no text."""
    return f"is not UTF-8 ({error.reason} at byte {error.start}); save the file as UTF-8"


def not_json(error: Exception) -> str:
    """What is wrong with a text that Python's reader refused."""
    if isinstance(error, RecursionError):
        return "is not JSON (nested too deeply)"
    return f"is not JSON ({error if isinstance(error, json.JSONDecodeError) else 'a number has more than 4300 digits'})"


def _require_shallow(value: Any) -> None:
    level = [value]
    for _ in range(_DEEPEST):
        parts = (part for one in level for part in (one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()))
        level = [part for part in parts if isinstance(part, (dict, list))]
        if not level:
            return
    raise ValueError(f"is not JSON (nested more than {_DEEPEST} deep)")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
