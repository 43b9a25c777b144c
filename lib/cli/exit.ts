/** How the command line ends when something is wrong: one sentence on stderr and an exit code. */

/** Something is wrong with the surroundings; the sentence says what to do. */
export const EXIT_FAILURE = 1;
/** Something is wrong with the command. */
export const EXIT_USAGE = 2;
/** A second SIGINT or SIGTERM. */
export const EXIT_INTERRUPTED = 130;

/** An error for a person: `message` is one sentence. */
export class CliError extends Error {
  override readonly name = 'CliError';
  readonly exitCode: number;

  constructor(message: string, exitCode = EXIT_FAILURE) {
    super(message);
    this.exitCode = exitCode;
  }
}
