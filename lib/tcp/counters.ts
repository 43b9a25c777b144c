/** What TCP counts: the TCP-MIB (RFC 4022) under its names, then the likes of Linux's TcpExt. */
export class TcpCounters {
  ActiveOpens = 0;
  PassiveOpens = 0;
  AttemptFails = 0;
  EstabResets = 0;
  CurrEstab = 0;
  InSegs = 0;
  OutSegs = 0;
  RetransSegs = 0;
  /** Segments dropped for their form: header length, checksum, impossible flags. */
  InErrs = 0;
  InCsumErrors = 0;
  OutRsts = 0;

  /** Segments, merged ones counted once, that header prediction took whole: pure ACKs, data. */
  PredictedAcks = 0;
  PredictedData = 0;
  /** Segments that went the long way. */
  Unpredicted = 0;
  /**
   * How received data reached its reader: bytes, and segments whose end they were, copied once, from where they
   * had arrived into the reader's buffer (3.1.2, 4.1 of the report); bytes that passed through a buffer of TCP's own.
   */
  RcvDirectBytes = 0;
  RcvDirectSegs = 0;
  RcvBufferedBytes = 0;
  DelayedAcks = 0;
  DupAcksIn = 0;
  OutOfOrderIn = 0;
  DuplicateDataIn = 0;
  /** Bytes in order and beyond the window, or for which the memory was exhausted. */
  OutOfWindowIn = 0;
  RcvPruned = 0;
  /** Segments out of order that found no room among all that wait; connections that had to make room for others. */
  OfoDrops = 0;
  OfoPruned = 0;
  PawsDrops = 0;
  ChallengeAcks = 0;
  ChallengeAcksSuppressed = 0;
  /** ACKs of things never sent, or too old (RFC 5961 section 5). */
  BadAcks = 0;
  RstOutOfWindow = 0;
  RtoTimeouts = 0;
  FastRecoveries = 0;
  SackRecoveries = 0;
  SackBlocksIn = 0;
  SackBlocksBad = 0;
  SackReneged = 0;
  /** D-SACKs that came, and that were sent. */
  DsackIn = 0;
  DsackOut = 0;
  /** Connections that have seen their segments arrive in another order. */
  ReorderingSeen = 0;
  /** Tail loss probes, and how many of them repaired a loss. */
  LossProbes = 0;
  LossProbeRecoveries = 0;
  /** Reductions of the window that were undone, by what told of it; and timeouts among them. */
  UndoDsack = 0;
  UndoTimestamp = 0;
  UndoFrto = 0;
  SpuriousRtos = 0;
  PersistProbes = 0;
  KeepaliveProbes = 0;
  KeepaliveDrops = 0;
  UserTimeouts = 0;
  TimeWaits = 0;
  TimeWaitOverflows = 0;
  TimeWaitReuses = 0;
  /** SYNs, and ACKs that would complete a handshake, that were dropped; of these, because accept() was called too seldom. */
  ListenDrops = 0;
  ListenOverflows = 0;
  /** Half-open connections that made room for others (`synCookies: 'off'`). */
  SynEvictions = 0;
  /** SYNs answered by a cookie; cookies that came back; ACKs for a listener that were none while some were out. */
  SyncookiesSent = 0;
  SyncookiesRecv = 0;
  SyncookiesFailed = 0;
  /** Fast Open, active: SYNs whose data was taken, and was not; SYNs that were repeated without it and then got through. */
  FastOpenActive = 0;
  FastOpenActiveFail = 0;
  FastOpenLosses = 0;
  /** Passive: SYNs that opened, cookies given, cookies that were none of ours, cookies for whom there was no room. */
  FastOpenPassive = 0;
  FastOpenCookieReqd = 0;
  FastOpenPassiveFail = 0;
  FastOpenListenOverflow = 0;
  NoPort = 0;
  OrphanResets = 0;
  /** Ended for want of patience (limits.tcp): window shut too long, stalled while memory is short, orphans, silent openers. */
  ZeroWindowDrops = 0;
  StalledDrops = 0;
  OrphanDrops = 0;
  SilentDrops = 0;
  /** SYNs refused because their address has as many connections as it may. */
  AddressDrops = 0;
  /** SYNs whose MSS was less than what is believed. */
  TinyMss = 0;
  /** Output that waited because too much that is in flight has to be remembered. */
  FlightRowsFull = 0;
  /** Resets not sent: too many in this second. */
  ResetsLimited = 0;
  /** ECN: connections that agreed on it; SYNs that were repeated without asking; segments that came marked; reductions for marks. */
  EcnHandshakes = 0;
  EcnFallbacks = 0;
  EcnMarksIn = 0;
  EcnReductions = 0;
  /** Path MTU by probing: black holes found; probes sent, acknowledged, and given up as too large. */
  MtuBlackHoles = 0;
  MtuProbes = 0;
  MtuProbesAcked = 0;
  MtuProbesLost = 0;
  /** Path MTUs told by ICMP that were set aside, since larger segments had been acknowledged (RFC 5927 7.2). */
  IcmpMtuDeferred = 0;
  IcmpErrors = 0;
  IcmpErrorsIgnored = 0;
}
