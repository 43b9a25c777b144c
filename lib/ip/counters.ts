/**
 * What IP and ICMP count: plain numbers, one object for each IP version. Names are those of the MIBs
 * (RFC 4293, RFC 5097; Linux's /proc/net/snmp and nstat) where they have one; each MIB total is followed
 * by the precise reasons that make it up.
 */

export class IpCounters {
  /** Packets that came in, whatever became of them; their bytes. */
  InReceives = 0;
  InOctets = 0;
  /** Packets handed to a protocol, ICMP included. */
  InDelivers = 0;
  InMcastPkts = 0;
  InBcastPkts = 0;
  /** Packets that came with an ECN codepoint (RFC 3168): all others had none. */
  InECT0Pkts = 0;
  InECT1Pkts = 0;
  InCEPkts = 0;

  /** Dropped: the header is wrong. */
  InHdrErrors = 0;
  /** Neither version 4 nor 6 (counted with IPv4). */
  InBadVersion = 0;
  InBadHeaderLength = 0;
  InBadChecksum = 0;
  /** An IPv4 option or IPv6 extension header that does not fit. */
  InBadOption = 0;
  /** IPv6 option whose type says that a packet with it must not be used. */
  InUnknownOption = 0;
  /** IPv4 source route option; IPv6 routing header with segments left. */
  InSourceRoutes = 0;
  /** More extension headers than anybody needs. */
  InLongChain = 0;
  /** Shorter than its header says. */
  InTruncatedPkts = 0;

  /** Dropped: an address is wrong. */
  InAddrErrors = 0;
  /** Source is multicast, broadcast, unspecified, or reserved. */
  InBadSource = 0;
  /** A loopback address, or IPv4 in an IPv6 header, came over the link. */
  InMartians = 0;
  /** Source is one of the stack's own addresses. */
  InOwnSource = 0;
  /** For somebody else: an end host forwards nothing. */
  InNotOurs = 0;
  /** For a multicast group that nobody here joined. */
  InNotJoined = 0;

  /** Dropped: no such protocol here. */
  InUnknownProtos = 0;
  /** IPv6: next header 59, nothing to deliver. */
  InNoNextHeader = 0;

  /** Fragments that came; datagrams put together; datagrams (or fragments) given up, with the reasons. */
  ReasmReqds = 0;
  ReasmOKs = 0;
  ReasmFails = 0;
  ReasmTimeout = 0;
  /** Fragments overlapped: the whole datagram is dropped (RFC 5722). */
  ReasmOverlaps = 0;
  /** Fragments of a datagram that was dropped before for an overlap. */
  ReasmLate = 0;
  /** Exact duplicates, ignored. */
  ReasmDuplicates = 0;
  /** Empty, misaligned, beyond 65535 bytes, or contradicting another. */
  ReasmBadFragments = 0;
  /** First fragment too small to hold the headers (RFC 1858, RFC 7112). */
  ReasmTinyFragments = 0;
  /** Given up for want of memory, oldest first. */
  ReasmEvicted = 0;
  /** Of those: one source had as many as it may; there were too many fragments. */
  ReasmSourceLimits = 0;
  ReasmFragmentLimits = 0;
  /** Fragments disagree about ECN (RFC 3168 section 5.3). */
  ReasmBadEcn = 0;

  /** Packets sent, before fragmentation; their bytes. */
  OutRequests = 0;
  OutOctets = 0;
  /** Of those, how many went to the stack itself. */
  OutLoopback = 0;
  OutNoRoutes = 0;
  /** Lost: no memory or no room for all fragments, or the loopback queue was full. */
  OutDiscards = 0;
  /** Nothing lost: the sender was told that the transmit queue is full. */
  OutQueueFull = 0;
  FragOKs = 0;
  /** Too large and not to be fragmented: the sender was told. */
  FragFails = 0;
  FragCreates = 0;
}

/** Counts a packet by its ECN codepoint, the lower two bits of `tos`, which is not 0. */
export function countEcn(counters: IpCounters, tos: number): void {
  const codepoint = tos & 3;
  if (codepoint === 2) counters.InECT0Pkts++;
  else if (codepoint === 3) counters.InCEPkts++;
  else counters.InECT1Pkts++;
}

export class IcmpCounters {
  InMsgs = 0;
  /** Dropped: too short, or an error that quotes no usable packet. */
  InErrors = 0;
  InCsumErrors = 0;
  InEchos = 0;
  InEchoReps = 0;
  InDestUnreachs = 0;
  /** IPv4 'fragmentation needed' (also among InDestUnreachs), IPv6 'packet too big'. */
  InPktTooBigs = 0;
  InTimeExcds = 0;
  InParmProbs = 0;
  InRedirects = 0;
  /** Well-formed messages that an end host on a layer-3 link has no use for: timestamps, discovery, MLD … */
  InIgnored = 0;
  /** Errors whose quoted packet is malformed or not from here. */
  InQuoteErrors = 0;
  /** Errors whose quoted packet belongs to no living flow. */
  InQuoteUnknown = 0;

  OutMsgs = 0;
  OutEchoReps = 0;
  OutDestUnreachs = 0;
  OutTimeExcds = 0;
  OutParmProbs = 0;
  /** Errors not sent: over the rate (RFC 1812 4.3.2.8, RFC 4443 2.4 (f)). */
  OutRateLimited = 0;
  /** Messages not sent: no memory, no room, or no route back. */
  OutErrors = 0;
}
