/** A local address and port that belong to an application: what its `bind` got. */

import type { PortUser } from '../home/local-ports.ts';
import type { Application } from './application.ts';

export class Binding implements PortUser {
  readonly app: Application;
  /** The application's number for it. */
  readonly id: number;
  readonly b0: number;
  readonly b1: number;
  readonly b2: number;
  readonly b3: number;
  port = 0;
  v6only: boolean;
  reuseAddress: boolean;
  reusePort: boolean;
  listening = false;

  constructor(
    app: Application, id: number, b0: number, b1: number, b2: number, b3: number, v6only: boolean, reuseAddress: boolean, reusePort: boolean,
  ) {
    this.app = app;
    this.id = id;
    this.b0 = b0;
    this.b1 = b1;
    this.b2 = b2;
    this.b3 = b3;
    this.v6only = v6only;
    this.reuseAddress = reuseAddress;
    this.reusePort = reusePort;
  }

  get owner(): object {
    return this.app;
  }

  get uid(): number {
    return this.app.credentials.uid;
  }
}
