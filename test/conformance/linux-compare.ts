/** Runs every case of situations.ts through our stack and through Linux. In a network namespace of its own. */

import { EnginePeer } from './engine-peer.ts';
import { EXPLANATIONS, difference } from './linux-differences.ts';
import type { Difference, Explanation } from './linux-differences.ts';
import { LinuxHost } from './linux-peer.ts';
import type { LinuxPeer } from './linux-peer.ts';
import { oracle } from './oracle.ts';
import { arrivals, bring, observe, outcomeText } from './situations.ts';
import type { Outcome, Situation, SituationName } from './situations.ts';

/** Times that Linux may fail to come into a state: what is slow is sent again, and spoils the script. */
const ATTEMPTS = 4;

export interface Comparison {
  cases: number;
  kernel: string;
  groups: Map<Explanation, Difference[]>;
  unexplained: Difference[];
}

async function ask(host: LinuxHost, name: SituationName, index: number, reply: string): Promise<{ s: Situation; outcome: Outcome }> {
  for (let attempt = 1; ; attempt++) {
    const peer: LinuxPeer = host.peer();
    try {
      const s = await bring(peer, name);
      const arrival = arrivals(s)[index]!;
      const outcome = await observe(peer, s, arrival, reply);
      if (arrival.icmp !== undefined && arrival.icmp.mtu > 0) peer.forget();
      return { s, outcome };
    } catch (error) {
      if (attempt === ATTEMPTS) throw error;
    } finally {
      peer.close();
    }
  }
}

/** `recorded`: what is known of Linux, so that no time is lost waiting for what does not come. */
export async function compare(names: readonly SituationName[], recorded: Map<string, Difference>): Promise<Comparison> {
  const host = await LinuxHost.start();
  const groups = new Map<Explanation, Difference[]>(EXPLANATIONS.map((explanation) => [explanation, []]));
  const unexplained: Difference[] = [];
  let cases = 0;
  try {
    for (const name of names) {
      for (let i = 0, n = 1; i < n; i++) {
        const engine = new EnginePeer({});
        const es = await bring(engine, name);
        const list = arrivals(es);
        n = list.length;
        const arrival = list[i]!;
        const ours = await observe(engine, es, arrival, oracle(es, arrival).reply);
        engine.close();
        const known = recorded.get(`${name} | ${arrival.name}`)?.theirs.replace(/;.*/, '');
        let theirs = (await ask(host, name, i, known ?? ours.reply)).outcome;
        // A machine that was busy at the wrong moment is asked again.
        if (known === undefined && outcomeText(theirs) !== outcomeText(ours)) theirs = (await ask(host, name, i, ours.reply)).outcome;
        cases++;
        if (outcomeText(ours) === outcomeText(theirs)) continue;
        const explanation = EXPLANATIONS.find((one) => one.explains(es, arrival, ours, theirs));
        const found = difference(es, arrival, ours, theirs);
        if (explanation === undefined) unexplained.push(found);
        else groups.get(explanation)!.push(found);
      }
    }
  } finally {
    await host.close();
  }
  return { cases, kernel: host.release.replace(/^(\d+\.\d+).*/, '$1'), groups, unexplained };
}
