"""A server that forwards: what is said on QQ goes to WeChat, addressed anew, with the name of who said it.

python examples/forwarding.py           # server and two clients in one program, on a free port
"""

from __future__ import annotations

import time
from typing import Any

import trio

from maim_trio.client import WebSocketClient, create_client_config
from maim_trio.message import APIMessageBase, BaseMessageInfo, MessageDim, Seg, SenderInfo, UserInfo
from maim_trio.server import AuthResult, WebSocketServer, create_server_config

USERS = {"key-of-alice": "alice", "key-of-bob": "bob"}

# Where messages go: (user, platform) of the sender -> (API key, platform) of the receiver.
ROUTES = {
    ("alice", "qq"): ("key-of-bob", "wechat"),
    ("bob", "wechat"): ("key-of-carol", "telegram"),  # Carol is not there today
}


def forwarded(original: APIMessageBase, api_key: str, platform: str) -> APIMessageBase:
    """The same content for somebody else.

    `original.set_message_dim(api_key, platform)` would do when nothing but the receiver changes.
    """
    return APIMessageBase(
        message_info=BaseMessageInfo(
            platform=platform,
            message_id=f"forward_{original.get_message_id()}",
            time=time.time(),
            sender_info=original.message_info.sender_info,  # who wrote it first
        ),
        message_segment=original.message_segment,
        message_dim=MessageDim(api_key=api_key, platform=platform),  # the new receiver, never the sender
    )


def text_message(text: str, sender: str, platform: str) -> APIMessageBase:
    return APIMessageBase(
        message_info=BaseMessageInfo(
            platform=platform,
            message_id=text.partition(" ")[0],
            time=time.time(),
            sender_info=SenderInfo(user_info=UserInfo(user_id=sender, user_nickname=sender.title())),
        ),
        message_segment=Seg(type="text", data=text),
        message_dim=MessageDim(api_key="hub", platform="hub"),  # this server goes by ROUTES instead
    )


async def main() -> None:
    done = trio.Event()

    async def forward(message: APIMessageBase, metadata: dict[str, Any]) -> None:
        # Who sent it is in the metadata, found out when the client connected. A message may claim anything.
        sender = metadata["user_id"], metadata["platform"]
        if sender not in ROUTES:
            return
        api_key, platform = ROUTES[sender]
        results = await server.send_message(forwarded(message, api_key, platform))
        if any(results.values()):
            print(f"server: forwarded from {sender} to {platform}")
        else:  # {} when nobody was there, False when a connection could take no more
            report = {"message_id": message.get_message_id(), "reason": f"nobody is on {platform}"}
            await server.send_custom_message("relay_report", report, connection_uuid=metadata["uuid"])

    async def bob_reads(message: APIMessageBase, _metadata: dict[str, Any]) -> None:
        sender = message.message_info.sender_info  # optional, like everything below it
        author = sender.user_info.user_nickname if sender and sender.user_info else "somebody"
        print(f"bob: got {message.get_message_id()!r} from {author}: {message.message_segment.data}")
        await bob.send_message(text_message("goodnight Carol", "bob", "wechat"))

    async def bob_is_told(payload: dict[str, Any]) -> None:
        print(f"bob: {payload['message_id']!r} was not delivered, {payload['reason']}")
        done.set()

    def on_auth(metadata: dict[str, Any]) -> AuthResult:
        user = USERS.get(metadata["api_key"])
        return AuthResult(user is not None, user)

    config = create_server_config(host="127.0.0.1", port=0, on_auth=on_auth, on_message=forward)
    async with WebSocketServer(config) as server:
        url = f"ws://127.0.0.1:{server.port}/ws"
        bobs = create_client_config(url, "key-of-bob", platform="wechat", on_message=bob_reads)
        bobs.register_custom_handler("relay_report", bob_is_told)
        alices = create_client_config(url, "key-of-alice", platform="qq")
        async with WebSocketClient(bobs) as bob, WebSocketClient(alices) as alice:
            if not (await bob.connect() and await alice.connect()):
                raise SystemExit(bob.get_last_error() or alice.get_last_error())
            await alice.send_message(text_message("hello Bob, this is QQ", "alice", "qq"))
            with trio.fail_after(10):
                await done.wait()


if __name__ == "__main__":
    trio.run(main)
