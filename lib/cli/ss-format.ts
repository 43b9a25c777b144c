/** Connections as text, in the columns and words of ss(8). */

import type { TcpInfo } from '../socket.ts';
import type { ConnectionOwner, OwnedConnection } from '../tcpk/survey.ts';

const HEADER = ['State', 'Recv-Q', 'Send-Q', 'Local Address:Port', 'Peer Address:Port', 'TCP', 'PID/Name'];
/** Columns that are numbers. */
const RIGHT = new Set([1, 2]);

/** A table with a line of figures below each connection that has some. */
export function formatConnections(list: readonly OwnedConnection[]): string {
  const rows = list.map(({ state, recvQueue, sendQueue, local, remote, tcp, owner }) => [
    state, count(recvQueue), count(sendQueue), end(local), remote === null ? '*' : end(remote), tcp, ownerName(owner),
  ]);
  const widths = HEADER.map((title, i) => Math.max(title.length, ...rows.map((row) => row[i]!.length)));
  const line = (cells: readonly string[]): string => (
    `${cells.map((cell, i) => RIGHT.has(i) ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!)).join('  ').trimEnd()}\n`
  );
  let text = line(HEADER);
  rows.forEach((row, i) => {
    text += line(row);
    const { info } = list[i]!;
    if (info !== null) text += `\t ${formatInfo(info)}\n`;
  });
  return text;
}

function count(value: number | null): string {
  return value === null ? '?' : String(value);
}

function end({ address, port }: { address: string; port: number }): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}

/** `kernel`, or pid/name. The name is the application's own choice: nothing in it may move a terminal's cursor. */
export function ownerName({ kind, name, pid }: ConnectionOwner): string {
  return kind === 'stack' ? name : `${pid}/${name.replace(/[^\x21-\x7e]/g, '_')}`;
}

/** The figures as `ss -i` prints Linux's; what an application has not told is left out. */
function formatInfo(info: TcpInfo): string {
  const words: string[] = [];
  const number = (value: unknown): number => typeof value === 'number' && Number.isFinite(value) ? value : NaN;
  const add = (name: string, ...values: unknown[]): void => {
    const numbers = values.map(number);
    if (!numbers.some(Number.isNaN)) words.push(`${name}:${numbers.map((value) => Number(value.toFixed(3))).join('/')}`);
  };
  const addUnlessZero = (name: string, value: unknown): void => {
    if (number(value) !== 0) add(name, value);
  };
  const mss = number(info.sndMss);
  if (info.timestamps === true) words.push('ts');
  if (info.sack === true) words.push('sack');
  if (info.ecn === true) words.push('ecn');
  if (typeof info.congestion === 'string') words.push(info.congestion);
  if (number(info.sndWscale) + number(info.rcvWscale) > 0) words.push(`wscale:${info.sndWscale},${info.rcvWscale}`);
  add('rto', info.rtoMs);
  addUnlessZero('backoff', info.backoff);
  add('rtt', info.srttMs, info.rttvarMs);
  add('mss', info.sndMss);
  add('pmtu', info.pmtu);
  add('advmss', info.advMss);
  // In segments, as Linux counts.
  add('cwnd', Math.floor(number(info.cwnd) / mss));
  if (number(info.ssthresh) < 0x7fffffff) add('ssthresh', Math.floor(number(info.ssthresh) / mss));
  add('bytes_sent', info.bytesSent);
  addUnlessZero('bytes_retrans', info.bytesRetrans);
  add('bytes_acked', info.bytesAcked);
  add('bytes_received', info.bytesReceived);
  add('segs_out', info.segsOut);
  add('segs_in', info.segsIn);
  add('data_segs_out', info.dataSegsOut);
  add('data_segs_in', info.dataSegsIn);
  if (number(info.srttMs) > 0) words.push(`send ${Math.round((number(info.cwnd) * 8000) / number(info.srttMs))}bps`);
  if (number(info.pacingRate) > 0) words.push(`pacing_rate ${Math.round(number(info.pacingRate) * 8)}bps`);
  add('lastsnd', info.lastSendMs);
  add('lastrcv', info.lastRecvMs);
  addUnlessZero('unacked', Math.ceil(number(info.unacked) / mss));
  if (number(info.retransSegs) > 0) words.push(`retrans:${Math.ceil(number(info.lost) / mss) || 0}/${info.retransSegs}`);
  addUnlessZero('lost', Math.ceil(number(info.lost) / mss));
  addUnlessZero('sacked', Math.ceil(number(info.sacked) / mss));
  add('snd_wnd', info.sndWnd);
  add('rcv_wnd', info.rcvWnd);
  addUnlessZero('notsent', info.notSent);
  add('minrtt', info.minRttMs);
  add('sndbuf', info.sndbuf);
  add('rcvbuf', info.rcvbuf);
  addUnlessZero('rcv_ooopack', info.outOfOrderIn);
  addUnlessZero('predicted', info.predictedIn);
  return words.join(' ');
}
