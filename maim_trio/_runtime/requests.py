"""Requests: custom messages that are answered (wire protocol, section 2.3)."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Final

import trio

from maim_trio.errors import NotConnected, RequestFailed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from maim_trio._runtime.session import Session
    from maim_trio._wire.codec import Custom

REQUEST_ID: Final = "request_id"
REPLY_TO: Final = "reply_to"
STATUS: Final = "status"

MAX_ERROR_NAME = 200
"""Characters of an error's name that are taken from an answer."""


class Question:
    """A request that waits for its answer."""

    def __init__(self, session: Session, message_type: str) -> None:
        self.id = uuid.uuid4().hex
        self.session = session
        self.type = message_type
        self._answered = trio.Event()
        self._payload: dict[str, Any] = {}
        self._failure: Exception | None = None

    def answer(self, envelope: Custom) -> None:
        if envelope.meta.get(STATUS) == "error":
            error = envelope.payload.get("error")
            name = error[:MAX_ERROR_NAME] if isinstance(error, str) else "unknown error"
            self.fail(RequestFailed(f"the other side could not answer {self.type}: {name}", error=name))
        else:
            self._payload = envelope.payload
            self._answered.set()

    def fail(self, failure: Exception) -> None:
        self._failure = failure
        self._answered.set()

    async def wait(self) -> dict[str, Any]:
        """The payload of the answer; raises what it failed with."""
        await self._answered.wait()
        if self._failure is not None:
            raise self._failure
        return self._payload


class Requests:
    """The questions of one server or client. An answer counts only when the identity that was asked gives it."""

    def __init__(self) -> None:
        self._open: dict[str, Question] = {}

    def ask(self, session: Session, message_type: str) -> Question:
        question = Question(session, message_type)
        self._open[question.id] = question
        return question

    def close(self, question: Question) -> None:
        """From here on an answer is late."""
        self._open.pop(question.id, None)

    def answered(self, session: Session, envelope: Custom) -> bool:
        """False for an answer that is late, or from somebody who was not asked."""
        question = self._open.get(str(envelope.meta[REPLY_TO]))
        if question is None or question.session is not session:
            return False
        self.close(question)
        question.answer(envelope)
        return True

    def lost(self, session: Session | None, reason: str) -> None:
        """No answer can come any more from this identity (None: from anybody)."""
        for question in [question for question in self._open.values() if session in (None, question.session)]:
            self.close(question)
            question.fail(NotConnected(reason))


def request_id(envelope: Custom) -> str | None:
    """The id to answer to, None when no answer is asked for."""
    found = envelope.meta.get(REQUEST_ID)
    return found if isinstance(found, str) else None


def reply(value: Any, failure: str | None) -> tuple[Mapping[str, Any], str]:
    """Payload and status of the answer to what a handler returned: a dict, or None, which means ``{}``."""
    if failure is not None:
        return {"error": failure}, "error"
    if value is None:
        return {}, "ok"
    if isinstance(value, dict):
        return value, "ok"
    return {"error": "TypeError"}, "error"
