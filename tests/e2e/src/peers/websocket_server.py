# A WebSocket server on Python's websockets. Arguments: name, port. Messages come back as they are, text as text and
# bytes as bytes, but for a few words: "who" is answered with what the handshake had, as JSON; "close CODE REASON"
# closes; "gone" breaks the connection without a closing handshake; "many N SIZE" gives N messages of SIZE bytes.
import asyncio
import json
import sys

import websockets

name, port = sys.argv[1], int(sys.argv[2])


async def serve(socket):
    try:
        await answer(socket)
    except websockets.ConnectionClosedError:
        print("a connection ended without a closing handshake", flush=True)


async def answer(socket):
    async for message in socket:
        words = message.split(" ", 2) if isinstance(message, str) else [""]
        if words[0] == "who":
            about = {"server": name, "path": socket.path, "headers": list(socket.request_headers.raw_items()),
                     "subprotocol": socket.subprotocol}
            await socket.send(json.dumps(about))
        elif words[0] == "close":
            await socket.close(int(words[1]), words[2])
        elif words[0] == "gone":
            socket.transport.abort()
        elif words[0] == "many":
            for number in range(int(words[1])):
                await socket.send(number.to_bytes(4, "big").ljust(int(words[2]), b"m"))
        else:
            await socket.send(message)


async def main():
    async with websockets.serve(serve, None, port, max_size=64 * 2**20, subprotocols=["chat"], ping_interval=None):
        await asyncio.Future()


asyncio.run(main())
