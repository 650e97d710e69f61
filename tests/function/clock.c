// A clock that has been set: clock_gettime, and what it tells of the time of day plus the seconds in the file that
// SHIFTED_CLOCK names. Loaded into the function before the C library, by LD_PRELOAD.

#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
    int outcome = (int)syscall(SYS_clock_gettime, clock, now);
    const char *path = getenv("SHIFTED_CLOCK");
    if (outcome == 0 && clock == CLOCK_REALTIME && path != NULL) {
        char seconds[32] = {0};
        int file = open(path, O_RDONLY | O_CLOEXEC);
        if (file >= 0) {
            if (read(file, seconds, sizeof seconds - 1) > 0) {
                now->tv_sec += atol(seconds);
            }
            close(file);
        }
    }
    return outcome;
}
