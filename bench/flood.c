/*
 * Attacker of the benchmark and of the attack tests: sends packets of one kind at a set rate straight onto a network
 * device (AF_PACKET, sendmmsg), from addresses that nobody has. What hping3 --flood cannot: hold a rate. And what isic
 * does, for machines that have no isic: packets of random contents, some with right checksums.
 *
 *   flood --dev tcpu0 --to 10.92.0.2 --kind KIND [--rate 50000] [--duration 3] [--port 9] [--seed 1]
 *         [--from 198.18.0.0] [--mask 0x1ffff] [--size 18] [--sport N] [--delay 0]
 *
 *   syn       connection requests with the options Linux sends      ack      acknowledgments of nothing
 *   rst       resets                                                 data     segments of --size bytes, of nothing
 *   udp       datagrams of --size bytes                              icmp     echo requests of --size bytes
 *   fragments pieces of datagrams that never become whole            land     SYNs from the target to itself
 *   flags     segments with any flags                                options  segments with random options
 *   ip        random protocols, options, fragments, versions         tcp, udps, icmps   random segments, datagrams, messages
 *   mix       syn, ack, data, udp, icmp, fragments in turn
 *
 * --rate 0 is as fast as it goes. One of four packets of the random kinds has a wrong checksum, one of eight a bad IP
 * header. Prints one JSON object: packets sent, seconds, packets a second, sends that the device's queue refused.
 * Everything is drawn from the seed. IPv4 only.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BATCH 64
#define LARGEST 1500

enum kind { SYN, ACK, RST, DATA, UDP, ICMP, FRAGMENTS, LAND, FLAGS, OPTIONS, ANY_IP, ANY_TCP, ANY_UDP, ANY_ICMP, MIX, KINDS };
static const char *kind_name[KINDS] = {
  "syn", "ack", "rst", "data", "udp", "icmp", "fragments", "land", "flags", "options", "ip", "tcp", "udps", "icmps", "mix"};

static const char *opt_dev, *opt_to;
static uint32_t opt_from = 0xc6120000 /* 198.18.0.0/15, RFC 2544 */, opt_mask = 0x1ffff;
static int opt_port = 9, opt_sport = -1, opt_size = 18;
static double opt_rate = 50000, opt_duration = 3, opt_delay;
static uint64_t state = 1;

static void die(const char *what) {
  fprintf(stderr, "flood: %s: %s\n", what, strerror(errno));
  exit(1);
}

static void usage(const char *what) {
  fprintf(stderr, "flood: %s\nsee the head of bench/flood.c\n", what);
  exit(2);
}

/* xorshift64* */
static uint32_t draw(void) {
  state ^= state >> 12;
  state ^= state << 25;
  state ^= state >> 27;
  return (uint32_t)((state * 2685821657736338717ull) >> 32);
}

static uint32_t below(uint32_t n) { return (uint32_t)(((uint64_t)draw() * n) >> 32); }

static void put16(uint8_t *at, uint32_t value) {
  at[0] = (uint8_t)(value >> 8);
  at[1] = (uint8_t)value;
}

static void put32(uint8_t *at, uint32_t value) {
  put16(at, value >> 16);
  put16(at + 2, value & 0xffff);
}

static uint32_t sum(const uint8_t *at, int length, uint32_t total) {
  for (int i = 0; i + 1 < length; i += 2) total += (uint32_t)(at[i] << 8 | at[i + 1]);
  if (length & 1) total += (uint32_t)(at[length - 1] << 8);
  return total;
}

static uint16_t fold(uint32_t total) {
  while (total >> 16) total = (total & 0xffff) + (total >> 16);
  return (uint16_t)~total;
}

static uint32_t target;

/* An IPv4 header of `header` bytes for `length` bytes behind it. */
static void ip(uint8_t *p, int header, int length, int protocol, uint32_t from, uint32_t fragment) {
  memset(p, 0, (size_t)header);
  p[0] = (uint8_t)(0x40 | header / 4);
  put16(p + 2, (uint32_t)(header + length));
  put16(p + 4, draw() & 0xffff);
  put16(p + 6, fragment);
  p[8] = 64;
  p[9] = (uint8_t)protocol;
  put32(p + 12, from);
  put32(p + 16, target);
}

static void finish_ip(uint8_t *p, int header) {
  put16(p + 10, 0);
  put16(p + 10, fold(sum(p, header, 0)));
}

/* The checksum of TCP, UDP or ICMP, whose field is at `field`. */
static void finish(uint8_t *p, int header, int length, int field) {
  uint8_t *at = p + header;
  int protocol = p[9];
  if (field + 2 > length) return;
  put16(at + field, 0);
  put16(at + field, fold(sum(at, length, protocol == 1 ? 0 : sum(p + 12, 8, (uint32_t)(protocol + length)))));
}

static uint32_t stranger(void) { return opt_from | (draw() & opt_mask); }

static void noise(uint8_t *at, int length) {
  for (int i = 0; i < length; i++) at[i] = (uint8_t)draw();
}

static int tcp(uint8_t *p, uint32_t from, int flags, int options, int payload) {
  uint8_t *at = p + 20;
  int length = 20 + options + payload;
  ip(p, 20, length, 6, from, 0x4000);
  put16(at, (uint32_t)(opt_sport >= 0 ? opt_sport : (int)(1024 + below(64512))));
  put16(at + 2, (uint32_t)opt_port);
  put32(at + 4, draw());
  put32(at + 8, flags & 0x10 ? draw() : 0);
  at[12] = (uint8_t)((20 + options) / 4 << 4);
  at[13] = (uint8_t)flags;
  put16(at + 14, 64240);
  put32(at + 16, 0);
  return 20 + length;
}

static int make(uint8_t *p, enum kind kind) {
  static const uint8_t syn_options[20] = {2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 1, 3, 3, 7};
  static unsigned turn;
  int length, header = 20, field = 16;
  switch (kind) {
    case MIX: {
      static const enum kind mixed[] = {SYN, ACK, DATA, UDP, ICMP, FRAGMENTS};
      return make(p, mixed[turn++ % 6]);
    }
    case SYN:
    case LAND:
      length = tcp(p, kind == LAND ? target : stranger(), 2, 20, 0);
      if (kind == LAND) put16(p + 20, (uint32_t)opt_port);
      memcpy(p + 40, syn_options, 20);
      put32(p + 48, draw());
      break;
    case ACK: length = tcp(p, stranger(), 0x10, 0, 0); break;
    case RST: length = tcp(p, stranger(), 4, 0, 0); break;
    case DATA: length = tcp(p, stranger(), 0x18, 0, opt_size); break;
    case FLAGS: length = tcp(p, stranger(), (int)below(256), 0, (int)below(32)); break;
    case OPTIONS: {
      int options = 4 * (int)below(11);
      length = tcp(p, stranger(), (int[]){2, 0x10, 0x18, 0x12}[below(4)], options, 0);
      for (int i = 0; i < options; i++) p[40 + i] = (uint8_t)(below(2) ? below(10) : draw());
      break;
    }
    case UDP:
      ip(p, 20, 8 + opt_size, 17, stranger(), 0x4000);
      put16(p + 20, 1024 + below(64512));
      put16(p + 22, (uint32_t)opt_port);
      put16(p + 24, (uint32_t)(8 + opt_size));
      length = 28 + opt_size;
      field = 6;
      break;
    case ICMP:
      ip(p, 20, 8 + opt_size, 1, stranger(), 0x4000);
      put32(p + 20, 0x08000000);
      put32(p + 24, draw());
      length = 28 + opt_size;
      field = 2;
      break;
    case FRAGMENTS:
      ip(p, 20, 1024, (int[]){6, 17, 1}[below(3)], stranger(), 0x2000 | (1 + below(63)) * 128);
      finish_ip(p, 20);
      return 1044;
    default: { /* the random kinds */
      static const int protocols[] = {6, 17, 1};
      int protocol = kind == ANY_IP ? (int)below(256) : protocols[kind - ANY_TCP];
      int behind = (int)below(200);
      if (below(4) == 0) header = 20 + 4 * (int)below(11);
      ip(p, header, behind, protocol, stranger(), below(4) == 0 ? draw() & 0xffff : 0);
      noise(p + 20, header - 20 + behind);
      if (protocol == 6 && behind >= 20) {
        if (below(2)) put16(p + header + 2, (uint32_t)opt_port);
        if (below(2)) p[header + 12] = (uint8_t)((5 + below(10)) << 4);
      } else if (protocol == 17 && behind >= 8) {
        if (below(2)) put16(p + header + 2, (uint32_t)opt_port);
        if (below(4)) put16(p + header + 4, (uint32_t)behind);
      }
      field = protocol == 6 ? 16 : protocol == 17 ? 6 : protocol == 1 ? 2 : LARGEST;
      length = header + behind;
      if (below(8) == 0) p[below(20)] = (uint8_t)draw();
      else p[8] |= 1;
      if (below(16)) finish_ip(p, header);
      if (below(4)) finish(p, header, behind, field);
      return length;
    }
  }
  if (kind == DATA || kind == UDP || kind == ICMP) memset(p + length - opt_size, 'x', (size_t)opt_size);
  finish_ip(p, 20);
  finish(p, 20, length - 20, field);
  return length;
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
  enum kind kind = KINDS;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  for (int i = 1; i + 1 < argc; i += 2) {
    const char *name = argv[i], *value = argv[i + 1];
    if (!strcmp(name, "--dev")) opt_dev = value;
    else if (!strcmp(name, "--to")) opt_to = value;
    else if (!strcmp(name, "--from")) opt_from = ntohl(inet_addr(value));
    else if (!strcmp(name, "--mask")) opt_mask = (uint32_t)strtoul(value, NULL, 0);
    else if (!strcmp(name, "--port")) opt_port = atoi(value);
    else if (!strcmp(name, "--sport")) opt_sport = atoi(value);
    else if (!strcmp(name, "--size")) opt_size = atoi(value);
    else if (!strcmp(name, "--rate")) opt_rate = atof(value);
    else if (!strcmp(name, "--duration")) opt_duration = atof(value);
    else if (!strcmp(name, "--delay")) opt_delay = atof(value);
    else if (!strcmp(name, "--seed")) state = strtoull(value, NULL, 0) * 0x9e3779b97f4a7c15ull + 1;
    else if (!strcmp(name, "--kind")) {
      for (int k = 0; k < KINDS; k++) if (!strcmp(kind_name[k], value)) kind = (enum kind)k;
    } else usage(name);
  }
  if (!opt_dev || !opt_to || kind == KINDS) usage("--dev, --to and --kind are needed");
  if (opt_size < 0 || opt_size > LARGEST - 100) usage("--size is at most 1400");
  struct in_addr to;
  if (inet_pton(AF_INET, opt_to, &to) != 1) usage("--to is an IPv4 address");
  target = ntohl(to.s_addr);
  int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) die("socket");
  struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP)};
  address.sll_ifindex = (int)if_nametoindex(opt_dev);
  if (address.sll_ifindex == 0) die(opt_dev);
  if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0) die("bind");

  static uint8_t packets[BATCH][LARGEST];
  static struct iovec vectors[BATCH];
  static struct mmsghdr messages[BATCH];
  for (int i = 0; i < BATCH; i++) {
    vectors[i].iov_base = packets[i];
    messages[i].msg_hdr = (struct msghdr){.msg_name = &address, .msg_namelen = sizeof address, .msg_iov = &vectors[i], .msg_iovlen = 1};
  }
  usleep((useconds_t)(opt_delay * 1e6));
  uint64_t sent = 0, refused = 0;
  double started = now(), begin = started, at = started, end = started + opt_duration;
  for (;;) {
    at = now();
    if (at >= end) break;
    int due = BATCH;
    if (opt_rate > 0) {
      double owed = (at - begin) * opt_rate - (double)(sent + refused);
      /* A machine that was away for a while is not made up for in one burst: at most 10 ms are. */
      if (owed > opt_rate / 100 + BATCH) {
        begin += (owed - opt_rate / 100 - BATCH) / opt_rate;
        owed = opt_rate / 100 + BATCH;
      }
      due = owed < BATCH ? (int)owed : BATCH;
      if (due < 8) {
        double wait = (8 - owed) / opt_rate;
        struct timespec t = {.tv_sec = (time_t)wait, .tv_nsec = (long)((wait - (double)(time_t)wait) * 1e9)};
        if (at + wait > end) break;
        nanosleep(&t, NULL);
        continue;
      }
    }
    for (int i = 0; i < due; i++) vectors[i].iov_len = (size_t)make(packets[i], kind);
    for (int done = 0; done < due;) {
      int n = sendmmsg(fd, messages + done, (unsigned)(due - done), 0);
      if (n > 0) {
        sent += (uint64_t)n;
        done += n;
      } else if (errno == ENOBUFS || errno == EAGAIN || errno == EINVAL) {
        refused++;
        done++;
      } else if (errno != EINTR) {
        die("sendmmsg");
      }
    }
  }
  double seconds = now() - started;
  printf("{\"sent\": %llu, \"refused\": %llu, \"seconds\": %.3f, \"perSecond\": %.0f}\n", (unsigned long long)sent,
         (unsigned long long)refused, seconds, (double)sent / seconds);
  return 0;
}
