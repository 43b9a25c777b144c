/**
 * The other process of native.test.ts: connects to the path in argv, and does what it is told, one
 * message at a time. A message is an Int32Array; its first word says what:
 *
 *     ECHO n      answers the words that follow, each plus one
 *     MAP         maps the memfd that came with it (8192 bytes), finds what lies there, writes, answers what it found
 *     BELLS       takes two doorbells: whenever the first rings, rings the second
 *     SIGNALS     sends SIGUSR2 to the parent several times, answers then
 *     SILENCE     answers nothing
 *     DEAF        answers, and reads no more
 *     EXIT        ends in the callback, with watches and maps open
 *     KILL        kills itself
 */

import { loadChannelNative } from '../../lib/channel/native.ts';

export const ECHO = 1;
export const MAP = 2;
export const BELLS = 3;
export const SIGNALS = 4;
export const SILENCE = 5;
export const DEAF = 6;
export const EXIT = 7;
export const KILL = 8;

function main(path: string): void {
  const native = loadChannelNative();
  const bytes = new Uint8Array(1024);
  const words = new Int32Array(bytes.buffer);
  const fds = new Int32Array(9);
  const maps: ArrayBuffer[] = [];
  const fd = native.unixConnect(path);
  if (fd < 0) throw new Error(`connect: ${fd}`);

  const answer = (length: number) => {
    const sent = native.unixSend(fd, bytes, 0, length, null);
    if (sent !== length) throw new Error(`send: ${sent}`);
  };
  const watch = native.watch(fd, false, () => {
    const length = native.unixReceive(fd, bytes, fds);
    if (length === 0) process.exit(0);
    if (length < 0) throw new Error(`receive: ${length}`);
    switch (words[0]) {
      case ECHO:
        for (let i = 1; i < length >> 2; i++) words[i]!++;
        answer(length);
        break;
      case MAP: {
        const map = native.map(fds[1]!, 8192)!;
        native.closeFd(fds[1]!);
        maps.push(map);
        const view = new Int32Array(map);
        words[1] = view[0]!;
        words[2] = view[2047]!;
        view[1024] = process.pid;
        answer(12);
        break;
      }
      case BELLS: {
        const [, heard, rung] = fds;
        native.watch(heard!, true, () => native.eventfdWrite(rung!));
        answer(4);
        break;
      }
      case SIGNALS:
        for (let i = 0; i < 20; i++) process.kill(process.ppid, 'SIGUSR2');
        answer(4);
        break;
      case DEAF:
        native.unwatch(watch);
        setInterval(() => {}, 1 << 30);
        answer(4);
        break;
      case EXIT:
        process.exit(7);
      case KILL:
        process.kill(process.pid, 'SIGKILL');
    }
  });
}

if (process.argv[2]?.endsWith('.sock')) main(process.argv[2]);
