"""What one peer sends after the handshake, cut into messages, pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from maim_trio._legacy._tcp.framing import DATA, HEAD_SIZE, parse_head
from maim_trio._transport.frames import INVALID_DATA, NO_CODE, PING, PONG, Violation

if TYPE_CHECKING:
    from maim_trio._legacy._tcp.crypto import Cipher

__all__ = ["ENDED", "TcpParser"]

ENDED: Final = "the peer has closed the connection"


class TcpParser:
    """Like `FrameParser`, for the TCP mode.

    A heartbeat stands in `controls` as a ping, if it came from a client, which wants an answer, and as a pong, if it
    came from a server. The end of the stream between two frames is what the protocol has for a close frame.
    """

    __slots__ = ("_buffer", "_cipher", "_heartbeat", "_max", "close", "controls", "missing", "violation")

    def __init__(self, cipher: Cipher, *, from_client: bool, max_message: int) -> None:
        self.controls: list[tuple[int, bytes]] = []
        self.close: tuple[int, str] | None = None
        self.violation: Violation | None = None
        self.missing = 0
        """Bytes that the unfinished frame still lacks; 0 when there is none, or its size is not known yet."""
        self._cipher = cipher
        self._heartbeat = (PING if from_client else PONG, b"")
        self._max = max_message
        self._buffer: bytes | bytearray = b""

    def feed(self, data: bytes | bytearray) -> list[bytes]:
        """The messages that `data` completes, in order; each is UTF-8. Never raises."""
        messages: list[bytes] = []
        if self.close is not None or self.violation is not None:
            return messages
        try:
            self._parse(data, messages)
        except Violation as violation:
            self.violation = violation
            self._buffer, self.missing = b"", 0
        return messages

    def feed_end(self) -> bool:
        """Nothing more will come. Whether the peer meant that: it would not stop in the middle of a frame."""
        if self._buffer or self.violation is not None:
            return False
        self.close = NO_CODE, ENDED
        return True

    def _parse(self, new: bytes | bytearray, messages: list[bytes]) -> None:
        data = self._joined(new)
        if self.missing:
            return
        end = self._parse_frames(data, messages)
        if end:
            self._buffer = bytes(data[end:])
        elif data is new:
            self._buffer = new

    def _joined(self, new: bytes | bytearray) -> bytes | bytearray:
        """What is there to parse. A large frame grows in one bytearray, so small reads cost no copy of all."""
        if self.missing:
            self.missing = max(0, self.missing - len(new))
        if not self._buffer:
            return new
        if type(self._buffer) is bytes:
            self._buffer = bytearray(self._buffer)
        self._buffer += new
        return self._buffer

    def _parse_frames(self, data: bytes | bytearray, messages: list[bytes]) -> int:
        """Takes the complete frames and returns where they end."""
        position, total = 0, len(data)
        with memoryview(data) as view:
            while total - position >= HEAD_SIZE:
                length, kind = parse_head(data, position, self._max)
                end = position + length
                if end > total:
                    self.missing = end - total
                    break
                if kind == DATA:
                    with view[position + HEAD_SIZE : end] as payload:
                        messages.append(self._message(payload))
                else:
                    self.controls.append(self._heartbeat)
                position = end
        return position

    def _message(self, payload: memoryview) -> bytes:
        message = self._cipher.open(payload)
        try:
            message.decode()
        except UnicodeDecodeError:
            raise Violation(INVALID_DATA, "message is not UTF-8") from None
        return message
