"""One sync at a time to a target: a lock that this machine keeps, and for a warehouse a lease that all machines see."""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dlt.destinations.exceptions import DatabaseException
from filelock import FileLock, Timeout
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random

from . import stop, versions
from .errors import LoadError, UsageError
from .failures import lasts
from .pipeline import connected
from .target import Target
from .warehouses import warehouse_of

LEASE_SECONDS = 300
"""How long a machine that was killed keeps others away; it goes on at once itself."""

RENEW_SECONDS = 60


@contextmanager
def alone(target: Target) -> Iterator[None]:
    """Keep other syncs to this database away, of this machine and of others, until the process ends, however it ends.

    Raises:
        LoadError: another sync is under way.
        UsageError: a newer headrace has made the tables.
    """
    with _locked(target), ExitStack() as held:
        with connected(target, writes=True) as pipeline:
            if not warehouse_of(target).file:
                lease = _Lease(target, pipeline.sql_client())
                # A statement may be under way on its connection when a signal comes.
                held.enter_context(stop.last(_Lease(target, pipeline.sql_client()).give_back))
                lease.take()
                held.enter_context(lease.kept())
            versions.claim(pipeline, target)
        yield


@contextmanager
def _locked(target: Target) -> Iterator[None]:
    """Hold a lock that the system lets go of when the process ends.

    It lies beside a DuckDB file, where whoever writes to that finds it; on a server the lease keeps away who has
    another working folder.
    """
    file = warehouse_of(target).file
    path = Path(f"{file.resolve()}.lock") if file else target.work_dir / "lock"
    try:
        target.work_dir.mkdir(parents=True, exist_ok=True)
        path.open("a").close()
        lock = FileLock(path).acquire(timeout=0)
    except Timeout:
        pid = "unknown"
        with suppress(OSError):  # Windows lets nobody read a locked file, nor write to it by its name
            pid = path.read_text()
        raise LoadError(
            f"another sync to target {target.name!r} is under way (process {pid}); try again when it has ended"
        ) from None
    except OSError as error:
        said = f"{path} can't be written: {error.strerror}"
        raise (UsageError if lasts(error) else LoadError)(said) from error
    with lock:
        with suppress(OSError):
            path.write_text(str(os.getpid()))
        yield


class _Lease:
    """The row of the table `lease` that says who may load and build, and until when, by the warehouse's clock.

    It is claimed by an update of that row where it has expired, which every warehouse runs one after the other. The
    race to make the row may make two; they are updated as one.
    """

    def __init__(self, target: Target, client: Any) -> None:
        """The lease on a target; the client connects to it."""
        self.label = target.label
        self.client = client
        self.owner = f"{socket.gethostname()}:{uuid.getnode():x}:{target.work_dir}"
        self.text = warehouse_of(target).text_type
        self.until = 0.0

    def take(self) -> None:
        """Make the table where it is missing, and claim it. Raises LoadError when another machine has it."""
        held = self._make_and_claim()
        if held:
            self.give_back()  # the row of its own that the race to make it may have left
            owner, expires = held
            until = datetime.fromtimestamp(expires, UTC)
            raise LoadError(
                f"{self.label}: a sync from another machine is under way ({owner}); if it was killed, this target is "
                f"free from {until:%H:%M:%S} UTC on"
            )

    # Of two writers at once, BigQuery and Redshift refuse one.
    @retry(
        retry=retry_if_exception_type(DatabaseException),
        stop=stop_after_attempt(4),
        wait=wait_random(0.2, 1),
        reraise=True,
    )
    def _make_and_claim(self) -> tuple[str, int] | None:
        with self.client:
            if not self.client.has_dataset():
                try:
                    self.client.create_dataset()
                except Exception:
                    if not self.client.has_dataset():  # another machine was quicker
                        raise
            self.client.execute_sql(f"create table if not exists lease (owner {self.text}, expires bigint)")
            self.client.execute_sql(
                "insert into lease (owner, expires) "
                "select '', 0 from (select 1 as one) as seed where not exists (select 1 from lease)"
            )
            return self._claim()

    def claim(self) -> tuple[str, int] | None:
        """Renew it; who has it and until when, if another one does."""
        with self.client:
            return self._claim()

    def _claim(self) -> tuple[str, int] | None:
        began = time.monotonic()
        ((now,),) = self.client.execute_sql("select current_timestamp")
        seconds = int(now.timestamp())
        self.client.execute_sql(
            "update lease set owner = %s, expires = %s where owner = %s or expires < %s or expires > %s",
            self.owner,
            seconds + LEASE_SECONDS,
            self.owner,
            seconds,
            seconds + 2 * LEASE_SECONDS,  # made while the warehouse's clock was ahead
        )
        held = [(owner, int(expires)) for owner, expires in self.client.execute_sql("select owner, expires from lease")]
        others = [one for one in held if one[0] != self.owner]
        if not others:
            self.until = began + LEASE_SECONDS
        return others[0] if others else None

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Renew it from time to time, and give it back in the end."""
        done = threading.Event()
        thread = threading.Thread(target=self._keep, args=(done,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            self.give_back()

    def give_back(self) -> None:
        """Let other machines in."""
        with suppress(Exception), self.client:  # it expires, too
            self.client.execute_sql("update lease set expires = 0 where owner = %s", self.owner)

    def _keep(self, done: threading.Event) -> None:
        """Renew it until done. Whoever loses it must not write on: what this raises ends the process (see cli.py)."""
        while not done.wait(RENEW_SECONDS):
            held = None
            with suppress(Exception):
                held = self.claim()
            if held or time.monotonic() > self.until:
                raise LoadError(f"{self.label}: this sync could not renew its lease and has stopped; run it again")
