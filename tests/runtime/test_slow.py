"""debug_slow_step: the handler that blocks the event loop is found and named."""

from __future__ import annotations

import time

import pytest
import trio
import trio.testing

from maim_trio._runtime import slow as slow_module
from maim_trio._runtime.slow import SlowStepWatch
from tests.memory import text_message

LIMIT = 0.02
"""Seconds; what blocks in these tests does so twice as long."""


class Clock:
    """Moves only in `block`: on a busy machine any step may take long by a real one."""

    now = 0.0

    def __call__(self):
        return self.now


clock = Clock()


@pytest.fixture(autouse=True)
def the_clock(monkeypatch):
    monkeypatch.setattr(slow_module, "clock", clock)


def block():
    """What a handler must not do."""
    clock.now += 2 * LIMIT


@pytest.fixture
def slow(log):
    """The lines that name a slow step, taken out of the log as they are asked for."""
    return lambda: log.having("blocked the event loop", "WARNING")


# -- the instrument


async def watch(task, *, watched=lambda task: True):
    """What is reported while a task runs."""
    reports = []
    instrument = SlowStepWatch(LIMIT, watched, lambda name, took: reports.append((name, took)))
    trio.lowlevel.add_instrument(instrument)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(task, name="the task")
    finally:
        trio.lowlevel.remove_instrument(instrument)
    return reports


async def test_a_step_that_blocks_is_reported_with_name_and_time():
    async def task():
        await trio.lowlevel.checkpoint()
        block()
        await trio.lowlevel.checkpoint()

    [(name, took)] = await watch(task)
    assert name == "the task"
    assert took == pytest.approx(2 * LIMIT)


async def test_each_step_that_blocks_is_reported_once():
    async def task():
        for _ in range(3):
            block()
            await trio.lowlevel.checkpoint()

    assert len(await watch(task)) == 3


async def test_waiting_is_not_blocking(autojump_clock):
    async def task():
        for _ in range(100):
            await trio.sleep(1)

    assert await watch(task) == []


async def test_tasks_of_others_are_not_reported():
    async def task():
        block()
        await trio.lowlevel.checkpoint()

    assert await watch(task, watched=lambda task: task.name == "another") == []


async def test_the_step_in_which_it_was_installed_is_not_reported():
    async def task():
        await trio.lowlevel.checkpoint()

    block()
    assert await watch(task) == []


async def test_by_itself_it_goes_by_real_time(monkeypatch):
    async def task():
        await trio.lowlevel.checkpoint()
        time.sleep(2 * LIMIT)  # noqa: ASYNC251 - what it is about
        await trio.lowlevel.checkpoint()

    monkeypatch.undo()
    assert max(took for _, took in await watch(task)) >= 2 * LIMIT


# -- in a server and in a client


@pytest.fixture(params=["server", "client"])
def blocking(request, network):
    """(server, client), one of them with a watch and a handler that blocks"""

    def make(**config):
        config = {"debug_slow_step": LIMIT, "log_level": "WARNING", **config}
        if request.param == "server":
            return network.server(**config), network.client()
        return network.server(), network.client(**config)

    return make


async def test_a_handler_that_blocks_is_named_by_its_kind(blocking, slow):
    server, client = blocking(on_message=lambda *_: block(), custom_handlers={"greedy": lambda *_: block()})
    async with server, client:
        await client.connect()
        for _ in range(2):
            await client.send_message(text_message())
            await client.send_custom_message("greedy", {})
            await server.broadcast_message(text_message())
            await server.broadcast_custom_message("greedy", {})
            await trio.testing.wait_all_tasks_blocked()
    said = slow()
    assert sorted(line.split()[0] for line in said) == ["custom_greedy"] * 2 + ["on_message"] * 2
    assert all("use await, or trio.to_thread.run_sync" in line for line in said)


async def test_a_handler_that_awaits_is_not_named(blocking, slow):
    async def on_message(message, metadata):
        await trio.sleep(100)

    server, client = blocking(on_message=on_message)
    async with server, client:
        await client.connect()
        await client.send_message(text_message())
        await server.broadcast_message(text_message())
        await trio.sleep(200)
    assert slow() == []


async def test_without_the_setting_nobody_watches(blocking, slow):
    server, client = blocking(debug_slow_step=None, on_message=lambda *_: block())
    async with server, client:
        await client.connect()
        await client.send_message(text_message())
        await server.broadcast_message(text_message())
        await trio.testing.wait_all_tasks_blocked()
    assert slow() == []


async def test_what_the_program_does_besides_is_its_own_business(blocking, slow):
    server, client = blocking()
    async with server, client:
        await client.connect()
        block()
        await trio.testing.wait_all_tasks_blocked()
    assert slow() == []


async def test_the_watch_ends_with_its_owner_and_begins_anew_with_it(network, slow):
    server = network.server(debug_slow_step=LIMIT, on_message=lambda *_: block())
    for rounds in (1, 2):
        async with server, network.client() as client:
            await client.connect()
            await client.send_message(text_message())
            await trio.testing.wait_all_tasks_blocked()
        assert len(slow()) == rounds


async def test_two_watches_name_each_their_own(network, slow):
    other = type(network)()
    servers = [each.server(debug_slow_step=LIMIT, on_message=lambda *_: block()) for each in (network, other)]
    async with servers[0], servers[1], network.client() as client:
        await client.connect()
        await client.send_message(text_message())
        await trio.testing.wait_all_tasks_blocked()
    assert len(slow()) == 1


async def test_a_logger_that_raises_ends_neither_the_watch_nor_the_server(network, slow):
    class Broken:
        def warning(self, line):
            raise OSError("disk full")

    server = network.server(debug_slow_step=LIMIT, on_message=lambda *_: block(), custom_logger=Broken())
    async with server, network.client() as client:
        await client.connect()
        for number in (1, 2):
            await client.send_message(text_message())
            await trio.testing.wait_all_tasks_blocked()
            assert len(slow()) == number  # said where lines go without a logger
        assert client.is_connected()
