from __future__ import annotations

import subprocess
import sys

from maim_trio import message

NETWORK = ("trio", "trio_websocket", "socket", "ssl", "asyncio", "maim_trio._transport", "maim_trio.client")


def test_the_package_exports_the_eleven_classes_of_the_documents():
    assert set(message.__all__) == {
        "APIMessageBase",
        "BaseMessageInfo",
        "FormatInfo",
        "GroupInfo",
        "InfoBase",
        "MessageDim",
        "ReceiverInfo",
        "Seg",
        "SenderInfo",
        "TemplateInfo",
        "UserInfo",
    }


def test_importing_messages_imports_nothing_of_the_network():
    code = f"import sys, maim_trio.message; print([name for name in {NETWORK!r} if name in sys.modules])"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
