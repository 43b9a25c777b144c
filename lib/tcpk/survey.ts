/**
 * What a stack and its applications have open, and what they have counted, put together for `tcpu ss` and
 * `tcpu stat`: the kernel-style TCP's part from its tables, the applications' part by asking each of them.
 *
 * An application is not believed: which connections and listeners it has, TCPK's tables say. Its report
 * only adds how each of them stands (state, queues, figures); what it tells of others is left out.
 * One that does not answer in time is listed all the same, with states '?'.
 */

import { REPORT_CONNECTIONS, REPORT_COUNTERS, REPORT_DETAILS } from '../channel/records.ts';
import type { Alarm, Clock } from '../clock.ts';
import { connectionInfo, listenerInfo, timeWaitInfo } from '../home/connections.ts';
import type { ConnectionInfo } from '../home/connections.ts';
import { TcpSocket } from '../home/tcp-socket.ts';
import type { TcpInfo } from '../socket.ts';
import { STATE_NAMES } from '../tcp/states.ts';
import { formatAddress } from '../wire/address.ts';
import type { Application } from './application.ts';
import { VIOLATION_NAMES } from './egress.ts';
import type { Tcpk } from './tcpk.ts';

/** Time for an application to answer, µs. */
const ANSWER_US = 500_000;
/** Bounds of what is taken from a report: figures of a connection, groups of counters, and counters in each. */
const MAX_FIGURES = 64;
const MAX_GROUPS = 16;
const MAX_COUNTERS = 128;
const WORD = /^[A-Za-z][A-Za-z0-9_-]{0,31}$/;

/** The figures of an application: what it answers to TO_APP_REPORT, as JSON. Parts that were not asked for are not there. */
export interface ReportContents {
  /** `info` is null unless REPORT_DETAILS was asked for. */
  connections?: ConnectionInfo[];
  counters?: Record<string, Record<string, number>>;
}

/** Whose a connection is. */
export interface ConnectionOwner {
  /** The stack's own process, or an application: only this tells, an application may call itself what it likes. */
  kind: 'stack' | 'application';
  /** `kernel` for what the stack's own process has open. */
  name: string;
  pid: number;
  uid: number;
}

/** A connection or a listener, of any TCP of this stack. */
export interface OwnedConnection extends Omit<ConnectionInfo, 'recvQueue' | 'sendQueue'> {
  /** Which TCP has it: the kernel-style one, or the application's own. */
  tcp: 'kernel' | 'tcpu';
  owner: ConnectionOwner;
  /** As in `ConnectionInfo`; null where only the application knows and has not said. `state` is '?' then. */
  recvQueue: number | null;
  sendQueue: number | null;
}

/** An attached application, with its counters. */
export interface ApplicationSurvey extends ConnectionOwner {
  bindings: number;
  flows: number;
  /** Sockets that it has in the stack. */
  sockets: number;
  /** Its channel, as TCPK sees it. */
  channel: Record<string, number>;
  /** What of its output was dropped: reason → how often. */
  violations: Record<string, number>;
  /** Its own: null when it did not answer. */
  counters: Record<string, Record<string, number>> | null;
}

export interface SurveyOptions {
  tcpk: Tcpk;
  clock: Clock;
  /** The stack's process. */
  pid: number;
  uid: number;
}

export class Survey {
  readonly #options: SurveyOptions;
  readonly #waiting = new Map<number, { app: Application; answered: (report: ReportContents | null) => void }>();
  #lastId = 0;

  constructor(options: SurveyOptions) {
    this.#options = options;
  }

  /** Whether this application has been asked this and has not answered yet. */
  awaits(app: Application, id: number): boolean {
    return this.#waiting.get(id)?.app === app;
  }

  /** Takes an application's answer. */
  answer(app: Application, id: number, json: string): void {
    const one = this.#waiting.get(id);
    if (one === undefined || one.app !== app) return;
    this.#waiting.delete(id);
    let report: unknown = null;
    try {
      report = JSON.parse(json);
    } catch {
      // As good as no answer.
    }
    one.answered(isObject(report) ? report as ReportContents : null);
  }

  /** Asks all applications at once; resolves with what each has said in time, or null. */
  async #ask(what: number): Promise<Map<Application, ReportContents | null>> {
    const { tcpk, clock } = this.#options;
    const reports = new Map<Application, ReportContents | null>();
    const ids: number[] = [];
    const answers: Promise<void>[] = [];
    tcpk.turn.enter();
    for (const app of tcpk.applications) {
      reports.set(app, null);
      const id = this.#lastId = (this.#lastId + 1) & 0x7fffffff;
      if (!app.ingress.askReport(id, what)) continue;
      ids.push(id);
      answers.push(new Promise((resolve) => {
        this.#waiting.set(id, {
          app,
          answered: (report) => {
            reports.set(app, report);
            resolve();
          },
        });
      }));
    }
    tcpk.turn.leave();
    if (ids.length === 0) return reports;
    const alarm: Alarm = clock.alarm(() => {
      for (const id of ids) {
        const one = this.#waiting.get(id);
        this.#waiting.delete(id);
        one?.answered(null);
      }
    });
    alarm.set(clock.nowUs() + ANSWER_US);
    await Promise.all(answers);
    alarm.clear();
    return reports;
  }

  // ------------------------------------------------------------------------------- connections

  /** Every listener and connection of the kernel-style TCP and of the applications; with their figures on request. */
  async connections(details = false): Promise<OwnedConnection[]> {
    const reports = await this.#ask(REPORT_CONNECTIONS | (details ? REPORT_DETAILS : 0));
    const list = this.#ofKernel(details);
    for (const [app, report] of reports) {
      if (app.gone) continue;
      let part: OwnedConnection[];
      try {
        part = this.#ofApplication(app, report);
      } catch {
        // Whatever it said, it is listed, and so are all others.
        part = this.#ofApplication(app, null);
      }
      for (const one of part) list.push(one);
    }
    return list;
  }

  #ofKernel(details: boolean): OwnedConnection[] {
    const { tcpk, pid, uid } = this.#options;
    const list: OwnedConnection[] = [];
    // What classic applications have open.
    const owners = new Map<object, ConnectionOwner>();
    for (const app of tcpk.applications) {
      const owner = ownerOf(app);
      app.forEachSocket((socket) => {
        if (!(socket instanceof TcpSocket)) return;
        owners.set(socket, owner);
        if (socket.listener === null) return;
        owners.set(socket.listener, owner);
        for (const tcb of socket.listener.queue) owners.set(tcb, owner);
      });
    }
    const stack: ConnectionOwner = { kind: 'stack', name: 'kernel', pid, uid };
    const add = (info: ConnectionInfo, owner: object | null): void => {
      list.push({ ...info, tcp: 'kernel', owner: (owner === null ? undefined : owners.get(owner)) ?? stack });
    };
    tcpk.kernel.forEachListener((listener) => add(listenerInfo(listener), listener));
    tcpk.kernel.forEach((tcb) => add(connectionInfo(tcb, details), tcb.owner ?? tcb.listener ?? tcb));
    tcpk.kernel.forEachTimeWait((connection) => add(timeWaitInfo(connection), null));
    return list;
  }

  #ofApplication(app: Application, report: ReportContents | null): OwnedConnection[] {
    const list: OwnedConnection[] = [];
    const owner = ownerOf(app);
    const said = new Map<string, Record<string, unknown>>();
    if (report !== null && Array.isArray(report.connections)) {
      for (const one of report.connections as unknown[]) {
        if (!isObject(one) || !isEnd(one['local'])) continue;
        const remote = one['remote'] ?? null;
        if (remote === null || isEnd(remote)) said.set(keyOf(one['local'], remote), one);
      }
    }
    for (const one of app.bindings.values()) {
      if (!one.listening) continue;
      const local = { address: formatAddress(one.b0, one.b1, one.b2, one.b3), port: one.port };
      const listener = said.get(keyOf(local, null));
      list.push({
        protocol: 'tcp', tcp: 'tcpu', owner, state: 'LISTEN', local, remote: null,
        recvQueue: countOf(listener?.['recvQueue']), sendQueue: countOf(listener?.['sendQueue']), info: null,
      });
    }
    app.forEachFlow(({ ip, ports }) => {
      const local = { address: formatAddress(ip.l0, ip.l1, ip.l2, ip.l3), port: ports >>> 16 };
      const remote = { address: formatAddress(ip.r0, ip.r1, ip.r2, ip.r3), port: ports & 0xffff };
      const one = said.get(keyOf(local, remote));
      const state = STATE_NAMES.find((name) => name === one?.['state']) ?? '?';
      list.push({
        protocol: 'tcp', tcp: 'tcpu', owner, state, local, remote,
        recvQueue: countOf(one?.['recvQueue']), sendQueue: countOf(one?.['sendQueue']), info: figuresOf(one?.['info']),
      });
    });
    return list;
  }

  // ---------------------------------------------------------------------------------- counters

  /** Every attached application with its counters. */
  async applications(): Promise<ApplicationSurvey[]> {
    const reports = await this.#ask(REPORT_COUNTERS);
    const list: ApplicationSurvey[] = [];
    for (const [app, report] of reports) {
      if (app.gone) continue;
      let sockets = 0;
      app.forEachSocket(() => {
        sockets++;
      });
      const violations: Record<string, number> = {};
      app.violations.forEach((count, reason) => {
        if (count > 0) violations[VIOLATION_NAMES[reason] ?? String(reason)] = count;
      });
      list.push({
        ...ownerOf(app), bindings: app.bindings.size, flows: app.flowCount, sockets, channel: { ...app.counters }, violations,
        counters: report === null ? null : groupsOrNull(report.counters),
      });
    }
    return list;
  }
}

function ownerOf(app: Application): ConnectionOwner {
  return { kind: 'application', name: app.name, pid: app.credentials.pid, uid: app.credentials.uid };
}

// -------------------------------------------------------------------- what applications say

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

interface End {
  address: string;
  port: number;
}

function isEnd(value: unknown): value is End {
  return isObject(value) && typeof value['address'] === 'string' && Number.isInteger(value['port']);
}

function keyOf(local: End, remote: End | null): string {
  const end = ({ address, port }: End): string => `${address} ${port}`;
  return remote === null ? end(local) : `${end(local)} ${end(remote)}`;
}

function countOf(value: unknown): number | null {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0 ? value : null;
}

/** A `TcpInfo`, as far as what was said is one: only short words, numbers and truth values get through. */
function figuresOf(value: unknown): TcpInfo | null {
  if (!isObject(value)) return null;
  const figures: Record<string, unknown> = {};
  for (const [name, figure] of Object.entries(value).slice(0, MAX_FIGURES)) {
    const plain = typeof figure === 'boolean' || typeof figure === 'number' || typeof figure === 'string' && WORD.test(figure);
    if (plain && WORD.test(name)) figures[name] = figure;
  }
  return figures as unknown as TcpInfo;
}

function groupsOrNull(value: unknown): Record<string, Record<string, number>> | null {
  try {
    return groupsOf(value);
  } catch {
    return null;
  }
}

function groupsOf(value: unknown): Record<string, Record<string, number>> {
  const groups: Record<string, Record<string, number>> = {};
  if (!isObject(value)) return groups;
  for (const [name, group] of Object.entries(value).slice(0, MAX_GROUPS)) {
    if (!WORD.test(name) || !isObject(group)) continue;
    const counters: Record<string, number> = groups[name] = {};
    for (const [counter, count] of Object.entries(group).slice(0, MAX_COUNTERS)) {
      if (WORD.test(counter) && typeof count === 'number') counters[counter] = count;
    }
  }
  return groups;
}
