/*
 * forkpoint's preload shim (LD_PRELOAD): small corrections to what a program asks of the kernel, without which CRIU
 * cannot copy it.
 *
 * It is loaded into every program of a pod, whatever its libc: so it includes no header, links with nothing
 * (-shared -fPIC -nostdlib) and asks the libc for a few symbols only, all of which may be missing. tcc must compile it as well
 * as gcc, so assembly stands at top level, where both read the same AT&T syntax, and not in asm statements.
 *
 * Layout: the libc's errno, then one section for each call that is overridden; a further override adds its own at the
 * end. A libc's functions are never called, the ones overridden here least of all: an override makes its system call
 * itself. The one exception is a chunk of glibc's own malloc, made and given back once at the start (note.h).
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
 * (do_syscall_64), and so does the comparison with 425, io_uring_setup; -4095..-1 in rax are error numbers. The three
 * calls that linked.h answers for (madvise 28, mremap 25, mprotect 10) are answered there, whichever way they are made.
 */
__asm__(".text\n"
        ".globl syscall\n"
        ".type syscall, @function\n"
        "syscall:\n"
        "    cmpl $425, %edi\n"
        "    je forkpoint_refused\n"
        "    cmpl $28, %edi\n"
        "    je forkpoint_as_function\n"
        "    cmpl $25, %edi\n"
        "    je forkpoint_as_function\n"
        "    cmpl $10, %edi\n"
        "    je forkpoint_as_function\n"
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
        "forkpoint_as_function:\n"
        "    movl %edi, %eax\n"
        "    movq %rsi, %rdi\n"
        "    movq %rdx, %rsi\n"
        "    movq %rcx, %rdx\n"
        "    movq %r8, %rcx\n"
        "    movq %r9, %r8\n"
        "    cmpl $28, %eax\n"
        "    je forkpoint_madvise\n"
        "    cmpl $25, %eax\n"
        "    je forkpoint_mremap\n"
        "    jmp forkpoint_mprotect\n"
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

/* --- linked memory: madvise(), mprotect() and mremap() ------------------------------------------------------------------------ */

#include "linked.h"

int madvise(void *address, unsigned long length, int advice);
int madvise(void *address, unsigned long length, int advice)
{
    return (int)forkpoint_madvise(address, length, advice);
}

int mprotect(void *address, unsigned long length, int prot);
int mprotect(void *address, unsigned long length, int prot)
{
    return (int)forkpoint_mprotect(address, length, prot);
}

void *mremap(void *old, unsigned long oldLength, unsigned long newLength, int flags, void *newAddress);
void *mremap(void *old, unsigned long oldLength, unsigned long newLength, int flags, void *newAddress)
{
    return forkpoint_mremap(old, oldLength, newLength, flags, newAddress);
}

/* --- unlink(): mapped libraries are kept ------------------------------------------------------------------------------ */

#include "kept.h"

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
