"""Jobs on disk."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from finewhisper.errors import StorageError
from finewhisper.server.jobs.results import kept, restored
from finewhisper.server.jobs.store import MOST_STARTS, Store
from finewhisper.transcript import Segment, Transcript, Word


def added(store: Store, folder: Path, *, owner: str = "me", webhook: str | None = None) -> str:
    upload = folder / "upload"
    upload.write_bytes(b"sound")
    return store.add(owner, {"language": "bg"}, webhook, upload).id


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "jobs")


def test_jobs_are_worked_on_in_their_order(store: Store, tmp_path: Path):
    first, second = added(store, tmp_path), added(store, tmp_path)
    started = store.start()
    assert started is not None
    assert (started.id, started.state, started.starts, dict(started.options)) == (first, "running", 1, {"language": "bg"})
    assert store.recording(first).read_bytes() == b"sound"
    following = store.start()
    assert following is not None
    assert following.id == second
    assert store.start() is None
    assert store.waiting() == (2, 10)


def test_jobs_are_counted_by_state(store: Store, tmp_path: Path):
    jobs = [added(store, tmp_path) for _ in range(4)]
    for _ in range(2):
        store.start()
    store.finish(jobs[0], None, {"message": "broken"})
    store.cancel(jobs[3])
    assert store.counts() == {"queued": 1, "running": 1, "done": 0, "failed": 1, "cancelled": 1}


def test_a_result_is_kept_and_the_recording_is_not(store: Store, tmp_path: Path):
    job = added(store, tmp_path)
    store.start()
    store.report(job, 0.5)
    running = store.get(job, "me")
    assert running is not None
    assert running.progress == 0.5
    transcript = Transcript((Segment("да", 0.0, 1.0, words=(Word("да", 0.1, 0.9, 0.5),)),), "bg", 1.0, 0.9, (True,))
    store.finish(job, kept(transcript), None)
    done = store.get(job, "me")
    assert done is not None
    assert (done.state, done.progress) == ("done", 1.0)
    assert restored(done.result or {}) == transcript
    assert not store.recording(job).exists()


def test_what_ends_the_process_loses_nothing(store: Store, tmp_path: Path):
    """The second store is what the next process opens: the first one never closed its own in order."""
    waiting, running, done = (added(store, tmp_path) for _ in range(3))
    for _ in range(3):
        store.start()
    store.finish(done, {"segments": []}, None)
    store.hand_back(waiting)
    store._database.close()
    (tmp_path / "jobs" / "finewhisper-recordings" / ("0" * 32)).write_bytes(b"half an upload")
    following = Store(tmp_path / "jobs")
    found = {job.id: (job.state, job.starts) for job in following.newest("me", 10)}
    assert found == {waiting: ("queued", 0), running: ("queued", 1), done: ("done", 1)}
    assert sorted(path.name for path in (tmp_path / "jobs" / "finewhisper-recordings").iterdir()) == sorted([waiting, running])


def abruptly_ended(store: Store, folder: Path) -> Store:
    """What the next process opens."""
    store._database.close()
    return Store(folder / "jobs")


def test_a_job_that_was_running_at_three_abrupt_ends_is_tried_alone(store: Store, tmp_path: Path):
    suspect, innocent = added(store, tmp_path), added(store, tmp_path)
    for _ in range(MOST_STARTS):
        assert [found.id for found in (store.start(), store.start()) if found] == [suspect, innocent]
        store = abruptly_ended(store, tmp_path)
    assert store.recording(suspect).read_bytes() == store.recording(innocent).read_bytes() == b"sound"
    following = added(store, tmp_path)
    alone = store.start()
    assert alone is not None
    assert (alone.id, store.start()) == (suspect, None)  # nobody beside it
    store = abruptly_ended(store, tmp_path)
    second = store.start()
    assert second is not None
    assert (second.id, store.start()) == (innocent, None)
    store.finish(innocent, {"segments": []}, None)
    third = store.start()
    assert third is not None
    assert third.id == following


def test_a_job_that_ends_the_process_alone_has_failed_and_its_recording_is_kept_as_long_as_it(store: Store, tmp_path: Path):
    job = added(store, tmp_path)
    for _ in range(MOST_STARTS + 1):
        assert store.start() is not None
        store = abruptly_ended(store, tmp_path)
    assert store.start() is None
    given_up = store.get(job, "me")
    assert given_up is not None
    assert given_up.state == "failed"
    assert "ended 4 times" in (given_up.error or {})["message"]
    store = abruptly_ended(store, tmp_path)
    assert store.recording(job).read_bytes() == b"sound"
    store.expire(4e9)
    assert store.get(job, "me") is None
    assert not store.recording(job).exists()


def test_one_that_may_not_have_company_waits_for_those_that_run(store: Store, tmp_path: Path):
    suspect = added(store, tmp_path)
    for _ in range(MOST_STARTS):
        store.start()
        store = abruptly_ended(store, tmp_path)
    other = added(store, tmp_path)
    store._write("update jobs set created = 0 where id = ?", other)  # it is the older one
    running = store.start()
    assert running is not None
    assert (running.id, store.start()) == (other, None)
    store.finish(other, {"segments": []}, None)
    alone = store.start()
    assert alone is not None
    assert alone.id == suspect


def test_what_the_user_keeps_in_the_folder_stays(tmp_path: Path):
    folder = tmp_path / "jobs"
    (folder / "recordings").mkdir(parents=True)
    (folder / "finewhisper-recordings").mkdir()
    users = [folder / "recordings" / "interview.wav", folder / "recordings" / ("a" * 32), folder / "finewhisper-recordings" / "notes.txt"]
    for path in users:
        path.write_bytes(b"mine")
    Store(folder).close()
    assert [path.read_bytes() for path in users] == [b"mine"] * 3


def test_recordings_that_wait_where_they_were_kept_before_are_taken_over(store: Store, tmp_path: Path):
    job = added(store, tmp_path)
    (tmp_path / "jobs" / "recordings").mkdir()
    store.recording(job).rename(tmp_path / "jobs" / "recordings" / job)
    assert abruptly_ended(store, tmp_path).recording(job).read_bytes() == b"sound"


def test_a_database_of_somebody_else_is_refused_and_left_as_it_is(tmp_path: Path):
    path = tmp_path / "jobs.sqlite"
    for statement in ("create table jobs (id text, salary integer)", "create table contacts (name text)", "pragma application_id = 7"):
        path.unlink(missing_ok=True)
        other = sqlite3.connect(path)
        other.execute(statement)
        other.execute("pragma user_version = 3")
        other.close()
        before = path.read_bytes()
        with pytest.raises(StorageError, match="not of finewhisper's making"):
            Store(tmp_path)
        assert path.read_bytes() == before
        assert [entry.name for entry in tmp_path.iterdir()] == ["jobs.sqlite"]


def test_a_job_that_was_handed_back_keeps_its_recording(store: Store, tmp_path: Path):
    """A result that comes a moment later belongs to work that will be done again."""
    job = added(store, tmp_path)
    store.start()
    store.hand_back(job)
    store.finish(job, {"segments": []}, None)
    again = store.start()
    assert again is not None
    assert (again.id, again.starts, again.result) == (job, 1, None)
    assert store.recording(job).read_bytes() == b"sound"


def test_a_recording_is_on_disk_before_its_job_is(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    written: list[tuple[bool, int]] = []
    fsync = os.fsync

    def noted(handle: int) -> None:
        fsync(handle)
        written.append((os.path.samestat(os.fstat(handle), (tmp_path / "jobs" / "finewhisper-recordings").stat()), store.waiting()[0]))

    monkeypatch.setattr(os, "fsync", noted)
    added(store, tmp_path)
    assert written == [(False, 0), (True, 0)]  # the file, its name; no job yet


def test_a_full_disk_is_said_and_leaves_nothing(store: Store, tmp_path: Path):
    """Here it is the database that may not grow."""
    job = added(store, tmp_path)
    store.start()
    pages = store._database.execute("pragma page_count").fetchone()[0]
    store._database.execute(f"pragma max_page_count = {pages}")
    with pytest.raises(StorageError, match="database or disk is full"):
        store.finish(job, {"segments": ["long"] * 10_000}, None)
    with pytest.raises(StorageError, match="database or disk is full"):
        for _ in range(1000):
            added(store, tmp_path)
    assert len(list((tmp_path / "jobs" / "finewhisper-recordings").iterdir())) == store.waiting()[0]
    store._database.execute("pragma max_page_count = 1000000")
    store.finish(job, {"segments": ["long"] * 10_000}, None)
    assert store.start() is not None


def test_a_list_does_not_read_results(store: Store, tmp_path: Path):
    job = added(store, tmp_path)
    store.start()
    store.finish(job, {"segments": []}, None)
    (listed,) = store.newest("me", 10)
    assert (listed.id, listed.state, listed.result) == (job, "done", None)


def test_a_cancelled_job_gets_no_result(store: Store, tmp_path: Path):
    job = added(store, tmp_path)
    store.start()
    store.cancel(job)
    store.finish(job, {"segments": []}, None)
    cancelled = store.get(job, "me")
    assert cancelled is not None
    assert (cancelled.state, cancelled.result) == ("cancelled", None)
    assert not store.recording(job).exists()


def test_only_its_owner_sees_a_job(store: Store, tmp_path: Path):
    job = added(store, tmp_path, owner="me")
    assert store.get(job, "you") is None
    assert store.newest("you", 10) == []


def test_what_is_over_is_forgotten_in_time(store: Store, tmp_path: Path):
    old, waiting = added(store, tmp_path), added(store, tmp_path)
    store.start()
    store.finish(old, None, {"message": "broken"})
    store.remove(waiting)  # it is not over
    store.expire(4e9)
    assert [job.id for job in store.newest("me", 10)] == [waiting]


def test_webhooks_that_were_not_called_are_called_by_the_next_process(store: Store, tmp_path: Path):
    job = added(store, tmp_path, webhook="https://example.org/")
    assert store.untold() == []
    store.start()
    store.finish(job, {"segments": []}, None)
    assert [found.id for found in store.untold()] == [job]
    store.told(job)
    assert store.untold() == []


def test_a_folder_belongs_to_one_server(store: Store, tmp_path: Path):
    with pytest.raises(StorageError, match="another server uses it"):
        Store(tmp_path / "jobs")


def test_what_is_no_database_is_said(tmp_path: Path):
    (tmp_path / "jobs.sqlite").write_bytes(b"something else" * 100)
    with pytest.raises(StorageError, match=r"jobs\.sqlite: file is not a database"):
        Store(tmp_path)
    assert sqlite3.sqlite_version_info >= (3, 37)  # strict tables
