"""nats-py over TLS: python test_tls.py URL CA_FILE [CERT_FILE KEY_FILE]"""

import asyncio
import ssl
import sys

import nats


async def main(url, ca, *own):
    context = ssl.create_default_context(cafile=ca)
    if own:
        context.load_cert_chain(*own)
    client = await nats.connect(url, tls=context, allow_reconnect=False)

    async def answer(message):
        await message.respond(message.data)

    await client.subscribe("service", cb=answer)
    payload = b"x" * 500_000
    reply = await client.request("service", payload, timeout=10)
    assert reply.data == payload
    await client.drain()


asyncio.run(main(*sys.argv[1:]))
