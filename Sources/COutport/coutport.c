#define _GNU_SOURCE
#include "coutport.h"

#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>
#ifdef __linux__
#include <link.h>
#include <malloc.h>
#endif

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

#ifdef __linux__
struct outport_visit {
    void (*body)(const char *, void *);
    void *context;
};

static int outport_visit_library(struct dl_phdr_info *info, size_t size, void *data) {
    (void)size;
    struct outport_visit *visit = data;
    // The program itself has no name here, the kernel's page no path.
    if (info->dlpi_name && info->dlpi_name[0] == '/') visit->body(info->dlpi_name, visit->context);
    return 0;
}
#endif

void outport_each_library(void (*body)(const char *, void *), void *context) {
#ifdef __linux__
    struct outport_visit visit = {body, context};
    dl_iterate_phdr(outport_visit_library, &visit);
#else
    (void)body, (void)context;
#endif
}

#ifdef __linux__
static int outport_give_back_object(struct dl_phdr_info *info, size_t size, void *data) {
    (void)size, (void)data;
    if (info->dlpi_name && !strcmp(info->dlpi_name, "linux-vdso.so.1")) return 0;
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        // What may be written, relocated data among it, has no other copy.
        if (segment->p_type != PT_LOAD || (segment->p_flags & PF_W)) continue;
        uintptr_t begin = (info->dlpi_addr + segment->p_vaddr) & ~(page - 1);
        uintptr_t end = (info->dlpi_addr + segment->p_vaddr + segment->p_memsz) & ~(page - 1);
        if (begin < end) madvise((void *)begin, end - begin, MADV_DONTNEED);
    }
    return 0;
}
#endif

void outport_give_back_startup(void) {
#ifdef __linux__
    dl_iterate_phdr(outport_give_back_object, NULL);
#ifdef __GLIBC__
    malloc_trim(0);
#endif
#endif
}

int outport_usable_cores(void) {
#ifdef __linux__
    cpu_set_t usable;  // Room for 1,024; with more the call fails, and all that are online are counted.
    if (sched_getaffinity(0, sizeof usable, &usable) == 0) return CPU_COUNT(&usable);
#endif
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 1 ? (int)online : 1;
}

void outport_tune_allocator(void) {
#if defined(__linux__) && defined(__GLIBC__)
    // An arena for each core is enough: threads here wait for disks and not for each other. Each one more keeps what it has freed.
    int cores = outport_usable_cores();
    mallopt(M_ARENA_MAX, cores > 2 ? cores : 2);
    // Fixed, or the first large buffer that is freed raises both to sizes that keep tens of megabytes.
    mallopt(M_MMAP_THRESHOLD, 4 << 20);
    mallopt(M_TRIM_THRESHOLD, 4 << 20);
#endif
}
