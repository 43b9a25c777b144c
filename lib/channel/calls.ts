/**
 * The calls that an application makes into the stack: numbers, and the words of each. Word 0 is the
 * call's number; the result takes its place. Addresses are four words; strings and socket data travel in
 * the window's call area.
 *
 * Numbers below 32 belong to TCPK: ports and flows of an application that runs its own TCP. From 32 on
 * they are the system calls of a classic application: sockets that live in the stack
 * (lib/channel/socket-calls.ts).
 */

/**
 * bind: a local address and port for segments of the application's own TCP.
 * in  1-4 address (all zero `::`, mapped zero `0.0.0.0`), 5 port (0: pick one), 6 `BIND_…` bits
 * out result: number of the binding; 1 the port.
 * -EADDRINUSE, -EADDRNOTAVAIL, -EACCES (a privileged port), -EINVAL, -EMFILE
 */
export const CALL_BIND = 1;
export const BIND_V6ONLY = 1;
export const BIND_REUSE_ADDRESS = 2;
export const BIND_REUSE_PORT = 4;

/** The binding is going to listen. in 1 binding, 2 `BIND_…` bits. -EADDRINUSE when another listens already. */
export const CALL_LISTEN = 2;

/** in 1 binding. The flows that were opened on its port stay. */
export const CALL_UNBIND = 3;

/**
 * connect: a flow to a remote address, from a binding or from a port that the stack picks.
 * in  1 handle, 2 binding or -1, 3-6 local address (unspecified: the stack picks), 7-10 remote, 11 remote port
 * out result: the local port; 1-4 local address, 5 MTU of the path
 * -ENETUNREACH, -EADDRNOTAVAIL, -EADDRINUSE, -EINVAL, -EMFILE
 */
export const CALL_CONNECT = 4;

/**
 * A connection that is closing, or in TIME-WAIT, goes over to the kernel-style TCP with its flow, which the
 * application has no more then. What is left of it (lib/tcp/handover.ts) is in the call area, in several calls
 * when it is too long for that.
 * in  1 handle, 2 bytes in the call area, 3 whether more follow
 * -EBADF (no such flow), -EINVAL (no such record), -EMFILE, -ENOBUFS
 */
export const CALL_HANDOVER = 5;

/** First number of a classic application's socket calls. */
export const CALL_SOCKET_FIRST = 32;
