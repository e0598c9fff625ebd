/* Enough of CANN's runtime (libascendcl) for torch_npu to allocate, copy and wait without a card.

   A device pointer is a host pointer with one bit flipped, so that host code which follows one
   faults as it would on a card. Every other CANN function that torch_npu looks for is one that
   returns 0; build.py adds those. */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define TAG (1ull << 50)
#define NO_CONTEXT 107002
#define OUT_OF_MEMORY 207001
#define NOT_SUPPORTED 500002
#define DEVICES 64
#define HEADER 512
typedef unsigned long ul;

static void* to_device(void* p) { return (void*)((uintptr_t)p ^ TAG); }
static void* to_host(const void* p) {
  return (void*)((uintptr_t)p & TAG ? (uintptr_t)p ^ TAG : (uintptr_t)p);
}
static ul setting(const char* name, ul otherwise) {
  const char* value = getenv(name);
  return value && *value ? strtoul(value, 0, 10) : otherwise;
}

/* ---- devices; a new thread has none chosen ---- */
static __thread int current = -1;
static int active[DEVICES];

long aclrtGetDeviceCount(unsigned* count) {
  *count = setting("STANDIN_NPUS", 2);
  const char* visible = getenv("ASCEND_RT_VISIBLE_DEVICES");
  if (visible) {
    unsigned seen = *visible != 0;
    for (; *visible; ++visible) seen += *visible == ',';
    if (seen < *count) *count = seen;
  }
  return 0;
}
long aclrtSetDevice(int device) { current = device; active[device] = 1; return 0; }
long aclrtGetDevice(int* device) {
  if (current < 0) return NO_CONTEXT;
  *device = current;
  return 0;
}
long aclrtGetPrimaryCtxState(int device, unsigned* flags, int* is_active) {
  *is_active = active[device];
  return 0;
}
long aclrtGetCurrentContext(void** context) { *context = (void*)16; return 0; }
const char* aclrtGetSocName(void) { return "Ascend910B3"; }
const char* aclGetRecentErrMsg(void) { return ""; }
ul aclGetCompileoptSize(int option) { return 16; }
long aclGetCompileopt(int option, char* value, ul size) { memset(value, 0, size); return 0; }

/* ---- memory ---- */
static ul used[DEVICES];
static ul capacity(void) { return setting("STANDIN_NPU_MIB", 4096) << 20; }

long aclrtGetMemInfo(int kind, ul* available, ul* total) {
  *total = capacity();
  *available = *total - used[current < 0 ? 0 : current];
  return 0;
}
long aclrtMalloc(void** p, ul size, int policy) {
  ul* block = 0;
  if (current < 0) return NO_CONTEXT;
  if (used[current] + size > capacity()) return OUT_OF_MEMORY;
  if (posix_memalign((void**)&block, HEADER, size + 2 * HEADER)) return OUT_OF_MEMORY;
  block[0] = size;
  block[1] = current;
  used[current] += size;
  memset((char*)block + HEADER, 0xFF, size > 4096 ? 4096 : size); /* NaN: memory is not zeroed */
  *p = to_device((char*)block + HEADER);
  return 0;
}
long aclrtMallocAlign32(void** p, ul size, int policy) { return aclrtMalloc(p, size, policy); }
long aclrtFree(void* p) {
  ul* block = (ul*)((char*)to_host(p) - HEADER);
  used[block[1]] -= block[0];
  free(block);
  return 0;
}
long aclrtMallocHost(void** p, ul size) { return posix_memalign(p, HEADER, size ? size : 1); }
long aclrtFreeHost(void* p) { free(p); return 0; }

/* Expandable segments: addresses are reserved, and memory is mapped into them piece by piece. */
typedef struct { ul size; ul device; } Physical;
typedef struct Reserved { void* start; ul size; struct Reserved* next; } Reserved;
static Reserved* reserved;

long aclrtReserveMemAddress(void** p, ul size, ul alignment, void* expected, ul flags) {
  void* start = mmap(0, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (start == MAP_FAILED) return OUT_OF_MEMORY;
  Reserved* entry = malloc(sizeof *entry);
  *entry = (Reserved){start, size, reserved};
  reserved = entry;
  *p = to_device(start);
  return 0;
}
long aclrtReleaseMemAddress(void* p) {
  for (Reserved** at = &reserved; *at; at = &(*at)->next)
    if ((*at)->start == to_host(p)) {
      Reserved* entry = *at;
      munmap(entry->start, entry->size);
      *at = entry->next;
      free(entry);
      return 0;
    }
  return NOT_SUPPORTED;
}
long aclrtMallocPhysical(void** handle, ul size, const void* property, ul flags) {
  ul device = current < 0 ? 0 : current;
  if (used[device] + size > capacity()) return OUT_OF_MEMORY;
  Physical* memory = malloc(sizeof *memory);
  *memory = (Physical){size, device};
  used[device] += size;
  *handle = memory;
  return 0;
}
long aclrtFreePhysical(void* handle) {
  Physical* memory = handle;
  used[memory->device] -= memory->size;
  free(memory);
  return 0;
}
long aclrtMapMem(void* p, ul size, ul offset, void* handle, ul flags) {
  return mprotect(to_host(p), size, PROT_READ | PROT_WRITE) ? NOT_SUPPORTED : 0;
}
long aclrtUnmapMem(void* p) { return 0; }

static void copy(void* to, const void* from, ul size) { memmove(to_host(to), to_host(from), size); }
long aclrtMemcpy(void* to, ul room, const void* from, ul size, int kind) {
  copy(to, from, size);
  return 0;
}
long aclrtMemcpyAsync(void* to, ul room, const void* from, ul size, int kind, void* stream) {
  copy(to, from, size);
  return 0;
}
long aclrtMemset(void* p, ul room, int value, ul size) {
  memset(to_host(p), value, size);
  return 0;
}
long aclrtMemsetAsync(void* p, ul room, int value, ul size, void* stream) {
  memset(to_host(p), value, size);
  return 0;
}

/* ---- streams and events: all work is done when the call returns ---- */
static ul streams = 1;
long aclrtCreateStream(void** stream) { *stream = (void*)(streams++ * 16); return 0; }
long aclrtCreateStreamWithConfig(void** stream, unsigned priority, unsigned flags) {
  return aclrtCreateStream(stream);
}
long aclrtStreamQuery(void* stream, int* status) { *status = 1; return 0; }
long aclrtCreateEventWithFlag(void** event, unsigned flags) {
  *event = calloc(1, sizeof(struct timespec));
  return 0;
}
long aclrtCreateEventExWithFlag(void** event, unsigned flags) {
  return aclrtCreateEventWithFlag(event, flags);
}
long aclrtDestroyEvent(void* event) { free(event); return 0; }
long aclrtRecordEvent(void* event, void* stream) {
  clock_gettime(CLOCK_MONOTONIC, event);
  return 0;
}
long aclrtQueryEventStatus(void* event, int* status) { *status = 1; return 0; }
long aclrtQueryEventWaitStatus(void* event, int* status) { *status = 1; return 0; }
long aclrtEventElapsedTime(float* milliseconds, void* start, void* end) {
  struct timespec *a = start, *b = end;
  *milliseconds = (b->tv_sec - a->tv_sec) * 1e3 + (b->tv_nsec - a->tv_nsec) / 1e6;
  return 0;
}

/* ---- nothing is computed here: an operator that reaches CANN is an error, not a silent zero ---- */
long aclopCompileAndExecute() { return NOT_SUPPORTED; }
long aclopCompileAndExecuteV2() { return NOT_SUPPORTED; }
long aclopExecuteV2() { return NOT_SUPPORTED; }
