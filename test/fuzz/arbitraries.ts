/** Packets by structure (fast-check): valid where it counts to get deep, odd everywhere else. */

import fc from 'fast-check';
import { ICMP, ICMPV6, TCP, UDP, icmpMessage, ipPacket, tcpSegment, udpDatagram } from './wire-format.ts';
import type { Ip4Fields, Ip6Fields, TcpFields } from './wire-format.ts';

/** What is drawn of a packet; addresses and live sequence numbers are filled in when it is sent. */
export interface PacketDraw {
  ip: Ip4Fields | Ip6Fields;
  payload: Uint8Array;
  /** With TCP: the segment, whose numbers are relative to a live connection when `live` is not negative. */
  tcp: TcpFields | null;
  live: number;
}

const PORTS = [7, 80, 81, 7000, 7001, 9000, 9001, 40_000, 65_535, 0];
const bytes = (maxLength: number): fc.Arbitrary<Uint8Array> => fc.uint8Array({ maxLength });
const port = fc.oneof({ weight: 5, arbitrary: fc.constantFrom(...PORTS) }, fc.nat(65_535));
const octet = fc.nat(255);

/** 10.90.0.1 is the target; others are peers, the net's broadcast, a group, the target itself, anything. */
const source4 = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom(0x0a5a0002, 0x0a5a0003, 0x0a5a0080) },
  fc.constantFrom(0, 0x7f000001, 0x0a5a0001, 0x0a5a00ff, 0xe0000001, 0xffffffff), fc.integer({ min: 0, max: 0xffffffff }),
);
const destination4 = fc.oneof(
  { weight: 12, arbitrary: fc.constant(0x0a5a0001) }, fc.constantFrom(0x0a5a00ff, 0xe0000001, 0xffffffff, 0x7f000001, 0x0a5a0002),
);
const fragment4 = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom(0, 0x4000) }, fc.constantFrom(0x2000, 0x2001, 1, 2, 185, 0x1fff, 0x3fff, 0x8000), fc.nat(65_535),
);
const option4 = fc.oneof(
  fc.constantFrom([0], [1], [7, 7, 4, 0, 0, 0, 0], [131, 7, 4, 10, 90, 0, 9], [137, 3, 4], [68, 12, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0], [148, 4, 0, 0], [200, 0], [200, 255]),
  fc.array(octet, { maxLength: 8 }),
).map((list) => Uint8Array.from(list));
const options4 = fc.oneof(
  { weight: 5, arbitrary: fc.constant(new Uint8Array(0)) },
  fc.array(option4, { maxLength: 5 }).map((list) => Uint8Array.from(list.flatMap((one) => [...one]).slice(0, 40))),
);

const ip4: fc.Arbitrary<Ip4Fields> = fc.record({
  version: fc.constant<4>(4), source: source4, destination: destination4, protocol: fc.constant(0), tos: octet, ttl: octet,
  id: fc.nat(15), fragment: fragment4, options: options4,
});

const extensionBody: fc.Arbitrary<Uint8Array> = fc.oneof(
  bytes(22), fc.constantFrom<number[][]>([1, 4, 0, 0, 0, 0], [5, 2, 0, 0, 1, 0], [0xc2, 4, 0, 1, 0, 0], [0x3e, 0], [0x1e, 200, 1, 2, 3, 4], [0, 1, 0, 0]).map((list) => Uint8Array.from(list)),
);
type Extension = Ip6Fields['extensions'][number];

const ip6: fc.Arbitrary<Ip6Fields> = fc.record({
  version: fc.constant<6>(6), source: fc.constantFrom<number[]>(2, 3, 0x80, 1),
  destination: fc.oneof({ weight: 9, arbitrary: fc.constant<number>(1) }, fc.constant<number>(9)),
  protocol: fc.constant<number>(0), trafficClass: octet, flowLabel: fc.nat(0xfffff), hopLimit: octet,
  extensions: fc.oneof(
    { weight: 4, arbitrary: fc.constant<Extension[]>([]) },
    fc.array(fc.record<Extension>({ type: fc.constantFrom(0, 43, 44, 60, 51, 59, 135), body: extensionBody }), { maxLength: 5 }),
  ),
});

const tcpOption = fc.oneof(
  fc.constantFrom([0], [1], [2, 4, 5, 0xb4], [2, 4, 0, 0], [2, 4, 0, 1], [3, 3, 7], [3, 3, 255], [4, 2], [8, 10, 0, 0, 0, 1, 0, 0, 0, 0],
    [8, 10, 255, 255, 255, 255, 255, 255, 255, 255], [5, 10, 0, 0, 0, 1, 0, 0, 0, 9], [5, 2], [8, 2], [2, 0], [30, 12, 1], [254, 255]),
  fc.array(octet, { maxLength: 6 }),
);
/** Flags that are usual, and all others. */
const flags = fc.oneof({ weight: 3, arbitrary: fc.constantFrom(0x10, 0x18, 0x02, 0x12, 0x04, 0x14, 0x11, 0x19) }, octet);
/** Distances from what a live connection expects: sequence number and acknowledgment. */
const near = fc.oneof({ weight: 3, arbitrary: fc.constantFrom(0, 1, -1, 100, -100, 1448, 65_535, -65_536) }, fc.integer({ min: -0x80000000, max: 0x7fffffff }));

const tcp: fc.Arbitrary<TcpFields> = fc.record({
  sourcePort: port, destinationPort: port, seq: near, ack: near, flags, window: fc.constantFrom(0, 1, 1000, 65_535), urgent: fc.constantFrom(0, 0, 0, 1, 65_535),
  options: fc.oneof({ weight: 2, arbitrary: fc.constant(new Uint8Array(0)) },
    fc.array(tcpOption, { maxLength: 6 }).map((list) => Uint8Array.from(list.flat().slice(0, 40)))),
  payload: fc.oneof({ weight: 2, arbitrary: fc.constant(new Uint8Array(0)) }, bytes(64), fc.integer({ min: 0, max: 1400 }).map((n) => new Uint8Array(n).fill(0x61))),
});

const udp = fc.record({ source: port, destination: port, payload: bytes(200), length: fc.oneof({ weight: 6, arbitrary: fc.constant(-1) }, fc.nat(65_535)) })
  .map(({ source, destination, payload, length }) => udpDatagram(source, destination, payload, length < 0 ? 8 + payload.length : length));

const icmpType4 = fc.oneof({ weight: 4, arbitrary: fc.constantFrom(0, 3, 4, 5, 8, 11, 12, 13) }, octet);
const icmpType6 = fc.oneof({ weight: 4, arbitrary: fc.constantFrom(1, 2, 3, 4, 128, 129, 130, 135, 136, 137) }, octet);
const icmpCode = fc.oneof({ weight: 4, arbitrary: fc.nat(15) }, octet);
const icmpRest = fc.oneof(fc.constantFrom(0, 68, 552, 1280, 1400, 65_535), fc.integer());

/** Quoted packets of ICMP errors: of a connection like one of ours. */
const quoted4 = fc.record({ ip: ip4, tcp }).map(({ ip, tcp }) => ipPacket({ ...ip, source: 0x0a5a0001, destination: 0x0a5a0002, protocol: TCP }, tcpSegment(tcp)));
const quoted6 = fc.record({ ip: ip6, tcp }).map(({ ip, tcp }) => ipPacket({ ...ip, source: 1, destination: 2, protocol: TCP }, tcpSegment(tcp)));
const icmp4 = fc.record({ type: icmpType4, code: icmpCode, rest: icmpRest, body: fc.oneof(bytes(80), quoted4) })
  .map(({ type, code, rest, body }) => icmpMessage(type, code, rest, body));
const icmp6 = fc.record({ type: icmpType6, code: icmpCode, rest: icmpRest, body: fc.oneof(bytes(120), quoted6) })
  .map(({ type, code, rest, body }) => icmpMessage(type, code, rest, body));

const other = fc.record({ protocol: octet, payload: bytes(100) });

/** Any packet. */
export const packetDraw: fc.Arbitrary<PacketDraw> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ ip: fc.oneof(ip4, ip6), tcp, live: fc.integer({ min: -1, max: 12 }) })
    .map(({ ip, tcp, live }) => ({ ip: { ...ip, protocol: TCP }, payload: new Uint8Array(0), tcp, live })) },
  { weight: 2, arbitrary: fc.record({ ip: fc.oneof(ip4, ip6), payload: udp })
    .map(({ ip, payload }) => ({ ip: { ...ip, protocol: UDP }, payload, tcp: null, live: -1 })) },
  { weight: 2, arbitrary: fc.record({ ip: ip4, payload: icmp4 })
    .map(({ ip, payload }) => ({ ip: { ...ip, protocol: ICMP }, payload, tcp: null, live: -1 })) },
  { weight: 2, arbitrary: fc.record({ ip: ip6, payload: icmp6 })
    .map(({ ip, payload }) => ({ ip: { ...ip, protocol: ICMPV6 }, payload, tcp: null, live: -1 })) },
  { weight: 1, arbitrary: fc.record({ ip: fc.oneof(ip4, ip6), other })
    .map(({ ip, other }) => ({ ip: { ...ip, protocol: other.protocol }, payload: other.payload, tcp: null, live: -1 })) },
);
