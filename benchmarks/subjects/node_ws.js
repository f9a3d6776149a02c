// The same job by hand on Node and `ws`. NODE_PATH names the folder that holds it.
"use strict";

const { randomUUID } = require("node:crypto");
const { createServer } = require("node:http");
const { WebSocketServer } = require("ws");

const [work, port] = process.argv.slice(2);
const users = new Map();

class Connection {
  constructor(key, uuid, socket) {
    this.key = key;
    this.uuid = uuid;
    this.socket = socket;
    this.seen = new Set();
    this.unacked = new Map();
  }

  take(frame) {
    const envelope = JSON.parse(frame);
    if (envelope.type === "sys_ack") {
      this.unacked.delete(envelope.meta.acked_msg_id);
      return;
    }
    if (envelope.msg_id !== undefined) {
      this.acknowledge(envelope.msg_id);
      if (this.seen.has(envelope.msg_id)) return;
      this.seen.add(envelope.msg_id);
    }
    onMessage(envelope.payload);
  }

  acknowledge(msgId) {
    const now = Date.now() / 1000;
    this.socket.send(JSON.stringify({
      ver: 1, msg_id: randomUUID(), type: "sys_ack",
      meta: { uuid: this.uuid, acked_msg_id: msgId, timestamp: now },
      payload: { status: "received", server_timestamp: now },
    }));
  }
}

async function onMessage(message) {
  const now = Date.now() / 1000;
  const msgId = `msg_${randomUUID().replaceAll("-", "").slice(0, 12)}_${Math.floor(now)}`;
  const meta = { sender_user: "server", target_user: "", platform: "qq", timestamp: now };
  const payload = JSON.stringify({ ver: 1, msg_id: msgId, type: "sys_std", meta, payload: message });
  const receivers = work === "fanout" ? users.values() : [users.get(message.message_dim.api_key)];
  for (const receiver of receivers) {
    receiver.unacked.set(msgId, payload);
    receiver.socket.send(payload);
  }
}

const http = createServer((request, response) => response.writeHead(426).end());
const server = new WebSocketServer({ noServer: true, perMessageDeflate: false, maxPayload: 64 * 1024 * 1024 });

http.on("upgrade", (request, stream, head) => {
  const key = request.headers["x-apikey"] ?? "";
  if (!key.startsWith("k_")) {
    stream.end("HTTP/1.1 401 Unauthorized\r\nConnection: close\r\n\r\n");
    return;
  }
  server.handleUpgrade(request, stream, head, (socket) => {
    const connection = new Connection(key, request.headers["x-uuid"] ?? "", socket);
    users.set(key, connection);
    socket.on("message", (frame) => connection.take(frame));
    socket.on("close", () => users.delete(key));
  });
});
http.listen({ host: "127.0.0.1", port: Number(port), backlog: 1024 });
