#include "random.h"

#include <errno.h>
#include <sys/random.h>

bool random_fill(uint8_t *out, size_t length) {
  while (length > 0) {
    ssize_t got = getrandom(out, length, 0);
    if (got < 0 && errno != EINTR) {
      return false;
    }
    if (got > 0) {
      out += got;
      length -= (size_t)got;
    }
  }
  return true;
}
