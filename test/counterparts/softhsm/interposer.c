// A PKCS#11 library in front of SoftHSM or kryoptic, for what those never do by themselves. C_Initialize takes parameters, as some vendors' libraries do:
// "conf=FILE control=FILE". Each line of the control file is FUNCTION WHAT, where WHAT is the return value to give (decimal), `crash`, `hang`, `slow` (2 s),
// `network` (2 ms, as an HSM on a network), `wait-N` (N ms), `logout` (the token's user is logged out before), or a habit:
// `C_EncryptInit old-layout` (CK_GCM_PARAMS without ulIvBits; C_DecryptInit too), `C_EncryptInit own-nonce`, `C_EncryptInit oaep` (takes OAEP with SHA-256
// alone, and gives SoftHSM the SHA-1 that it has), `C_GetMechanismInfo no-key-wrap`, `C_OpenSession limit-N` (CKR_SESSION_COUNT from the N+1st on),
// `C_GetTokenInfo final-try` and `C_GetTokenInfo locked` (flags), `C_GetTokenInfo sessions-N` (ulMaxSessionCount).
// With ! behind it WHAT holds for one call, whichever comes first; then the other lines do. Calls are logged to FILE.log.
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CK_PTR *
#define CK_DECLARE_FUNCTION(returnType, name) returnType name
#define CK_DECLARE_FUNCTION_POINTER(returnType, name) returnType(*name)
#define CK_CALLBACK_FUNCTION(returnType, name) returnType(*name)
#define NULL_PTR 0
#include <pkcs11.h>

static CK_FUNCTION_LIST list;
static CK_FUNCTION_LIST *real;
static char control[512];
static atomic_long open_sessions;
static CK_SESSION_HANDLE logged_in;
// A logout comes from outside, between calls: kryoptic 1.5.2 locks up for ever when it comes during one (C_Logout and C_DecryptInit take two locks in opposite orders).
static pthread_rwlock_t in_library = PTHREAD_RWLOCK_INITIALIZER;

static CK_RV leave(CK_RV value) {
  pthread_rwlock_unlock(&in_library);
  return value;
}

// The library's own call.
#define PASS(call) (pthread_rwlock_rdlock(&in_library), leave(call))

typedef struct {
  CK_BYTE_PTR pIv;
  CK_ULONG ulIvLen;
  CK_BYTE_PTR pAAD;
  CK_ULONG ulAADLen;
  CK_ULONG ulTagBits;
} OLD_GCM_PARAMS;

static void note(const char *function) {
  char path[600];
  snprintf(path, sizeof path, "%s.log", control);
  FILE *log = fopen(path, "a");
  if (log == NULL) return;
  fprintf(log, "%s\n", function);
  fclose(log);
}

// What the control file says of a function; empty when nothing. `once`: of the lines that hold for one call, else of the others.
static void look_up_lines(const char *function, bool once, char what[64]) {
  char name[64], value[64];
  what[0] = 0;
  FILE *file = control[0] == 0 ? NULL : fopen(control, "r");
  if (file == NULL) return;
  while (fscanf(file, "%63s %63s", name, value) == 2) {
    char *mark = strchr(value, '!');
    if (strcmp(name, function) != 0 || (mark != NULL) != once) continue;
    if (mark != NULL) *mark = 0;
    strcpy(what, value);
  }
  fclose(file);
}

static void look_up(const char *function, char what[64]) { look_up_lines(function, false, what); }

// Threads race for the file: one of them makes it.
static bool take_once(void) {
  char path[600];
  snprintf(path, sizeof path, "%s.once", control);
  int fd = open(path, O_CREAT | O_EXCL | O_WRONLY, 0600);
  if (fd < 0) return false;
  close(fd);
  return true;
}

// The number behind `prefix`; -1 when it says something else.
static long number_of(const char *what, const char *prefix) {
  size_t length = strlen(prefix);
  return strncmp(what, prefix, length) == 0 ? strtol(what + length, NULL, 10) : -1;
}

static CK_RV fault(const char *function) {
  char what[64];
  note(function);
  look_up_lines(function, true, what);
  if (what[0] == 0 || !take_once()) look_up(function, what);
  if (strcmp(what, "crash") == 0) raise(SIGSEGV);
  if (strcmp(what, "hang") == 0)
    for (;;) pause();
  if (strcmp(what, "slow") == 0) sleep(2);
  if (strcmp(what, "network") == 0) usleep(2000);
  if (strcmp(what, "logout") == 0) {
    pthread_rwlock_wrlock(&in_library);
    leave(real->C_Logout(logged_in));
  }
  long wait = number_of(what, "wait-");
  if (wait > 0) usleep((useconds_t)wait * 1000);
  return strtoul(what, NULL, 10);
}

#define INTERPOSE(name, parameters, ...)  \
  static CK_RV name##_ parameters {       \
    CK_RV value = fault(#name);           \
    if (value != CKR_OK) return value;    \
    return PASS(real->name(__VA_ARGS__)); \
  }

#define FORWARD(name, parameters, ...) \
  static CK_RV name##_ parameters { return PASS(real->name(__VA_ARGS__)); }

INTERPOSE(C_GetInfo, (CK_INFO_PTR info), info)
static CK_RV C_GetTokenInfo_(CK_SLOT_ID slot, CK_TOKEN_INFO_PTR info) {
  char what[64];
  CK_RV value = fault("C_GetTokenInfo");
  if (value == CKR_OK) value = PASS(real->C_GetTokenInfo(slot, info));
  look_up("C_GetTokenInfo", what);
  if (strcmp(what, "final-try") == 0) info->flags |= CKF_USER_PIN_FINAL_TRY;
  if (strcmp(what, "locked") == 0) info->flags |= CKF_USER_PIN_LOCKED;
  long sessions = number_of(what, "sessions-");
  if (sessions > 0) info->ulMaxSessionCount = (CK_ULONG)sessions;
  return value;
}

INTERPOSE(C_GetSessionInfo, (CK_SESSION_HANDLE s, CK_SESSION_INFO_PTR info), s, info)

static CK_RV C_OpenSession_(CK_SLOT_ID slot, CK_FLAGS flags, CK_VOID_PTR application, CK_NOTIFY notify, CK_SESSION_HANDLE_PTR session) {
  char what[64];
  CK_RV value = fault("C_OpenSession");
  if (value != CKR_OK) return value;
  look_up("C_OpenSession", what);
  long limit = number_of(what, "limit-");
  if (limit >= 0 && atomic_load(&open_sessions) >= limit) return CKR_SESSION_COUNT;
  value = PASS(real->C_OpenSession(slot, flags, application, notify, session));
  if (value == CKR_OK) atomic_fetch_add(&open_sessions, 1);
  return value;
}

static CK_RV C_CloseSession_(CK_SESSION_HANDLE session) {
  CK_RV value = fault("C_CloseSession");
  if (value == CKR_OK) value = PASS(real->C_CloseSession(session));
  if (value == CKR_OK) atomic_fetch_sub(&open_sessions, 1);
  return value;
}

static CK_RV C_Login_(CK_SESSION_HANDLE session, CK_USER_TYPE user, CK_UTF8CHAR_PTR pin, CK_ULONG length) {
  CK_RV value = fault("C_Login");
  if (value != CKR_OK) return value;
  logged_in = session;
  return PASS(real->C_Login(session, user, pin, length));
}

INTERPOSE(C_FindObjectsInit, (CK_SESSION_HANDLE s, CK_ATTRIBUTE_PTR a, CK_ULONG n), s, a, n)
INTERPOSE(C_FindObjects, (CK_SESSION_HANDLE s, CK_OBJECT_HANDLE_PTR o, CK_ULONG max, CK_ULONG_PTR n), s, o, max, n)
INTERPOSE(C_Encrypt, (CK_SESSION_HANDLE s, CK_BYTE_PTR in, CK_ULONG n, CK_BYTE_PTR out, CK_ULONG_PTR m), s, in, n, out, m)
INTERPOSE(C_Decrypt, (CK_SESSION_HANDLE s, CK_BYTE_PTR in, CK_ULONG n, CK_BYTE_PTR out, CK_ULONG_PTR m), s, in, n, out, m)
INTERPOSE(C_WrapKey, (CK_SESSION_HANDLE s, CK_MECHANISM_PTR m, CK_OBJECT_HANDLE w, CK_OBJECT_HANDLE k, CK_BYTE_PTR out, CK_ULONG_PTR n), s, m, w, k, out, n)
INTERPOSE(C_UnwrapKey, (CK_SESSION_HANDLE s, CK_MECHANISM_PTR m, CK_OBJECT_HANDLE u, CK_BYTE_PTR in, CK_ULONG n, CK_ATTRIBUTE_PTR a, CK_ULONG c, CK_OBJECT_HANDLE_PTR k), s, m, u, in, n, a, c, k)

FORWARD(C_FindObjectsFinal, (CK_SESSION_HANDLE s), s)
FORWARD(C_GetAttributeValue, (CK_SESSION_HANDLE s, CK_OBJECT_HANDLE o, CK_ATTRIBUTE_PTR a, CK_ULONG n), s, o, a, n)
FORWARD(C_CreateObject, (CK_SESSION_HANDLE s, CK_ATTRIBUTE_PTR a, CK_ULONG n, CK_OBJECT_HANDLE_PTR o), s, a, n, o)
FORWARD(C_DestroyObject, (CK_SESSION_HANDLE s, CK_OBJECT_HANDLE o), s, o)

typedef CK_RV (*INIT)(CK_SESSION_HANDLE, CK_MECHANISM_PTR, CK_OBJECT_HANDLE);

static CK_RV own_nonce(CK_MECHANISM_PTR mechanism) {
  CK_GCM_PARAMS *params = mechanism->pParameter;
  for (CK_ULONG i = 0; i < params->ulIvLen; i++)
    if (params->pIv[i] != 0) return CKR_MECHANISM_PARAM_INVALID;
  return getentropy(params->pIv, params->ulIvLen) == 0 ? CKR_OK : CKR_DEVICE_ERROR;
}

static CK_RV oaep(INIT next, CK_SESSION_HANDLE session, CK_MECHANISM_PTR mechanism, CK_OBJECT_HANDLE key) {
  const CK_RSA_PKCS_OAEP_PARAMS *params = mechanism->pParameter;
  if (mechanism->ulParameterLen != sizeof *params || params->hashAlg != CKM_SHA256 || params->mgf != CKG_MGF1_SHA256 ||
      params->source != CKZ_DATA_SPECIFIED || params->ulSourceDataLen != 0)
    return CKR_MECHANISM_PARAM_INVALID;
  CK_RSA_PKCS_OAEP_PARAMS sha1 = {CKM_SHA_1, CKG_MGF1_SHA1, CKZ_DATA_SPECIFIED, NULL, 0};
  CK_MECHANISM converted = {CKM_RSA_PKCS_OAEP, &sha1, sizeof sha1};
  return PASS(next(session, &converted, key));
}

static CK_RV mechanism_info(CK_SLOT_ID slot, CK_MECHANISM_TYPE type, CK_MECHANISM_INFO_PTR info) {
  char what[64];
  look_up("C_GetMechanismInfo", what);
  if (strcmp(what, "no-key-wrap") == 0 && type == CKM_AES_KEY_WRAP) return CKR_MECHANISM_INVALID;
  return PASS(real->C_GetMechanismInfo(slot, type, info));
}

static CK_RV init(const char *name, INIT next, CK_SESSION_HANDLE session, CK_MECHANISM_PTR mechanism, CK_OBJECT_HANDLE key) {
  char what[64];
  CK_RV value = fault(name);
  if (value != CKR_OK) return value;
  look_up("C_EncryptInit", what);
  if (strcmp(what, "own-nonce") == 0 && strcmp(name, "C_EncryptInit") == 0 && (value = own_nonce(mechanism)) != CKR_OK) return value;
  if (strcmp(what, "oaep") == 0 && mechanism->mechanism == CKM_RSA_PKCS_OAEP) return oaep(next, session, mechanism, key);
  if (strcmp(what, "old-layout") != 0 || mechanism->mechanism != CKM_AES_GCM) return PASS(next(session, mechanism, key));
  if (mechanism->ulParameterLen != sizeof(OLD_GCM_PARAMS)) return CKR_MECHANISM_PARAM_INVALID;
  const OLD_GCM_PARAMS *old = mechanism->pParameter;
  CK_GCM_PARAMS params = {old->pIv, old->ulIvLen, old->ulIvLen * 8, old->pAAD, old->ulAADLen, old->ulTagBits};
  CK_MECHANISM converted = {CKM_AES_GCM, &params, sizeof params};
  return PASS(next(session, &converted, key));
}

static CK_RV encrypt_init(CK_SESSION_HANDLE session, CK_MECHANISM_PTR mechanism, CK_OBJECT_HANDLE key) {
  return init("C_EncryptInit", real->C_EncryptInit, session, mechanism, key);
}

static CK_RV decrypt_init(CK_SESSION_HANDLE session, CK_MECHANISM_PTR mechanism, CK_OBJECT_HANDLE key) {
  return init("C_DecryptInit", real->C_DecryptInit, session, mechanism, key);
}

static CK_RV initialize(CK_VOID_PTR arguments) {
  CK_C_INITIALIZE_ARGS args = *(CK_C_INITIALIZE_ARGS *)arguments;
  char conf[512] = "";
  if (args.pReserved == NULL || sscanf(args.pReserved, "conf=%511s control=%511s", conf, control) != 2) return CKR_ARGUMENTS_BAD;
  atomic_store(&open_sessions, 0);
  setenv("SOFTHSM2_CONF", conf, 1);
  setenv("KRYOPTIC_CONF", conf, 1);
  args.pReserved = NULL;
  CK_RV value = fault("C_Initialize");
  return value == CKR_OK ? real->C_Initialize(&args) : value;
}

CK_RV C_GetFunctionList(CK_FUNCTION_LIST_PTR_PTR result) {
  void *library = dlopen(LIBRARY, RTLD_NOW);
  CK_C_GetFunctionList get = library == NULL ? NULL : (CK_C_GetFunctionList)dlsym(library, "C_GetFunctionList");
  if (get == NULL || get(&real) != CKR_OK) return CKR_GENERAL_ERROR;
  list = *real;
  list.C_Initialize = initialize;
  list.C_EncryptInit = encrypt_init;
  list.C_DecryptInit = decrypt_init;
  list.C_GetMechanismInfo = mechanism_info;
  list.C_GetInfo = C_GetInfo_;
  list.C_GetTokenInfo = C_GetTokenInfo_;
  list.C_GetSessionInfo = C_GetSessionInfo_;
  list.C_OpenSession = C_OpenSession_;
  list.C_CloseSession = C_CloseSession_;
  list.C_Login = C_Login_;
  list.C_FindObjectsInit = C_FindObjectsInit_;
  list.C_FindObjects = C_FindObjects_;
  list.C_FindObjectsFinal = C_FindObjectsFinal_;
  list.C_GetAttributeValue = C_GetAttributeValue_;
  list.C_CreateObject = C_CreateObject_;
  list.C_DestroyObject = C_DestroyObject_;
  list.C_Encrypt = C_Encrypt_;
  list.C_Decrypt = C_Decrypt_;
  list.C_WrapKey = C_WrapKey_;
  list.C_UnwrapKey = C_UnwrapKey_;
  *result = &list;
  return CKR_OK;
}
