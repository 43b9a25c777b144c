/** How the command line's values are read: addresses, numbers, service lists, and what goes together. */

import t from 'tap';
import type { DeviceOptions } from '../../lib/cli/options.ts';
import { integer, isInside, neighbourOf, parseCidr, parseHostCidr, parseServeArgument, planDevice, seconds } from '../../lib/cli/options.ts';
import { parseServeList } from '../../lib/services/index.ts';

t.test('CIDR', async (t) => {
  t.match(parseCidr('10.90.0.2/24'), { address: '10.90.0.2', prefix: 24, family: 4, value: 0x0a5a0002n });
  t.match(parseCidr('FD90::2/64'), { address: 'fd90::2', prefix: 64, family: 6 });
  for (const bad of ['10.90.0.2', '10.90.0/24', '10.90.0.256/24', '10.90.0.2/33', '10.90.0.2/-1', 'fd90::2/129', 'fd90:::2/64',
    'fd90::2', '', '/24', '10.90.0.2/24/8', 'ten/8', '10.90.0.2/2x', ' 10.90.0.2/24', '0x0a.1.1.1/8', '::ffff:1.2.3.400/96']) {
    t.throws(() => parseCidr(bad), /write ADDRESS\/PREFIX, such as/, `'${bad}'`);
  }
});

t.test('addresses that no host can have', async (t) => {
  const bad: [string, RegExp][] = [
    ['0.0.0.0/0', /unspecified/], ['::/64', /unspecified/], ['::ffff:6:1/112', /IPv4 address in IPv6 form/], ['224.0.0.1/8', /multicast/], ['ff02::1/64', /multicast/],
    ['240.0.0.1/8', /reserved/], ['255.255.255.255/32', /reserved/], ['10.90.0.0/24', /network itself/], ['10.90.0.255/24', /broadcast/],
  ];
  for (const [text, reason] of bad) t.throws(() => parseHostCidr(text), reason, text);
  for (const good of ['10.90.0.2/24', '10.90.1.0/23', '10.90.0.0/31', '10.90.0.1/31', '10.90.0.255/32', 'fd90::/64', 'fe80::5/64']) {
    t.equal(parseHostCidr(good).text, good);
  }
});

t.test('networks', async (t) => {
  t.ok(isInside(parseCidr('10.90.0.2/24'), parseCidr('10.90.0.1/24')));
  t.notOk(isInside(parseCidr('10.91.0.2/24'), parseCidr('10.90.0.1/24')));
  t.notOk(isInside(parseCidr('fd90::2/64'), parseCidr('10.90.0.1/24')));
  t.equal(neighbourOf(parseCidr('10.7.0.2/16'))!.text, '10.7.0.1/16');
  t.equal(neighbourOf(parseCidr('10.7.0.1/16'))!.text, '10.7.0.2/16');
  t.equal(neighbourOf(parseCidr('fd07::5/64'))!.text, 'fd07::1/64');
  t.equal(neighbourOf(parseCidr('10.7.0.1/32')), null);
});

t.test('numbers', async (t) => {
  t.equal(integer(1, 100)('42'), 42);
  for (const bad of ['', '0', '101', '1.5', '-1', '1e2', '0x10', ' 1', '١']) t.throws(() => integer(1, 100)(bad), /whole number from 1 to 100/, bad);
  t.equal(seconds(0.1, 10)('0.25'), 0.25);
  for (const bad of ['', '0', '0.05', '11', '1s', '1e1', '.5']) t.throws(() => seconds(0.1, 10)(bad), /number of seconds from 0.1 to 10/, bad);
});

t.test('service lists', async (t) => {
  const plain = (text: string): string => parseServeList(text).map((one) => `${one.service.name}@${one.port}`).join(',');
  t.equal(plain('echo,discard,chargen,daytime,http,iperf3'), 'echo@7,discard@9,chargen@19,daytime@13,http@80,iperf3@5201');
  t.equal(plain('echo@7007,http@8080'), 'echo@7007,http@8080');
  t.equal(plain('all'), 'echo@7,discard@9,chargen@19,daytime@13,http@80,iperf3@5201');
  t.equal(plain('echo,echo@7007'), 'echo@7,echo@7007');
  const bad: [string, RegExp][] = [
    ['', /'' is not a service/], ['echo,', /'' is not a service/], ['ftp', /no service 'ftp'; there are echo, /],
    ['echo@', /'' is not a port/], ['echo@0', /ports are 1 to 65535/], ['echo@65536', /ports are/], ['echo@7x', /ports are/],
    ['echo@ 7', /ports are/], ['echo@07', /ports are/], ['Echo', /is not a service/], ['echo http', /is not a service/],
    ['echo,echo', /cannot both have port 7/], ['echo@80,http', /http and echo cannot both have port 80/], ['echo@7@8', /ports are/],
  ];
  for (const [text, message] of bad) {
    t.throws(() => parseServeList(text), { name: 'RangeError', message }, `'${text}'`);
    t.throws(() => parseServeArgument(text), message);
  }
});

t.test('what goes together', async (t) => {
  const options = (more: Partial<DeviceOptions> = {}): DeviceOptions => ({ tun: 'tcpu0', mtu: 1500, offload: 'auto', ...more });
  const texts = (list: { text: string }[]): string[] => list.map((one) => one.text);
  const standard = planDevice(options());
  t.same(texts(standard.addresses), ['10.90.0.2/24', 'fd90::2/64']);
  t.same(texts(standard.hostAddresses), ['10.90.0.1/24', 'fd90::1/64']);
  const derived = planDevice(options({ address: [parseCidr('10.7.0.1/16')] }));
  t.same(texts(derived.hostAddresses), ['10.7.0.2/16']);
  const given = planDevice(options({ address: [parseCidr('10.7.0.1/16')], hostAddress: [parseCidr('10.8.0.1/16')] }));
  t.same(texts(given.hostAddresses), ['10.8.0.1/16']);
  t.throws(() => planDevice(options({ hostAddress: [parseCidr('10.90.0.2/24')] })), { exitCode: 2, message: /at once/ });
  t.throws(() => planDevice(options({ address: [parseCidr('10.7.0.1/16'), parseCidr('10.7.0.1/24')] })), { exitCode: 2, message: /twice/ });
  t.throws(() => planDevice(options({ mtu: 1000 })), { exitCode: 2, message: /IPv6 needs an MTU of at least 1280/ });
  t.equal(planDevice(options({ mtu: 1000, address: [parseCidr('10.7.0.2/16')] })).mtu, 1000);
});
