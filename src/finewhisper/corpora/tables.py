"""Tables as people, spreadsheets and other tools write them, row by row with their lines; a row in doubt is a problem and never half read.

Commas and semicolons separate by the rules of CSV; between tabs and bars quotation marks are text, as in Common Voice and LJSpeech, unless
they are those that Excel puts around cells. Every row must have as many cells as the header.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finewhisper import json_rows
from finewhisper.errors import CorpusError
from finewhisper.files import given_bytes

Row = Mapping[str, Any]
#: The names of columns that a header lacks; empty where names are those of a header.
Missing = Callable[[Sequence[str]], str]

_DELIMITERS = "\t,;|"
_LITERAL = "\t|"  # between these a quotation mark is a character like any other
_WRAPPED = re.compile(r'"(?:[^"]|"")*"')
_ADVICE = "put texts that hold the separator into quotation marks, or take tabs (.tsv)"


@dataclass(frozen=True)
class _Line:
    """The cells of a row and the lines of the file that it fills."""

    first: int
    last: int
    cells: list[str]


def rows(table: Path, missing: Missing, problems: list[str]) -> Iterator[tuple[int, Row]]:
    """The rows of a table by column name, each with the line that it begins in; what is wrong with others is collected.

    Args:
        missing: says which columns a header lacks.

    Raises:
        CorpusError: the table as a whole cannot be read, or it cannot be known where its rows end.
    """
    try:
        raw = given_bytes(table)
    except OSError as error:
        raise CorpusError(f"{table}: cannot be read ({error.strerror})") from None
    if table.suffix.lower() in {".jsonl", ".json"}:
        if not raw.strip():
            raise CorpusError(f"{table}: is empty; write a row for each recording")
        for number, row in json_rows.rows(raw):
            if isinstance(row, str):
                problems.append(f"{table}:{number}: {row}")
            else:
                yield number, row
        return
    yield from _named(table, _text(table, raw), missing, problems)


def _text(table: Path, raw: bytes) -> str:
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise CorpusError(f"{table}: is not UTF-8 but UTF-16, as Excel writes 'Unicode text'; save it as 'CSV UTF-8'")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CorpusError(f"{table}: is not UTF-8 ({error.reason} at byte {error.start}); save the file as UTF-8") from None
    if "\0" in text:
        line = 1 + text.count("\n", 0, text.index("\0"))
        raise CorpusError(f"{table}:{line}: holds a NUL, which no text does; is the file damaged, or UTF-16? Save it as UTF-8")
    if not text.strip():
        raise CorpusError(f"{table}: is empty; write a row for each recording")
    return text


def _named(table: Path, text: str, missing: Missing, problems: list[str]) -> Iterator[tuple[int, Row]]:
    first = next(line for line in io.StringIO(text, newline=None) if line.strip()).rstrip("\n")
    known = (mark for mark in _DELIMITERS if not missing(_names(_parsed(first, mark))))
    delimiter = next(known, "|" if "|" in first else max("\t,;", key=first.count))
    lines = [line for line in _lines(table, text, delimiter, problems) if any(cell.strip() for cell in line.cells)]
    if delimiter in _LITERAL:
        _unwrap(lines)
    names = _names(lines[0].cells) if lines else []
    if not missing(names):
        lines = lines[1:]
        _require_distinct(table, names)
    elif delimiter == "|" and lines:
        names = _headerless(table, lines)
    else:
        raise CorpusError(f"{table}:1: has no column {missing(names)}; its columns are {', '.join(filter(None, names))}")
    for line in lines:
        problem = _doubt(line, names)
        if problem:
            problems.append(f"{table}:{line.first}: {problem}")
        else:
            yield line.first, dict(zip(names, line.cells, strict=False))


def _parsed(line: str, delimiter: str) -> list[str]:
    try:
        return next(_reader(io.StringIO(line, newline=""), delimiter), [])
    except csv.Error:
        return []


def _reader(stream: io.StringIO, delimiter: str) -> Any:
    if delimiter in _LITERAL:
        return csv.reader(stream, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    return csv.reader(stream, delimiter=delimiter, skipinitialspace=True, strict=True)


def _names(cells: Sequence[str]) -> list[str]:
    return [cell.strip().strip('"').strip() for cell in cells]


def _lines(table: Path, text: str, delimiter: str, problems: list[str]) -> Iterator[_Line]:
    reader = _reader(io.StringIO(text, newline=""), delimiter)
    while True:
        first = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if reader.line_num > first or "unexpected end" in str(error):
                reach = f"{first} to {reader.line_num}" if reader.line_num > first else str(first)
                raise CorpusError(
                    f"{table}:{first}: a quotation mark that opens here is not closed where a cell ends, so lines {reach} cannot be told "
                    f"apart; double the marks within a text, and close the text with one"
                ) from None
            problems.append(f"{table}:{first}: {_words(error)}")
        else:
            yield _Line(first, reader.line_num, cells)


def _words(error: csv.Error) -> str:
    if "expected after" in str(error):
        return "has text behind a closing quotation mark; double the marks within a text"
    return f"cannot be read ({error})"


def _doubt(line: _Line, names: Sequence[str]) -> str | None:
    """Why it cannot be known what a row means."""
    cells = line.cells
    while len(cells) > len(names) and not cells[-1].strip():
        del cells[-1]  # spreadsheets fill rows up to the longest
    if len(cells) != len(names):
        return f"has {len(cells)} cells, but the header has {len(names)}; {_ADVICE if len(cells) > len(names) else 'complete the row'}"
    if line.last > line.first and any("\n" in cell.strip() or "\r" in cell.strip() for cell in cells):
        return f"goes on to line {line.last} within quotation marks; write a text on one line, and look for a mark that is not closed"
    nameless = next((cell.strip() for name, cell in zip(names, cells, strict=True) if not name and cell.strip()), "")
    if nameless and not nameless.isdecimal():  # pandas numbers rows in a column without name
        return f"has {nameless!r} in a column without a name; name the column, or {_ADVICE}"
    return None


def _require_distinct(table: Path, names: Sequence[str]) -> None:
    twice = next((name for name in names if name and names.count(name) > 1), None)
    if twice is not None:
        raise CorpusError(f"{table}:1: has the column {twice!r} twice; keep one of them or rename it")


def _unwrap(lines: Sequence[_Line]) -> None:
    """Take off the quotation marks that Excel puts around cells.

    It does so to cells that hold marks, which are then doubled, or a comma. Other texts within marks are quotations.
    """
    quoted = [cell for line in lines for cell in line.cells if '"' in cell]
    if not quoted:
        return
    excel = all(_WRAPPED.fullmatch(cell) and ('""' in cell[1:-1] or "," in cell) for cell in quoted) and any(
        '""' in cell[1:-1] for cell in quoted
    )
    for line in lines:
        line.cells[:] = [_unwrapped(cell) if excel or _is_doubled(cell) else cell for cell in line.cells]


def _is_doubled(cell: str) -> bool:
    """Whether a cell is in marks and all marks within are doubled: no other text looks so."""
    return _WRAPPED.fullmatch(cell) is not None and '""' in cell[1:-1]


def _unwrapped(cell: str) -> str:
    return cell[1:-1].replace('""', '"') if _WRAPPED.fullmatch(cell) else cell


def _headerless(table: Path, lines: Sequence[_Line]) -> list[str]:
    """The columns of a list without header, as LJSpeech and VITS have them.

    Raises:
        CorpusError: it is in doubt which cell is the text.
    """
    count = len(lines[0].cells)
    if count <= 2:
        return ["file_name", "text"]
    if count == 3:
        middle = [line.cells[1].strip() for line in lines if len(line.cells) == 3]
        last = [line.cells[2].strip() for line in lines if len(line.cells) == 3]
        if all(cell.isdecimal() for cell in middle) and not any(cell.isdecimal() for cell in last):
            return ["file_name", "speaker", "text"]
        if 2 * sum(map(_says_the_same, middle, last)) > len(middle):
            return ["file_name", "text", "normalized_text"]
    raise CorpusError(
        f"{table}:1: has {count} cells and no header, so it is not known which of them is the text; "
        f"add a first line with the columns' names, such as file_name|speaker|text"
    )


def _says_the_same(text: str, normalized: str) -> bool:
    """Whether one text may be the other with numbers and abbreviations written out."""
    letters = set(text.casefold())
    shared = len(letters & set(normalized.casefold()))
    return text == normalized or (2 * len(text) >= len(normalized) and 2 * shared > len(letters))
