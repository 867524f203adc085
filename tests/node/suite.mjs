// What an application does with a connection: run by Node and by a browser page.

export async function suite(nc, core) {
  const check = (condition, what) => {
    if (!condition) throw new Error(`not so: ${what}`);
  };
  const subject = core.createInbox();

  const plain = nc.subscribe(`${subject}.a`, { max: 1 });
  const wild = nc.subscribe(`${subject}.>`, { max: 2 });
  const headers = core.headers();
  headers.set("X-Kind", "test");
  nc.publish(`${subject}.a`, "one", { headers });
  nc.publish(`${subject}.b.c`, "two");
  for await (const message of plain) {
    check(message.string() === "one" && message.headers.get("X-Kind") === "test", "a message with headers");
  }
  const seen = [];
  for await (const message of wild) seen.push(message.string());
  check(seen.join() === "one,two", `both messages in order, not ${seen}`);

  const service = nc.subscribe(`${subject}.service`, { callback: (_, message) => message.respond(message.data) });
  for (const size of [0, 1, 125, 126, 5_000, 70_000, 1_000_000]) {
    const payload = new Uint8Array(size).map((_, at) => at * 7 + (at >> 8));
    const reply = await nc.request(`${subject}.service`, payload, { timeout: 20_000 });
    check(reply.data.length === size && reply.data.every((byte, at) => byte === payload[at]), `${size} bytes there and back`);
  }
  service.unsubscribe();

  let refused = "";
  await nc.request(`${subject}.nobody`, "").catch((error) => refused = error.constructor.name + error.message);
  check(/no ?responders/i.test(refused), `refused at once where nobody answers: ${refused}`);

  const many = nc.subscribe(`${subject}.many`, { max: 20_000 });
  for (let n = 0; n < 20_000; n++) nc.publish(`${subject}.many`, `message ${n} of many that look alike`);
  let next = 0;
  for await (const message of many) {
    check(message.string().startsWith(`message ${next} `), `message ${next} in its place`);
    next++;
  }
  check(next === 20_000, "all of many");
  await nc.flush();
}
