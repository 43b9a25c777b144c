/**
 * nmap against a running `tcpu up`: a SYN scan, versions of services, operating system detection (whose probes
 * are odd on purpose), and the scans with flags that no connection has. It finds what is there, and nothing else happens.
 */

import t from 'tap';
import { ATTACKED, ECHO, Fortress, HTTP } from './harness.ts';
import { STACK4, lacking } from '../kernel/harness.ts';

const skip = lacking('curl', 'nmap');
const COMMON = ['-n', '-Pn'];

t.test('nmap against tcpu up', { skip, timeout: 110_000 }, async (t) => {
  const fortress = await Fortress.start(t);
  const nmap = (name: string, seconds: number, ...args: string[]): Promise<string> => (
    fortress.attacked(t, name, 'nmap', [...COMMON, ...args, STACK4], seconds)
  );

  // Resets are limited in number, so that closed ports may seem filtered: what counts is what is open.
  const ports = await nmap('a SYN scan', 30, '-sS', '-p', '1-8000', '--min-rate', '3000', '--max-rate', '10000', '--max-retries', '1');
  const open = [...ports.matchAll(/^(\d+)\/tcp\s+open/gm)].map((match) => Number(match[1]));
  t.same(open, [ECHO, HTTP, ATTACKED], ports);

  const versions = await nmap('versions and operating system', 40, '-sS', '-sV', '--version-light', '-O', '--max-os-tries', '1', '-p', `${HTTP},${HTTP + 1}`);
  t.match(versions, new RegExp(`^${HTTP}/tcp\\s+open\\s+http`, 'm'), versions);
  t.match(versions, new RegExp(`^${HTTP + 1}/tcp\\s+closed`, 'm'));
  t.match(versions, /Aggressive OS guesses|OS details|Too many fingerprints|No exact OS matches|Running/, 'every probe of -O was made');

  for (const [name, scan] of [['FIN', '-sF'], ['null', '-sN'], ['Xmas', '-sX'], ['ACK', '-sA'], ['window', '-sW'], ['Maimon', '-sM']] as const) {
    // A closed port answers with RST, an open one with nothing (RFC 9293 3.10.7): Linux is scanned with the same result.
    const found = await nmap(`a ${name} scan`, 10, scan, '-p', `${HTTP},${HTTP + 1}`);
    if (scan === '-sA' || scan === '-sW') t.match(found, /unfiltered|closed/, `${name}: every port answers an ACK`);
    else if (scan === '-sM') t.match(found, /open\|filtered|closed/, `${name}: ${found}`);
    else t.match(found, new RegExp(`^${HTTP}/tcp\\s+open\\|filtered[^]*^${HTTP + 1}/tcp\\s+closed`, 'm'), `${name}: ${found}`);
  }
  await nmap('fragments', 10, '-sS', '-f', '-p', `${HTTP},${HTTP + 1}`);
  await nmap('UDP and IP protocols', 12, '-sU', '-sO', '-p', 'U:7,53,161', '--max-retries', '1');
});
