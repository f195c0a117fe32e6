"""What ``prepare`` made, on disk and in words, and whether it is there already."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from finewhisper import __version__, json_values, manifest
from finewhisper.corpora.config import PrepareConfig
from finewhisper.corpora.corpus import SPLITS, Clip, LeftOut
from finewhisper.errors import StorageError
from finewhisper.files import atomic_file, sha256
from finewhisper.manifest import Utterance
from finewhisper.progress import note

#: Bytes; a table or manifest is smaller, an archive larger.
_LARGE = 1 << 28


@dataclass(frozen=True)
class Summary:
    """What one split holds."""

    utterances: int
    hours: float
    speakers: int | None  #: None where the corpus does not say


@dataclass(frozen=True)
class Prepared:
    """The manifests of a corpus."""

    folder: Path
    title: str
    splits: Mapping[str, Summary]
    left_out: Mapping[str, int]  #: reasons and counts
    left_out_list: str  #: name of the file with all of them
    fresh: bool = True  #: False where everything was there

    def manifest(self, split: str) -> Path:
        return self.folder / f"{split}.jsonl"

    def __str__(self) -> str:
        state = "" if self.fresh else " (prepared before; nothing to do, --overwrite does it again)"
        lines = [f"{self.folder}: {self.title}{state}"]
        for name, summary in self.splits.items():
            speakers = "" if summary.speakers is None else f"{summary.speakers:7,} speaker{'s' * (summary.speakers != 1)}"
            lines.append(f"  {name + '.jsonl':<14}{summary.utterances:9,} utterances{summary.hours:9.2f} h{speakers}")
        if self.left_out:
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in self.left_out.items())
            lines.append(f"  left out, see {self.left_out_list}: {reasons}")
        if "train" in self.splits:
            dev = f" --dev {self.manifest('dev')}" if "dev" in self.splits else ""
            lines.append(f"Next: finewhisper finetune MODEL --train {self.manifest('train')}{dev} -o FOLDER")
        return "\n".join(lines)


def _names(clips: Sequence[Clip]) -> list[str]:
    found = {clip.split for clip in clips}
    return [name for name in SPLITS if name in found] + sorted(found - set(SPLITS))


def _summary(utterances: Sequence[Utterance]) -> Summary:
    speakers = {str(utterance.extra["speaker"]) for utterance in utterances if utterance.extra.get("speaker")}
    return Summary(len(utterances), round(sum(utterance.length_s() for utterance in utterances) / 3600, 4), len(speakers) or None)


def _label(config: PrepareConfig) -> str:
    """Several manifests can be checked into one folder; each has its own record there."""
    return f"-{config.source.stem}" if config.corpus == "manifest" and config.source else ""


def _settings(config: PrepareConfig) -> dict[str, Any]:
    """What the result hangs on."""
    settings = config.model_dump(mode="json", include={"corpus", "language", "test_share", "dev_share", "split_by", "seed"})
    return {**settings, "source": str(config.source.absolute()) if config.source else None}


def state(config: PrepareConfig) -> str | None:
    """A hash of the source as it is; None where there is none.

    Of a table or manifest it is that of its content, of a folder or an archive that of names, sizes and times of all files.
    """
    if config.source is None or not config.source.exists():
        return None
    if config.source.is_file() and config.source.stat().st_size < _LARGE:
        return sha256(config.source)
    ours = {os.path.realpath(config.output), os.path.realpath(config.downloads)}
    digest = hashlib.sha256()
    alone: tuple[str, list[str], list[str]] = (str(config.source.parent), [], [config.source.name])
    for folder, folders, names in os.walk(config.source) if config.source.is_dir() else [alone]:
        folders[:] = sorted(name for name in folders if os.path.realpath(Path(folder, name)) not in ours)
        for name in sorted(names):
            path = Path(folder, name)
            with suppress(OSError):  # a link to nothing
                found = path.stat()
                digest.update(f"{path}\0{found.st_size}\0{found.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def prepared_before(config: PrepareConfig, source: str | None) -> Prepared | None:
    """What an earlier run with the same settings made of the same source, if all of it is there.

    Args:
        source: its :func:`state`.

    Raises:
        StorageError: something else is there.
    """
    record = _record(config)
    whole = _label(config) and not (config.test_share or config.dev_share)
    names = [_label(config).removeprefix("-")] if whole else SPLITS
    if record is None or config.overwrite or not record.get("whole", True):
        _require_replaceable((config.output / f"{name}.jsonl" for name in names), record)
        return None
    settings = _settings(config)
    changed = [
        f"{name} {record['settings'].get(name)}, not {value}" for name, value in settings.items() if record["settings"].get(name) != value
    ]
    if changed:
        raise StorageError(f"{config.output}: was prepared with {', '.join(changed)}; choose another -o, or replace it with --overwrite")
    if source is not None and record.get("source") != source:
        note(f"{config.source}: has changed since it was prepared; preparing it again")
        _require_replaceable((config.output / f"{name}.jsonl" for name in names), record)
        return None
    splits = {name: Summary(**summary) for name, summary in record["splits"].items()}
    before = Prepared(config.output, record["title"], splits, record["left_out"], record["left_out_list"], fresh=False)
    return before if all(before.manifest(name).is_file() for name in splits) else None


def _require_replaceable(manifests: Iterable[Path], record: Mapping[str, Any] | None) -> None:
    """Refuse to write over manifests that ``prepare`` did not write, or that somebody has corrected since.

    Raises:
        StorageError: naming the first one.
    """
    known = (record or {}).get("sha256", {})
    for path in manifests:
        if path.name in known and path.is_file() and sha256(path) not in known[path.name]:
            raise StorageError(f"{path}: was changed after prepare wrote it, and is not replaced; move it elsewhere, or choose another -o")
        if path.name not in known and os.path.lexists(path):
            raise StorageError(f"{path}: exists already, and prepare did not write it; move it elsewhere, or choose another -o")


def _record(config: PrepareConfig) -> dict[str, Any] | None:
    try:
        return dict(json_values.read(_marker(config)))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _marker(config: PrepareConfig) -> Path:
    return config.output / f"prepare{_label(config)}.json"


def write(config: PrepareConfig, title: str, clips: Sequence[Clip], left_out: Sequence[LeftOut], source: str | None) -> Prepared:
    """All manifests, the list of what was left out, and last the record that says that everything is there; or nothing.

    Args:
        source: the :func:`state` of the source before it was read.

    Raises:
        StorageError: the disk is full or denies it.
    """
    splits = {name: [clip.utterance for clip in clips if clip.split == name] for name in _names(clips)}
    prepared = Prepared(
        config.output,
        title,
        {name: _summary(utterances) for name, utterances in splits.items()},
        dict(Counter(item.reason for item in left_out).most_common()),
        f"left-out{_label(config)}.tsv",
    )
    record = _record(config) or {"splits": {}}
    _require_replaceable((prepared.manifest(name) for name in splits.keys() | record["splits"].keys()), record)
    drafts = {
        config.output / f".{name}.new": config.output / name for name in (*(f"{split}.jsonl" for split in splits), prepared.left_out_list)
    }
    content = {"settings": _settings(config), "source": source, **asdict(prepared), "finewhisper": __version__}
    for name in ("folder", "fresh"):
        del content[name]
    try:
        for draft, utterances in zip(drafts, splits.values(), strict=False):
            manifest.write(draft, utterances)
        _write_left_out(list(drafts)[-1], left_out)
        fresh = {final.name: [sha256(draft)] for draft, final in drafts.items() if final.suffix == ".jsonl"}
        before = record.get("sha256", {})
        both = {name: [*before.get(name, ()), *fresh.get(name, ())] for name in before.keys() | fresh.keys()}
        _write_record(config, content | {"sha256": both, "whole": False})  # a run that is killed now is known to have made what it left
        for draft, final in drafts.items():
            draft.replace(final)
    finally:
        for draft in drafts:
            draft.unlink(missing_ok=True)
    for name in record["splits"].keys() - splits.keys():
        prepared.manifest(name).unlink(missing_ok=True)
    _write_record(config, content | {"sha256": fresh, "whole": True})
    return prepared


def _write_record(config: PrepareConfig, content: Mapping[str, Any]) -> None:
    with atomic_file(_marker(config)) as temporary:
        temporary.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def _write_left_out(path: Path, left_out: Sequence[LeftOut]) -> None:
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
        writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
        writer.writerow(("reason", "path", "text", "detail"))
        writer.writerows((item.reason, item.path if item.path.name else "", item.text, item.detail) for item in left_out)
