"""The ready-made server: hands every standard message on to whom it is for."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from maim_trio._cli.logs import one_line
from maim_trio.errors import InvalidMessage
from maim_trio.server import WebSocketServer, create_server_config

if TYPE_CHECKING:
    from maim_trio._cli.access import Access
    from maim_trio.message import APIMessageBase

REPORT: Final = "custom_relay_report"
"""The custom message that tells a sender that nobody got its message."""

NOT_CONNECTED: Final = "not_connected"
QUEUE_FULL: Final = "queue_full"
INVALID: Final = "invalid"

_MAX_ID: Final = 64  # characters of an id in the log

_log = logging.getLogger("maim_trio.relay")


class Relay:
    """A server that sends each standard message to all connections of the user and platform in its `message_dim`.

    When not one of them got it, the sender is told with a ``custom_relay_report``: ``message_id`` and ``platform`` of
    the message, ``msg_id`` of its envelope, ``delivered`` 0, ``reason`` as a word and ``message`` as a sentence. Each
    message is one log line with ids, users and size, never the content. Messages of one sender stay in order.

    `config` are further fields of the `ServerConfig`. The server is run by its owner: ``async with relay.server``.
    """

    def __init__(self, access: Access, **config: Any) -> None:
        self._access = access
        self.relayed = 0
        self.undelivered = 0
        self.server = WebSocketServer(
            create_server_config(
                on_auth=access.authenticate,
                on_auth_extract_user=lambda metadata: access.user_of(metadata["api_key"]),
                on_message=self._forward,
                handler_ordering="per_connection",
                **config,
            )
        )

    async def _forward(self, message: APIMessageBase, metadata: dict[str, Any]) -> None:
        try:
            results = await self.server.send_message(message)
        except InvalidMessage as error:
            await self._report(message, metadata, INVALID, str(error))
            return
        delivered = sum(results.values())
        if delivered:
            self.relayed += 1
            self._log_relayed(message, metadata, delivered, len(results))
        elif results:
            await self._report(message, metadata, QUEUE_FULL, "the receiver does not read fast enough")
        else:
            await self._report(message, metadata, NOT_CONNECTED, "nobody is connected there")

    async def _report(self, message: APIMessageBase, metadata: dict[str, Any], reason: str, sentence: str) -> None:
        self.undelivered += 1
        _log.warning("not delivered %s: %s", self._described(message, metadata), sentence)
        report = {
            "message_id": message.message_info.message_id,
            "msg_id": metadata["msg_id"],
            "platform": message.message_dim.platform,
            "delivered": 0,
            "reason": reason,
            "message": sentence,
        }
        await self.server.send_custom_message(REPORT, report, connection_uuid=metadata["uuid"])

    def _log_relayed(self, message: APIMessageBase, metadata: dict[str, Any], delivered: int, asked: int) -> None:
        if _log.isEnabledFor(logging.INFO):
            to = f"{delivered} connection{'' if delivered == 1 else 's'}"
            if delivered < asked:
                to = f"{delivered} of {asked} connections"
            _log.info("relayed %s, to %s", self._described(message, metadata), to)

    def _described(self, message: APIMessageBase, metadata: dict[str, Any]) -> str:
        dim = message.message_dim
        sender = f"{metadata['user_id']} on {metadata['platform']}"
        receiver = f"{self._access.shown(dim.api_key) if dim.api_key else 'nobody'} on {dim.platform or 'nothing'}"
        ids = one_line(message.message_info.message_id, _MAX_ID)
        if metadata["msg_id"] is not None:
            ids += f" ({one_line(metadata['msg_id'], _MAX_ID)})"
        size = len(message.to_json())
        return f"{ids} from {one_line(sender, _MAX_ID)} for {one_line(receiver, _MAX_ID)}, {size} bytes"
