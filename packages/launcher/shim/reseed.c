/*
 * reseed.node: makes OpenSSL's random generators of this process take new entropy from the kernel.
 *
 * Two clones of one image hold the same generator state, and OpenSSL notices a fork only by a changed pid, which a
 * clone does not have. RAND_poll() reseeds the primary generator; the ones of all threads reseed from it before their
 * next use (OpenSSL 3, providers/implementations/rands/drbg.c: a child compares its parent's reseed counter).
 *
 * It is a Node-API addon of one function, so that `process.dlopen` is all it takes to call it: every dlopen of the
 * same file runs napi_register_module_v1 again. No header and no library is needed to build it
 * (-shared -fPIC -nostdlib, gcc or tcc); both symbols come from the node binary or its libcrypto.
 */

#if !defined(__x86_64__) || !defined(__linux__)
#error "reseed.node is written for x86-64 Linux only"
#endif

typedef void *forkpoint_env;
typedef void *forkpoint_value;

extern int RAND_poll(void) __attribute__((weak));
extern int napi_throw_error(forkpoint_env env, const char *code, const char *message) __attribute__((weak));

static void fail(forkpoint_env env, const char *message)
{
    if (napi_throw_error)
        napi_throw_error(env, "ERR_FORKPOINT_RESEED", message);
}

/* Returns NULL: the module exports nothing. Throws when OpenSSL is missing or has no entropy, because a clone that
 * silently keeps its parent's random numbers is worse than one that says so. */
forkpoint_value napi_register_module_v1(forkpoint_env env, forkpoint_value exports);
forkpoint_value napi_register_module_v1(forkpoint_env env, forkpoint_value exports)
{
    (void)exports;
    if (!RAND_poll)
        fail(env, "this node exports no RAND_poll; its random generators cannot be reseeded");
    else if (RAND_poll() != 1)
        fail(env, "RAND_poll found no entropy");
    return 0;
}
