"""Sans-I/O wire protocol: envelopes, credentials of the handshake, close codes. No trio, no socket, no clock."""
