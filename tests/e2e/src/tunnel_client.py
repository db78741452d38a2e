# Opens an HBONE tunnel and sends a GET of /ok through it. Arguments: host, port, roots, certificate, key (or - and -),
# method, authority. Prints one line: "refused WHY", "status CODE" or "opened WHAT CAME BACK".
import socket
import ssl
import sys

import h2.config
import h2.connection
import h2.events

host, port, roots, certificate, key, method, authority = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname = False  # the server's name is a SPIFFE ID, which ssl cannot check
context.minimum_version = ssl.TLSVersion.TLSv1_3
context.set_alpn_protocols(["h2"])
context.load_verify_locations(roots)
if certificate != "-":
    context.load_cert_chain(certificate, key)

# hyper-h2 wants :path and :scheme, which a CONNECT must not have (RFC 9113 section 8.5).
config = h2.config.H2Configuration(validate_outbound_headers=False, header_encoding="utf-8")
headers = [(":method", method), (":authority", authority)]
if method != "CONNECT":
    headers += [(":scheme", "https"), (":path", "/")]


def refused(error):
    print("refused", " ".join(str(error).split()))
    sys.exit(0)


try:
    stream = context.wrap_socket(socket.create_connection((host, int(port)), 5))
    assert stream.selected_alpn_protocol() == "h2", stream.selected_alpn_protocol()
    assert stream.version() == "TLSv1.3", stream.version()
    connection = h2.connection.H2Connection(config)
    connection.initiate_connection()
    connection.send_headers(1, headers, end_stream=method != "CONNECT")
    stream.sendall(connection.data_to_send())
except (ssl.SSLError, ConnectionError) as error:
    refused(error)

body = b""
while True:
    try:
        data = stream.recv(65536)
    except (ssl.SSLError, ConnectionError) as error:
        refused(error)
    if not data:
        refused("the connection ended")
    for event in connection.receive_data(data):
        if isinstance(event, h2.events.ResponseReceived):
            status = dict(event.headers)[":status"]
            if status != "200":
                print("status", status)
                sys.exit(0)
            request = b"GET /ok HTTP/1.1\r\nhost: tunnel\r\nconnection: close\r\n\r\n"
            connection.send_data(1, request, end_stream=True)
        elif isinstance(event, h2.events.DataReceived):
            body += event.data
            connection.acknowledge_received_data(event.flow_controlled_length, 1)
        elif isinstance(event, h2.events.StreamEnded):
            print("opened", body.decode().split("\r\n\r\n", 1)[1])
            sys.exit(0)
        elif isinstance(event, (h2.events.StreamReset, h2.events.ConnectionTerminated)):
            refused("the stream or connection was ended: %r" % event)
    stream.sendall(connection.data_to_send())
