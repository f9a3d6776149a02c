"""An asyncio program, such as a bot framework, with maim_trio's client inside it.

trio runs as a guest of asyncio's event loop: both in one thread, neither waiting for the other. `TrioGuest` is the
bridge; copy it. The program sends a few messages to itself and prints what comes back. It starts a server of its own to
talk to, unless you name one::

    python examples/asyncio_host.py [URL API_KEY]
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Any

import trio

from maim_trio.client import (
    APIMessageBase,
    BaseMessageInfo,
    MessageDim,
    Seg,
    WebSocketClient,
    create_client_config,
)
from maim_trio.server import WebSocketServer, create_server_config

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    import outcome

PLATFORM = "qq"


class TrioGuest:
    """trio inside the running asyncio loop, for the body of ``async with TrioGuest() as guest:``.

    `nursery` is where trio's tasks run, so ``await guest.run(client.start, guest.nursery)`` starts a client. Leaving
    the body cancels what still runs there and waits for the end of trio: the loop must not be closed before that.
    """

    nursery: trio.Nursery

    async def __aenter__(self) -> TrioGuest:
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[outcome.Outcome[None]] = self._loop.create_future()
        started: asyncio.Future[None] = self._loop.create_future()
        trio.lowlevel.start_guest_run(
            self._main,
            started,
            run_sync_soon_threadsafe=self._loop.call_soon_threadsafe,
            run_sync_soon_not_threadsafe=self._loop.call_soon,
            done_callback=self._ended.set_result,
            host_uses_signal_set_wakeup_fd=True,
        )
        if await cancelled_before(started):
            await self.__aexit__()
            raise asyncio.CancelledError
        return self

    async def __aexit__(self, *_: object) -> None:
        self._soon(lambda: self.nursery.cancel_scope.cancel())
        cancelled = await cancelled_before(self._ended)
        self._ended.result().unwrap()
        if cancelled:
            raise asyncio.CancelledError

    async def run(self, function: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        """Calls a trio function from asyncio code and returns its result. Cancelling cancels it."""
        result: asyncio.Future[Any] = self._loop.create_future()
        scope = trio.CancelScope()
        result.add_done_callback(lambda _: self._soon(scope.cancel) if result.cancelled() else None)

        def begin() -> None:
            if self.nursery.cancel_scope.cancel_called:
                result.cancel()
            else:
                self.nursery.start_soon(self._call, scope, result, function, args)

        if not self._soon(begin):
            raise RuntimeError("trio has ended")
        return await result

    async def wait(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Awaits an asyncio coroutine from trio code, a handler for instance. Cancelling cancels it."""
        task = self._loop.create_task(coroutine)
        done = trio.Event()
        task.add_done_callback(lambda _: self._soon(done.set))
        try:
            await done.wait()
        finally:
            task.cancel()  # does nothing once it is done
        return task.result()

    async def _main(self, started: asyncio.Future[None]) -> None:
        async with trio.open_nursery() as self.nursery:
            self._token = trio.lowlevel.current_trio_token()
            started.set_result(None)
            await trio.sleep_forever()

    async def _call(
        self,
        scope: trio.CancelScope,
        result: asyncio.Future[Any],
        function: Callable[..., Awaitable[Any]],
        args: tuple[Any, ...],
    ) -> None:
        try:
            with scope:
                value = await function(*args)
                if not result.done():
                    result.set_result(value)
        except Exception as error:
            if not result.done():
                result.set_exception(error)
        finally:
            result.cancel()  # cancelled with everything else; does nothing once it is done

    def _soon(self, function: Callable[[], object]) -> bool:
        """Calls `function` in trio's context; False when trio has ended."""
        try:
            self._token.run_sync_soon(function)
        except trio.RunFinishedError:
            return False
        return True


async def cancelled_before(future: asyncio.Future[Any]) -> bool:
    """Waits for `future` whatever happens; whether the waiting task was cancelled meanwhile."""
    cancelled = False
    while not future.done():
        try:
            await asyncio.shield(future)
        except asyncio.CancelledError:
            cancelled = True
    return cancelled


class Bot:
    """What is asyncio's: it knows nothing of trio."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[str] = asyncio.Queue(maxsize=100)

    async def hear(self, text: str) -> None:
        await asyncio.sleep(0.01)  # a database, an HTTP request, a language model
        await self.heard.put(text)


def text_message(text: str, api_key: str) -> APIMessageBase:
    return APIMessageBase(
        message_info=BaseMessageInfo(platform=PLATFORM, message_id=text, time=time.time()),
        message_segment=Seg(type="text", data=text),
        message_dim=MessageDim(api_key=api_key, platform=PLATFORM),
    )


async def start_server(guest: TrioGuest) -> tuple[str, str]:
    """A server that hands every message on. Returns where it is, and a key for it."""

    async def relay(message: APIMessageBase, _metadata: dict[str, Any]) -> None:
        await server.send_message(message)

    server = WebSocketServer(
        create_server_config(host="127.0.0.1", port=0, on_auth=lambda metadata: True, on_message=relay)
    )
    await guest.run(server.start, guest.nursery)
    return f"ws://127.0.0.1:{server.port}/ws", "key-of-bot"


async def main(url: str | None = None, api_key: str = "") -> None:
    bot = Bot()
    async with TrioGuest() as guest:
        if url is None:
            url, api_key = await start_server(guest)

        async def on_message(message: APIMessageBase, _metadata: dict[str, Any]) -> None:
            # In trio. The handler lasts as long as the bot's work, so the limits on handlers hold for the bot as well.
            await guest.wait(bot.hear(message.message_segment.data))

        client = WebSocketClient(create_client_config(url, api_key, platform=PLATFORM, on_message=on_message))
        await guest.run(client.start, guest.nursery)
        if not await guest.run(client.connect):
            raise SystemExit(client.get_last_error())

        for text in ("one", "two", "three"):
            print("sent", text, await guest.run(client.send_message, text_message(text, api_key)))
        for _ in range(3):
            print("heard", await bot.heard.get())
        await guest.run(client.stop)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
