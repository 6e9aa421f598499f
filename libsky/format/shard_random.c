/* shard_random.c -- random access to the records of one shard file (or several concatenated) through the index.
 * Opening reads the trailer and the index region from the end; a record is one pread for its lead and one per wanted field. */
#include "format/read_internal.h"
#include "base/hash.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    sky_index_part part;
    uint64_t base;      /* of its shard in the file */
    uint64_t tag;
    uint64_t first;     /* number of its first record in this handle */
} region;

typedef struct {
    uint64_t key, i;
} by_key;

struct sky_shard {
    char *path;
    sky_in *in;
    uint64_t count;
    sky_limits lim;
    json_t *schema;
    region *reg;
    size_t nreg;
    sky_codec *codec;
    pthread_mutex_t lock; /* guards entry and order */
    json_t **entry;
    by_key *order;        /* sorted by key, made at the first find */
};

/* ---- open: from the last shard of the file to the first ------------------------------------------------------- */

static int trailer_before(const sky_shard *s, uint64_t end, sky_trailer *t, sky_err *e)
{
    uint8_t p[SKY_TRAILER_BYTES];
    uint64_t at = end - SKY_TRAILER_BYTES;
    if (end < SKY_TRAILER_BYTES)
        return sky_fail(e, SKY_ECORRUPT, "%" PRIu64 " bytes are too few for a shard", end);
    int rc = sky_in_pread(s->in, p, sizeof p, at, e);
    if (!rc)
        rc = sky_block_head(&t->b, p, e);
    if (!rc && (t->b.kind != 'T' || t->b.size != SKY_TRAILER_BYTES))
        rc = sky_fail(e, SKY_ECORRUPT, "no trailer");
    if (!rc)
        rc = sky_block_check(&t->b, p, e);
    if (!rc)
        rc = sky_trailer_parse(t, p, e);
    if (!rc && t->shard_bytes > end)
        rc = sky_fail(e, SKY_ECORRUPT, "trailer of a shard of %" PRIu64 " bytes", t->shard_bytes);
    if (rc && rc != SKY_EIO) {
        sky_at_byte(e, at);
        sky_wrap(e, "the index cannot be used (sky-pack --recover reads without it)");
    }
    return rc;
}

static int take_schema(sky_shard *s, const uint8_t *p, const sky_block *b, sky_err *e)
{
    sky_line l;
    json_t *j;
    int rc = sky_line_check(&l, (const char *)p + SKY_BLOCK_HEAD, b->size - SKY_BLOCK_HEAD, e);
    if (!rc)
        rc = sky_schema_parse(&j, l.body, l.nbody, e);
    if (rc)
        return rc;
    if (s->schema)
        rc = sky_schema_merge(j, s->schema, e); /* shards are met last to first: the earlier one leads */
    json_decref(s->schema);
    s->schema = j;
    return rc;
}

static int take_part(sky_shard *s, const uint8_t *p, const sky_block *b, uint64_t base, sky_err *e)
{
    region *reg = sky_realloc(s->reg, s->nreg * sizeof *reg, (s->nreg + 1) * sizeof *reg);
    if (!reg)
        return sky_fail(e, SKY_ENOMEM, "index: out of memory");
    s->reg = reg;
    reg[s->nreg] = (region){.base = base, .tag = b->tag};
    int rc = sky_index_part_unpack(&reg[s->nreg].part, p, b, e);
    if (!rc)
        s->nreg++;
    return rc;
}

/* Rows must point at records inside the part of the shard before END. */
static int rows_inside(const sky_index_part *p, const sky_trailer *t, sky_err *e)
{
    for (uint64_t i = 0; i < p->n; i++)
        if (p->row[i].bytes < SKY_LEAD_HEAD || p->row[i].bytes > t->end_at || p->row[i].at > t->end_at - p->row[i].bytes)
            return sky_fail(e, SKY_ECORRUPT, "index: record %" PRIu64 " lies outside the shard", p->first + i);
    return SKY_OK;
}

static int walk_region(sky_shard *s, const uint8_t *p, const sky_trailer *t, uint64_t base, sky_err *e)
{
    uint64_t indexed = 0;
    for (uint64_t left = t->index_bytes; left;) {
        sky_block b;
        int rc = left < SKY_BLOCK_HEAD ? sky_fail(e, SKY_ECORRUPT, "index: %" PRIu64 " bytes left over", left) : sky_block_head(&b, p, e);
        if (!rc && b.size > left)
            rc = sky_fail(e, SKY_ECORRUPT, "index: block of %" PRIu32 " bytes, %" PRIu64 " left", b.size, left);
        if (!rc)
            rc = sky_block_check(&b, p, e);
        if (!rc && b.tag != t->b.tag)
            rc = sky_fail(e, SKY_ECORRUPT, "index: block of another shard");
        if (!rc && b.kind == 'C')
            rc = take_schema(s, p, &b, e);
        else if (!rc && b.kind == 'I') {
            rc = b.number == indexed ? take_part(s, p, &b, base, e) : sky_fail(e, SKY_ECORRUPT, "index: block for record %" PRIu64 ", for %" PRIu64 " expected", b.number, indexed);
            if (!rc)
                rc = rows_inside(&s->reg[s->nreg - 1].part, t, e);
            if (!rc)
                indexed += s->reg[s->nreg - 1].part.n;
        } else if (!rc && !(b.flags & SKY_BLOCK_OPTIONAL))
            rc = sky_fail(e, SKY_EVERSION, "index: block of kind 0x%02x", b.kind);
        if (rc)
            return rc;
        p += b.size;
        left -= b.size;
    }
    if (indexed != t->b.number)
        return sky_fail(e, SKY_ECORRUPT, "index of %" PRIu64 " records, the trailer says %" PRIu64, indexed, t->b.number);
    return SKY_OK;
}

static int read_region(sky_shard *s, uint64_t end, const sky_trailer *t, sky_err *e)
{
    uint64_t base = end - t->shard_bytes;
    if (t->index_bytes > ((uint64_t)4 << 30))
        return sky_fail(e, SKY_ELIMIT, "index of %" PRIu64 " bytes", t->index_bytes);
    uint8_t *p = sky_alloc(t->index_bytes);
    if (!p)
        return sky_fail(e, SKY_ENOMEM, "index: out of memory");
    int rc = sky_in_pread(s->in, p, t->index_bytes, base + t->index_at, e);
    if (!rc)
        rc = walk_region(s, p, t, base, e);
    sky_free(p);
    if (!rc && !s->schema)
        rc = sky_fail(e, SKY_ECORRUPT, "index: no copy of the schema");
    return rc;
}

static void reverse(region *r, size_t n)
{
    for (size_t i = 0; i < n / 2; i++) {
        region t = r[i];
        r[i] = r[n - 1 - i];
        r[n - 1 - i] = t;
    }
}

/* sky-ingest, sky-tile and sky-infer write these. */
static int is_plain(const sky_shard *s)
{
    static const char head[] = "{\"sky\":\"";
    char p[sizeof head - 1];
    return sky_in_size(s->in) >= (int64_t)sizeof p && sky_in_pread(s->in, p, sizeof p, 0, NULL) == SKY_OK && !memcmp(p, head, sizeof p);
}

static int open_index(sky_shard *s, sky_err *e)
{
    if (is_plain(s))
        return sky_fail(e, SKY_ECORRUPT, "a plain stream has no index: sky-pack -o makes a shard of it");
    uint64_t end = (uint64_t)sky_in_size(s->in);
    int rc = SKY_OK;
    do {
        sky_trailer t;
        size_t before = s->nreg;
        if ((rc = trailer_before(s, end, &t, e)) || (rc = read_region(s, end, &t, e)))
            return rc;
        if (s->nreg > before)
            reverse(s->reg + before, s->nreg - before); /* so that reversing all puts every part in file order */
        end -= t.shard_bytes;
    } while (end);
    reverse(s->reg, s->nreg);
    for (size_t i = 0; i < s->nreg; i++) {
        s->reg[i].first = s->count;
        s->count += s->reg[i].part.n;
    }
    s->entry = sky_calloc(s->count ? s->count : 1, sizeof *s->entry);
    return s->entry ? SKY_OK : sky_fail(e, SKY_ENOMEM, "index: out of memory");
}

int sky_shard_open(sky_shard **out, const char *path, const sky_limits *lim, sky_err *e)
{
    sky_shard *s = sky_calloc(1, sizeof *s);
    if (!s)
        return sky_fail(e, SKY_ENOMEM, "%s: out of memory", path);
    pthread_mutex_init(&s->lock, NULL);
    s->lim = lim ? *lim : sky_limits_default;
    int rc = sky_in_open(&s->in, path, e);
    if (!rc && !sky_in_seekable(s->in))
        rc = sky_fail(e, SKY_EIO, "%s: not a regular file, and random access needs one", path);
    if (!rc && !(s->path = sky_strdup(path)))
        rc = sky_fail(e, SKY_ENOMEM, "%s: out of memory", path);
    if (!rc)
        rc = sky_codec_open(&s->codec, 0, e);
    if (!rc && (rc = open_index(s, e)))
        sky_wrap(e, "%s", path);
    if (rc)
        sky_shard_close(s);
    else
        *out = s;
    return rc;
}

void sky_shard_forget(sky_shard *s)
{
    for (uint64_t i = 0; s->entry && i < s->count; i++)
        json_decref(s->entry[i]);
    for (size_t i = 0; i < s->nreg; i++)
        sky_buf_free(&s->reg[i].part.text);
    sky_free(s->entry);
    sky_free(s->order);
    s->entry = NULL;
    s->order = NULL;
}

void sky_shard_close(sky_shard *s)
{
    if (!s)
        return;
    sky_shard_forget(s);
    for (size_t i = 0; i < s->nreg; i++)
        sky_index_part_free(&s->reg[i].part);
    sky_free(s->reg);
    json_decref(s->schema);
    sky_codec_close(s->codec);
    sky_in_close(s->in);
    pthread_mutex_destroy(&s->lock);
    sky_free(s->path);
    sky_free(s);
}

const json_t *sky_shard_schema(const sky_shard *s) { return s->schema; }
uint64_t sky_shard_count(const sky_shard *s) { return s->count; }

/* ---- entries --------------------------------------------------------------------------------------------------- */

static const region *region_of(const sky_shard *s, uint64_t i)
{
    size_t lo = 0, hi = s->nreg;
    while (hi - lo > 1) {
        size_t mid = lo + (hi - lo) / 2;
        if (s->reg[mid].first <= i)
            lo = mid;
        else
            hi = mid;
    }
    return &s->reg[lo];
}

static const sky_index_row *row_of(const sky_shard *s, uint64_t i, const region **reg)
{
    *reg = region_of(s, i);
    return &(*reg)->part.row[i - (*reg)->first];
}

static int has_entry(const sky_shard *s, uint64_t i, sky_err *e)
{
    if (!s->entry)
        return sky_fail(e, SKY_EUSAGE, "%s: its index was given up", s->path);
    return i < s->count ? SKY_OK : sky_fail(e, SKY_EUSAGE, "%s: record %" PRIu64 " of %" PRIu64, s->path, i, s->count);
}

json_t *sky_shard_entry_new(const sky_shard *s, uint64_t i, sky_err *e)
{
    const region *reg;
    json_t *j = NULL;
    if (has_entry(s, i, e))
        return NULL;
    const sky_index_row *w = row_of(s, i, &reg);
    if (sky_json_parse(&j, reg->part.text.p + w->text, w->ntext, "index entry", e)) {
        sky_wrap(e, "%s: record %" PRIu64, s->path, i);
        return NULL;
    }
    return j;
}

/* With the lock held. NULL: not valid JSON, or memory; e says which. */
static json_t *entry_at(sky_shard *s, uint64_t i, sky_err *e)
{
    if (!s->entry[i])
        s->entry[i] = sky_shard_entry_new(s, i, e);
    return s->entry[i];
}

const json_t *sky_shard_entry(const sky_shard *shard, uint64_t i, sky_err *e)
{
    sky_shard *s = (sky_shard *)shard; /* the cache of parsed entries is not part of its value */
    if (has_entry(s, i, e))
        return NULL;
    pthread_mutex_lock(&s->lock);
    const json_t *v = entry_at(s, i, e);
    pthread_mutex_unlock(&s->lock);
    return v;
}

static int compare_keys(const void *a, const void *b)
{
    const by_key *x = a, *y = b;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return x->i < y->i ? -1 : x->i > y->i;
}

static int make_order(sky_shard *s)
{
    const region *reg;
    if (s->order)
        return 0;
    if (!(s->order = sky_alloc(s->count * sizeof *s->order)))
        return -1;
    for (uint64_t i = 0; i < s->count; i++)
        s->order[i] = (by_key){row_of(s, i, &reg)->key, i};
    qsort(s->order, s->count, sizeof *s->order, compare_keys);
    return 0;
}

static int find_locked(sky_shard *s, const char *id, uint64_t *i, sky_err *e)
{
    uint64_t key = sky_fnv1a(id), lo = 0, hi = s->count;
    if (!s->entry)
        return has_entry(s, 0, e);
    if (make_order(s))
        return sky_fail(e, SKY_ENOMEM, "%s: index: out of memory", s->path);
    while (lo < hi) {
        uint64_t mid = lo + (hi - lo) / 2;
        if (s->order[mid].key < key)
            lo = mid + 1;
        else
            hi = mid;
    }
    for (; lo < s->count && s->order[lo].key == key; lo++) {
        *i = s->order[lo].i;
        const json_t *entry = entry_at(s, *i, e);
        if (!entry)
            return SKY_ENOMEM; /* the index's checksum was right, so its text is */
        const char *have = json_string_value(json_object_get(entry, "id"));
        if (have && !strcmp(have, id))
            return 1;
    }
    return 0;
}

int sky_shard_find(const sky_shard *shard, const char *id, uint64_t *i, sky_err *e)
{
    sky_shard *s = (sky_shard *)shard;
    pthread_mutex_lock(&s->lock);
    int rc = find_locked(s, id, i, e);
    pthread_mutex_unlock(&s->lock);
    return rc;
}

const char *sky_shard_id_at(const sky_shard *s, uint64_t base, uint64_t number)
{
    for (size_t i = 0; i < s->nreg; i++) {
        const sky_index_part *p = &s->reg[i].part;
        if (s->reg[i].base == base && number - p->first < p->n)
            return json_string_value(json_object_get(sky_shard_entry(s, s->reg[i].first + number - p->first, NULL), "id"));
    }
    return NULL;
}

/* ---- records --------------------------------------------------------------------------------------------------- */

static int read_lead(const sky_shard *s, sky_found *f, const region *reg, const sky_index_row *w, sky_err *e)
{
    uint8_t p[SKY_LEAD_MAX];
    uint64_t n = w->bytes < sizeof p ? w->bytes : sizeof p;
    int rc = sky_in_pread(s->in, p, n, f->at, e);
    if (!rc)
        rc = sky_block_head(&f->lead.b, p, e);
    if (!rc && (f->lead.b.kind != 'R' || f->lead.b.size > n || f->lead.b.tag != reg->tag ||
                f->lead.b.number != reg->part.first + (uint64_t)(w - reg->part.row)))
        rc = sky_fail(e, SKY_ECORRUPT, "the index points at something that is not this record");
    if (!rc)
        rc = sky_block_check(&f->lead.b, p, e);
    if (!rc)
        rc = sky_lead_parse(&f->lead, p, &s->lim, e);
    if (!rc && f->lead.b.size + f->lead.body != w->bytes)
        rc = sky_fail(e, SKY_ECORRUPT, "record of %" PRIu64 " bytes, %" PRIu64 " in the index", f->lead.b.size + f->lead.body, w->bytes);
    f->frames_at = f->at + f->lead.b.size;
    return rc;
}

int sky_shard_read(sky_shard *s, uint64_t i, const char *const *names, sky_sample *out, sky_err *e)
{
    if (i >= s->count)
        return sky_fail(e, SKY_EUSAGE, "%s: record %" PRIu64 " of %" PRIu64, s->path, i, s->count);
    const region *reg;
    const sky_index_row *w = row_of(s, i, &reg);
    sky_found *f = sky_calloc(1, sizeof *f);
    if (!f)
        return sky_fail(e, SKY_ENOMEM, "%s: out of memory", s->path);
    *f = (sky_found){.kind = 'R', .name = s->path, .lim = &s->lim, .codec = s->codec, .select = (char *const *)names, .at = reg->base + w->at, .in = sky_in_share(s->in)};
    int rc = read_lead(s, f, reg, w, e);
    if (rc) {
        if (rc != SKY_EIO && rc != SKY_ENOMEM)
            sky_at_byte(e, f->at);
        sky_wrap(e, "%s: record %" PRIu64, s->path, i);
    } else {
        sky_decode(f);
        rc = f->rc;
        if (rc && e)
            *e = f->err;
    }
    if (!rc) {
        sky_sample_move(out, &f->s);
        out->seq = i;
    }
    sky_found_free(f);
    return rc;
}
