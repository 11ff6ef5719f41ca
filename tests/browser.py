"""A headless Chromium without a network, driven over the DevTools protocol: what a reader's browser does with
a page."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tornado.websocket import websocket_connect

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MISSING = (
    "no Chromium to test the pages with; install it: apt-get install chromium (Debian), brew install "
    "chromium (macOS)"
)
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--remote-debugging-port=0",
    "--hide-scrollbars",
    "--disable-dev-shm-usage",
)
PATIENCE = 90
"""Seconds after which a page that does not settle is an error."""


def chromium() -> str:
    """The path of a Chromium; RuntimeError with one line that says what to install."""
    for name in NAMES:
        if shutil.which(name):
            return shutil.which(name)
    raise RuntimeError(MISSING)


@dataclass
class Page:
    """What happened while a page was open."""

    requests: list[str] = field(default_factory=list)
    """Every address that was asked for."""
    complaints: list[str] = field(default_factory=list)
    """Errors in the console and uncaught exceptions."""


class Browser:
    """One Chromium with one tab; use as a context manager."""

    def __enter__(self) -> Self:
        self.folder = tempfile.mkdtemp(prefix="darkmatter-browser-")
        command = [chromium(), *FLAGS, f"--user-data-dir={self.folder}", "about:blank"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.loop = asyncio.new_event_loop()
        self.number, self.page, self.socket = 0, Page(), None
        try:
            self.socket = self.loop.run_until_complete(self._connect())
            for domain in ("Page", "Network", "Runtime", "Log"):
                self.call(f"{domain}.enable")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_) -> None:
        if self.socket is not None:
            self.socket.close()
        self.process.terminate()
        self.process.wait(timeout=20)
        self.loop.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def open(
        self, path: Path, *, width: int = 1000, height: int = 900, scripts: bool = True, query: str = ""
    ) -> Page:
        """Load a file at a page width and wait until it has loaded; what it asked for and complained of."""
        self.resize(width, height)
        self.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.page = Page()
        self.call("Page.navigate", url=path.resolve().as_uri() + query)
        self.until("document.readyState === 'complete'")
        return self.page

    def resize(self, width: int, height: int = 900) -> None:
        """Give the window another size; the page that is open is laid out anew."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **metrics)

    def prefer(self, scheme: str) -> None:
        """Let the reader's system prefer "light" or "dark", and no motion."""
        features = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
        named = [{"name": name, "value": value} for name, value in features.items()]
        self.call("Emulation.setEmulatedMedia", features=named)

    def evaluate(self, expression: str):
        """The value of a JavaScript expression in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def until(self, expression: str) -> None:
        """Wait until a JavaScript expression is true, on whatever page a first one leads to."""
        deadline = time.monotonic() + PATIENCE
        while not self._now(expression):
            if time.monotonic() > deadline:
                raise TimeoutError(f"not true after {PATIENCE} s: {expression}")
            self.loop.run_until_complete(asyncio.sleep(0.1))

    def _now(self, expression: str):
        try:
            return self.evaluate(expression)
        except RuntimeError as error:
            said = str(error)  # a page that leads to another was asked while it went
            if "navigated" not in said and "context" not in said:
                raise
            return False

    def screenshot(self, path: Path, *, clip: str | None = None) -> None:
        """A PNG of the window, or of the element that a CSS selector names."""
        options = {}
        if clip:
            box = self.evaluate(
                f"(() => {{const r = document.querySelector({json.dumps(clip)}).getBoundingClientRect();"
                "return {x: r.x + scrollX, y: r.y + scrollY, width: r.width, height: r.height}})()"
            )
            options = {"clip": box | {"scale": 1}, "captureBeyondViewport": True}
        answer = self.call("Page.captureScreenshot", format="png", **options)
        path.write_bytes(base64.b64decode(answer["data"]))

    def call(self, method: str, **parameters):
        """One DevTools command and its answer."""
        return self.loop.run_until_complete(self._call(method, parameters))

    async def _connect(self):
        port = Path(self.folder) / "DevToolsActivePort"
        deadline = time.monotonic() + PATIENCE
        while not port.exists() or len(port.read_text().splitlines()) < 2:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("Chromium did not start")
            await asyncio.sleep(0.05)
        number, browser = port.read_text().splitlines()[:2]
        socket = await websocket_connect(f"ws://127.0.0.1:{number}{browser}", max_message_size=1 << 28)
        self.socket, self.session = socket, None
        targets = await self._call("Target.getTargets", {})
        target = next(info["targetId"] for info in targets["targetInfos"] if info["type"] == "page")
        attached = await self._call("Target.attachToTarget", {"targetId": target, "flatten": True})
        self.session = attached["sessionId"]
        return socket

    async def _call(self, method: str, parameters: dict):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        await self.socket.write_message(json.dumps(message))
        while True:
            text = await asyncio.wait_for(self.socket.read_message(), PATIENCE)
            if text is None:
                raise RuntimeError("Chromium closed the connection")
            answer = json.loads(text)
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self._note(answer)

    def _note(self, event: dict) -> None:
        kind, about = event.get("method"), event.get("params", {})
        if kind == "Network.requestWillBeSent":
            self.page.requests.append(about["request"]["url"])
        elif kind == "Runtime.exceptionThrown":
            self.page.complaints.append(
                str(about["exceptionDetails"].get("exception", about["exceptionDetails"]))
            )
        elif kind == "Runtime.consoleAPICalled" and about["type"] in ("error", "warning"):
            self.page.complaints.append(
                " ".join(str(a.get("value", a.get("description"))) for a in about["args"])
            )
        elif kind == "Log.entryAdded" and about["entry"]["level"] == "error":
            self.page.complaints.append(about["entry"]["text"])
