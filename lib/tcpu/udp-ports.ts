/**
 * Local ports of TCP over UDP: they are ports of UDP sockets of the host. A bound socket of TCP has a UDP socket,
 * which the connections that come in there share, and which stays until the last of them is over; a connection
 * opened from an unbound one has a UDP socket for itself, connected to its peer.
 *
 * Address reuse: a port that is left with connections only may be bound again by the same kind of socket and
 * address, as SO_REUSEADDR would allow; no more than one socket of TCP is bound to a port. SO_REUSEPORT is left out.
 */

import { EADDRINUSE, EADDRNOTAVAIL, ENETUNREACH } from '../errno.ts';
import type { LocalPorts, PortUser } from '../home/local-ports.ts';
import type { IpFlow } from '../ip/flow.ts';
import type { Tcb } from '../tcp/tcb.ts';
import { isMapped, isUnspecified } from '../wire/address.ts';
import { addressText } from './udp-endpoint.ts';
import type { EndpointOptions, UdpEndpoint } from './udp-endpoint.ts';
import { pathTo } from './udp-ip.ts';
import type { UdpIp } from './udp-ip.ts';

export type OpenEndpoint = (options: Omit<EndpointOptions, 'buffers'>) => UdpEndpoint | number;

export class UdpPorts implements LocalPorts {
  readonly endpoints = new Set<UdpEndpoint>();
  /** Endpoints that nobody needs any more: to be closed once what they sent has left. */
  readonly retired: UdpEndpoint[] = [];
  /** Whether a connection with these addresses and ports exists; set once, by who makes both. */
  hasFlow: (flow: IpFlow, localPort: number, remotePort: number) => boolean = () => false;
  readonly #ip: UdpIp;
  readonly #open: OpenEndpoint;
  readonly #bindings = new Map<PortUser, UdpEndpoint>();
  /** By entry of the connection table: `IpFlow.handle`. */
  readonly #handles: number[] = [];

  constructor(ip: UdpIp, open: OpenEndpoint) {
    this.#ip = ip;
    this.#open = open;
  }

  bind(user: PortUser, port: number): number {
    const v6 = !isMapped(user.b0, user.b1, user.b2);
    let endpoint: UdpEndpoint | number | null = port === 0 ? null : this.#find(user, v6, port);
    if (endpoint !== null && endpoint.binder !== null) return -EADDRINUSE;
    if (endpoint === null) {
      const any = isUnspecified(user.b0, user.b1, user.b2, user.b3);
      endpoint = this.#open({
        v6, v6only: v6 && user.v6only, address: any ? '' : addressText(v6, user.b0, user.b1, user.b2, user.b3), port,
      });
      if (typeof endpoint === 'number') return endpoint;
      this.endpoints.add(endpoint);
    }
    endpoint.binder = user;
    this.#bindings.set(user, endpoint);
    return endpoint.port;
  }

  /** The endpoint with exactly this address and port, if there is one that more than one connection can share. */
  #find(user: PortUser, v6: boolean, port: number): UdpEndpoint | null {
    const fits = (e: UdpEndpoint): boolean => e.port === port && e.v6 === v6 && !e.connected && (!v6 || e.v6only === user.v6only)
      && e.w3 === user.b3 && e.w2 === user.b2 && e.w1 === user.b1 && e.w0 === user.b0;
    for (const endpoint of this.endpoints) if (fits(endpoint)) return endpoint;
    const at = this.retired.findIndex(fits);
    if (at < 0) return null;
    const [endpoint] = this.retired.splice(at, 1);
    this.endpoints.add(endpoint!);
    return endpoint!;
  }

  listen(): number {
    return 0;
  }

  unbind(user: PortUser): void {
    const endpoint = this.#bindings.get(user);
    if (endpoint === undefined) return;
    this.#bindings.delete(user);
    endpoint.binder = null;
    this.#retire(endpoint);
  }

  connect(tcb: Tcb, user: PortUser | null): number {
    const { flow } = tcb;
    const routed = this.#ip.route(flow);
    if (routed < 0) return routed;
    const v4 = flow.version === 4;
    const bound = user === null ? undefined : this.#bindings.get(user);
    let endpoint: UdpEndpoint | number;
    if (bound !== undefined) {
      if (v4 ? bound.v6 && bound.v6only : !bound.v6) return -ENETUNREACH;
      endpoint = bound;
    } else {
      // Unbound: the host chooses address and port. IPv4 goes out of an IPv4 socket, whatever domain TCP's socket is of.
      endpoint = this.#open({
        v6: !v4, v6only: false, address: '', port: 0,
        peer: { address: addressText(!v4, flow.r0, flow.r1, flow.r2, flow.r3), port: tcb.remotePort },
      });
      if (typeof endpoint === 'number') return endpoint;
      endpoint.owner = tcb;
    }
    flow.l0 = endpoint.w0;
    flow.l1 = endpoint.w1;
    flow.l2 = endpoint.localWord2(v4);
    flow.l3 = endpoint.w3;
    tcb.localPort = endpoint.port;
    if (this.hasFlow(flow, endpoint.port, tcb.remotePort)) {
      if (endpoint.owner === tcb) endpoint.close();
      return -EADDRNOTAVAIL;
    }
    this.endpoints.add(endpoint);
    endpoint.flows++;
    flow.handle = this.#ip.addPath(pathTo(endpoint, flow, tcb.remotePort));
    return 0;
  }

  opened(tcb: Tcb): boolean {
    const { flow } = tcb;
    if (flow.handle < 0) {
      const path = this.#ip.wayBack();
      if (path === null) return false;
      path.endpoint.flows++;
      flow.handle = this.#ip.addPath(path);
    }
    this.#handles[tcb.entry] = flow.handle;
    return true;
  }

  closed(entry: number): void {
    const path = this.#ip.removePath(this.#handles[entry]!);
    if (path === null) return;
    const { endpoint } = path;
    endpoint.flows--;
    endpoint.owner = null;
    this.#retire(endpoint);
  }

  #retire(endpoint: UdpEndpoint): void {
    if (endpoint.flows === 0 && endpoint.binder === null && this.endpoints.delete(endpoint)) this.retired.push(endpoint);
  }
}
