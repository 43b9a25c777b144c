/** TUN devices against the Linux kernel; the tests are in tun.suite.ts. */
import { inNamespace } from './namespace.ts';

if (await inNamespace(import.meta.url)) await import('./tun.suite.ts');
