/*
 * The note that the shim and forkpoint's linker leave each other; included by shim.c behind linked.h's system calls, and by
 * nothing else.
 */

/* --- the note --------------------------------------------------------------------------------------------------- */

/*
 * The linker (packages/linker/src/note.ts) finds the note by its first bytes among the pages of the shim in an image. The
 * shim tells it where glibc counts the chunks that have a mapping of their own; the linker writes into the image where
 * there may be linked memory, so that a program which was never restored pays for none of the checks below, and a restored
 * one only in those places. Both know this layout. It lies in one page, which is the process's own from the start, because
 * the shim writes to it: so it is in every image, and it is never linked itself.
 */
#define NOTE_RANGES 16

struct forkpoint_range {
    unsigned long start, end;
};

static struct {
    char magic[16];
    unsigned long isReady;
    unsigned int *chunks;      /* 0 when it was not found */
    unsigned long *chunkBytes; /* what they take, with what lies before and behind them */
    unsigned long ranges;
    struct forkpoint_range linked[NOTE_RANGES];
} note __attribute__((aligned(512), used)) = {"forkpoint note 1", 0, 0, 0, 0, {{0, 0}}};

/* Whether some of [from, to) may be linked. */
static int may_be_linked(unsigned long from, unsigned long to)
{
    unsigned long count = *(volatile unsigned long *)&note.ranges;
    for (unsigned long i = 0; i < count && i < NOTE_RANGES; i++)
        if (from < note.linked[i].end && note.linked[i].start < to)
            return 1;
    return 0;
}

/* Notes that linked memory has come to [from, to). Nobody else can know of it before the call that moved it returns. */
static void note_linked(unsigned long from, unsigned long to)
{
    unsigned long at = forkpoint_add(&note.ranges, 1);
    if (at >= NOTE_RANGES) {
        /* No place is left: it may be anywhere. The first bound is widened downwards, then the other upwards. */
        at = 0;
        from = 0;
        to = ~0ul;
        note.ranges = NOTE_RANGES;
    }
    *(volatile unsigned long *)&note.linked[at].start = from;
    *(volatile unsigned long *)&note.linked[at].end = to;
}

/* --- the note: where glibc counts mapped chunks ---------------------------------------------------------------------- */

/*
 * glibc counts them in a structure without a name (malloc/malloc.c, mp_), among its initialised data. So one such chunk is
 * made and given back, and the words that go up by one, and by its size, and back again are the two that are wanted. Only
 * the names that never belong to another allocator are called. A chunk above DEFAULT_MMAP_THRESHOLD_MAX (32 MiB) always has
 * a mapping of its own, and freeing it leaves the threshold as it is. Its memory is not touched but for the header.
 */
#define COUNTED_BYTES (33ul << 20)
#define DATA_MAX 16384
#define DATA_WINDOW 65536ul
#define CANDIDATES_MAX 8
#define CHUNK_IS_MAPPED 2ul
#define CHUNK_FLAGS 7ul

extern void *__libc_malloc(unsigned long bytes) __attribute__((weak));
extern void __libc_free(void *memory) __attribute__((weak));
/* The place of something in the libc's data. */
extern char _IO_2_1_stdout_[] __attribute__((weak));

/* Returns the libc's data, as far as it is of the file; 0 for none or more than `limit` bytes. */
static unsigned long libc_data(unsigned long limit, unsigned long *length)
{
    struct forkpoint_piece pieces[PIECES_MAX];
    unsigned long known = (unsigned long)_IO_2_1_stdout_, next;
    if (known < DATA_WINDOW)
        return 0;
    int count = areas_within(known - DATA_WINDOW, known + DATA_WINDOW, 0, pieces, &next);
    for (int i = 0; i < count; i++) {
        if (known < pieces[i].start || known >= pieces[i].end)
            continue;
        *length = pieces[i].end - pieces[i].start;
        return (pieces[i].prot & PROT_RW) == PROT_RW && *length <= limit ? pieces[i].start : 0;
    }
    return 0;
}

static void find_counters(void)
{
    char before[DATA_MAX];
    unsigned int *ones[CANDIDATES_MAX], *chunks = 0;
    unsigned long *sizes[CANDIDATES_MAX], *chunkBytes = 0, length = 0, data = libc_data(DATA_MAX, &length);
    int oneCount = 0, sizeCount = 0, found = 0, foundBytes = 0;
    if (data == 0)
        return;
    forkpoint_copy(before, (const void *)data, length);
    unsigned long *chunk = __libc_malloc(COUNTED_BYTES);
    if (chunk == 0)
        return;
    unsigned long size = chunk[-1] & ~CHUNK_FLAGS;
    for (unsigned long at = 0; (chunk[-1] & CHUNK_IS_MAPPED) && at + 8 <= length; at += 4) {
        if (*(unsigned int *)(data + at) == *(unsigned int *)(before + at) + 1 && oneCount < CANDIDATES_MAX)
            ones[oneCount++] = (unsigned int *)(data + at);
        if (at % 8 == 0 && *(unsigned long *)(data + at) == *(unsigned long *)(before + at) + size && sizeCount < CANDIDATES_MAX)
            sizes[sizeCount++] = (unsigned long *)(data + at);
    }
    __libc_free(chunk);
    /* The highest values that there were stay up. */
    for (int i = 0; i < oneCount; i++)
        if (*ones[i] == *(unsigned int *)(before + ((unsigned long)ones[i] - data)) && ++found)
            chunks = ones[i];
    for (int i = 0; i < sizeCount; i++)
        if (*sizes[i] == *(unsigned long *)(before + ((unsigned long)sizes[i] - data)) && ++foundBytes)
            chunkBytes = sizes[i];
    if (found == 1 && foundBytes == 1) {
        note.chunks = chunks;
        note.chunkBytes = chunkBytes;
    }
}

__attribute__((constructor)) static void forkpoint_start(void)
{
    note.isReady = 1;
    if (__libc_malloc && __libc_free && _IO_2_1_stdout_)
        find_counters();
}
