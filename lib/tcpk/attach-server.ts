/**
 * Lets applications in other processes attach to a stack: listens on the control socket, makes each its
 * window and doorbells, executes its calls, and notices when it ends. The messages are in
 * lib/channel/control.ts.
 *
 * A window is made, sealed and sized here: an application can write to it, but cannot take it away.
 */

import { unlinkSync } from 'node:fs';
import { StringDecoder } from 'node:string_decoder';
import createDebug from 'debug';
import { CALL_WORDS } from '../channel/channel.ts';
import type { ChannelInfo } from '../channel/channel.ts';
import { CONTROL_BYTES, CONTROL_QUERIES, CONTROL_REPORT, CONTROL_VERSION, REPORT_HEADER, parseHello, thisThread } from '../channel/control.ts';
import type { ControlQuery } from '../channel/control.ts';
import type { NativeChannel } from '../channel/native.ts';
import { SLICE_US } from '../channel/linger.ts';
import { DEFAULT_WINDOW, TX_TAIL, Window, windowFault, windowLength } from '../channel/window.ts';
import type { WindowSizes } from '../channel/window.ts';
import { monotonicZeroUs } from '../clock.ts';
import type { Clock } from '../clock.ts';
import { EADDRINUSE, EAGAIN, ECONNREFUSED, errnoName } from '../errno.ts';
import type { Application, Credentials } from './application.ts';
import type { Tcpk } from './tcpk.ts';
import type { WindowSpace } from './window-space.ts';

const debug = createDebug('tcpu:tcpk');

/** Connections that have not said yet what they want, at most, and for how long they may be silent. */
const MAX_STRANGERS = 64;
/** Of these, those of one user at most, and those that are kept free for root and the stack's own user. */
const STRANGERS_PER_USER = 16;
const STRANGERS_OF_ROOT = 16;
const HELLO_TIMEOUT_MS = 5000;
/** Messages of one application that are handled before others get their turn. */
const MESSAGES = 32;
/**
 * Making a window costs far more than asking for one. A user whose applications were thrown out more often than
 * this within a second gets the next ones late.
 */
const EXPULSIONS = 4;
const PENALTY_MS = 500;
/** Longest name that is kept, characters. */
const MAX_NAME = 64;
/** What a terminal or a log could take amiss: control characters (C1 too), marks that turn text, ends of lines, halves of characters. */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;
/** Longest report, bytes: for each connection and binding that the application has, and besides; and in any case. */
const REPORT_EACH = 1536;
const REPORT_BESIDES = 64 << 10;
const MAX_REPORT = 4 << 20;
/** From the end of one survey to the next, at least. */
const SURVEY_GAP_MS = 100;
/** Accepting fails for want of descriptors: until it is tried again. */
const ACCEPT_AGAIN_MS = 100;

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
  /** Whether the answer with this id is waited for; others are not even read. */
  awaits: (app: Application, id: number) => boolean;
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
  #watch: number;
  readonly #connections = new Set<Connection>();
  /** By user: when one of his applications was thrown out, ms, the last few. */
  readonly #expulsions = new Map<number, number[]>();
  /** By user: bytes of his windows. */
  readonly #windows = new Map<number, number>();
  /** Answers on their way. */
  readonly #answers = new Map<ControlQuery, Promise<Buffer>>();
  #lastAnswer: Promise<void> = Promise.resolve();
  #again: NodeJS.Timeout | null = null;
  #closed = false;

  /** @throws AttachServerError when the path cannot be had */
  constructor(options: AttachServerOptions) {
    const native = options.space.native;
    if (native === null) throw new AttachServerError('this stack takes applications of its own thread only (applications.shared)', 'ENOTSUP');
    this.path = options.path;
    this.#options = options;
    this.#native = native;
    this.#fd = listen(native, options.path, options.mode ?? 0o600);
    this.#watch = this.#listen();
  }

  #listen(): number {
    const watch = this.#native.watch(this.#fd, false, () => this.#accept());
    // The stack keeps the process, not those who might come.
    this.#native.watchUnref(watch);
    return watch;
  }

  #accept(): void {
    for (;;) {
      const fd = this.#native.unixAccept(this.#fd);
      if (fd === -EAGAIN) return;
      if (fd < 0) {
        // EMFILE, ENFILE, ENOMEM: whoever waits goes on waiting, and the socket would stay readable.
        debug('cannot accept: %s', errnoName(-fd));
        this.#native.unwatch(this.#watch);
        this.#again = setTimeout(() => {
          this.#again = null;
          this.#watch = this.#listen();
        }, ACCEPT_AGAIN_MS);
        this.#again.unref();
        return;
      }
      const credentials = this.#native.unixPeer(fd);
      if (typeof credentials === 'number' || !this.#hasRoomFor(credentials.uid)) {
        this.#native.closeFd(fd);
        continue;
      }
      this.#connections.add(new Connection(this, this.#native, fd, credentials, this.#options));
    }
  }

  /** Nobody can keep others out by being many. */
  #hasRoomFor(uid: number): boolean {
    let strangers = 0;
    let ofUser = 0;
    for (const one of this.#connections) {
      if (!one.stranger) continue;
      strangers++;
      if (one.credentials.uid === uid) ofUser++;
    }
    return isTrusted(uid) ? strangers < MAX_STRANGERS : ofUser < STRANGERS_PER_USER && strangers < MAX_STRANGERS - STRANGERS_OF_ROOT;
  }

  /** @internal Counts a window of this user, or returns false: he has had half of all the space. */
  takeSpace(uid: number, bytes: number): boolean {
    const { space } = this.#options;
    const taken = (this.#windows.get(uid) ?? 0) + bytes;
    if (!isTrusted(uid) && taken > (space.end - space.start) / 2) return false;
    this.#windows.set(uid, taken);
    return true;
  }

  /** @internal The window is gone. */
  giveSpace(uid: number, bytes: number): void {
    const left = this.#windows.get(uid)! - bytes;
    if (left > 0) this.#windows.set(uid, left);
    else this.#windows.delete(uid);
  }

  /** @internal The answer to a query as JSON. All who ask while it is on its way get the same; no two surveys run at a time. */
  answer(kind: ControlQuery): Promise<Buffer> {
    const same = this.#answers.get(kind);
    if (same !== undefined) return same;
    const answer = this.#lastAnswer.then(() => this.#options.onquery(kind)).then((result) => Buffer.from(JSON.stringify(result)));
    this.#answers.set(kind, answer);
    const over = (): Promise<void> => {
      this.#answers.delete(kind);
      return new Promise((resolve) => setTimeout(resolve, SURVEY_GAP_MS).unref());
    };
    this.#lastAnswer = answer.then(over, over);
    return answer;
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
    if (this.#again === null) this.#native.unwatch(this.#watch);
    else clearTimeout(this.#again);
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
  return fd;
}

/** Root, and the stack's own user, could end the stack anyway. */
function isTrusted(uid: number): boolean {
  return uid === 0 || uid === process.getuid?.();
}

/** One connection to the control socket: a stranger at first, then an application, or a question. */
class Connection {
  readonly #server: AttachServer;
  readonly #native: NativeChannel;
  readonly #fd: number;
  readonly credentials: Credentials;
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
  /** Gives back the application's window, and its descriptors: the window's, its bell, ours, and what it gets in place of its bell. */
  #giveBack: (() => void) | null = null;
  #bellWatch = -1;
  /** The report that is coming in: its id, what has come of it, and how much that was. */
  #reportId = -1;
  #report = '';
  #reportBytes = 0;
  #decoder = new StringDecoder('utf8');
  #closed = false;

  constructor(server: AttachServer, native: NativeChannel, fd: number, credentials: Credentials, options: AttachServerOptions) {
    this.#server = server;
    this.#native = native;
    this.#fd = fd;
    this.credentials = credentials;
    this.#options = options;
    this.#words = new Int32Array(this.#message.buffer, this.#message.byteOffset, CONTROL_BYTES >> 2);
    this.#watch = native.watch(fd, false, () => this.#guarded(() => this.#readable()));
    native.watchUnref(this.#watch);
    this.#timer = setTimeout(() => this.close('nothing was asked'), HELLO_TIMEOUT_MS);
    this.#timer.unref();
  }

  get stranger(): boolean {
    return this.#app === null;
  }

  /** What one connection brings about ends that connection, not the stack. */
  #guarded(work: () => void): void {
    try {
      work();
    } catch (error) {
      debug('pid %d: %O', this.credentials.pid, error);
      if (this.#app !== null) this.#options.tcpk.expel(this.#app, 'what it sent made the stack fail');
      else this.close('what it sent made the stack fail');
    }
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
    const hello = parseHello(this.#message.toString('utf8', 0, length));
    if (hello === null) {
      this.#refuse('what was sent is no request', 'EPROTO');
    } else if (hello.tcpu !== CONTROL_VERSION) {
      this.#refuse(`this stack speaks version ${CONTROL_VERSION}, the application ${hello.tcpu}; use the same tcpu for both`, 'EPROTO');
    } else if (hello.query !== undefined) {
      this.#query(hello.query);
    } else {
      const { name = '', sizes = DEFAULT_WINDOW } = hello;
      const waitMs = this.#server.penaltyMs(this.credentials.uid);
      if (waitMs === 0) this.#attach(name, sizes);
      else this.#timer = setTimeout(() => this.#guarded(() => this.#attach(name, sizes)), waitMs);
    }
  }

  #refuse(error: string, code: string): void {
    this.#send(Buffer.from(JSON.stringify({ error, code })));
    this.close(error);
  }

  #send(bytes: Uint8Array, fds: number[] | null = null): boolean {
    return this.#native.unixSend(this.#fd, bytes, 0, bytes.length, fds) === bytes.length;
  }

  #attach(wanted: string, sizes: WindowSizes): void {
    const { tcpk, space, clock } = this.#options;
    const { credentials } = this;
    const native = this.#native;
    this.#timer = null;
    const fault = windowFault(sizes);
    if (fault !== null) {
      this.#refuse(`window.${fault}`, 'EINVAL');
      return;
    }
    const bytes = windowLength(sizes);
    if (!this.#server.takeSpace(credentials.uid, bytes)) {
      this.#refuse('this user has half of the room for applications already', 'ENOBUFS');
      return;
    }
    const base = space.allocate(bytes);
    if (base < 0) {
      this.#server.giveSpace(credentials.uid, bytes);
      this.#refuse('the stack has no room for another application', 'ENOBUFS');
      return;
    }
    const fds: number[] = [];
    this.#giveBack = () => {
      this.#giveBack = null;
      for (const fd of fds) if (fd >= 0) native.closeFd(fd);
      native.arenaUnmap(space.buffer, base, bytes);
      space.free(base, bytes);
      this.#server.giveSpace(credentials.uid, bytes);
    };
    const memfd = native.memfd('tcpu', bytes);
    fds.push(memfd);
    // It may wait for its own bell, and ring ours, but do nothing else to the one that we write to.
    const bell = native.eventfd();
    fds.push(bell, native.eventfd(), bell < 0 ? bell : native.eventfdListen(bell));
    const mapped = memfd >= 0 ? native.arenaMap(space.buffer, base, bytes, memfd) : memfd;
    if (mapped < 0 || fds.some((fd) => fd < 0)) {
      this.#refuse('the stack cannot make shared memory for another application', 'ENOMEM');
      return;
    }
    const window = new Window(space.buffer, base, sizes);
    const privileged = credentials.uid === 0 || this.#options.allowPrivilegedPorts === true;
    const name = wanted.slice(0, MAX_NAME).replace(UNPRINTABLE, '?');
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
      release: (reason) => this.#release(reason),
    });
    this.#app = app;
    this.#bellWatch = native.watch(fds[2]!, true, () => tcpk.serve(app));
    native.watchUnref(this.#bellWatch);
    debug('%s (pid %d, uid %d) attached', name, credentials.pid, credentials.uid);
    const { mtu, features, addresses, name: link } = this.#options.info();
    const welcome = {
      mtu, features, addresses, name: link, pid: process.pid, clockZeroUs: monotonicZeroUs(() => clock.nowUs()), sizes, thread: thisThread,
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
    const { awaits, onreport } = this.#options;
    const id = this.#words[1]!;
    const more = this.#words[2] !== 0;
    if (id !== this.#reportId) this.#forgetReport(id);
    if (!awaits(app, id)) {
      this.#forgetReport(id);
      return;
    }
    this.#reportBytes += length;
    if (this.#reportBytes > Math.min((app.flowCount + app.bindings.size) * REPORT_EACH + REPORT_BESIDES, MAX_REPORT)) {
      this.#forgetReport(id);
      // No answer. The rest is not waited for any more.
      onreport(app, id, '');
      return;
    }
    this.#report += this.#decoder.write(this.#message.subarray(REPORT_HEADER, length));
    if (more) return;
    const report = this.#report;
    this.#forgetReport(id);
    onreport(app, id, report);
  }

  #forgetReport(next: number): void {
    this.#reportId = next;
    this.#report = '';
    if (this.#reportBytes > 0) this.#decoder = new StringDecoder('utf8');
    this.#reportBytes = 0;
  }

  /** TCPK is done with the application, and the device with its memory. */
  #release(reason: string): void {
    debug('%s (pid %d) detached: %s', this.#app!.name, this.#app!.credentials.pid, reason);
    if (this.#app!.expelled) this.#server.noteExpulsion(this.#app!.credentials.uid);
    this.#native.unwatch(this.#bellWatch);
    this.#app = null;
    this.close(reason);
  }

  // ------------------------------------------------------------------------------------ queries

  #query(asked: string): void {
    const kind = CONTROL_QUERIES.find((one) => one === asked);
    if (kind === undefined) {
      this.#refuse(`there is no query '${asked.slice(0, MAX_NAME)}'`, 'EINVAL');
      return;
    }
    this.#server.answer(kind).then((text) => this.#stream(text), (error: unknown) => this.#refuse(String(error), 'EIO'));
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
    this.#giveBack?.();
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#native.unwatch(this.#watch);
    this.#native.closeFd(this.#fd);
    this.#server.forget(this);
  }
}
