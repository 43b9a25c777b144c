/** Debian's iperf3 client against `tcpu serve iperf3 --tcp kernel`, an application on the stack's TCP across the boundary: every mode over TCP, a second each. */

import './namespace.ts';
import t from 'tap';
import { lacking } from './harness.ts';
import { TCP_MODES, tcpModesOfApplication } from './iperf3-modes.ts';

const skip = lacking('iperf3');

t.test('TCP', { skip, timeout: 100_000 }, (t) => tcpModesOfApplication(t, TCP_MODES, 'kernel'));
