/**
 * Socket calls in odd states, as scripts that run on our sockets and, by python3, on Linux's. An operation is a line:
 * its name, the socket it is about, and arguments; its result is a word: `ok`, a number, or the name of an errno.
 *
 * Addresses: `any`, `own` (one of the machine's), `foreign` (nobody's here), `hole` (routed to where nothing answers).
 * Ports: a number, or `@s` for the one that socket `s` is bound to.
 */

export interface Scenario {
  name: string;
  /** `operation → what Linux gives`, with semicolons between. */
  steps: string;
}

/** The steps of a scenario as pairs. */
export function stepsOf(scenario: Scenario): [operation: string, want: string][] {
  return scenario.steps.split(';').map((step) => step.trim().split(' → ') as [string, string]);
}

/** poll(2): IN 1, PRI 2, OUT 4, ERR 8, HUP 16, RDHUP 8192. */
export const scenarios: Scenario[] = [
  {
    name: 'never bound, never connected',
    steps: `
      socket s → ok; send s 1 → EPIPE; recv s 1 → ENOTCONN; accept x s → EINVAL; poll s → 20; shutdown s 2 → ENOTCONN;
      getpeername s → ENOTCONN; error s → ok; close s → ok
    `,
  },
  {
    name: 'bind',
    steps: `
      socket s → ok; bind s foreign 0 → EADDRNOTAVAIL; bind s own 0 → ok; bind s own 0 → EINVAL; socket u → ok;
      bind u own @s → EADDRINUSE; bind u any @s → EADDRINUSE; bind u any 0 → ok; send s 1 → EPIPE; recv s 1 → ENOTCONN;
      close s → ok; socket v → ok; reuseaddr v → ok; bind v own @s → ok
    `,
  },
  {
    name: 'listening',
    steps: `
      socket l → ok; bind l own 0 → ok; listen l 5 → ok; listen l 7 → ok; accept x l → EAGAIN; bind l own 0 → EINVAL;
      connect l own @l → EISCONN; send l 1 → EPIPE; recv l 1 → ENOTCONN; poll l → 0; getpeername l → ENOTCONN
    `,
  },
  {
    name: 'two listeners on a port, with SO_REUSEADDR',
    steps: `
      socket a → ok; reuseaddr a → ok; bind a own 0 → ok; socket b → ok; reuseaddr b → ok; bind b own @a → ok;
      listen a 5 → ok; listen b 5 → EADDRINUSE; socket c → ok; reuseaddr c → ok; bind c own @a → EADDRINUSE
    `,
  },
  {
    name: 'connecting to where nothing answers',
    steps: `
      socket s → ok; connect s hole 9 → EINPROGRESS; connect s hole 9 → EALREADY; send s 1 → EAGAIN; recv s 1 → EAGAIN;
      poll s → 0; listen s 5 → EINVAL; bind s own 0 → EINVAL; getpeername s → ENOTCONN; accept x s → EINVAL;
      error s → ok; close s → ok
    `,
  },
  {
    name: 'refused',
    steps: `
      socket l → ok; bind l own 0 → ok; socket s → ok; connect s own @l → EINPROGRESS; poll s → 8221;
      error s → ECONNREFUSED; error s → ok; recv s 1 → 0; send s 1 → EPIPE; poll s → 8213; shutdown s 1 → ENOTCONN;
      getpeername s → ENOTCONN
    `,
  },
  {
    name: 'refused, told by recv',
    steps: `
      socket l → ok; bind l own 0 → ok; socket s → ok; connect s own @l → EINPROGRESS; recv s 1 → ECONNREFUSED;
      recv s 1 → 0
    `,
  },
  {
    name: 'refused, told by connect; then connected to another',
    steps: `
      socket l → ok; bind l own 0 → ok; socket s → ok; connect s own @l → EINPROGRESS; connect s own @l → ECONNREFUSED;
      listen l 5 → ok; connect s own @l → EINPROGRESS; poll s → 4; accept a l → ok; send s 3 → 3; recv a 9 → 3
    `,
  },
  {
    name: 'connected',
    steps: `
      socket l → ok; bind l own 0 → ok; listen l 5 → ok; socket s → ok; connect s own @l → EINPROGRESS; poll l → 1;
      accept a l → ok; accept b l → EAGAIN; poll s → 4; connect s own @l → ok; connect s own @l → EISCONN;
      connect a own @l → EISCONN; listen s 5 → EINVAL; bind s own 0 → EINVAL; accept x s → EINVAL; getpeername s → ok;
      recv s 9 → EAGAIN; send s 5 → 5; send s 0 → 0; poll a → 5; peek a 9 → 5; recv a 3 → 3; recv a 9 → 2;
      recv a 9 → EAGAIN; error s → ok
    `,
  },
  {
    name: 'the peer closes',
    steps: `
      socket l → ok; bind l own 0 → ok; listen l 5 → ok; socket s → ok; connect s own @l → EINPROGRESS;
      accept a l → ok; send a 4 → 4; close a → ok; poll s → 8197; recv s 9 → 4; recv s 9 → 0; recv s 9 → 0;
      poll s → 8197; send s 5 → 5; poll s → 8221; recv s 9 → 0; send s 5 → EPIPE; send s 5 → EPIPE; poll s → 8213
    `,
  },
  {
    name: 'shutdown of the sending half',
    steps: `
      socket l → ok; bind l own 0 → ok; listen l 5 → ok; socket s → ok; connect s own @l → EINPROGRESS;
      accept a l → ok; shutdown s 1 → ok; shutdown s 1 → ok; send s 1 → EPIPE; send s 0 → EPIPE; recv s 1 → EAGAIN;
      poll s → 4; recv a 1 → 0; poll a → 8197; send a 2 → 2; recv s 9 → 2; shutdown a 1 → ok; recv s 9 → 0;
      poll s → 8213; poll a → 8213; getpeername a → ENOTCONN; shutdown a 1 → ENOTCONN; recv a 1 → 0; send a 1 → EPIPE
    `,
  },
  {
    name: 'shutdown of the receiving half',
    steps: `
      socket l → ok; bind l own 0 → ok; listen l 5 → ok; socket s → ok; connect s own @l → EINPROGRESS;
      accept a l → ok; shutdown s 0 → ok; recv s 1 → 0; poll s → 8197; send s 3 → 3; recv a 9 → 3;
      shutdown s 7 → EINVAL
    `,
  },
  {
    name: 'shutdown of both halves',
    steps: `
      socket l → ok; bind l own 0 → ok; listen l 5 → ok; socket s → ok; connect s own @l → EINPROGRESS;
      accept a l → ok; shutdown s 2 → ok; recv s 1 → 0; send s 1 → EPIPE; poll s → 8213; recv a 1 → 0
    `,
  },
  {
    name: 'reset by the peer, told by recv',
    steps: `
      socket l → ok; bind l own 0 → ok; listen l 5 → ok; socket s → ok; connect s own @l → EINPROGRESS;
      accept a l → ok; linger a 0 → ok; close a → ok; poll s → 8221; recv s 9 → ECONNRESET; recv s 9 → 0;
      send s 5 → EPIPE; error s → ok
    `,
  },
  {
    name: 'reset by the peer, told by send, then by SO_ERROR no more',
    steps: `
      socket l → ok; bind l own 0 → ok; listen l 5 → ok; socket s → ok; connect s own @l → EINPROGRESS;
      accept a l → ok; linger a 0 → ok; close a → ok; send s 5 → ECONNRESET; send s 5 → EPIPE; error s → ok;
      recv s 9 → 0
    `,
  },
  {
    name: 'reset by unread data',
    steps: `
      socket l → ok; bind l own 0 → ok; listen l 5 → ok; socket s → ok; connect s own @l → EINPROGRESS;
      accept a l → ok; send s 5 → 5; send a 7 → 7; close a → ok; recv s 9 → 7; recv s 9 → ECONNRESET
    `,
  },
  {
    name: 'the listener closes before it accepted',
    steps: `
      socket l → ok; bind l own 0 → ok; listen l 5 → ok; socket s → ok; connect s own @l → EINPROGRESS; poll s → 4;
      close l → ok; recv s 9 → ECONNRESET
    `,
  },
  {
    name: 'options and their errors',
    steps: `
      socket s → ok; set s 6 2 10 → EINVAL; set s 6 2 1000 → ok; set s 6 4 0 → EINVAL; set s 6 4 40000 → EINVAL;
      set s 6 5 0 → EINVAL; set s 6 6 128 → EINVAL; set s 6 7 128 → EINVAL; set s 6 18 -1 → EINVAL;
      set s 6 999 1 → ENOPROTOOPT; set s 1 999 1 → ENOPROTOOPT; get s 6 1 → 0; set s 6 1 5 → ok; get s 6 1 → 1;
      get s 1 3 → 1; get s 1 30 → 0; set s 6 4 77 → ok; get s 6 4 → 77; get s 6 999 → ENOPROTOOPT;
      set s 0 2 0 → EINVAL; set s 0 2 9 → ok; get s 0 2 → 9; set s 0 1 184 → ok; get s 0 1 → 184
    `,
  },
];

/** The same operations on Linux's sockets: reads a list of lists of operations as JSON, prints the results likewise. */
export const python = `
import errno, json, select, socket, struct, sys, time
ADDRESS = {'any': '0.0.0.0', 'own': '127.0.0.1', 'foreign': '192.0.2.77', 'hole': '10.99.0.2'}
def run(ops):
    s, ports, results = {}, {}, []
    def port(p): return ports[p[1:]] if p[0] == '@' else int(p)
    def do(op, a, *r):
        if op == 'socket':
            s[a] = socket.socket(); s[a].setblocking(False); return 'ok'
        if op == 'accept':
            s[a] = s[r[0]].accept()[0]; s[a].setblocking(False); return 'ok'
        k = s[a]
        if op == 'bind':
            k.bind((ADDRESS[r[0]], port(r[1]))); ports[a] = k.getsockname()[1]; return 'ok'
        if op == 'listen': k.listen(int(r[0])); return 'ok'
        if op == 'connect': k.connect((ADDRESS[r[0]], port(r[1]))); return 'ok'
        if op == 'send': return str(k.send(b'x' * int(r[0]), socket.MSG_NOSIGNAL))
        if op == 'recv': return str(len(k.recv(int(r[0]))))
        if op == 'peek': return str(len(k.recv(int(r[0]), socket.MSG_PEEK)))
        if op == 'shutdown': k.shutdown(int(r[0])); return 'ok'
        if op == 'close': k.close(); return 'ok'
        if op == 'getpeername': k.getpeername(); return 'ok'
        if op == 'error':
            e = k.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR); return errno.errorcode[e] if e else 'ok'
        if op == 'reuseaddr': k.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); return 'ok'
        if op == 'linger':
            k.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, int(r[0]))); return 'ok'
        if op == 'set': k.setsockopt(int(r[0]), int(r[1]), int(r[2])); return 'ok'
        if op == 'get': return str(k.getsockopt(int(r[0]), int(r[1])))
        if op == 'poll':
            p = select.poll(); p.register(k, 1 | 2 | 4 | 8192); f = p.poll(0); return str(f[0][1] if f else 0)
    for line in ops:
        try: results.append(do(*line.split()))
        except OSError as e: results.append(errno.errorcode[e.errno])
        time.sleep(0.002)
    for k in s.values(): k.close()
    return results
print(json.dumps([run(ops) for ops in json.load(sys.stdin)]))
`;
