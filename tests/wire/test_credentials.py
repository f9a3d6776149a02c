from __future__ import annotations

import re
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maim_trio._wire.credentials import (
    BadCredentials,
    Credentials,
    clean_headers,
    origin_refused,
    read,
    read_legacy,
    write,
    write_legacy,
)
from maim_trio.errors import ConfigError

SECRET = "sk-very-secret-key-0123456789"


def described(target: str, *headers: tuple[bytes, bytes]) -> Credentials:
    return read(target, headers)[1]


# --- reading on the server -------------------------------------------------------------------------------------


def test_headers_carry_all_three():
    credentials = described("/ws", (b"x-apikey", b"key"), (b"x-platform", b"qq"), (b"x-uuid", b"id-1"))
    assert credentials == Credentials("key", "qq", "id-1")


def test_the_query_carries_key_and_platform():
    assert described("/ws?api_key=key&platform=qq") == Credentials("key", "qq", None)


def test_the_query_wins_over_headers():
    credentials = described("/ws?platform=query&api_key=query", (b"x-apikey", b"header"), (b"x-platform", b"header"))
    assert credentials == Credentials("query", "query", None)


def test_an_empty_query_value_counts_as_absent():
    credentials = described("/ws?api_key=&platform", (b"x-apikey", b"header"), (b"x-platform", b"qq"))
    assert credentials == Credentials("header", "qq", None)


def test_what_is_absent_has_its_default():
    assert described("/ws") == Credentials("", "unknown", None)


def test_empty_headers_count_as_absent():
    credentials = described("/ws", (b"x-apikey", b""), (b"x-platform", b"  "), (b"x-uuid", b""))
    assert credentials == Credentials("", "unknown", None)


def test_header_names_are_case_insensitive():
    assert described("/ws", (b"X-ApiKey", b"key"), (b"X-PLATFORM", b"qq")) == Credentials("key", "qq", None)


def test_the_first_of_repeated_values_wins():
    credentials = described("/ws?api_key=&api_key=1&api_key=2", (b"x-platform", b"a"), (b"x-platform", b"b"))
    assert credentials == Credentials("1", "a", None)


def test_the_connection_id_is_never_read_from_the_query():
    assert described("/ws?x-uuid=a&uuid=b&=c").connection_uuid is None


def test_query_values_are_percent_decoded_utf_8():
    assert described("/ws?api_key=%E5%AF%86%E9%92%A5&platform=a%26b%3Dc") == Credentials("密钥", "a&b=c", None)


def test_a_plus_in_the_query_is_a_space():
    assert described("/ws?api_key=a+b%2Bc").api_key == "a b+c"


def test_percent_encoded_parameter_names_are_understood():
    assert described("/ws?api%5Fkey=key").api_key == "key"


def test_a_percent_sign_that_encodes_nothing_is_itself():
    assert described("/ws?api_key=100%&platform=%zz") == Credentials("100%", "%zz", None)


@pytest.mark.parametrize("value", ["%ff", "%c3%28", "%ed%a0%80", "%e5%af"])
def test_a_query_value_that_is_no_utf_8_is_refused(value: str):
    with pytest.raises(BadCredentials, match="UTF-8"):
        described(f"/ws?api_key={value}")


def test_other_parameters_may_be_anything():
    assert described("/ws?x=%ff&%ff=1&&=&api_key=key").api_key == "key"


def test_header_values_are_utf_8_and_otherwise_latin_1():
    assert described("/ws", (b"x-platform", "平台".encode())).platform == "平台"
    assert described("/ws", (b"x-platform", b"caf\xe9")).platform == "café"


@pytest.mark.parametrize("control", ["\x00", "\x01", "\t", "\n", "\r", "\x1b", "\x7f", "\x85", "\x9f"])
def test_control_characters_are_refused_wherever_they_come_from(control: str):
    value = f"a{control}b"
    for target, headers in (
        (f"/ws?api_key={quote(value)}", []),
        (f"/ws?platform={quote(value)}", []),
        ("/ws", [(b"x-apikey", value.encode())]),
        ("/ws", [(b"x-platform", value.encode())]),
        ("/ws", [(b"x-uuid", value.encode())]),
    ):
        with pytest.raises(BadCredentials, match="control character"):
            read(target, headers)


def test_a_header_of_control_characters_alone_is_refused_too():
    with pytest.raises(BadCredentials, match="control character"):
        described("/ws", (b"x-uuid", b"\x0b"))


def test_lengths_are_limited_in_characters():
    longest = Credentials("密" * 4096, "台" * 256, "i" * 256)
    headers = [(b"x-platform", longest.platform.encode()), (b"x-uuid", b"i" * 256)]
    assert read(f"/ws?api_key={quote(longest.api_key)}", headers)[1] == longest
    with pytest.raises(BadCredentials, match="API key is longer than 4096"):
        described("/ws?api_key=" + "k" * 4097)
    with pytest.raises(BadCredentials, match="platform is longer than 256"):
        described("/ws?platform=" + "p" * 257)
    with pytest.raises(BadCredentials, match="connection id is longer than 256"):
        described("/ws", (b"x-uuid", b"u" * 257))


def test_what_is_wrong_with_a_key_is_said_without_the_key():
    for target in (f"/ws?api_key={SECRET}%00", f"/ws?api_key={SECRET}%ff", f"/ws?api_key={SECRET * 200}"):
        with pytest.raises(BadCredentials) as caught:
            described(target)
        assert SECRET not in caught.value.message + str(caught.value) + repr(caught.value)


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/ws", "/ws"),
        ("/ws?api_key=1", "/ws"),
        ("/ws/?a=/b?c", "/ws/"),
        ("/%E8%81%8A%20天", "/聊 天"),
        ("/%3Fws", "/?ws"),
        ("/a+b", "/a+b"),
        ("/%ff", "/\ufffd"),
        ("http://bot.example:18000/ws?api_key=1", "/ws"),
        ("http://bot.example?api_key=1", "/"),
        ("/http://x/ws", "/http://x/ws"),
        ("*", "*"),
    ],
)
def test_the_path_is_percent_decoded_and_without_query(target: str, path: str):
    assert read(target, [])[0] == path


def test_the_repr_shows_no_key():
    shown = repr(Credentials(SECRET, "qq", "id-1"))
    assert SECRET not in shown
    assert SECRET[:5] not in shown
    assert "qq" in shown
    assert "id-1" in shown


@given(
    st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=60),
    st.lists(st.tuples(st.sampled_from([b"x-apikey", b"x-platform", b"x-uuid", b"cookie"]), st.binary(max_size=20))),
)
def test_any_request_head_gives_credentials_or_their_own_error(target: str, headers: list[tuple[bytes, bytes]]):
    try:
        path, credentials = read(target, headers)
    except BadCredentials:
        return
    assert path
    for value in (credentials.api_key, credentials.platform, credentials.connection_uuid or ""):
        assert not re.search(r"[\x00-\x1f\x7f-\x9f]", value)
        assert len(value) <= 4096


# --- writing on the client -------------------------------------------------------------------------------------


def test_a_client_sends_three_headers_and_those_of_the_user():
    target, headers = write("/ws", "key", "qq", "id-1", {"X-Trace": "7"})
    assert target == "/ws"
    assert headers == [(b"x-apikey", b"key"), (b"x-platform", b"qq"), (b"x-uuid", b"id-1"), (b"X-Trace", b"7")]


def test_without_an_id_of_its_own_a_client_sends_none():
    assert write("/ws", "key", "qq", None, {})[1] == [(b"x-apikey", b"key"), (b"x-platform", b"qq")]


def test_what_is_not_plain_ascii_goes_into_the_query():
    target, headers = write("/ws", "密钥", "a b&c=平台", "id-1", {})
    assert target == "/ws?api_key=%E5%AF%86%E9%92%A5&platform=a%20b%26c%3D%E5%B9%B3%E5%8F%B0"
    assert headers == [(b"x-uuid", b"id-1")]


def test_a_value_with_spaces_around_it_goes_into_the_query_since_http_strips_them():
    assert write("/ws", " key ", "qq", None, {}) == ("/ws?api_key=%20key%20", [(b"x-platform", b"qq")])


@pytest.mark.parametrize(
    ("target", "joined"),
    [
        ("/ws", "/ws?platform=%C3%A9"),
        ("/ws?", "/ws?platform=%C3%A9"),
        ("/ws?a=1", "/ws?a=1&platform=%C3%A9"),
        ("/ws?a=1&", "/ws?a=1&platform=%C3%A9"),
        ("/%2F聊 天?a=%20b", "/%2F%E8%81%8A%20%E5%A4%A9?a=%20b&platform=%C3%A9"),
    ],
)
def test_parameters_are_added_to_the_target_as_it_is(target: str, joined: str):
    assert write(target, "key", "é", None, {})[0] == joined


@pytest.mark.parametrize("bad", ["\r", "\n", "\x00", "a\r\nx-evil: 1", "\x1b", "\x7f"])
def test_control_characters_are_refused_before_sending(bad: str):
    good = {"target": "/ws", "api_key": "key", "platform": "qq", "connection_uuid": "id", "user_headers": {}}
    for field in ("target", "api_key", "platform", "connection_uuid"):
        with pytest.raises(ConfigError, match="control character"):
            write(**{**good, field: f"{good[field]}{bad}"})
    with pytest.raises(ConfigError, match="control character"):
        write(**{**good, "user_headers": {"x-trace": f"1{bad}"}})
    with pytest.raises(ConfigError, match="header name"):
        write(**{**good, "user_headers": {f"x-trace{bad}": "1"}})


def test_a_refused_value_is_not_shown():
    with pytest.raises(ConfigError) as caught:
        write("/ws", f"{SECRET}\n", "qq", None, {})
    assert SECRET not in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        write("/ws", "key", "qq", None, {"authorization": f"Bearer {SECRET}\n"})
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("bad", ["", "two words", "a:b", "ключ", "a\tb", "(x)"])
def test_user_headers_need_a_proper_name(bad: str):
    with pytest.raises(ConfigError, match="header name"):
        write("/ws", "key", "qq", None, {bad: "1"})


@pytest.mark.parametrize("name", ["Host", "connection", "Upgrade", "Sec-WebSocket-Key", "transfer-encoding"])
def test_user_headers_cannot_replace_those_of_the_handshake(name: str):
    with pytest.raises(ConfigError, match="belongs to the handshake"):
        write("/ws", "key", "qq", None, {name: "1"})


def test_user_headers_cannot_contradict_the_credentials():
    _, headers = write("/ws", "key", "qq", None, {"X-ApiKey": "other", "x-uuid": "other"})
    assert headers == [(b"x-apikey", b"key"), (b"x-platform", b"qq")]


def test_user_headers_may_hold_unicode_and_tabs():
    assert write("/ws", "", "", None, {"x-name": "小明\t1"})[1] == [(b"x-name", "小明\t1".encode())]


def test_a_connection_id_has_to_fit_a_header():
    for bad in ("编号", " id", "id "):
        with pytest.raises(ConfigError, match="connection_uuid"):
            write("/ws", "key", "qq", bad, {})


def test_lone_surrogates_are_refused_before_sending():
    for target, key, platform, headers in (
        ("/\ud800", "k", "p", {}),
        ("/", "k\ud800", "p", {}),
        ("/", "k", "\udfff", {}),
        ("/", "k", "p", {"x-a": "\ud800"}),
    ):
        with pytest.raises(ConfigError, match="surrogate"):
            write(target, key, platform, None, headers)


printable = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=40)
ids = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40)


@given(printable, printable, st.none() | ids, st.sampled_from(["/ws", "/ws?a=%20&b", "/?", "/深/ws?x=1&"]))
def test_what_a_client_writes_a_server_reads(api_key: str, platform: str, connection_uuid: str | None, target: str):
    written, headers = write(target, api_key, platform, connection_uuid, {"x-other": "1"})
    assert re.fullmatch(r"[\x21-\x7e]+", written)
    path, credentials = read(written, headers)
    assert credentials == Credentials(api_key, platform, connection_uuid)
    assert path == target.partition("?")[0]


# --- headers for the user's hooks ------------------------------------------------------------------------------


def test_clean_headers_hold_no_secrets():
    secrets = [(name, SECRET.encode()) for name in (b"Authorization", b"X-ApiKey", b"COOKIE", b"Proxy-Authorization")]
    assert clean_headers([*secrets, (b"User-Agent", b"bot/1"), (b"x-platform", b"qq")]) == {
        "user-agent": "bot/1",
        "x-platform": "qq",
    }


def test_clean_headers_are_text_whatever_the_bytes():
    headers = [(b"x-a", "名".encode()), (b"x-b", b"\xff"), (b"X-C", b" 1 "), (b"x-c", b"2")]
    assert clean_headers(headers) == {"x-a": "名", "x-b": "ÿ", "x-c": "1, 2"}


# --- browsers --------------------------------------------------------------------------------------------------


def test_without_an_origin_nobody_is_refused():
    assert origin_refused(None, "bot.example", [], anonymous=True) is False
    assert origin_refused("", "bot.example", ["https://a"], anonymous=True) is False


@pytest.mark.parametrize("anonymous", [True, False])
def test_allowed_origins_decide_when_they_are_set(anonymous: bool):
    allowed = ["https://Chat.example", "http://localhost:3000/"]
    assert origin_refused("https://chat.example", "bot.example", allowed, anonymous) is False
    assert origin_refused("http://localhost:3000", "bot.example", allowed, anonymous) is False
    assert origin_refused("http://localhost:3001", "bot.example", allowed, anonymous) is True
    assert origin_refused("http://chat.example", "bot.example", allowed, anonymous) is True
    assert origin_refused("null", "bot.example", allowed, anonymous) is True
    assert origin_refused("https://bot.example", "bot.example", [], anonymous) is True


def test_a_star_allows_every_origin():
    assert origin_refused("null", "bot.example", ["*"], anonymous=True) is False


def test_with_authentication_any_page_may_try():
    assert origin_refused("https://evil.example", "localhost:18000", None, anonymous=False) is False


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://localhost", "localhost:18000"),
        ("http://localhost:8000", "localhost:18000"),
        ("https://BOT.example.", "bot.example"),
        ("http://[::1]:8000", "[::1]:18000"),
        ("http://127.0.0.1:8000", "127.0.0.1"),
    ],
)
def test_an_open_server_takes_pages_of_its_own_host(origin: str, host: str):
    assert origin_refused(origin, host, None, anonymous=True) is False


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://evil.example", "localhost:18000"),
        ("http://localhost.evil.example", "localhost:18000"),
        ("http://localhost@evil.example", "localhost:18000"),
        ("null", "localhost:18000"),
        ("null", None),
        ("http://localhost", None),
        ("http://", ""),
        ("localhost", "localhost"),
        ("http://[::1", "[::1"),
        ("file://", "localhost"),
    ],
)
def test_an_open_server_refuses_pages_from_elsewhere(origin: str, host: str | None):
    assert origin_refused(origin, host, None, anonymous=True) is True


@given(st.text(max_size=40), st.text(max_size=40), st.none() | st.lists(st.text(max_size=10)), st.booleans())
def test_any_origin_gives_an_answer(origin: str, host: str, allowed: list[str] | None, anonymous: bool):
    assert origin_refused(origin, host, allowed, anonymous) in (True, False)


# --- the legacy handshake ----------------------------------------------------------------------------------------


def test_a_legacy_client_says_platform_and_bare_token_in_headers():
    assert read_legacy("/ws", [(b"platform", b"qq"), (b"authorization", b"token")]) == ("/ws", "qq", "token")
    assert write_legacy("/ws", "qq", "token") == ("/ws", [(b"platform", b"qq"), (b"authorization", b"token")])


def test_legacy_headers_win_over_the_query_and_the_query_fills_what_they_lack():
    target = "/ws?platform=query&token=query"
    assert read_legacy(target, [(b"platform", b"header")]) == ("/ws", "header", "query")
    assert read_legacy(target, [(b"Authorization", b"header"), (b"platform", b"")]) == ("/ws", "query", "header")


def test_what_a_legacy_client_leaves_out_has_its_default():
    assert read_legacy("/ws", []) == ("/ws", "unknown", "")
    assert write_legacy("/ws", "qq", "") == ("/ws", [(b"platform", b"qq")])


@given(st.text(min_size=1, max_size=256))
def test_whatever_legacy_name_can_be_sent_is_read_as_it_was(name: str):
    try:
        target, headers = write_legacy("/ws", name, name)
    except ConfigError:
        assert name != name.strip() or any(ord(char) < 32 or 126 < ord(char) < 160 for char in name) or _lone(name)
    else:
        assert read_legacy(target, headers) == ("/ws", name, name)


def _lone(text: str) -> bool:
    return any("\ud800" <= char <= "\udfff" for char in text)


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ([(b"platform", b"a\x01")], "platform contains a control character"),
        ([(b"platform", b"a" * 257)], "platform is longer than 256"),
        ([(b"authorization", b"a" * 4097)], "token is longer than 4096"),
    ],
)
def test_a_legacy_request_that_names_what_cannot_be_is_refused(headers, words: str):
    with pytest.raises(BadCredentials, match=words):
        read_legacy("/ws", headers)


def test_a_legacy_token_that_cannot_be_sent_is_not_shown():
    for token in (f"{SECRET}\n", f" {SECRET}", f"{SECRET}\ud800"):
        with pytest.raises(ConfigError, match="token") as caught:
            write_legacy("/ws", "qq", token)
        assert SECRET not in str(caught.value)
