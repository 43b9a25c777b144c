/**
 * Each state in which a connection opens, against each kind of segment and ICMP error, in Linux's TCP and in ours: what differs must be
 * in docs/LINUX-DIFFERENCES.md.
 *
 *     +-- namespace of this test --------------------------------------------------------+
 *     |  linux-peer.py: sockets --- Linux 10.90.0.2 --- TUN --- raw segments of 10.90.0.1 |
 *     +----------------------------------------------------------------------------------+
 *
 * Needs /dev/net/tun and namespaces (skipped, loudly, without), python3 and iproute2.
 */

import '../kernel/namespace.ts';
import { linuxSuite } from './linux-suite.ts';

linuxSuite(['CLOSED', 'LISTEN', 'SYN-SENT', 'SYN-RECEIVED, passive open', 'SYN-RECEIVED, simultaneous open']);
