// Drives a client of Node's `ws`: a bare WebSocket, the envelopes are the test's.
//
// Commands: connect {url, headers}, send {text, binary}, close, stop.
// Events: connected {headers}, refused {status, body}, frame {text}, closed {code, reason}, stopped.
"use strict";

const path = require("node:path");
const readline = require("node:readline");
// The folder node_modules that holds `ws` is the first argument.
const WebSocket = require(path.join(process.argv[2], "ws"));

let socket = null;

function emit(event, details = {}) {
  process.stdout.write(JSON.stringify({ event, ...details }) + "\n");
}

function refused(response) {
  const parts = [];
  response.on("data", (part) => parts.push(part));
  response.on("end", () => emit("refused", { status: response.statusCode, body: Buffer.concat(parts).toString() }));
}

const commands = {
  connect({ url, headers }) {
    let upgraded = {};
    socket = new WebSocket(url, { headers });
    socket.on("upgrade", (response) => (upgraded = response.headers));
    socket.on("open", () => emit("connected", { headers: upgraded }));
    socket.on("unexpected-response", (_request, response) => refused(response));
    socket.on("message", (data) => emit("frame", { text: data.toString() }));
    socket.on("close", (code, reason) => emit("closed", { code, reason: reason.toString() }));
    socket.on("error", (problem) => emit("failed", { do: "connect", error: problem.message }));
  },
  send({ text, binary }) {
    socket.send(binary ? Buffer.from(text) : text);
  },
  close() {
    socket.close(1000);
  },
  stop() {
    emit("stopped");
    process.exit(0);
  },
};

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const command = JSON.parse(line);
  commands[command.do](command);
});
