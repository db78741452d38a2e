# Sends frames of HTTP/2 that no library would send, and tells what came of each connection. hyperframe and hpack read the
# answers. Arguments: host, port, a file with the cases: a list of objects with `name`, `bare`, `ends`, `either`, `frames`
# and `answers`, the last by stream. Prints one object a line: the name, when it began and ended, the answers, the code of
# GOAWAY, whether the connection was closed, and whether it served on.
import json
import socket
import struct
import sys
import time

import hpack
from hyperframe import frame as frames

host, port = sys.argv[1], int(sys.argv[2])
cases = json.load(open(sys.argv[3]))

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
KINDS = {"DATA": 0, "HEADERS": 1, "PRIORITY": 2, "RST_STREAM": 3, "SETTINGS": 4, "PING": 6, "WINDOW_UPDATE": 8, "CONTINUATION": 9}
FLAGS = {"END_STREAM": 1, "END_HEADERS": 4}
PROBE = 1_000_001
PATIENCE = 10
# For requests to reach the backend that should not.
SETTLING = 0.05


def written(kind, flags, stream, payload):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


class Peer:
    def __init__(self):
        self.stream = socket.create_connection((host, port), PATIENCE)
        self.stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        self.buffer, self.answers, self.goaway, self.closed = b"", {}, None, False

    def encode(self, frame):
        (what, payload), = frame["payload"].items()
        if what == "fields":
            fields = [(bytes(name), bytes(value)) for name, value in payload]
            payload = self.encoder.encode(fields, huffman=False) if fields else b""
        elif what == "number":
            payload = struct.pack(">I", payload) + (b"\0" if frame["kind"] == "PRIORITY" else b"")
        elif what == "setting":
            payload = struct.pack(">HI", *payload)
        else:
            payload = bytes(payload)
        if frame["kind"] in ("RAW", "BYTES"):
            return payload
        return written(KINDS[frame["kind"]], sum(FLAGS[flag] for flag in frame["flags"]), frame["stream"], payload)

    def send(self, data):
        try:
            self.stream.sendall(data)
            return True
        except (ConnectionError, TimeoutError):
            return False

    def read(self, enough, patience=PATIENCE):
        end = time.monotonic() + patience
        while not self.closed and not enough() and time.monotonic() < end:
            self.stream.settimeout(max(end - time.monotonic(), 0.001))
            try:
                data = self.stream.recv(65536)
            except TimeoutError:
                return
            except ConnectionError:
                data = b""
            self.closed = not data
            self.buffer += data
            self.parse()

    def parse(self):
        while len(self.buffer) >= 9:
            frame, length = frames.Frame.parse_frame_header(memoryview(self.buffer[:9]))
            if len(self.buffer) < 9 + length:
                return
            frame.parse_body(memoryview(self.buffer[9 : 9 + length]))
            self.buffer = self.buffer[9 + length :]
            if isinstance(frame, frames.HeadersFrame):
                fields = dict(self.decoder.decode(frame.data))
                if ":status" in fields:
                    self.answers[frame.stream_id] = fields[":status"]
            elif isinstance(frame, frames.RstStreamFrame) and frame.error_code:
                self.answers[frame.stream_id] = f"reset {frame.error_code}"
            elif isinstance(frame, frames.GoAwayFrame):
                self.goaway = frame.error_code


def meet(case):
    peer = Peer()
    if not case["bare"]:
        peer.send(PREFACE + written(4, 0, 0, b""))
    # Those that ask for something come one by one, as they would; a flood does not wait.
    for frame in case["frames"]:
        if not peer.send(peer.encode(frame)):
            break
    wanted = case["answers"].keys()
    has_all = lambda: {str(stream) for stream in peer.answers} >= wanted and (case["either"] or not case["ends"])
    peer.read(has_all)
    serves = False
    if not peer.closed:
        fields = [(":method", "GET"), (":scheme", "http"), (":path", "/probe"), (":authority", "web.shop")]
        # Without the table, its block means the same whatever was sent before.
        literal = b"".join(b"\0" + bytes([len(n)]) + n.encode() + bytes([len(v)]) + v.encode() for n, v in fields)
        probe = written(1, 5, PROBE, literal)
        if peer.send(probe):
            peer.read(lambda: PROBE in peer.answers)
        serves = peer.answers.pop(PROBE, None) == "200"
    met = {"answers": peer.answers, "goaway": peer.goaway, "is_closed": peer.closed}
    peer.stream.close()
    return met, serves


for case in cases:
    began = time.time()
    met, serves = meet(case)
    time.sleep(SETTLING)
    print(json.dumps({"name": case["name"], "began": began, "ended": time.time(), "met": met, "serves": serves}), flush=True)
