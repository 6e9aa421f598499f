/* npy.c -- arrays written by NumPy itself (tests/data/make_npy.py) come out right, hostile ones are refused, and what we
 * write NumPy's rules read back. */
#include "format/npy.h"
#include "format/zip.h"
#include "t.h"

#include <string.h>

#define DIR "tests/data/npy/"
enum { LIMIT = 1 << 20 };

static int count_wrong(const sky_npy *a)
{
    uint64_t n = a->head.nbytes / a->head.itemsize;
    int wrong = 0;
    for (uint64_t i = 0; i < n; i++) {
        sky_dtype t = a->head.dtype;
        double want = (double)(i % 100), got = sky_load_f64(a->data, t, i);
        if (t == SKY_I8 || t == SKY_I16 || t == SKY_I32 || t == SKY_I64)
            want -= 50;
        if (t == SKY_F16 || t == SKY_F32 || t == SKY_F64)
            want = want / 2 - 12.5;
        if (t == SKY_BOOL)
            want = i % 100 % 3 == 0;
        wrong += !(got == want);
    }
    return wrong;
}

static void numbers(void)
{
    static const struct {
        const char *file;
        sky_dtype t;
        int ndim;
        uint64_t shape[4];
    } cases[] = {
        {"b1", SKY_BOOL, 2, {3, 5}}, {"u1", SKY_U8, 2, {3, 5}}, {"i1", SKY_I8, 2, {3, 5}}, {"u2", SKY_U16, 2, {3, 5}},
        {"i2", SKY_I16, 2, {3, 5}}, {"u4", SKY_U32, 2, {3, 5}}, {"i4", SKY_I32, 2, {3, 5}}, {"u8", SKY_U64, 2, {3, 5}},
        {"i8", SKY_I64, 2, {3, 5}}, {"f2", SKY_F16, 2, {3, 5}}, {"f4", SKY_F32, 2, {3, 5}}, {"f8", SKY_F64, 2, {3, 5}},
        {"big_i2", SKY_I16, 2, {3, 5}}, {"big_f4", SKY_F32, 2, {3, 5}}, {"big_f8", SKY_F64, 2, {3, 5}}, {"big_u8", SKY_U64, 2, {3, 5}},
        {"fortran", SKY_I32, 3, {3, 4, 5}}, {"fortran_big", SKY_I16, 4, {2, 3, 4, 5}}, {"one", SKY_I16, 1, {7}},
        {"v1", SKY_U16, 2, {3, 5}}, {"v2", SKY_U16, 2, {3, 5}}, {"v3", SKY_U16, 2, {3, 5}}, {"empty", SKY_F32, 3, {4, 0, 3}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[100];
        sky_npy a;
        sky_err e = {0};
        snprintf(path, sizeof path, DIR "%s.npy", cases[i].file);
        int rc = sky_npy_load(&a, path, LIMIT, &e);
        OK(!rc && a.head.kind == SKY_NPY_NUMBER && a.head.dtype == cases[i].t && a.head.ndim == cases[i].ndim &&
               !memcmp(a.head.shape, cases[i].shape, (size_t)a.head.ndim * 8) && count_wrong(&a) == 0,
           "%s %s", cases[i].file, e.msg);
        sky_npy_free(&a);
    }
    sky_npy a;
    sky_err e = {0};
    OK(!sky_npy_load(&a, DIR "scalar.npy", LIMIT, &e) && a.head.ndim == 0 && a.head.nbytes == 4 && *(float *)a.data == 7.5f, "scalar");
    sky_npy_free(&a);
}

static void texts(void)
{
    static const struct {
        const char *file, *want[5];
    } cases[] = {
        {"text", {"", "a", "Zürich", "東京", "\xf0\x9f\x9b\xb0 x"}},
        {"text_big", {"", "a", "Zürich", "東京", "\xf0\x9f\x9b\xb0 x"}},
        {"bytes", {"20200501", "", "café"}},
        {"bytes_bad", {"ok", NULL}},
        {"days", {"1970-01-01", "2000-02-29", "1969-12-31", "", "2026-11-23"}},
        {"seconds", {"2020-05-01T10:20:30Z", "1969-12-31T23:59:59Z"}},
        {"millis", {"2020-05-01T10:20:30.250000000Z", "1969-12-31T23:59:59.999000000Z"}},
        {"months", {"2020-05-01", "1969-12-01"}},
        {"far", {NULL}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[100];
        sky_npy a;
        sky_err e = {0};
        snprintf(path, sizeof path, DIR "%s.npy", cases[i].file);
        if (sky_npy_load(&a, path, LIMIT, &e)) {
            OK(0, "%s: %s", path, e.msg);
            continue;
        }
        int wrong = 0;
        for (uint64_t k = 0; k < a.head.shape[0]; k++) {
            char *s = NULL;
            int rc = sky_npy_text(&s, &a, k, &e);
            wrong += cases[i].want[k] ? rc || strcmp(s, cases[i].want[k]) : rc != SKY_ECORRUPT;
            sky_free(s);
        }
        OK(wrong == 0, "text of %s", cases[i].file);
        sky_npy_free(&a);
    }
}

static void refusals(void)
{
    static const struct {
        const char *file, *says;
    } cases[] = {{"object", "pickle"}, {"complex", "complex"}, {"struct", "structured"}, {"nine", "dimensions"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[100];
        sky_npy a;
        sky_err e = {0};
        snprintf(path, sizeof path, DIR "%s.npy", cases[i].file);
        int rc = sky_npy_load(&a, path, LIMIT, &e);
        OK(rc < 0 && strstr(e.msg, cases[i].says) && strstr(e.msg, path), "refused: %s", e.msg);
        sky_npy_free(&a);
    }
}

/* A .npy with this dictionary and n bytes after it. */
static int literal(const char *dict, size_t n, sky_err *e)
{
    sky_buf b = {0};
    size_t len = strlen(dict);
    uint8_t head[10] = "\x93NUMPY\1";
    head[8] = (uint8_t)len;
    head[9] = (uint8_t)(len >> 8);
    sky_buf_add(&b, head, 10);
    sky_buf_puts(&b, dict);
    for (size_t i = 0; i < n; i++)
        sky_buf_add(&b, "", 1);
    sky_npy a;
    int rc = sky_npy_memory(&a, b.p, b.n, LIMIT, "x", e);
    sky_npy_free(&a);
    sky_buf_free(&b);
    return rc;
}

static void hostile(void)
{
    static const struct {
        const char *dict;
        size_t n;
        int rc;
    } cases[] = {
        {"{'descr': '<i2', 'fortran_order': False, 'shape': (2, 3), }", 12, 0},
        {"{\"shape\":(2,3L),\"fortran_order\":False,\"descr\":\"<i2\"}\n", 12, 0},
        {"{'descr': '<i2', 'fortran_order': False, 'shape': (2, 3), }", 11, SKY_ECORRUPT},
        {"{'descr': '<i2', 'fortran_order': False, 'shape': (2, 3), }", 13, SKY_ECORRUPT},
        {"{'descr': '<i2', 'fortran_order': False, 'shape': (2, -3), }", 12, SKY_ECORRUPT},
        {"{'descr': '<i2', 'fortran_order': False, 'shape': (2, 3), 'x': 1}", 12, SKY_ECORRUPT},
        {"{'descr': '<i2', 'descr': '<i2', 'fortran_order': False, 'shape': (2, 3)}", 12, SKY_ECORRUPT},
        {"{'descr': '<i2', 'shape': (2, 3)}", 12, SKY_ECORRUPT},
        {"{'descr': '<i2', 'fortran_order': 1, 'shape': (2, 3)}", 12, SKY_ECORRUPT},
        {"{'descr': '<i2', 'fortran_order': False, 'shape': (2, 3)} os", 12, SKY_ECORRUPT},
        {"{'descr': '<i2', 'fortran_order': False, 'shape': (2, 3", 12, SKY_ECORRUPT},
        {"{'descr': '<i2", 12, SKY_ECORRUPT},
        {"", 12, SKY_ECORRUPT},
        {"{'descr': '<i2', 'fortran_order': False, 'shape': (1048576, 1048576)}", 12, SKY_ELIMIT},
        {"{'descr': '<i2', 'fortran_order': False, 'shape': (4294967296, 4294967296)}", 12, SKY_ELIMIT},
        {"{'descr': '<i2', 'fortran_order': False, 'shape': (0, 4294967296, 4294967296)}", 0, SKY_ELIMIT},
        {"{'descr': '<i2', 'fortran_order': False, 'shape': (99999999999999999999,)}", 12, SKY_ECORRUPT},
        {"{'descr': '<S0', 'fortran_order': False, 'shape': (9,)}", 0, SKY_ECORRUPT},
        {"{'descr': '<U99999999999', 'fortran_order': False, 'shape': (1,)}", 0, SKY_ECORRUPT},
        {"{'descr': '<M8', 'fortran_order': False, 'shape': (1,)}", 8, SKY_ECORRUPT},
        {"{'descr': '<i3', 'fortran_order': False, 'shape': (1,)}", 3, SKY_ECORRUPT},
        {"{'descr': '=i2', 'fortran_order': False, 'shape': (1,)}", 2, SKY_ECORRUPT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sky_err e = {0};
        int rc = literal(cases[i].dict, cases[i].n, &e);
        OK(rc == cases[i].rc, "header %zu: %s", i, e.msg);
    }
    sky_npy a;
    sky_err e = {0};
    OK(sky_npy_memory(&a, "\x93NUMPY\4\0\0\0", 10, LIMIT, "x", &e) == SKY_EVERSION, "version 4: %s", e.msg);
    OK(sky_npy_memory(&a, "\x93NUMPY\2\0\xff\xff\xff\xff", 12, LIMIT, "x", &e) == SKY_ELIMIT, "4 GiB header: %s", e.msg);
    OK(sky_npy_memory(&a, "", 0, LIMIT, "x", &e) == SKY_ECORRUPT, "no bytes: %s", e.msg);
    OK(sky_npy_load(&a, DIR "f8.npy", 119, &e) == SKY_ELIMIT, "limit: %s", e.msg);
}

static void archive(const char *path)
{
    sky_npz *z = NULL;
    sky_npy a;
    sky_npy_head h;
    sky_err e = {0};
    OK(!sky_npz_open(&z, path, &e) && sky_npz_count(z) == 3, "%s opens %s", path, e.msg);
    if (!z)
        return;
    int i = sky_npz_find(z, "image");
    OK(i >= 0 && !sky_npz_head(z, i, &h, &e) && h.ndim == 4 && h.shape[1] == 10, "header of image");
    OK(!sky_npz_read(z, i, LIMIT, &a, &e) && count_wrong(&a) == 0, "data of image %s", e.msg);
    sky_npy_free(&a);
    OK(sky_npz_read(z, i, 100, &a, &e) == SKY_ELIMIT, "limit: %s", e.msg);
    char *s = NULL;
    OK(!sky_npz_read(z, sky_npz_find(z, "date"), LIMIT, &a, &e) && !sky_npy_text(&s, &a, 1, &e) && !strcmp(s, "20200611"), "date as text");
    sky_free(s);
    sky_npy_free(&a);
    OK(!sky_npz_read(z, sky_npz_find(z, "größe"), LIMIT, &a, &e) && a.head.dtype == SKY_F32, "a name beyond ASCII");
    sky_npy_free(&a);
    OK(sky_npz_find(z, "nothing") == -1, "a name that is not there");
    sky_npz_close(z);
}

static void archives(void)
{
    archive(DIR "stored.npz");
    archive(DIR "deflated.npz");
    sky_npz *z = NULL;
    sky_npy a;
    sky_npy_head h;
    sky_err e = {0};
    OK(!sky_npz_open(&z, DIR "mixed.npz", &e) && sky_npz_count(z) == 1 && !sky_npz_head(z, 0, &h, &e) && h.offset > 5000, "other members are left out, long headers read %s", e.msg);
    OK(!sky_npz_read(z, 0, LIMIT, &a, &e) && count_wrong(&a) == 0, "data behind a long header");
    sky_npy_free(&a);
    sky_npz_close(z);
    OK(sky_npz_open(&z, DIR "cut.npz", &e) == SKY_ECORRUPT, "cut: %s", e.msg);
    OK(sky_npz_open(&z, DIR "twice.npz", &e) == SKY_ECORRUPT && strstr(e.msg, "two arrays"), "twice: %s", e.msg);
    OK(sky_npz_open(&z, DIR "none.npz", &e) == SKY_EIO, "no such file: %s", e.msg);
    OK(!sky_npz_open(&z, DIR "flipped.npz", &e) && sky_npz_read(z, 0, LIMIT, &a, &e) == SKY_ECORRUPT && strstr(e.msg, "image.npy"), "flipped bit: %s", e.msg);
    sky_npz_close(z);
}

static void round_trip(int deflate)
{
    static const sky_dtype types[] = {SKY_BOOL, SKY_U8, SKY_I8, SKY_U16, SKY_I16, SKY_U32, SKY_I32, SKY_U64, SKY_I64, SKY_F16, SKY_F32, SKY_F64};
    uint64_t shape[4] = {3, 1, 5, 2};
    uint8_t data[3 * 5 * 2 * 8];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 37 % 251);
    sky_npz_out *o = NULL;
    sky_npz *z = NULL;
    sky_buf b = {0}, again = {0};
    sky_err e = {0};
    for (int pass = 0; pass < 2; pass++) {
        int rc = sky_npz_create(&o, deflate, &e);
        for (size_t t = 0; !rc && t < sizeof types / sizeof *types; t++)
            rc = sky_npz_put(o, sky_dtype_name(types[t]), types[t], (int)(t % 5), shape, data, &e);
        OK(!rc && !sky_npz_finish(o, pass ? &again : &b, &e), "write, deflate %d", deflate);
    }
    OK(b.n == again.n && !memcmp(b.p, again.p, b.n), "same content, same bytes");
    OK(!sky_npz_memory(&z, b.p, b.n, "memory", &e), "opens %s", e.msg);
    int wrong = 0;
    for (int t = 0; z && t < sky_npz_count(z); t++) {
        sky_npy a;
        if (sky_npz_read(z, t, LIMIT, &a, &e))
            wrong++;
        else
            wrong += a.head.dtype != types[t] || a.head.ndim != t % 5 || a.head.offset % 64 || memcmp(a.head.shape, shape, (size_t)a.head.ndim * 8) ||
                     memcmp(a.data, data, a.head.nbytes);
        sky_npy_free(&a);
    }
    OK(z && sky_npz_count(z) == 12 && wrong == 0, "reads back %s", e.msg);
    sky_npz_close(z);
    OK(!sky_npz_create(&o, deflate, &e) && sky_npz_put(o, "x", SKY_BF16, 1, shape, data, &e) == SKY_EUSAGE, "no such type: %s", e.msg);
    sky_npz_abort(o);
    sky_buf_free(&b);
    sky_buf_free(&again);
}

int main(void)
{
    numbers();
    texts();
    refusals();
    hostile();
    archives();
    round_trip(0);
    round_trip(1);
    return END();
}
