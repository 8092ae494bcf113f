/*
 * Preloaded into CRIU for the restore of an image with System V objects, and into nothing else.
 *
 * CRIU sets the limits of an ipc namespace before it restores what is in it (prepare_ipc_var in criu/ipc_ns.c), and stops
 * when it may not. The kernel allows it to a mapped uid 0 only (ipc_permissions in ipc/ipc_sysctl.c), which a rootless
 * pod has not got. The program had no right to change the limits either, so a new namespace's own are what it had: where
 * opening one of these files is forbidden, CRIU gets /dev/null to write to. The ids of the objects are not limits
 * (msg_next_id and the like); those CRIU may set with CAP_CHECKPOINT_RESTORE.
 *
 * Like shim.c it is free of headers and of the libc, so that gcc and tcc both compile it.
 */

#if !defined(__x86_64__) || !defined(__linux__)
#error "the shim is written for x86-64 Linux only"
#endif

extern int *__errno_location(void) __attribute__((weak));

#define EACCES 13
#define AT_FDCWD (-100)
#define O_RDWR 2
#define O_CLOEXEC 02000000

/* openat(2), system call 257: the arguments are where the kernel wants them but for the fourth. */
long forkpoint_openat(long directory, const char *path, long flags, long mode);
__asm__(".text\n"
        ".globl forkpoint_openat\n"
        ".hidden forkpoint_openat\n"
        ".type forkpoint_openat, @function\n"
        "forkpoint_openat:\n"
        "    movq %rcx, %r10\n"
        "    movl $257, %eax\n"
        "    syscall\n"
        "    ret\n"
        ".size forkpoint_openat, . - forkpoint_openat\n");

static const char *const limits[] = {
    "sys/kernel/sem", "sys/kernel/msgmax", "sys/kernel/msgmnb", "sys/kernel/auto_msgmni", "sys/kernel/msgmni",
    "sys/kernel/shmmax", "sys/kernel/shmall", "sys/kernel/shmmni", "sys/kernel/shm_rmid_forced",
    "sys/fs/mqueue/queues_max", "sys/fs/mqueue/msg_max", "sys/fs/mqueue/msgsize_max", "sys/fs/mqueue/msg_default",
    "sys/fs/mqueue/msgsize_default"};

static int is_limit(const char *path)
{
    for (unsigned long i = 0; i < sizeof limits / sizeof *limits; i++) {
        const char *a = path, *b = limits[i];
        while (*a != 0 && *a == *b)
            a++, b++;
        if (*a == 0 && *b == 0)
            return 1;
    }
    return 0;
}

/* CRIU is built for 64-bit file offsets, which makes its openat this one. */
int openat64(int directory, const char *path, int flags, int mode)
{
    long result = forkpoint_openat(directory, path, flags, mode);
    if (result == -EACCES && is_limit(path))
        result = forkpoint_openat(AT_FDCWD, "/dev/null", O_RDWR | O_CLOEXEC, 0);
    if (result < 0) {
        if (__errno_location)
            *__errno_location() = (int)-result;
        return -1;
    }
    return (int)result;
}
