# A server that notes every request it gets, as others read it: h11 for HTTP/1 on the first port, h2 for HTTP/2 on the second.
# Arguments: name of a file, both ports. Writes one object a line into the file: when, the first line, the fields, the
# content, whether it was whole, and what was odd about its bytes.
import asyncio
import json
import re
import sys
import time

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h11

log, port1, port2 = open(sys.argv[1], "a", buffering=1), int(sys.argv[2]), int(sys.argv[3])
CONTENT = b"ok\n"


def note(line, fields, content, whole, odd=None):
    fields = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in fields]
    entry = {"at": time.time(), "line": line, "fields": fields, "content": content.decode("latin-1")}
    log.write(json.dumps({**entry, "whole": whole, "odd": odd}) + "\n")


def oddity(raw):
    """What another reader could take differently in the bytes of one request, which h11 has read without objection."""
    head = raw.split(b"\r\n\r\n")[0]
    if re.search(rb"\r(?!\n)|(?<!\r)\n", head):
        return "a line that does not end with CRLF"
    if len(re.findall(rb"^[^\r\n]* HTTP/1\.[01]\r?$", head, re.M)) != 1:
        return "more than one request line"
    names = [line.split(b":")[0].lower() for line in head.split(b"\r\n")[1:]]
    for name in [b"host", b"content-length", b"transfer-encoding"]:
        if names.count(name) > 1:
            return f"{name} more than once"
    if b"content-length" in names and b"transfer-encoding" in names:
        return "two framings"
    if any(not re.fullmatch(rb"[!#$%&'*+.^_`|~0-9a-z-]+", name) for name in names):
        return "a name that is no token"
    return None


async def http1(reader, writer):
    connection = h11.Connection(h11.SERVER)
    request, content, raw = None, b"", b""
    try:
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                data = await reader.read(65536)
                raw += data
                connection.receive_data(data)
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                content += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                line = f"{request.method.decode('latin-1')} {request.target.decode('latin-1')} HTTP/1.1"
                rest = connection.trailing_data[0]
                odd = oddity(raw) or ("more bytes than the request" if rest else None)
                note(line, list(request.headers) + list(event.headers), content, True, odd)
                fields = [("content-length", str(len(CONTENT))), ("content-type", "text/plain")]
                answer = connection.send(h11.Response(status_code=200, headers=fields))
                if request.method != b"HEAD":
                    answer += connection.send(h11.Data(data=CONTENT))
                writer.write(answer + connection.send(h11.EndOfMessage()))
                await writer.drain()
                request, content, raw = None, b"", b""
                if connection.our_state is h11.MUST_CLOSE:
                    break
                connection.start_next_cycle()
            else:
                break
    except h11.RemoteProtocolError as error:
        if request is None and raw:
            note("", [], raw, False, f"no request for h11: {error}")
    except ConnectionError:
        pass  # broken off, and with it what was open
    if request is not None:
        note(f"{request.method.decode('latin-1')} {request.target.decode('latin-1')} HTTP/1.1", request.headers, content, False)
    writer.close()


async def http2(reader, writer):
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding=None))
    connection.initiate_connection()
    writer.write(connection.data_to_send())
    open_streams = {}

    def first(fields):
        pseudo = dict(field for field in fields if field[0].startswith(b":"))
        return f"{pseudo[b':method'].decode('latin-1')} {pseudo.get(b':path', b'').decode('latin-1')} HTTP/1.1"

    def rest(fields):
        host = [(b"host", value) for name, value in fields if name == b":authority"]
        return host + [field for field in fields if not field[0].startswith(b":")]

    try:
        while data := await reader.read(65536):
            for event in connection.receive_data(data):
                stream = getattr(event, "stream_id", 0)
                if isinstance(event, h2.events.RequestReceived):
                    open_streams[stream] = [list(event.headers), b""]
                elif isinstance(event, h2.events.DataReceived):
                    open_streams[stream][1] += event.data
                    connection.acknowledge_received_data(event.flow_controlled_length, stream)
                elif isinstance(event, h2.events.TrailersReceived):
                    open_streams[stream][0] += list(event.headers)
                elif isinstance(event, h2.events.StreamEnded):
                    fields, content = open_streams.pop(stream)
                    note(first(fields), rest(fields), content, True)
                    head = any(field == (b":method", b"HEAD") for field in fields)
                    try:
                        connection.send_headers(stream, [(":status", "200")], end_stream=head)
                        if not head:
                            connection.send_data(stream, CONTENT, end_stream=True)
                    except h2.exceptions.StreamClosedError:
                        pass  # reset by what came with the request
                elif isinstance(event, h2.events.StreamReset) and stream in open_streams:
                    fields, content = open_streams.pop(stream)
                    note(first(fields), rest(fields), content, False)
            writer.write(connection.data_to_send())
            await writer.drain()
    except h2.exceptions.StreamIDTooLowError:
        # Of requests that are given up while they wait for the limit of streams, the h2 crate may send one too late. That ends
        # this connection, and makes no request a different one.
        pass
    except h2.exceptions.ProtocolError as error:
        note("", [], b"", False, f"no HTTP/2 for h2: {error}")
    except ConnectionError:
        pass  # broken off, and with it what was open
    for fields, content in open_streams.values():
        note(first(fields), rest(fields), content, False)
    writer.close()


async def main():
    servers = [await asyncio.start_server(http1, None, port1), await asyncio.start_server(http2, None, port2)]
    await asyncio.gather(*(server.serve_forever() for server in servers))


asyncio.run(main())
