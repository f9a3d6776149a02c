"""The API key is in no log line at DEBUG, no repr, no error text and no statistics, whatever the server says."""

from __future__ import annotations

import json
import logging
import traceback

import pytest
import trio
import trio.testing

from maim_trio.client import ClientConfig, WebSocketClient
from maim_trio.errors import NotConnected
from tests.client.raw import closes, custom, drops, hangs_up, old_server, refuses, says, sends, silent, standard
from tests.memory import URL, text_message

KEY = "sesame-7f3a91"
QUERY_KEY = "tahini-5d0c2e"
HEADER_KEY = "pepper-93b1aa"
ODD_KEY = "schlüssel-8e4f"
ODD_KEY_QUOTED = "schl%C3%BCssel-8e4f"
SECRETS = (KEY, QUERY_KEY, HEADER_KEY, ODD_KEY, ODD_KEY_QUOTED)

settled = trio.testing.wait_all_tasks_blocked


def assert_clean(text):
    for secret in SECRETS:
        assert secret not in text


@pytest.fixture
def everything_said(caplog):
    """All that reaches the logging of the whole process, tracebacks included."""
    caplog.set_level(logging.DEBUG)

    def everything_said():
        lines = [record.getMessage() for record in caplog.records]
        lines += ["".join(traceback.format_exception(*record.exc_info)) for record in caplog.records if record.exc_info]
        lines += [str(value) for record in caplog.records for value in vars(record).values() if value is not None]
        return "\n".join(lines)

    return everything_said


def secretive(network, **config):
    return network.client(
        KEY,
        url=f"{URL}?api_key={QUERY_KEY}&x=1",
        headers={"authorization": f"Bearer {HEADER_KEY}"},
        log_level="DEBUG",
        **config,
    )


def assert_says_nothing(client):
    shown = [
        repr(client),
        str(client),
        repr(client.config),
        json.dumps(client.get_stats()),
        json.dumps(client.get_coroutine_status(), default=repr),
        str(client.get_last_error()),
        repr(client._connector.connection),
        repr(vars(client._connector)),
    ]
    assert_clean("\n".join(shown))


ECHO = " ".join((KEY, QUERY_KEY))

SCRIPTS = {
    "refused": [refuses(401, body=json.dumps({"error": f"no such key: {ECHO}"}).encode())],
    "refused, old": [closes(1000, f"Authentication failed: {ECHO}", after=0.1, ours=False)],
    "closed for good": [closes(4003, f"revoked: {ECHO}")],
    "closed for now": [closes(1011, f"lost: {ECHO}"), old_server],
    "redirected": [refuses(302, {"Location": f"{URL}?api_key={KEY}"})],
    "overloaded": [refuses(503, {"Retry-After": KEY}, body=ECHO.encode())],
    "garbage": [says(f"{ECHO}\r\n\r\n".encode())],
    "half an answer": [says(f"HTTP/1.1 101 {ECHO}\r\nx-key: {KEY}\r\n".encode())],
    "hanging up": [hangs_up],
    "silent": [silent],
    "dropped": [drops(), refuses(403)],
    "messages": [
        sends(
            standard(ECHO, msg_id="1", api_key=KEY),
            custom("custom_x", {"key": KEY}, msg_id="2"),
            {"type": "sys_error", "meta": {}, "payload": {"code": "x", "message": f"bad sender {ECHO}"}},
            {"type": "sys_error", "meta": {"failed_msg_id": KEY}, "payload": {"code": KEY, "message": "again"}},
            {"type": KEY, "payload": {}},
            {"type": "sys_std", "payload": {KEY: KEY, "message_info": KEY}},
        )
    ],
}


@pytest.mark.parametrize("scripts", SCRIPTS.values(), ids=SCRIPTS)
async def test_whatever_the_server_does_the_keys_are_not_shown(network, play, everything_said, scripts):
    await play(*scripts)
    errors = []
    client = secretive(
        network,
        on_connect=lambda *_: None,
        on_disconnect=lambda _uuid, error: errors.append(error),
        on_message=lambda *_: None,
        custom_handlers={"x": lambda _payload: None},
        max_reconnect_attempts=2,
    )
    assert_says_nothing(client)
    async with client:
        await client.connect()
        await settled()
        assert_says_nothing(client)
        await client.send_message(text_message(to=KEY))
        await trio.sleep(100)
        assert_says_nothing(client)
        try:
            with trio.move_on_after(1):
                await client.wait_connected()
        except NotConnected as error:
            assert_clean(str(error))
        await client.disconnect()
    assert_says_nothing(client)
    assert_clean(str(errors))
    assert "maim_trio.client" in everything_said()
    assert_clean(everything_said())


async def test_a_key_that_travels_in_the_query_is_not_shown_either(network, play, everything_said):
    await play(refuses(404, body=json.dumps({"error": f"nothing at /ws?api_key={ODD_KEY_QUOTED}, {ODD_KEY}"}).encode()))
    async with network.client(ODD_KEY, log_level="DEBUG") as client:
        assert not await client.connect()
        assert "nothing at" in client.get_last_error()
        assert_says_nothing(client)
    assert_clean(everything_said())


async def test_callbacks_that_raise_with_the_key_in_hand_do_not_show_it(network, play, everything_said):
    async def raises(_first, second):
        key = second.api_key if isinstance(second, ClientConfig) else second["api_key"]
        raise KeyError(key)

    await play(sends(standard(), custom("custom_x", {})))
    async with secretive(network, on_message=raises, on_connect=raises, custom_handlers={"x": raises}) as client:
        assert await client.connect()
        await settled()
        assert client.get_stats()["handler_errors"] == 3
        assert_says_nothing(client)
    assert "KeyError" in everything_said()
    assert_clean(everything_said())


async def test_a_logger_of_the_users_own_is_told_no_key(network, play):
    lines = []

    class Logger:
        def debug(self, text):
            lines.append(text)

        info = warning = error = exception = critical = debug

    def raises(_message, metadata):
        raise KeyError(metadata["api_key"])

    await play(sends(standard()), refuses(401, body=json.dumps({"error": ECHO}).encode()))
    async with secretive(network, on_message=raises, custom_logger=Logger()) as client:
        assert await client.connect()
        await settled()
    assert lines
    assert_clean("\n".join(lines))


@pytest.mark.parametrize(
    ("url", "platform", "beaten"),
    [
        (f"{URL}?api_key={QUERY_KEY}", "qq", ["api_key"]),
        (f"{URL}?api_key={QUERY_KEY}&platform=web", "qq", ["api_key", "platform"]),
        (f"{URL}?api_key={KEY}&platform=qq", "qq", []),
        (f"{URL}?api_key=&api_key={KEY}&platform=web", "default", []),
    ],
)
async def test_a_url_that_says_something_else_than_a_field_is_told_of(network, everything_said, url, platform, beaten):
    """Servers go by the query, so the field would be without any effect."""
    async with network.client(KEY, url=url, platform=platform):
        said = [line for line in everything_said().splitlines() if "servers go by the url" in line and "%s" not in line]
    assert [line.split()[4] for line in dict.fromkeys(said)] == [f"{name}=" for name in beaten]
    assert_clean("\n".join(said))


async def test_errors_of_use_do_not_show_it(network):
    client = secretive(network)
    caught = []
    for attempt in (
        lambda: client.update_config(url=f"http://memory/ws?api_key={KEY}"),
        lambda: client.update_config(api_key=KEY.encode()),
        lambda: client.update_config(headers={"authorization": KEY.encode()}),
        lambda: client.update_config(platform=5, api_key=KEY),
        lambda: WebSocketClient(KEY),
    ):
        with pytest.raises(ValueError) as error:
            attempt()
        caught.append("".join(traceback.format_exception(error.value)).replace(traceback.format_tb(error.tb)[0], ""))
    assert len(caught) == 5
    for text in caught:
        assert_clean(text.splitlines()[-1])


async def test_over_real_sockets_the_keys_are_not_shown(everything_said):
    for url in ("ws://nonexistent.invalid/ws", "ws://127.0.0.1:1/ws", "wss://127.0.0.1:1/ws"):
        config = ClientConfig(f"{url}?api_key={QUERY_KEY}", KEY, auto_reconnect=False, log_level="DEBUG")
        config.update({"connect_timeout": 0.3, "headers": {"authorization": HEADER_KEY}})
        async with WebSocketClient(config) as client:
            assert not await client.connect()
            assert client.get_last_error()
            assert_says_nothing(client)
    assert_clean(everything_said())
