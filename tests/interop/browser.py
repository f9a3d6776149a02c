"""Headless Chromium, driven over its DevTools WebSocket; just the little that a test of one page needs."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from collections import deque
from typing import TYPE_CHECKING, Any

import trio
from trio_websocket import WebSocketConnection, connect_websocket_url

from tests.interop.peer_process import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_FLAGS = (
    "--headless",
    "--no-sandbox",  # tests run as root in containers
    "--disable-gpu",
    "--disable-dev-shm-usage",
    # Nothing but the page's own connections leaves the browser.
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--window-size=1100,720",
    "--remote-debugging-port=0",
)
_MAX_ANSWER = 32 * 1024 * 1024  # bytes; a screenshot is the largest
_END_TIMEOUT = 10.0


class Program:
    """A child process whose output is read to the end, and whose first line that fits a pattern is of interest."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._seen = b""
        self._news = trio.Event()
        self._ended = False

    @classmethod
    async def start(cls, nursery: trio.Nursery, command: Sequence[str | Path]) -> Program:
        process = await trio.lowlevel.open_process(
            [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        program = cls(process)
        nursery.start_soon(program._read)
        return program

    async def announced(self, pattern: bytes) -> str:
        """The first group of the pattern, once it is in the output."""
        with trio.move_on_after(PATIENCE):
            while not (found := re.search(pattern, self._seen)) and not self._ended:
                await self._news.wait()
            if found:
                return found.group(1).decode()
        raise AssertionError(f"{self._process.args[0]} did not say {pattern!r}: {self._seen[-2000:]!r}")

    async def aclose(self) -> None:
        """Terminate it, and kill it if that does not help."""
        with trio.CancelScope(shield=True):
            with trio.move_on_after(_END_TIMEOUT):
                self._process.terminate()
                await self._process.wait()
            self._process.kill()
            await self._process.wait()
            await self._process.stdout.aclose()

    async def _read(self) -> None:
        try:
            async for chunk in self._process.stdout:
                self._seen += chunk
                self._wake()
        except trio.ClosedResourceError:
            pass  # `aclose` came first: a child of the process may hold the pipe open for a while
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = trio.Event()


async def serve_relay(nursery: trio.Nursery, *users_of_keys: str) -> tuple[Program, str]:
    """``python -m maim_trio serve`` with ``KEY=USER`` pairs, and the URL that it announces."""
    keys = [part for pair in users_of_keys for part in ("--key", pair)]
    program = await Program.start(nursery, [sys.executable, "-m", "maim_trio", "serve", "--port", "0", *keys])
    return program, await program.announced(rb"ready at (ws://\S+)")


async def serve_folder(nursery: trio.Nursery, folder: Path) -> tuple[Program, str]:
    """``python -m http.server`` for the folder on a free port of the loopback, and its URL."""
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", folder]
    program = await Program.start(nursery, command)
    return program, await program.announced(rb"\((http://[^)]+)\)")


class Page:
    """One tab. Calls wait for their answer; what the page does by itself is kept for `event`.

    The tabs of a browser share its DevTools connection, so only one of them may be waiting at a time.
    """

    def __init__(self, devtools: WebSocketConnection) -> None:
        self._devtools = devtools
        self._session: str | None = None
        self._number = 0
        self._events: deque[dict[str, Any]] = deque()

    @classmethod
    async def open(cls, devtools: WebSocketConnection) -> Page:
        page = cls(devtools)
        target = await page.call("Target.createTarget", url="about:blank")
        attached = await page.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        page._session = attached["sessionId"]
        await page.call("Page.enable")
        await page.call("Emulation.setFocusEmulationEnabled", enabled=True)  # for a tab in the background
        return page

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One DevTools command and its result."""
        self._number += 1
        request = {"id": self._number, "method": method, "params": params}
        if self._session is not None:
            request["sessionId"] = self._session
        await self._devtools.send_message(json.dumps(request))
        with trio.fail_after(PATIENCE):
            while (answer := await self._next()).get("id") != self._number:
                self._events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    async def event(self, method: str) -> None:
        """Wait until the event has happened (since the last wait for it)."""
        with trio.fail_after(PATIENCE):
            while not any(event["method"] == method for event in self._events):
                if (event := await self._next()).get("sessionId") == self._session:
                    self._events.append(event)
        self._events.clear()

    async def visit(self, url: str) -> None:
        await self.call("Page.navigate", url=url)
        await self.event("Page.loadEventFired")

    async def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression; a promise is awaited."""
        answer = await self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def wait_for(self, condition: str) -> None:
        """Wait until the JavaScript condition holds; it is looked at whenever the document changes."""
        await self.evaluate(
            "new Promise((resolve) => {"
            f"  const check = () => {{ if ({condition}) {{ observer.disconnect(); resolve(); }} }};"
            "  const observer = new MutationObserver(check);"
            "  observer.observe(document, {subtree: true, childList: true, attributes: true, characterData: true});"
            "  check();"
            "})"
        )

    async def type_into(self, element: str, text: str) -> None:
        """Replace what is in a field, the way a keyboard does."""
        await self.evaluate(
            f"(document.getElementById({json.dumps(element)}).focus(), document.execCommand('selectAll'))"
        )
        await self.call("Input.insertText", text=text)

    async def press_enter(self) -> None:
        key = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}
        await self.call("Input.dispatchKeyEvent", type="keyDown", **key)
        await self.call("Input.dispatchKeyEvent", type="keyUp", **key)

    async def click(self, element: str) -> None:
        """Press and release the left mouse button in the middle of an element."""
        middle = (
            f"(() => {{ const box = document.getElementById({json.dumps(element)}).getBoundingClientRect();"
            "  return {x: box.x + box.width / 2, y: box.y + box.height / 2}; })()"
        )
        place = {**await self.evaluate(middle), "button": "left", "clickCount": 1}
        await self.call("Input.dispatchMouseEvent", type="mousePressed", **place)
        await self.call("Input.dispatchMouseEvent", type="mouseReleased", **place)

    async def screenshot(self) -> bytes:
        """The visible page as a PNG."""
        return base64.b64decode((await self.call("Page.captureScreenshot", format="png"))["data"])

    async def _next(self) -> dict[str, Any]:
        return json.loads(await self._devtools.get_message())


async def start_chromium(nursery: trio.Nursery, binary: Path, profile: Path) -> tuple[Program, WebSocketConnection]:
    """Chromium with an empty profile, and the DevTools connection to it."""
    program = await Program.start(nursery, [binary, *_FLAGS, f"--user-data-dir={profile}", "about:blank"])
    address = await program.announced(rb"DevTools listening on (ws://\S+)")
    return program, await connect_websocket_url(nursery, address, max_message_size=_MAX_ANSWER)
