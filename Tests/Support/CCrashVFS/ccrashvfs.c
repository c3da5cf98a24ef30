// A SQLite VFS that wraps the default one. Files nobody watches are opened by the wrapped VFS in the very memory SQLite gave, so they
// cost nothing more than before. Shared memory (the WAL index) is passed through unseen: it does not survive a power cut by definition.
#define _GNU_SOURCE
#include "ccrashvfs.h"

#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>

static pthread_mutex_t crash_mutex = PTHREAD_MUTEX_INITIALIZER;
static const crash_hooks *hooks;
static sqlite3_vfs *base_vfs;
static sqlite3_vfs our_vfs;

void crash_enter(void) { pthread_mutex_lock(&crash_mutex); }
void crash_leave(void) { pthread_mutex_unlock(&crash_mutex); }

/// What SQLite allocates for each file: ours, followed by that of the wrapped VFS.
typedef struct crash_file {
    sqlite3_file head;
    uint64_t inode;
    /// SQLite keeps the name alive as long as the file is open.
    const char *path;
    /// The wrapped VFS syncs the folder with the first sync of a journal or WAL, so that the file's name is durable too.
    int syncs_folder;
    _Alignas(max_align_t) char real[];
} crash_file;

static sqlite3_file *real_of(sqlite3_file *file) { return (sqlite3_file *)((crash_file *)file)->real; }

static crash_call call_of(sqlite3_file *file, int kind) {
    crash_file *ours = (crash_file *)file;
    crash_call call = {.kind = kind, .file = ours->inode, .path = ours->path};
    return call;
}

static int refused(const crash_call *call, int code) {
    int number = hooks->before(call);
    if (number == 0) return SQLITE_OK;
    return number == ENOSPC ? SQLITE_FULL : code;
}

static int file_close(sqlite3_file *file) {
    int code = real_of(file)->pMethods->xClose(real_of(file));
    file->pMethods = NULL;
    return code;
}

static int file_read(sqlite3_file *file, void *target, int count, sqlite3_int64 offset) {
    return real_of(file)->pMethods->xRead(real_of(file), target, count, offset);
}

static int file_write(sqlite3_file *file, const void *bytes, int count, sqlite3_int64 offset) {
    crash_call call = call_of(file, CRASH_WRITE);
    call.bytes = bytes, call.count = count, call.offset = offset;
    crash_enter();
    int code = refused(&call, SQLITE_IOERR_WRITE);
    if (code == SQLITE_OK) code = real_of(file)->pMethods->xWrite(real_of(file), bytes, count, offset);
    if (code == SQLITE_OK) hooks->after(&call);
    crash_leave();
    return code;
}

static int file_truncate(sqlite3_file *file, sqlite3_int64 size) {
    crash_call call = call_of(file, CRASH_TRUNCATE);
    call.offset = size;
    crash_enter();
    int code = refused(&call, SQLITE_IOERR_TRUNCATE);
    if (code == SQLITE_OK) code = real_of(file)->pMethods->xTruncate(real_of(file), size);
    if (code == SQLITE_OK) hooks->after(&call);
    crash_leave();
    return code;
}

static int file_sync(sqlite3_file *file, int flags) {
    crash_call call = call_of(file, CRASH_SYNC);
    crash_enter();
    int code = refused(&call, SQLITE_IOERR_FSYNC);
    if (code == SQLITE_OK) code = real_of(file)->pMethods->xSync(real_of(file), flags);
    if (code == SQLITE_OK) {
        hooks->after(&call);
        crash_file *ours = (crash_file *)file;
        if (ours->syncs_folder) {
            ours->syncs_folder = 0;
            crash_call folder = call_of(file, CRASH_SYNC_FOLDER);
            hooks->after(&folder);
        }
    }
    crash_leave();
    return code;
}

static int file_size(sqlite3_file *file, sqlite3_int64 *size) {
    return real_of(file)->pMethods->xFileSize(real_of(file), size);
}
static int file_lock(sqlite3_file *file, int level) { return real_of(file)->pMethods->xLock(real_of(file), level); }
static int file_unlock(sqlite3_file *file, int level) { return real_of(file)->pMethods->xUnlock(real_of(file), level); }
static int file_reserved(sqlite3_file *file, int *result) {
    return real_of(file)->pMethods->xCheckReservedLock(real_of(file), result);
}
static int file_control(sqlite3_file *file, int operation, void *argument) {
    // These let the wrapped VFS grow or map the file behind our back; SQLite goes on without them.
    if (operation == SQLITE_FCNTL_SIZE_HINT || operation == SQLITE_FCNTL_MMAP_SIZE || operation == SQLITE_FCNTL_CHUNK_SIZE)
        return SQLITE_NOTFOUND;
    return real_of(file)->pMethods->xFileControl(real_of(file), operation, argument);
}
static int file_sector(sqlite3_file *file) { return real_of(file)->pMethods->xSectorSize(real_of(file)); }
static int file_device(sqlite3_file *file) { return real_of(file)->pMethods->xDeviceCharacteristics(real_of(file)); }
static int file_shm_map(sqlite3_file *file, int page, int size, int extend, void volatile **target) {
    return real_of(file)->pMethods->xShmMap(real_of(file), page, size, extend, target);
}
static int file_shm_lock(sqlite3_file *file, int offset, int count, int flags) {
    return real_of(file)->pMethods->xShmLock(real_of(file), offset, count, flags);
}
static void file_shm_barrier(sqlite3_file *file) { real_of(file)->pMethods->xShmBarrier(real_of(file)); }
static int file_shm_unmap(sqlite3_file *file, int remove) {
    return real_of(file)->pMethods->xShmUnmap(real_of(file), remove);
}

static const sqlite3_io_methods methods = {
    .iVersion = 2,
    .xClose = file_close,
    .xRead = file_read,
    .xWrite = file_write,
    .xTruncate = file_truncate,
    .xSync = file_sync,
    .xFileSize = file_size,
    .xLock = file_lock,
    .xUnlock = file_unlock,
    .xCheckReservedLock = file_reserved,
    .xFileControl = file_control,
    .xSectorSize = file_sector,
    .xDeviceCharacteristics = file_device,
    .xShmMap = file_shm_map,
    .xShmLock = file_shm_lock,
    .xShmBarrier = file_shm_barrier,
    .xShmUnmap = file_shm_unmap,
};

static int vfs_open(sqlite3_vfs *vfs, const char *path, sqlite3_file *file, int flags, int *out_flags) {
    (void)vfs;
    if (path == NULL || !hooks->is_watched(path)) return base_vfs->xOpen(base_vfs, path, file, flags, out_flags);
    crash_file *ours = (crash_file *)file;
    memset(ours, 0, sizeof(crash_file));
    crash_call call = {.kind = CRASH_OPEN, .path = path};
    int writes = (flags & SQLITE_OPEN_READWRITE) != 0;
    struct stat status;
    crash_enter();
    call.count = stat(path, &status) == 0;
    int code = writes ? refused(&call, SQLITE_CANTOPEN) : SQLITE_OK;
    if (code == SQLITE_OK) code = base_vfs->xOpen(base_vfs, path, real_of(file), flags, out_flags);
    if (code == SQLITE_OK) {
        if (stat(path, &status) == 0) call.file = ours->inode = (uint64_t)status.st_ino;
        ours->path = path;
        ours->syncs_folder =
            (flags & SQLITE_OPEN_CREATE) != 0 && (flags & (SQLITE_OPEN_WAL | SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_SUPER_JOURNAL)) != 0;
        file->pMethods = &methods;
        hooks->after(&call);
    }
    crash_leave();
    return code;
}

static int vfs_delete(sqlite3_vfs *vfs, const char *path, int sync_folder) {
    (void)vfs;
    if (!hooks->is_watched(path)) return base_vfs->xDelete(base_vfs, path, sync_folder);
    crash_call call = {.kind = CRASH_REMOVE, .path = path};
    crash_enter();
    int code = refused(&call, SQLITE_IOERR_DELETE);
    if (code == SQLITE_OK) code = base_vfs->xDelete(base_vfs, path, sync_folder);
    if (code == SQLITE_OK) {
        hooks->after(&call);
        if (sync_folder) {
            call.kind = CRASH_SYNC_FOLDER;
            hooks->after(&call);
        }
    }
    crash_leave();
    return code;
}

int crash_vfs_install(const crash_hooks *given) {
    int code = sqlite3_initialize();
    if (code != SQLITE_OK) return code;
    base_vfs = sqlite3_vfs_find(NULL);
    if (base_vfs == NULL) return SQLITE_ERROR;
    hooks = given;
    our_vfs = *base_vfs;
    our_vfs.zName = "outport-crash";
    our_vfs.szOsFile = (int)sizeof(crash_file) + base_vfs->szOsFile;
    our_vfs.xOpen = vfs_open;
    our_vfs.xDelete = vfs_delete;
    return sqlite3_vfs_register(&our_vfs, 1);
}
