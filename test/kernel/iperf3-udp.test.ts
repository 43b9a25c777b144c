/** Debian's iperf3 client against `tcpu up --serve iperf3`: every mode over UDP, a second each. */

import './namespace.ts';
import t from 'tap';
import { lacking } from './harness.ts';
import { UDP_MODES, udpModes } from './iperf3-modes.ts';

const skip = lacking('iperf3');

t.test('UDP, offload on', { skip, timeout: 100_000 }, (t) => udpModes(t, UDP_MODES, '--offload', 'on'));
