/**
 * The way through a channel allocates nothing either: from the link into an application's receive ring, out of it
 * into its TCP, and what that sends through the transmit ring and TCPK's check to the link. As hot-path.test.ts.
 */

import t from 'tap';
import { hotPaths } from './paths.ts';

hotPaths(t, { window: { rxRing: 4 << 20, memory: 32 << 20 } });
