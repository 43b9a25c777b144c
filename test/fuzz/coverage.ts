/**
 * Which places of the engine an input reaches, by V8's own block coverage (node:inspector): what guides the growth of the
 * corpus. Costs nothing to speak of while it runs, and some 3 ms for each look.
 *
 * A place is a block of code together with how often it ran, in steps (once, twice, up to 4, 8, 16 … times), as AFL counts.
 */

import { Session } from 'node:inspector';
import type { Profiler } from 'node:inspector';

export class Coverage {
  readonly #session = new Session();
  readonly #wanted: (url: string) => boolean;
  /** Everything seen so far. */
  readonly seen = new Set<string>();

  /** Counts what lies in files that `wanted` names by their URL. */
  constructor(wanted: (url: string) => boolean) {
    this.#wanted = wanted;
    this.#session.connect();
    this.#post('Profiler.enable');
    this.#post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
  }

  #post(method: string, params?: object): unknown {
    // Answers come before the call returns.
    let answer: unknown;
    this.#session.post(method, params, (error, result) => {
      if (error !== null) throw error;
      answer = result;
    });
    return answer;
  }

  /** What ran since the last look. */
  look(): string[] {
    const { result } = this.#post('Profiler.takePreciseCoverage') as Profiler.TakePreciseCoverageReturnType;
    const places: string[] = [];
    for (const { url, functions } of result) {
      if (!this.#wanted(url)) continue;
      const file = url.slice(url.lastIndexOf('/lib/') + 5);
      for (const { functionName, ranges } of functions) {
        for (const { startOffset, endOffset, count } of ranges) {
          if (count > 0) places.push(`${file} ${functionName} ${startOffset}-${endOffset} ${Math.min(32 - Math.clz32(count - 1), 12)}`);
        }
      }
    }
    return places;
  }

  /** Remembers `places`; returns those that are new. */
  add(places: readonly string[]): string[] {
    const fresh = places.filter((place) => !this.seen.has(place));
    for (const place of fresh) this.seen.add(place);
    return fresh;
  }

  /** How many blocks were reached, whatever the count. */
  get blocks(): number {
    return new Set([...this.seen].map((place) => place.slice(0, place.lastIndexOf(' ')))).size;
  }

  close(): void {
    this.#post('Profiler.stopPreciseCoverage');
    this.#session.disconnect();
  }
}
