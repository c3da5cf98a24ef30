#define _GNU_SOURCE
#include "coutport.h"

#include <fcntl.h>
#include <sys/uio.h>

ssize_t outport_read_cached(int descriptor, void *target, size_t count, int64_t offset) {
#ifdef RWF_NOWAIT
    struct iovec vector = {.iov_base = target, .iov_len = count};
    return preadv2(descriptor, &vector, 1, offset, RWF_NOWAIT);
#else
    (void)descriptor, (void)target, (void)count, (void)offset;
    return -1;
#endif
}

int outport_open_direct(const char *path) {
#ifdef O_DIRECT
    return open(path, O_WRONLY | O_CLOEXEC | O_DIRECT);
#else
    (void)path;
    return -1;
#endif
}
