/** The registry of services, and the list that `--serve` takes: `echo,discard@9009,http@8080`. */

import { chargen } from './chargen.ts';
import { daytime } from './daytime.ts';
import { discard } from './discard.ts';
import { echo } from './echo.ts';
import { http } from './http.ts';
import { iperf3 } from './iperf3/server.ts';
import type { RunningService, Service, ServiceHost } from './service.ts';

export { ServiceError } from './service.ts';
export type { RunningService, Service, ServiceHost } from './service.ts';

/** All services, by name. */
export const services: ReadonlyMap<string, Service> = new Map(
  [echo, discard, chargen, daytime, http, iperf3].map((service) => [service.name, service]),
);

/** One entry of a service list. */
export interface ServiceChoice {
  service: Service;
  port: number;
}

/**
 * Reads `name[@port][,…]`. Names are those of `services`, `all` stands for every one of them at its
 * own port; ports are decimal, 1 to 65535. Throws a RangeError whose message says what is wrong.
 */
export function parseServeList(text: string): ServiceChoice[] {
  const choices: ServiceChoice[] = [];
  for (const entry of text.split(',')) {
    if (entry === 'all') {
      for (const service of services.values()) add(choices, service, service.defaultPort);
      continue;
    }
    const match = /^([a-z][a-z0-9]*)(?:@(.*))?$/.exec(entry);
    const known = [...services.keys()].join(', ');
    if (match === null) {
      throw new RangeError(`'${entry}' is not a service; write name or name@port, names are ${known}`);
    }
    const service = services.get(match[1]!);
    if (service === undefined) throw new RangeError(`there is no service '${match[1]}'; there are ${known}`);
    add(choices, service, match[2] === undefined ? service.defaultPort : parsePort(match[2]));
  }
  return choices;
}

function add(choices: ServiceChoice[], service: Service, port: number): void {
  const other = choices.find((choice) => choice.port === port);
  if (other !== undefined) {
    const names = `${service.name} and ${other.service.name}`;
    throw new RangeError(`${names} cannot both have port ${port}; give one another with name@port`);
  }
  choices.push({ service, port });
}

/** A decimal port, 1 to 65535. Throws a RangeError that says so. */
export function parsePort(text: string): number {
  const port = /^[1-9][0-9]{0,4}$/.test(text) ? Number(text) : NaN;
  if (!(port <= 65535)) throw new RangeError(`'${text}' is not a port; ports are 1 to 65535`);
  return port;
}

/** Starts them in order; when one cannot start, those before it are closed again and its `ServiceError` is thrown. */
export async function startServices(host: ServiceHost, choices: readonly ServiceChoice[]): Promise<RunningService[]> {
  const running: RunningService[] = [];
  try {
    for (const { service, port } of choices) running.push(await service.start(host, port));
  } catch (error) {
    for (const service of running) service.close(false);
    throw error;
  }
  return running;
}
