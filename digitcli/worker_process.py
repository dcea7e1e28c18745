"""Worker processes: they leave signals to the parent process, and they end when it ends."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading


def set_up_worker() -> None:
    """Set up a worker process; each worker calls this first.

    It ignores Ctrl-C, which is for the parent, and ends when the parent ends. OpenCV uses one thread, because
    its threads would compete with the other workers.
    """
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)  # a signal to the parent's process group does not reach the worker
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    cv2.setNumThreads(1)


def _end_with(sentinel: int) -> None:
    """End this process when the parent ends: otherwise it would wait for ever to hand over its work."""
    multiprocessing.connection.wait([sentinel])
    os._exit(1)
