# A WebSocket client on Python's websockets. Arguments: url, what to do, more. Prints one line of JSON.
import asyncio
import hashlib
import json
import os
import sys

import websockets

url, what, *more = sys.argv[1:]
options = {"max_size": 64 * 2**20, "open_timeout": 10, "close_timeout": 5, "ping_interval": None}


async def ended(socket):
    try:
        while True:
            await asyncio.wait_for(socket.recv(), 10)
    except websockets.ConnectionClosed as closed:
        received = closed.rcvd
        return {"code": received.code if received else None, "reason": received.reason if received else None}


async def echoes(socket):
    await socket.send("grüße")
    text = await socket.recv()
    await socket.send(bytes(range(256)))
    data = await socket.recv()
    large = os.urandom(int(more[0]))
    await socket.send(large)
    back = await socket.recv()
    await socket.send(["frag", "men", "ted"])
    fragmented = await socket.recv()
    pong = await socket.ping()
    await asyncio.wait_for(pong, 5)
    return {"text": text, "binary": list(data) == list(range(256)), "fragmented": fragmented,
            "large": hashlib.sha256(large).digest() == hashlib.sha256(back).digest()}


async def both_ways(socket):
    # Sends and receives at once: neither waits for the other.
    count, size = int(more[0]), int(more[1])

    async def send():
        for number in range(count):
            await socket.send(number.to_bytes(4, "big").ljust(size, b"c"))

    async def receive():
        for number in range(count):
            message = await asyncio.wait_for(socket.recv(), 20)
            assert message[:4] == number.to_bytes(4, "big") and len(message) == size
        return count

    _, received = await asyncio.gather(send(), receive())
    return {"received": received}


async def act(socket):
    if what == "who":
        await socket.send("who")
        return json.loads(await socket.recv())
    if what == "echoes":
        return await echoes(socket)
    if what == "both-ways":
        return await both_ways(socket)
    if what == "say":  # and wait for the end
        await socket.send(more[0])
        return await ended(socket)
    if what == "idle":  # a message before and after a pause
        await socket.send("before")
        before = await socket.recv()
        await asyncio.sleep(float(more[0]))
        await socket.send("after")
        return {"messages": [before, await socket.recv()]}
    if what == "leave":
        await socket.close(int(more[0]), more[1])
        return {"code": socket.close_code, "reason": socket.close_reason}
    raise SystemExit(f"what is {what}?")


async def main():
    try:
        async with websockets.connect(url, subprotocols=["chat"], extra_headers=[("X-Client", "websockets")], **options) as socket:
            print(json.dumps(await act(socket)))
    except websockets.InvalidStatusCode as error:
        print(json.dumps({"status": error.status_code, "headers": list(error.headers.raw_items())}))


asyncio.run(main())
