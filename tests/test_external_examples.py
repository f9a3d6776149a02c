"""The clients that use nothing of maim_trio, in terminals and in a browser, and the page of the formats they speak."""

from __future__ import annotations

import re
import signal
from functools import partial

import pytest
import trio
from trio_websocket import open_websocket_url

from maim_trio.server import AuthResult, WebSocketServer, create_server_config
from tests.conftest import needs
from tests.documents import blocks_of
from tests.example_programs import EXAMPLES, running_examples, stop, url_said_by
from tests.interop.browser import Page, serve_folder, start_chromium
from tests.peers import chromium

FORMATS = EXAMPLES / "external" / "README.md"
PATIENCE = 30.0


@pytest.fixture
async def example(nursery):
    """Starts one of the examples."""
    async with running_examples(nursery) as start:
        yield start


@pytest.fixture
async def quick_start(example):
    """The server that the clients talk to."""
    server = await example("quickstart_server.py", "0")
    yield await url_said_by(server)
    await stop(server, signal.SIGINT)


CLIENTS = ["websockets_client.py", "aiohttp_client.py", "node_client.js"]


@pytest.fixture(params=CLIENTS)
def external(request, example):
    """Starts one of the external clients."""
    return partial(example, f"external/{request.param}")


async def test_an_external_client_talks_to_the_server_of_the_quick_start(quick_start, external):
    client = await external(quick_start)
    status = await client.wait()
    assert (status, client.err.all) == (0, [])
    assert client.out.all[0] == "connected"
    assert client.out.all[-1] == "done"
    assert client.out.all.count("acknowledged") == 2
    [answer] = [line for line in client.out.all if line.startswith("received sys_std")]
    assert "Hello alice, you said: Hello from" in answer
    [notice] = [line for line in client.out.all if line.startswith("received custom_server_notification")]
    assert "your heartbeat was heard" in notice


async def test_an_external_client_says_that_it_was_refused(quick_start, external):
    client = await external(quick_start, "a-wrong-key")
    assert await client.wait() == 1
    assert client.out.all == [] or client.out.all == ["closed with 1006"]
    assert "HTTP 401" in client.err.all[0]


async def test_a_browser_talks_to_the_server_of_the_quick_start(quick_start, nursery, tmp_path):
    binary = needs(chromium)
    web_server, folder = await serve_folder(nursery, EXAMPLES / "external")
    browser, devtools = await start_chromium(nursery, binary, tmp_path / "profile")
    page = await Page.open(devtools)
    await page.visit(folder + "browser_client.html")
    log = "document.getElementById('log').innerText"
    await page.type_into("url", quick_start)
    await page.press_enter()
    await page.wait_for(f"{log}.includes('connected')")
    await page.type_into("text", "<b>你好</b>")
    await page.press_enter()
    await page.wait_for(f"{log}.includes('acknowledged')")
    await page.wait_for(f"{log}.includes('received sys_std: Hello alice, you said: <b>你好</b>')")
    await page.type_into("key", "a-wrong-key")
    await page.press_enter()
    await page.wait_for(f"{log}.includes('closed with 1006')")
    await devtools.aclose()
    for program in (browser, web_server):
        await program.aclose()


# -- the page of the formats


def formats() -> tuple[str, list[tuple[str, str]]]:
    """The body of a refusal, and the conversation: who speaks, and the frame."""
    lines = FORMATS.read_text(encoding="utf-8").splitlines()
    body, *frames = [block for block in blocks_of(FORMATS) if block.language == "json"]
    return body.code.strip(), [(lines[block.line - 4].strip("*"), block.code.rstrip("\n")) for block in frames]


def without_ids_and_times(frame: str) -> str:
    """What differs each time is replaced; what refers to something else stays."""
    frame = re.sub(r'"msg_id":"(msg|custom)_[0-9a-f]{12}_\d{10}"', r'"msg_id":"\1"', frame)
    frame = re.sub(r'"(msg_id|uuid)":"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"', r'"\1":"uuid"', frame)
    return re.sub(r'timestamp":\d{10}\.\d+', 'timestamp":now', frame)


@pytest.fixture
async def formats_server():
    async def relay(message, metadata):
        await server.send_message(message)

    async def on_subscribe(payload, metadata):
        weather = {"city": payload["city"], "temperature": -3.5}
        await server.send_custom_message("weather_update", weather, connection_uuid=metadata["uuid"])

    async def on_add(payload):
        return {"sum": payload["a"] + payload["b"]}

    config = create_server_config(
        host="127.0.0.1",
        port=0,
        on_auth=lambda metadata: AuthResult(metadata["api_key"] == "key-of-alice", "alice"),
        on_message=relay,
        custom_handlers={"subscribe": on_subscribe, "add": on_add},
    )
    server = WebSocketServer(config)
    async with server:
        yield server


async def test_the_formats_are_what_goes_over_the_wire_byte_for_byte(formats_server):
    _, conversation = formats()
    assert [who for who, _ in conversation].count("You receive") == 9
    url = f"ws://127.0.0.1:{formats_server.port}/ws?api_key=key-of-alice&platform=qq"
    with trio.fail_after(PATIENCE):
        async with open_websocket_url(url) as socket:
            for who, frame in conversation:
                if who == "You send":
                    await socket.send_message(frame)
                else:
                    assert who == "You receive"
                    assert without_ids_and_times(await socket.get_message()) == without_ids_and_times(frame)
    stats = formats_server.get_stats()
    assert (stats["messages_acked"], stats["invalid_frames"]) == (1, 1)


async def test_the_format_of_a_refusal_is_what_the_server_says(formats_server):
    body, _ = formats()
    handshake = [
        "GET /ws?api_key=wrong HTTP/1.1",
        "Host: 127.0.0.1",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ]
    with trio.fail_after(PATIENCE):
        async with await trio.open_tcp_stream("127.0.0.1", formats_server.port) as stream:
            await stream.send_all("\r\n".join([*handshake, "", ""]).encode())
            answer = b"".join([chunk async for chunk in stream]).decode()
    assert answer.startswith("HTTP/1.1 401 ")
    assert answer.partition("\r\n\r\n")[2].strip() == body


def test_acks_on_the_page_name_what_they_acknowledge():
    _, conversation = formats()
    sent = [re.search(r'"msg_id":"([^"]+)"', frame)[1] for _, frame in conversation if '"msg_id"' in frame]
    acked = [found for _, frame in conversation for found in re.findall(r'"acked_msg_id":"([^"]+)"', frame)]
    assert len(acked) == 5
    assert set(acked) <= set(sent)
