/* Rooms: what of the arena is lent for a moment, to keys on their way and to those of the second tier while they work. */
#ifndef DEKD_ROOMS_H
#define DEKD_ROOMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KEY_BYTES 32
#define RAW_BYTES 128
#define ROOMS 8
#define SCRATCH_BYTES (ROOMS * RAW_BYTES)

/* A DEK with the keys made of it, or a raw key. */
struct keys {
  union {
    struct {
      uint8_t message[KEY_BYTES];
      uint8_t dek[KEY_BYTES];
      uint8_t block[KEY_BYTES];
      uint8_t data_key[KEY_BYTES];
    };
    uint8_t raw[RAW_BYTES];
  };
};

/* The arena's rooms, ROOMS of them, all zeroes. Once, before any other call. */
void rooms_open(struct keys *first);
/* Waits for one. It comes zeroed and is zeroed when it goes; nobody may hold two. */
struct keys *room_take(void);
void room_return(struct keys *room);
bool is_room(const struct keys *keys);
/* All rooms as one, SCRATCH_BYTES: for what happens at start, since sealed keys have to wait for it. */
uint8_t *scratch_take(void);
void scratch_return(void);

#endif
