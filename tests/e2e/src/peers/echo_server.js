// A server of HTTP/1.1, HTTP/2 and both over TLS at one port, on Node.js' own http, http2 and tls. It answers with what
// it saw, as JSON, and does what the request's header x-do says: words separated by spaces, `name` or `name=value`.
//
//   node echo_server.js NAME PORT ADMIN_PORT [KEY CERTIFICATE]
//
// The admin port serves /log (every request that came, and how it ended), /clear, and /connections.
'use strict';
const crypto = require('node:crypto');
const http = require('node:http');
const http2 = require('node:http2');
const net = require('node:net');
const tls = require('node:tls');
const fs = require('node:fs');

const [name, port, adminPort, key, certificate] = process.argv.slice(2);
const CHUNK = Buffer.alloc(64 * 1024, 'nodemesh');
let log = [];
let connections = 0;
const open = new Set();
// How often a request with this x-key has come: what fails `times=2` fails for the first two.
const turns = new Map();

// The last 20,000: load must not fill the memory.
function note(entry) {
  log.push(entry);
  if (log.length > 20_000) log = log.slice(10_000);
}

function commands(request) {
  const words = (request.headers['x-do'] || '').split(' ').filter(Boolean);
  return new Map(words.map((word) => [word.split('=')[0], word.split('=')[1] ?? true]));
}

// The same for both protocols: what the request said.
function describe(request) {
  const [path, ...query] = request.url.split('?');
  const raw = request.rawHeaders;
  const headers = [];
  for (let at = 0; at < raw.length; at += 2) {
    if (!raw[at].startsWith(':')) headers.push([raw[at], raw[at + 1]]);
  }
  return {
    server: name,
    protocol: `HTTP/${request.httpVersion}`,
    method: request.method,
    target: request.url,
    path,
    query: query.length ? query.join('?') : null,
    host: request.headers[':authority'] ?? request.headers.host ?? null,
    scheme: request.headers[':scheme'] ?? null,
    headers,
    peer: request.socket.remoteAddress,
    connection: request.socket.number ?? request.stream?.session?.number ?? null,
    server_name: request.socket.servername ?? null,
  };
}

const sleep = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

// Reads the whole body; gives its length, its digest, and itself when it is short.
function body(request, pause) {
  return new Promise((done, fail) => {
    const digest = crypto.createHash('sha256');
    const kept = [];
    let length = 0;
    request.on('data', (chunk) => {
      digest.update(chunk);
      length += chunk.length;
      request.entry.received = length;
      if (length <= 4096) kept.push(chunk);
      if (pause) {
        request.pause();
        setTimeout(() => request.resume(), pause);
      }
    });
    request.on('end', () => {
      if (request.stream?.aborted) return; // HTTP/2: a reset ends the body too
      request.entry.body = 'complete';
      const text = length <= 4096 ? Buffer.concat(kept).toString() : null;
      done({ length, sha256: digest.digest('hex'), text, trailers: request.trailers });
    });
    request.on('aborted', () => fail(new Error('aborted')));
    request.on('error', fail);
    request.on('close', () => fail(new Error('closed')));
  });
}

function reset(request, response) {
  if (response.stream) response.stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR);
  else request.socket.resetAndDestroy();
}

// Sends `total` bytes, as fast as they are taken; `sent` of the log tells how many were.
function stream(request, response, total, every) {
  let left = total;
  let waiting = false;
  const next = () => {
    waiting = false;
    while (left > 0 && !response.destroyed && !waiting) {
      const chunk = left < CHUNK.length ? CHUNK.subarray(0, left) : CHUNK;
      left -= chunk.length;
      request.entry.sent = total - left;
      waiting = !response.write(chunk);
      if (every && left > 0) {
        setTimeout(next, every);
        return;
      }
    }
    if (left === 0 && (every || !waiting)) response.end();
  };
  if (!every) response.on('drain', next);
  next();
}

function head(request, response, does, about) {
  const status = Number(does.get('status') ?? 200);
  for (let at = 0; at < request.rawHeaders.length; at += 2) {
    if (request.rawHeaders[at].toLowerCase() === 'x-answer') {
      const [header, ...value] = request.rawHeaders[at + 1].split(':');
      response.appendHeader?.(header.trim(), value.join(':').trim()) ??
        response.setHeader(header.trim(), value.join(':').trim());
    }
  }
  if (does.has('close')) response.setHeader('connection', 'close');
  response.statusCode = status;
  request.entry.status = status;
  if (status === 204 || status === 304) {
    response.end();
    return;
  }
  if (does.has('size')) {
    const size = Number(does.get('size'));
    if (!does.has('chunked')) response.setHeader('content-length', size);
    response.setHeader('content-type', 'application/octet-stream');
    stream(request, response, size, Number(does.get('every') ?? 0));
    return;
  }
  const text = Buffer.from(`${JSON.stringify(about)}\n`);
  response.setHeader('content-type', 'application/json');
  if (does.has('half')) {
    // Promises more than comes, then breaks: by a reset, or by an end that looks clean.
    if (!does.has('chunked')) response.setHeader('content-length', text.length + 1000);
    response.write(text, () => setTimeout(() => {
      if (does.get('half') === 'end' && !response.stream) request.socket.end();
      else reset(request, response);
    }, 50));
    return;
  }
  if (does.has('trailers')) {
    response.setHeader('trailer', 'x-after, x-sum');
    response.write(text);
    response.addTrailers({ 'x-after': 'the body', 'x-sum': crypto.createHash('sha256').update(text).digest('hex') });
    response.end();
    return;
  }
  if (!does.has('chunked')) response.setHeader('content-length', text.length);
  response.end(text);
}

async function serve(request, response, expects) {
  const does = commands(request);
  const about = describe(request);
  const turnKey = request.headers['x-key'];
  const turn = (turns.get(turnKey) ?? 0) + 1;
  if (turnKey) turns.set(turnKey, turn);
  about.turn = turn;
  const entry = { ...about, key: turnKey ?? null, at: Date.now(), received: 0, sent: 0, body: 'open', end: 'open' };
  request.entry = entry;
  note(entry);
  response.on('finish', () => { if (entry.end === 'open') entry.end = 'answered'; });
  response.on('close', () => {
    // HTTP/2: an answer that was reset has "finished" as well.
    if (entry.end === 'open' || (response.stream?.rstCode && entry.end === 'answered')) entry.end = 'aborted';
  });
  response.on('error', () => {});
  request.on('error', () => {});
  const fails = !does.has('times') || turn <= Number(does.get('times'));
  if (!fails) ['status', 'reset', 'delay', 'half', 'hold'].forEach((word) => does.delete(word));
  if (does.has('refuse-continue') && expects) {
    response.statusCode = 417;
    response.setHeader('content-length', 0);
    response.end();
    return;
  }
  if (expects) response.writeContinue();
  if (does.has('hints')) response.writeEarlyHints({ link: '</style.css>; rel=preload' });
  try {
    if (does.has('early')) {
      request.resume();
    } else {
      about.body = await body(request, Number(does.get('read-every') ?? 0));
    }
    if (does.has('hold')) return;
    if (does.has('delay')) await sleep(Number(does.get('delay')));
  } catch (error) {
    entry.body = 'broken';
    return;
  }
  if (does.has('reset')) {
    entry.end = 'reset by the server';
    reset(request, response);
  } else {
    head(request, response, does, about);
  }
}

// After 101 or a CONNECT: bytes come back as they went.
function tunnel(answer) {
  return (request, socket, first) => {
    note({ ...describe(request), key: request.headers['x-key'] ?? null, at: Date.now(), end: 'switched' });
    socket.on('error', () => {});
    const refused = commands(request).get('status');
    if (refused) {
      socket.end(`HTTP/1.1 ${refused} No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n`);
      return;
    }
    socket.write(answer(request));
    socket.write(first);
    socket.pipe(socket);
  };
}

const limits = { maxHeaderSize: 256 * 1024, keepAliveTimeout: 600_000, requestTimeout: 0, headersTimeout: 60_000 };
const one = http.createServer(limits, (request, response) => serve(request, response, false));
one.on('checkContinue', (request, response) => serve(request, response, true));
one.on('clientError', (error, socket) => {
  note({ server: name, malformed: error.code, at: Date.now() });
  if (socket.writable) socket.end('HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n');
});
one.on('upgrade', tunnel((request) =>
  `HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: ${request.headers.upgrade}\r\n\r\n`));
one.on('connect', tunnel(() => 'HTTP/1.1 200 Connection established\r\n\r\n'));

const two = http2.createServer(
  { settings: { maxConcurrentStreams: 2000, maxHeaderListSize: 256 * 1024 }, maxSessionMemory: 1000 },
  (request, response) => serve(request, response, false),
);
two.on('checkContinue', (request, response) => serve(request, response, true));
two.on('session', (session) => {
  session.number = session.socket.number;
  session.on('error', () => {});
});
two.on('sessionError', () => {});

function count(socket) {
  connections += 1;
  socket.number = connections;
  open.add(socket);
  socket.on('close', () => open.delete(socket));
  socket.on('error', () => {});
}

function hand(server, socket, chunk) {
  socket.pause();
  socket.unshift(chunk);
  server.emit('connection', socket);
  process.nextTick(() => socket.resume());
}

const secure = key && tls.createServer({ key: fs.readFileSync(key), cert: fs.readFileSync(certificate) }, (socket) => {
  socket.on('error', () => {});
  one.emit('connection', socket);
});

const listener = net.createServer({ noDelay: true }, (socket) => {
  count(socket);
  socket.once('data', (chunk) => {
    if (chunk[0] === 0x16 && secure) hand(secure, socket, chunk);
    else if (chunk.toString('latin1', 0, 4) === 'PRI ') hand(two, socket, chunk);
    else hand(one, socket, chunk);
  });
});

http.createServer((request, response) => {
  let answer = null;
  if (request.url === '/log') answer = log;
  if (request.url === '/connections') answer = { ever: connections, open: open.size };
  if (request.url === '/clear') {
    log = [];
    turns.clear();
    answer = 'cleared';
  }
  response.setHeader('connection', 'close');
  response.end(JSON.stringify(answer));
}).listen(Number(adminPort), '127.0.0.1', () => listener.listen({ port: Number(port), host: '::', backlog: 4096 }));
