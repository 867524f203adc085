"""An ordinary client, nats-py, unmodified, against the server whose URL is the first argument."""

import asyncio
import sys

import nats
from nats.errors import NoRespondersError
from nats.js.api import ConsumerConfig


async def core(nc):
    got = asyncio.Queue()

    async def keep(msg):
        await got.put(msg)

    await nc.subscribe("a.*", cb=keep)
    await nc.publish("a.b", b"one", headers={"X-Kind": "test"})
    msg = await asyncio.wait_for(got.get(), 10)
    assert (msg.subject, msg.data, msg.headers["X-Kind"]) == ("a.b", b"one", "test"), msg

    counts = [0, 0]

    def worker(index):
        async def count(_):
            counts[index] += 1
        return count

    for index in (0, 1):
        await nc.subscribe("jobs", queue="workers", cb=worker(index))
    await nc.flush()
    for _ in range(100):
        await nc.publish("jobs", b"")
    await nc.flush()
    async with asyncio.timeout(10):
        while sum(counts) < 100:
            await asyncio.sleep(0.01)
    assert sum(counts) == 100 and all(counts), counts

    async def answer(msg):
        await msg.respond(msg.data.upper())

    await nc.subscribe("service", cb=answer)
    reply = await nc.request("service", b"ping", timeout=10)
    assert reply.data == b"PING", reply
    try:
        await nc.request("nobody", b"", timeout=10)
        raise AssertionError("somebody answered")
    except NoRespondersError:
        pass


async def streams(nc):
    js = nc.jetstream()
    await js.add_stream(name="ORDERS", subjects=["orders.>"])
    for number in range(1, 21):
        ack = await js.publish("orders.new", str(number).encode())
        assert (ack.stream, ack.seq) == ("ORDERS", number), ack
    info = await js.stream_info("ORDERS")
    assert info.state.messages == 20, info
    sub = await js.pull_subscribe("orders.>", "worker", config=ConsumerConfig(ack_wait=1))
    batch = await sub.fetch(10, timeout=10)
    assert [m.metadata.sequence.stream for m in batch] == list(range(1, 11)), batch
    for msg in batch:
        if msg.metadata.sequence.stream != 5:
            await msg.ack_sync()
    seen = {}
    async with asyncio.timeout(20):
        while len(seen) < 11:
            for msg in await sub.fetch(11 - len(seen), timeout=10):
                seen[msg.metadata.sequence.stream] = msg.metadata.num_delivered
                await msg.ack_sync()
    assert sorted(seen) == [5] + list(range(11, 21)) and seen[5] >= 2, seen
    raw = await js.get_msg("ORDERS", 7)
    assert raw.data == b"7", raw


async def bucket(nc):
    js = nc.jetstream()
    kv = await js.create_key_value(bucket="settings", history=5)
    watcher = await kv.watch("unit.>")
    assert await watcher.updates(timeout=10) is None
    revision = await kv.put("unit.speed", b"10")
    entry = await watcher.updates(timeout=10)
    assert (entry.key, entry.value, entry.revision) == ("unit.speed", b"10", revision), entry
    await kv.update("unit.speed", b"11", last=revision)
    assert (await kv.get("unit.speed")).value == b"11"
    await watcher.stop()


async def main(url):
    nc = await nats.connect(url, allow_reconnect=False)
    for part in (core, streams, bucket):
        await part(nc)
        print("ok", part.__name__, flush=True)
    await nc.close()


asyncio.run(main(sys.argv[1]))
