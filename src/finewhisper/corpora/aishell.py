"""AISHELL-1: 400 people from all over China read Mandarin sentences, 16 kHz, 178 hours, 340 / 40 / 20 speakers in train, dev and test.

Source: Bu et al., "AISHELL-1: An Open-Source Mandarin Speech Corpus and A Speech Recognition Baseline" (2017, arXiv 1709.05522),
openslr.org/33; licence Apache-2.0. ``data_aishell.tgz`` (15 GB) holds ``transcript/aishell_transcript_v0.8.txt`` and, in ``wav/``, one
more archive a speaker with ``SPLIT/SPEAKER/UTTERANCE.wav``.

Spaces within a transcript, which mark a segmentation into words, are removed. Recordings without a transcript (a few hundred in the
full corpus) are left out and counted.
"""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath

from finewhisper import json_values
from finewhisper.corpora.archive import extract
from finewhisper.corpora.config import PrepareConfig
from finewhisper.corpora.corpus import SPLITS, Clip, Corpus, LeftOut
from finewhisper.corpora.fetch import download
from finewhisper.errors import CorpusError, UsageError
from finewhisper.files import atomic_file
from finewhisper.language import language_code
from finewhisper.manifest import Utterance
from finewhisper.progress import track

URL = "https://www.openslr.org/resources/33/data_aishell.tgz"
MD5 = "2f494334227864a8a8fec932999db9d8"
TRANSCRIPT = PurePosixPath("transcript/aishell_transcript_v0.8.txt")
_EXTRACTED = ".extracted.json"


def fetch(config: PrepareConfig) -> Path:
    """The folder ``data_aishell``: as given, or extracted below the output from the archive given or downloaded.

    Raises:
        UsageError: another language than Mandarin was asked for.
        CorpusError: there is no such archive or folder, or it is damaged or unsafe.
    """
    if config.language is not None and language_code(config.language) != "zh":
        raise UsageError(f"--language {config.language}: AISHELL-1 is Mandarin; leave it out")
    source = config.source or download(URL, config.downloads / "data_aishell.tgz", MD5)
    output = config.output / "data_aishell"
    if source.is_file():
        _once(source, output)
        return output
    folder = next((folder for folder in (source, source / "data_aishell") if (folder / TRANSCRIPT).is_file()), None)
    if folder is None:
        raise CorpusError(f"{source}: holds no {TRANSCRIPT}; give data_aishell.tgz or the folder that is extracted from it")
    nested = sorted((folder / "wav").glob("*.tar.gz"))
    for archive in track(nested, "Extracting speakers", len(nested), "archive") if nested else ():
        _once(archive, output / "wav")
    return folder


def read(folder: Path, config: PrepareConfig) -> Corpus:
    """Every recording that has a transcript. Raises: CorpusError where there is none."""
    texts = _transcripts(folder / TRANSCRIPT)
    clips, left_out = [], []
    for wav in dict.fromkeys((folder / "wav", config.output / "data_aishell" / "wav")):
        for split in SPLITS:
            for path in sorted((wav / split).glob("*/*.wav")):
                if path.stem in texts:
                    clips.append(Clip(Utterance(path, texts[path.stem], "zh", extra={"speaker": path.parent.name}), split))
                else:
                    left_out.append(LeftOut("no transcript", path))
    if not clips:
        raise CorpusError(f"{folder}: holds no recordings wav/train/SPEAKER/UTTERANCE.wav with transcripts; extract the archive again")
    return Corpus("AISHELL-1, Mandarin", clips, left_out=left_out)


def _transcripts(path: Path) -> dict[str, str]:
    """Utterance names and their texts without spaces."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (FileNotFoundError, UnicodeDecodeError) as error:
        raise CorpusError(f"{path}: cannot be read as UTF-8 text ({error}); extract the archive again") from error
    return {name: "".join(words) for name, *words in map(str.split, lines) if words}


def _once(archive: Path, folder: Path) -> None:
    """Extract an archive below ``folder`` unless that was completed before; its own top folder ``data_aishell`` is not repeated."""
    marker = folder / _EXTRACTED
    try:
        done = dict(json_values.read(marker))
    except (FileNotFoundError, ValueError, TypeError):
        done = {}
    if done.get(archive.name) == archive.stat().st_size:
        return
    extract(archive, folder, wanted=lambda name: str(PurePosixPath(name)).removeprefix("data_aishell/"))
    with atomic_file(marker) as temporary:
        temporary.write_text(json.dumps({**done, archive.name: archive.stat().st_size}), encoding="utf-8")
