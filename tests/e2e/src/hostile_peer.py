# HTTP/2 frames by hand over mutual TLS, for what no library would send: a hostile tunnel client, and a hostile tunnel
# server whose behaviour is chosen by the port that the client asks for.
# Arguments: mode, host, port, roots, certificate, key, authority [, more]. Prints what was met.
import socket
import ssl
import struct
import sys
import threading
import time

import hpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST, SETTINGS, PING, GOAWAY, WINDOW, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS, ACK = 1, 4, 1
PATIENCE = 15

mode, host, port, roots, certificate, key, authority = sys.argv[1:8]
more = sys.argv[8:]
port = int(port)


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def u32(number):
    return struct.pack(">I", number)


def block(headers, huffman=True):
    return hpack.Encoder().encode(headers, huffman)


def request(stream, headers=None, end=False):
    headers = headers or [(":method", "CONNECT"), (":authority", authority)]
    return frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, block(headers))


def context(server=False):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    if not server:
        made.check_hostname = False  # the server's name is a SPIFFE ID, which ssl cannot check
    else:
        made.verify_mode = ssl.CERT_REQUIRED
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.set_alpn_protocols(["h2"])
    made.load_verify_locations(roots)
    made.load_cert_chain(certificate, key)
    return made


class Peer:
    """One connection; reads frames one by one."""

    def __init__(self, stream):
        self.stream = stream
        self.buffer = b""
        self.decoder = hpack.Decoder()

    @classmethod
    def connect(cls, settings=b""):
        tcp = socket.create_connection((host, port), PATIENCE)
        peer = cls(context().wrap_socket(tcp))
        peer.send(PREFACE + frame(SETTINGS, 0, 0, settings))
        return peer

    def send(self, data):
        self.stream.sendall(data)

    def take(self, count):
        while len(self.buffer) < count:
            part = self.stream.recv(65536)
            if not part:
                raise EOFError("eof")
            self.buffer += part
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def read(self):
        head = self.take(9)
        length = int.from_bytes(head[:3], "big")
        return head[3], head[4], int.from_bytes(head[5:9], "big") & 0x7FFFFFFF, self.take(length)

    def status(self, payload):
        return "status-" + dict(self.decoder.decode(payload))[":status"]

    def events(self):
        """What is worth telling, as (stream, text), up to the end of the connection."""
        try:
            while True:
                yield from self.event()
        except EOFError:
            yield 0, "eof"
        except TimeoutError:
            yield 0, "timeout"
        except ConnectionError:
            yield 0, "broken"
        except ssl.SSLError:
            yield 0, "tls"

    def event(self):
        kind, flags, stream, payload = self.read()
        if kind == HEADERS:
            yield stream, self.status(payload)
        elif kind == DATA:
            yield stream, "data:" + payload.decode("latin-1")
            if flags & END_STREAM:
                yield stream, "end"
        elif kind == RST:
            yield stream, "reset-%d" % int.from_bytes(payload, "big")
        elif kind == GOAWAY:
            yield 0, "goaway-%d" % int.from_bytes(payload[4:8], "big")
        elif kind in (SETTINGS, PING) and not flags & ACK:
            self.send(frame(kind, ACK, 0, payload if kind == PING else b""))


def first(peer):
    return next(peer.events())[1]


def outcome_of_sending(peer, parts):
    """Sends until it cannot, then tells why."""
    try:
        for part in parts:
            peer.send(part)
    except (ssl.SSLError, ConnectionError):
        pass
    return first(peer)


def malformed():
    connect, to = (":method", "CONNECT"), (":authority", authority)
    path, scheme = (":path", "/"), (":scheme", "https")
    forms = [
        [(":method", "GET"), scheme, to, path],
        [(":method", "POST"), scheme, to, path],
        [connect, scheme, to, path],
        [connect, to, path],
        [connect],
        [connect, (":authority", "user@" + authority)],
        [connect, (":authority", "10.0.0.1:0")],
        [connect, (":authority", "10.0.0.1:99999")],
        [connect, (":authority", "[::1")],
        [connect, (":authority", "a b:80")],
        [connect, to, ("Upper", "case")],
        [connect, to, ("connection", "close")],
    ]
    met = []
    for headers in forms:
        peer = Peer.connect()
        met.append(outcome_of_sending(peer, [request(1, headers)]))
    return met


def big_headers(size):
    peer = Peer.connect()
    text = block([(":method", "CONNECT"), (":authority", authority), ("x-big", "x" * size)], False)
    parts = [text[at : at + 16000] for at in range(0, len(text), 16000)]
    frames = [frame(HEADERS, 0, 1, parts[0])]
    frames += [frame(CONTINUATION, 0, 1, part) for part in parts[1:-1]]
    frames.append(frame(CONTINUATION, END_HEADERS, 1, parts[-1]))
    return [outcome_of_sending(peer, frames)]


def continuation_flood():
    peer = Peer.connect()
    start = block([(":method", "CONNECT"), (":authority", authority)])
    parts = [frame(HEADERS, 0, 1, start)] + [frame(CONTINUATION, 0, 1, b"")] * 200000
    return [outcome_of_sending(peer, (b"".join(parts[at : at + 100]) for at in range(0, len(parts), 100)))]


def rapid_reset(count):
    def batches():
        for at in range(0, count, 100):
            pairs = [request(s) + frame(RST, 0, s, u32(8)) for s in range(2 * at + 1, 2 * at + 201, 2)]
            yield b"".join(pairs)

    peer = Peer.connect()
    try:
        for batch in batches():
            peer.send(batch)
    except (ssl.SSLError, ConnectionError):
        pass
    return [next(text for stream, text in peer.events() if stream == 0)]


def paced_reset(count):
    """Each request on its own, so that each is looked at before it is given up."""
    peer = Peer.connect()
    for stream in range(1, 2 * count, 2):
        peer.send(request(stream))
        time.sleep(0.0005)
        peer.send(frame(RST, 0, stream, u32(8)))
    last = 2 * count + 1
    peer.send(request(last))
    return [next(text for stream, text in peer.events() if stream in (0, last))]


def many_streams(count):
    peer = Peer.connect()
    peer.send(b"".join(request(stream) for stream in range(1, 2 * count, 2)))
    met = {}
    for stream, text in peer.events():
        if stream == 0:
            return [text]
        met.setdefault(stream, text)
        if len(met) == count:
            break
    texts = list(met.values())
    return ["%s:%d" % (text, texts.count(text)) for text in sorted(set(texts))]


def windows():
    met = []
    for abuse in (
        frame(WINDOW, 0, 0, u32(0x7FFFFFFF)) * 2,
        frame(WINDOW, 0, 1, u32(0x7FFFFFFF)) * 2,
        frame(WINDOW, 0, 0, u32(0)),
        frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 0x80000000)),
        frame(DATA, 0, 7, b"on no stream"),
        frame(PING, 0, 0, b"short"),
    ):
        peer = Peer.connect()
        peer.send(request(1))
        assert first(peer) == "status-200"
        met.append(outcome_of_sending(peer, [abuse]))
    return met


def overdraft():
    """More data than the windows allow, to a destination that does not read."""
    peer = Peer.connect()
    peer.send(request(1))
    assert first(peer) == "status-200"
    part = frame(DATA, 0, 1, b"x" * 16384)
    return [outcome_of_sending(peer, (part for _ in range(4096)))]


def early_data():
    peer = Peer.connect()
    text = b"GET /ok HTTP/1.0\r\n\r\n"
    peer.send(request(1) + frame(DATA, END_STREAM, 1, text))
    met = []
    for _, event in peer.events():
        if event in ("end", "eof", "timeout", "broken", "tls"):
            break
        met.append(event)
    return [met[0], "".join(met[1:]).rsplit("\r\n\r\n", 1)[-1].replace("data:", "")]


def until_closed(tcp):
    """Seconds until the other side closes."""
    start = time.time()
    tcp.settimeout(60)
    try:
        while tcp.recv(65536):
            pass
    except (ssl.SSLError, OSError):
        pass
    return ["%.1f" % (time.time() - start)]


def deaf():
    """Takes a tunnel and a stream, and never says anything again: no PING is answered."""
    peer = Peer.connect()
    peer.send(request(1))
    assert first(peer) == "status-200"
    return until_closed(peer.stream)


def never_reads():
    """Asks for much on many streams with the largest windows, and reads nothing."""
    peer = Peer.connect(struct.pack(">HI", 4, 0x7FFFFFFF))
    peer.stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    peer.send(frame(WINDOW, 0, 0, u32(0x7FFFFFFF - 65535)))
    for stream in range(1, 100, 2):
        peer.send(request(stream) + frame(DATA, 0, stream, more[0].encode() + b"\r\n\r\n"))
    print("asked", flush=True)
    time.sleep(45)
    return []


def tls_variants():
    met = []
    for version, protocols in (("1.2", ["h2"]), ("1.3", None), ("1.3", ["http/1.1"])):
        made = context()
        if version == "1.2":
            made.minimum_version = ssl.TLSVersion.TLSv1_2
            made.maximum_version = ssl.TLSVersion.TLSv1_2
        if protocols != ["h2"]:
            made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            made.check_hostname = False
            made.load_verify_locations(roots)
            made.load_cert_chain(certificate, key)
            if protocols:
                made.set_alpn_protocols(protocols)
        try:
            peer = Peer(made.wrap_socket(socket.create_connection((host, port), PATIENCE)))
            peer.send(PREFACE + frame(SETTINGS, 0, 0) + request(1))
            met.append(first(peer))
        except (ssl.SSLError, ConnectionError):
            met.append("refused")
    tcp = socket.create_connection((host, port), PATIENCE)
    tcp.sendall(PREFACE + frame(SETTINGS, 0, 0) + request(1))
    met.append(first(Peer(tcp)))
    return met


def slow_handshake():
    """The first message of TLS, a byte each 100 ms."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        context().wrap_bio(incoming, outgoing).do_handshake()
    except ssl.SSLWantReadError:
        pass
    hello = outgoing.read()
    tcp = socket.create_connection((host, port), PATIENCE)
    start = time.time()
    try:
        for at in range(len(hello)):
            tcp.sendall(hello[at : at + 1])
            time.sleep(0.1)
    except OSError:
        pass
    return ["%.1f" % (time.time() - start)]


def half_open(count):
    held = [socket.create_connection((host, port), PATIENCE) for _ in range(count)]
    print("holding", len(held), flush=True)
    time.sleep(float(more[1]))
    return []


def knock(count):
    """Connects and says nothing of use."""
    for _ in range(count):
        try:
            tcp = socket.create_connection((host, port), PATIENCE)
            tcp.sendall(b"hello\r\n\r\n")
            tcp.close()
        except OSError:
            pass
    return ["knocked"]


def serve_one(tcp):
    try:
        peer = Peer(context(server=True).wrap_socket(tcp, server_side=True))
        peer.take(len(PREFACE))
        peer.send(frame(SETTINGS, 0, 0))
        while True:
            kind, flags, stream, payload = peer.read()
            if kind == HEADERS:
                asked = dict(peer.decoder.decode(payload))[":authority"]
                misbehave(peer, stream, int(asked.rsplit(":", 1)[1]))
            elif kind == SETTINGS and not flags & ACK:
                peer.send(frame(SETTINGS, ACK, 0))
            elif kind == PING and not flags & ACK:
                peer.send(frame(PING, ACK, 0, payload))
    except (EOFError, OSError):
        tcp.close()


def answer(stream, status):
    return frame(HEADERS, END_HEADERS, stream, block([(":status", str(status))]))


def misbehave(peer, stream, asked):
    part = answer(stream, 200) + frame(DATA, 0, stream, b"part")
    if asked < 1000:  # the port is the status
        peer.send(answer(stream, asked))
    elif asked == 1001:  # never answers
        pass
    elif asked == 1002:  # resets what it has accepted, with NO_ERROR
        peer.send(part)
        time.sleep(0.3)
        peer.send(frame(RST, 0, stream, u32(0)))
    elif asked == 1003:
        peer.send(frame(GOAWAY, 0, 0, u32(0) + u32(0)))
    elif asked == 1004:  # a clean end of TLS and TCP, without END_STREAM
        peer.send(part)
        time.sleep(0.3)
        peer.stream.unwrap()
        raise EOFError
    elif asked == 1005:  # an end of TCP only
        peer.send(part)
        time.sleep(0.3)
        peer.stream.shutdown(socket.SHUT_RDWR)
        raise EOFError
    elif asked == 1006:  # GOAWAY without an error that leaves this stream out
        peer.send(part)
        time.sleep(0.3)
        peer.send(frame(GOAWAY, 0, 0, u32(0) + u32(0)))
    elif asked == 1007:  # an end as it should be
        peer.send(part + frame(DATA, END_STREAM, stream))
    elif asked == 1008:  # never gives window
        peer.send(part)
    elif asked == 1009:  # informational answers without end
        for _ in range(2000):
            peer.send(answer(stream, 103))
    elif asked == 1010:  # takes no streams
        peer.send(frame(SETTINGS, 0, 0, struct.pack(">HI", 3, 0)) + frame(RST, 0, stream, u32(7)))


def server():
    listener = socket.create_server((host, port), family=socket.AF_INET, backlog=100)
    while True:
        threading.Thread(target=serve_one, args=(listener.accept()[0],), daemon=True).start()


modes = {
    "malformed": malformed,
    "big-headers": lambda: big_headers(int(more[0])),
    "continuation-flood": continuation_flood,
    "rapid-reset": lambda: rapid_reset(int(more[0])),
    "paced-reset": lambda: paced_reset(int(more[0])),
    "many-streams": lambda: many_streams(int(more[0])),
    "windows": windows,
    "overdraft": overdraft,
    "early-data": early_data,
    "deaf": deaf,
    "never-reads": never_reads,
    "tls-variants": tls_variants,
    "slow-handshake": slow_handshake,
    "half-open": lambda: half_open(int(more[0])),
    "knock": lambda: knock(int(more[0])),
    "server": server,
}
print(" ".join(modes[mode]()))
