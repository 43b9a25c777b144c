/**
 * How an application leaves: its sockets close, as those of every process that ends, and what cannot end at
 * once (data that is still to be acknowledged, FIN, TIME-WAIT) goes over to the kernel-style TCP of the stack,
 * which goes on where TCPU stopped. The peers do not notice. Connections that have nothing to go over, such as
 * those that wait for a SYN-ACK, end with the application.
 */

import { CALL_HANDOVER } from '../channel/calls.ts';
import { CALL_WORDS } from '../channel/channel.ts';
import type { Channel } from '../channel/channel.ts';
import { tcbRecordLength, writeTcb, writeTimeWait } from '../tcp/handover.ts';
import { closeTcb } from '../tcp/user.ts';
import type { ChannelPorts } from './channel-ports.ts';
import type { Tcpu } from './tcpu.ts';

/** More than the fixed part of a record takes. */
const FIXED_BYTES = 512;

/** Hands one record over. Returns whether the stack has taken it. */
function handOver(channel: Channel, handle: number, record: Uint8Array): boolean {
  const { window } = channel;
  const call = new Int32Array(CALL_WORDS);
  for (let at = 0; at < record.length;) {
    const length = Math.min(record.length - at, window.sizes.call);
    window.bytes.set(record.subarray(at, at + length), window.call);
    at += length;
    call[0] = CALL_HANDOVER;
    call[1] = handle;
    call[2] = length;
    call[3] = at < record.length ? 1 : 0;
    if (channel.call(call, 4) < 0) return false;
  }
  return true;
}

/** Closes every connection and hands over what that leaves. Returns how many went over. */
export function leaveBehind(tcpu: Tcpu, ports: ChannelPorts, channel: Channel): number {
  const { tcp } = tcpu;
  let count = 0;
  tcpu.enter();
  tcp.closeAll();
  tcp.forEach((tcb) => closeTcb(tcb));
  tcpu.leave();
  // Nothing of what is queued here may leave after the stack has the connection.
  tcpu.enter();
  tcp.forEachClosing((tcb) => {
    const record = new Uint8Array(tcbRecordLength(tcb));
    const length = writeTcb(tcb, new DataView(record.buffer), 0, record.length);
    if (length === 0 || !handOver(channel, tcb.flow.handle, record.subarray(0, length))) return;
    count++;
    tcp.release(tcb);
  });
  const scratch = new Uint8Array(FIXED_BYTES);
  tcp.forEachTimeWait((connection) => {
    const length = writeTimeWait(connection, tcp.nowMs, new DataView(scratch.buffer), 0, scratch.length);
    if (length === 0 || !handOver(channel, ports.handleOf(connection.entry), scratch.subarray(0, length))) return;
    count++;
    tcp.releaseTimeWait(connection.entry);
  });
  tcpu.leave();
  return count;
}
