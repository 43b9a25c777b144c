/**
 * HTTP (RFC 9110) by `node:http`, on sockets of the stack:
 *
 * - `GET /`         a page about the running stack
 * - `GET /bytes/N`  N bytes of the pattern in byte-pattern.ts, written as fast as the client reads
 * - `POST /echo`    the request's body, sent back while it comes in
 * - `GET /stats`    counters and connections as JSON
 *
 * HEAD works wherever GET does.
 */

import { once } from 'node:events';
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { pipeline } from 'node:stream';
import createDebug from 'debug';
import { patternBytes } from './byte-pattern.ts';
import type { RunningService, Service, ServiceHost } from './service.ts';
import { listenError } from './tcp-listener.ts';

const debug = createDebug('tcpu:http');

/** Largest body of `/bytes/N`. */
const MAX_BYTES = 1e12;
const PIECE_PERIODS = 4;
/** Most connections on the page. */
const MAX_ROWS = 100;

let piece: Buffer | null = null;

function escape(text: unknown): string {
  return String(text).replace(/[&<>"]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[c]!);
}

/** Writes `length` bytes of the pattern, waiting whenever the connection wants to. */
function writePattern(response: ServerResponse, length: number): void {
  const bytes = (piece ??= patternBytes(PIECE_PERIODS));
  let left = length;
  const write = (): void => {
    while (left > 0) {
      // Pieces are whole periods, so each begins where the pattern does.
      const part = left >= bytes.length ? bytes : bytes.subarray(0, left);
      left -= part.length;
      if (!response.write(part)) {
        if (left > 0) response.once('drain', write);
        else response.end();
        return;
      }
    }
    response.end();
  };
  write();
}

function sendText(response: ServerResponse, status: number, type: string, body: string, head: boolean): void {
  response.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(body) });
  response.end(head ? undefined : body);
}

function counterRows(counters: object, prefix: string): string {
  let rows = '';
  for (const [name, value] of Object.entries(counters)) {
    if (typeof value === 'object' && value !== null) rows += counterRows(value as object, `${prefix}${name}.`);
    else if (value !== 0) rows += `<tr><td>${escape(prefix + name)}<td class=n>${escape(value)}\n`;
  }
  return rows;
}

function page(host: ServiceHost, uptimeSeconds: number): string {
  const connections = host.connections();
  const rows = connections.slice(0, MAX_ROWS).map((connection) => {
    const { protocol, state, local, remote } = connection;
    const end = (side: typeof local | null): string => (side ? escape(`${side.address} ${side.port}`) : '*');
    return `<tr><td>${escape(protocol)}<td>${end(local)}<td>${end(remote)}<td>${escape(state)}`;
  });
  if (connections.length > MAX_ROWS) rows.push(`<tr><td colspan=4>and ${connections.length - MAX_ROWS} more`);
  return `<!doctype html>
<html lang=en><meta charset=utf-8><title>tcpu</title>
<style>body{font:15px system-ui,sans-serif;margin:2em;max-width:50em}td,th{padding:.1em 1em .1em 0;text-align:left}
.n{text-align:right;font-variant-numeric:tabular-nums}</style>
<h1>tcpu</h1>
<p>A TCP/IP stack in user space. This page came to you through it.
<p>Up for ${uptimeSeconds.toFixed(0)} seconds, at ${host.addresses.map(escape).join(', ')}.
<p><a href=/bytes/1000000>/bytes/1000000</a> · <a href=/stats>/stats</a> · POST /echo
<h2>Connections</h2>
<table><tr><th><th>here<th>there<th>state
${rows.join('\n')}
</table>
<h2>Counters</h2>
<table>
${counterRows(host.counters(), '')}</table>
`;
}

function handle(host: ServiceHost, startMs: number, request: IncomingMessage, response: ServerResponse): void {
  const path = (request.url ?? '/').split('?', 1)[0]!;
  const head = request.method === 'HEAD';
  if (path === '/echo' && (request.method === 'POST' || request.method === 'PUT')) {
    const headers: Record<string, string> = {
      'content-type': request.headers['content-type'] ?? 'application/octet-stream',
    };
    if (request.headers['content-length'] !== undefined) headers['content-length'] = request.headers['content-length'];
    response.writeHead(200, headers);
    pipeline(request, response, (error) => {
      if (error) debug('echo: %s', error.message);
    });
    return;
  }
  // A body that nobody asked for is read away, so that the connection can be used again.
  request.resume();
  if (path === '/echo') {
    response.setHeader('allow', 'POST, PUT');
    sendText(response, 405, 'text/plain', 'POST something, and it comes back.\n', head);
    return;
  }
  if (request.method !== 'GET' && !head) {
    response.setHeader('allow', 'GET, HEAD');
    sendText(response, 405, 'text/plain', 'Only GET and HEAD here.\n', head);
    return;
  }
  const uptimeSeconds = (performance.now() - startMs) / 1000;
  if (path === '/') {
    sendText(response, 200, 'text/html; charset=utf-8', page(host, uptimeSeconds), head);
  } else if (path === '/stats') {
    const stats = { addresses: host.addresses, uptimeSeconds, counters: host.counters(), connections: host.connections() };
    sendText(response, 200, 'application/json', `${JSON.stringify(stats, null, 2)}\n`, head);
  } else if (path.startsWith('/bytes/')) {
    const text = path.slice('/bytes/'.length);
    const length = /^[0-9]{1,13}$/.test(text) ? Number(text) : NaN;
    if (!(length <= MAX_BYTES)) {
      sendText(response, 400, 'text/plain', `/bytes/N takes a number from 0 to ${MAX_BYTES}.\n`, head);
      return;
    }
    response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': length });
    if (head) response.end();
    else writePattern(response, length);
  } else {
    sendText(response, 404, 'text/plain', 'Not here. There are /, /bytes/N, /echo (POST) and /stats.\n', head);
  }
}

/** The HTTP server, not yet connected to anything that listens. */
export function createHttpServer(host: ServiceHost): Server {
  const startMs = performance.now();
  return createServer({ noDelay: true }, (request, response) => handle(host, startMs, request, response));
}

export const http: Service = {
  name: 'http',
  defaultPort: 80,
  summary: 'a page about the stack, /bytes/N, POST /echo, /stats (HTTP/1.1 by node:http)',
  async start(host: ServiceHost, port: number): Promise<RunningService> {
    const web = createHttpServer(host);
    // node:http lets its clients half-close, so the sockets under it must.
    const listener = host.net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => web.emit('connection', socket));
    listener.listen(port);
    try {
      await once(listener, 'listening');
    } catch (error) {
      const errno = (error as { errno?: number }).errno;
      throw errno === undefined ? error : listenError('http', port, 'TCP', -errno);
    }
    listener.on('error', (error: Error) => debug('%s', error.message));
    // Begins the checks for clients that dawdle over their headers, which listening would have done.
    web.emit('listening');
    return {
      name: 'http',
      port,
      transports: ['tcp'],
      close(graceful = true) {
        listener.close();
        web.close();
        if (graceful) web.closeIdleConnections();
        else web.closeAllConnections();
      },
    };
  },
};
