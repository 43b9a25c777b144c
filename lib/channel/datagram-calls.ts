/** The calls on UDP sockets that move datagrams (socket-calls.ts), on the stack's side. */

import { EAGAIN, EBADF, EFAULT, EINVAL } from '../errno.ts';
import { UdpRemote } from '../ip/udp-remote.ts';
import { AF_INET6, MSG_PEEK, MSG_TRUNC } from '../socket.ts';
import type { DatagramSocket } from '../socket.ts';
import * as calls from './socket-calls.ts';
import type { SocketEntry } from './socket-entry.ts';
import type { Window } from './window.ts';

/** Datagrams of one call: more are sent by the next. */
const MAX_SEGMENTS = 1024;
/** Where the datagram in hand goes. */
const recipient = new UdpRemote(AF_INET6);

/** `CALL_DATAGRAM_SEND` */
export function sendDatagrams(entry: SocketEntry, socket: DatagramSocket, words: Int32Array, window: Window): number {
  const { bytes, call } = window;
  const length = words[3]!;
  const segment = words[4]!;
  const offset = words[5]!;
  const port = words[10]!;
  const addressed = words[11] !== 0;
  if (!window.callHolds(offset, length)) return -EFAULT;
  if (segment < 0 || addressed && (port <= 0 || port > 0xffff)) return -EINVAL;
  const to = recipient;
  to.w0 = words[6]!;
  to.w1 = words[7]!;
  to.w2 = words[8]!;
  to.w3 = words[9]!;
  to.port = port;
  let result: number;
  if (segment > 0) {
    const most = Math.min(length, segment * MAX_SEGMENTS);
    result = socket.sendSegments(bytes, call + offset, most, segment, addressed ? to.address : null, port);
  } else if (addressed) {
    result = socket.reply(bytes, call + offset, length, to);
  } else {
    result = socket.sendTo(bytes, call + offset, length, null, 0);
  }
  // The error that the send took is not told once more.
  const { errors } = entry;
  if (result < 0 && errors !== null && errors.length > 0) {
    const taken = errors.findIndex((error) => error.errno === -result && 'pending' in error && error.pending);
    if (taken >= 0) errors.splice(taken, 1);
  }
  return result;
}

/** `CALL_DATAGRAM_FETCH`. Whether POLLIN is to be told anew, the caller has to see. */
export function fetchDatagrams(socket: DatagramSocket, words: Int32Array, window: Window): number {
  const flags = words[3]!;
  const all = (flags & calls.FETCH_ALL) !== 0;
  const area = window.sizes.call;
  const most = all ? area : words[4]!;
  if (most < 0) return -EINVAL;
  const passed = flags & (MSG_PEEK | MSG_TRUNC);
  let at = 0;
  let count = 0;
  let failed = false;
  while (at + calls.DATAGRAM_HEADER <= area) {
    const next = socket.available;
    const room = Math.min(most, area - at - calls.DATAGRAM_HEADER);
    if (count > 0 && next > room) break;
    const result = socket.recvFrom(window.bytes, window.call + at + calls.DATAGRAM_HEADER, room, passed);
    if (result === -EAGAIN || result === -EBADF) {
      if (count === 0) return result;
      break;
    }
    if (result < 0) {
      if (!all || failed) return count > 0 ? count : result;
      // An error that was pending is told by `onerror`, too.
      failed = true;
      continue;
    }
    const remote = socket.remote;
    const length = Math.min(result, room);
    const w = (window.call + at) >> 2;
    window.words[w + calls.DATAGRAM_LENGTH] = length;
    window.words[w + calls.DATAGRAM_PORT] = remote.port;
    window.words[w + calls.DATAGRAM_IP] = remote.ttl << 8 | remote.tos;
    window.words[w + calls.DATAGRAM_RESULT] = result;
    window.words[w + calls.DATAGRAM_ADDRESS] = remote.w0;
    window.words[w + calls.DATAGRAM_ADDRESS + 1] = remote.w1;
    window.words[w + calls.DATAGRAM_ADDRESS + 2] = remote.w2;
    window.words[w + calls.DATAGRAM_ADDRESS + 3] = remote.w3;
    at += calls.DATAGRAM_HEADER + ((length + 3) & ~3);
    count++;
    if (!all || (flags & MSG_PEEK) !== 0) break;
  }
  words[calls.OUT_RESULTS] = Math.min(at, area);
  return count;
}
