/**
 * The check of what an application sends (2.1, 2.2 of the report): "security, i.e. it prevents unauthorized
 * packet" transmission. The application composes TCP headers; the IP header is the stack's own, from
 * addresses that TCPK knows, so there is none to forge. Of each segment is checked that
 *
 * - the flow is one of the application's, or the addresses and the port are those of a binding of its own,
 * - both ports in the TCP header are the flow's,
 * - the lengths are possible, the payload lies in the application's own memory, and the packet is no
 *   larger than the path and the link take.
 *
 * The header is copied out of shared memory first, and checked in the copy. Payload is not copied: it is
 * handed to the device from where it lies; who changes it meanwhile spoils his own connection.
 */

import { GSO_NONE, GSO_TCPV4, GSO_TCPV6 } from '../buffer/transmit-queue.ts';
import type { IpFlow } from '../ip/flow.ts';
import { LINK_TSO4, LINK_TSO6 } from '../link/link.ts';
import {
  FROM_APP_HANDLE, MAX_TX_PIECES, SENDTO_LENGTH, SENDTO_LOCAL, SENDTO_REMOTE, TX_GSO_SIZE, TX_GSO_TYPE, TX_HEADER, TX_HEADER_LENGTH,
  TX_IP, TX_PIECE, TX_PIECE_COUNT, takeAddresses,
} from '../channel/records.ts';
import type { Ip } from '../ip/ip.ts';
import { ACK, FIN, RST, SYN, TCP_ACK, TCP_CHECKSUM, TCP_DATA_OFFSET, TCP_FLAGS, TCP_HEADER, TCP_SEQ } from '../wire/tcp.ts';
import { seqAdd, seqGt, seqLeq } from '../wire/seq.ts';
import type { Seq } from '../wire/seq.ts';
import type { AppFlow } from './app-flow.ts';
import type { Application } from './application.ts';

/** Why something that an application sent was dropped. */
export const VIOLATION_RECORD = 1;
export const VIOLATION_FLOW = 2;
export const VIOLATION_ADDRESS = 3;
export const VIOLATION_PORT = 4;
export const VIOLATION_LENGTH = 5;
export const VIOLATION_MEMORY = 6;
export const VIOLATION_GSO = 7;
export const VIOLATION_OPEN = 8;

export const VIOLATION_NAMES: readonly string[] = [
  '', 'unknown or malformed record', 'no such flow', 'address that is not its own', 'port that is not its own', 'impossible length',
  'data outside of its memory', 'impossible segmentation', 'flow that is not its own',
];

/** The segment was queued. */
const SENT = 0;

const MAX_TCP_HEADER = 60;
/** Parts of a segment that is cut cost as much as a record, so many (1 << this) of them. */
const PARTS_SHIFT = 5;
/** The least that TCP sends in a segment (`updateSndMss`): smaller parts would only make many packets of one record. */
const MIN_PART = 8;

/** Sends the segment of a FROM_APP_SEGMENT record at word `w`, `length` bytes. Returns 0 or a `VIOLATION_…`. */
export function sendSegment(app: Application, ip: Ip, w: number, length: number): number {
  const words = app.window.words;
  const handle = words[w + FROM_APP_HANDLE]!;
  const headerLength = words[w + TX_HEADER_LENGTH]!;
  const count = words[w + TX_PIECE_COUNT]!;
  const gsoType = words[w + TX_GSO_TYPE]!;
  const gsoSize = words[w + TX_GSO_SIZE]!;
  if (count < 0 || count > MAX_TX_PIECES || (TX_PIECE + 2 * count) * 4 > length) return VIOLATION_RECORD;
  const flow = app.flow(handle);
  if (flow === null) return app.isRefused(handle) ? late(app) : VIOLATION_FLOW;
  const fault = beginSegment(app, ip, flow.ip, w, headerLength);
  if (fault !== SENT) return fault;
  const at = app.tcpk.headerAt;
  const view = app.tcpk.memory.view;
  if (view.getInt32(at) !== flow.ports) return VIOLATION_PORT;
  // The pieces: in the application's packet memory, not empty, 64 KB in all at most.
  const tx = ip.tx;
  const window = app.window;
  const low = window.memory;
  const high = window.length;
  let payload = 0;
  for (let i = 0; i < count; i++) {
    const offset = words[w + TX_PIECE + 2 * i]!;
    const size = words[w + TX_PIECE + 2 * i + 1]!;
    if (size <= 0 || offset < low || offset > high || size > high - offset) return VIOLATION_MEMORY;
    payload += size;
    if (payload > 0xffff) return VIOLATION_LENGTH;
    tx.piece(window.base + offset, size);
  }
  if (gsoType !== GSO_NONE) {
    const v4 = flow.ip.version === 4;
    if (gsoType !== (v4 ? GSO_TCPV4 : GSO_TCPV6) || (ip.features & (v4 ? LINK_TSO4 : LINK_TSO6)) === 0 || gsoSize < MIN_PART
      || gsoSize > 0xffff || gsoSize >= payload) return VIOLATION_GSO;
  }
  const size = (gsoType !== GSO_NONE ? gsoSize : payload) + headerLength + flow.ip.headerLength;
  if (size > flow.ip.mtu) return oversize(app, flow, size);
  if (ip.end(flow.ip, TCP_CHECKSUM, gsoType, gsoType === GSO_NONE ? 0 : gsoSize) < 0) return VIOLATION_LENGTH;
  follow(ip, flow, view, at, payload, gsoType === GSO_NONE ? payload : gsoSize);
  app.counters.OutSegs++;
  app.counters.OutOctets += payload;
  // The device, or who comes after it, has the more to do the smaller the parts are.
  if (gsoType !== GSO_NONE) app.charge(Math.ceil(payload / gsoSize) >> PARTS_SHIFT, 0);
  return SENT;
}

/** Sends the segment of a FROM_APP_SENDTO record: header only, with its addresses. */
export function sendTo(app: Application, ip: Ip, w: number, length: number): number {
  if (length < SENDTO_LENGTH) return VIOLATION_RECORD;
  const words = app.window.words;
  const headerLength = words[w + TX_HEADER_LENGTH]!;
  const flow = app.tcpk.scratchFlow;
  takeAddresses(flow, words, w + SENDTO_LOCAL, w + SENDTO_REMOTE);
  flow.generation = -1;
  if ((flow.l0 | flow.l1 | flow.l3) === 0 || ip.isToMany(flow.r0, flow.r1, flow.r2, flow.r3) || ip.route(flow) < 0) return VIOLATION_ADDRESS;
  const fault = beginSegment(app, ip, flow, w, headerLength);
  if (fault !== SENT) return fault;
  const at = app.tcpk.headerAt;
  const ports = app.tcpk.memory.view.getInt32(at);
  const known = app.tcpk.table.flowAt(flow.l0, flow.l1, flow.l2, flow.l3, flow.r0, flow.r1, flow.r2, flow.r3, ports);
  // A flow that somebody has, is his; what nobody has, belongs to whom the local port belongs.
  if (known === null || known.app !== app) {
    if (!app.mayUse(flow.l0, flow.l1, flow.l2, flow.l3, ports >>> 16)) return VIOLATION_PORT;
    // On a port that several have, another may have opened the flow meanwhile.
    if (known !== null || app.tcpk.isKernelFlow(flow, ports)) return late(app);
  }
  if (ip.end(flow, TCP_CHECKSUM, GSO_NONE, 0) < 0) return VIOLATION_LENGTH;
  app.counters.OutSegs++;
  return SENT;
}

/** Dropped, and nobody's fault. */
function late(app: Application): number {
  app.counters.OutLate++;
  return SENT;
}

/** Too large for the path: a lie, or news of a smaller path MTU that the application has not heard yet. */
function oversize(app: Application, flow: AppFlow, size: number): number {
  if (size > app.tcpk.linkMtu || flow.ip.loopback) return VIOLATION_LENGTH;
  app.counters.OutTooBig++;
  app.ingress.tellPathMtu(flow.ip);
  return SENT;
}

/** Begins the packet and copies the TCP header into it, where `tcpk.headerAt` then says. */
function beginSegment(app: Application, ip: Ip, flow: IpFlow, w: number, headerLength: number): number {
  if (headerLength < TCP_HEADER || headerLength > MAX_TCP_HEADER || (headerLength & 3) !== 0) return VIOLATION_LENGTH;
  const window = app.window;
  const ipWord = window.words[w + TX_IP]!;
  const ttl = (ipWord >>> 8) & 0xff;
  flow.tos = ipWord & 0xff;
  flow.ttl = ttl === 0 ? 64 : ttl;
  const at = ip.begin(flow, headerLength);
  // The caller has seen to it that there is room.
  if (at < 0) return VIOLATION_RECORD;
  const memory = app.tcpk.memory;
  const from = window.base + (w + TX_HEADER) * 4;
  memory.bytes.copyWithin(at, from, from + headerLength);
  app.tcpk.headerAt = at;
  if ((memory.bytes[at + TCP_DATA_OFFSET]! >> 4) << 2 !== headerLength) return VIOLATION_LENGTH;
  return SENT;
}

/** The segment that ICMP has complained of is sent again: it seems to be true. */
function takeClaim(ip: Ip, flow: AppFlow): void {
  const mtu = flow.claimedMtu;
  flow.claimedMtu = 0;
  flow.mostSent = 0;
  flow.mostAcked = 0;
  ip.lowerPathMtu(flow.ip, mtu);
}

/** Notes how far the connection has come. `part`: payload of each packet that the link makes of it. */
function follow(ip: Ip, flow: AppFlow, view: DataView, at: number, payload: number, part: number): void {
  const flags = view.getUint8(at + TCP_FLAGS);
  const end = seqAdd(view.getInt32(at + TCP_SEQ) as Seq, payload + ((flags & SYN) >> 1) + (flags & FIN));
  if (part > flow.mostSent) {
    flow.mostSent = part;
    flow.mostSentEnd = end;
  }
  if (flow.claimedMtu !== 0 && payload > 0 && seqGt(end, flow.claimedSeq)
    && seqLeq(view.getInt32(at + TCP_SEQ) as Seq, flow.claimedSeq)) takeClaim(ip, flow);
  if (!flow.sent) {
    flow.sent = true;
    flow.sndNxt = end;
    flow.sndUna = view.getInt32(at + TCP_SEQ) as Seq;
  } else if (seqGt(end, flow.sndNxt)) {
    flow.sndNxt = end;
  }
  if ((flags & ACK) !== 0) {
    flow.rcvNxt = view.getInt32(at + TCP_ACK) as Seq;
    flow.acked = true;
  }
  if ((flags & RST) !== 0) flow.reset = true;
}
