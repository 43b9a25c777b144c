/**
 * Entry of `tcpu/sim`: a deterministic network in virtual time, for tests of programs that talk over networks
 * (docs/SIMULATION.md).
 *
 * ```js
 * import { createSimulation } from 'tcpu/sim';
 *
 * const sim = createSimulation({ seed: 7 });
 * const server = sim.host({ address: '10.0.0.1/24' });
 * const client = sim.host({ address: '10.0.0.2/24' });
 * sim.link(client, server, { rate: '100Mbit', delayMs: 20, loss: 0.01 });
 *
 * server.net.createServer((socket) => socket.pipe(socket)).listen(7);
 * await sim.run(async () => {
 *   const socket = client.net.connect(7, server.address);
 *   socket.end('hello');
 *   for await (const piece of socket) console.log(sim.nowMs, String(piece));
 * });
 * ```
 */

export { createSimulation, Simulation, SimulationError } from './simulation.ts';
export type { RunOptions, SimTimer, SimulationOptions } from './simulation.ts';
export { PortCounters, SimHost } from './sim-host.ts';
export type { HostOptions } from './sim-host.ts';
export { RouterCounters, SimRouter } from './sim-router.ts';
export { SimLink } from './sim-link.ts';
export type { SimNode } from './sim-link.ts';
export { parseRate } from './link-options.ts';
export type { BurstLossOptions, DirectionOptions, LinkOptions, QueueOptions, ReorderOptions } from './link-options.ts';
export type { GilbertElliott } from '../link/burst-loss.ts';
export type { QueueDiscipline } from '../link/path-queue.ts';
export type { PathCounters } from '../link/impaired-path.ts';
