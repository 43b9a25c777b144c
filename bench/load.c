/*
 * Load generator of the benchmark: one process, one thread, epoll, any TCP peer.
 *
 * The same binary plays the client of every measurement and the server of the Linux baselines, so that what differs
 * between two figures is the TCP in the middle and nothing else.
 *
 *   load serve    --bind ADDR SERVICE@PORT...      services: echo discard chargen accept-close; runs until SIGTERM
 *   load bulk-in  --to ADDR --port P ...           writes to a discard service as fast as it reads
 *   load bulk-out --to ADDR --port P ...           reads from a chargen service as fast as it writes
 *   load rr       --to ADDR --port P ...           one request of --size bytes outstanding on each connection (echo)
 *   load crr      --to ADDR --port P ...           connect, --requests requests, close, again; N at a time (echo)
 *   load idle     --to ADDR --port P ...           opens N connections and holds them; commands on stdin (see idle())
 *
 *   --connections N   connections open at a time (1)       --warmup S    seconds run before counting starts (0.5)
 *   --size B          bytes of a request (64)              --duration S  seconds counted (2)
 *   --requests N      requests on each connection of crr   --source ADDR --sources N   bind to ADDR, ADDR+1 ... (IPv4)
 *
 * Every client prints one JSON object on stdout. Bulk transfers use buffers of 128 KB as iperf3 does. Bytes of bulk-in
 * are those the peer has acknowledged (written less SIOCOUTQ), of bulk-out those read by the application. In crr the
 * client closes first, the usual way: shutdown(SHUT_WR), read the peer's end of file, close(); a connection counts when
 * that is done, TIME-WAIT stays with the client, SO_LINGER is never set. Left out: UDP, several threads, TLS.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BULK (128 * 1024)
#define EVENTS 512
#define ROUNDS 16 /* reads or writes on one connection before the others get their turn */

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

static const char *opt_to, *opt_bind = "0.0.0.0", *opt_source;
static int opt_port, opt_connections = 1, opt_size = 64, opt_requests = 1, opt_sources = 1;
static double opt_warmup = 0.5, opt_duration = 2;

static char buffer[BULK];
static int ep;
static struct epoll_event events[EVENTS];

static void die(const char *what) {
  fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
  exit(1);
}

static void usage(const char *what) {
  fprintf(stderr, "load: %s\nsee the head of bench/load.c\n", what);
  exit(2);
}

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void address_of(const char *text, int port, struct sockaddr_storage *sa, socklen_t *len) {
  struct addrinfo hints = {.ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM}, *found;
  char service[8];
  snprintf(service, sizeof service, "%d", port);
  int rc = getaddrinfo(text, service, &hints, &found);
  if (rc != 0) usage(gai_strerror(rc));
  memcpy(sa, found->ai_addr, found->ai_addrlen);
  *len = found->ai_addrlen;
  freeaddrinfo(found);
}

static void watch(int op, int fd, uint32_t what, uint64_t tag) {
  struct epoll_event e = {.events = what, .data.u64 = tag};
  if (epoll_ctl(ep, op, fd, &e) < 0) die("epoll_ctl");
}

static void no_delay(int fd) {
  int one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

/* CUBIC on every socket, whatever the machine's default is; a listener hands it down. Says what the socket has then. */
static const char *congestion_control(int fd) {
  static char name[16];
  socklen_t len = sizeof name - 1;
  memset(name, 0, sizeof name);
  setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "cubic", 5);
  if (getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &len) < 0) die("TCP_CONGESTION");
  return name;
}

/* ---------------------------------------------------------------- server: the Linux side of a baseline */

enum service { ECHO, DISCARD, CHARGEN, ACCEPT_CLOSE, SERVICES };
static const char *service_name[SERVICES] = {"echo", "discard", "chargen", "accept-close"};

/* One per descriptor: a listener, or an accepted connection with what an echo could not send yet. */
struct served {
  enum service service;
  int listening, eof;
  char *pending;
  int pending_off, pending_len;
};
static struct served *served; /* by descriptor */
static int served_size;

static struct served *served_at(int fd) {
  if (fd >= served_size) {
    int size = fd * 2 + 64;
    served = realloc(served, sizeof *served * (size_t)size);
    if (!served) die("realloc");
    memset(served + served_size, 0, sizeof *served * (size_t)(size - served_size));
    served_size = size;
  }
  return &served[fd];
}

static void drop(int fd) {
  free(served[fd].pending);
  memset(&served[fd], 0, sizeof served[fd]);
  close(fd);
}

static void serve_accept(int listener) {
  enum service service = served[listener].service;
  for (int i = 0; i < 64; i++) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return; /* EAGAIN, or a connection that is gone already */
    if (service == ACCEPT_CLOSE) {
      close(fd);
      continue;
    }
    struct served *s = served_at(fd);
    memset(s, 0, sizeof *s);
    s->service = service;
    if (service == ECHO) no_delay(fd);
    watch(EPOLL_CTL_ADD, fd, service == CHARGEN ? EPOLLOUT : EPOLLIN, (uint64_t)fd);
  }
}

/* Sends what is left of an echo; 1 when all is gone, 0 when the socket is full, -1 when the connection is dead. */
static int serve_flush(int fd, struct served *s) {
  while (s->pending_len > 0) {
    ssize_t n = send(fd, s->pending + s->pending_off, (size_t)s->pending_len, MSG_NOSIGNAL);
    if (n < 0) return errno == EAGAIN ? 0 : -1;
    s->pending_off += (int)n;
    s->pending_len -= (int)n;
  }
  free(s->pending);
  s->pending = NULL;
  return 1;
}

static void serve_ready(int fd, uint32_t what) {
  struct served *s = &served[fd];
  if (s->service == CHARGEN) {
    for (int i = 0; i < ROUNDS; i++) {
      ssize_t n = send(fd, buffer, BULK, MSG_NOSIGNAL);
      if (n < 0 && errno != EAGAIN) return drop(fd);
      if (n < BULK) return;
    }
    return;
  }
  if (s->pending) {
    int done = serve_flush(fd, s);
    if (done < 0) return drop(fd);
    if (done == 0) return;
    if (s->eof) return drop(fd);
    watch(EPOLL_CTL_MOD, fd, EPOLLIN, (uint64_t)fd);
  }
  if (!(what & (EPOLLIN | EPOLLHUP | EPOLLERR))) return;
  for (int i = 0; i < ROUNDS; i++) {
    ssize_t n = recv(fd, buffer, BULK, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) return drop(fd);
    if (s->service == ECHO) {
      ssize_t sent = send(fd, buffer, (size_t)n, MSG_NOSIGNAL);
      if (sent < 0 && errno != EAGAIN) return drop(fd);
      if (sent < 0) sent = 0;
      if (sent < n) {
        s->pending_off = 0;
        s->pending_len = (int)(n - sent);
        s->pending = malloc((size_t)s->pending_len);
        if (!s->pending) die("malloc");
        memcpy(s->pending, buffer + sent, (size_t)s->pending_len);
        watch(EPOLL_CTL_MOD, fd, EPOLLOUT, (uint64_t)fd);
        return;
      }
    }
    if (n < BULK) return;
  }
}

static void serve(char **names, int count) {
  const char *congestion = "";
  if (count == 0) usage("serve needs SERVICE@PORT");
  for (int i = 0; i < count; i++) {
    char *at = strchr(names[i], '@');
    if (!at) usage("serve needs SERVICE@PORT");
    *at = 0;
    int service = 0;
    while (service < SERVICES && strcmp(service_name[service], names[i]) != 0) service++;
    if (service == SERVICES) usage("services are echo, discard, chargen, accept-close");
    struct sockaddr_storage sa;
    socklen_t len;
    address_of(opt_bind, atoi(at + 1), &sa, &len);
    int one = 1, fd = socket(sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) die("socket");
    congestion = congestion_control(fd);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&sa, len) < 0) die("bind");
    if (listen(fd, 4096) < 0) die("listen");
    struct served *s = served_at(fd);
    s->service = service;
    s->listening = 1;
    watch(EPOLL_CTL_ADD, fd, EPOLLIN, (uint64_t)fd);
  }
  printf("ready pid=%d congestion=%s\n", getpid(), congestion);
  fflush(stdout);
  for (;;) {
    int n = epoll_wait(ep, events, EVENTS, -1);
    if (n < 0 && errno != EINTR) die("epoll_wait");
    for (int i = 0; i < n; i++) {
      int fd = (int)events[i].data.u64;
      if (served[fd].listening) serve_accept(fd);
      else serve_ready(fd, events[i].events);
    }
  }
}

/* ---------------------------------------------------------------- clients */

static struct sockaddr_storage to, from;
static socklen_t to_len, from_len;
static unsigned next_source;

/* A connection under way to the target, from the next source address; -1 with errno when that fails at once. */
static int start_connect(void) {
  int one = 1, fd = socket(to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  no_delay(fd);
  setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "cubic", 5);
  if (opt_source) {
    struct sockaddr_storage sa = from;
    if (sa.ss_family == AF_INET) {
      struct sockaddr_in *in = (struct sockaddr_in *)&sa;
      in->sin_addr.s_addr = htonl(ntohl(in->sin_addr.s_addr) + next_source++ % (unsigned)opt_sources);
    }
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&sa, from_len) < 0) goto failed;
  }
  if (connect(fd, (struct sockaddr *)&to, to_len) == 0 || errno == EINPROGRESS) return fd;
failed:;
  int saved = errno;
  close(fd);
  errno = saved;
  return -1;
}

static int socket_error(int fd) {
  int error = 0;
  socklen_t len = sizeof error;
  getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
  return error;
}

/* Opens `count` connections, at most 128 of them under way at a time (a listener's backlog is finite). */
static void open_all(int *fds, int count, double limit_s) {
  int started = 0, open = 0;
  uint64_t deadline = now_ns() + (uint64_t)(limit_s * 1e9);
  while (open < count) {
    while (started < count && started - open < 128) {
      fds[started] = start_connect();
      if (fds[started] < 0) die("connect");
      watch(EPOLL_CTL_ADD, fds[started], EPOLLOUT, (uint64_t)started);
      started++;
    }
    int n = epoll_wait(ep, events, EVENTS, 100);
    for (int i = 0; i < n; i++) {
      int fd = fds[events[i].data.u64];
      errno = socket_error(fd);
      if (errno) die("connect");
      epoll_ctl(ep, EPOLL_CTL_DEL, fd, NULL);
      open++;
    }
    if (now_ns() > deadline) {
      fprintf(stderr, "load: %d of %d connections open after %g s\n", open, count, limit_s);
      exit(1);
    }
  }
}

/* Latencies in buckets of 1/64 of a power of two: index = exponent * 64 + the next six bits. Nanoseconds. */
static uint32_t histogram[64 * 64];

static void histogram_add(uint64_t ns) {
  int shift = ns < 64 ? 0 : 57 - __builtin_clzll(ns);
  histogram[(shift << 6) + (int)(ns >> shift)]++; /* the value's top bit carries into the exponent: dense, no gaps */
}

static double histogram_us(double quantile) {
  uint64_t total = 0, seen = 0;
  for (int i = 0; i < 64 * 64; i++) total += histogram[i];
  for (int i = 0; i < 64 * 64; i++) {
    seen += histogram[i];
    if (total && (double)seen >= quantile * (double)total) {
      int shift = i < 64 ? 0 : (i >> 6) - 1;
      uint64_t low = (uint64_t)(i - (shift << 6)) << shift;
      return (double)low / 1e3;
    }
  }
  return 0;
}

static uint64_t begin_ns, start_ns, stop_ns; /* first event, end of the warm-up, end */

static void start_clock(void) {
  begin_ns = now_ns();
  start_ns = begin_ns + (uint64_t)(opt_warmup * 1e9);
  stop_ns = start_ns + (uint64_t)(opt_duration * 1e9);
}

static uint64_t unacknowledged(int *fds, int count) {
  uint64_t sum = 0;
  for (int i = 0; i < count; i++) {
    int queued = 0;
    if (ioctl(fds[i], SIOCOUTQ, &queued) == 0) sum += (uint64_t)queued;
  }
  return sum;
}

static void bulk(int in) {
  int count = opt_connections;
  int *fds = calloc((size_t)count, sizeof *fds);
  open_all(fds, count, 10);
  for (int i = 0; i < count; i++) watch(EPOLL_CTL_ADD, fds[i], in ? EPOLLOUT : EPOLLIN, (uint64_t)i);
  uint64_t bytes = 0, first = 0, at, from_ns = 0, calls = 0;
  start_clock();
  for (;;) {
    int n = epoll_wait(ep, events, EVENTS, 100);
    at = now_ns();
    if (!from_ns && at >= start_ns) {
      from_ns = at;
      first = in ? bytes - unacknowledged(fds, count) : bytes;
      calls = 0;
    }
    if (at >= stop_ns) break;
    for (int i = 0; i < n; i++) {
      int fd = fds[events[i].data.u64];
      for (int round = 0; round < ROUNDS; round++) {
        ssize_t k = in ? send(fd, buffer, BULK, MSG_NOSIGNAL) : recv(fd, buffer, BULK, 0);
        if (k < 0 && errno == EAGAIN) break;
        if (k < 0) die(in ? "send" : "recv");
        if (k == 0) {
          fprintf(stderr, "load: the peer closed a bulk connection\n");
          exit(1);
        }
        bytes += (uint64_t)k;
        calls++;
        if (k < BULK) break;
      }
    }
  }
  uint64_t last = in ? bytes - unacknowledged(fds, count) : bytes;
  double seconds = (double)(at - from_ns) / 1e9;
  double mean_call = calls ? (double)(last - first) / (double)calls : 0;
  struct tcp_info info;
  socklen_t len = sizeof info;
  uint64_t retransmits = 0;
  for (int i = 0; in && i < count; i++) {
    memset(&info, 0, sizeof info);
    if (getsockopt(fds[i], IPPROTO_TCP, TCP_INFO, &info, &len) == 0) retransmits += info.tcpi_total_retrans;
  }
  /* bulk-in ends as an orderly application does, and so proves that the last byte got there: FIN out, FIN back. */
  int drained = 0;
  if (in) {
    for (int i = 0; i < count; i++) shutdown(fds[i], SHUT_WR);
    uint64_t limit = now_ns() + 5000000000u;
    for (int i = 0; i < count; i++) {
      int flags = fcntl(fds[i], F_GETFL);
      fcntl(fds[i], F_SETFL, flags & ~O_NONBLOCK);
      struct timeval wait = {.tv_sec = 1};
      setsockopt(fds[i], SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
      while (now_ns() < limit) {
        ssize_t k = recv(fds[i], buffer, BULK, 0);
        if (k == 0) drained++;
        if (k == 0 || (k < 0 && errno != EAGAIN)) break;
      }
    }
  }
  printf("{\"mode\":\"%s\",\"connections\":%d,\"seconds\":%.6f,\"bytes\":%llu,\"gbit\":%.4f,\"meanCall\":%.0f,"
         "\"retransmits\":%llu,\"drained\":%d,\"congestion\":\"%s\"}\n",
         in ? "bulk-in" : "bulk-out", count, seconds, (unsigned long long)(last - first),
         (double)(last - first) * 8 / seconds / 1e9, mean_call, (unsigned long long)retransmits, drained,
         congestion_control(fds[0]));
}

struct exchange {
  uint64_t sent_ns;
  int got;
};

static void send_request(int fd) {
  if (send(fd, buffer, (size_t)opt_size, MSG_NOSIGNAL) != opt_size) die("send");
}

static void print_latency(const char *mode, uint64_t done, uint64_t failed, double seconds) {
  printf("{\"mode\":\"%s\",\"connections\":%d,\"size\":%d,\"seconds\":%.6f,\"transactions\":%llu,\"perSecond\":%.1f,"
         "\"p50\":%.2f,\"p90\":%.2f,\"p99\":%.2f,\"p999\":%.2f,\"failed\":%llu}\n",
         mode, opt_connections, opt_size, seconds, (unsigned long long)done, (double)done / seconds,
         histogram_us(0.5), histogram_us(0.9), histogram_us(0.99), histogram_us(0.999), (unsigned long long)failed);
}

static void request_response(void) {
  int count = opt_connections;
  int *fds = calloc((size_t)count, sizeof *fds);
  struct exchange *exchanges = calloc((size_t)count, sizeof *exchanges);
  open_all(fds, count, 10);
  for (int i = 0; i < count; i++) watch(EPOLL_CTL_ADD, fds[i], EPOLLIN, (uint64_t)i);
  uint64_t done = 0, at, from_ns = 0;
  start_clock();
  for (int i = 0; i < count; i++) {
    exchanges[i].sent_ns = now_ns();
    send_request(fds[i]);
  }
  for (;;) {
    int n = epoll_wait(ep, events, EVENTS, 100);
    at = now_ns();
    if (!from_ns && at >= start_ns) from_ns = at;
    if (at >= stop_ns) break;
    for (int i = 0; i < n; i++) {
      uint64_t slot = events[i].data.u64;
      struct exchange *x = &exchanges[slot];
      ssize_t k = recv(fds[slot], buffer, (size_t)(opt_size - x->got), 0);
      if (k < 0 && errno == EAGAIN) continue;
      if (k <= 0) {
        if (k == 0) errno = ECONNRESET;
        die("recv");
      }
      x->got += (int)k;
      if (x->got < opt_size) continue;
      x->got = 0;
      uint64_t end = now_ns();
      if (from_ns) {
        histogram_add(end - x->sent_ns);
        done++;
      }
      x->sent_ns = end;
      send_request(fds[slot]);
    }
  }
  print_latency("rr", done, 0, (double)(at - from_ns) / 1e9);
}

/* One of the N lives a crr client leads at a time. */
struct life {
  int fd, connected, left, got;
  uint64_t begun_ns;
};

static uint64_t crr_failed;

static void life_begin(struct life *life, uint64_t slot) {
  life->begun_ns = now_ns();
  life->connected = 0;
  life->left = opt_requests;
  life->got = 0;
  life->fd = start_connect();
  if (life->fd < 0) die("connect");
  watch(EPOLL_CTL_ADD, life->fd, EPOLLOUT, slot);
}

/* Runs one life on; 1 when the connection has ended in order, -1 when it failed, 0 when it waits. */
static int life_go_on(struct life *life, uint64_t slot) {
  if (!life->connected) {
    if (socket_error(life->fd)) return -1;
    life->connected = 1;
    watch(EPOLL_CTL_MOD, life->fd, EPOLLIN, slot);
    if (life->left > 0) send_request(life->fd);
    else shutdown(life->fd, SHUT_WR);
    return 0;
  }
  ssize_t k = recv(life->fd, buffer, BULK, 0);
  if (k < 0) return errno == EAGAIN ? 0 : -1;
  if (k == 0) return life->left == 0 ? 1 : -1;
  life->got += (int)k;
  if (life->left > 0 && life->got >= opt_size) {
    life->got = 0;
    if (--life->left > 0) send_request(life->fd);
    else shutdown(life->fd, SHUT_WR);
  }
  return 0;
}

static void connect_request_response(void) {
  int count = opt_connections;
  struct life *lives = calloc((size_t)count, sizeof *lives);
  uint64_t done = 0, at, from_ns = 0;
  start_clock();
  for (int i = 0; i < count; i++) life_begin(&lives[i], (uint64_t)i);
  for (;;) {
    int n = epoll_wait(ep, events, EVENTS, 100);
    at = now_ns();
    if (!from_ns && at >= start_ns) from_ns = at;
    if (at >= stop_ns) break;
    for (int i = 0; i < n; i++) {
      uint64_t slot = events[i].data.u64;
      struct life *life = &lives[slot];
      int end = life_go_on(life, slot);
      if (end == 0) continue;
      if (from_ns && end > 0) {
        histogram_add(now_ns() - life->begun_ns);
        done++;
      }
      if (end < 0) crr_failed++;
      close(life->fd);
      life_begin(life, slot);
    }
  }
  print_latency("crr", done, crr_failed, (double)(at - from_ns) / 1e9);
}

/*
 * Holds --connections connections. Prints {"event":"open"...}, then obeys lines on stdin: "ping" sends one byte on every
 * connection and waits (10 s) for its echo, printing {"event":"alive"...}; "quit" or end of file closes all and leaves.
 */
static void idle(void) {
  int count = opt_connections;
  int *fds = calloc((size_t)count, sizeof *fds);
  char *alive = calloc((size_t)count, 1), line[64];
  uint64_t begun = now_ns();
  open_all(fds, count, 60);
  printf("{\"event\":\"open\",\"connections\":%d,\"seconds\":%.3f}\n", count, (double)(now_ns() - begun) / 1e9);
  fflush(stdout);
  for (int i = 0; i < count; i++) watch(EPOLL_CTL_ADD, fds[i], EPOLLIN, (uint64_t)i);
  while (fgets(line, sizeof line, stdin)) {
    if (strncmp(line, "quit", 4) == 0) break;
    if (strncmp(line, "ping", 4) != 0) usage("idle knows ping and quit");
    int good = 0, sent = 0, dead = 0;
    memset(alive, 0, (size_t)count);
    uint64_t limit = now_ns() + 10000000000u;
    while (good + dead < count && now_ns() < limit) {
      for (int burst = 0; burst < 64 && sent < count && sent - good - dead < 256; burst++) {
        char byte = (char)sent;
        if (send(fds[sent], &byte, 1, MSG_NOSIGNAL) != 1) dead++;
        sent++;
      }
      int n = epoll_wait(ep, events, EVENTS, 10);
      for (int i = 0; i < n; i++) {
        uint64_t slot = events[i].data.u64;
        char byte;
        ssize_t k = recv(fds[slot], &byte, 1, 0);
        if (k < 0 && errno == EAGAIN) continue;
        if (k <= 0) {
          epoll_ctl(ep, EPOLL_CTL_DEL, fds[slot], NULL);
          dead++;
        } else if (byte == (char)slot && !alive[slot]) {
          alive[slot] = 1;
          good++;
        }
      }
    }
    printf("{\"event\":\"alive\",\"alive\":%d,\"dead\":%d,\"silent\":%d}\n", good, dead, count - good - dead);
    fflush(stdout);
  }
}

int main(int argc, char **argv) {
  if (argc < 2) usage("which mode?");
  const char *mode = argv[1];
  char *names[16];
  int name_count = 0;
  for (int i = 2; i < argc; i++) {
    if (strncmp(argv[i], "--", 2) != 0) {
      if (name_count == 16) usage("too many services");
      names[name_count++] = argv[i];
      continue;
    }
    const char *name = argv[i] + 2;
    if (++i == argc) usage("an option lacks its value");
    if (strcmp(name, "to") == 0) opt_to = argv[i];
    else if (strcmp(name, "port") == 0) opt_port = atoi(argv[i]);
    else if (strcmp(name, "bind") == 0) opt_bind = argv[i];
    else if (strcmp(name, "connections") == 0) opt_connections = atoi(argv[i]);
    else if (strcmp(name, "size") == 0) opt_size = atoi(argv[i]);
    else if (strcmp(name, "requests") == 0) opt_requests = atoi(argv[i]);
    else if (strcmp(name, "warmup") == 0) opt_warmup = atof(argv[i]);
    else if (strcmp(name, "duration") == 0) opt_duration = atof(argv[i]);
    else if (strcmp(name, "source") == 0) opt_source = argv[i];
    else if (strcmp(name, "sources") == 0) opt_sources = atoi(argv[i]);
    else usage("unknown option");
  }
  if (opt_connections < 1 || opt_size < 1 || opt_size > BULK || opt_sources < 1) usage("a number is out of range");
  prctl(PR_SET_PDEATHSIG, SIGKILL); /* nothing outlives the benchmark, however it ends */
  prctl(PR_SET_TIMERSLACK, 1);
  signal(SIGPIPE, SIG_IGN);
  struct rlimit files;
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  for (int i = 0; i < BULK; i++) buffer[i] = (char)(' ' + i % 95);
  ep = epoll_create1(EPOLL_CLOEXEC);
  if (ep < 0) die("epoll_create1");
  if (strcmp(mode, "serve") == 0) serve(names, name_count);
  if (!opt_to || !opt_port) usage("a client needs --to and --port");
  address_of(opt_to, opt_port, &to, &to_len);
  if (opt_source) address_of(opt_source, 0, &from, &from_len);
  if (strcmp(mode, "bulk-in") == 0) bulk(1);
  else if (strcmp(mode, "bulk-out") == 0) bulk(0);
  else if (strcmp(mode, "rr") == 0) request_response();
  else if (strcmp(mode, "crr") == 0) connect_request_response();
  else if (strcmp(mode, "idle") == 0) idle();
  else usage("modes are serve bulk-in bulk-out rr crr idle");
  return 0;
}
