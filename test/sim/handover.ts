/** Hands the closing connections of one stack over to another one with the same addresses. */

import type { TcpHost } from '../../lib/home/tcp-host.ts';
import { IpFlow } from '../../lib/ip/flow.ts';
import type { IpLayer, Turn } from '../../lib/ip/transport.ts';
import { readTcb, readTimeWait, tcbRecordLength, writeTcb, writeTimeWait } from '../../lib/tcp/handover.ts';
import type { Tcb } from '../../lib/tcp/tcb.ts';
import { IPPROTO_TCP } from '../../lib/wire/tcp.ts';

/** Where records begin: not at 0, so that a forgotten offset shows. */
const AT = 24;

/** A stack, or what is like it. */
interface Home extends Turn {
  readonly ip: IpLayer;
  readonly tcp: TcpHost;
}

/** The record of `tcb`, alone. */
export function recordOf(tcb: Tcb): Uint8Array {
  const bytes = new Uint8Array(AT + tcbRecordLength(tcb) + 8).fill(0xa5);
  const written = writeTcb(tcb, new DataView(bytes.buffer), AT, tcbRecordLength(tcb));
  if (written !== tcbRecordLength(tcb)) throw new Error(`${written} bytes written instead of ${tcbRecordLength(tcb)}`);
  if (!bytes.subarray(0, AT).every((byte) => byte === 0xa5) || !bytes.subarray(AT + written).every((byte) => byte === 0xa5)) {
    throw new Error('written beside the record');
  }
  return bytes.slice(AT, AT + written);
}

/** A flow between these addresses, routed by `stack`. */
export function routed(stack: Home, like: IpFlow): IpFlow {
  const flow = new IpFlow();
  flow.protocol = IPPROTO_TCP;
  for (const word of ['l0', 'l1', 'l2', 'l3', 'r0', 'r1', 'r2', 'r3'] as const) flow[word] = like[word];
  const result = stack.ip.route(flow);
  if (result < 0) throw new Error(`no route: ${result}`);
  return flow;
}

/** What `to` makes of a record; null when it refuses. It lies at an odd place among other bytes. */
export function taken(to: Home, like: IpFlow, localPort: number, remotePort: number, record: Uint8Array): Tcb | null {
  const bytes = new Uint8Array(record.length + 14).fill(0x5a);
  bytes.set(record, 7);
  return readTcb(to.tcp, routed(to, like), localPort, remotePort, new DataView(bytes.buffer, 2), 5, record.length);
}

/** Everything that can go over does. Returns how many connections, and how many in TIME-WAIT. */
export function handOver(from: Home, to: Home): [number, number] {
  let connections = 0;
  let timeWaits = 0;
  from.enter();
  to.enter();
  from.tcp.forEachClosing((tcb) => {
    const record = recordOf(tcb);
    from.tcp.release(tcb);
    const made = taken(to, tcb.flow, tcb.localPort, tcb.remotePort, record);
    if (made === null) throw new Error('the record was refused');
    if (!to.tcp.adopt(made)) throw new Error('the TCB was not adopted');
    connections++;
  });
  from.tcp.forEachTimeWait((one) => {
    const view = new DataView(new ArrayBuffer(AT + 64));
    const written = writeTimeWait(one, from.tcp.nowMs, view, AT, 64);
    from.tcp.releaseTimeWait(one.entry);
    const state = readTimeWait(to.tcp, view, AT, written);
    if (state === null) throw new Error('the record of a TIME-WAIT was refused');
    if (!to.tcp.adoptTimeWait(one.flow, one.localPort, one.remotePort, state)) throw new Error('TIME-WAIT was not adopted');
    timeWaits++;
  });
  to.leave();
  from.leave();
  return [connections, timeWaits];
}
