"""The page in ``examples/browser`` in a real browser, which has nothing but its own WebSocket, against our server."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from tests.conftest import needs
from tests.interop.browser import Page, serve_folder, serve_relay, start_chromium
from tests.interop.ours import ALICE, BOB, USERS, WRONG_KEY, Inbox, parsed, text_to, url_of
from tests.peers import ROOT, chromium

if TYPE_CHECKING:
    from maim_trio.server import WebSocketServer

LOG = "document.getElementById('log').innerText"
STATUS = "document.getElementById('status').innerText"


@pytest.fixture(scope="module")
def chromium_binary():
    return needs(chromium)


@pytest.fixture
async def open_page(chromium_binary, nursery, tmp_path):
    """Opens the example page in another tab of one browser."""
    web_server, url = await serve_folder(nursery, ROOT / "examples" / "browser")
    browser, devtools = await start_chromium(nursery, chromium_binary, tmp_path / "profile")

    async def open_() -> Page:
        page = await Page.open(devtools)
        await page.visit(url)
        return page

    yield open_
    await devtools.aclose()
    await browser.aclose()
    await web_server.aclose()


@pytest.fixture
async def page(open_page):
    return await open_page()


@pytest.fixture
def relay(serve):
    """Starts a server that hands every message on to whom it is for, and tells the sender when nobody is there."""

    async def start() -> WebSocketServer:
        async def on_message(message, metadata):
            if not await server.send_message(message):
                report = {"msg_id": metadata["msg_id"], "message": "nobody is connected there"}
                await server.send_custom_message("relay_report", report, connection_uuid=metadata["uuid"])

        server = await serve(on_message=on_message)
        return server

    return start


async def log_in(page: Page, url: str, api_key: str) -> None:
    name = USERS.get(api_key, "nobody").title()
    for field, value in [("url", url), ("key", api_key), ("platform", "web"), ("name", name)]:
        await page.type_into(field, value)
    await page.click("connect")


async def write(page: Page, text: str, *, to_key: str, to_platform: str = "qq") -> None:
    for field, value in [("to-key", to_key), ("to-platform", to_platform), ("text", text)]:
        await page.type_into(field, value)
    await page.press_enter()


def size_of_png(data: bytes) -> tuple[int, int]:
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert data[12:16] == b"IHDR"
    return struct.unpack(">II", data[16:24])


async def test_a_person_chats_in_chromium(page, relay, client_of_ours, tmp_path):
    server = await relay()
    inbox = Inbox()
    bob = await client_of_ours(url_of(server), BOB, on_message=inbox.put)
    assert await bob.connect()

    await log_in(page, url_of(server), ALICE)
    await page.wait_for(f"{STATUS} === 'Connected'")
    assert server.get_platform_connections("alice", "web")

    await write(page, "Hello from the browser, 你好", to_key=BOB)
    message, metadata = await inbox.get()
    assert message.message_segment.data == "Hello from the browser, 你好"
    assert message.message_info.sender_info.user_info.user_nickname == "Alice"
    assert metadata["target_user"] == "bob"
    await page.wait_for("document.querySelector('#log .mine.acked .state')?.innerText === '✓'")

    reply = text_to(ALICE, "Hello from Bob <b>& his script</b> 👋")
    reply["message_dim"]["platform"] = "web"
    reply["message_info"]["sender_info"] = {"user_info": {"platform": "qq", "user_id": "10001", "user_nickname": "Bob"}}
    assert await bob.send_message(parsed(reply)) is True
    await page.wait_for("document.querySelector('#log .theirs')")
    theirs = await page.evaluate("document.querySelector('#log .theirs').innerText")
    assert theirs.split("\n") == ["Bob · qq", "Hello from Bob <b>& his script</b> 👋"]

    await write(page, "Is anybody on Telegram?", to_key=BOB, to_platform="telegram")
    await page.wait_for("document.querySelector('#log .mine.undelivered')")
    assert "Not delivered: nobody is connected there" in await page.evaluate(LOG)

    # By now the page has acked what it received: the text that came after its ack has been handled.
    assert server.get_stats()["messages_acked"] >= 1
    assert server.get_stats()["invalid_frames"] == 0

    picture = await page.screenshot()
    (tmp_path / "chat.png").write_bytes(picture)
    assert size_of_png(picture)[0] >= 1000
    assert len(picture) > 20_000  # an empty page of that size takes less than half of this


async def test_two_people_chat_through_the_ready_made_server(open_page, nursery):
    server, url = await serve_relay(nursery, f"{ALICE}=alice", f"{BOB}=bob")
    alices, bobs = await open_page(), await open_page()
    for page, key in [(alices, ALICE), (bobs, BOB)]:
        await log_in(page, url, key)
        await page.wait_for(f"{STATUS} === 'Connected'")
    await write(alices, "Hello Bob", to_key=BOB, to_platform="web")
    await bobs.wait_for(f"{LOG}.includes('Alice · web\\nHello Bob')")
    await write(bobs, "Hello Alice", to_key=ALICE, to_platform="web")
    await alices.wait_for(f"{LOG}.includes('Bob · web\\nHello Alice')")
    await write(alices, "Are you on QQ?", to_key=BOB, to_platform="qq")
    await alices.wait_for("document.querySelector('#log .mine.undelivered')")
    await server.aclose()
    await bobs.wait_for(f"{LOG}.includes('1001')")


async def test_the_page_says_that_a_wrong_key_was_refused(page, serve):
    server = await serve()
    await log_in(page, url_of(server), WRONG_KEY)
    await page.wait_for(f"{STATUS} === 'Not connected'")
    await page.wait_for(f"{LOG}.includes('it refused the key')")
    assert server.get_stats()["failed_auths"] == 1
    assert server.get_connection_count() == 0


async def test_the_page_shows_a_sys_error_and_goes_on(page, relay, client_of_ours):
    server = await relay()
    inbox = Inbox()
    bob = await client_of_ours(url_of(server), BOB, on_message=inbox.put)
    assert await bob.connect()
    await log_in(page, url_of(server), ALICE)
    await page.wait_for(f"{STATUS} === 'Connected'")
    # Whoever copies the script may get an envelope wrong: here the segment is missing.
    await page.evaluate("socket.send(JSON.stringify(envelope('sys_std', {message_info: {}, message_dim: {}})))")
    await page.wait_for("document.querySelector('#log .note.bad')")
    assert "invalid_payload" in await page.evaluate(LOG)
    await write(page, "still here", to_key=BOB)
    assert (await inbox.get())[0].message_segment.data == "still here"


async def test_the_page_comes_back_after_the_server_was_restarted(page, serve):
    arrivals = Inbox()
    first = await serve(on_connect=arrivals.put)
    await log_in(page, url_of(first), ALICE)
    await arrivals.get()
    await page.wait_for(f"{STATUS} === 'Connected'")
    port = first.port
    await first.stop()
    await page.wait_for(f"{LOG}.includes('1001')")
    second = await serve(port=port, on_connect=arrivals.put)
    await arrivals.get()
    await page.wait_for(f"{STATUS} === 'Connected'")
    await page.click("connect")  # it says "Disconnect" by now
    await page.wait_for(f"{STATUS} === 'Not connected'")
    await second.stop()


async def test_the_page_speaks_chinese_too(page):
    await page.click("language")
    await page.wait_for(f"{STATUS} === '未连接'")
    assert await page.evaluate("document.documentElement.lang") == "zh"
    assert await page.evaluate("document.getElementById('connect').innerText") == "连接"
