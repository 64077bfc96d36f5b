/* The clocks of a machine that was suspended, for one process and its children: LD_PRELOAD this library.

   The wall clock and CLOCK_BOOTTIME are ahead by as many nanoseconds as the file PROOF_CLOCK holds (eight
   octets); CLOCK_MONOTONIC is not, as on Linux after a suspension. The file is mapped, so that a step is seen
   at once by every process. Built by tests/crash/machine.py:  cc -shared -fPIC -O2 -o clock.so clock.c -ldl */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define NANOSECONDS 1000000000L

static const volatile int64_t *offset;
static int (*real_gettime)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void) {
  real_gettime = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
  const char *path = getenv("PROOF_CLOCK");
  int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (file < 0) return;
  void *mapped = mmap(NULL, sizeof *offset, PROT_READ, MAP_SHARED, file, 0);
  if (mapped != MAP_FAILED) offset = mapped;
  close(file);
}

static int goes_on(clockid_t clock) {
  return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE || clock == CLOCK_BOOTTIME || clock == CLOCK_TAI;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  if (!real_gettime) begin();
  int failed = real_gettime(clock, now);
  if (!failed && offset && goes_on(clock)) {
    int64_t ahead = *offset, nanoseconds = now->tv_nsec + ahead % NANOSECONDS;
    now->tv_sec += ahead / NANOSECONDS + nanoseconds / NANOSECONDS;
    now->tv_nsec = nanoseconds % NANOSECONDS;
  }
  return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  struct timespec precise;
  (void)zone;
  if (clock_gettime(CLOCK_REALTIME, &precise)) return -1;
  now->tv_sec = precise.tv_sec;
  now->tv_usec = precise.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *out) {
  struct timespec now;
  if (clock_gettime(CLOCK_REALTIME, &now)) return (time_t)-1;
  if (out) *out = now.tv_sec;
  return now.tv_sec;
}
