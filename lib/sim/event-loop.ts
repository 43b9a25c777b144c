/**
 * The event loop between two moments of virtual time.
 *
 * The stack does all its work in the call, but streams, promises and the programs on top of them do theirs in
 * microtasks, `process.nextTick()` and `setImmediate()`. Before virtual time moves on, all of that must have run: then a
 * run depends on nothing but the order in which things were put there, and is the same each time.
 *
 * What waits for the world outside (files, name servers, threads, timers of Node's) is not waited for: how long that
 * takes is different each time. See `Simulation.outside()`.
 */

// Taken at the start: tests may replace the globals.
const { setImmediate } = globalThis;

/** A program that puts off work by `setImmediate()` again and again is not waited for for ever. */
const MOST_TURNS = 10_000;

/** Resolves when nothing is left to do but to wait. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < MOST_TURNS; turn++) {
    // Microtasks and ticks run between any two immediates, so what is there now has run when this one does.
    await new Promise<void>((resolve) => {
      setImmediate(resolve);
    });
    if (!process.getActiveResourcesInfo().includes('Immediate')) return;
  }
}
