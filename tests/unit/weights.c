/* weights.c -- every way PyTorch spells a checkpoint gives the values of expected.safetensors; what is hostile, damaged or not
 * a set of weights is refused with words; what we write reads back. Files: tests/data/make_pth.py. */
#include "base/io.h"
#include "base/mem.h"
#include "format/weights.h"
#include "format/zip.h"
#include "t.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DIR "tests/data/pth/"

/* Tensors of `want` that `got` lacks or that differ in type, shape or any bit. */
static int differences(const sky_weights *got, const sky_weights *want)
{
    int wrong = 0;
    for (int i = 0; i < sky_weights_count(want); i++) {
        const sky_weight *a = sky_weights_at(want, i), *b = sky_weights_find(got, a->name);
        uint64_t n = sky_dtype_size(a->dtype);
        for (int d = 0; d < a->ndim; d++)
            n *= (uint64_t)a->shape[d];
        if (!b || b->dtype != a->dtype || b->ndim != a->ndim || memcmp(a->shape, b->shape, (size_t)a->ndim * 8)) {
            printf("# %s\n", a->name);
            wrong++;
            continue;
        }
        void *x = sky_alloc(n), *y = sky_alloc(n);
        sky_err e = {0};
        int bad = sky_weights_read(want, a, x, a->dtype, &e) || sky_weights_read(got, b, y, a->dtype, &e) || memcmp(x, y, n);
        if (bad)
            printf("# %s: values %s\n", a->name, e.msg);
        wrong += bad;
        sky_free(x);
        sky_free(y);
    }
    return wrong;
}

static void same_values(const sky_weights *want)
{
    static const char *const files[] = {"plain.pth", "protocol3.pth", "protocol4.pth", "protocol5.pth", "legacy.pth", "legacy4.pth", "checkpoint2.pth",
                                        "checkpoint4.pth", "checkpoint_legacy.pth", "wqkv.ckpt", "parameters.pth"};
    char hash[65], other[65];
    sky_err e = {0};
    OK(!sky_weights_hash(want, 1, hash, &e), "hash %s", hash);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char path[100];
        sky_weights *w = NULL;
        snprintf(path, sizeof path, DIR "%s", files[i]);
        int rc = sky_weights_open(&w, path, &e);
        OK(!rc && sky_weights_count(w) == sky_weights_count(want) && differences(w, want) == 0, "%s %s", files[i], rc ? e.msg : "");
        OK(!rc && !sky_weights_hash(w, 2, other, &e) && !strcmp(hash, other), "%s: same identity", files[i]);
        sky_weights_close(w);
    }
}

static void names(void)
{
    sky_weights *w = NULL;
    sky_err e = {0};
    OK(!sky_weights_open(&w, DIR "checkpoint2.pth", &e), "opens %s", e.msg);
    const sky_weight *t = sky_weights_find(w, "attn.in_proj_weight");
    OK(t && !strcmp(t->stored, "module.attn.in_proj_weight"), "module. is dropped, the stored name is kept");
    OK(!sky_weights_find(w, "blk.relative_position_index") && !sky_weights_find(w, "bn.num_batches_tracked"), "tables are left out");
    int sorted = 1;
    for (int i = 1; i < sky_weights_count(w); i++)
        sorted &= strcmp(sky_weights_at(w, i - 1)->name, sky_weights_at(w, i)->name) < 0;
    OK(sorted, "sorted by name");
    sky_weights_close(w);
    OK(!sky_weights_open(&w, DIR "wqkv.ckpt", &e), "opens %s", e.msg);
    t = sky_weights_find(w, "attn.in_proj_bias");
    OK(t && !strcmp(t->stored, "attn.Wqkv.bias"), "Wqkv becomes in_proj");
    sky_weights_close(w);
    OK(!sky_weights_open(&w, DIR "module.pth", &e) && sky_weights_count(w) == 6, "state_dict of modules (attributes on OrderedDict) %s", e.msg);
    sky_weights_close(w);
    uint16_t u[2] = {0};
    OK(!sky_weights_open(&w, DIR "u16.pth", &e) && !sky_weights_read(w, sky_weights_at(w, 0), u, SKY_U16, &e) && u[1] == 65535, "untyped storage %s", e.msg);
    sky_weights_close(w);
}

static void in_place(void)
{
    sky_weights *w = NULL;
    sky_err e = {0};
    OK(!sky_weights_open(&w, DIR "plain.pth", &e), "opens %s", e.msg);
    const float *p = sky_weights_map(w, sky_weights_find(w, "a.weight"));
    OK(p && p[1] == 0.37f * 1 - 2, "packed tensors are mapped in place");
    const float *row = sky_weights_map(w, sky_weights_find(w, "row"));
    OK(row && row[0] == 1.0f, "a row of a shared storage too");
    OK(!sky_weights_map(w, sky_weights_find(w, "transposed")) && !sky_weights_map(w, sky_weights_find(w, "expanded")), "strided ones are not");
    sky_weights_drop(w, sky_weights_find(w, "a.weight"));
    OK(p && p[1] == 0.37f * 1 - 2, "dropped pages come back");
    sky_weights_close(w);
}

static void conversions(const sky_weights *w)
{
    sky_err e = {0};
    float f[64];
    double d[64];
    uint16_t h[64];
    int64_t i[8];
    const sky_weight *t = sky_weights_find(w, "half.special");
    OK(!sky_weights_read(w, t, f, SKY_F32, &e) && f[0] == INFINITY && f[1] == -INFINITY && fabsf(f[2] - 6e-8f) < 1e-9f && f[3] == 65504 && signbit(f[4]), "F16 to F32");
    OK(!sky_weights_read(w, t, h, SKY_BF16, &e) && h[0] == 0x7f80 && h[3] == 0x4780, "F16 to BF16 rounds");
    t = sky_weights_find(w, "double");
    OK(!sky_weights_read(w, t, f, SKY_F32, &e) && f[2] == (float)(2.0 / 3), "F64 to F32");
    t = sky_weights_find(w, "a.weight");
    OK(!sky_weights_read(w, t, h, SKY_BF16, &e) && h[0] == 0xc000 && h[23] == sky_f32_to_bf16(23 * 0.37f - 2), "F32 to BF16");
    OK(!sky_weights_read(w, t, d, SKY_F64, &e) && d[0] == -2, "F32 to F64");
    t = sky_weights_find(w, "i8");
    OK(!sky_weights_read(w, t, i, SKY_I64, &e) && i[0] == -5 && i[1] == 100, "I8 to I64");
    t = sky_weights_find(w, "u8");
    OK(!sky_weights_read(w, t, i, SKY_I64, &e) && i[1] == 255, "U8 to I64");
    OK(sky_weights_read(w, t, f, SKY_F32, &e) == SKY_EUSAGE && sky_weights_read(w, sky_weights_find(w, "i64"), i, SKY_I32, &e) == SKY_EUSAGE &&
           sky_weights_read(w, t, i, SKY_I8, &e) == SKY_EUSAGE && sky_weights_read(w, sky_weights_find(w, "double"), h, SKY_F16, &e) == SKY_EUSAGE,
       "conversions that lose or change kind are refused: %s", e.msg);
}

/* A strided view read in another type goes through chunks: more than one of them, cut inside rows. */
static void chunks(void)
{
    enum { R = 301, C = 97 };
    sky_buf pk = {0}, zip = {0};
    static const char head[] = "\x80\x02}X\1\0\0\0wctorch._utils\n_rebuild_tensor_v2\n((X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0" "0X\3\0\0\0cpuJ";
    uint8_t n[4], dims[] = {'t', 'Q', 'K', 0, 'M', R & 255, R >> 8, 'K', C, 0x86, 'K', 1, 'M', R & 255, R >> 8, 0x86, 0x89, '}', 't', 'R', 's', '.'};
    sky_put_le(n, R * C, 4);
    sky_buf_add(&pk, head, sizeof head - 1);
    sky_buf_add(&pk, n, 4);
    sky_buf_add(&pk, dims, sizeof dims);
    float *v = sky_alloc(R * C * 4);
    for (int i = 0; i < R * C; i++)
        v[i] = (float)i;
    sky_zip_out *z = NULL;
    sky_weights *w = NULL;
    sky_err e = {0};
    int rc = sky_zip_create(&z, &e) || sky_zip_add(z, "x/data.pkl", pk.p, pk.n, 0, &e) || sky_zip_add(z, "x/data/0", v, R * C * 4, 0, &e) ||
             sky_zip_finish(z, &zip, &e) || sky_weights_memory(&w, zip.p, zip.n, "made", &e);
    OK(!rc, "opens %s", e.msg);
    double *d = sky_alloc(R * C * 8);
    int wrong = rc || sky_weights_read(w, sky_weights_at(w, 0), d, SKY_F64, &e);
    for (int r = 0; r < R; r++)
        for (int c = 0; c < C; c++)
            wrong += d[r * C + c] != c * R + r;
    OK(!wrong, "a transposed %dx%d view, converted", R, C);
    sky_weights_close(w);
    sky_free(v);
    sky_free(d);
    sky_buf_free(&pk);
    sky_buf_free(&zip);
}

static void refusals(void)
{
    static const struct {
        const char *file;
        int rc;
        const char *says, *says2;
    } cases[] = {
        {"bad_system.pth", SKY_ECORRUPT, "system'", "byte "}, {"bad_eval.pth", SKY_ECORRUPT, "eval'", "byte "},
        {"bad_legacy.pth", SKY_ECORRUPT, "system'", "byte "}, {"bad_namespace.pth", SKY_ECORRUPT, "'argparse.Namespace'", "byte "},
        {"bad_object.pth", SKY_ECORRUPT, "torch.nn.modules.linear.Linear", "byte "}, {"bad_sparse.pth", SKY_ECORRUPT, "sparse", "byte "},
        {"bad_complex.pth", SKY_ECORRUPT, "ComplexFloatStorage", "byte "}, {"bad_both.pth", SKY_ECORRUPT, "both", ""},
        {"bad_nested.pth", SKY_ECORRUPT, "'net'", "tensors"}, {"bad_none.pth", SKY_ECORRUPT, "no tensors", "'epoch'"},
        {"bad_twice.pth", SKY_ECORRUPT, "both called 'a.in_proj_bias'", ""}, {"bad_cut.pth", SKY_ECORRUPT, "no zip directory", ""},
        {"bad_packed_data.pth", SKY_ECORRUPT, "data/0'", "compressed"}, {"bad_packed_pickle.pth", SKY_ECORRUPT, "data.pkl'", "compressed"},
        {"bad_order.pth", SKY_ECORRUPT, "'big'", ""}, {"../make_pth.py", SKY_ECORRUPT, "neither", ""}, {"absent.pth", SKY_EIO, "No such file", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[100];
        sky_weights *w = NULL;
        sky_err e = {0};
        snprintf(path, sizeof path, DIR "%s", cases[i].file);
        int rc = sky_weights_open(&w, path, &e);
        OK(rc == cases[i].rc && strstr(e.msg, cases[i].says) && strstr(e.msg, cases[i].says2) && strstr(e.msg, path), "refused: %s", e.msg);
        sky_weights_close(w);
    }
}

/* The legacy file, cut at every length: an error each time, never a crash or a wrong success. */
static void cut_everywhere(const char *path)
{
    char *p;
    size_t n;
    sky_err e = {0};
    if (sky_read_file(&p, &n, path, 1 << 20, &e)) {
        OK(0, "%s", e.msg);
        return;
    }
    int good = 0;
    for (size_t k = 0; k < n; k++) {
        char *q = malloc(k ? k : 1);
        memcpy(q, p, k);
        sky_weights *w = NULL;
        if (!sky_weights_memory(&w, q, k, "cut", &e)) {
            good++;
            sky_weights_close(w);
        }
        free(q);
    }
    OK(good == 0, "%s cut at each of %zu bytes is refused", path, n);
    sky_free(p);
}

/* ---- pickles made by hand --------------------------------------------------------------------------------------- */

#define S(text) text, sizeof(text) - 1
#define STORAGE(type, n) "(X\7\0\0\0storagectorch\n" type "\nX\1\0\0\0" "0X\3\0\0\0cpuK" n "tQ"
#define TENSOR(args) "\x80\2}X\1\0\0\0wctorch._utils\n_rebuild_tensor_v2\n(" args "\x89}tRs."

static void by_hand(void)
{
    static const struct {
        const char *what, *pk;
        size_t n;
        const char *says; /* NULL: accepted */
    } cases[] = {
        {"two by three of six", S(TENSOR(STORAGE("FloatStorage", "\6") "K\0K\2K\3\x86K\3K\1\x86")), NULL},
        {"one element too far", S(TENSOR(STORAGE("FloatStorage", "\6") "K\1K\2K\3\x86K\3K\1\x86")), "does not fit"},
        {"stride too long", S(TENSOR(STORAGE("FloatStorage", "\6") "K\0K\2K\3\x86K\4K\1\x86")), "does not fit"},
        {"size declared wrong", S(TENSOR(STORAGE("FloatStorage", "\7") "K\0K\2K\3\x86K\3K\1\x86")), "expected 7 elements"},
        {"type of another size", S(TENSOR(STORAGE("DoubleStorage", "\6") "K\0K\2K\1\x86K\1K\1\x86")), "expected 6 elements"},
        {"negative offset", S(TENSOR(STORAGE("FloatStorage", "\6") "J\xff\xff\xff\xffK\2K\3\x86K\3K\1\x86")), "expected (storage"},
        {"negative stride", S(TENSOR(STORAGE("FloatStorage", "\6") "K\0K\2K\3\x86J\xff\xff\xff\xffK\1\x86")), "expected (storage"},
        {"strides fewer than sizes", S(TENSOR(STORAGE("FloatStorage", "\6") "K\0K\2K\3\x86K\3\x85")), "expected (storage"},
        {"a product above 2^64", S(TENSOR(STORAGE("FloatStorage", "\6") "K\0\x8a\5\0\0\0\0\1\x8a\5\0\0\0\0\1\x86K\0K\0\x86")), "does not fit"},
        {"a repetition without end", S(TENSOR(STORAGE("FloatStorage", "\6") "K\0\x8a\5\0\0\0\0\1K\3\x86K\0K\1\x86")), "repeats 24 bytes"},
        {"nine dimensions", S(TENSOR(STORAGE("FloatStorage", "\6") "K\0(K\1K\1K\1K\1K\1K\1K\1K\1K\1t(K\1K\1K\1K\1K\1K\1K\1K\1K\1t")), "8 dimensions"},
        {"a string as storage", S(TENSOR("X\1\0\0\0aK\0K\2K\3\x86K\3K\1\x86")), "expected (storage"},
        {"a dtype as storage class", S(TENSOR("(X\7\0\0\0storagectorch\nfloat32\nX\1\0\0\0" "0X\3\0\0\0cpuK\6tQK\0K\2\x85K\1\x85")), "persistent id"},
        {"no such member", S(TENSOR("(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0" "1X\3\0\0\0cpuK\6tQK\0K\2\x85K\1\x85")), "no member 'x/data/1'"},
        {"a list in itself", S("\x80\2]q\0h\0a."), "expected a dict of tensors"},
        {"a dict in itself", S("\x80\2}q\0X\1\0\0\0ah\0s."), "no tensors"},
        {"model in model in model", S("\x80\2}q\0X\5\0\0\0modelh\0s."), "more than four"},
        {"no protocol", S("}."), "not a pickle"},
        {"protocol 1", S("\x80\1}."), "protocol 1"},
        {"protocol 6", S("\x80\6}."), "protocol 6"},
        {"no STOP", S("\x80\2}"), "data end"},
        {"empty stack", S("\x80\2."), "expected one value"},
        {"pop from nothing", S("\x80\2""0}."), "stack empty"},
        {"append under a mark", S("\x80\2](K\1e(a."), "stack empty"},
        {"no mark", S("\x80\2t."), "no mark"},
        {"key without value", S("\x80\2}(K\1u."), "without a value"},
        {"unset memo", S("\x80\2h\7."), "never set"},
        {"memo beyond the limit", S("\x80\2}r\xff\xff\xff\xff."), "memo entry"},
        {"4 GiB string", S("\x80\2X\xff\xff\xff\xff" "abc."), "data end"},
        {"2^63 string", S("\x80\4\x8d\xff\xff\xff\xff\xff\xff\xff\x7f" "abc."), "data end"},
        {"frame beyond the end", S("\x80\4\x95\xff\0\0\0\0\0\0\0}."), "frame"},
        {"INST", S("\x80\2(ios\nsystem\n."), "opcode 0x69"},
        {"extension registry", S("\x80\2\x82\1."), "opcode 0x82"},
        {"called string", S("\x80\2X\1\0\0\0a)R."), "wants a function"},
        {"called storage class", S("\x80\2" "ctorch\nFloatStorage\n)R."), "cannot be called"},
        {"os.system", S("\x80\2" "cos\nsystem\nX\1\0\0\0a\x85R."), "byte 42: pickle: refuses 'os.system'"},
        {"name cut", S("\x80\2" "cos\nsyst"), "data end"},
        {"state on a list", S("\x80\2]}b."), "wants a dict (state"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sky_zip_out *z = NULL;
        sky_buf b = {0};
        sky_weights *w = NULL;
        sky_err e = {0};
        int rc = sky_zip_create(&z, &e) || sky_zip_add(z, "x/data.pkl", cases[i].pk, cases[i].n, 0, &e) || sky_zip_add(z, "x/data/0", "123456781234567812345678", 24, 0, &e) ||
                 sky_zip_finish(z, &b, &e);
        if (rc) {
            OK(0, "%s", e.msg);
            continue;
        }
        rc = sky_weights_memory(&w, b.p, b.n, "made", &e);
        OK(cases[i].says ? rc < 0 && strstr(e.msg, cases[i].says) : rc == 0, "%s: %s", cases[i].what, e.msg);
        sky_weights_close(w);
        sky_buf_free(&b);
    }
}

/* Few bytes, much work: copying a long list over and over has to end at the limit. */
static void amplification(void)
{
    sky_buf pk = {0}, b = {0};
    sky_buf_add(&pk, "\x80\2](", 4);
    for (int i = 0; i < 100000; i++)
        sky_buf_add(&pk, "N", 1);
    sky_buf_add(&pk, "eq\0", 3);
    for (int i = 0; i < 1000; i++)
        sky_buf_puts(&pk, "cbuiltins\nlist\n"), sky_buf_add(&pk, "h\0\x85R", 4);
    sky_zip_out *z = NULL;
    sky_weights *w = NULL;
    sky_err e = {0};
    int rc = sky_zip_create(&z, &e) || sky_zip_add(z, "x/data.pkl", pk.p, pk.n, 0, &e) || sky_zip_finish(z, &b, &e);
    OK(!rc && sky_weights_memory(&w, b.p, b.n, "made", &e) == SKY_ELIMIT, "copies are counted: %s", e.msg);
    sky_buf_free(&pk);
    sky_buf_free(&b);
}

/* ---- safetensors ------------------------------------------------------------------------------------------------ */

static int st_open(const char *header, size_t data, sky_err *e)
{
    sky_buf b = {0};
    uint8_t n[8];
    sky_weights *w = NULL;
    sky_put_le(n, strlen(header), 8);
    sky_buf_add(&b, n, 8);
    sky_buf_puts(&b, header);
    for (size_t i = 0; i < data; i++)
        sky_buf_add(&b, "", 1);
    int rc = sky_weights_memory(&w, b.p, b.n, "made", e);
    sky_weights_close(w);
    sky_buf_free(&b);
    return rc;
}

static void headers(void)
{
    static const struct {
        const char *header;
        size_t data;
        const char *says;
    } cases[] = {
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}  ", 8, NULL},
        {"{}", 0, NULL},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 7, "ends at data byte 8"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 9, "accounts for 8"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[1,9]}}", 9, "a hole"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}", 12, "an overlap"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", 8, "its shape wants 12"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,4],\"data_offsets\":[0,8]}}", 8, "overflows"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", 8, "integers >= 0"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", 8, "ascending"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}}", 8, "ascending"},
        {"{\"a\":{\"dtype\":\"F8_E4M3\",\"shape\":[8],\"data_offsets\":[0,8]}}", 8, "F8_E4M3"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,2],\"data_offsets\":[0,8]}}", 8, "8 dimensions"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0, "duplicate"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0],\"x\":1}}", 0, "x"},
        {"{\"a\":[]}", 0, "expected an object"},
        {"{\"\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0, "a name of 0 bytes"},
        {"{\"a\\u0001\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0, "control character"},
        {"{\"__metadata__\":{\"a\":1}}", 0, "expected a string"},
        {"{\"__metadata__\":1}", 0, "object of strings"},
        {"{", 0, "made"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sky_err e = {0};
        int rc = st_open(cases[i].header, cases[i].data, &e);
        OK(cases[i].says ? rc == SKY_ECORRUPT && strstr(e.msg, cases[i].says) : rc == 0, "header %zu: %s", i, e.msg);
    }
    sky_weights *w = NULL;
    sky_err e = {0};
    OK(sky_weights_memory(&w, "\0\0\0\0\1\0\0\0{}", 10, "made", &e) == SKY_ELIMIT, "4 GiB header: %s", e.msg);
    OK(sky_weights_memory(&w, "\3\0\0\0\0\0\0\0{}", 10, "made", &e) == SKY_ECORRUPT, "header beyond the end: %s", e.msg);
    OK(sky_weights_memory(&w, "", 0, "made", &e) == SKY_ECORRUPT, "empty: %s", e.msg);
}

static void write_back(const sky_weights *from)
{
    char path[] = "/tmp/sky-weights-XXXXXX";
    int fd = mkstemp(path), n = sky_weights_count(from);
    close(fd);
    sky_weight *list = sky_calloc((size_t)n, sizeof *list);
    for (int i = 0; i < n; i++)
        list[i] = *sky_weights_at(from, i);
    json_t *meta = json_pack("{s:s}", "config", "tiny \"quoted\"");
    sky_weights_out *o = NULL;
    sky_weights *w = NULL;
    sky_err e = {0};
    OK(!sky_weights_create(&o, path, list, n, meta, &e), "create %s", e.msg);
    int rc = 0;
    for (int i = 0; !rc && i < n; i++) {
        uint8_t buf[1024];
        uint64_t bytes = sky_dtype_size(list[i].dtype);
        for (int d = 0; d < list[i].ndim; d++)
            bytes *= (uint64_t)list[i].shape[d];
        rc = sky_weights_read(from, sky_weights_at(from, i), buf, list[i].dtype, &e);
        if (!rc)
            rc = sky_weights_put(o, buf, bytes / 2, &e);
        if (!rc)
            rc = sky_weights_put(o, buf + bytes / 2, bytes - bytes / 2, &e);
    }
    OK(!rc && !sky_weights_commit(o, &e), "written in pieces %s", e.msg);
    OK(!sky_weights_open(&w, path, &e) && sky_weights_count(w) == n && differences(w, from) == 0, "reads back %s", e.msg);
    OK(w && !strcmp(json_string_value(json_object_get(sky_weights_metadata(w), "config")), "tiny \"quoted\""), "metadata");
    char *text = NULL;
    size_t size;
    OK(!sky_read_file(&text, &size, path, 1 << 20, &e) && (8 + (uint8_t)text[0] + ((uint8_t)text[1] << 8)) % 64 == 0, "data begin on a 64-byte boundary");
    sky_free(text);
    sky_weights_close(w);
    OK(!sky_weights_create(&o, path, list, n, NULL, &e) && sky_weights_commit(o, &e) == SKY_EUSAGE, "too little: %s", e.msg);
    uint8_t one[1];
    OK(!sky_weights_create(&o, path, list, 0, NULL, &e) && sky_weights_put(o, one, 1, &e) == SKY_EUSAGE, "too much: %s", e.msg);
    sky_weights_abort(o);
    OK(!sky_weights_open(&w, path, &e) && sky_weights_count(w) == n, "a failed write leaves the old file");
    sky_weights_close(w);
    if (n > 1)
        list[1] = list[0];
    OK(sky_weights_create(&o, path, list, 2, NULL, &e) == SKY_EUSAGE, "a name twice: %s", e.msg);
    json_decref(meta);
    sky_free(list);
    unlink(path);
}

int main(void)
{
    sky_weights *want = NULL;
    sky_err e = {0};
    OK(!sky_weights_open(&want, DIR "expected.safetensors", &e) && sky_weights_count(want) == 22, "expected values open %s", e.msg);
    if (!want)
        return END();
    OK(!strcmp(json_string_value(json_object_get(sky_weights_metadata(want), "made")), "by make_pth.py"), "metadata of safetensors");
    same_values(want);
    names();
    in_place();
    conversions(want);
    chunks();
    refusals();
    cut_everywhere(DIR "small.pth");
    cut_everywhere(DIR "legacy4.pth");
    cut_everywhere(DIR "expected.safetensors");
    by_hand();
    amplification();
    headers();
    write_back(want);
    sky_weights_close(want);
    return END();
}
