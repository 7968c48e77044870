"""Ctrl-C, and the SIGTERM of a scheduler: the process says one line and ends at once, as it may be killed at any time.

It imports nothing that takes time, so that it is there before the imports that do.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}

SECONDS = 5
"""How long what is given back may take."""

_came = threading.Event()
_last_calls: list[Callable[[], None]] = []


def listen() -> None:
    """End the process when a signal comes, but for one that it was started to ignore, as `nohup` does with some.

    A handler of Python's waits until the main thread comes back from a long call, such as a query of DuckDB, and dlt
    sets handlers of its own. The number of a signal is written to the wakeup descriptor at once and whoever handles it.
    """
    heard = [number for number in WORDS if signal.getsignal(number) not in (signal.SIG_IGN, None)]
    for number in heard:
        signal.signal(number, lambda *_: None)
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_wait, args=(reader, writer), daemon=True).start()
    # Ctrl-C goes to all processes of a terminal. Those that this thread starts inherit that it is blocked, and print
    # no trace before they end with this one; the thread above takes it.
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


@contextmanager
def last(call: Callable[[], None]) -> Iterator[None]:
    """Have a function called before a signal ends the process, in a thread of its own."""
    _last_calls.append(call)
    try:
        yield
    finally:
        _last_calls.remove(call)


@contextmanager
def comes_first() -> Iterator[None]:
    """Wait for the end when a signal came, whatever it made of the code within: that would be said as a failure."""
    try:
        yield
    finally:
        if _came.is_set():
            threading.Event().wait()


def _wait(reader: socket.socket, writer: socket.socket) -> None:
    """Read signals until one comes that ends the process; the descriptor closes with the object that is held here."""
    while (number := reader.recv(1)[0]) not in WORDS:
        pass
    _came.set()
    calls = [threading.Thread(target=call, daemon=True) for call in _last_calls]
    for call in calls:
        call.start()
    for call in calls:
        call.join(SECONDS)
    cursor = "\r\x1b[K\x1b[?25h" if os.isatty(2) else ""  # a progress bar hides it
    with suppress(OSError):
        os.write(2, f"{cursor}headrace: {WORDS[signal.Signals(number)]}, run it again\n".encode())
    os._exit(128 + number)
