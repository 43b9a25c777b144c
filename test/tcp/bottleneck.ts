/**
 * A small model of a path, for congestion control by itself: senders with endless data, one bottleneck with a queue, a
 * receiver that acknowledges each packet (or what has come in a while, as receivers that merge do). It has packet numbers
 * instead of sequence space, as QUIC has, and none of the engine but the algorithms and what they share (cwnd.ts).
 *
 *     sender --> [ queue | rate ] --> chance --> receiver --acknowledgments, never lost--> sender
 *            <------------------ RTT without a queue, all in all ------------------->
 */

import { SeededRandom } from '../../lib/random.ts';
import { noteUsage, windowMayGrow, NO_SSTHRESH, initialWindow } from '../../lib/tcp/congestion/cwnd.ts';
import { createCongestionControl } from '../../lib/tcp/congestion/congestion-control.ts';
import type { CongestionControl, RateSample } from '../../lib/tcp/congestion/congestion-control.ts';
import { tcpConfig } from '../../lib/tcp/config.ts';
import { RECOVERY_FAST, RECOVERY_LOSS, RECOVERY_OPEN } from '../../lib/tcp/tcb.ts';
import type { Tcb } from '../../lib/tcp/tcb.ts';

export const MSS = 1448;
const WIRE = 1500;
/** Packets that are overtaken by so many are lost. */
const REORDERING = 3;

export interface BottleneckOptions {
  /** Bits a second; round trip without a queue, ms; room in the queue, bytes; chance of loss behind the queue. */
  rate: number;
  rttMs: number;
  buffer: number;
  loss?: number;
  seed?: number;
  /** The receiver acknowledges what has come in so many µs with one ACK. */
  mergeUs?: number;
  /** Acknowledgments come up to so much later, in order: flows that compete lose by chance, not in step. */
  jitterUs?: number;
}

interface Packet {
  number: number;
  sentUs: number;
  delivered: number;
  deliveredUs: number;
  firstSentUs: number;
}

/** What a sender has of a TCB. */
class Fields {
  cwnd = initialWindow(MSS, 10);
  ssthresh = NO_SSTHRESH;
  sndMss = MSS;
  sack = true;
  srttUs = 0;
  minRttUs = 0;
  lastRttUs = 0;
  rtoMs = 1000;
  sndUna = 0;
  sndNxt = 0;
  flight = 0;
  pipe = 0;
  delivered = 0;
  deliveredAtUs = 0;
  pacingRate = 0;
  recovery = RECOVERY_OPEN;
  cwndLimited = false;
  usageFlight = 0;
  usageSeq = 0;
  unusedFlight = 0;
  unusedMs = 0;
  iss: number;
  congestion: CongestionControl;
  home = { nowMs: 0, nowUs: 0, config: tcpConfig() };

  constructor(iss: number, congestion: CongestionControl) {
    this.iss = iss;
    this.congestion = congestion;
  }
}

export class Sender {
  readonly cc: CongestionControl;
  readonly fields: Fields;
  readonly tcb: Tcb;
  /** Packets that the path has lost, repairs, timeouts. */
  lost = 0;
  repairs = 0;
  timeouts = 0;
  readonly #path: Bottleneck;
  readonly #outstanding = new Map<number, Packet>();
  #next = 0;
  #recover = 0;
  #firstSentUs = 0;
  #paceUs = 0;
  #waiting = false;
  #lastAckUs = 0;
  #sample: RateSample = {
    acked: 0, lost: 0, priorPipe: 0, delivered: 0, intervalUs: 0, priorDelivered: 0, appLimited: false, rttUs: 0,
  };
  #progressUs = 0;

  constructor(path: Bottleneck, name: string, iss: number) {
    this.#path = path;
    this.cc = createCongestionControl(name)!;
    this.fields = new Fields(iss, this.cc);
    this.tcb = this.fields as unknown as Tcb;
  }

  /** Bytes that have arrived. */
  get delivered(): number {
    return this.fields.delivered;
  }

  #now(): void {
    const { home } = this.fields;
    home.nowUs = Math.floor(this.#path.nowUs) | 0;
    home.nowMs = Math.floor(this.#path.nowUs / 1000) | 0;
  }

  send(): void {
    const { fields } = this;
    const path = this.#path;
    this.#now();
    let sent = false;
    while (fields.pipe + MSS <= fields.cwnd) {
      if (fields.pacingRate > 0) {
        if (this.#paceUs > path.nowUs) {
          this.#wake(this.#paceUs);
          break;
        }
        this.#paceUs = Math.max(this.#paceUs, path.nowUs - 1000) + (MSS * 1e6) / fields.pacingRate;
      }
      if (this.#outstanding.size === 0) {
        this.#firstSentUs = path.nowUs;
        fields.deliveredAtUs = path.nowUs;
        this.#progressUs = path.nowUs;
      }
      const packet = {
        number: this.#next++, sentUs: path.nowUs, delivered: fields.delivered, deliveredUs: fields.deliveredAtUs,
        firstSentUs: this.#firstSentUs,
      };
      this.#outstanding.set(packet.number, packet);
      fields.pipe += MSS;
      this.#bounds();
      sent = true;
      path.carry(this, packet);
    }
    const limited = fields.pipe + MSS > fields.cwnd;
    if (sent || limited) noteUsage(this.tcb, limited);
  }

  /** `atUs`, or when the acknowledgment before comes. */
  inOrder(atUs: number): number {
    return (this.#lastAckUs = Math.max(this.#lastAckUs, atUs));
  }

  #wake(atUs: number): void {
    if (this.#waiting) return;
    this.#waiting = true;
    this.#path.at(atUs, () => {
      this.#waiting = false;
      this.send();
    });
  }

  #bounds(): void {
    const first = this.#outstanding.keys().next();
    this.fields.sndNxt = (this.#next * MSS) | 0;
    this.fields.sndUna = ((first.done ? this.#next : first.value) * MSS) | 0;
    this.fields.flight = this.fields.pipe;
  }

  /** One acknowledgment, of all these. */
  acknowledge(packets: Packet[]): void {
    const { fields, cc } = this;
    const sample = this.#sample;
    const nowUs = this.#path.nowUs;
    this.#now();
    sample.priorPipe = fields.pipe;
    sample.acked = 0;
    sample.lost = 0;
    sample.rttUs = 0;
    sample.intervalUs = 0;
    let newest: Packet | null = null;
    for (const packet of packets) {
      if (!this.#outstanding.delete(packet.number)) continue;
      fields.pipe -= MSS;
      fields.delivered += MSS;
      fields.deliveredAtUs = nowUs;
      sample.acked += MSS;
      sample.rttUs = Math.max(Math.floor(nowUs - packet.sentUs), 1);
      newest = packet;
    }
    if (newest === null) return;
    fields.lastRttUs = sample.rttUs;
    fields.srttUs = fields.srttUs === 0 ? sample.rttUs : Math.floor((7 * fields.srttUs + sample.rttUs) / 8);
    fields.minRttUs = fields.minRttUs === 0 ? sample.rttUs : Math.min(fields.minRttUs, sample.rttUs);
    fields.rtoMs = Math.floor(fields.srttUs / 1000) + 200;
    sample.priorDelivered = newest.delivered;
    sample.delivered = fields.delivered - newest.delivered;
    sample.intervalUs = Math.max(newest.sentUs - newest.firstSentUs, nowUs - newest.deliveredUs);
    if (sample.intervalUs < fields.minRttUs) sample.intervalUs = 0;
    this.#firstSentUs = newest.sentUs;
    this.#progressUs = nowUs;
    let repair = false;
    for (const packet of this.#outstanding.values()) {
      if (packet.number > newest.number - REORDERING) break;
      this.#outstanding.delete(packet.number);
      fields.pipe -= MSS;
      sample.lost += MSS;
      this.lost++;
      if (packet.number >= this.#recover) repair = true;
    }
    this.#bounds();
    const before = fields.recovery;
    if (repair) {
      this.repairs++;
      this.#recover = this.#next;
      fields.recovery = RECOVERY_FAST;
      fields.flight = sample.priorPipe;
      cc.onLoss(this.tcb, fields.home.nowMs);
      this.#bounds();
    } else if (before !== RECOVERY_OPEN && fields.sndUna >= this.#recover * MSS) {
      fields.recovery = RECOVERY_OPEN;
      if (before === RECOVERY_FAST) cc.onRecovered(this.tcb, fields.home.nowMs);
    }
    if (cc.model !== undefined) cc.model(this.tcb, sample);
    else if (fields.recovery === RECOVERY_LOSS || fields.recovery === RECOVERY_OPEN && before === RECOVERY_OPEN && windowMayGrow(this.tcb)) {
      cc.onAck(this.tcb, sample.acked, fields.home.nowMs);
    }
    this.send();
  }

  /** Looks whether the retransmission timer has run out. */
  tick(): void {
    const { fields } = this;
    if (this.#outstanding.size === 0 || this.#path.nowUs - this.#progressUs < fields.rtoMs * 1000) return;
    this.#now();
    this.timeouts++;
    this.#progressUs = this.#path.nowUs;
    fields.recovery = RECOVERY_LOSS;
    this.cc.onTimeout(this.tcb, true, fields.home.nowMs);
    this.lost += this.#outstanding.size;
    this.#outstanding.clear();
    fields.pipe = 0;
    this.#recover = this.#next;
    this.#bounds();
    this.send();
  }
}

export class Bottleneck {
  nowUs = 1_000_000;
  readonly senders: Sender[] = [];
  /** Packets that the queue had no room for; bytes × µs in it, and the most bytes. */
  drops = 0;
  queueMost = 0;
  #queueSum = 0;
  readonly #options: BottleneckOptions;
  readonly #random: SeededRandom;
  readonly #events: { atUs: number; order: number; run: () => void }[] = [];
  #order = 0;
  /** When the link has sent all that waits for it. */
  #freeUs = 0;
  readonly #merging = new Map<Sender, Packet[]>();

  constructor(options: BottleneckOptions) {
    this.#options = options;
    this.#random = new SeededRandom(options.seed ?? 1);
  }

  add(name: string): Sender {
    const sender = new Sender(this, name, 1_000_003 * (this.senders.length + 1) + (this.#options.seed ?? 1) * 77_773);
    this.senders.push(sender);
    sender.send();
    const tick = (): void => {
      sender.tick();
      this.at(this.nowUs + 10_000, tick);
    };
    tick();
    return sender;
  }

  at(atUs: number, run: () => void): void {
    const events = this.#events;
    const event = { atUs, order: this.#order++, run };
    let i = events.length;
    events.push(event);
    while (i > 0) {
      const up = (i - 1) >> 1;
      if (!before(event, events[up]!)) break;
      events[i] = events[up]!;
      i = up;
    }
    events[i] = event;
  }

  #take(): { atUs: number; run: () => void } {
    const events = this.#events;
    const first = events[0]!;
    const last = events.pop()!;
    if (events.length > 0) {
      let i = 0;
      for (;;) {
        let child = 2 * i + 1;
        if (child >= events.length) break;
        if (child + 1 < events.length && before(events[child + 1]!, events[child]!)) child++;
        if (!before(events[child]!, last)) break;
        events[i] = events[child]!;
        i = child;
      }
      events[i] = last;
    }
    return first;
  }

  /** Runs so many seconds; `each` every 10 ms. */
  run(seconds: number, each?: (ms: number) => void): void {
    const endUs = this.nowUs + seconds * 1e6;
    if (each !== undefined) {
      const call = (): void => {
        each(this.nowUs / 1000);
        if (this.nowUs + 10_000 < endUs) this.at(this.nowUs + 10_000, call);
      };
      call();
    }
    while (this.#events.length > 0 && this.#events[0]!.atUs <= endUs) {
      const event = this.#take();
      this.nowUs = event.atUs;
      event.run();
    }
    this.nowUs = endUs;
  }

  /** Time that a packet would wait now, ms. */
  get queueMs(): number {
    return Math.max(this.#freeUs - this.nowUs, 0) / 1000;
  }

  /** Mean of the waiting times of the packets, ms. */
  meanQueueMs(packets: number): number {
    return this.#queueSum / packets / 1000;
  }

  #chance(): number {
    return (this.#random.int32() >>> 0) / 2 ** 32;
  }

  carry(sender: Sender, packet: Packet): void {
    const { rate, rttMs, buffer, loss = 0, mergeUs = 0, jitterUs = 0 } = this.#options;
    const waitUs = Math.max(this.#freeUs - this.nowUs, 0);
    const queued = (waitUs * rate) / 8e6;
    if (queued + WIRE > buffer) {
      this.drops++;
      return;
    }
    this.queueMost = Math.max(this.queueMost, queued + WIRE);
    this.#queueSum += waitUs;
    this.#freeUs = Math.max(this.#freeUs, this.nowUs) + (WIRE * 8e6) / rate;
    if (loss > 0 && this.#chance() < loss) return;
    if (mergeUs === 0) {
      this.at(sender.inOrder(this.#freeUs + rttMs * 1000 + this.#chance() * jitterUs), () => sender.acknowledge([packet]));
      return;
    }
    this.at(this.#freeUs, () => this.#merge(sender, packet));
  }

  #merge(sender: Sender, packet: Packet): void {
    const { rttMs, mergeUs = 0 } = this.#options;
    const waiting = this.#merging.get(sender);
    if (waiting !== undefined) {
      waiting.push(packet);
      return;
    }
    const packets = [packet];
    this.#merging.set(sender, packets);
    this.at(this.nowUs + mergeUs, () => {
      this.#merging.delete(sender);
      this.at(this.nowUs + rttMs * 1000, () => sender.acknowledge(packets));
    });
  }
}

function before(a: { atUs: number; order: number }, b: { atUs: number; order: number }): boolean {
  return a.atUs < b.atUs || a.atUs === b.atUs && a.order < b.order;
}

/** Jain's fairness index. */
export function jain(values: number[]): number {
  const sum = values.reduce((a, b) => a + b, 0);
  const squares = values.reduce((a, b) => a + b * b, 0);
  return (sum * sum) / (values.length * squares);
}
