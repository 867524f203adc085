// node client.mjs FOLDER_OF_MODULES URL [CA_FILE]: the official client, unmodified, over TCP, TLS or WebSocket by the URL's scheme.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { suite } from "./suite.mjs";

const [folder, url, ca] = process.argv.slice(2);
const require = createRequire(`${folder}/`);
const core = require("@nats-io/nats-core");
const { connect } = require("@nats-io/transport-node");
const WebSocket = require("ws");

// Node 20 has no WebSocket of its own; this one asks for compression as browsers do.
function wsFactory(address, options) {
  const socket = new WebSocket(address, [], { ca: ca && readFileSync(ca), perMessageDeflate: true });
  socket.binaryType = "arraybuffer";
  return Promise.resolve({ socket, encrypted: address.startsWith("wss:") });
}

const nc = /^ws/.test(url)
  ? await core.wsconnect({ servers: url, wsFactory, reconnect: false })
  : await connect({ servers: url, tls: ca ? { caFile: ca } : undefined, reconnect: false });
await suite(nc, core);
await nc.close();
console.log("all as it should be");
