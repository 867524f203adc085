// The page's script: bundled by esbuild, run by a browser. The address to connect to stands behind the page's `#`.

import * as core from "@nats-io/nats-core";
import { suite } from "./suite.mjs";

async function run() {
  const nc = await core.wsconnect({ servers: location.hash.slice(1), reconnect: false, timeout: 10_000 });
  await suite(nc, core);
  await nc.close();
  return "all as it should be";
}

const result = await run().catch((error) => `failed: ${error}`);
await fetch("/result", { method: "POST", body: result });
