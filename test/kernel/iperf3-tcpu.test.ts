/** Debian's iperf3 client against `tcpu serve iperf3 --tcp tcpu`, an application on TCPU: every mode, a second each. */

import './namespace.ts';
import t from 'tap';
import { lacking } from './harness.ts';
import { TCP_MODES, tcpModesOfApplication } from './iperf3-modes.ts';

const skip = lacking('iperf3');

t.test('TCP', { skip, timeout: 100_000 }, (t) => tcpModesOfApplication(t, TCP_MODES, 'tcpu'));
