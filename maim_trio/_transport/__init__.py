"""WebSocket connections over any trio stream: opening handshake, frames, limits, deadlines, the end of TCP.

`handshake` makes a `link.Link` out of a stream. What is above knows these two, `limits`, `tls`, what
serves all links of a server (`flusher`, `poller`), and `frames.text_frame`.
"""
