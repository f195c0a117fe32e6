"""Everything ``finewhisper prepare`` needs, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from finewhisper.config import Config, Flag
from finewhisper.errors import UsageError
from finewhisper.language import spoken_language

CorpusName = Literal["aishell", "audiofolder", "fsdd", "manifest", "tuxpaint"]

_SPLITTING = ("test_share", "dev_share", "split_by", "seed")
#: Options that have no meaning for a corpus; giving them is a mistake rather than a wish to ignore.
_UNUSED: dict[str, tuple[str, ...]] = {
    "aishell": _SPLITTING,
    "audiofolder": ("cache",),
    "fsdd": (*_SPLITTING, "cache"),
    "manifest": ("cache",),
    "tuxpaint": ("split_by",),
}


def _as_typed(language: str | None) -> str | None:
    """A language that Whisper knows, in the words that it was given in: Tux Paint has variants such as pt_BR."""
    try:
        return language if spoken_language(language) else None
    except UsageError as error:
        raise ValueError(str(error)) from None


class PrepareConfig(Config):
    """Looks at every clip and writes train.jsonl, dev.jsonl and test.jsonl, those that there are. A second run does nothing.

    tuxpaint     Tux Paint's spoken captions in nine languages, from Debian
    audiofolder  your recordings; SOURCE: a folder with metadata.csv, .tsv or .jsonl
    manifest     a manifest to check, complete and copy; SOURCE: the .jsonl file
    aishell      AISHELL-1, Mandarin, 170 h; SOURCE: data_aishell.tgz or its folder
    fsdd         the Free Spoken Digit Dataset, English; SOURCE: its folder
    """

    corpus: Annotated[CorpusName, Flag(positional=True)]
    """What to prepare."""
    source: Annotated[Path | None, Flag(positional=True)] = None
    """The corpus's folder, archive or file; without one, tuxpaint and aishell are downloaded."""
    output: Annotated[Path, Flag(alias="-o", role="output")]
    """Folder for the manifests; audio that has to be extracted goes below it."""
    language: Annotated[str | None, AfterValidator(_as_typed)] = None
    """Language to choose (tuxpaint), or of the lines that do not say (audiofolder, manifest), as a code or name."""

    test_share: float | None = Field(None, ge=0, lt=1)
    """Share of the clips to test on; by default 0.18 (tuxpaint), 0.1 (audiofolder without split column), 0 (manifest)."""
    dev_share: float | None = Field(None, ge=0, lt=1)
    """Share of the clips to choose the best checkpoint on; by default 0.07 (tuxpaint), 0.05 (audiofolder), 0 (manifest)."""
    split_by: Literal["text", "speaker"] = "text"
    """What stays together: all clips of a text, so that no test sentence is trained on, or all clips of a speaker."""
    seed: int = 0
    """Another number gives another split."""

    skip_bad: bool = False
    """Leave out clips that cannot be used and list them in left-out.tsv, instead of stopping."""
    decode: bool = False
    """Decode every clip, not only its header; finds files that are cut short, but reads the whole corpus."""
    cache: Annotated[Path | None, Flag(role="place")] = None
    """Folder that keeps downloads; by default OUTPUT/download."""
    overwrite: bool = False
    """Prepare again and replace the manifests that are there."""

    @model_validator(mode="after")
    def _only_what_is_used(self) -> PrepareConfig:
        for name in _UNUSED[self.corpus]:
            if name in self.model_fields_set and getattr(self, name) is not None:
                reason = "has splits of its own" if name in _SPLITTING and self.corpus != "tuxpaint" else "does not use it"
                raise ValueError(f"--{name.replace('_', '-')}: {self.corpus} {reason}; leave it out")
        if (self.test_share or 0) + (self.dev_share or 0) >= 1:
            raise ValueError("--test-share and --dev-share leave nothing to train on; together they must be less than 1")
        return self

    @property
    def downloads(self) -> Path:
        """Where archives are kept."""
        return self.cache or self.output / "download"
