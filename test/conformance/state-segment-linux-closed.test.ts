/** As state-segment-linux-opening.test.ts, for the last of them. */

import '../kernel/namespace.ts';
import { linuxSuite } from './linux-suite.ts';

linuxSuite(['LAST-ACK', 'TIME-WAIT', 'TIME-WAIT, somebody listens']);
