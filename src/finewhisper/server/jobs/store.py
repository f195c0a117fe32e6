"""Jobs on disk: a table in SQLite, and each recording in a file that is named after its job.

Every change is written before it is told, so whatever ends the process, the next one finds all jobs. A job that was being worked on is
begun again. One that was in work at three abrupt ends is tried once more while no other job runs; where that ends the process too, it has
failed, but its recording is kept as long as the job is.

The folder may hold other things. The database is opened only where it is of our making, and only files in a folder of ours with names of
our form are ever deleted.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from finewhisper.audio import Seconds
from finewhisper.errors import StorageError
from finewhisper.files import storage_errors

State = Literal["queued", "running", "done", "failed", "cancelled"]

#: A job that was in work at so many abrupt ends may be at fault itself, and gets one more start, without company.
MOST_STARTS = 3
#: "fwjb": what SQLite notes in the header of a database of ours.
_APPLICATION = 0x66776A62
#: Where recordings are, below the folder that the user names: a name that nobody has for something else.
_SPOOL = "finewhisper-recordings"
#: Where they were before; what waits there is taken over, nothing else is touched.
_EARLIER_SPOOL = "recordings"
_DATABASE = "jobs.sqlite"
_NAME = re.compile("[0-9a-f]{32}")

_TABLE = """
create table if not exists jobs (
    id text primary key,
    owner text not null,
    state text not null,
    options text not null,
    webhook text,
    bytes integer not null,
    created real not null,
    started real,
    finished real,
    starts integer not null default 0,
    progress real not null default 0,
    result text,
    error text,
    told integer not null default 0
) strict
"""
_INDEX = "create index if not exists jobs_by_state on jobs (state, created)"


#: How long a server that is ending may hold the database.
_PATIENCE_S: Seconds = 2.0


@dataclass(frozen=True)
class Job:
    """A recording that was handed in, and what has become of it."""

    id: str
    owner: str  #: a digest of the key that it came with; others do not see it
    state: State
    options: Mapping[str, Any]
    webhook: str | None
    created: Seconds  #: since 1970
    started: Seconds | None
    finished: Seconds | None
    starts: int
    progress: float  #: 0 to 1
    result: Mapping[str, Any] | None
    error: Mapping[str, Any] | None

    @property
    def over(self) -> bool:
        return self.state not in {"queued", "running"}


_COLUMNS = tuple(column.name for column in fields(Job))
#: The same without results, which may be long.
_BRIEF = tuple("null as result" if name == "result" else name for name in _COLUMNS)


class Store:
    """The jobs in a folder, which belongs to one server at a time. Its methods may be called from any thread.

    Raises:
        StorageError: the folder cannot be written, or another server uses it. Every method raises it where the disk is full.
    """

    def __init__(self, folder: Path) -> None:
        self._spool = folder / _SPOOL
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = threading.Lock()
        database = folder / _DATABASE
        self._database = sqlite3.connect(database, timeout=_PATIENCE_S, check_same_thread=False, isolation_level=None)
        try:
            _require_ours(self._database)
            self._database.execute("pragma locking_mode = exclusive")  # until it is closed, or the process ends
            self._database.execute("pragma journal_mode = wal")
            self._database.execute("pragma synchronous = full")
            self._database.execute(f"pragma application_id = {_APPLICATION}")
            self._database.execute(_TABLE)
            self._database.execute(_INDEX)
            with storage_errors(folder):
                self._spool.mkdir(exist_ok=True, mode=0o700)
                self._recover(folder / _EARLIER_SPOOL)
        except (sqlite3.Error, StorageError) as error:
            self._database.close()
            reason = "another server uses it; give each its own" if "locked" in str(error) else f"{_DATABASE}: {error.__cause__ or error}"
            raise StorageError(f"--jobs.folder: {folder}: {reason}") from error

    def close(self) -> None:
        with self._lock:
            self._database.close()

    def recording(self, job: str) -> Path:
        """Where the recording of a job is."""
        return self._spool / job

    def add(self, owner: str, options: Mapping[str, Any], webhook: str | None, recording: Path) -> Job:
        """Take over a recording and queue a job for it."""
        named = uuid.uuid4().hex
        kept = self.recording(named)
        with storage_errors(kept):
            try:
                shutil.move(recording, kept)
                _on_disk(kept)
                row = (named, owner, "queued", json.dumps(options), webhook, kept.stat().st_size, time.time())
                self._write("insert into jobs (id, owner, state, options, webhook, bytes, created) values (?, ?, ?, ?, ?, ?, ?)", *row)
            except BaseException:
                kept.unlink(missing_ok=True)
                raise
        return self._one("id = ?", named)

    def get(self, job: str, owner: str) -> Job | None:
        """A job of an owner."""
        return next(self._jobs("id = ? and owner = ?", job, owner), None)

    def newest(self, owner: str, limit: int) -> list[Job]:
        """The newest jobs of an owner, without their results."""
        return list(self._jobs("owner = ? order by created desc limit ?", owner, limit, columns=_BRIEF))

    def waiting(self) -> tuple[int, int]:
        """How many jobs are not over, and how many bytes their recordings have."""
        with self._lock, _sqlite_errors():
            rows = self._database.execute("select count(*), coalesce(sum(bytes), 0) from jobs where state in ('queued', 'running')")
            count, size = rows.fetchone()
        return int(count), int(size)

    def counts(self) -> dict[str, int]:
        """How many jobs there are in each state."""
        with self._lock, _sqlite_errors():
            found = dict(self._database.execute("select state, count(*) from jobs group by state").fetchall())
        return {state: found.get(state, 0) for state in get_args(State)}

    def start(self) -> Job | None:
        """The oldest job that waits, which is running from now on; None also while one that must not have company has to wait, or runs."""
        with self._lock, _sqlite_errors(), self._transaction():
            row = self._database.execute("select id, starts from jobs where state = 'queued' order by created limit 1").fetchone()
            running = self._database.execute("select starts from jobs where state = 'running'").fetchall()
            if row is None or any(starts > MOST_STARTS for (starts,) in running) or (running and row[1] >= MOST_STARTS):
                return None
            changes = "state = 'running', started = ?, starts = starts + 1, progress = 0"
            self._database.execute(f"update jobs set {changes} where id = ?", (time.time(), row[0]))  # noqa: S608 - no text of a client's
        return self._one("id = ?", row[0])

    def report(self, job: str, progress: float) -> None:
        """How far a running job is."""
        self._write("update jobs set progress = ? where id = ? and state = 'running'", progress, job)

    def hand_back(self, job: str | None = None) -> None:
        """A running job, or every one of them, waits again: the server ends."""
        changes = "state = 'queued', starts = starts - 1, progress = 0"
        self._write(f"update jobs set {changes} where state = 'running' and id = coalesce(?, id)", job)  # noqa: S608 - as above

    def finish(self, job: str, result: Mapping[str, Any] | None, error: Mapping[str, Any] | None) -> None:
        """A running job has a result, or an error; one that was handed back or cancelled meanwhile stays as it is."""
        row = ("failed" if result is None else "done", time.time(), _json(result), _json(error), job)
        changes = "state = ?, finished = ?, progress = 1, result = ?, error = ?"
        if self._write(f"update jobs set {changes} where id = ? and state = 'running'", *row):  # noqa: S608 - as above
            self.recording(job).unlink(missing_ok=True)

    def cancel(self, job: str) -> None:
        """Give up a job that is not over."""
        changes = "state = 'cancelled', finished = ?"
        if self._write(f"update jobs set {changes} where id = ? and state in ('queued', 'running')", time.time(), job):  # noqa: S608
            self.recording(job).unlink(missing_ok=True)

    def remove(self, job: str) -> None:
        """Forget a job that is over."""
        self._forget("id = ? and state not in ('queued', 'running')", job)

    def expire(self, before: Seconds) -> None:
        """Forget what was over before a time."""
        self._forget("finished < ?", before)

    def untold(self) -> list[Job]:
        """Jobs that are done or failed, and whose webhook has not been called."""
        return list(self._jobs("webhook is not null and not told and state in ('done', 'failed') order by finished"))

    def told(self, job: str) -> None:
        """The webhook of a job was called, or will not be."""
        self._write("update jobs set told = 1 where id = ?", job)

    def _forget(self, condition: str, value: Any) -> None:
        """Delete jobs, and first the recordings that some of them still have."""
        with self._lock, _sqlite_errors():
            rows = self._database.execute(f"select id from jobs where {condition}", (value,)).fetchall()  # noqa: S608 - as above
        for (job,) in rows:
            self.recording(job).unlink(missing_ok=True)
        self._write(f"delete from jobs where {condition}", value)  # noqa: S608 - as above

    def _recover(self, earlier: Path) -> None:
        """What the last process left: jobs in work, and recordings of jobs that were never queued."""
        message = json.dumps({"type": "server_error", "message": _AT_FAULT})
        failed = "update jobs set state = 'failed', finished = ?, error = ? where state = 'running' and starts > ?"
        self._write(failed, time.time(), message, MOST_STARTS)
        self._write("update jobs set state = 'queued', progress = 0 where state = 'running'")
        kept = {job.id for job in self._jobs(f"state = 'queued' or (state = 'failed' and starts > {MOST_STARTS})", columns=_BRIEF)}
        for job in kept:
            if _NAME.fullmatch(job) and not self.recording(job).exists() and (earlier / job).is_file():
                (earlier / job).rename(self.recording(job))
        for path in self._spool.iterdir():
            if _NAME.fullmatch(path.name) and path.name not in kept and path.is_file() and not path.is_symlink():
                path.unlink()

    def _one(self, condition: str, *values: Any) -> Job:
        return next(self._jobs(condition, *values))

    def _jobs(self, condition: str, *values: Any, columns: tuple[str, ...] = _COLUMNS) -> Iterator[Job]:
        with self._lock, _sqlite_errors():
            rows = self._database.execute(f"select {', '.join(columns)} from jobs where {condition}", values).fetchall()  # noqa: S608 - as above
        for row in rows:
            kept: dict[str, Any] = dict(zip(_COLUMNS, row, strict=True))
            for name in ("options", "result", "error"):
                kept[name] = None if kept[name] is None else json.loads(kept[name])
            yield Job(**kept)

    def _write(self, statement: str, *values: Any) -> int:
        """How many jobs a statement has changed."""
        with self._lock, _sqlite_errors():
            return self._database.execute(statement, values).rowcount

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("begin immediate")
        try:
            yield
            self._database.execute("commit")
        except BaseException:
            if self._database.in_transaction:  # where the disk is full, SQLite may have ended it
                self._database.execute("rollback")
            raise


_AT_FAULT = (
    f"the server ended {MOST_STARTS + 1} times while it worked on this recording, the last time while no other job ran; the recording is "
    "kept as long as this job is: convert it to another format, or cut it, and hand it in again, or tell whoever runs the server"
)


def _require_ours(database: sqlite3.Connection) -> None:
    """Refuse a database of somebody else before anything in it is changed. Raises: StorageError."""
    (application,) = database.execute("pragma application_id").fetchone()
    tables = {name for (name,) in database.execute("select name from sqlite_master where type in ('table', 'view')")}
    columns = {row[1] for row in database.execute("pragma table_info(jobs)")}
    ours = not tables or (tables == {"jobs"} and set(_COLUMNS) <= columns)
    if application not in {0, _APPLICATION} or not ours:
        told = ", ".join(sorted(tables)[:3]) or f"application {application:#x}"
        raise StorageError(f"this database is not of finewhisper's making (it holds {told}); choose another folder")


@contextmanager
def _sqlite_errors() -> Iterator[None]:
    """A full disk, most of the time."""
    try:
        yield
    except sqlite3.Error as error:
        raise StorageError(f"jobs.sqlite: cannot be read or written ({error}); free some space below --jobs.folder") from error


def _on_disk(path: Path) -> None:
    """Have a file and its name written before anything is that counts on it; Windows opens no folders, and writes names by itself."""
    posix = os.name == "posix"
    for part in (path, path.parent) if posix else (path,):
        handle = os.open(part, os.O_RDONLY if posix else os.O_RDWR)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _json(content: Mapping[str, Any] | None) -> str | None:
    return None if content is None else json.dumps(content, ensure_ascii=False)
