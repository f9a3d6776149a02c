"""Runs under the interpreter of a maim_message peer: one JSON message per line in, what the peer makes of it out.

``{"message": …}`` is its own ``APIMessageBase.from_dict(…).to_dict()``, ``{"error": …}`` the name of what it raised.
"""

from __future__ import annotations

import json
import sys


def main() -> None:
    from maim_message.api_message_base import APIMessageBase

    for line in sys.stdin:
        try:
            answer = {"message": APIMessageBase.from_dict(json.loads(line)).to_dict()}
        except Exception as error:
            answer = {"error": type(error).__name__}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
