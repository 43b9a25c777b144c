/**
 * For registry.ts: `tap` becomes a recorder. A test file that is loaded then says which tests it would run, and runs none.
 * Loaded with --import, before the test files.
 */

import { register } from 'node:module';

register(`data:text/javascript,${encodeURIComponent(`
  export async function resolve(specifier, context, next) {
    return specifier === 'tap' ? { url: 'tcpu:tap', shortCircuit: true } : next(specifier, context);
  }
  export async function load(url, context, next) {
    if (url !== 'tcpu:tap') return next(url, context);
    return { format: 'module', shortCircuit: true, source: \`
      const tests = (globalThis.recordedTests = []);
      const record = (name, options, body) => {
        const skipped = typeof options === 'object' && options !== null && Boolean(options.skip || options.todo);
        tests.push({ name, skipped, empty: typeof options !== 'function' && typeof body !== 'function' });
        return Promise.resolve();
      };
      const t = new Proxy(() => undefined, {
        get: (_, key) => key === 'test' ? record : key === 'skip' || key === 'todo' ? () => undefined : key === 'then' ? undefined : () => t,
      });
      export default t;
      export const test = record;
    \` };
  }
`)}`);
