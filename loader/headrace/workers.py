"""Calls spread over processes, which end with the process that started them, however that ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from .errors import LoadError

MOST_WORKERS = 4
"""Each needs memory of its own, and what they read has to be loaded."""

Found = TypeVar("Found")


def count() -> int:
    """How many processes are worth starting: one for each core that this one may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_WORKERS)


def in_order(call: Callable[..., Found], arguments: Iterator[tuple[Any, ...]]) -> Iterator[Found]:
    """What a function returns for each of the arguments, in their order, a few of them at work ahead.

    Raises:
        LoadError: a process was killed.
    """
    processes = multiprocessing.get_context("spawn")  # this one has threads, which a fork would not survive
    reader, lifeline = processes.Pipe(duplex=False)
    executor = ProcessPoolExecutor(count(), processes, _begin, (reader,))
    pending: deque[Future[Found]] = deque()
    try:
        for one in arguments:
            pending.append(executor.submit(call, *one))
            if len(pending) > 2 * count():
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
        executor.shutdown()
    except BrokenProcessPool as error:
        raise LoadError("a process that read files was killed, perhaps for want of memory; run it again") from error
    finally:
        lifeline.close()
        executor.shutdown(wait=False, cancel_futures=True)


def _begin(lifeline: Connection) -> None:
    """Have this process end when the other end of a pipe is closed, as it is by the end of who holds it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all of a terminal; the first one closes the pipe
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()


def _end_with(lifeline: Connection) -> None:
    with suppress(EOFError, OSError):
        lifeline.recv()
    os._exit(1)
