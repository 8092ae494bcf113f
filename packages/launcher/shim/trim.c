/*
 * trim.node: has glibc give the kernel back what it holds free in all of its arenas (malloc_trim(3)).
 *
 * A Node-API addon of one function, as reseed.node is: every `process.dlopen` of it is a call. With linked memory glibc's own
 * madvise(2), which no preload sees, brings the page file's bytes back instead of zeros; these lie within free chunks, whose
 * content nobody relies on, and the page is shared again.
 */

#if !defined(__x86_64__) || !defined(__linux__)
#error "trim.node is written for x86-64 Linux only"
#endif

extern int malloc_trim(unsigned long pad) __attribute__((weak));

/* Returns NULL: the module exports nothing. Does nothing where the libc has no such function, as musl. */
void *napi_register_module_v1(void *env, void *exports);
void *napi_register_module_v1(void *env, void *exports)
{
    (void)env;
    (void)exports;
    if (malloc_trim)
        malloc_trim(0);
    return 0;
}
