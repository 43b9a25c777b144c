/*
 * What processes share: memory (shared-memory.c), the Unix socket with its calls and descriptors
 * (unix-socket.c), and waiting for either (watch.c). channel.c is the Node-API face;
 * lib/channel/native.ts has the types. Nothing here knows of rings, records or calls.
 *
 * What returns an int gives a negative errno when it failed. Descriptors are close-on-exec.
 */
#ifndef TCPU_CHANNEL_H
#define TCPU_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sys/socket.h>

#include <node_api.h>

struct environment;

/* Most descriptors in one message. */
#define MAX_DESCRIPTORS 8

/* channel.c: adds the functions of lib/channel/native.ts to `exports`. */
void channel_register(struct environment *environment, napi_value exports);

/* shared-memory.c */

/* Address space that is committed when touched, `bytes` a multiple of the page; NULL with errno set. */
void *memory_reserve(size_t bytes);
/* Maps the first `bytes` of a file whose size cannot shrink; NULL with errno set. */
void *memory_map(int fd, size_t bytes);
void memory_release(void *memory, size_t bytes);
/* Put a file, or fresh zeros, over reserved memory. `at` and `bytes` are multiples of the page. */
int memory_cover(uint8_t *at, size_t bytes, int fd);
int memory_uncover(uint8_t *at, size_t bytes);
size_t memory_page(void);
int memory_file(const char *name, size_t bytes);

int doorbell_open(void);
/* A descriptor through which others can wait for a doorbell, and do nothing else to it. */
int doorbell_listen(int doorbell);
/* Never blocks, and that it rings already is no error. */
int doorbell_ring(int doorbell);
/* Silences it. Whether it rang. Takes what doorbell_open() and what doorbell_listen() gave. */
bool doorbell_answer(int doorbell);

/* Waits for a word to be another than `value`, awake, giving way to whoever wants the processor. Whether it is. */
int word_await(const int32_t *word, int32_t value, int us);

/* unix-socket.c */

int unix_listen(const char *path, mode_t mode);
int unix_accept(int fd);
int unix_connect(const char *path);
int unix_peer(int fd, struct ucred *peer);
int unix_send(int fd, const void *bytes, size_t length, const int *descriptors, int count);
/* Up to `*count` descriptors come into `descriptors`; afterwards `*count` is how many. */
int unix_receive(int fd, void *into, size_t size, int *descriptors, int *count);
int unix_call(int fd, void *message, size_t size, size_t send_bytes, int64_t timeout_ms);

/* watch.c */

/* Watches `fd`. Returns the id. */
int watch_open(struct environment *environment, int fd, bool is_doorbell, napi_value callback);
/* An id that is closed, or never was, is fine everywhere. */
void watch_close(struct environment *environment, int id);
/* Closes the watch of this descriptor, if there is one. */
void watch_close_descriptor(struct environment *environment, int fd);
void watch_keep_alive(struct environment *environment, int id, bool on);

#endif
