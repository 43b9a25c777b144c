/*
 * The Internet checksum (RFC 1071): ones' complement sums of 16-bit words.
 *
 * Sums are taken over native-endian words, which gives the same sum with its bytes swapped
 * (RFC 1071 section 2 B); `checksum_big_endian` turns a folded sum into the number that network
 * order means. Whole 32-bit words are added into 64 bits, so no carry is lost below 16 GiB and the
 * compiler can use vector instructions.
 */
#ifndef TCPU_CHECKSUM_H
#define TCPU_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The sum of `length` bytes, not folded. An odd last byte is padded with zero (RFC 1071 section 1). */
static inline uint64_t checksum_add(const uint8_t *bytes, size_t length) {
  uint64_t sum = 0;
  size_t words = length >> 2;
  for (size_t i = 0; i < words; i++) {
    uint32_t word;
    memcpy(&word, bytes + 4 * i, 4);
    sum += word;
  }
  bytes += words << 2;
  if (length & 2) {
    uint16_t half;
    memcpy(&half, bytes, 2);
    sum += half;
    bytes += 2;
  }
  if (length & 1) {
    uint16_t half = 0;
    memcpy(&half, bytes, 1);
    sum += half;
  }
  return sum;
}

/* Folds a sum to 16 bits. */
static inline uint16_t checksum_fold(uint64_t sum) {
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return (uint16_t)sum;
}

static inline uint16_t checksum_swap(uint16_t sum) {
  return (uint16_t)(sum << 8 | sum >> 8);
}

/* A folded native sum as the number whose big-endian form lies in the packet. */
static inline uint16_t checksum_big_endian(uint16_t sum) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  return checksum_swap(sum);
#else
  return sum;
#endif
}

#endif
