# A gRPC server on Google's grpcio, for any service and method; messages are bytes, answers say what was seen, as JSON.
# Arguments: name, port. The last word of the method's name says its kind: …Unary, …Down (server streaming), …Up
# (client streaming), …Both (bidirectional); any other name is unary. Metadata x-do says what to do, as words:
# code=N (fail with it), times=N (but only for the first N calls with this x-key), count=N (messages sent),
# every=MS (the pause between them), delay=MS, size=N (bytes of each message), after=N (fail after N messages).
import asyncio
import json
import sys

import grpc

name, port = sys.argv[1], int(sys.argv[2])
turns = {}


class Call:
    def __init__(self, method, context):
        self.context = context
        self.metadata = [(key, value if isinstance(value, str) else value.hex())
                         for key, value in context.invocation_metadata()]
        lookup = dict(self.metadata)
        self.does = dict((word.split("=") + ["1"])[:2] for word in lookup.get("x-do", "").split())
        key = lookup.get("x-key")
        turn = turns[key] = turns.get(key, 0) + 1
        if "times" in self.does and turn > int(self.does["times"]):
            self.does.pop("code", None)
            self.does.pop("delay", None)
        self.about = {"server": name, "method": method, "metadata": self.metadata, "turn": turn,
                      "peer": context.peer(), "seconds_left": context.time_remaining()}
        context.set_trailing_metadata((("x-after", "the messages"), ("x-bytes-bin", b"\x00\x01\xff")))

    def number(self, word, default=0):
        return int(self.does.get(word, default))

    async def begin(self):
        await self.context.send_initial_metadata([("x-server", name)])
        if "delay" in self.does:
            await asyncio.sleep(self.number("delay") / 1000)

    async def fail(self):
        code = next(code for code in grpc.StatusCode if code.value[0] == self.number("code"))
        await self.context.abort(code, f"asked for: {name}", (("x-after", "the failure"), ("x-server", name)))

    def answer(self, **more):
        padding = "x" * self.number("size")
        return json.dumps({**self.about, **more, "padding": padding}).encode()


async def unary(call, request):
    # Without initial metadata a failure is a trailers-only answer, as retries want it.
    if "delay" in call.does:
        await asyncio.sleep(call.number("delay") / 1000)
    if "code" in call.does:
        await call.fail()
    return call.answer(received=len(request))


async def down(call, request):
    await call.begin()
    for number in range(call.number("count", 1)):
        if "after" in call.does and number == call.number("after"):
            await call.fail()
        yield call.answer(number=number)
        if "every" in call.does:
            await asyncio.sleep(call.number("every") / 1000)


async def up(call, requests):
    await call.begin()
    count = total = 0
    async for request in requests:
        count += 1
        total += len(request)
    return call.answer(count=count, received=total)


async def both(call, requests):
    await call.begin()
    number = 0
    async for request in requests:
        if "after" in call.does and number == call.number("after"):
            await call.fail()
        yield json.dumps({"server": name, "number": number, "said": request.decode()}).encode()
        number += 1


class Any(grpc.GenericRpcHandler):
    def service(self, details):
        method = details.method
        if method.endswith("Missing"):
            return None  # UNIMPLEMENTED

        # grpcio looks at a handler's kind of function: each must be a coroutine or generator itself.
        async def one(request, context):
            behaviour = up if method.endswith("Up") else unary
            try:
                return await behaviour(Call(method, context), request)
            except asyncio.CancelledError:
                print("cancelled:", method, flush=True)
                raise

        async def many(request, context):
            behaviour = both if method.endswith("Both") else down
            try:
                async for message in behaviour(Call(method, context), request):
                    yield message
            except asyncio.CancelledError:
                print("cancelled:", method, flush=True)
                raise

        if method.endswith("Down"):
            return grpc.unary_stream_rpc_method_handler(many)
        if method.endswith("Up"):
            return grpc.stream_unary_rpc_method_handler(one)
        if method.endswith("Both"):
            return grpc.stream_stream_rpc_method_handler(many)
        return grpc.unary_unary_rpc_method_handler(one)


async def main():
    server = grpc.aio.server(handlers=(Any(),), options=[("grpc.max_concurrent_streams", 10_000)])
    server.add_insecure_port(f"[::]:{port}")
    await server.start()
    await server.wait_for_termination()


asyncio.run(main())
