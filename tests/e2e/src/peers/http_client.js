// A client of HTTP/1.1 and HTTP/2 on Node.js' own http and http2, for what curl does not do. Arguments: host, port.
// Standard input has one request a line, as JSON; standard output has one answer a line, in the order of the requests.
// All requests run at once, but for those with "after": true, which wait for all before them.
//
// A request: {"version": 1 or 2, "method", "path", "headers": {}, "text" or "size" (bytes, random), "every" (ms between
// 64 KiB of the body), "trailers": {}, "expect": true, "leave_after" (bytes of the body sent, or of the answer read with
// "leave_reading": true; then the request is broken off), "stop_after" (bytes of the answer read; then it is not read for
// "stop_for" ms), "window" (HTTP/2: bytes of the connection's window), "own": true (a connection of its own)}
// An answer: {"status", "interim", "headers": [[name, value]…], "length", "sha256", "sent_sha256", "text", "trailers",
// "error", "milliseconds"}
'use strict';
const crypto = require('node:crypto');
const http = require('node:http');
const http2 = require('node:http2');
const readline = require('node:readline');

const [host, port] = process.argv.slice(2);
const CHUNK = 64 * 1024;
const agent = new http.Agent({ keepAlive: true, maxSockets: Infinity });
let shared = null;

function session(ask) {
  if (shared && !ask.own) return shared;
  const made = http2.connect(`http://${host}:${port}`, { settings: { initialWindowSize: ask.stream_window ?? 65535 }, maxSessionMemory: 1000 });
  made.on('error', () => {});
  made.on('connect', () => { if (ask.window) made.setLocalWindowSize(ask.window); });
  if (!ask.own) shared = made;
  return made;
}

// Writes the body piece by piece, as it is taken; calls `leave` when so much was sent that the request is broken off.
function send(stream, ask, leave) {
  if (ask.text !== undefined) {
    stream.end(ask.text);
    return { digest: () => crypto.createHash('sha256').update(ask.text).digest('hex') };
  }
  const size = ask.size ?? 0;
  const hash = crypto.createHash('sha256');
  let sent = 0;
  const next = () => {
    while (sent < size) {
      if (stream.destroyed) return;
      const piece = crypto.randomBytes(Math.min(CHUNK, size - sent));
      hash.update(piece);
      sent += piece.length;
      const taken = stream.write(piece);
      if (ask.leave_after && !ask.leave_reading && sent >= ask.leave_after) {
        setTimeout(leave, 100);
        return;
      }
      if (ask.every) {
        setTimeout(next, ask.every);
        return;
      }
      if (!taken) {
        stream.once('drain', next);
        return;
      }
    }
    stream.end();
  };
  next();
  return { digest: () => hash.digest('hex') };
}

// Reads the answer; `answer` becomes known by its digest, and by its text when it is short.
function receive(stream, ask, answer, leave) {
  const hash = crypto.createHash('sha256');
  const kept = [];
  answer.length = 0;
  let stopped = false;
  stream.on('data', (piece) => {
    hash.update(piece);
    answer.length += piece.length;
    if (answer.length <= 65536) kept.push(piece);
    if (ask.leave_after && ask.leave_reading && answer.length >= ask.leave_after) leave();
    if (ask.stop_after !== undefined && !stopped && answer.length >= ask.stop_after) {
      stopped = true;
      stream.pause();
      setTimeout(() => stream.resume(), ask.stop_for);
    }
  });
  return () => {
    answer.sha256 = hash.digest('hex');
    answer.text = answer.length <= 65536 ? Buffer.concat(kept).toString() : null;
  };
}

function pairs(raw) {
  const headers = [];
  for (let at = 0; at < raw.length; at += 2) headers.push([raw[at].toLowerCase(), raw[at + 1]]);
  return headers;
}

function one(ask, answer, done) {
  const headers = { ...ask.headers };
  if (ask.size !== undefined && !ask.chunked && !ask.trailers) headers['content-length'] = ask.size;
  if (ask.expect) headers.expect = '100-continue';
  if (ask.trailers) headers.trailer = Object.keys(ask.trailers).join(', ');
  const request = http.request({ host, port, method: ask.method ?? 'GET', path: ask.path ?? '/', headers, agent: ask.own ? new http.Agent() : agent });
  const leave = () => request.destroy();
  let sending = null;
  const begin = () => {
    if (ask.trailers) request.addTrailers(ask.trailers);
    sending = send(request, ask, leave);
  };
  request.on('information', (info) => answer.interim.push(info.statusCode));
  request.on('continue', begin);
  request.on('response', (response) => {
    answer.status = response.statusCode;
    answer.headers = pairs(response.rawHeaders);
    const finish = receive(response, ask, answer, leave);
    response.on('end', () => {
      finish();
      answer.trailers = response.trailers;
      answer.sent_sha256 = sending?.digest();
      done();
    });
    response.on('error', (error) => {
      answer.error = `answer: ${error.code ?? error.message}`;
      done();
    });
  });
  request.on('error', (error) => {
    answer.error ??= `request: ${error.code ?? error.message}`;
    done();
  });
  if (ask.expect) request.flushHeaders();
  else begin();
}

function two(ask, answer, done) {
  const headers = { ':method': ask.method ?? 'GET', ':path': ask.path ?? '/', ':authority': ask.authority ?? `${host}:${port}`, ...ask.headers };
  if (ask.expect) headers.expect = '100-continue';
  if (ask.trailers) headers.trailer = Object.keys(ask.trailers).join(', ');
  const hasBody = ask.text !== undefined || ask.size !== undefined || ask.trailers;
  const made = session(ask);
  const stream = made.request(headers, { endStream: !hasBody, waitForTrailers: Boolean(ask.trailers) });
  // Node.js ends a stream before it resets it, so a request of which more was to come is left with its connection.
  const leave = () => (ask.own ? made.destroy() : stream.close(http2.constants.NGHTTP2_CANCEL));
  let sending = null;
  const begin = () => { if (hasBody) sending = send(stream, ask, leave); };
  stream.on('wantTrailers', () => stream.sendTrailers(ask.trailers));
  stream.on('headers', (interim) => answer.interim.push(interim[':status']));
  stream.on('continue', begin);
  stream.on('response', (head, flags, raw) => {
    answer.status = head[':status'];
    answer.headers = pairs(raw).filter(([name]) => !name.startsWith(':'));
    if (ask.expect && !sending) stream.end(); // no body is wanted
  });
  stream.on('trailers', (trailers) => { answer.trailers = { ...trailers }; });
  const finish = receive(stream, ask, answer, leave);
  stream.on('error', (error) => { answer.error = `stream: ${error.code ?? error.message}`; });
  if (ask.own) stream.on('aborted', () => { answer.error ??= 'aborted'; });
  stream.on('close', () => {
    finish();
    answer.sent_sha256 = sending?.digest();
    if (stream.rstCode) answer.error ??= `reset: ${stream.rstCode}`;
    answer.reset = stream.rstCode;
    if (ask.own) made.close();
    done();
  });
  if (!ask.expect) begin();
}

function exchange(ask) {
  return new Promise((told) => {
    const answer = { status: null, interim: [], headers: [], error: null };
    const begun = Date.now();
    let over = false;
    const done = () => {
      if (over) return;
      over = true;
      answer.milliseconds = Date.now() - begun;
      answer.ended = Date.now();
      told(answer);
    };
    (ask.version === 2 ? two : one)(ask, answer, done);
  });
}

async function main() {
  const answers = [];
  for await (const line of readline.createInterface({ input: process.stdin })) {
    if (!line.trim()) continue;
    const ask = JSON.parse(line);
    if (ask.after) await Promise.all(answers);
    answers.push(exchange(ask));
  }
  for (const answer of answers) console.log(JSON.stringify(await answer));
  process.exit(0);
}

main();
