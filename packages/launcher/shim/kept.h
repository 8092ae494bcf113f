/*
 * The part of the shim that keeps mapped native libraries when a program deletes them; included by shim.c, behind linked.h,
 * and by nothing else.
 */

/* --- unlink(): a library that is mapped keeps a name -------------------------------------------------------------- */

/*
 * Java libraries with native parts (jffi, Netty, JNA, SQLite) unpack a shared object into the temporary directory, load it
 * and delete it. CRIU cannot dump the mapping of a deleted file without root, and a clone needs the file anyway. So the
 * file is renamed instead, to NAME.forkpoint-kept, for which the caller sees the same as for a deletion: the name is gone.
 * Only regular files that begin like a shared object are looked for in /proc/self/maps: all others cost one stat(2) more.
 */
#define SYS_OPEN_AT 257
#define FORKPOINT_ENOTDIR 20
#define SYS_STAT_AT 262
#define SYS_READLINK 89
#define SYS_UNLINK_AT 263
#define SYS_RENAME_AT2 316
#define FORKPOINT_EEXIST 17
#define AT_FDCWD (-100l)
#define AT_SYMLINK_NOFOLLOW 0x100
#define AT_REMOVEDIR 0x200
#define RENAME_NOREPLACE 1
#define O_LOOK 02400000 /* O_RDONLY, O_CLOEXEC, O_NOFOLLOW */
#define S_IFMT 0170000
#define S_IFREG 0100000
#define KEPT_PATH_MAX 4096
#define KEPT_MAX 1000

/* struct stat of x86-64, as far as it is read. */
struct forkpoint_stat {
    unsigned long device, inode, links;
    unsigned int mode, rest[29];
};

static unsigned long length_of(const char *text)
{
    unsigned long length = 0;
    while (text[length] != 0)
        length++;
    return length;
}

/* Writes the decimal digits of `number` and a 0 to `to`. */
static void write_number(char *to, unsigned long number)
{
    char digits[24];
    int count = 0;
    do
        digits[count++] = (char)('0' + number % 10);
    while ((number /= 10) != 0);
    while (count > 0)
        *to++ = digits[--count];
    *to = 0;
}

/* Whether a line of maps from `line` to `end` ends with " PATH". */
static int names_path(const char *line, const char *end, const char *path, unsigned long length)
{
    if (end - line < (long)length + 1 || *(end - length - 1) != ' ')
        return 0;
    for (unsigned long i = 0; i < length; i++)
        if (*(end - length + i) != path[i])
            return 0;
    return 1;
}

/* Whether this process has a file of this absolute path mapped. */
static int is_mapped(const char *path, unsigned long length)
{
    static const char maps[] = "/proc/self/maps";
    char buffer[KEPT_PATH_MAX + 128];
    long held = 0, count;
    int found = 0;
    long fd = forkpoint_call(SYS_OPEN, (long)maps, O_RDONLY_CLOEXEC, 0, 0, 0, 0);
    if (is_error(fd))
        return 0;
    while (!found && (count = forkpoint_call(SYS_READ, fd, (long)(buffer + held), (long)sizeof buffer - held, 0, 0, 0)) > 0) {
        const char *line = buffer;
        held += count;
        for (const char *at = buffer; at < buffer + held && !found; at++) {
            if (*at != '\n')
                continue;
            found = names_path(line, at, path, length);
            line = at + 1;
        }
        held -= line - buffer;
        for (long i = 0; i < held; i++)
            buffer[i] = line[i];
        if (held == (long)sizeof buffer)
            held = 0; /* Longer than any path that was asked for. */
    }
    forkpoint_call(SYS_CLOSE, fd, 0, 0, 0, 0, 0);
    return found;
}

/* Whether the regular file at `path` is a shared object that this process has mapped. */
static int is_mapped_library(long directory, const char *path)
{
    struct forkpoint_stat status;
    char head[4] = {0}, link[40] = "/proc/self/fd/", name[KEPT_PATH_MAX];
    if (is_error(forkpoint_call(SYS_STAT_AT, directory, (long)path, (long)&status, AT_SYMLINK_NOFOLLOW, 0, 0)) ||
        (status.mode & S_IFMT) != S_IFREG)
        return 0;
    long fd = forkpoint_call(SYS_OPEN_AT, directory, (long)path, O_LOOK, 0, 0, 0);
    if (is_error(fd))
        return 0;
    long length = 0;
    if (forkpoint_call(SYS_READ, fd, (long)head, sizeof head, 0, 0, 0) == sizeof head && head[0] == 127 && head[1] == 'E' &&
        head[2] == 'L' && head[3] == 'F') {
        write_number(link + 14, (unsigned long)fd);
        length = forkpoint_call(SYS_READLINK, (long)link, (long)name, sizeof name, 0, 0, 0);
    }
    forkpoint_call(SYS_CLOSE, fd, 0, 0, 0, 0, 0);
    return length > 0 && length < (long)sizeof name && is_mapped(name, (unsigned long)length);
}

/* Renames the file to the first free name; whether that was possible. */
static int keep(long directory, const char *path)
{
    static const char suffix[] = ".forkpoint-kept";
    char name[KEPT_PATH_MAX];
    unsigned long length = length_of(path);
    if (length + sizeof suffix + 8 > sizeof name)
        return 0;
    forkpoint_copy(name, path, length);
    forkpoint_copy(name + length, suffix, sizeof suffix);
    for (unsigned long number = 0; number < KEPT_MAX; number++) {
        if (number > 0) {
            name[length + sizeof suffix - 1] = '-';
            write_number(name + length + sizeof suffix, number);
        }
        long result = forkpoint_call(SYS_RENAME_AT2, directory, (long)path, directory, (long)name, RENAME_NOREPLACE, 0);
        if (result != -FORKPOINT_EEXIST)
            return !is_error(result);
    }
    return 0;
}

static int delete_name(long directory, const char *path, long flags)
{
    if (!(flags & AT_REMOVEDIR) && path != 0 && is_mapped_library(directory, path) && keep(directory, path))
        return 0;
    long result = forkpoint_call(SYS_UNLINK_AT, directory, (long)path, flags, 0, 0, 0);
    return is_error(result) ? (int)forkpoint_fail(-result) : 0;
}

int unlink(const char *path);
int unlink(const char *path)
{
    return delete_name(AT_FDCWD, path, 0);
}

int unlinkat(int directory, const char *path, int flags);
int unlinkat(int directory, const char *path, int flags)
{
    return delete_name(directory, path, flags);
}

int remove(const char *path);
int remove(const char *path)
{
    long result = forkpoint_call(SYS_UNLINK_AT, AT_FDCWD, (long)path, AT_REMOVEDIR, 0, 0, 0);
    if (result == -FORKPOINT_ENOTDIR)
        return delete_name(AT_FDCWD, path, 0);
    return is_error(result) ? (int)forkpoint_fail(-result) : 0;
}
