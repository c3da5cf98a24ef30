// System calls that the C library declares only for programs that ask for GNU's extensions.
#ifndef COUTPORT_H
#define COUTPORT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/// Reads what the page cache holds. Returns -1 where the read would wait for the disk, or where the kernel does not know such reads.
ssize_t outport_read_cached(int descriptor, void *target, size_t count, int64_t offset);

/// Opens an existing file for writing around the page cache. Returns -1 where the file system does not offer that.
int outport_open_direct(const char *path);

/// Calls `body` with the path of each shared library this process has loaded, the loader among them.
void outport_each_library(void (*body)(const char *path, void *context), void *context);

/// Takes program text and heap that only the start has used out of the process's memory. Text that is needed again comes back from the
/// page cache; nothing that may have been written to is touched but by the allocator itself.
void outport_give_back_startup(void);

/// Tells the allocator to give memory back sooner: a server that has taken large uploads is not to keep what they needed. To be called
/// before there are threads.
void outport_tune_allocator(void);

/// How many cores this process may run on (`sched_getaffinity(2)`): what a service manager or a container's CPU set leaves of the machine's.
/// At least 1.
int outport_usable_cores(void);

#endif
