/** As state-segment-linux-opening.test.ts, for open connections. */

import '../kernel/namespace.ts';
import { linuxSuite } from './linux-suite.ts';

linuxSuite(['ESTABLISHED', 'ESTABLISHED, timestamps', 'ESTABLISHED, zero window']);
