/** As state-segment-linux-opening.test.ts, for the states in which a connection closes. */

import '../kernel/namespace.ts';
import { linuxSuite } from './linux-suite.ts';

linuxSuite(['FIN-WAIT-1', 'FIN-WAIT-2', 'CLOSE-WAIT', 'CLOSING']);
