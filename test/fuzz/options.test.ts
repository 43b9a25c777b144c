/**
 * Option soup (soup.ts): segments that live connections believe, and whole handshakes, with options of every kind, against a
 * whole stack; with SYN cookies and without.
 */

import t from 'tap';
import { Attack } from './attack.ts';
import { inputs, timeLimit } from './budget.ts';
import { lastAckSoup, opening, optionSoup, synSoup } from './soup.ts';

/** Of each of the four tests. */
const PACKETS = Math.ceil(inputs('options') / 4);

t.test('connections', { timeout: timeLimit(PACKETS) }, async (t) => {
  const attack = new Attack(2);
  const { target, mutator } = attack;
  attack.watched(t, () => {
    while (attack.thrown < PACKETS) {
      const tcb = target.live(mutator.below(12));
      if (tcb === null) target.replenish();
      else attack.throw([optionSoup(mutator, tcb)]);
    }
  });
  const { tcp } = target.stack;
  t.ok(tcp.counters.SackBlocksIn > PACKETS / 100, `it went deep: ${tcp.counters.SackBlocksIn} SACK blocks were looked at`);
  attack.end(t);
});

for (const [i, synCookies] of (['auto', 'always', 'off'] as const).entries()) {
  t.test(`handshakes, synCookies ${synCookies}`, { timeout: timeLimit(PACKETS) }, async (t) => {
    const attack = new Attack(10 + i, { synCookies });
    const { target, mutator, random } = attack;
    let answered = 0;
    attack.watched(t, () => {
      while (attack.thrown < PACKETS) {
        const peer = opening(mutator);
        let seq = 0;
        let tsVal = 0;
        const filter = target.wire.filter!;
        target.wire.filter = (packet, side) => {
          const at = peer.version === 4 ? 20 : 40;
          if (side === 0 && packet[0]! >> 4 === peer.version && (packet[at + 13]! & 0x3f) === 0x12) {
            const view = new DataView(packet.buffer, packet.byteOffset);
            if (view.getUint16(at + 2) === peer.port) {
              answered++;
              seq = view.getInt32(at + 4);
              // MSS, SACK permitted and timestamps: where Linux has them, too.
              tsVal = packet.length >= at + 32 ? view.getInt32(at + 28) : 0;
            }
          }
          return filter(packet, side);
        };
        attack.throw([synSoup(mutator, peer)]);
        if (seq === 0) seq = random.int32();
        for (let n = 1 + mutator.below(3); n > 0; n--) attack.throw([lastAckSoup(mutator, peer, seq, tsVal)]);
        target.wire.filter = filter;
      }
    });
    const { counters } = target.stack.tcp;
    t.comment(`${answered} SYNs were answered; ${counters.PassiveOpens} connections, ${counters.SyncookiesSent} cookies sent, ${counters.SyncookiesRecv} came back`);
    t.ok(answered > PACKETS / 10, 'it went deep');
    if (synCookies === 'always') t.ok(counters.SyncookiesRecv > PACKETS / 40, `${counters.SyncookiesRecv} cookies were believed`);
    attack.end(t);
  });
}
