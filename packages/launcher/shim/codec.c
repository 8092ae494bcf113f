/*
 * codec.node: zstd for Node.js versions whose node:zlib has none (before 22.15), from the machine's own libzstd.so.1,
 * which the package managers of Debian, Fedora and Arch need themselves. Two functions:
 *
 *   compress(source, target, level)   promises how many bytes of target were written
 *   decompress(source, target)        the same
 *
 * The work is done by libuv's threads, the buffers must be left alone meanwhile, and a promise is rejected with zstd's words;
 * what is no buffer is thrown at once. Frames carry a checksum of their content, so that a changed byte is noticed when it is
 * unpacked. No header and no library is needed to build it (-shared -fPIC -nostdlib, gcc or tcc): the Node-API comes from
 * the node binary, dlopen and malloc from its C library, and only functions of libzstd's stable interface are called.
 */

#if !defined(__x86_64__) || !defined(__linux__)
#error "codec.node is written for x86-64 Linux only"
#endif

typedef void *forkpoint_env;
typedef void *forkpoint_value;
typedef void *forkpoint_handle;
typedef unsigned long size;
typedef forkpoint_value (*forkpoint_callback)(forkpoint_env env, void *info);

extern void *dlopen(const char *path, int flags) __attribute__((weak));
extern void *dlsym(void *library, const char *name) __attribute__((weak));
extern void *calloc(size count, size length) __attribute__((weak));
extern void free(void *memory) __attribute__((weak));
extern int napi_throw_error(forkpoint_env env, const char *code, const char *message) __attribute__((weak));
extern int napi_create_error(forkpoint_env env, forkpoint_value code, forkpoint_value message, forkpoint_value *result)
    __attribute__((weak));
extern int napi_create_string_utf8(forkpoint_env env, const char *text, size length, forkpoint_value *result) __attribute__((weak));
extern int napi_create_function(forkpoint_env env, const char *name, size length, forkpoint_callback callback, void *data,
                                forkpoint_value *result) __attribute__((weak));
extern int napi_set_named_property(forkpoint_env env, forkpoint_value object, const char *name, forkpoint_value value)
    __attribute__((weak));
extern int napi_get_cb_info(forkpoint_env env, void *info, size *count, forkpoint_value *arguments, forkpoint_value *self,
                            void **data) __attribute__((weak));
extern int napi_get_buffer_info(forkpoint_env env, forkpoint_value buffer, void **bytes, size *length) __attribute__((weak));
extern int napi_get_value_int32(forkpoint_env env, forkpoint_value value, int *result) __attribute__((weak));
extern int napi_create_uint32(forkpoint_env env, unsigned value, forkpoint_value *result) __attribute__((weak));
extern int napi_create_promise(forkpoint_env env, forkpoint_handle *deferred, forkpoint_value *promise) __attribute__((weak));
extern int napi_resolve_deferred(forkpoint_env env, forkpoint_handle deferred, forkpoint_value value) __attribute__((weak));
extern int napi_reject_deferred(forkpoint_env env, forkpoint_handle deferred, forkpoint_value error) __attribute__((weak));
extern int napi_create_reference(forkpoint_env env, forkpoint_value value, unsigned count, forkpoint_handle *result)
    __attribute__((weak));
extern int napi_delete_reference(forkpoint_env env, forkpoint_handle reference) __attribute__((weak));
extern int napi_create_async_work(forkpoint_env env, forkpoint_value resource, forkpoint_value name,
                                  void (*execute)(forkpoint_env env, void *data),
                                  void (*complete)(forkpoint_env env, int status, void *data), void *data,
                                  forkpoint_handle *result) __attribute__((weak));
extern int napi_queue_async_work(forkpoint_env env, forkpoint_handle work) __attribute__((weak));
extern int napi_delete_async_work(forkpoint_env env, forkpoint_handle work) __attribute__((weak));
extern int napi_add_env_cleanup_hook(forkpoint_env env, void (*hook)(void *data), void *data) __attribute__((weak));

#define RTLD_NOW 2
/* Newer Node.js exports a zstd of its own, which the functions of this library must not meet. */
#define RTLD_DEEPBIND 8
#define TO_ITS_END ((size)-1)
/* Numbers of libzstd's stable interface (zstd.h, ZSTD_cParameter). */
#define PARAMETER_LEVEL 100
#define PARAMETER_CHECKSUM 201

static struct {
    void *(*packer)(void);
    void *(*unpacker)(void);
    size (*release_packer)(void *context);
    size (*release_unpacker)(void *context);
    size (*set)(void *context, int parameter, int value);
    size (*compress)(void *context, void *target, size target_length, const void *source, size length);
    size (*decompress)(void *context, void *target, size target_length, const void *source, size length);
    unsigned (*is_error)(size code);
    const char *(*name)(size code);
} zstd;

/* One chunk under way, or, in the list of its environment, what the next one can use again: zstd's contexts cost more than small chunks. */
struct job {
    struct job *next;
    struct jobs *owner;
    void *packer, *unpacker;
    int is_packing, level;
    void *bytes[2];
    size lengths[2], result;
    forkpoint_handle references[2], work, deferred;
};

/* The jobs of one environment (the main thread, or a worker), touched by its thread only. */
struct jobs {
    struct job *idle;
};

static forkpoint_value fail(forkpoint_env env, const char *message)
{
    napi_throw_error(env, "ERR_FORKPOINT_CODEC", message);
    return 0;
}

static struct job *take_job(struct jobs *jobs, int is_packing)
{
    struct job *job = jobs->idle;
    if (job != 0)
        jobs->idle = job->next;
    else if ((job = calloc(1, sizeof *job)) == 0)
        return 0;
    job->owner = jobs;
    job->is_packing = is_packing;
    if (is_packing && job->packer == 0)
        job->packer = zstd.packer();
    if (!is_packing && job->unpacker == 0)
        job->unpacker = zstd.unpacker();
    return job;
}

static void put_back(struct job *job)
{
    job->next = job->owner->idle;
    job->owner->idle = job;
}

/* In a thread of libuv. */
static void execute(forkpoint_env env, void *data)
{
    struct job *job = data;
    (void)env;
    if (!job->is_packing) {
        job->result = zstd.decompress(job->unpacker, job->bytes[1], job->lengths[1], job->bytes[0], job->lengths[0]);
        return;
    }
    zstd.set(job->packer, PARAMETER_LEVEL, job->level);
    zstd.set(job->packer, PARAMETER_CHECKSUM, 1);
    job->result = zstd.compress(job->packer, job->bytes[1], job->lengths[1], job->bytes[0], job->lengths[0]);
}

static void reject(forkpoint_env env, forkpoint_handle deferred, const char *message)
{
    forkpoint_value code, text, error;
    napi_create_string_utf8(env, "ERR_FORKPOINT_CODEC", TO_ITS_END, &code);
    napi_create_string_utf8(env, message, TO_ITS_END, &text);
    napi_create_error(env, code, text, &error);
    napi_reject_deferred(env, deferred, error);
}

static void complete(forkpoint_env env, int status, void *data)
{
    struct job *job = data;
    forkpoint_value value;
    forkpoint_handle deferred = job->deferred;
    const char *words = status != 0 ? "the work was given up" : zstd.is_error(job->result) ? zstd.name(job->result) : 0;
    for (int i = 0; i < 2; i++)
        napi_delete_reference(env, job->references[i]);
    napi_delete_async_work(env, job->work);
    put_back(job);
    if (words != 0)
        reject(env, deferred, words);
    else if (napi_create_uint32(env, (unsigned)job->result, &value) == 0)
        napi_resolve_deferred(env, deferred, value);
}

static forkpoint_value start(forkpoint_env env, struct job *job, forkpoint_value *buffers)
{
    forkpoint_value name, promise;
    napi_create_string_utf8(env, "forkpoint codec", TO_ITS_END, &name);
    for (int i = 0; i < 2; i++)
        napi_create_reference(env, buffers[i], 1, &job->references[i]);
    if (napi_create_promise(env, &job->deferred, &promise) != 0 ||
        napi_create_async_work(env, 0, name, execute, complete, job, &job->work) != 0 || napi_queue_async_work(env, job->work) != 0)
        return fail(env, "the work cannot be given to a thread");
    return promise;
}

static forkpoint_value take(forkpoint_env env, void *info, int is_packing)
{
    forkpoint_value arguments[3];
    size count = 3, lengths[2];
    void *data, *bytes[2];
    int level = 0;
    if (napi_get_cb_info(env, info, &count, arguments, 0, &data) != 0 || count < (is_packing ? 3 : 2))
        return fail(env, "too few arguments");
    for (int i = 0; i < 2; i++)
        if (napi_get_buffer_info(env, arguments[i], &bytes[i], &lengths[i]) != 0)
            return fail(env, "source and target are buffers");
    if (is_packing && napi_get_value_int32(env, arguments[2], &level) != 0)
        return fail(env, "the level is a number");
    struct job *job = take_job(data, is_packing);
    if (job == 0 || (is_packing ? job->packer : job->unpacker) == 0)
        return fail(env, "there is no memory for zstd");
    job->level = level;
    for (int i = 0; i < 2; i++) {
        job->bytes[i] = bytes[i];
        job->lengths[i] = lengths[i];
    }
    return start(env, job, arguments);
}

static forkpoint_value compress(forkpoint_env env, void *info)
{
    return take(env, info, 1);
}

static forkpoint_value decompress(forkpoint_env env, void *info)
{
    return take(env, info, 0);
}

static void forget(void *data)
{
    struct jobs *jobs = data;
    for (struct job *job = jobs->idle, *next; job != 0; job = next) {
        next = job->next;
        zstd.release_packer(job->packer);
        zstd.release_unpacker(job->unpacker);
        free(job);
    }
    free(jobs);
}

static void *find(void *library, const char *name, int *missing)
{
    void *symbol = dlsym(library, name);
    if (symbol == 0)
        *missing = 1;
    return symbol;
}

static int load(void *library)
{
    int missing = 0;
    zstd.packer = (void *(*)(void))find(library, "ZSTD_createCCtx", &missing);
    zstd.unpacker = (void *(*)(void))find(library, "ZSTD_createDCtx", &missing);
    zstd.release_packer = (size (*)(void *))find(library, "ZSTD_freeCCtx", &missing);
    zstd.release_unpacker = (size (*)(void *))find(library, "ZSTD_freeDCtx", &missing);
    zstd.set = (size (*)(void *, int, int))find(library, "ZSTD_CCtx_setParameter", &missing);
    zstd.compress = (size (*)(void *, void *, size, const void *, size))find(library, "ZSTD_compress2", &missing);
    zstd.decompress = (size (*)(void *, void *, size, const void *, size))find(library, "ZSTD_decompressDCtx", &missing);
    zstd.is_error = (unsigned (*)(size))find(library, "ZSTD_isError", &missing);
    zstd.name = (const char *(*)(size))find(library, "ZSTD_getErrorName", &missing);
    return missing;
}

static void add(forkpoint_env env, forkpoint_value exports, const char *name, forkpoint_callback callback, struct jobs *jobs)
{
    forkpoint_value function;
    if (napi_create_function(env, name, TO_ITS_END, callback, jobs, &function) == 0)
        napi_set_named_property(env, exports, name, function);
}

forkpoint_value napi_register_module_v1(forkpoint_env env, forkpoint_value exports);
forkpoint_value napi_register_module_v1(forkpoint_env env, forkpoint_value exports)
{
    void *library = dlopen ? dlopen("libzstd.so.1", RTLD_NOW | RTLD_DEEPBIND) : 0;
    if (library == 0)
        return fail(env, "there is no libzstd.so.1");
    if (load(library))
        return fail(env, "libzstd.so.1 is older than 1.4");
    struct jobs *jobs = calloc(1, sizeof *jobs);
    if (jobs == 0)
        return fail(env, "there is no memory for zstd");
    napi_add_env_cleanup_hook(env, forget, jobs);
    add(env, exports, "compress", compress, jobs);
    add(env, exports, "decompress", decompress, jobs);
    return exports;
}
