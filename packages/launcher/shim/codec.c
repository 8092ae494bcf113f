/*
 * codec.node: zstd for Node.js versions whose node:zlib has none (before 22.15), from the machine's own libzstd.so.1,
 * which the package managers of Debian, Fedora and Arch need themselves. Two functions:
 *
 *   compress(source, target, level)   returns how many bytes of target were written
 *   decompress(source, target)        the same
 *
 * Both throw with zstd's words. Frames carry a checksum of their content, so that a changed byte is noticed when it is
 * unpacked. No header and no library is needed to build it (-shared -fPIC -nostdlib, gcc or tcc): the Node-API comes from
 * the node binary, dlopen from its C library, and only functions of libzstd's stable interface are called.
 */

#if !defined(__x86_64__) || !defined(__linux__)
#error "codec.node is written for x86-64 Linux only"
#endif

typedef void *forkpoint_env;
typedef void *forkpoint_value;
typedef unsigned long size;
typedef forkpoint_value (*forkpoint_callback)(forkpoint_env env, void *info);

extern void *dlopen(const char *path, int flags) __attribute__((weak));
extern void *dlsym(void *library, const char *name) __attribute__((weak));
extern int napi_throw_error(forkpoint_env env, const char *code, const char *message) __attribute__((weak));
extern int napi_create_function(forkpoint_env env, const char *name, size length, forkpoint_callback callback, void *data,
                                forkpoint_value *result) __attribute__((weak));
extern int napi_set_named_property(forkpoint_env env, forkpoint_value object, const char *name, forkpoint_value value)
    __attribute__((weak));
extern int napi_get_cb_info(forkpoint_env env, void *info, size *count, forkpoint_value *arguments, forkpoint_value *self,
                            void **data) __attribute__((weak));
extern int napi_get_buffer_info(forkpoint_env env, forkpoint_value buffer, void **bytes, size *length) __attribute__((weak));
extern int napi_get_value_int32(forkpoint_env env, forkpoint_value value, int *result) __attribute__((weak));
extern int napi_create_uint32(forkpoint_env env, unsigned value, forkpoint_value *result) __attribute__((weak));

#define RTLD_NOW 2
/* Newer Node.js exports a zstd of its own, which the functions of this library must not meet. */
#define RTLD_DEEPBIND 8
/* Numbers of libzstd's stable interface (zstd.h, ZSTD_cParameter). */
#define PARAMETER_LEVEL 100
#define PARAMETER_CHECKSUM 201

static struct {
    void *(*create)(void);
    size (*release)(void *context);
    size (*set)(void *context, int parameter, int value);
    size (*compress)(void *context, void *target, size target_length, const void *source, size length);
    size (*decompress)(void *target, size target_length, const void *source, size length);
    unsigned (*is_error)(size code);
    const char *(*name)(size code);
} zstd;

static forkpoint_value fail(forkpoint_env env, const char *message)
{
    napi_throw_error(env, "ERR_FORKPOINT_CODEC", message);
    return 0;
}

static int buffers(forkpoint_env env, void *info, forkpoint_value *arguments, size wanted, void **bytes, size *lengths)
{
    size count = wanted;
    if (napi_get_cb_info(env, info, &count, arguments, 0, 0) != 0 || count < wanted)
        return -1;
    for (int i = 0; i < 2; i++)
        if (napi_get_buffer_info(env, arguments[i], &bytes[i], &lengths[i]) != 0)
            return -1;
    return 0;
}

static forkpoint_value number(forkpoint_env env, size result)
{
    forkpoint_value value = 0;
    if (zstd.is_error(result))
        return fail(env, zstd.name(result));
    napi_create_uint32(env, (unsigned)result, &value);
    return value;
}

static forkpoint_value compress(forkpoint_env env, void *info)
{
    forkpoint_value arguments[3];
    void *bytes[2];
    size lengths[2], result;
    int level;
    if (buffers(env, info, arguments, 3, bytes, lengths) != 0 || napi_get_value_int32(env, arguments[2], &level) != 0)
        return fail(env, "compress takes two buffers and a number");
    void *context = zstd.create();
    if (context == 0)
        return fail(env, "there is no memory for zstd");
    zstd.set(context, PARAMETER_LEVEL, level);
    zstd.set(context, PARAMETER_CHECKSUM, 1);
    result = zstd.compress(context, bytes[1], lengths[1], bytes[0], lengths[0]);
    zstd.release(context);
    return number(env, result);
}

static forkpoint_value decompress(forkpoint_env env, void *info)
{
    forkpoint_value arguments[2];
    void *bytes[2];
    size lengths[2];
    if (buffers(env, info, arguments, 2, bytes, lengths) != 0)
        return fail(env, "decompress takes two buffers");
    return number(env, zstd.decompress(bytes[1], lengths[1], bytes[0], lengths[0]));
}

static void *find(void *library, const char *name, int *missing)
{
    void *symbol = dlsym(library, name);
    if (symbol == 0)
        *missing = 1;
    return symbol;
}

forkpoint_value napi_register_module_v1(forkpoint_env env, forkpoint_value exports);
forkpoint_value napi_register_module_v1(forkpoint_env env, forkpoint_value exports)
{
    forkpoint_value function;
    int missing = 0;
    void *library = dlopen ? dlopen("libzstd.so.1", RTLD_NOW | RTLD_DEEPBIND) : 0;
    if (library == 0)
        return fail(env, "there is no libzstd.so.1");
    zstd.create = (void *(*)(void))find(library, "ZSTD_createCCtx", &missing);
    zstd.release = (size (*)(void *))find(library, "ZSTD_freeCCtx", &missing);
    zstd.set = (size (*)(void *, int, int))find(library, "ZSTD_CCtx_setParameter", &missing);
    zstd.compress = (size (*)(void *, void *, size, const void *, size))find(library, "ZSTD_compress2", &missing);
    zstd.decompress = (size (*)(void *, size, const void *, size))find(library, "ZSTD_decompress", &missing);
    zstd.is_error = (unsigned (*)(size))find(library, "ZSTD_isError", &missing);
    zstd.name = (const char *(*)(size))find(library, "ZSTD_getErrorName", &missing);
    if (missing)
        return fail(env, "libzstd.so.1 is older than 1.4");
    if (napi_create_function(env, "compress", 8, compress, 0, &function) == 0)
        napi_set_named_property(env, exports, "compress", function);
    if (napi_create_function(env, "decompress", 10, decompress, 0, &function) == 0)
        napi_set_named_property(env, exports, "decompress", function);
    return exports;
}
