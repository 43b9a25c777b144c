/** bin/tcpu from the sources, so that tests need no build. */

import { run } from '../../lib/cli/main.ts';

await run(process.argv);
