#ifndef DEKD_BYTES_H
#define DEKD_BYTES_H

#include <stddef.h>
#include <stdint.h>

struct bytes {
  uint8_t *data;
  size_t length;
};

#endif
