// A SQLite VFS for tests: stands before the machine's own, tells of every call that changes a file, and refuses when told to.
#ifndef CCRASHVFS_H
#define CCRASHVFS_H

#include <stdint.h>

enum {
    CRASH_OPEN = 1,        // a file is opened; it is created by that where `count` is 0
    CRASH_WRITE = 2,
    CRASH_TRUNCATE = 3,    // to `offset` bytes
    CRASH_SYNC = 4,
    CRASH_SYNC_FOLDER = 5, // of the folder that holds `path`
    CRASH_REMOVE = 6,
};

typedef struct crash_call {
    int kind;
    /// Inode number; 0 where there is none.
    uint64_t file;
    const char *path;
    const void *bytes;
    int64_t count;
    int64_t offset;
} crash_call;

typedef struct crash_hooks {
    /// Whether the file is of interest; others are handed to the machine's own VFS and not seen again.
    int (*is_watched)(const char *path);
    /// Called before the call is made, with the lock held. 0 goes on, anything else is an errno to fail with.
    int (*before)(const crash_call *call);
    /// Called after the call has succeeded, with the lock still held.
    void (*after)(const crash_call *call);
} crash_hooks;

/// Makes the VFS the default one of this process. `hooks` must outlive the process. Returns SQLite's code.
int crash_vfs_install(const crash_hooks *hooks);

/// One lock puts all calls of a process into one order, those of SQLite and those of our own files.
void crash_enter(void);
void crash_leave(void);

#endif
