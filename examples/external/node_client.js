// A client without maim_trio: Node and the package `ws` (npm install ws).
//
//     node node_client.js                                          # talks to ../quickstart_server.py
//     node node_client.js ws://127.0.0.1:18040/ws test_key_123     # or to any other
//
// It sends a message and a custom message, acknowledges what comes, and ends when everything was answered.
"use strict";

const { randomUUID } = require("node:crypto");
const WebSocket = require("ws");

const [url = "ws://127.0.0.1:18040/ws", apiKey = "test_key_123"] = process.argv.slice(2);
const platform = "node";
const now = () => Date.now() / 1000; // the protocol counts in seconds

// The server reads nothing into these headers but who you are. It answers 401 to a wrong key.
const socket = new WebSocket(url, { headers: { "x-apikey": apiKey, "x-platform": platform } });
const waitingFor = new Set(["sys_std", "custom_server_notification"]); // the answers of the quick start's server

// Everything travels in an envelope, one JSON object per WebSocket message.
function send(type, payload, meta = {}) {
  const msg_id = `msg_${randomUUID()}`;
  const about = { sender_user: apiKey, platform, timestamp: now(), ...meta };
  socket.send(JSON.stringify({ ver: 1, msg_id, type, meta: about, payload }));
  return msg_id;
}

socket.on("open", () => {
  console.log("connected");
  waitingFor.add(send("sys_std", {
    message_info: { platform, message_id: randomUUID(), time: now() },
    message_segment: { type: "text", data: "Hello from Node, 你好" },
    message_dim: { api_key: apiKey, platform }, // the receiver
  }));
  waitingFor.add(send("custom_client_heartbeat", { status: "active" }));
});

socket.on("message", (data) => {
  const { type, msg_id, meta = {}, payload = {} } = JSON.parse(data);
  if (type === "sys_ack") {
    waitingFor.delete(meta.acked_msg_id);
    console.log("acknowledged");
  } else if (type === "sys_error") {
    console.error(`refused: ${payload.code}: ${payload.message}`);
    process.exitCode = 1;
    socket.close();
  } else {
    waitingFor.delete(type);
    console.log("received", type, type === "sys_std" ? payload.message_segment.data : JSON.stringify(payload));
    // Whoever receives something with an id, acknowledges it.
    if (msg_id) send("sys_ack", { status: "received" }, { acked_msg_id: msg_id });
  }
  if (waitingFor.size === 0) socket.close(1000);
});

socket.on("unexpected-response", (_request, response) => {
  response.setEncoding("utf8").on("data", (body) => console.error(`HTTP ${response.statusCode}: ${body}`));
  process.exitCode = 1;
});
socket.on("error", (error) => {
  console.error(error.message);
  process.exitCode = 1;
});
socket.on("close", (code) => console.log(waitingFor.size === 0 ? "done" : `closed with ${code}`));
