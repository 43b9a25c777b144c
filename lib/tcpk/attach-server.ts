/**
 * Lets applications in other processes attach to a stack: listens on the control socket, makes each its
 * window and doorbells, executes its calls, and notices when it ends. The messages are in
 * lib/channel/control.ts.
 *
 * A window is made, sealed and sized here: an application can write to it, but cannot take it away.
 */

import { chmodSync, unlinkSync } from 'node:fs';
import createDebug from 'debug';
import { CALL_WORDS } from '../channel/channel.ts';
import type { ChannelInfo } from '../channel/channel.ts';
import { CONTROL_BYTES, CONTROL_QUERIES, CONTROL_REPORT, CONTROL_VERSION, REPORT_HEADER, clockZeroUs, thisThread } from '../channel/control.ts';
import type { ControlHello, ControlQuery } from '../channel/control.ts';
import type { NativeChannel } from '../channel/native.ts';
import { SLICE_US } from '../channel/linger.ts';
import { DEFAULT_WINDOW, TX_TAIL, Window, windowFault, windowLength } from '../channel/window.ts';
import type { WindowSizes } from '../channel/window.ts';
import type { Clock } from '../clock.ts';
import { EADDRINUSE, EAGAIN, ECONNREFUSED, errnoName } from '../errno.ts';
import type { Application, Credentials } from './application.ts';
import type { Tcpk } from './tcpk.ts';
import type { WindowSpace } from './window-space.ts';

const debug = createDebug('tcpu:tcpk');

/** Connections that have not said yet what they want, at most, and for how long they may be silent. */
const MAX_STRANGERS = 64;
const HELLO_TIMEOUT_MS = 5000;
/** Messages of one application that are handled before others get their turn. */
const MESSAGES = 32;
/**
 * Making a window costs far more than asking for one. A user whose applications were thrown out more often than
 * this within a second gets the next ones late.
 */
const EXPULSIONS = 4;
const PENALTY_MS = 500;
/** Longest name that is kept, characters; longest report, bytes. */
const MAX_NAME = 64;
const MAX_REPORT = 64 << 20;

export interface AttachServerOptions {
  tcpk: Tcpk;
  space: WindowSpace;
  clock: Clock;
  info: () => ChannelInfo;
  path: string;
  /** Permission bits of the socket's file. Default 0o600. */
  mode?: number;
  /** Lets every application bind to ports below 1024, not only those of root. Default false. */
  allowPrivilegedPorts?: boolean;
  /** Answers `ControlQuery`s. */
  onquery: (kind: ControlQuery) => Promise<unknown>;
  /** Takes the answers to `Ingress.askReport`. */
  onreport: (app: Application, id: number, json: string) => void;
}

/** The socket cannot be listened on; the message says why and what to do. */
export class AttachServerError extends Error {
  readonly code: string;

  constructor(message: string, code: string) {
    super(message);
    this.name = 'AttachServerError';
    this.code = code;
  }
}

export class AttachServer {
  readonly path: string;
  readonly #options: AttachServerOptions;
  readonly #native: NativeChannel;
  readonly #fd: number;
  readonly #watch: number;
  readonly #connections = new Set<Connection>();
  /** By user: when one of his applications was thrown out, ms, the last few. */
  readonly #expulsions = new Map<number, number[]>();
  #closed = false;

  /** @throws AttachServerError when the path cannot be had */
  constructor(options: AttachServerOptions) {
    const native = options.space.native;
    if (native === null) throw new AttachServerError('this stack takes applications of its own thread only (applications.shared)', 'ENOTSUP');
    this.path = options.path;
    this.#options = options;
    this.#native = native;
    this.#fd = listen(native, options.path, options.mode ?? 0o600);
    this.#watch = native.watch(this.#fd, false, () => this.#accept());
    // The stack keeps the process, not those who might come.
    native.watchUnref(this.#watch);
  }

  #accept(): void {
    for (;;) {
      const fd = this.#native.unixAccept(this.#fd);
      if (fd < 0) return;
      let strangers = 0;
      for (const one of this.#connections) if (one.stranger) strangers++;
      if (strangers >= MAX_STRANGERS) {
        this.#native.closeFd(fd);
        continue;
      }
      this.#connections.add(new Connection(this, this.#native, fd, this.#options));
    }
  }

  /** @internal A connection is over. */
  forget(one: Connection): void {
    this.#connections.delete(one);
  }

  /** @internal An application of this user was thrown out. */
  noteExpulsion(uid: number): void {
    const times = this.#expulsions.get(uid) ?? [];
    times.push(Date.now());
    if (times.length > EXPULSIONS) times.shift();
    this.#expulsions.set(uid, times);
  }

  /** @internal How long the next application of this user has to wait, ms. */
  penaltyMs(uid: number): number {
    const times = this.#expulsions.get(uid);
    return times !== undefined && times.length === EXPULSIONS && Date.now() - times[0]! < 1000 ? PENALTY_MS : 0;
  }

  /** Connections, those of attached applications included. */
  get connections(): number {
    return this.#connections.size;
  }

  /** Takes nobody in any more, and removes the socket's file. Attached applications stay until the stack closes. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#native.unwatch(this.#watch);
    this.#native.closeFd(this.#fd);
    try {
      unlinkSync(this.path);
    } catch {
      // Somebody else has removed it.
    }
    for (const one of this.#connections) if (one.stranger) one.close('the stack has closed');
  }
}

/** A socket's file that nobody listens at any more is left over from a stack that was killed. */
function listen(native: NativeChannel, path: string, mode: number): number {
  let fd = native.unixListen(path, mode);
  if (fd === -EADDRINUSE) {
    const probe = native.unixConnect(path);
    if (probe >= 0) {
      native.closeFd(probe);
      throw new AttachServerError(`another stack listens at ${path}; give this one another socket with --socket`, 'EADDRINUSE');
    }
    if (probe === -ECONNREFUSED) {
      try {
        unlinkSync(path);
        fd = native.unixListen(path, mode);
      } catch {
        // Below.
      }
    }
  }
  if (fd < 0) {
    const code = errnoName(-fd) ?? 'ENOENT';
    throw new AttachServerError(`cannot listen at ${path} (${code}); give another path with --socket`, code);
  }
  // Whatever the umask is.
  chmodSync(path, mode);
  return fd;
}

/** One connection to the control socket: a stranger at first, then an application, or a question. */
class Connection {
  readonly #server: AttachServer;
  readonly #native: NativeChannel;
  readonly #fd: number;
  readonly #options: AttachServerOptions;
  readonly #watch: number;
  readonly #message = Buffer.alloc(CONTROL_BYTES);
  readonly #words: Int32Array;
  readonly #answer = new Int32Array(CALL_WORDS);
  readonly #answerBytes = new Uint8Array(this.#answer.buffer);
  #timer: NodeJS.Timeout | null;
  /** The first message has come. */
  #asked = false;
  #app: Application | null = null;
  /** Of the application: window, its bell, ours, and what it gets in place of its bell. */
  #fds: number[] = [];
  #bellWatch = -1;
  #report = '';
  #reportBytes = 0;
  #closed = false;

  constructor(server: AttachServer, native: NativeChannel, fd: number, options: AttachServerOptions) {
    this.#server = server;
    this.#native = native;
    this.#fd = fd;
    this.#options = options;
    this.#words = new Int32Array(this.#message.buffer, this.#message.byteOffset, CONTROL_BYTES >> 2);
    this.#watch = native.watch(fd, false, () => this.#readable());
    native.watchUnref(this.#watch);
    this.#timer = setTimeout(() => this.close('nothing was asked'), HELLO_TIMEOUT_MS);
    this.#timer.unref();
  }

  get stranger(): boolean {
    return this.#app === null;
  }

  #readable(): void {
    for (let i = 0; i < MESSAGES && !this.#closed; i++) {
      // Who calls without end waits, too. The descriptor stays readable.
      if (this.#app?.exhausted === true) {
        this.#options.tcpk.comeBack(this.#app);
        return;
      }
      const length = this.#native.unixReceive(this.#fd, this.#message, null);
      if (length === -EAGAIN) return;
      if (length <= 0) {
        this.close(length === 0 ? 'it ended' : `its control socket failed (${errnoName(-length)})`);
        return;
      }
      if (this.#app !== null) this.#fromApplication(this.#app, length);
      else if (!this.#asked) this.#hello(length);
      else this.close('it does not wait for the answer');
    }
  }

  // ------------------------------------------------------------------------------- applications

  #hello(length: number): void {
    clearTimeout(this.#timer!);
    this.#timer = null;
    this.#asked = true;
    let hello: ControlHello;
    try {
      hello = JSON.parse(this.#message.toString('utf8', 0, length)) as ControlHello;
      if (typeof hello !== 'object' || hello === null) throw new TypeError('no object');
    } catch {
      this.#refuse('what was sent is no request', 'EPROTO');
      return;
    }
    if (hello.tcpu !== CONTROL_VERSION) {
      this.#refuse(`this stack speaks version ${CONTROL_VERSION}, the application ${String(hello.tcpu)}; use the same tcpu for both`, 'EPROTO');
    } else if (hello.query !== undefined) {
      this.#query(hello.query);
    } else {
      const credentials = this.#native.unixPeer(this.#fd);
      if (typeof credentials === 'number') {
        this.close('its credentials cannot be had');
        return;
      }
      const waitMs = this.#server.penaltyMs(credentials.uid);
      if (waitMs === 0) this.#attach(hello, credentials);
      else this.#timer = setTimeout(() => this.#attach(hello, credentials), waitMs);
    }
  }

  #refuse(error: string, code: string): void {
    this.#send(Buffer.from(JSON.stringify({ error, code })));
    this.close(error);
  }

  #send(bytes: Uint8Array, fds: number[] | null = null): boolean {
    return this.#native.unixSend(this.#fd, bytes, 0, bytes.length, fds) === bytes.length;
  }

  #attach(hello: ControlHello, credentials: Credentials): void {
    const { tcpk, space, clock } = this.#options;
    const native = this.#native;
    this.#timer = null;
    const asked = typeof hello.sizes === 'object' && hello.sizes !== null ? hello.sizes : DEFAULT_WINDOW;
    const sizes: WindowSizes = { rxRing: asked.rxRing, txRing: asked.txRing, call: asked.call, memory: asked.memory };
    const fault = windowFault(sizes);
    if (fault !== null) {
      this.#refuse(`window.${fault}`, 'EINVAL');
      return;
    }
    const bytes = windowLength(sizes);
    const base = space.allocate(bytes);
    if (base < 0) {
      this.#refuse('the stack has no room for another application', 'ENOBUFS');
      return;
    }
    const memfd = native.memfd('tcpu', bytes);
    // It may wait for its own bell, and ring ours, but do nothing else to the one that we write to.
    const bell = native.eventfd();
    const fds = [memfd, bell, native.eventfd(), bell < 0 ? bell : native.eventfdListen(bell)];
    const mapped = memfd >= 0 ? native.arenaMap(space.buffer, base, bytes, memfd) : memfd;
    if (mapped < 0 || fds.some((fd) => fd < 0)) {
      for (const fd of fds) if (fd >= 0) native.closeFd(fd);
      if (mapped === 0) native.arenaUnmap(space.buffer, base, bytes);
      space.free(base, bytes);
      this.#refuse('the stack cannot make shared memory for another application', 'ENOMEM');
      return;
    }
    this.#fds = fds;
    const window = new Window(space.buffer, base, sizes);
    const privileged = credentials.uid === 0 || this.#options.allowPrivilegedPorts === true;
    const name = typeof hello.name === 'string' ? hello.name.slice(0, MAX_NAME) : '';
    const app = tcpk.attach(window, credentials, name, privileged, {
      ring: () => {
        native.eventfdWrite(bell);
      },
      again: () => {
        setImmediate(() => tcpk.resume(app));
      },
      stayAwake: () => {
        const tail = window.words[TX_TAIL]!;
        setImmediate(() => {
          native.awaitChange(window.words, TX_TAIL, tail, SLICE_US);
          tcpk.resume(app);
        });
      },
      release: (reason) => this.#release(window, reason),
    });
    this.#app = app;
    this.#bellWatch = native.watch(fds[2]!, true, () => tcpk.serve(app));
    native.watchUnref(this.#bellWatch);
    debug('%s (pid %d, uid %d) attached', name, credentials.pid, credentials.uid);
    const { mtu, features, addresses, name: link } = this.#options.info();
    const welcome = {
      mtu, features, addresses, name: link, pid: process.pid, clockZeroUs: clockZeroUs(clock.nowUs()), sizes, thread: thisThread,
    };
    if (!this.#send(Buffer.from(JSON.stringify(welcome)), [memfd, fds[3]!, fds[2]!])) this.close('it does not listen');
  }

  #fromApplication(app: Application, length: number): void {
    const words = this.#words;
    if (length < 4 || words[0] === CONTROL_REPORT) {
      if (length >= REPORT_HEADER) this.#takeReport(app, length);
      return;
    }
    const count = length >> 2;
    if ((length & 3) !== 0 || count > CALL_WORDS) {
      this.#options.tcpk.expel(app, 'it sent what is no call');
      return;
    }
    const answer = this.#answer;
    answer.set(words.subarray(0, count));
    answer.fill(0, count);
    answer[0] = app.call(answer, count);
    if (!this.#closed && !this.#send(this.#answerBytes)) this.#options.tcpk.expel(app, 'it does not take the answers to its calls');
  }

  #takeReport(app: Application, length: number): void {
    const id = this.#words[1]!;
    const more = this.#words[2] !== 0;
    this.#reportBytes += length;
    if (this.#reportBytes > MAX_REPORT) {
      this.#options.tcpk.expel(app, 'its report does not end');
      return;
    }
    this.#report += this.#message.toString('utf8', REPORT_HEADER, length);
    if (more) return;
    const report = this.#report;
    this.#report = '';
    this.#reportBytes = 0;
    this.#options.onreport(app, id, report);
  }

  /** TCPK is done with the application, and the device with its memory. */
  #release(window: Window, reason: string): void {
    const { space } = this.#options;
    const native = this.#native;
    debug('%s (pid %d) detached: %s', this.#app!.name, this.#app!.credentials.pid, reason);
    if (this.#app!.expelled) this.#server.noteExpulsion(this.#app!.credentials.uid);
    native.unwatch(this.#bellWatch);
    native.arenaUnmap(space.buffer, window.base, window.length);
    space.free(window.base, window.length);
    for (const fd of this.#fds) native.closeFd(fd);
    this.#app = null;
    this.close(reason);
  }

  // ------------------------------------------------------------------------------------ queries

  #query(kind: ControlQuery): void {
    if (!CONTROL_QUERIES.includes(kind)) {
      this.#refuse(`there is no query '${String(kind)}'`, 'EINVAL');
      return;
    }
    this.#options.onquery(kind).then((result) => this.#stream(Buffer.from(JSON.stringify(result))), (error: unknown) => {
      this.#refuse(String(error), 'EIO');
    });
  }

  /** Sends a text in pieces, as fast as it is read. */
  #stream(text: Buffer): void {
    let at = 0;
    const started = Date.now();
    const step = (): void => {
      while (at < text.length && !this.#closed) {
        const piece = text.subarray(at, at + (CONTROL_BYTES >> 2));
        if (!this.#send(piece)) {
          // Whoever asks and does not read is not waited for.
          if (Date.now() - started < HELLO_TIMEOUT_MS) setTimeout(step, 5).unref();
          else this.close('it does not read');
          return;
        }
        at += piece.length;
      }
      this.close('answered');
    };
    step();
  }

  close(reason: string): void {
    if (this.#closed) return;
    if (this.#app !== null) {
      // Comes back through #release.
      this.#options.tcpk.detach(this.#app, reason);
      return;
    }
    this.#closed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#native.unwatch(this.#watch);
    this.#native.closeFd(this.#fd);
    this.#server.forget(this);
  }
}
