/* What can go wrong inside, apart from a caller's wrong argument. args.c turns each into an Error with a `code`. */
#ifndef DEKD_FAULT_H
#define DEKD_FAULT_H

typedef enum {
  FAULT_NONE = 0,
  FAULT_NOT_OPEN,
  FAULT_STALE_HANDLE,
  FAULT_WRONG_KIND,
  FAULT_NO_MEMORY,
  FAULT_NO_LOCKED_MEMORY,
  FAULT_AUTHENTICATION,
  FAULT_MESSAGE_LIMIT,
  FAULT_KEY_LENGTH,
  FAULT_NO_KEY,
  FAULT_KEY_PACKET,
  FAULT_CRYPTO,
  FAULT_RECORD,
  FAULT_RANDOM,
} fault;

#endif
