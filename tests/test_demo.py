"""`make demo`: what it shows, and that its exit status can be believed."""

from __future__ import annotations

import subprocess
import sys
import zlib
from pathlib import Path

from tests.cli.program import environment

DEMO = Path(__file__).resolve().parent.parent / "examples" / "demo.py"

TAMPERING = """
import runpy, sys
from maim_trio.server import WebSocketServer

send_message = WebSocketServer.send_message

async def tampered(self, message, **options):
    if message.message_segment.type == {kind!r}:
        {change}
    return await send_message(self, message, **options)

WebSocketServer.send_message = tampered
runpy.run_path({path!r}, run_name="__main__")
"""


def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, encoding="utf-8", check=False,
        env=environment(PYTHONIOENCODING="utf-8", **env), timeout=60,
    )  # fmt: skip


def test_it_shows_everything_and_succeeds():
    done = run(str(DEMO))
    assert (done.returncode, done.stderr) == (0, "")
    events = [line.split(maxsplit=3)[1:] for line in done.stdout.splitlines() if line[:1].isdigit()]
    assert ["bob", "receives", "text “Hello Bob, 你好！”, unchanged"] in events
    seglist = (
        "seglist [text “Look what a list can hold:”, seglist [emoji “🙂”, seglist [text “nested,”, text “twice”]]]"
    )
    assert ["bob", "receives", f"{seglist}, unchanged"] in events
    assert any(who == "alice" and "image, PNG of" in rest[-1] and "unchanged" in rest[-1] for who, *rest in events)
    assert ["alice", "receives", "custom demo_answer {'sum': 6.5}"] in events
    assert sum(event[:2] == ["server", "relayed"] for event in events) == 4
    assert done.stdout.endswith("everything arrived, unchanged, and was acknowledged\n")


def test_no_key_is_shown():
    assert "demo-key" not in run(str(DEMO)).stdout


def test_a_terminal_without_chinese_is_no_reason_to_fail():
    done = subprocess.run(
        [sys.executable, str(DEMO)], capture_output=True, check=False, env=environment(PYTHONIOENCODING="ascii")
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_message_that_was_changed_on_the_way_makes_it_fail():
    change = 'message.message_segment.data = "QUJD"'
    done = run("-c", TAMPERING.format(kind="image", change=change, path=str(DEMO)))
    assert done.returncode == 1
    assert "FAILED: message 4 arrived unchanged" in done.stdout.splitlines()


def test_the_picture_is_a_picture():
    done = run("-c", f"import runpy, sys; sys.stdout.write(runpy.run_path({str(DEMO)!r})['small_png'](48).hex())")
    picture = bytes.fromhex(done.stdout)
    head, _, rest = picture.partition(b"IDAT")
    assert head.startswith(b"\x89PNG\r\n\x1a\n")
    assert head[12:24] == b"IHDR" + (48).to_bytes(4, "big") * 2
    assert len(zlib.decompressobj().decompress(rest)) == 48 * (1 + 48 * 3)  # rows of a filter byte and RGB
