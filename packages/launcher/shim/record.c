/*
 * Preloaded while a command line is warmed (docs/warm.md): notes every path that the process looks at, so that its image is
 * used for as long as all of them are as they were. Nothing but the libc sees them all: Node's own loader and addons do not go
 * through the module `fs`.
 *
 * Like the shim it includes no header and links with nothing. The file named by FORKPOINT_RECORD gets one entry for each call: a
 * letter, the absolute path, a NUL. `s` looked at, `l` looked at without following a link, `o` opened for reading, `d` listed,
 * `w` written, made or removed. Looking at END_PATH ends the record: afterwards each call costs one comparison.
 *
 * Each entry is one write(2) to a file opened with O_APPEND, which the kernel does not mix with others: threads need no lock.
 */

#if !defined(__x86_64__) || !defined(__linux__)
#error "written for x86-64 Linux only"
#endif

#define END_PATH "/.forkpoint-record-ends"
#define NEXT ((void *)-1L) /* RTLD_NEXT, dlfcn.h */
#define PATH_LIMIT 4096
#define HERE (-100)    /* AT_FDCWD */
#define NO_FOLLOW 0x100 /* AT_SYMLINK_NOFOLLOW */
#define NR_READLINK 89
#define NR_STATX 332
#define NR_FACCESSAT2 439
#define WRITING (3 | 0100) /* O_ACCMODE | O_CREAT */
#define MODE_WANTED (0100 | 020000000) /* O_CREAT | O_TMPFILE's own bit */

extern void *dlsym(void *handle, const char *name) __attribute__((weak));
extern char *getenv(const char *name) __attribute__((weak));
extern long write(int fd, const void *bytes, unsigned long length);
extern int close(int fd);
extern char *getcwd(char *buffer, unsigned long size);
extern int fcntl(int fd, int command, ...);

static int log_fd = -1;

static void *next_of(void **place, const char *name)
{
    if (*place == 0 && dlsym)
        *place = dlsym(NEXT, name);
    return *place;
}

/* Declares `real`, the function of this name that comes after ours. */
#define REAL(type, name, ...)                 \
    static void *place_;                      \
    type (*real)(__VA_ARGS__) = (type(*)(__VA_ARGS__))next_of(&place_, name)

static unsigned long length_of(const char *text)
{
    unsigned long length = 0;
    while (text[length] != 0)
        length++;
    return length;
}

static int is_same(const char *one, const char *other)
{
    while (*one != 0 && *one == *other)
        one++, other++;
    return *one == *other;
}

static long raw_readlink(const char *path, char *buffer, unsigned long size)
{
    REAL(long, "readlink", const char *, char *, unsigned long);
    return real ? real(path, buffer, size) : -1;
}

/* Puts the directory that `at` names, with a slash behind it, into `out`; returns its length or -1. */
static long directory_of(int at, char *out)
{
    char name[32] = "/proc/self/fd/";
    int digits[12], count = 0, end = 14;
    if (at == HERE)
        return getcwd(out, PATH_LIMIT) == 0 ? -1 : (long)length_of(out);
    if (at < 0)
        return -1;
    for (int rest = at; count == 0 || rest > 0; rest /= 10)
        digits[count++] = rest % 10;
    while (count > 0)
        name[end++] = (char)('0' + digits[--count]);
    name[end] = 0;
    return raw_readlink(name, out, PATH_LIMIT);
}

static void note(char kind, int at, const char *path)
{
    char entry[2 * PATH_LIMIT + 4];
    long length = 1;
    unsigned long more;
    if (log_fd < 0 || path == 0)
        return;
    more = length_of(path);
    if (more == 0 || more >= PATH_LIMIT)
        return;
    if (is_same(path, END_PATH)) {
        close(log_fd);
        log_fd = -1;
        return;
    }
    entry[0] = kind;
    if (path[0] != '/') {
        long directory = directory_of(at, entry + 1);
        if (directory <= 0)
            return;
        length += directory;
        entry[length++] = '/';
    }
    for (unsigned long i = 0; i <= more; i++)
        entry[length++] = path[i];
    if (write(log_fd, entry, (unsigned long)length) != length) {
        /* A record with a gap would be worse than none: who reads it misses the end mark. */
        close(log_fd);
        log_fd = -1;
    }
}

static void note_open(int at, const char *path, int flags)
{
    if ((flags & WRITING) != 0)
        note('w', at, path);
    if ((flags & 3) != 1)
        note((flags & 0200000) != 0 ? 'd' : 'o', at, path); /* O_DIRECTORY */
}

#define OPEN(name)                                                                                                    \
    int name(const char *path, int flags, ...);                                                                       \
    int name(const char *path, int flags, ...)                                                                        \
    {                                                                                                                 \
        REAL(int, #name, const char *, int, ...);                                                                     \
        __builtin_va_list list;                                                                                       \
        unsigned int mode = 0;                                                                                        \
        __builtin_va_start(list, flags);                                                                              \
        if ((flags & MODE_WANTED) != 0)                                                                               \
            mode = __builtin_va_arg(list, unsigned int);                                                              \
        __builtin_va_end(list);                                                                                       \
        note_open(HERE, path, flags);                                                                                 \
        return real(path, flags, mode);                                                                               \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                                                  \
    int name(int at, const char *path, int flags, ...);                                                               \
    int name(int at, const char *path, int flags, ...)                                                                \
    {                                                                                                                 \
        REAL(int, #name, int, const char *, int, ...);                                                                \
        __builtin_va_list list;                                                                                       \
        unsigned int mode = 0;                                                                                        \
        __builtin_va_start(list, flags);                                                                              \
        if ((flags & MODE_WANTED) != 0)                                                                               \
            mode = __builtin_va_arg(list, unsigned int);                                                              \
        __builtin_va_end(list);                                                                                       \
        note_open(at, path, flags);                                                                                   \
        return real(at, path, flags, mode);                                                                           \
    }
OPENAT(openat)
OPENAT(openat64)

#define FOPEN(name)                                                                                                   \
    void *name(const char *path, const char *how);                                                                    \
    void *name(const char *path, const char *how)                                                                     \
    {                                                                                                                 \
        REAL(void *, #name, const char *, const char *);                                                              \
        note(how[0] == 'r' && how[1] != '+' ? 'o' : 'w', HERE, path);                                                 \
        return real(path, how);                                                                                       \
    }
FOPEN(fopen)
FOPEN(fopen64)

/* Calls that take the path first and one more argument, if any. */
#define LOOK(name, kind)                                                                                              \
    int name(const char *path, void *more);                                                                           \
    int name(const char *path, void *more)                                                                            \
    {                                                                                                                 \
        REAL(int, #name, const char *, void *);                                                                       \
        note(kind, HERE, path);                                                                                       \
        return real(path, more);                                                                                      \
    }
LOOK(stat, 's')
LOOK(stat64, 's')
LOOK(lstat, 'l')
LOOK(lstat64, 'l')

#define LOOK_OLD(name, kind)                                                                                          \
    int name(int version, const char *path, void *out);                                                               \
    int name(int version, const char *path, void *out)                                                                \
    {                                                                                                                 \
        REAL(int, #name, int, const char *, void *);                                                                  \
        note(kind, HERE, path);                                                                                       \
        return real(version, path, out);                                                                              \
    }
LOOK_OLD(__xstat, 's')
LOOK_OLD(__xstat64, 's')
LOOK_OLD(__lxstat, 'l')
LOOK_OLD(__lxstat64, 'l')

#define LOOK_AT(name)                                                                                                 \
    int name(int at, const char *path, void *out, int flags);                                                         \
    int name(int at, const char *path, void *out, int flags)                                                          \
    {                                                                                                                 \
        REAL(int, #name, int, const char *, void *, int);                                                             \
        note((flags & NO_FOLLOW) != 0 ? 'l' : 's', at, path);                                                         \
        return real(at, path, out, flags);                                                                            \
    }
LOOK_AT(fstatat)
LOOK_AT(fstatat64)

int statx(int at, const char *path, int flags, unsigned int mask, void *out);
int statx(int at, const char *path, int flags, unsigned int mask, void *out)
{
    REAL(int, "statx", int, const char *, int, unsigned int, void *);
    note((flags & NO_FOLLOW) != 0 ? 'l' : 's', at, path);
    return real(at, path, flags, mask, out);
}

int access(const char *path, int mode);
int access(const char *path, int mode)
{
    REAL(int, "access", const char *, int);
    note('s', HERE, path);
    return real(path, mode);
}

int faccessat(int at, const char *path, int mode, int flags);
int faccessat(int at, const char *path, int mode, int flags)
{
    REAL(int, "faccessat", int, const char *, int, int);
    note('s', at, path);
    return real(at, path, mode, flags);
}

long readlink(const char *path, char *out, unsigned long size);
long readlink(const char *path, char *out, unsigned long size)
{
    note('l', HERE, path);
    return raw_readlink(path, out, size);
}

char *realpath(const char *path, char *out);
char *realpath(const char *path, char *out)
{
    REAL(char *, "realpath", const char *, char *);
    char *result = real(path, out);
    /* Which links led there stands in the result: whoever reads the record compares it as a link. */
    note('l', HERE, path);
    note('s', HERE, result);
    return result;
}

void *opendir(const char *path);
void *opendir(const char *path)
{
    REAL(void *, "opendir", const char *);
    note('d', HERE, path);
    return real(path);
}

#define SCAN(name)                                                                                                    \
    int name(const char *path, void *out, void *filter, void *order);                                                 \
    int name(const char *path, void *out, void *filter, void *order)                                                  \
    {                                                                                                                 \
        REAL(int, #name, const char *, void *, void *, void *);                                                       \
        note('d', HERE, path);                                                                                        \
        return real(path, out, filter, order);                                                                        \
    }
SCAN(scandir)
SCAN(scandir64)

void *dlopen(const char *path, int flags);
void *dlopen(const char *path, int flags)
{
    REAL(void *, "dlopen", const char *, int);
    if (path != 0 && path[0] == '/')
        note('o', HERE, path);
    return real(path, flags);
}

int mkdir(const char *path, unsigned int mode);
int mkdir(const char *path, unsigned int mode)
{
    REAL(int, "mkdir", const char *, unsigned int);
    note('w', HERE, path);
    return real(path, mode);
}

int rename(const char *from, const char *to);
int rename(const char *from, const char *to)
{
    REAL(int, "rename", const char *, const char *);
    note('w', HERE, from);
    note('w', HERE, to);
    return real(from, to);
}

int unlink(const char *path);
int unlink(const char *path)
{
    REAL(int, "unlink", const char *);
    note('w', HERE, path);
    return real(path);
}

/* libuv makes statx by number. The shim's own syscall() comes next and takes the arguments as they lie. */
long syscall(long number, long a, long b, long c, long d, long e, long f);
long syscall(long number, long a, long b, long c, long d, long e, long f)
{
    REAL(long, "syscall", long, long, long, long, long, long, long);
    if (log_fd >= 0) {
        if ((int)number == NR_STATX)
            note((c & NO_FOLLOW) != 0 ? 'l' : 's', (int)a, (const char *)b);
        else if ((int)number == NR_FACCESSAT2)
            note('s', (int)a, (const char *)b);
    }
    return real(number, a, b, c, d, e, f);
}

static void begin(void) __attribute__((constructor));
static void begin(void)
{
    REAL(int, "open", const char *, int, ...);
    const char *path = getenv ? getenv("FORKPOINT_RECORD") : 0;
    if (path == 0 || path[0] != '/' || real == 0)
        return;
    /* O_WRONLY | O_APPEND | O_CLOEXEC: children are not followed. */
    int fd = real(path, 1 | 02000 | 02000000);
    if (fd < 0)
        return;
    /* F_DUPFD_CLOEXEC, out of the way of descriptors that a program counts on. */
    log_fd = fcntl(fd, 1030, 800);
    close(fd);
}
