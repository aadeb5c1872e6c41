"""One run per job folder: a lock file names the process that uses the folder.

The file is made with its content in one step (a hard link, or O_EXCL where there are none), which
network file systems do, too. A holder that has ended, however it ended, is recognised:

- on this machine by its process id and start time, or by another boot of the machine;
- on another machine, or in another container, by its heartbeat: the holder touches the file every
  `BEAT` seconds, and one that does not for `WATCH` seconds is gone. No clock is compared.

Limits: two machines of one host name are taken for one, and a machine that was frozen for longer
than `WATCH` may find its folder taken by a run elsewhere.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from lavis.common.errors import ConfigError

NAME = ".in_use.json"
BEAT, WATCH = 5.0, 30.0  # seconds
# How file systems without hard links answer.
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


@dataclass(frozen=True)
class Holder:
    """The process that uses a folder.

    Attributes:
        host: name of the machine.
        boot: id of the machine's boot, "" where the system has none.
        namespace: of process ids, which differs between containers of one machine.
        pid: process id.
        started: start of the process in clock ticks after boot; 0 where unknown.
        since: local time at which the folder was taken, for the reader of a message.
    """

    host: str
    boot: str
    namespace: str
    pid: int
    started: int
    since: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"


def this_process() -> Holder:
    """Return the holder that this process is."""
    pid = os.getpid()
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return Holder(socket.gethostname(), boot_id(), _namespace(), pid, _started(pid) or 0, since)


def is_gone(holder: Holder) -> bool | None:
    """Return whether a holder has ended; None when that cannot be seen from here."""
    own = this_process()
    if holder.host != own.host:
        return None
    if holder.boot != own.boot:
        return True
    if holder.namespace != own.namespace:
        return None
    return _started(holder.pid) != holder.started


@contextlib.contextmanager
def folder_in_use(folder: Path, watch: float = WATCH) -> Iterator[None]:
    """Hold a folder for this process; taking it again in the same process is allowed.

    On a file system without lock files the run continues with a warning.

    Args:
        folder: exists.
        watch: seconds in which a holder that cannot be seen must touch the file.

    Raises:
        ConfigError: another process holds the folder; the message names it.
    """
    path, own = folder / NAME, this_process()
    try:
        holder = _take(path, own, watch)
    except OSError as error:
        logging.warning("%s cannot be locked (%s): a second run would not be refused", path, error)
        yield
        return
    if holder is not None and _same(holder, own):
        yield
        return
    if holder is not None:
        raise _refusal(path, holder)
    end = threading.Event()
    threading.Thread(target=_beat, args=(path, end), daemon=True, name="folder in use").start()
    try:
        yield
    finally:
        end.set()
        if _read(path) == own:
            path.unlink(missing_ok=True)


def _refusal(path: Path, holder: Holder) -> ConfigError:
    """Return the error of the second run."""
    return ConfigError(
        "the job's folder is in use by another run",
        where=str(path.parent),
        got=holder,
        expected="one run per folder",
        fix="wait for it or stop it, or set another run.job_id",
    )


def _same(holder: Holder, own: Holder) -> bool:
    """Return whether two holders are one process."""
    return asdict(holder) | {"since": ""} == asdict(own) | {"since": ""}


def _take(path: Path, own: Holder, watch: float) -> Holder | None:
    """Try to lock the folder; return the present owner, or None on success."""
    while not _create(path, own):
        before = _mark(path)
        holder = _read(path)
        gone = is_gone(holder) if holder is not None else None
        if holder is not None and gone is False:
            return holder
        if gone is None and before is not None:
            logging.warning("%s is in use by %s: watching it for %g s", path, holder, watch)
            if _changes(path, before, watch):
                return holder or Holder("an unknown machine", "", "", 0, 0, "an unknown time")
        if before is not None:
            logging.warning("%s: the run that used it is gone (%s)", path.parent, holder)
            _remove(path, before)
    return None


def _create(path: Path, own: Holder) -> bool:
    """Make the lock file with its content in one step; return whether it was not there."""
    text = json.dumps(asdict(own))
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        partial.write_text(text, encoding="utf-8")
        os.link(partial, path)
        return True
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return _create_exclusively(path, text)
    finally:
        partial.unlink(missing_ok=True)


def _create_exclusively(path: Path, text: str) -> bool:
    """Make the lock file where there are no hard links."""
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
        return True
    except FileExistsError:
        return False


def _remove(path: Path, mark: tuple[int, ...]) -> None:
    """Remove the file that was seen to be stale, and no other that has its name by now."""
    with _one_at_a_time(path.parent):
        if _mark(path) == mark:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Let one process of the machine (of the network, as far as it locks) act in a folder."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(ImportError, OSError):
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _mark(path: Path) -> tuple[int, ...] | None:
    """Return a value that differs for each lock file and heartbeat; None without a file."""
    try:
        with open(path, "rb") as file:  # opening refreshes the attributes on a network file system
            status = os.fstat(file.fileno())
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns


def _changes(path: Path, mark: tuple[int, ...], seconds: float) -> bool:
    """Return whether the holder touches or removes the file in so many seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if _mark(path) != mark:
            return _mark(path) is not None
        time.sleep(min(1.0, seconds / 10))
    return False


def _beat(path: Path, end: threading.Event) -> None:
    """Touch the file until the folder is given back."""
    while not end.wait(BEAT):
        with contextlib.suppress(OSError):
            os.utime(path)


def _read(path: Path) -> Holder | None:
    """Return the holder that a lock file names, None when it cannot be read."""
    try:
        return Holder(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def boot_id() -> str:
    """Return the boot id of the machine; "" where unknown."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _started(pid: int) -> int | None:
    """Return when a process started; 0 where unknown; None when it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return _signalled(pid)
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def _signalled(pid: int) -> int | None:
    """Return 0 for a process that can be signalled, without /proc; None for none."""
    if Path("/proc/self/stat").exists():
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return 0
    return 0
