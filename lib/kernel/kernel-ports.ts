/**
 * The ports of a stack: which sockets are bound where (ports.ts), the kernel-style TCP's own and those of
 * applications that TCPK knows, and the choice of a local port for connections.
 */

import { EADDRNOTAVAIL } from '../errno.ts';
import type { LocalPorts, PortUser } from '../home/local-ports.ts';
import type { TcpHost } from '../home/tcp-host.ts';
import type { IpFlow } from '../ip/flow.ts';
import type { Random } from '../random.ts';
import { FlowSecrets } from '../tcp/isn.ts';
import type { Tcb } from '../tcp/tcb.ts';
import { EPHEMERAL_COUNT, EPHEMERAL_FIRST, EPHEMERAL_LAST, PortBindings } from './ports.ts';

/** Tells whether a flow is an application's (TCPK). */
export type FlowClaim = (flow: IpFlow, localPort: number, remotePort: number) => boolean;

export class KernelPorts implements LocalPorts {
  readonly bindings: PortBindings;
  /** Whose connections these are; set once, by who makes both. */
  host: TcpHost | null = null;
  /** Flows that are not the kernel-style TCP's. */
  claimed: FlowClaim | null = null;
  readonly #secrets: FlowSecrets;
  #counter = 0;

  constructor(random: Random) {
    this.bindings = new PortBindings(random);
    this.#secrets = new FlowSecrets(random);
  }

  bind(user: PortUser, port: number): number {
    const { bindings } = this;
    if (port === 0) {
      port = bindings.pick(user);
      if (port < 0) return port;
    } else {
      const conflict = bindings.check(user, port);
      if (conflict < 0) return conflict;
    }
    bindings.add(user, port);
    return port;
  }

  listen(user: PortUser, port: number): number {
    return this.bindings.check(user, port);
  }

  unbind(user: PortUser, port: number): void {
    this.bindings.remove(user, port);
  }

  connect(tcb: Tcb, user: PortUser | null, port: number): number {
    const routed = this.host!.ip.route(tcb.flow);
    if (routed < 0) return routed;
    const local = user !== null ? port : this.#pickAny(tcb.flow, tcb.remotePort);
    if (local < 0) return local;
    tcb.localPort = local;
    if (user !== null && this.taken(tcb.flow, local, tcb.remotePort) && !this.host!.mayReuse(tcb.flow, local, tcb.remotePort)) {
      return -EADDRNOTAVAIL;
    }
    return 0;
  }

  /** `pick`, or when all are in use, one whose connection to this remote end is over and may make room. */
  #pickAny(flow: IpFlow, remotePort: number): number {
    const free = this.pick(flow, remotePort);
    if (free >= 0) return free;
    for (let port = EPHEMERAL_FIRST; port <= EPHEMERAL_LAST; port++) {
      if (!this.bindings.inUse(port) && this.host!.mayReuse(flow, port, remotePort)) return port;
    }
    return free;
  }

  opened(): boolean {
    return true;
  }

  closed(): void {
    // The kernel-style TCP's connection table is the only place where its flows are known.
  }

  /** Whether somebody has this flow. */
  taken(flow: IpFlow, localPort: number, remotePort: number): boolean {
    return this.host!.hasFlow(flow, localPort, remotePort) || this.claimed !== null && this.claimed(flow, localPort, remotePort);
  }

  /**
   * An ephemeral port for a connection from `flow.l*` to this remote end (RFC 6056 3.3.3): a keyed hash of
   * the destination, and a counter, so that successive connections get successive ports that others cannot
   * guess. -EADDRNOTAVAIL when all are in use.
   */
  pick(flow: IpFlow, remotePort: number): number {
    const start = this.#secrets.portOffset(flow.r0, flow.r1, flow.r2, flow.r3, remotePort);
    for (let i = 0; i < EPHEMERAL_COUNT; i++) {
      const port = EPHEMERAL_FIRST + ((start + this.#counter++) % EPHEMERAL_COUNT);
      if (!this.bindings.inUse(port) && !this.taken(flow, port, remotePort)) return port;
    }
    return -EADDRNOTAVAIL;
  }
}
