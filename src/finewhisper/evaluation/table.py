"""``utterances.csv``: one line for each utterance, written for spreadsheets and read back as a baseline."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from finewhisper.evaluation.scores import Row
from finewhisper.evaluation.timing import Times
from finewhisper.scoring.rates import ErrorRate, utterance_rates

NAME = "utterances.csv"

#: Rates are percent; empty where there is nothing to divide by, and for words of languages written without spaces. Of the last five, four
#: are empty where no times were asked for, and one where the language was given.
COLUMNS = (
    "line",
    "id",
    "language",
    "detected_language",
    "speaker",
    "label",
    "duration_s",
    "reference",
    "hypothesis",
    "normalized_reference",
    "normalized_hypothesis",
    "words",
    "word_errors",
    "wer",
    "characters",
    "character_errors",
    "cer",
    "windows",
    "well_timed",
    "boundaries",
    "boundary_errors_s",
    "scored_as",
)  # fmt: skip


def write(path: Path, rows: Iterable[Row]) -> None:
    """Write in manifest order, as UTF-8 with the mark that spreadsheets recognise it by."""
    with path.open("w", encoding="utf-8-sig", newline="") as stream:
        table = csv.DictWriter(stream, COLUMNS)
        table.writeheader()
        table.writerows(_cells(row) for row in rows)


def read(path: Path) -> list[Row]:
    """Read what :func:`write` wrote, counting the errors of the normalised pairs again.

    Raises:
        ValueError: it is not such a table.
    """
    with path.open(encoding="utf-8-sig", newline="") as stream:
        table = csv.DictReader(stream)
        if tuple(table.fieldnames or ()) not in {COLUMNS, COLUMNS[:-1]}:  # the last one is of a later version
            raise ValueError(f"its columns are not {', '.join(COLUMNS)}")
        cells = list(table)
    references, hypotheses = [cell["normalized_reference"] for cell in cells], [cell["normalized_hypothesis"] for cell in cells]
    words, characters = utterance_rates(references, hypotheses, "word"), utterance_rates(references, hypotheses, "character")
    return [_row(cell, words[index], characters[index]) for index, cell in enumerate(cells)]


def _cells(row: Row) -> dict[str, object]:
    cells: dict[str, object] = {name: "" if value is None else value for name, value in vars(row).items() if name in COLUMNS}
    cells["duration_s"] = round(row.duration_s, 3)
    cells["words"] = cells["characters"] = ""
    for rate, units, errors, percent in (
        (row.words, "words", "word_errors", "wer"),
        (row.characters, "characters", "character_errors", "cer"),
    ):
        if rate is not None:
            cells[units], cells[errors] = rate.reference_units, rate.errors
            cells[percent] = round(rate.percent, 2) if rate.reference_units else ""
    if row.times is not None:
        cells["windows"], cells["well_timed"], cells["boundaries"] = row.times.windows, row.times.well_timed, row.times.given
        cells["boundary_errors_s"] = " ".join(map(str, row.times.errors_s))
    return cells


def _row(cells: dict[str, str], words: ErrorRate, characters: ErrorRate) -> Row:
    return Row(
        line=int(cells["line"]),
        id=cells["id"],
        language=cells["language"] or None,
        detected_language=cells["detected_language"] or None,
        speaker=cells["speaker"] or None,
        label=cells["label"] or None,
        duration_s=float(cells["duration_s"]),
        reference=cells["reference"],
        hypothesis=cells["hypothesis"],
        normalized_reference=cells["normalized_reference"],
        normalized_hypothesis=cells["normalized_hypothesis"],
        words=words if cells["words"] else None,
        characters=characters,
        times=_times(cells),
        scored_as=cells.get("scored_as") or None,
    )


def _times(cells: dict[str, str]) -> Times | None:
    if not cells["windows"]:
        return None
    errors_s = tuple(map(float, cells["boundary_errors_s"].split()))
    return Times(int(cells["windows"]), int(cells["well_timed"]), int(cells["boundaries"]), errors_s)
