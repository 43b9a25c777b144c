/** Debian's iperf3 client against `tcpu serve iperf3 --tcp kernel`, an application on the stack's TCP across the boundary: every mode, a second each. */

import './namespace.ts';
import t from 'tap';
import { lacking } from './harness.ts';
import { TCP_MODES, UDP_MODES, tcpModesOfApplication, udpModesOfApplication } from './iperf3-modes.ts';

const skip = lacking('iperf3');

t.test('TCP', { skip, timeout: 100_000 }, (t) => tcpModesOfApplication(t, TCP_MODES, 'kernel'));

t.test('UDP', { skip, timeout: 60_000 }, (t) => udpModesOfApplication(t, UDP_MODES));
