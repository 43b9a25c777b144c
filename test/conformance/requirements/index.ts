/** All rows of docs/CONFORMANCE.md, in its order. */

import { rfc1122, rfc4443, rfc8200 } from './ip.ts';
import type { Source } from './requirement.ts';
import { rfc9293 } from './rfc9293.ts';
import { tcpSources } from './tcp.ts';

export const SOURCES: Source[] = [rfc9293, rfc1122, ...tcpSources, rfc8200, rfc4443];
