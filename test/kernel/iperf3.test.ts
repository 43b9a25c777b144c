/** Debian's iperf3 client against `tcpu up --serve iperf3` with offload: every mode over TCP, a second each. */

import './namespace.ts';
import t from 'tap';
import { lacking } from './harness.ts';
import { TCP_MODES, tcpModes } from './iperf3-modes.ts';

const skip = lacking('iperf3');

t.test('TCP, offload on', { skip, timeout: 100_000 }, (t) => tcpModes(t, TCP_MODES, '--offload', 'on'));
