"""Processes that work for this one: they leave signals to it, and end with it."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading


def begin_child() -> None:
    """What a child does first. OpenCV's threads would be in the way of the other children."""
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)  # out of reach of what is sent to the whole group
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    cv2.setNumThreads(1)


def _end_with(sentinel: int) -> None:
    """A parent that was killed leaves no child behind, which would wait for ever to hand its work over."""
    multiprocessing.connection.wait([sentinel])
    os._exit(1)
