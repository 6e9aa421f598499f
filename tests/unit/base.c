/* base.c -- the foundations: hashes against published values, conversions over their whole range, readers of hostile
 * text, files that appear complete or not at all, ordered work. */
#include "base/dtype.h"
#include "base/hash.h"
#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/planes.h"
#include "base/threads.h"
#include "t.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void crc(void)
{
    OK(sky_crc32c(0, "123456789", 9) == 0xe3069283u, "crc32c check value");
    enum { N = 100001 };
    uint8_t *big = sky_alloc(N);
    for (int i = 0; i < N; i++)
        big[i] = (uint8_t)sky_mix64(7, (uint64_t)i);
    uint32_t bitwise = ~0u;
    for (int i = 0; i < N; i++) {
        bitwise ^= big[i];
        for (int k = 0; k < 8; k++)
            bitwise = bitwise >> 1 ^ (bitwise & 1 ? 0x82f63b78 : 0);
    }
    OK(sky_crc32c(0, big, N) == ~bitwise, "crc32c of %d bytes equals the bit-by-bit definition", N);
    OK(sky_crc32c(sky_crc32c(0, big, 33333), big + 33333, N - 33333) == ~bitwise, "crc32c chains");
    int differ = 0;
    for (int n = 0; n < 3000; n++) { /* long runs and short ones go different ways */
        uint32_t short_runs = 0;
        for (int at = 0; at < n; at += 100)
            short_runs = sky_crc32c(short_runs, big + 5 + at, (size_t)(n - at < 100 ? n - at : 100));
        differ += sky_crc32c(0, big + 5, (size_t)n) != short_runs;
    }
    OK(differ == 0, "and is the same in pieces, for every length up to 3000 (%d are not)", differ);
    sky_free(big);
}

static void sha(void)
{
    char hex[65], as[1000];
    sky_sha256 s;
    sky_sha256_init(&s);
    sky_sha256_add(&s, "a", 1);
    sky_sha256_add(&s, "bc", 2);
    sky_sha256_hex(&s, hex);
    OK(!strcmp(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"), "sha256 abc");
    memset(as, 'a', sizeof as);
    sky_sha256_init(&s);
    for (int i = 0; i < 1000; i++)
        sky_sha256_add(&s, as, sizeof as);
    sky_sha256_hex(&s, hex);
    OK(!strcmp(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"), "sha256 of a million a");
}

static void dtypes(void)
{
    int bad = 0;
    for (uint32_t h = 0; h < 65536; h++) {
        float f = sky_f16_to_f32((uint16_t)h);
        int nan = (h & 0x7c00) == 0x7c00 && (h & 1023);
        if (nan ? !isnan(f) : sky_f32_to_f16(f) != h)
            bad++;
        if ((h & 0x7fff) < 0x7bff) { /* halfway to the next one rounds to even */
            float mid = (f + sky_f16_to_f32((uint16_t)(h + 1))) / 2;
            if (sky_f32_to_f16(mid) != (h & 1 ? h + 1 : h))
                bad++;
        }
    }
    OK(bad == 0, "every half comes back, halfway cases round to even (%d bad)", bad);
    OK(sky_f32_to_f16(65519.0f) == 0x7bff && sky_f32_to_f16(65520.0f) == 0x7c00, "half overflow");
    OK(sky_f32_to_bf16(1.00390625f) == 0x3f80 && sky_f32_to_bf16(1.01171875f) == 0x3f82, "bf16 ties to even");
    OK(isnan(sky_bf16_to_f32(sky_f32_to_bf16(NAN))), "bf16 keeps NaN");
    uint8_t u;
    sky_store_f64(&u, SKY_U8, 0, 300);
    OK(u == 255, "integers saturate");
    sky_store_f64(&u, SKY_U8, 0, NAN);
    OK(u == 0, "NaN becomes 0 in integers");
    sky_dtype t;
    OK(sky_dtype_parse("BF16", &t) == 0 && t == SKY_BF16 && sky_dtype_parse("bf16", &t) == -1, "names are exact");
}

static void yaml(void)
{
    sky_err e = {0};
    json_t *j;
    const char *good = "a: 1\nb: [x, 'true', true, -2.5e3]\nc:\n  d: ~\n  e: \"5\"\n";
    OK(sky_yaml_parse(&j, good, strlen(good), "y", &e) == 0, "yaml parses %s", e.msg);
    char *s = sky_json_dump(j);
    OK(!strcmp(s, "{\"a\":1,\"b\":[\"x\",\"true\",true,-2500.0],\"c\":{\"d\":null,\"e\":\"5\"}}"), "yaml tree: %s", s);
    sky_free(s);
    json_decref(j);
    const char *bad[] = {"a: &x 1\n", "a: *x\n", "a: 1\na: 2\n", "a: [1\n", "--- 1\n--- 2\n", "", "a: !!int 3\n", "? [a]\n: 1\n"};
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
        OK(sky_yaml_parse(&j, bad[i], strlen(bad[i]), "y", &e) == SKY_ECORRUPT && !j, "yaml refused: %s", e.msg);
    char deep[400];
    memset(deep, '[', sizeof deep);
    OK(sky_yaml_parse(&j, deep, sizeof deep, "y", &e) < 0, "deep yaml: %s", e.msg);
    OK(sky_json_parse(&j, deep, sizeof deep, "j", &e) == SKY_ELIMIT, "deep json: %s", e.msg);
}

static void json(void)
{
    sky_err e = {0};
    json_t *j;
    OK(sky_json_parse(&j, "{\"a\":1,\"a\":2}", 13, "j", &e) == SKY_ECORRUPT, "json key twice: %s", e.msg);
    OK(sky_json_parse(&j, "{\"k\":70000,\"s\":\"x\"}", 19, "j", &e) == 0, "json parses");
    int64_t v;
    const char *str;
    OK(sky_json_i64(j, "k", 1, 0, 65535, &v, "here", &e) == SKY_ECORRUPT && strstr(e.msg, "here: 'k': 70000 is outside"), "%s", e.msg);
    OK(sky_json_str(j, "k", 1, &str, "here", &e) == SKY_ECORRUPT && strstr(e.msg, "expected a string, found an integer"), "%s", e.msg);
    OK(sky_json_only(j, (const char *const[]){"k", NULL}, "here", &e) == SKY_ECORRUPT && strstr(e.msg, "'s'"), "%s", e.msg);
    json_decref(j);
}

static void files(void)
{
    sky_err e = {0};
    enum { N = 1000000 };
    char dir[] = "/tmp/sky-base-XXXXXX", path[64];
    OK(mkdtemp(dir) != NULL, "temporary folder");
    snprintf(path, sizeof path, "%s/out", dir);
    sky_out *o;
    OK(sky_out_open(&o, path, 1, &e) == 0, "open output");
    uint8_t *data = sky_alloc(N), *back = sky_alloc(N);
    for (int i = 0; i < N; i++)
        data[i] = (uint8_t)(i * 7 >> 3);
    int rc = 0;
    for (size_t at = 0, k = 1; at < N; at += k, k = k * 3 + 1) {
        k = k < N - at ? k : N - at;
        rc |= sky_out_write(o, data + at, k, &e);
        if (at + k == N)
            break;
    }
    OK(rc == 0 && access(path, F_OK) != 0, "nothing under the final name before commit");
    OK(sky_out_commit(o, &e) == 0 && access(path, F_OK) == 0, "commit");
    sky_in *in;
    OK(sky_in_open(&in, path, &e) == 0 && sky_in_size(in) == N, "open input");
    const void *peek;
    OK(sky_in_peek(in, &peek, 10, &e) == 10 && !memcmp(peek, data, 10), "peek");
    OK(sky_in_exact(in, back, 3, "x", &e) == 0 && sky_in_skip(in, 400000, "x", &e) == 0 && sky_in_offset(in) == 400003, "skip");
    OK(sky_in_exact(in, back, N - 400003, "x", &e) == 0 && !memcmp(back, data + 400003, N - 400003), "content");
    OK(sky_in_pread(in, back, 5000, 123456, &e) == 0 && !memcmp(back, data + 123456, 5000) && sky_in_offset(in) == N, "from another place, the position stays");
    OK(sky_in_pread(in, back, 2, N - 1, &e) == SKY_ECORRUPT && !strcmp(e.msg, "ends at byte 1000000, 1 more bytes wanted"), "%s", e.msg);
    OK(sky_in_exact(in, back, 1, "more", &e) == SKY_ECORRUPT && strstr(e.msg, "ends at byte 1000000, 1 more bytes of more wanted"), "%s", e.msg);
    sky_in *same = sky_in_share(in);
    sky_in_close(in);
    OK(sky_in_pread(same, back, 1, 7, &e) == 0 && back[0] == data[7], "open until the last who shares it closes it");
    sky_in_close(same);
    OK(sky_out_open(&o, path, 1, &e) == 0 && sky_out_write(o, "x", 1, &e) == 0, "again");
    sky_out_abort(o);
    OK(sky_in_open(&in, path, &e) == 0 && sky_in_size(in) == N, "abort keeps the old file");
    sky_in_close(in);
    OK(sky_out_open(&o, "/dev/full", 1, &e) == 0 && sky_out_write(o, "x", 1, &e) == 0, "a full device opens");
    OK(sky_out_commit(o, &e) == SKY_EIO && strstr(e.msg, "No space"), "and fails: %s", e.msg);
    unlink(path);
    OK(rmdir(dir) == 0, "nothing left behind");
    sky_free(data);
    sky_free(back);
}

static void add(void *arg, int64_t i, int thread)
{
    (void)thread;
    ((int *)arg)[i]++;
}

static void slow_square(void *job)
{
    int *v = job;
    usleep((unsigned)(*v * 7919 % 13) * 100);
    *v = *v * *v;
}

static void threads(void)
{
    sky_err e = {0};
    sky_pool *p;
    static int hits[10007], v[200];
    OK(sky_pool_open(&p, 3, &e) == 0 && sky_pool_threads(p) == 3, "pool of three");
    for (int k = 0; k < 50; k++)
        sky_pool_for(p, 10007, add, hits);
    int bad = 0, got = 0, order = 1;
    for (int i = 0; i < 10007; i++)
        bad += hits[i] != 50;
    OK(!bad, "every index once per loop");
    sky_pool_close(p);
    sky_queue *q;
    OK(sky_queue_open(&q, 3, 5, slow_square, &e) == 0, "queue");
    for (int i = 0; i < 200; i++) {
        v[i] = i;
        if (sky_queue_pending(q) == 5)
            order &= *(int *)sky_queue_get(q) == got * got, got++;
        sky_queue_put(q, &v[i]);
    }
    sky_queue_end(q);
    for (int *r; (r = sky_queue_get(q)); got++)
        order &= *r == got * got;
    OK(order && got == 200, "jobs come back in the order they went in");
    sky_queue_close(q);
}

static void planes(void)
{
    enum { MOST = 100, PLANE = 128 };
    uint8_t from[3 * MOST], to[3 * PLANE], want[3 * PLANE];
    int differ = 0;
    for (int i = 0; i < 3 * MOST; i++)
        from[i] = (uint8_t)sky_mix64(11, (uint64_t)i);
    for (int n = 0; n <= MOST; n++) {
        memset(to, 7, sizeof to); /* what lies beyond n pixels stays */
        memset(want, 7, sizeof want);
        for (int i = 0; i < 3 * n; i++)
            want[i % 3 * PLANE + i / 3] = from[i];
        sky_split3(to, PLANE, from, (size_t)n);
        differ += memcmp(to, want, sizeof to) != 0;
    }
    OK(differ == 0, "pixels of three bytes split into planes, 0 to %d pixels (%d differ)", MOST, differ);
}

/* Runs only with SKY_TEST_FAIL_ALLOC set by main, so that the first allocation of all fails. */
static void growing(void)
{
    size_t cap = 0;
    int *v = sky_grow(NULL, 0, &cap, sizeof *v);
    OK(!v && cap == 0, "an array that gets no memory stays as it was");
    int right = 1;
    for (size_t n = 0; n < 1000; n++) {
        int *more = sky_grow(v, n, &cap, sizeof *v);
        right &= more && n < cap && cap < (n < 64 ? 65 : 2 * n + 1);
        v = more;
        v[n] = (int)n;
    }
    for (int i = 0; i < 1000; i++)
        right &= v[i] == i;
    OK(right && cap == 1024, "an array grows by one, doubling its room, and keeps what it holds");
    int *same = sky_grow(v, 1023, &cap, sizeof *v);
    OK(same == v && cap == 1024, "it stays where it is while there is room");
    int *far = sky_grow(v, 5000, &cap, sizeof *v);
    OK(far && cap == 8192 && far[999] == 999, "room for an element far behind the last");
    size_t was = cap;
    OK(!sky_grow(far, SIZE_MAX / 2, &cap, 3) && !sky_grow(far, SIZE_MAX, &cap, 1) && !sky_grow(far, SIZE_MAX / 4, &cap, sizeof *v) && cap == was && far[999] == 999,
       "more elements than can be counted, or bytes than there are: no memory, the array stays");
    sky_free(far);
}

int main(void)
{
    setenv("SKY_TEST_FAIL_ALLOC", "1", 1);
    growing();
    crc();
    planes();
    sha();
    dtypes();
    yaml();
    json();
    files();
    threads();
    return END();
}
