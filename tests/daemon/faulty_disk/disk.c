/* A library for LD_PRELOAD that stands between a program and the disk with one SQLite database, DISK_DB.
 *
 * While a file DISK_FULL exists, the disk is full. If DISK_LOG is set, all changes and flushes of the database are recorded in it; the
 * test replays the record up to a power cut. A record consists of: kind (1 byte), length of the name (1), name (the part of the file
 * name after the database's path), offset (8), length of the data (4), data. Numbers are in the machine's byte order.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { WRITE = 'w', TRUNCATE = 't', SYNC = 's', UNLINK = 'u' };

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static int log_fd = -1;

static void put(const void *data, size_t length) {
    const char *at = data;
    while (length > 0) {
        ssize_t done = syscall(SYS_write, log_fd, at, length);
        if (done <= 0) abort();
        at += done;
        length -= (size_t)done;
    }
}

static void record(char kind, const char *name, uint64_t offset, const void *data, uint32_t length) {
    if (!getenv("DISK_LOG")) return;
    uint8_t name_length = (uint8_t)strlen(name);
    if (log_fd < 0) {
        log_fd = (int)syscall(SYS_openat, AT_FDCWD, getenv("DISK_LOG"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (log_fd < 0) abort();
    }
    put(&kind, 1);
    put(&name_length, 1);
    put(name, name_length);
    put(&offset, sizeof offset);
    put(&length, sizeof length);
    put(data, length);
}

/* The part of a file name after the database's path: "", "-wal" or "-journal"; NULL for files of no database. */
static const char *name_of_path(const char *path) {
    const char *database = getenv("DISK_DB");
    if (!database || strncmp(path, database, strlen(database)) != 0) return NULL;
    const char *rest = path + strlen(database);
    return strcmp(rest, "") == 0 || strcmp(rest, "-wal") == 0 || strcmp(rest, "-journal") == 0 ? rest : NULL;
}

static const char *name_of(int fd, char *buffer) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, buffer, PATH_MAX - 1);
    if (length < 0) return NULL;
    buffer[length] = 0;
    return name_of_path(buffer);
}

static void recorded(char kind, const char *name, off_t offset, const void *data, ssize_t length) {
    int error = errno;
    record(kind, name, (uint64_t)offset, data, (uint32_t)length);
    errno = error;
}

/* On a full disk nothing can be written. A real disk would allow overwriting, but SQLite must not depend on that. */
static int is_full(void) {
    const char *sign = getenv("DISK_FULL");
    if (!sign || syscall(SYS_faccessat, AT_FDCWD, sign, F_OK) != 0) return 0;
    errno = ENOSPC;
    return 1;
}

ssize_t write(int fd, const void *data, size_t length) {
    char buffer[PATH_MAX];
    const char *name = name_of(fd, buffer);
    if (!name) return syscall(SYS_write, fd, data, length);
    if (is_full()) return -1;
    pthread_mutex_lock(&turn);
    off_t offset = lseek(fd, 0, SEEK_CUR);
    ssize_t done = syscall(SYS_write, fd, data, length);
    if (done > 0) recorded(WRITE, name, offset, data, done);
    pthread_mutex_unlock(&turn);
    return done;
}

ssize_t pwrite64(int fd, const void *data, size_t length, off_t offset) {
    char buffer[PATH_MAX];
    const char *name = name_of(fd, buffer);
    if (!name) return syscall(SYS_pwrite64, fd, data, length, offset);
    if (is_full()) return -1;
    pthread_mutex_lock(&turn);
    ssize_t done = syscall(SYS_pwrite64, fd, data, length, offset);
    if (done > 0) recorded(WRITE, name, offset, data, done);
    pthread_mutex_unlock(&turn);
    return done;
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) { return pwrite64(fd, data, length, offset); }

int ftruncate64(int fd, off_t length) {
    char buffer[PATH_MAX];
    const char *name = name_of(fd, buffer);
    if (!name) return (int)syscall(SYS_ftruncate, fd, length);
    pthread_mutex_lock(&turn);
    int result = (int)syscall(SYS_ftruncate, fd, length);
    if (result == 0) recorded(TRUNCATE, name, length, NULL, 0);
    pthread_mutex_unlock(&turn);
    return result;
}

int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

static int synced(long call, int fd) {
    char buffer[PATH_MAX];
    const char *name = name_of(fd, buffer);
    if (!name) return (int)syscall(call, fd);
    pthread_mutex_lock(&turn);
    int result = (int)syscall(call, fd);
    if (result == 0) recorded(SYNC, name, 0, NULL, 0);
    pthread_mutex_unlock(&turn);
    return result;
}

int fsync(int fd) { return synced(SYS_fsync, fd); }
int fdatasync(int fd) { return synced(SYS_fdatasync, fd); }

int unlink(const char *path) {
    const char *name = name_of_path(path);
    if (!name) return (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    pthread_mutex_lock(&turn);
    int result = (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    if (result == 0) recorded(UNLINK, name, 0, NULL, 0);
    pthread_mutex_unlock(&turn);
    return result;
}
