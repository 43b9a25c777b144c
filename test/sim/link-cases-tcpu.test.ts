/** The cases of link-cases.test.ts with TCP in applications at both ends. */

import { pairsAre } from './pair.ts';

pairsAre.tcpu = true;
await import('./link-cases.test.ts');
