/*
 * The part of the shim that keeps linked memory honest; included by shim.c and by nothing else.
 */

/* --- system calls and small things for what follows ------------------------------------------------------------ */

#define FORKPOINT_ENOMEM 12
#define FORKPOINT_EACCES 13
#define FORKPOINT_EFAULT 14
#define FORKPOINT_EINVAL 22
#define SYS_READ 0
#define SYS_OPEN 2
#define SYS_CLOSE 3
#define SYS_MMAP 9
#define SYS_MPROTECT 10
#define SYS_MUNMAP 11
#define SYS_MREMAP 25
#define SYS_MADVISE 28
#define SYS_GETRANDOM 318
#define PAGE 4096ul
#define PROT_R 1
#define PROT_RW 3
#define PROT_X 4
#define MAP_PRIVATE_ANONYMOUS 0x22
#define MAP_NORESERVE 0x4000
#define MAP_FIXED 0x10
#define MAP_FIXED_NOREPLACE 0x100000
#define MADV_DONTNEED 4
#define MADV_FREE 8
#define MADV_WIPEONFORK 18
#define MADV_DONTNEED_LOCKED 24
#define MADV_GUARD_INSTALL 102
#define MREMAP_MAYMOVE 1
#define MREMAP_FIXED 2
#define MREMAP_DONTUNMAP 4
#define O_RDONLY_CLOEXEC 02000000

/* A system call; the result is the kernel's, with -4095..-1 for errors. */
long forkpoint_call(long number, long a, long b, long c, long d, long e, long f);
/* Copies `count` bytes; not memcpy, which would be the libc's. */
void forkpoint_copy(void *to, const void *from, unsigned long count);
/* Sets `count` bytes to zero. */
void forkpoint_zero(void *at, unsigned long count);
/* Adds to *value atomically and returns what it was. */
unsigned long forkpoint_add(unsigned long *value, unsigned long more);
/* Sets *value if it is 0, atomically. */
void forkpoint_set_once(unsigned long *value, unsigned long wanted);

__asm__(".text\n"
        ".globl forkpoint_call\n.hidden forkpoint_call\n.type forkpoint_call, @function\n"
        "forkpoint_call:\n"
        "    movq %rdi, %rax\n"
        "    movq %rsi, %rdi\n"
        "    movq %rdx, %rsi\n"
        "    movq %rcx, %rdx\n"
        "    movq %r8, %r10\n"
        "    movq %r9, %r8\n"
        "    movq 8(%rsp), %r9\n"
        "    syscall\n"
        "    ret\n"
        ".size forkpoint_call, . - forkpoint_call\n"
        ".globl forkpoint_copy\n.hidden forkpoint_copy\n.type forkpoint_copy, @function\n"
        "forkpoint_copy:\n"
        "    movq %rdx, %rcx\n"
        "    rep movsb\n"
        "    ret\n"
        ".size forkpoint_copy, . - forkpoint_copy\n"
        ".globl forkpoint_zero\n.hidden forkpoint_zero\n.type forkpoint_zero, @function\n"
        "forkpoint_zero:\n"
        "    movq %rsi, %rcx\n"
        "    xorl %eax, %eax\n"
        "    rep stosb\n"
        "    ret\n"
        ".size forkpoint_zero, . - forkpoint_zero\n"
        ".globl forkpoint_add\n.hidden forkpoint_add\n.type forkpoint_add, @function\n"
        "forkpoint_add:\n"
        "    movq %rsi, %rax\n"
        "    lock xaddq %rax, (%rdi)\n"
        "    ret\n"
        ".size forkpoint_add, . - forkpoint_add\n"
        ".globl forkpoint_set_once\n.hidden forkpoint_set_once\n.type forkpoint_set_once, @function\n"
        "forkpoint_set_once:\n"
        "    xorl %eax, %eax\n"
        "    lock cmpxchgq %rsi, (%rdi)\n"
        "    ret\n"
        ".size forkpoint_set_once, . - forkpoint_set_once\n");

static int is_error(long result)
{
    return result < 0 && result > -4096;
}

/* --- linked memory: which pieces of a range are mappings of a page file ------------------------------------------ */

/*
 * The memory of a program restored from a linked image is mapped from page files. Two calls would show the difference to
 * anonymous memory: madvise(MADV_DONTNEED) brings the file's bytes back instead of zeros, and mremap(2) grows into whatever
 * follows in the file. A page file is known by its name in /proc/self/maps. No memory is allocated here: an allocator
 * may be the caller.
 */
struct forkpoint_piece {
    unsigned long start, end;
    int prot, isLinked, isAnonymous;
};

#define PIECES_MAX 64

static unsigned long read_hex(const char **at)
{
    unsigned long value = 0;
    for (;; (*at)++) {
        char c = **at;
        if (c >= '0' && c <= '9')
            value = value * 16 + (unsigned long)(c - '0');
        else if (c >= 'a' && c <= 'f')
            value = value * 16 + (unsigned long)(c - 'a' + 10);
        else
            return value;
    }
}

/* Fills `piece` from one line of maps. It is linked when it is a private mapping of a page file, anonymous without a device. */
static void read_line(const char *line, const char *end, struct forkpoint_piece *piece)
{
    static const char suffix[] = ".pages";
    const char *at = line;
    piece->start = read_hex(&at);
    at++;
    piece->end = read_hex(&at);
    at++;
    piece->prot = (at[0] == 'r') | (at[1] == 'w') << 1 | (at[2] == 'x') << 2;
    piece->isLinked = end - at >= (long)sizeof suffix + 4 && at[3] == 'p';
    const char *device = at + 5;
    read_hex(&device);
    piece->isAnonymous = at[3] == 'p' && device[1] == '0' && device[2] == '0' && device[3] == ':' && device[4] == '0' && device[5] == '0';
    for (unsigned long i = 0; piece->isLinked && i < sizeof suffix - 1; i++)
        piece->isLinked = end[(long)i - (long)(sizeof suffix - 1)] == suffix[i];
}

/*
 * Collects the areas of [from, to), or only the linked ones, at most PIECES_MAX; *next tells where to go on, 0 when all
 * were seen.
 */
static int areas_within(unsigned long from, unsigned long to, int linkedOnly, struct forkpoint_piece *pieces, unsigned long *next)
{
    char buffer[8192];
    long length = 0;
    int count = 0;
    long fd = forkpoint_call(SYS_OPEN, (long)"/proc/self/maps", O_RDONLY_CLOEXEC, 0, 0, 0, 0);
    *next = 0;
    if (is_error(fd))
        return 0;
    for (;;) {
        long got = forkpoint_call(SYS_READ, fd, (long)(buffer + length), (long)sizeof buffer - length, 0, 0, 0);
        if (got <= 0)
            break;
        length += got;
        char *line = buffer;
        for (char *c = buffer; c < buffer + length; c++) {
            struct forkpoint_piece piece;
            if (*c != '\n')
                continue;
            read_line(line, c, &piece);
            line = c + 1;
            if (piece.start >= to)
                goto done;
            if (piece.end <= from || (linkedOnly && !piece.isLinked))
                continue;
            if (count == PIECES_MAX) {
                *next = piece.start;
                goto done;
            }
            pieces[count].start = piece.start < from ? from : piece.start;
            pieces[count].end = piece.end > to ? to : piece.end;
            pieces[count].isLinked = piece.isLinked;
            pieces[count].isAnonymous = piece.isAnonymous;
            pieces[count++].prot = piece.prot;
        }
        length -= line - buffer;
        for (long i = 0; i < length; i++)
            buffer[i] = line[i];
        if (length == (long)sizeof buffer)
            length = 0; /* A name longer than the buffer is none of ours. */
    }
done:
    forkpoint_call(SYS_CLOSE, fd, 0, 0, 0, 0, 0);
    return count;
}

#include "note.h"

/* --- madvise(): what is given back is gone ------------------------------------------------------------------------ */

/* Puts zeros in the place of linked memory. Returns whether there was any. */
static int forget(unsigned long from, unsigned long to)
{
    struct forkpoint_piece pieces[PIECES_MAX];
    int found = 0;
    do {
        unsigned long next;
        int count = areas_within(from, to, 1, pieces, &next);
        for (int i = 0; i < count; i++) {
            unsigned long start = pieces[i].start, length = pieces[i].end - start;
            long result = forkpoint_call(SYS_MMAP, (long)start, (long)length, pieces[i].prot,
                                         MAP_PRIVATE_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
            /* The process has as many areas as it may have (vm.max_map_count): then the zeros are written. */
            if (is_error(result) && (pieces[i].prot & PROT_RW) == PROT_RW)
                forkpoint_zero((void *)start, length);
        }
        found |= count > 0;
        from = next;
    } while (from != 0);
    return found;
}

/* Puts anonymous memory with the same bytes in the place of linked memory. Returns whether there was any and it succeeded. */
static int own(unsigned long from, unsigned long to)
{
    struct forkpoint_piece pieces[PIECES_MAX];
    int found = 0;
    do {
        unsigned long next;
        int count = areas_within(from, to, 1, pieces, &next);
        for (int i = 0; i < count; i++) {
            unsigned long start = pieces[i].start, length = pieces[i].end - start;
            long copy = forkpoint_call(SYS_MMAP, 0, (long)length, PROT_RW, MAP_PRIVATE_ANONYMOUS, -1, 0);
            if (is_error(copy))
                return 0;
            if (!(pieces[i].prot & PROT_R))
                forkpoint_call(SYS_MPROTECT, (long)start, (long)length, PROT_R, 0, 0, 0);
            forkpoint_copy((void *)copy, (const void *)start, length);
            forkpoint_call(SYS_MPROTECT, copy, (long)length, pieces[i].prot, 0, 0, 0);
            if (is_error(forkpoint_call(SYS_MREMAP, copy, (long)length, (long)length, MREMAP_MAYMOVE | MREMAP_FIXED, (long)start, 0))) {
                forkpoint_call(SYS_MUNMAP, copy, (long)length, 0, 0, 0, 0);
                return 0;
            }
        }
        found |= count > 0;
        from = next;
    } while (from != 0);
    return found;
}

/*
 * The kernel frees at once with MADV_DONTNEED, also when part of the range is not mapped (ENOMEM), lazily with MADV_FREE,
 * which file mappings refuse (EINVAL, mm/madvise.c): that tells, for one call, that the range is not all anonymous. V8,
 * jemalloc and others rely on zeros afterwards. A guard drops what lies below it. Wiping is for anonymous memory only.
 */
FORKPOINT_HIDDEN long forkpoint_madvise(void *address, unsigned long length, int advice);
FORKPOINT_HIDDEN long forkpoint_madvise(void *address, unsigned long length, int advice)
{
    long result = forkpoint_call(SYS_MADVISE, (long)address, (long)length, advice, 0, 0, 0);
    unsigned long from = (unsigned long)address, to = (from + length + PAGE - 1) & ~(PAGE - 1);
    if (!may_be_linked(from, to) || length == 0 || (from & (PAGE - 1)) != 0) {
        /* The kernel has said all there is to say. */
    } else if ((advice == MADV_DONTNEED || advice == MADV_DONTNEED_LOCKED) && (result == 0 || result == -FORKPOINT_ENOMEM)) {
        if (result != 0 || forkpoint_call(SYS_MADVISE, (long)address, (long)length, MADV_FREE, 0, 0, 0) == -FORKPOINT_EINVAL)
            forget(from, to);
    } else if ((advice == MADV_FREE && result == -FORKPOINT_EINVAL) || advice == MADV_GUARD_INSTALL) {
        if (forget(from, to))
            result = forkpoint_call(SYS_MADVISE, (long)address, (long)length, advice, 0, 0, 0);
    } else if (advice == MADV_WIPEONFORK && result == -FORKPOINT_EINVAL) {
        if (own(from, to))
            result = forkpoint_call(SYS_MADVISE, (long)address, (long)length, advice, 0, 0, 0);
    }
    return is_error(result) ? forkpoint_fail(-result) : result;
}

/* --- mprotect(): code may be made anywhere ------------------------------------------------------------------------ */

/* A mapping of a file on a file system that is mounted noexec may not become executable (EACCES, mm/mprotect.c). */
FORKPOINT_HIDDEN long forkpoint_mprotect(void *address, unsigned long length, int prot);
FORKPOINT_HIDDEN long forkpoint_mprotect(void *address, unsigned long length, int prot)
{
    long result = forkpoint_call(SYS_MPROTECT, (long)address, (long)length, prot, 0, 0, 0);
    unsigned long from = (unsigned long)address, to = (from + length + PAGE - 1) & ~(PAGE - 1);
    if (result == -FORKPOINT_EACCES && (prot & PROT_X) && may_be_linked(from, to) && own(from, to))
        result = forkpoint_call(SYS_MPROTECT, (long)address, (long)length, prot, 0, 0, 0);
    return is_error(result) ? forkpoint_fail(-result) : result;
}

/* --- mremap(): what grows is zeros -------------------------------------------------------------------------------- */

/*
 * Moves the areas of [old, old + length) to `to`, where there is memory already. What was one area may be several since
 * the restore, which the kernel refuses to move in one call (EFAULT, mm/mremap.c). *moved tells how far it came.
 */
static long move_areas(unsigned long old, unsigned long length, unsigned long to, unsigned long *moved)
{
    struct forkpoint_piece pieces[PIECES_MAX];
    unsigned long from = old;
    *moved = 0;
    do {
        unsigned long next;
        int count = areas_within(from, old + length, 0, pieces, &next);
        for (int i = 0; i < count; i++) {
            long size = (long)(pieces[i].end - pieces[i].start);
            long result = forkpoint_call(SYS_MREMAP, (long)pieces[i].start, size, size, MREMAP_MAYMOVE | MREMAP_FIXED,
                                         (long)(to + (pieces[i].start - old)), 0);
            if (is_error(result))
                return result;
            *moved = pieces[i].end - old;
        }
        from = next;
    } while (from != 0);
    return 0;
}

/* Grows linked memory where it lies, by anonymous memory behind it; 1 when that was possible. */
static int grow_in_place(unsigned long end, unsigned long more, int prot)
{
    long result = forkpoint_call(SYS_MMAP, (long)end, (long)more, prot, MAP_PRIVATE_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (result == (long)end)
        return 1;
    /* A kernel before 4.17 takes the address for a hint. */
    if (!is_error(result))
        forkpoint_call(SYS_MUNMAP, result, (long)more, 0, 0, 0, 0);
    return 0;
}

static long move_linked(unsigned long old, unsigned long oldLength, unsigned long newLength, int flags, unsigned long to, int prot)
{
    unsigned long kept = newLength < oldLength ? newLength : oldLength, moved;
    long place;
    if (flags & MREMAP_FIXED) {
        if (to < old + oldLength && old < to + newLength)
            return -FORKPOINT_EINVAL;
        place = forkpoint_call(SYS_MMAP, (long)to, (long)newLength, prot, MAP_PRIVATE_ANONYMOUS | MAP_FIXED, -1, 0);
    } else {
        place = forkpoint_call(SYS_MMAP, 0, (long)newLength, prot, MAP_PRIVATE_ANONYMOUS, -1, 0);
    }
    if (is_error(place))
        return place;
    long result = move_areas(old, kept, (unsigned long)place, &moved);
    if (is_error(result)) {
        /* What was moved goes back; the caller still has all of it. */
        move_areas((unsigned long)place, moved, old, &moved);
        forkpoint_call(SYS_MUNMAP, place, (long)newLength, 0, 0, 0, 0);
        return result;
    }
    if (oldLength > kept)
        forkpoint_call(SYS_MUNMAP, (long)(old + kept), (long)(oldLength - kept), 0, 0, 0, 0);
    return place;
}

/*
 * Whether [from, to) was one area before a restore made several of it: anonymous or linked without a gap, and of one
 * protection. *linked tells whether some of it is linked.
 */
static int was_one(unsigned long from, unsigned long to, int *prot, int *linked)
{
    struct forkpoint_piece pieces[PIECES_MAX];
    unsigned long at = from, next = from;
    *linked = 0;
    *prot = -1;
    do {
        int count = areas_within(next, to, 0, pieces, &next);
        for (int i = 0; i < count; i++) {
            if (pieces[i].start != at || !(pieces[i].isAnonymous || pieces[i].isLinked) || (*prot != -1 && *prot != pieces[i].prot))
                return 0;
            *prot = pieces[i].prot;
            *linked |= pieces[i].isLinked;
            at = pieces[i].end;
        }
    } while (next != 0);
    return at == to;
}

FORKPOINT_HIDDEN void *forkpoint_mremap(void *old, unsigned long oldLength, unsigned long newLength, int flags, void *newAddress);
FORKPOINT_HIDDEN void *forkpoint_mremap(void *old, unsigned long oldLength, unsigned long newLength, int flags, void *newAddress)
{
    unsigned long from = (unsigned long)old, size = (oldLength + PAGE - 1) & ~(PAGE - 1);
    unsigned long wanted = (newLength + PAGE - 1) & ~(PAGE - 1), to = (unsigned long)newAddress;
    int isPlain = size == 0 || wanted == 0 || (from & (PAGE - 1)) != 0 || (flags & ~(MREMAP_MAYMOVE | MREMAP_FIXED)) != 0 ||
                  (flags & (MREMAP_MAYMOVE | MREMAP_FIXED)) == MREMAP_FIXED;
    int mayBe = may_be_linked(from, from + size);
    int prot, linked, isOurs = mayBe && !isPlain && (wanted > size || (flags & MREMAP_FIXED)) && was_one(from, from + size, &prot, &linked);
    long result = -FORKPOINT_EFAULT;
    if (!isOurs || !linked)
        result = forkpoint_call(SYS_MREMAP, (long)old, (long)oldLength, (long)newLength, flags, (long)newAddress, 0);
    if (result == -FORKPOINT_EFAULT && isOurs) {
        if (!(flags & MREMAP_FIXED) && grow_in_place(from + size, wanted - size, prot))
            return old;
        result = flags & MREMAP_MAYMOVE ? move_linked(from, size, wanted, flags, to, prot) : -FORKPOINT_ENOMEM;
    }
    if (mayBe && !is_error(result) && result != (long)from)
        note_linked((unsigned long)result, (unsigned long)result + wanted);
    /* What stays behind shows zeros, and not the file. */
    if (mayBe && !is_error(result) && (flags & MREMAP_DONTUNMAP))
        forget(from, from + size);
    return is_error(result) ? (void *)forkpoint_fail(-result) : (void *)result;
}
