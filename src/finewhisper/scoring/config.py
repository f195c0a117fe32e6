"""What every verb that measures error rates is asked."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from pydantic import Field, field_validator

from finewhisper.errors import UsageError
from finewhisper.scoring.rates import Unit
from finewhisper.scoring.scores import signature
from finewhisper.scoring.sets import UnitChoice
from finewhisper.scoring.text import Normalizer, spelled
from finewhisper.shared_options import ComputeOptions, RecognitionOptions
from finewhisper.transcript import DecodeOptions, written_language


class ScoringConfig(RecognitionOptions, ComputeOptions):
    """How speech is decoded and compared: ``evaluate`` and ``parity`` share these options."""

    timestamps: bool = False
    """Let the model write times, as it does for subtitles."""
    batch_size: int = Field(16, ge=1)
    """Clips decoded together."""

    normalize: str = "auto"
    """How text is made comparable: auto chooses by language; else steps such as basic,spaces; none compares raw text."""
    unit: UnitChoice = "auto"
    """What is counted; auto: characters for scripts without spaces, else words."""
    limit: int | None = Field(None, ge=1)
    """Use only this many utterances of a manifest, from its start."""
    skip_bad: bool = False
    """Leave out clips that cannot be decoded, listing them, instead of stopping."""

    @field_validator("normalize")
    @classmethod
    def _known_steps(cls, steps: str) -> str:
        try:
            return steps if steps == "auto" else ",".join(Normalizer.named(steps).steps) or "none"
        except UsageError as error:
            raise ValueError(str(error).removeprefix("--normalize: ")) from None

    def normalizer(self, language: str | None) -> Normalizer:
        """The normaliser for utterances in ``language``."""
        return Normalizer.for_language(language) if self.normalize == "auto" else Normalizer.named(self.normalize)

    def normalizers(self, languages: Iterable[str | None]) -> str:
        """The steps of the normalisers for utterances in these spoken languages, as in a signature."""
        return spelled([written_language(language, self.task) for language in languages], self.normalizer)

    def decode_options(self) -> DecodeOptions:
        """How each utterance is decoded; its language goes with it."""
        return DecodeOptions(task=self.task, timestamps=self.timestamps, beam_size=self.beam_size)

    def decoding(self, context: str, detected: Collection[str], *, again: bool = True) -> str:
        """How text was made from audio, as in a signature.

        Args:
            context: the name of the engine's context.
            detected: the languages by whose rules utterances were scored that nobody had named the language of.
            again: whether windows whose text loops are decoded again.
        """
        parts = [
            "greedy" if self.beam_size == 1 else f"beam {self.beam_size}",
            *(["loops:again"] if again else []),  # in 30 s, then with rising temperature
            f"timestamps:{'yes' if self.timestamps else 'no'}",
            f"context:{context}",
        ]
        parts.append({None: "silence:left-out", True: "vad:yes", False: "vad:no"}[self.vad])
        if self.task != "transcribe":
            parts.append(f"task:{self.task}")
        if detected:
            parts.append(f"language:detected {'+'.join(sorted(detected))}")
        return ",".join(parts)

    def signature(
        self,
        unit: Unit,
        normalizers: str,
        *,
        context: str,
        detected: Collection[str],
        engine: str | None,
        manifest_sha256: str,
        skipped: int,
        again: bool = True,
    ) -> str:
        """What a score made with these options must be quoted with; see :func:`finewhisper.scoring.scores.signature`."""
        return signature(
            unit,
            normalizers,
            decoding=self.decoding(context, detected, again=again),
            engine=engine,
            manifest_sha256=manifest_sha256,
            limit=self.limit,
            skipped=skipped,
        )


def detected_note(utterances: int, detected: Collection[str]) -> str:
    """What is said where languages were detected; empty where all are known."""
    if not detected:
        return ""
    names = ", ".join(sorted(detected))
    return f"{utterances} utterances have no language and are scored by what was detected ({names}); --language or the manifest settles it"
