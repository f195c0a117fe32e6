"""An earlier evaluation to compare with, refused unless it scored the same utterances in the same way."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from finewhisper import json_values
from finewhisper.errors import UsageError
from finewhisper.evaluation import table
from finewhisper.evaluation.scores import Row

RESULT_NAME = "result.json"


@dataclass(frozen=True)
class Baseline:
    """The output folder of an earlier evaluation."""

    path: Path
    title: str
    model: str
    manifest: str  #: its path then
    manifest_sha256: str
    normalizers: str
    signature: Mapping[str, str]  #: of each score, by "wer" and "cer"
    version: str  #: of finewhisper then
    rows: Mapping[int, Row]  #: by line of the manifest

    @classmethod
    def read(cls, path: Path) -> Baseline:
        """Raises: UsageError where ``path`` is not the output of an evaluation."""
        try:
            result = json_values.read(path / RESULT_NAME)
            if "models" in result:
                raise UsageError(
                    f"--baseline {path}: is a table of several models; give the -o folder of an evaluate of one on one manifest"
                )
            return cls(
                path,
                str(result["title"]),
                str(result["model"]["path"]),
                str(result["manifest"]["path"]),
                str(result["manifest"]["sha256"]),
                str(result["normalize"]),
                dict(result["signature"]),
                str(result["versions"]["finewhisper"]),
                {row.line: row for row in table.read(path / table.NAME)},
            )
        except FileNotFoundError as error:
            raise UsageError(f"--baseline {path}: has no {Path(error.filename).name}; give the -o folder of an earlier evaluate") from None
        except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
            raise UsageError(f"--baseline {path}: cannot be read ({error!r}); run evaluate for the baseline again") from None

    def language(self, line: int) -> str | None:
        """The language by whose rules a line was scored; None where it was not, or not by such rules."""
        row = self.rows.get(line)
        return None if row is None else row.spoken

    def require_same(self, manifest: Path, digest: str, normalizers: str, references: Mapping[int, str]) -> None:
        """Check that this run's scores may stand beside the baseline's.

        Args:
            references: what this run compares with, normalised, by line of the manifest.

        Raises:
            UsageError: other utterances were scored, or in another way.
        """
        if self.manifest_sha256 != digest:
            raise self._refused(
                f"was made on another manifest ({self.manifest}, SHA-256 {self.manifest_sha256[:12]}) than {manifest} ({digest[:12]}); "
                f"evaluate the baseline's model on {manifest} first"
            )
        differing = sorted(references.keys() ^ self.rows.keys())
        if differing:
            raise self._refused(
                f"scored {len(self.rows)} utterances of the manifest, not the same {len(references)} (line {differing[0]} is in one only); "
                "give both evaluations the same --limit and --skip-bad"
            )
        if self.normalizers != normalizers:
            raise self._refused(
                f"its text was normalised by {self.normalizers}, not {normalizers}; give both evaluations the same --normalize, --language "
                "and --task"
            )
        for line, reference in references.items():
            if self.rows[line].normalized_reference != reference:
                raise self._refused(
                    f"finewhisper {self.version} normalised line {line} to {self.rows[line].normalized_reference!r}, this version to "
                    f"{reference!r}; run evaluate for the baseline again"
                )

    def _refused(self, reason: str) -> UsageError:
        return UsageError(f"--baseline {self.path}: {reason}")
