"""Chromium without a window, steered through a pipe by the DevTools protocol."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
OPTIONS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --remote-debugging-pipe"
)
PATIENCE_S = 60  # for a browser that hangs
# What the protocol reports when a page complains or requests something.
COMPLAINTS = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")

# Return the texts whose contrast with what is behind them is below 4.5 (WCAG 2.2, level AA), as painted.
PALE_TEXTS = """(() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const luminance = colours => {
    canvas.clearRect(0, 0, 1, 1);
    for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map(
      level => level / 255 <= 0.04045 ? level / 255 / 12.92 : ((level / 255 + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const pale = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    if (!walker.currentNode.textContent.trim()) continue;
    const parent = walker.currentNode.parentElement, backgrounds = [];
    for (let e = parent; e; e = e.parentElement) backgrounds.unshift(getComputedStyle(e).backgroundColor);
    const pair = [luminance(backgrounds), luminance([...backgrounds, getComputedStyle(parent).color])];
    const ratio = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
    if (ratio < 4.5) pale.push([walker.currentNode.textContent, ratio]);
  }
  return pale;
})()"""


class Browser:
    """One tab of a browser. `complaints` and `requests` collect what the pages did."""

    def __init__(self, send: int, receive: int) -> None:
        self._send, self._receive = os.fdopen(send, "wb"), os.fdopen(receive, "rb")
        self._number, self._rest = 0, b""
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.call(f"{domain}.enable")

    def close(self) -> None:
        """Close the pipes, which ends the browser."""
        self._send.close()
        self._receive.close()

    @property
    def complaints(self) -> list[dict[str, Any]]:
        """The messages on the console, and the errors."""
        return [event for event in self.events if event["method"] in COMPLAINTS]

    @property
    def requests(self) -> list[str]:
        """The addresses that were requested, without data that the page itself holds."""
        sent = [event for event in self.events if event["method"] == "Network.requestWillBeSent"]
        urls = [event["params"]["request"]["url"] for event in sent]
        return [url for url in urls if not url.startswith("data:")]

    def open(self, url: str) -> None:
        """Open a page and wait until it and its pictures are loaded."""
        self.events.clear()
        self.call("Page.navigate", url=url)
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self._read()

    def look(self, width: int, scheme: str) -> None:
        """Set the width of the window in pixels, and the colours that its user prefers, light or dark."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False
        )
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def print(self) -> bytes:
        """Return the page as a PDF of A4 sheets, without backgrounds, as a browser prints by default."""
        sheet = {"paperWidth": 8.27, "paperHeight": 11.69}  # inches
        return base64.b64decode(self.call("Page.printToPDF", printBackground=False, **sheet)["data"])

    def evaluate(self, script: str) -> Any:
        """Return the value of an expression of JavaScript; the page itself may forbid scripts."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"]["value"]

    def drag(self, points: Sequence[tuple[float, float]]) -> None:
        """Move the mouse along points of the window with its button pressed."""

        def send(kind: str, point: tuple[float, float], **pressed: Any) -> None:
            self.call("Input.dispatchMouseEvent", type=kind, x=point[0], y=point[1], button="left", **pressed)

        send("mousePressed", points[0], buttons=1, clickCount=1)
        for point in points[1:]:
            send("mouseMoved", point, buttons=1)
        send("mouseReleased", points[-1], clickCount=1)

    def press(self, key: str) -> None:
        """Press and release a key, e.g. Escape."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key)

    def choose_file(self, selector: str, path: Path) -> None:
        """Choose a file in an input of the page."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def wait_for(self, script: str) -> Any:
        """Wait until an expression is true, and return its value."""
        ends = time.monotonic() + PATIENCE_S
        while not (value := self.evaluate(script)):
            assert time.monotonic() < ends, script
            time.sleep(0.02)
        return value

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its answer; events that come before it are collected."""
        self._number += 1
        command: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            command["sessionId"] = self._session
        self._send.write(json.dumps(command).encode() + b"\0")
        self._send.flush()
        while (answer := self._read()).get("id") != self._number:
            pass
        assert "error" not in answer, answer
        return answer["result"]  # type: ignore[no-any-return]

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            assert select.select([self._receive], [], [], PATIENCE_S)[0], "the browser does not answer"
            block = os.read(self._receive.fileno(), 65536)
            assert block, "the browser has ended"
            self._rest += block
        line, self._rest = self._rest.split(b"\0", 1)
        message: dict[str, Any] = json.loads(line)
        if "method" in message:
            self.events.append(message)
        return message


@contextlib.contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """Start Chromium with a profile of its own, and end it after the context."""
    command_reader, command_writer = os.pipe()
    answer_reader, answer_writer = os.pipe()
    # The protocol uses the descriptors 3 and 4.
    script = f"exec {CHROMIUM} {OPTIONS} --user-data-dir='{profile}' 3<&{command_reader} 4>&{answer_writer}"
    process = subprocess.Popen(
        ["bash", "-c", script], pass_fds=(command_reader, answer_writer), stderr=subprocess.DEVNULL
    )
    os.close(command_reader)
    os.close(answer_writer)
    try:
        with contextlib.closing(Browser(command_writer, answer_reader)) as tab:
            yield tab
    finally:
        process.terminate()
        process.wait()
