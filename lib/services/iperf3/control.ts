/**
 * The control connection: takes bytes apart into cookie, states and JSON, and queues what goes out.
 * Input and output are bounded; a peer that sends something else is an error, not a wait.
 */

import { EAGAIN, errnoName } from '../../errno.ts';
import type { BsdSocket } from '../../socket.ts';
import { COOKIE_LENGTH } from './protocol.ts';

/** What the next bytes are. */
const COOKIE = 0;
const STATE = 1;
const JSON_LENGTH = 2;
const JSON_TEXT = 3;

/** Longest JSON that is taken: parameters are a few hundred bytes, results about 200 a stream. */
const MAX_JSON = 256 * 1024;

/** Told what arrived, one at a time. */
export interface ControlHandler {
  cookie(control: ControlConnection, cookie: string): void;
  state(control: ControlConnection, state: number): void;
  json(control: ControlConnection, value: unknown): void;
  /** It is over: the peer closed, reset, or sent what cannot be. Not called after `close()`. */
  ended(control: ControlConnection, reason: string): void;
}

/** One connection to the server's port, from its accept on. */
export class ControlConnection {
  readonly socket: BsdSocket;
  /** Counts accepts: streams get their numbers in this order. */
  readonly order: number;
  cookieText = '';
  #handler: ControlHandler;
  #expect = COOKIE;
  #input: Uint8Array = new Uint8Array(COOKIE_LENGTH);
  #have = 0;
  #output: Uint8Array | null = null;
  #sent = 0;
  #open = true;
  /** Nothing more is read: the socket carries a stream's data now. */
  #detached = false;

  constructor(socket: BsdSocket, order: number, handler: ControlHandler) {
    this.socket = socket;
    this.order = order;
    this.#handler = handler;
  }

  /** Begins; also called whenever the socket says that something is ready. */
  ready(): void {
    this.#flush();
    this.#read();
  }

  /** From now on the next thing to arrive is JSON (`expectJson`) or a state. */
  expectJson(): void {
    this.#want(JSON_LENGTH, 4);
    this.#read();
  }

  expectState(): void {
    this.#want(STATE, 1);
    this.#read();
  }

  /** Gives the socket away to a data stream; what it does next is none of this object's business. */
  detach(): BsdSocket {
    this.#detached = true;
    this.#open = false;
    this.socket.onready = null;
    return this.socket;
  }

  sendState(state: number): void {
    this.send(Uint8Array.of(state & 0xff));
  }

  /** Sends all of it, sooner or later, in order. */
  send(bytes: Uint8Array): void {
    if (!this.#open) return;
    if (this.#output === null) {
      this.#output = bytes;
      this.#sent = 0;
    } else {
      this.#output = Buffer.concat([this.#output.subarray(this.#sent), bytes]);
      this.#sent = 0;
    }
    this.#flush();
  }

  /** Sends what is queued as far as it goes, and closes. */
  close(): void {
    if (!this.#open) return;
    this.#flush();
    this.#open = false;
    this.socket.onready = null;
    this.socket.close();
  }

  abort(): void {
    if (!this.#open) return;
    this.#open = false;
    this.socket.onready = null;
    this.socket.abort();
  }

  #want(what: number, length: number): void {
    this.#expect = what;
    if (this.#input.length !== length) this.#input = new Uint8Array(length);
    this.#have = 0;
  }

  #flush(): void {
    while (this.#output !== null && this.#open) {
      const sent = this.socket.send(this.#output, this.#sent, this.#output.length - this.#sent);
      if (sent < 0) {
        if (sent !== -EAGAIN) this.#end(errnoName(-sent));
        return;
      }
      this.#sent += sent;
      if (this.#sent === this.#output.length) this.#output = null;
    }
  }

  #read(): void {
    while (this.#open && !this.#detached) {
      if (this.#have === this.#input.length) return;
      const length = this.socket.recv(this.#input, this.#have, this.#input.length - this.#have);
      if (length === -EAGAIN) return;
      if (length <= 0) {
        this.#end(length === 0 ? 'the client closed the control connection' : errnoName(-length));
        return;
      }
      this.#have += length;
      if (this.#have === this.#input.length) this.#deliver();
    }
  }

  #deliver(): void {
    switch (this.#expect) {
      case COOKIE:
        this.cookieText = Buffer.from(this.#input).toString('latin1', 0, COOKIE_LENGTH - 1);
        // Nothing is read on until the handler says what it waits for.
        this.#handler.cookie(this, this.cookieText);
        return;
      case STATE: {
        const state = (this.#input[0]! << 24) >> 24;
        this.#have = 0;
        this.#handler.state(this, state);
        return;
      }
      case JSON_LENGTH: {
        const length = Buffer.from(this.#input.buffer).readUInt32BE(0);
        if (length === 0 || length > MAX_JSON) this.#end(`a JSON text of ${length} bytes (the limit is ${MAX_JSON})`);
        else this.#want(JSON_TEXT, length);
        return;
      }
      default: {
        let value: unknown;
        try {
          value = JSON.parse(Buffer.from(this.#input.buffer).toString('utf8'));
        } catch {
          this.#end('what should be JSON is not');
          return;
        }
        this.#want(STATE, 1);
        this.#handler.json(this, value);
      }
    }
  }

  #end(reason: string): void {
    if (!this.#open) return;
    this.#handler.ended(this, reason);
  }
}
