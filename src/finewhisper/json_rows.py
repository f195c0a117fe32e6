"""JSON that people and their scripts write: one object a line, or one array of objects. What is wrong with a line is a sentence."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from finewhisper.json_values import Reader, not_json, not_utf8

_SPACE = re.compile(r"[ \t\r\n]*")
_BOM = b"\xef\xbb\xbf"


def rows(raw: bytes) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Line numbers, each with its object or with what is wrong there; tolerant of a byte-order mark, CRLF and blank lines.

    A file that is one JSON array gives its objects with the lines that they begin in.
    """
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        yield 1, "is UTF-16, not UTF-8; save the file as UTF-8"
        return
    content = raw.removeprefix(_BOM)
    reader = Reader()
    if content.lstrip().startswith(b"["):
        yield from _array(content, reader)
        return
    for number, line in enumerate(content.split(b"\n"), start=1):
        if line.strip():
            yield from _line(number, line, reader)


def _line(number: int, raw: bytes, reader: Reader) -> Iterator[tuple[int, dict[str, Any] | str]]:
    try:
        text = raw.decode("utf-8")
        value, end, faults = reader.value(text, _skip(text, 0))
        if text[end:].strip():
            raise json.JSONDecodeError("Extra data", text, end)
    except UnicodeDecodeError as error:
        yield number, not_utf8(error)
    except (ValueError, RecursionError) as error:
        yield number, not_json(error)
    else:
        yield from ((number, fault) for fault in faults)
        if not faults:
            yield number, _object(value)


def _array(raw: bytes, reader: Reader) -> Iterator[tuple[int, dict[str, Any] | str]]:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        yield 1 + raw.count(b"\n", 0, error.start), not_utf8(error)
        return
    line, counted, at = 1, 0, _skip(text, text.index("[") + 1)
    first = True
    while True:
        line, counted = line + text.count("\n", counted, at), at
        if text.startswith("]", at):
            break
        try:
            if not first:
                if not text.startswith(",", at):
                    raise json.JSONDecodeError("Expecting ',' delimiter", text, at)
                at = _skip(text, at + 1)
                line, counted = line + text.count("\n", counted, at), at
            value, end, faults = reader.value(text, at)
        except (ValueError, RecursionError) as error:
            yield line, f"{not_json(error)}; the rest of the array cannot be read"
            return
        for fault in faults:
            yield line, fault
        if not faults:
            yield line, _object(value)
        first, at = False, _skip(text, end)
    if text[at + 1 :].strip():
        yield line, "has text after the array's end; write one object a line, or one array"


def _object(value: object) -> dict[str, Any] | str:
    if isinstance(value, dict):
        return value
    return f'is {type(value).__name__}, not an object like {{"audio": …, "sentence": …}}'


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at
