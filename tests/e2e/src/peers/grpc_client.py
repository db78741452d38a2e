# A gRPC client on Google's grpcio. Arguments: host:port. Standard input has one call a line, as JSON:
# {"method", "kind": "unary|down|up|both", "metadata": [[k, v]…], "messages": N, "size": N, "timeout": S, "repeat": N,
# "parallel": N, "cancel_after": N, "hold": S}. Standard output has one answer a line: {"code", "details", "initial", "trailing", "messages"}.
# Calls of one line run one after another; with "parallel" so many at once.
import asyncio
import json
import sys

import grpc

target = sys.argv[1]
options = [("grpc.enable_retries", 0), ("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]


def pairs(metadata):
    return [[key, value if isinstance(value, str) else value.hex()] for key, value in metadata or ()]


async def once(channel, ask):
    kind = ask.get("kind", "unary")
    metadata = [(key, value.encode() if key.endswith("-bin") else value) for key, value in ask.get("metadata", [])]
    timeout = ask.get("timeout", 10)
    message = b"m" * ask.get("size", 10)
    count = ask.get("messages", 1)

    async def several():
        for number in range(count):
            yield message
        if ask.get("hold"):
            await asyncio.sleep(ask["hold"])

    messages = []
    call = None
    try:
        if kind == "unary":
            call = channel.unary_unary(ask["method"])(message, metadata=metadata, timeout=timeout)
            messages.append(await call)
        elif kind == "up":
            call = channel.stream_unary(ask["method"])(several(), metadata=metadata, timeout=timeout)
            messages.append(await call)
        elif kind == "down":
            call = channel.unary_stream(ask["method"])(message, metadata=metadata, timeout=timeout)
            async for answer in call:
                messages.append(answer)
                if len(messages) == ask.get("cancel_after"):
                    call.cancel()
        else:
            # One message at a time, each answered before the next is sent: both ways are open at once.
            call = channel.stream_stream(ask["method"])(metadata=metadata, timeout=timeout)
            for number in range(count):
                await call.write(b"message %d" % number)
                answer = await call.read()
                if answer is grpc.aio.EOF:
                    break
                messages.append(answer)
            if ask.get("hold"):
                await asyncio.sleep(ask["hold"])
            await call.done_writing()
            while (answer := await call.read()) is not grpc.aio.EOF:
                messages.append(answer)
        code, details = await call.code(), await call.details()
    except grpc.aio.AioRpcError as error:
        code, details = error.code(), error.details()
    except asyncio.CancelledError:
        code, details = grpc.StatusCode.CANCELLED, "cancelled by this client"
    initial = trailing = None
    if code != grpc.StatusCode.CANCELLED:
        initial, trailing = await call.initial_metadata(), await call.trailing_metadata()
    return {"code": code.value[0], "name": code.name, "details": details, "initial": pairs(initial),
            "trailing": pairs(trailing), "messages": [json.loads(text) for text in messages]}


async def main():
    async with grpc.aio.insecure_channel(target, options=options) as channel:
        for line in sys.stdin:
            ask = json.loads(line)
            for _ in range(ask.get("repeat", 1)):
                asks = [once(channel, ask) for _ in range(ask.get("parallel", 1))]
                for answer in await asyncio.gather(*asks):
                    print(json.dumps(answer), flush=True)


asyncio.run(main())
