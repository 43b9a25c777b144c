/** Debian's iperf3 client against `tcpu serve iperf3`, an application on the stack's UDP across the boundary: every mode, a second each. */

import './namespace.ts';
import t from 'tap';
import { lacking } from './harness.ts';
import { UDP_MODES, udpModesOfApplication } from './iperf3-modes.ts';

const skip = lacking('iperf3');

t.test('UDP', { skip, timeout: 100_000 }, (t) => udpModesOfApplication(t, UDP_MODES));
