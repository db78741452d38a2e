// A server of HTTP/1.1 and HTTP/2 at one port, on Node.js' own http and http2, that fails, dawdles and counts as it is
// told.
//
//   node farm_server.js NAME PORT ADMIN_PORT
//
// The admin port, on the loopback: /set?fail=30&status=503&reset=0&delay=0&after=0 says what becomes of requests (shares
// in percent; `after` is the answer's Retry-After in seconds); /counts tells what came; /clear forgets it and all that
// was set.
'use strict';
const http = require('node:http');
const http2 = require('node:http2');
const net = require('node:net');

const [name, port, adminPort] = process.argv.slice(2);
const nothing = { fail: 0, status: 503, reset: 0, delay: 0, after: 0 };
let does;
let counts;
// How often each target has been POSTed: whoever gives every request a target of its own sees what came twice.
let posted;

function clear() {
  does = { ...nothing };
  counts = { name, requests: 0, failed: 0, under_way: 0, most: 0 };
  posted = new Map();
}
clear();

function reset(request, response) {
  if (response.stream) response.stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR);
  else request.socket.resetAndDestroy();
}

function serve(request, response) {
  const now = counts;
  now.requests += 1;
  now.under_way += 1;
  now.most = Math.max(now.most, now.under_way);
  if (request.method === 'POST') posted.set(request.url, (posted.get(request.url) ?? 0) + 1);
  response.on('close', () => { now.under_way -= 1; });
  request.on('error', () => {});
  response.on('error', () => {});
  request.resume();
  request.on('end', () => setTimeout(() => {
    if (Math.random() * 100 < does.reset) {
      now.failed += 1;
      reset(request, response);
      return;
    }
    const fails = Math.random() * 100 < does.fail;
    if (fails) now.failed += 1;
    response.statusCode = fails ? does.status : 200;
    if (fails && does.after) response.setHeader('retry-after', does.after);
    const text = `${JSON.stringify({ server: name, cookie: request.headers.cookie ?? null })}\n`;
    response.setHeader('content-type', 'application/json');
    response.setHeader('content-length', Buffer.byteLength(text));
    response.end(text);
  }, does.delay));
}

const limits = { keepAliveTimeout: 600_000, requestTimeout: 0 };
const one = http.createServer(limits, serve);
one.on('clientError', (error, socket) => socket.destroy());
const two = http2.createServer({ settings: { maxConcurrentStreams: 2000 } }, serve);
two.on('session', (session) => session.on('error', () => {}));

net.createServer((socket) => {
  socket.on('error', () => {});
  socket.setNoDelay(true);
  socket.once('data', (chunk) => {
    // Both begin with a line; only HTTP/2's says PRI.
    const server = chunk.subarray(0, 3).toString() === 'PRI' ? two : one;
    socket.pause();
    socket.unshift(chunk);
    server.emit('connection', socket);
    process.nextTick(() => socket.resume());
  });
}).listen({ port: Number(port), host: '::', backlog: 4096 });

http.createServer((request, response) => {
  const url = new URL(request.url, 'http://admin');
  if (url.pathname === '/set') url.searchParams.forEach((value, key) => { does[key] = Number(value); });
  if (url.pathname === '/clear') clear();
  const all = { ...counts, posts: [...posted] };
  response.end(JSON.stringify(url.pathname === '/counts' ? all : {}));
}).listen(Number(adminPort), '127.0.0.1');
