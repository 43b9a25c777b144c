/** What a user's handler throws is the user's: it is thrown again, uncaught, when the work at hand is done. */
export function reportLater(error: unknown): void {
  queueMicrotask(() => {
    throw error;
  });
}
