/* Random bytes for keys and nonces. */
#ifndef DEKD_RANDOM_H
#define DEKD_RANDOM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* getrandom(2), all of it or false: never a user-space generator, which a cloned VM would repeat. */
bool random_fill(uint8_t *out, size_t length);

#endif
