"""Everything that README and docs show is run; how, is told in `tests.documents`."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio

import maim_trio
import maim_trio.client
import maim_trio.client_factory
import maim_trio.errors
import maim_trio.server
from maim_trio._cli.arguments import build_parser
from maim_trio._cli.keys import parse_keys
from maim_trio._cli.routes import parse_routes
from maim_trio._legacy.codec import custom_message
from maim_trio._legacy.codec import decode as decode_legacy
from maim_trio._runtime.hooks import call
from maim_trio._transport.heads import parse_request, parse_response
from maim_trio._wire.codec import decode
from maim_trio._wire.credentials import read as read_credentials
from maim_trio.client import ClientConfig, WebSocketClient, create_client_config
from maim_trio.message import APIMessageBase, BaseMessageInfo, MessageDim, Seg
from maim_trio.server import (
    AuthResult,
    ServerConfig,
    WebSocketServer,
    create_server_config,
    create_ssl_server_config,
)
from tests.conftest import needs
from tests.documents import ROOT, Block, all_blocks, blocks_of, documents, server_for
from tests.peers import node

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PORT = "18040"  # in the documents; the tests take a free one
PATIENCE = 20.0
UTF8 = {**os.environ, "PYTHONUTF8": "1"}  # what blocks print may be Chinese, whatever the locale
TOKEN = "token-of-qq"
USERS = {"key-of-alice": "alice", "key-of-bob": "bob"}
PUBLIC = {
    name: getattr(module, name)
    for module in (maim_trio.server, maim_trio.client, maim_trio.client_factory, maim_trio.errors)
    for name in module.__all__
}


@pytest.fixture(autouse=True)
def _own_environment() -> Iterator[None]:
    """Blocks may set environment variables."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(autouse=True)
def _bounded() -> Iterator[None]:
    """Ends a block that does not end by itself."""

    def too_late(*_: object) -> None:
        raise TimeoutError(f"a block took longer than {PATIENCE:g} s")

    before = signal.signal(signal.SIGALRM, too_late)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def parametrized(language: str, *ways: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("block", all_blocks(language, *ways), ids=str)


@pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_block_of_a_document_is_run_by_a_test(path):
    assert [str(block) for block in blocks_of(path) if not block.covered] == []


@pytest.mark.parametrize(
    ("text", "way"),
    [
        ("```python\nx\n```", "program"),
        ("<!-- run: talks prints='a b' -->\n\n```python\nx\n```", "talks"),
        ("<!-- run: talks -->\nText.\n```python\nx\n```", "program"),
        ("- item\n  ```sh\n  make test\n  ```", "command"),
    ],
)
def test_a_comment_says_how_the_block_after_it_is_run(text, way, tmp_path):
    (tmp_path / "a.md").write_text(f"# Title\n\n{text}\n", encoding="utf-8")
    [block] = blocks_of(tmp_path / "a.md")
    assert (block.way, block.covered) == (way, True)
    assert block.options in ({}, {"prints": "a b"})


@pytest.mark.parametrize("text", ["```\nx\n```", "```go\nx\n```", "<!-- run: talk -->\n```python\nx\n```"])
def test_a_block_that_nobody_runs_is_noticed(text, tmp_path):
    (tmp_path / "a.md").write_text(f"{text}\n", encoding="utf-8")
    [block] = blocks_of(tmp_path / "a.md")
    assert not block.covered


# -- Python


def compiled(block: Block, code: str, flags: int = 0) -> Any:
    """The code object; line numbers in tracebacks are those of the document."""
    return compile("\n" * (block.line - 1) + code, str(block.path), "exec", flags=flags, dont_inherit=True)


def run_program(block: Block) -> None:
    exec(compiled(block, block.code), {"__name__": "__main__"})


@parametrized("python", "program")
def test_a_python_program_runs(block, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    run_program(block)
    check_output(block, capsys.readouterr().out)


@parametrized("python", "serves")
def test_a_server_program_serves_until_it_is_interrupted(block):
    connect = connect_legacy_client if block.options.get("speaks") == "legacy" else connect_once
    with serving(block) as port:
        trio.run(connect, f"ws://127.0.0.1:{port}/ws")


async def connect_once(url: str) -> None:
    async with WebSocketClient(create_client_config(url, "key-of-alice", platform="qq")) as client:
        assert await client.connect(), client.get_last_error()


async def connect_legacy_client(url: str) -> None:
    async with maim_trio.MessageClient() as client:
        assert await client.connect(url, "qq", TOKEN), client.get_last_error()


@parametrized("python", "talks")
def test_a_client_program_talks_to_the_server_above_it(block):
    with serving(server_for(block)) as port:
        code = block.code.replace(PORT, str(port))
        command = [sys.executable, "-W", "error", "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=UTF8)
    assert done.returncode == 0, done.stderr
    check_output(block, done.stdout)


def check_output(block: Block, output: str) -> None:
    assert block.options.get("prints", "") in output


RUNNER = """\
import logging, sys
logging.basicConfig(level=logging.INFO)
exec(compile(sys.stdin.read(), "block", "exec"), {"__name__": "__main__"})
"""


@contextmanager
def serving(block: Block) -> Iterator[int]:
    """The program of a block in a process of its own, on a free port, for the body. Then Ctrl-C ends it."""
    program = [sys.executable, "-u", "-W", "error", "-c", RUNNER]
    with subprocess.Popen(
        program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=UTF8
    ) as process:
        assert process.stdin is not None
        try:
            process.stdin.write(re.sub(rf"\b{PORT}\b", "0", block.code))
            process.stdin.close()
            process.stdin = None
            yield port_said_by(process)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    if block.options.get("ends") == "cleanly":
        assert (process.returncode, "maim_trio.server:stopped" in errors) == (0, True), errors
    else:  # with what Ctrl-C raises, in whichever task was running
        assert process.returncode == 0 or "KeyboardInterrupt" in errors, errors


def port_said_by(process: subprocess.Popen[str]) -> int:
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if found := re.search(r"listening on .*, port (\d+)", line):
            return int(found[1])
    raise AssertionError("".join(said))


@parametrized("python", "inside")
async def test_statements_run_inside_of_a_trio_program(block):
    namespace = {**PUBLIC, "trio": trio}
    with trio.fail_after(PATIENCE):
        async with (
            WebSocketServer(create_server_config(host="127.0.0.1", port=0, on_auth=authenticate)) as server,
            connected_client(server, "alice") as client,
            connected_client(server, "bob") as other,
            trio.open_nursery() as nursery,
        ):
            namespace |= {"server": server, "client": client, "other_client": other, "nursery": nursery}
            namespace |= {"message": message_for("key-of-bob"), "url": client.config.url}
            metadata = {**METADATA, "uuid": client.get_connection_uuid()}
            await execute(compiled(block, block.code.replace(PORT, str(server.port)), TOP_LEVEL_AWAIT), namespace)
            await call_as_the_library_would(block, namespace, metadata)
            nursery.cancel_scope.cancel()


@parametrized("python", "legacy")
async def test_statements_of_the_legacy_half_run_inside_of_a_trio_program(block):
    namespace = {name: getattr(maim_trio, name) for name in maim_trio.__all__}
    server, client = maim_trio.MessageServer("127.0.0.1", 0, enable_token=True), maim_trio.MessageClient()
    server.add_valid_token(TOKEN)
    with trio.fail_after(PATIENCE):
        async with server, client, trio.open_nursery() as nursery:
            url = f"ws://127.0.0.1:{server.port}/ws"
            assert await client.connect(url, "qq", TOKEN)
            namespace |= {"server": server, "client": client, "nursery": nursery, "on_message": print}
            namespace |= {"url": url, "token": TOKEN, "trio": trio, "message": LEGACY_MESSAGE}
            await execute(compiled(block, block.code.replace(PORT, str(server.port)), TOP_LEVEL_AWAIT), namespace)
            for name in filter(None, block.options.get("calls", "").split(",")):
                await call(namespace[name], LEGACY_MESSAGE.to_dict())
            nursery.cancel_scope.cancel()


LEGACY_MESSAGE = maim_trio.MessageBase(
    maim_trio.BaseMessageInfo(platform="qq", message_id="m1", time=1703123456.0), maim_trio.Seg("text", "Hello!")
)

TOP_LEVEL_AWAIT = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


async def execute(code: Any, namespace: dict[str, Any]) -> None:
    coroutine = eval(code, namespace)
    if coroutine is not None:
        await coroutine


def connected_client(server: WebSocketServer, user: str) -> Any:
    return ConnectedClient(create_client_config(f"ws://127.0.0.1:{server.port}/ws", f"key-of-{user}", platform="qq"))


class ConnectedClient(WebSocketClient):
    async def __aenter__(self) -> WebSocketClient:
        client = await super().__aenter__()
        assert await client.connect()
        return client


def authenticate(metadata: dict[str, Any]) -> AuthResult:
    user = USERS.get(metadata["api_key"])
    return AuthResult(user is not None, user)


def message_for(api_key: str) -> APIMessageBase:
    return APIMessageBase(
        message_info=BaseMessageInfo(platform="qq", message_id="m1", time=1703123456.0),
        message_segment=Seg(type="text", data="Hello!"),
        message_dim=MessageDim(api_key=api_key, platform="qq"),
    )


METADATA = {
    "api_key": "key-of-alice",
    "platform": "qq",
    "user_id": "alice",
    "headers": {},
    "client_ip": "127.0.0.1",
    "client_cert": "",
    "msg_id": "msg_1",
    "meta": {},
}


async def call_as_the_library_would(block: Block, namespace: dict[str, Any], metadata: dict[str, Any]) -> None:
    for name in filter(None, block.options.get("calls", "").split(",")):
        arguments: tuple[Any, ...] = ({"city": "Beijing"}, metadata)
        if name.startswith("on_auth"):
            arguments = (metadata,)
        elif "message" in name:
            arguments = (namespace["message"], metadata)
        await call(namespace[name], *arguments)


@parametrized("python", "files")
def test_a_program_with_files_runs(block, tmp_path, monkeypatch, capsys):
    write_files(block, tmp_path)
    monkeypatch.chdir(tmp_path)
    run_program(block)
    check_output(block, capsys.readouterr().out)


def write_files(block: Block, folder: Path) -> None:
    """Certificates, and the TOML files that the document shows."""
    trustme = pytest.importorskip("trustme")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.crt"))
    for name, identity in (("server", "localhost"), ("client", "bot@example.org")):
        certificate = authority.issue_cert(identity)
        certificate.private_key_pem.write_to_path(str(folder / f"{name}.key"))
        for pem in certificate.cert_chain_pems:
            pem.write_to_path(str(folder / f"{name}.crt"), append=True)
    for other in blocks_of(block.path):
        if other.language == "toml" and other.line < block.line:
            (folder / f"{other.way}.toml").write_text(other.code, encoding="utf-8")


def run_openssl(words: list[str]) -> None:
    """Makes the certificate in a folder of its own, and has a server and a client take it."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not there")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(words, cwd=folder, check=True, capture_output=True)
        cert, key = f"{folder}/server.crt", f"{folder}/server.key"
        assert create_ssl_server_config("localhost", 0, cert, key).validate()
        trio.run(connect_over_tls, cert, key)


async def connect_over_tls(cert: str, key: str) -> None:
    config = create_ssl_server_config("127.0.0.1", 0, cert, key, on_auth=authenticate)
    async with WebSocketServer(config) as server:
        url = f"wss://localhost:{server.port}/ws"
        async with WebSocketClient(create_client_config(url, "key-of-alice", ssl_ca_certs=cert)) as client:
            assert await client.connect(), client.get_last_error()


@parametrized("python", "pytest")
def test_a_file_of_tests_passes(block, tmp_path):
    (tmp_path / "test_block.py").write_text(block.code, encoding="utf-8")
    options = ["-q", "-p", "no:cacheprovider", "-o", "trio_mode=true", "-W", "error", "--rootdir", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(tmp_path)], capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stdout + done.stderr


# -- what is not Python


@parametrized("js")
def test_javascript_parses(block, tmp_path):
    path = tmp_path / "block.js"
    path.write_text(block.code, encoding="utf-8")
    done = subprocess.run([needs(node), "--check", str(path)], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr


@parametrized("js", "talks")
def test_javascript_talks_to_the_server_above_it(block):
    options = [] if node_says("typeof WebSocket") == "function" else ["--experimental-websocket", "--no-warnings"]
    if node_says("typeof WebSocket", *options) != "function":
        pytest.skip("this Node has no WebSocket")
    with (
        serving(server_for(block)) as port,
        subprocess.Popen(
            [needs(node), *options, "-e", block.code.replace(PORT, str(port))], stdout=subprocess.PIPE, text=True
        ) as process,
    ):
        assert process.stdout is not None
        try:
            assert any(block.options["prints"] in line for line in process.stdout)
        finally:
            process.kill()


def node_says(expression: str, *options: str) -> str:
    done = subprocess.run([needs(node), *options, "-p", expression], capture_output=True, text=True, timeout=PATIENCE)
    return done.stdout.strip()


@parametrized("json", "frame")
def test_a_frame_can_be_decoded(block):
    decode(block.code.encode())


@parametrized("json", "legacy")
def test_a_legacy_frame_is_what_the_server_sends(block):
    message = decode_legacy(block.code.encode())
    if message.get("is_custom_message"):
        assert message == custom_message("qq", message["message_type_name"], message["content"], message["timestamp"])
    else:
        assert maim_trio.MessageBase.from_dict(message).to_dict() == message


@parametrized("http")
def test_a_head_can_be_parsed(block):
    head, _, body = block.code.rstrip("\n").partition("\n\n")
    raw = head.replace("\n", "\r\n").encode() + b"\r\n\r\n"
    if head.startswith("HTTP/"):
        assert parse_response(raw).headers["content-length"] == str(len(body.encode()) + 1)  # a line
        assert {"error", "code"} == set(json.loads(body))
    else:
        request = parse_request(raw)
        path, credentials = read_credentials(request.target, request.headers)
        assert (path, request.is_upgrade) == ("/ws", True)
        assert credentials.api_key


@parametrized("toml")
def test_a_toml_file_can_be_read(block, tmp_path):
    path = tmp_path / "block.toml"
    path.write_text(block.code, encoding="utf-8")
    if block.way == "keys":
        assert parse_keys(block.code, "keys.toml")
    elif block.way == "bridge":
        assert parse_routes(block.code, "bridge.toml").routes
    elif block.way == "pyproject":
        assert tomllib.loads(block.code)["tool"]["pytest"]["ini_options"]["trio_mode"] is True
    else:
        {"server": ServerConfig, "client": ClientConfig}[block.way].from_toml(path)


@parametrized("sh")
def test_the_commands_exist_and_take_these_options(block):
    joined = block.code.replace("\\\n", " ")
    for line in joined.splitlines():
        words = shlex.split(line, comments=True)
        for command in " ".join(map(shlex.quote, words)).split(" '|' "):
            if command:
                check_command(shlex.split(command))


def check_command(words: list[str]) -> None:
    """Fails for a command that would not work in a clone, with the package installed."""
    match words:
        case ["make", target]:
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        case ["pip", "install", wanted]:
            project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
            name, extra = re.fullmatch(r"([^\[]+)\[(\w+)\]", wanted).groups()
            assert name in (project["name"], ".")
            assert extra in project["optional-dependencies"]
        case ["python", "-m", "maim_trio", *arguments] | ["maim-trio", *arguments]:
            build_parser().parse_args(arguments)
        case ["python", "-m", "http.server", *_]:
            assert (ROOT / "examples" / "browser" / "index.html").is_file()
        case ["python", "-m", module, *arguments] if module.startswith("benchmarks."):
            source = (ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")
            assert all(f'"{word}"' in source for word in arguments if word.startswith("--"))
        case ["openssl", *_]:
            run_openssl(words)
        case ["python", path, *_]:
            assert (ROOT / path).is_file()
        case _:
            raise AssertionError(f"nobody checks {words}")
