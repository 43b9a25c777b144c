/** ICMP errors as bytes (RFC 792), quoting a TCP segment: built here, with code that the stack does not share. */

function sum16(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += (bytes[i]! << 8) + (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

/** An IPv4 header of 20 bytes before `payload`. */
function ip(source: number[], destination: number[], protocol: number, payload: Uint8Array, length = 20 + payload.length): Uint8Array {
  const packet = new Uint8Array(20 + payload.length);
  packet.set([0x45, 0, length >> 8, length & 0xff, 0, 1, 0x40, 0, 64, protocol, 0, 0, ...source, ...destination]);
  const sum = sum16(packet.subarray(0, 20));
  packet[10] = sum >> 8;
  packet[11] = sum & 0xff;
  packet.set(payload, 20);
  return packet;
}

/** An ICMP message of `type` and `code` from `source`, with `rest` in bytes 4 to 7 and `body` behind them. */
export function icmpPacket(source: number[], destination: number[], type: number, code: number, rest: number, body: Uint8Array): Uint8Array {
  const icmp = new Uint8Array(8 + body.length);
  icmp.set([type, code, 0, 0, (rest >>> 24) & 0xff, (rest >>> 16) & 0xff, (rest >>> 8) & 0xff, rest & 0xff]);
  icmp.set(body, 8);
  const sum = sum16(icmp);
  icmp[2] = sum >> 8;
  icmp[3] = sum & 0xff;
  return ip(source, destination, 1, icmp);
}

/** An error from `reporter` (who is also where the quoted segment went) about a segment with the raw number `seq`. */
export function icmpError(
  reporter: number[], host: number[], type: number, code: number, mtu: number, hostPort: number, peerPort: number, seq: number,
): Uint8Array {
  const tcp = new Uint8Array(8);
  const view = new DataView(tcp.buffer);
  view.setUint16(0, hostPort);
  view.setUint16(2, peerPort);
  view.setInt32(4, seq | 0);
  return icmpPacket(reporter, host, type, code, mtu, ip(host, reporter, 6, tcp, 1020));
}
