/**
 * Connections in TIME-WAIT (RFC 9293 3.6.1, 3.10.7.4): how one gets there, what it answers, and when a new connection
 * may have its addresses and ports before the time is up. What is kept of one is a row of `TimeWaitTable`.
 *
 * **A SYN** may open anew when it cannot be mistaken for an old one (MAY-2; SHLD-4, RFC 6191 section 2). With the
 * timestamps of both, the old connection's and the SYN's:
 *
 *     old had them   SYN has them    accepted when
 *     yes            yes             its timestamp is newer, or the same and its number higher
 *     yes            no              its number is higher
 *     no             yes             always: PAWS keeps old segments out, which have none
 *     no             no              its number is higher
 *
 * Other than RFC 6191 says, a SYN that is not accepted is not dropped in silence but told where we are, as in Linux:
 * a peer that does open anew resets what is left here by that, and gets in with its next SYN.
 *
 * **A connection of ours** may take over the pair when timestamps were agreed on and a second has gone by, so that
 * every segment of the new connection is newer than any of the old one (Linux's tcp_tw_reuse, which by default does
 * so on loopback only). The peer has nothing left of the old one, or its last FIN.
 *
 * **RST** with exactly the next number ends the wait (RFC 9293, and RFC 5961 3.2), as in Linux. That is how a stray
 * old segment, by way of our ACK and the peer's answer to it, can assassinate TIME-WAIT (RFC 1337); `rfc1337` keeps
 * it from that (its fix F1) at the price of waiting for those who know that the connection is over.
 *
 * **Everything else** is answered by an ACK; what has no data only twice a second, since two ends that disagree would
 * answer each other without end.
 */

import type { IpFlow } from '../ip/flow.ts';
import { sendAck } from '../tcp/emit.ts';
import type { TcpHome } from '../tcp/home.ts';
import type { Segment } from '../tcp/segment.ts';
import type { StatelessSender } from '../tcp/stateless.ts';
import type { Tcb } from '../tcp/tcb.ts';
import { seqAdd, seqGt, seqMax } from '../wire/seq.ts';
import type { Seq } from '../wire/seq.ts';
import { ACK, FIN, RST, SYN } from '../wire/tcp.ts';
import type { ConnectionTable } from './connection-table.ts';

/** Least time between two answers to segments without data, ms (Linux's tcp_invalid_ratelimit). */
const STRAY_MS = 500;
/** Least age of what a connection of ours takes over, ms. */
const REUSE_MS = 1000;
/** By how much the new connection's numbers are above the old one's: no window without scaling reaches so far. */
const ABOVE = 65_537;

export class TimeWaiting {
  readonly #home: TcpHome;
  readonly #table: ConnectionTable;
  readonly #stateless: StatelessSender;
  readonly #wakeAt: (atMs: number) => void;
  /** The connection that is being opened has taken over a pair: its ISN must lie above this. */
  #reusing = false;
  #above = 0 as Seq;

  constructor(home: TcpHome, table: ConnectionTable, stateless: StatelessSender, wakeAt: (atMs: number) => void) {
    this.#home = home;
    this.#table = table;
    this.#stateless = stateless;
    this.#wakeAt = wakeAt;
  }

  /** Whether the connection that is being opened takes over a pair. */
  get reusing(): boolean {
    return this.#reusing;
  }

  /** The connection that is being opened has been, or not. */
  forgetReuse(): void {
    this.#reusing = false;
  }

  /** `isn`, or one that is clear of the old connection. */
  aboveOld(isn: Seq): Seq {
    return this.#reusing ? seqMax(isn, seqAdd(this.#above, ABOVE)) : isn;
  }

  /** A TCB that had `entry` in the table, and has left it, is in TIME-WAIT. */
  enter(tcb: Tcb, entry: number): void {
    const { config, counters, nowMs } = this.#home;
    if (config.timeWaitMs === 0 || config.maxTimeWait === 0) {
      // As long as the flow is ours.
      if (tcb.ackNow) sendAck(tcb);
      this.#table.remove(entry);
      return;
    }
    const { timeWait } = this.#table;
    if (timeWait.size >= config.maxTimeWait) {
      counters.TimeWaitOverflows++;
      this.#table.endWait(timeWait.oldestEntry);
    }
    const window = Math.min(tcb.rcvWnd >> Math.max(tcb.rcvWscale, 0), 0xffff);
    this.#table.wait(entry, (nowMs + config.timeWaitMs) | 0, {
      sndNxt: tcb.sndNxt, rcvNxt: tcb.rcvNxt, window, timestamps: tcb.timestamps, tsRecent: tcb.tsRecent, tsOffset: tcb.tsOffset,
      tos: tcb.flow.tos, ttl: tcb.flow.ttl, leftMs: config.timeWaitMs,
    });
    this.#wakeAt((nowMs + config.timeWaitMs) | 0);
  }

  /**
   * A segment for the connection at `entry` (3.10.7.4). Returns whether it is done with; false: it is a SYN that opens
   * anew, and the wait is over. `listens` tells whether somebody listens: a forged SYN must not end the wait of a client.
   */
  input(segment: Segment, entry: number, listens: (segment: Segment) => boolean): boolean {
    const home = this.#home;
    const { nowMs } = home;
    const table = this.#table.timeWait;
    const row = this.#table.row(entry);
    const { flags } = segment;
    const rcvNxt = table.rcvNxt(row) as Seq;
    if ((flags & RST) !== 0) {
      if (segment.seq === rcvNxt && !home.config.rfc1337) this.#table.endWait(entry);
      return true;
    }
    // (With FIN it would open nothing.)
    if ((flags & (SYN | ACK | FIN)) === SYN && this.#opensAnew(segment, row) && listens(segment)) {
      home.counters.TimeWaitReuses++;
      this.#takeOver(entry);
      return false;
    }
    if (segment.segLen === 0 && segment.seq === rcvNxt) return true;
    // The FIN again: the time begins anew.
    if ((flags & FIN) !== 0 && ((segment.seq + segment.segLen) | 0) === rcvNxt) table.restart(row, (nowMs + home.config.timeWaitMs) | 0);
    if ((segment.length === 0 && (flags & FIN) === 0) && !table.mayAnswer(row, nowMs, STRAY_MS)) return true;
    const sent = this.#stateless.acknowledge(segment, table.sndNxt(row), rcvNxt, table.window(row), table.tos(row), table.ttl(row),
      table.timestamps(row), (nowMs + table.tsOffset(row)) | 0, table.tsRecent(row));
    if (sent) home.counters.OutSegs++;
    return true;
  }

  /** RFC 6191 section 2; the table above. */
  #opensAnew(segment: Segment, row: number): boolean {
    const table = this.#table.timeWait;
    const higher = seqGt(segment.seq, table.rcvNxt(row) as Seq);
    if (!segment.hasTimestamps || !this.#home.config.timestamps) return higher;
    if (!table.timestamps(row)) return true;
    const newer = (segment.tsVal - table.tsRecent(row)) | 0;
    return newer > 0 || newer === 0 && higher;
  }

  #takeOver(entry: number): void {
    this.#reusing = true;
    this.#above = this.#table.timeWait.sndNxt(this.#table.row(entry)) as Seq;
    this.#table.endWait(entry);
  }

  /** Whether a connection of ours may take over this flow; false also when it is not in TIME-WAIT. */
  mayReuse(flow: IpFlow, localPort: number, remotePort: number): boolean {
    const { config, nowMs } = this.#home;
    if (!config.timeWaitReuse || !config.timestamps) return false;
    const entry = this.#table.findFlow(flow, localPort, remotePort);
    if (entry < 0 || this.#table.tcb(entry) !== null) return false;
    const { timeWait } = this.#table;
    const row = this.#table.row(entry);
    return timeWait.timestamps(row) && config.timeWaitMs - timeWait.leftMs(row, nowMs) >= REUSE_MS;
  }

  /** Ends the wait of `tcb`'s flow, if there is one that `tcb`, which is going to be opened actively, may take over. */
  reuse(tcb: Tcb): void {
    if (!this.mayReuse(tcb.flow, tcb.localPort, tcb.remotePort)) return;
    this.#home.counters.TimeWaitReuses++;
    this.#takeOver(this.#table.findFlow(tcb.flow, tcb.localPort, tcb.remotePort));
  }
}
