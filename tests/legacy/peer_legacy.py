"""Runs under the interpreter of a maim_message peer: one question per line in, what its legacy classes say out.

A question is ``{"read": class, "data": dict}`` (``from_dict``), ``{"make": tree}`` (the constructors) or
``{"convert": method, "data": dict, "arguments": list}`` (``MessageConverter``). The answer is the ``to_dict()`` of what
that gives, None for None; or ``{"error": name}``.
"""

from __future__ import annotations

import json
import sys


def main() -> None:
    import maim_message
    from maim_message.message import APIMessageBase

    def made(tree):
        kind, content = tree
        if kind == "value":
            return content
        if kind == "list":
            return [made(item) for item in content]
        return getattr(maim_message, kind)(**{name: made(item) for name, item in content.items()})

    def answer(question):
        if "make" in question:
            return made(question["make"])
        if "read" in question:
            return getattr(maim_message, question["read"]).from_dict(question["data"])
        method = question["convert"]
        source = maim_message.MessageBase if method.startswith("to") else APIMessageBase
        message = source.from_dict(question["data"])
        return getattr(maim_message.MessageConverter, method)(message, *question["arguments"])

    for line in sys.stdin:
        try:
            found = answer(json.loads(line))
            said = None if found is None else found.to_dict()
        except Exception as error:
            said = {"error": type(error).__name__}
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
