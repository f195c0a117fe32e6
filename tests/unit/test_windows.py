"""What only POSIX has is nowhere needed: every module imports, and a fine-tuning runs to its end, without it.

A child process loads everything once, so that other packages have what they need on the system that the tests run on. Then it takes away
from the standard library what Windows lacks, and begins with finewhisper's own modules again.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from finetuning import quick_run

pytest.importorskip("torch")

#: Loads all modules once, and forgets finewhisper's own.
LOADED = """
import importlib, pkgutil, sys
import finewhisper

def import_all():
    names = [module.name for module in pkgutil.walk_packages(finewhisper.__path__, "finewhisper.")]
    for name in names:
        if not name.endswith("__main__"):
            importlib.import_module(name)
    return names

import_all()
for name in [name for name in sys.modules if name.split(".")[0] == "finewhisper"]:
    del sys.modules[name]
"""

WITHOUT_POSIX = """
import importlib, os, signal, sys

#: What the documentation of ``os`` and ``signal`` calls "Availability: Unix" (or not Windows).
ABSENT_OS = '''chown chroot confstr ctermid fchdir fchown fdatasync fork forkpty fpathconf fstatvfs getegid geteuid getgid getgrouplist
getgroups getloadavg getpgid getpgrp getpriority getresgid getresuid getsid getuid getxattr initgroups killpg lchown listxattr lockf
major makedev memfd_create minor mkfifo mknod nice openpty pathconf posix_fadvise posix_fallocate posix_spawn posix_spawnp pread preadv
pwrite pwritev readv register_at_fork removexattr sched_getaffinity sched_getparam sched_setaffinity sched_yield sendfile setegid seteuid
setgid setgroups setpgid setpriority setregid setresgid setresuid setreuid setsid setuid setxattr statvfs sync sysconf sysconf_names
tcgetpgrp tcsetpgrp ttyname uname wait wait3 wait4 waitid WIFEXITED WIFSIGNALED WEXITSTATUS WTERMSIG WNOHANG writev
O_CLOEXEC O_DIRECTORY O_NOFOLLOW O_NONBLOCK O_NOCTTY O_SYNC O_DSYNC O_PATH O_TMPFILE'''.split()
ABSENT_SIGNALS = '''SIGALRM SIGBUS SIGCHLD SIGCONT SIGHUP SIGKILL SIGPIPE SIGPROF SIGQUIT SIGSTOP SIGTSTP SIGTTIN SIGTTOU SIGUSR1 SIGUSR2
SIGWINCH alarm getitimer setitimer pause pthread_kill pthread_sigmask siginterrupt sigpending sigtimedwait sigwait sigwaitinfo'''.split()
for module, names in ((os, ABSENT_OS), (signal, ABSENT_SIGNALS)):
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
for name in ("crypt", "fcntl", "grp", "posix", "pty", "pwd", "resource", "spwd", "syslog", "termios", "tty"):
    sys.modules[name] = None
finewhisper = importlib.import_module("finewhisper")
"""


def without_posix(script: str, folder: Path) -> str:
    """What a script prints that runs without them."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED + WITHOUT_POSIX + script], cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_module_imports_without_what_only_posix_has(tmp_path: Path) -> None:
    names = without_posix("print(*import_all(), sep=chr(10))", tmp_path).split()
    assert {"finewhisper.cli", "finewhisper.training.run", "finewhisper.server.run", "finewhisper.transcription.run"} <= set(names)


def test_what_is_taken_away_would_be_missed() -> None:
    script = """
for use in ("os.sysconf", "os.fork", "os.sched_getaffinity", "signal.SIGKILL", "import fcntl", "import resource", "import pwd"):
    try:
        exec(use)
    except (AttributeError, ImportError):
        print("missed")
    else:
        print("still there")
"""
    done = subprocess.run([sys.executable, "-c", WITHOUT_POSIX + script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split("\n")[:-1] == ["missed"] * 7


def test_a_fine_tuning_runs_without_what_only_posix_has(random_model: Path, speech_folder: Path) -> None:
    """With the memory that Windows would say, and on a system that says nothing."""
    options = quick_run(
        speech_folder, random_model, dev=speech_folder / "dev.jsonl", max_steps=2, precision="auto", train=Path("train.jsonl")
    )
    (speech_folder / "options.json").write_text(options.model_dump_json())
    script = """
from pathlib import Path
from finewhisper import machine
from finewhisper.training import run, support
from finewhisper.training.config import FinetuneConfig

assert machine.memory(Path("nowhere"), Path("nowhere")) is None
proc = machine.memory
machine.memory = lambda: proc(Path("nowhere"), Path("nowhere"))
options = FinetuneConfig.model_validate_json(Path("options.json").read_text())
print(run.run(options))
"""
    assert "2 steps" in without_posix(script, speech_folder)
