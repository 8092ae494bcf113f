/*
 * forkpoint's preload shim (LD_PRELOAD): small corrections to what a program asks of the kernel, without which CRIU
 * cannot copy it.
 *
 * It is loaded into every program of a pod, whatever its libc: so it includes no header, links with nothing
 * (-shared -fPIC -nostdlib) and asks the libc for two symbols only, which may be missing. tcc must compile it as well
 * as gcc, so assembly stands at top level, where both read the same AT&T syntax, and not in asm statements.
 *
 * Layout: the libc's errno, then one section for each call that is overridden; a further override adds its own at the
 * end. A libc's functions are never called, the ones overridden here least of all: an override makes its system call
 * itself.
 */

#if !defined(__x86_64__) || !defined(__linux__)
#error "the shim is written for x86-64 Linux only"
#endif

/* The kernel's error number (include/uapi/asm-generic/errno.h); there is no header to take it from. It stands again as
 * 38 in the assembly below, because an assembler sees no C macros. */
#define FORKPOINT_ENOSYS 38

#define FORKPOINT_HIDDEN __attribute__((visibility("hidden")))

/* --- errno --------------------------------------------------------------------------------------------------- */

/* glibc and musl both keep errno behind this function. A program without it (a static one does not load the shim at
 * all) gets the -1 and no reason. */
extern int *__errno_location(void) __attribute__((weak));

/* Sets errno and returns -1, which is how a libc's wrapper reports error number `error`. */
FORKPOINT_HIDDEN long forkpoint_fail(long error);
FORKPOINT_HIDDEN long forkpoint_fail(long error)
{
    if (__errno_location)
        *__errno_location() = (int)error;
    return -1;
}

/* --- syscall(): io_uring_setup is refused --------------------------------------------------------------------- */

/*
 * CRIU cannot dump a process that has an io_uring: the kernel does not even pass a ring's descriptor on (checkpoint-
 * restore/criu issue 2131). libuv creates rings for every event loop: since 1.45 for file operations, and since 1.50
 * (src/unix/linux.c, uv__platform_loop_init) two more for batches of epoll_ctl, which no environment variable turns
 * off, because uv__use_io_uring answers before it reads UV_USE_IO_URING. libuv makes the call through the libc's
 * syscall() and falls back to plain epoll and its thread pool on ENOSYS, as on a kernel without io_uring.
 *
 * syscall() is variadic in C: how many arguments there are is known to the caller alone. A C definition that walks
 * them with va_arg would read stack slots and floating point registers which were never passed, and would stand on
 * the stack when the call returns twice (clone, vfork). So the function is assembly. The C calling convention passes
 * the number and five arguments in rdi, rsi, rdx, rcx, r8, r9 and the sixth on the stack; the kernel wants rax and rdi,
 * rsi, rdx, r10, r8, r9. The return address stays on top of the stack. The kernel looks at 32 bits of the number
 * (do_syscall_64), and so does the comparison with 425, io_uring_setup; -4095..-1 in rax are error numbers.
 */
__asm__(".text\n"
        ".globl syscall\n"
        ".type syscall, @function\n"
        "syscall:\n"
        "    cmpl $425, %edi\n"
        "    je forkpoint_refused\n"
        "    movq %rdi, %rax\n"
        "    movq %rsi, %rdi\n"
        "    movq %rdx, %rsi\n"
        "    movq %rcx, %rdx\n"
        "    movq %r8, %r10\n"
        "    movq %r9, %r8\n"
        "    movq 8(%rsp), %r9\n"
        "    syscall\n"
        "    cmpq $-4095, %rax\n"
        "    jae forkpoint_failed\n"
        "    ret\n"
        "forkpoint_refused:\n"
        "    movl $38, %edi\n"
        "    jmp forkpoint_fail\n"
        "forkpoint_failed:\n"
        "    negq %rax\n"
        "    movq %rax, %rdi\n"
        "    jmp forkpoint_fail\n"
        ".size syscall, . - syscall\n");

/* --- pkey_alloc(): refused ------------------------------------------------------------------------------------ */

/*
 * V8 guards its code pages with a memory protection key where the processor has them. CRIU knows nothing of keys, so
 * a restored process would have pages without one and a PKRU register that no longer fits. V8 looks the function up
 * as a weak symbol and does without keys when it answers ENOSYS, as on a processor without them.
 */
int pkey_alloc(unsigned int flags, unsigned int rights);
int pkey_alloc(unsigned int flags, unsigned int rights)
{
    (void)flags;
    (void)rights;
    return (int)forkpoint_fail(FORKPOINT_ENOSYS);
}

/* --- system calls and small things for what follows ------------------------------------------------------------ */

#define FORKPOINT_EINVAL 22
#define FORKPOINT_ENOMEM 12
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
#define PROT_RW 3
#define MAP_PRIVATE_ANONYMOUS 0x22
#define MAP_NORESERVE 0x4000
#define MAP_FIXED 0x10
#define MAP_FIXED_NOREPLACE 0x100000
#define MADV_DONTNEED 4
#define MADV_FREE 8
#define MREMAP_MAYMOVE 1
#define MREMAP_FIXED 2
#define O_RDONLY_CLOEXEC 02000000

/* A system call; the result is the kernel's, with -4095..-1 for errors. */
long forkpoint_call(long number, long a, long b, long c, long d, long e, long f);
/* Copies `count` bytes; not memcpy, which would be the libc's. */
void forkpoint_copy(void *to, const void *from, unsigned long count);
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
    int prot;
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

/* Fills `piece` from one line of maps; 1 when it is a private mapping of a page file. */
static int read_line(const char *line, const char *end, struct forkpoint_piece *piece)
{
    static const char suffix[] = ".pages";
    const char *at = line;
    piece->start = read_hex(&at);
    at++;
    piece->end = read_hex(&at);
    at++;
    if (end - at < (long)sizeof suffix + 4 || at[3] != 'p')
        return 0;
    piece->prot = (at[0] == 'r') | (at[1] == 'w') << 1 | (at[2] == 'x') << 2;
    for (unsigned long i = 0; i < sizeof suffix - 1; i++)
        if (end[(long)i - (long)(sizeof suffix - 1)] != suffix[i])
            return 0;
    return 1;
}

/* Collects linked pieces of [from, to), at most PIECES_MAX; *next tells where to go on, 0 when all were seen. */
static int linked_pieces(unsigned long from, unsigned long to, struct forkpoint_piece *pieces, unsigned long *next)
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
            int isLinked = read_line(line, c, &piece);
            line = c + 1;
            if (piece.start >= to)
                goto done;
            if (!isLinked || piece.end <= from)
                continue;
            if (count == PIECES_MAX) {
                *next = piece.start;
                goto done;
            }
            pieces[count].start = piece.start < from ? from : piece.start;
            pieces[count].end = piece.end > to ? to : piece.end;
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

/* --- madvise(): what is given back is gone ------------------------------------------------------------------------ */

/*
 * The kernel frees at once with MADV_DONTNEED, lazily with MADV_FREE, which file mappings refuse (EINVAL, mm/madvise.c):
 * that tells, for one call, that the range is not all anonymous. V8, jemalloc and others rely on zeros afterwards.
 */
int madvise(void *address, unsigned long length, int advice);
int madvise(void *address, unsigned long length, int advice)
{
    long result = forkpoint_call(SYS_MADVISE, (long)address, (long)length, advice, 0, 0, 0);
    if (advice == MADV_DONTNEED && result == 0 && length != 0 &&
        forkpoint_call(SYS_MADVISE, (long)address, (long)length, MADV_FREE, 0, 0, 0) == -FORKPOINT_EINVAL) {
        unsigned long from = (unsigned long)address, to = (from + length + PAGE - 1) & ~(PAGE - 1);
        struct forkpoint_piece pieces[PIECES_MAX];
        do {
            unsigned long next;
            int count = linked_pieces(from, to, pieces, &next);
            for (int i = 0; i < count; i++)
                forkpoint_call(SYS_MMAP, (long)pieces[i].start, (long)(pieces[i].end - pieces[i].start), pieces[i].prot,
                               MAP_PRIVATE_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
            from = next;
        } while (from != 0);
    }
    return is_error(result) ? (int)forkpoint_fail(-result) : (int)result;
}

/* --- mremap(): what grows is zeros -------------------------------------------------------------------------------- */

void *mremap(void *old, unsigned long oldLength, unsigned long newLength, int flags, void *newAddress);
void *mremap(void *old, unsigned long oldLength, unsigned long newLength, int flags, void *newAddress)
{
    struct forkpoint_piece pieces[PIECES_MAX];
    unsigned long next;
    long result;
    if (newLength > oldLength && oldLength != 0 && !(flags & MREMAP_FIXED) &&
        linked_pieces((unsigned long)old, (unsigned long)old + oldLength, pieces, &next) > 0) {
        int prot = pieces[0].prot;
        if (!(flags & MREMAP_MAYMOVE))
            return (void *)forkpoint_fail(FORKPOINT_ENOMEM);
        result = forkpoint_call(SYS_MMAP, 0, (long)newLength, PROT_RW, MAP_PRIVATE_ANONYMOUS, -1, 0);
        if (is_error(result))
            return (void *)forkpoint_fail(-result);
        forkpoint_copy((void *)result, old, oldLength);
        if (prot != PROT_RW)
            forkpoint_call(SYS_MPROTECT, result, (long)newLength, prot, 0, 0, 0);
        forkpoint_call(SYS_MUNMAP, (long)old, (long)oldLength, 0, 0, 0, 0);
        return (void *)result;
    }
    result = forkpoint_call(SYS_MREMAP, (long)old, (long)oldLength, (long)newLength, flags, (long)newAddress, 0);
    return is_error(result) ? (void *)forkpoint_fail(-result) : (void *)result;
}

/* --- mmap(): V8's chunks side by side ------------------------------------------------------------------------------ */

/*
 * V8 puts each 256 KiB chunk of its heap at a random address, and every one is an area of its own that a restore has to
 * make, about 7 microseconds each: thousands for a large heap. It asks for 508 KiB with a hint and cuts the ends off to
 * get an aligned chunk (src/base/platform). Given the next free place of one region instead, at a random base, the
 * kernel merges the neighbours. The price is that the chunks' addresses are less random than V8 made them;
 * FORKPOINT_NO_ADDRESS_HINTS=1 in the environment leaves them alone.
 */
#define CHUNK (256ul << 10)
#define TRIM (252ul << 10)
#define HINT_MAX (256ul << 20)
#define REGION_LOWEST 0x100000000000ul

extern char **environ __attribute__((weak));

static unsigned long region; /* the next free address; 1 when hints are switched off; 0 before the first use */

static int hints_are_off(void)
{
    static const char name[] = "FORKPOINT_NO_ADDRESS_HINTS=1";
    for (char **variable = &environ != 0 ? environ : 0; variable != 0 && *variable != 0; variable++) {
        unsigned long i = 0;
        while (name[i] != 0 && (*variable)[i] == name[i])
            i++;
        if (name[i] == 0 && (*variable)[i] == 0)
            return 1;
    }
    return 0;
}

static int asks_for_chunk(unsigned long hint, unsigned long length, int prot, int flags, int fd)
{
    unsigned long rest = length & (CHUNK - 1);
    return hint != 0 && (hint & (CHUNK - 1)) == 0 && fd == -1 && (flags & 2) && !(flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) &&
           length >= CHUNK && length < HINT_MAX && (rest == 0 || rest == TRIM) && !(prot & 4);
}

void *mmap64(void *address, unsigned long length, int prot, int flags, int fd, long offset);
void *mmap64(void *address, unsigned long length, int prot, int flags, int fd, long offset)
{
    if (asks_for_chunk((unsigned long)address, length, prot, flags, fd)) {
        if (region == 0) {
            unsigned long random = 0;
            forkpoint_call(SYS_GETRANDOM, (long)&random, sizeof random, 0, 0, 0, 0);
            forkpoint_set_once(&region, hints_are_off() ? 1 : REGION_LOWEST + ((random & 0xfff) << 32));
        }
        if (region != 1) {
            unsigned long place = forkpoint_add(&region, length & ~(CHUNK - 1));
            long result = forkpoint_call(SYS_MMAP, (long)place, (long)length, prot, flags | MAP_FIXED_NOREPLACE, fd, offset);
            if (result == (long)place)
                return (void *)result;
            if (!is_error(result))
                forkpoint_call(SYS_MUNMAP, result, (long)length, 0, 0, 0, 0);
        }
    }
    long result = forkpoint_call(SYS_MMAP, (long)address, (long)length, prot, flags, fd, offset);
    return is_error(result) ? (void *)forkpoint_fail(-result) : (void *)result;
}

void *mmap(void *address, unsigned long length, int prot, int flags, int fd, long offset);
void *mmap(void *address, unsigned long length, int prot, int flags, int fd, long offset)
{
    return mmap64(address, length, prot, flags, fd, offset);
}
