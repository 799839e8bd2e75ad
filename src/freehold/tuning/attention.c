/* Causal attention over a packed row of tokens (see forward.py), there and back; compiled by `kernels.py`.

   The row is `prefix` tokens, then the tokens of the examples, the first of each at `starts`, where their end is the
   last. Rows after it are nobody's: what attention says of them is 0. A row of q, k and v is all heads' queries, all
   groups' keys, all groups' values.

   A sequence is the prefix, or an example's own tokens after it. One thread computes what one group of heads, which
   share a key head, makes of one sequence, at its desk, in float32. Matrices there have whole tiles: rows in TALL,
   columns in WIDE, 0 where nothing is. The way back computes the shares of attention again, so that none are kept.
   Every result is written by one thread alone, in one order: the number of threads changes no bit. */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "number.h"

typedef struct {
    int64_t prefix, examples, heads, groups, width;
    const int64_t *starts;
} shape;

enum { WIDE = 16 };
#ifdef __AVX512F__
enum { TALL = 8 }; /* tiles that the registers hold */
#else
enum { TALL = 4 };
#endif

typedef float vector __attribute__((vector_size(WIDE * sizeof(float)), aligned(sizeof(float)), may_alias));
typedef int32_t whole_numbers __attribute__((vector_size(WIDE * sizeof(float))));

static const whole_numbers PLACES = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

static inline float sum_of(vector x) {
    float sum = 0;
    for (int i = 0; i < WIDE; i++) sum += x[i];
    return sum;
}

static inline float top_of(vector x) {
    float top = x[0];
    for (int i = 1; i < WIDE; i++) top = x[i] > top ? x[i] : top;
    return top;
}

/* 2 to the x where x is not above 0, to float32's rounding: a power of 2, times a polynomial (Taylor's) of the rest. */
static inline vector power_of_two(vector x) {
    whole_numbers power = __builtin_convertvector(x - 0.5f, whole_numbers); /* the nearest */
    vector rest = (x - __builtin_convertvector(power, vector)) * 0.693147181f;
    vector near = 1 + rest * (1 + rest * (1 / 2.f + rest * (1 / 6.f + rest * (1 / 24.f + rest * (1 / 120.f + rest / 720)))));
    return (vector)(((whole_numbers)near + (power << 23)) & (power > -126)); /* below: 0 */
}

static inline int64_t tall(int64_t rows) { return (rows + TALL - 1) / TALL * TALL; }

static inline int64_t whole(int64_t columns) { return (columns + WIDE - 1) / WIDE * WIDE; }

/* left (rows, inner) · right (inner, columns) → out; numbers of left that lie one below the other, and one beside the
   other, are so far apart. */
static void product(const float *left, int64_t below, int64_t beside, const float *right, float *out, int64_t rows,
                    int64_t inner, int64_t columns) {
    for (int64_t column = 0; column < columns; column += WIDE)
        for (int64_t row = 0; row < rows; row += TALL) {
            vector sum[TALL] = {{0}};
            const float *from = left + row * below;
            for (int64_t at = 0; at < inner; at++) {
                vector other = *(const vector *)(right + at * columns + column);
                for (int i = 0; i < TALL; i++) sum[i] += from[i * below + at * beside] * other;
            }
            for (int i = 0; i < TALL; i++) *(vector *)(out + (row + i) * columns + column) = sum[i];
        }
}

static void transposed(const float *from, float *to, int64_t rows, int64_t columns) {
    for (int64_t row = 0; row < rows; row++)
        for (int64_t column = 0; column < columns; column++) to[column * rows + row] = from[row * columns + column];
}

/* Rotary positions (Su et al. 2021, arXiv:2104.09864), as Llama lays them out. */
static inline void rotate(float *restrict x, const number *restrict cosine, const number *restrict sine, int64_t width) {
    int64_t half = width / 2;
    for (int64_t i = 0; i < half; i++) {
        float low = x[i], high = x[i + half];
        x[i] = low * up(cosine[i]) - high * up(sine[i]);
        x[i + half] = high * up(cosine[i + half]) + low * up(sine[i + half]);
    }
}

static inline void rotate_back(float *restrict x, const number *restrict cosine, const number *restrict sine,
                               int64_t width) {
    int64_t half = width / 2;
    for (int64_t i = 0; i < half; i++) {
        float low = x[i], high = x[i + half];
        x[i] = low * up(cosine[i]) + high * up(sine[i + half]);
        x[i + half] = high * up(cosine[i + half]) - low * up(sine[i]);
    }
}

/* Rows of a packed batch, their stride, and the cosines and sines of its tokens. */
typedef struct {
    const number *rows, *cosine, *sine;
    int64_t stride;
} table;

/* Part of the rows of `count` tokens → a matrix at the desk, rotated where the table has positions. */
static void fetch(const table *from, int64_t token, int64_t at, float *to, int64_t count, int64_t width) {
    int64_t columns = whole(width);
    for (int64_t i = 0; i < count; i++, to += columns) {
        const number *row = from->rows + (token + i) * from->stride + at;
        for (int64_t j = 0; j < width; j++) to[j] = up(row[j]);
        if (from->cosine) rotate(to, from->cosine + (token + i) * width, from->sine + (token + i) * width, width);
    }
}

static void put(const float *from, number *to, int64_t stride, int64_t count, int64_t width) {
    for (int64_t i = 0; i < count; i++)
        for (int64_t j = 0; j < width; j++) to[i * stride + j] = down(from[i * whole(width) + j]);
}

/* The same for gradients in what was rotated. */
static void put_back(float *from, const table *of, int64_t token, number *to, int64_t count, int64_t width) {
    for (int64_t i = 0; i < count; i++)
        rotate_back(from + i * whole(width), of->cosine + (token + i) * width, of->sine + (token + i) * width, width);
    put(from, to, of->stride, count, width);
}

typedef struct {
    int64_t first, own, seen, group; /* its first own token, how many there are, and how many of the prefix it sees */
} sequence;

static inline sequence sequence_at(int64_t at, const shape *s) {
    int64_t example = at / s->groups - 1, group = at % s->groups;
    if (example < 0) return (sequence){0, s->prefix, 0, group};
    return (sequence){s->starts[example], s->starts[example + 1] - s->starts[example], s->prefix, group};
}

/* Matrices over (tokens seen, width) and their transposes; over (queries, width), a query being one head's of one own
   token; and over (queries, tokens seen). */
typedef struct {
    float *key, *value, *key_across, *value_across, *to_key, *to_value;
    float *query, *out, *to_query;
    float *shares, *scores;
    float *memory;
} desk;

static desk desk_for(const shape *s) {
    int64_t own = s->prefix;
    for (int64_t i = 0; i < s->examples; i++) {
        int64_t length = s->starts[i + 1] - s->starts[i];
        own = length > own ? length : own;
    }
    int64_t seen = whole(s->prefix + own), columns = whole(s->width), queries = tall(s->heads / s->groups * own);
    float *at = calloc(6 * seen * columns + 3 * queries * columns + 2 * queries * seen, sizeof(float));
    desk d = {.memory = at};
    if (!at) abort();
    float **parts[] = {&d.key, &d.value, &d.key_across, &d.value_across, &d.to_key, &d.to_value};
    for (int i = 0; i < 6; i++, at += seen * columns) *parts[i] = at;
    d.query = at, d.out = at + queries * columns, d.to_query = at + 2 * queries * columns;
    d.shares = at + 3 * queries * columns, d.scores = d.shares + queries * seen;
    return d;
}

/* What a sequence sees: keys (rotated) and values of the prefix, then its own. */
static void see(desk *d, const table *from, const table *plain, sequence q, const shape *s) {
    int64_t columns = whole(s->width), rows = q.seen + q.own, key = (s->heads + q.group) * s->width;
    int64_t value = key + s->groups * s->width;
    fetch(from, 0, key, d->key, q.seen, s->width);
    fetch(from, q.first, key, d->key + q.seen * columns, q.own, s->width);
    fetch(plain, 0, value, d->value, q.seen, s->width);
    fetch(plain, q.first, value, d->value + q.seen * columns, q.own, s->width);
    memset(d->key + rows * columns, 0, (whole(rows) - rows) * columns * sizeof(float));
    memset(d->value + rows * columns, 0, (whole(rows) - rows) * columns * sizeof(float));
    transposed(d->key, d->key_across, whole(rows), columns);
}

/* The part of a row of tokens that belongs to the heads of a sequence's group → queries at the desk. */
static void fetch_heads(const table *from, sequence q, float *to, const shape *s) {
    int64_t each = s->heads / s->groups;
    for (int64_t head = 0; head < each; head++, to += q.own * whole(s->width))
        fetch(from, q.first, (q.group * each + head) * s->width, to, q.own, s->width);
}

/* Softmax over the first `open` of `count` scores times `scale`; the others get 0. */
static void soften(float *scores, int64_t open, int64_t count, float scale) {
    const float lowest = -3e38f, twos = scale * 1.44269504f; /* the logarithm of e to base 2 */
    vector top = lowest - (vector){0}, sum = {0};
    for (int64_t at = 0; at < count; at += WIDE) {
        vector *here = (vector *)(scores + at);
        whole_numbers closed = PLACES + (int32_t)at >= (int32_t)open;
        *here = (vector)(((whole_numbers)*here & ~closed) | ((whole_numbers)(lowest - (vector){0}) & closed));
        whole_numbers more = *here > top;
        top = (vector)(((whole_numbers)*here & more) | ((whole_numbers)top & ~more));
    }
    float most = top_of(top);
    for (int64_t at = 0; at < count; at += WIDE) {
        vector *here = (vector *)(scores + at);
        sum += *here = power_of_two((*here - most) * twos);
    }
    float share = 1 / sum_of(sum);
    for (int64_t at = 0; at < count; at += WIDE) *(vector *)(scores + at) *= share;
}

/* What every query takes of every token: one of own token i sees the prefix and its own to i. */
static void share(desk *d, const table *from, sequence q, float scale, const shape *s) {
    int64_t columns = whole(s->width), seen = whole(q.seen + q.own), queries = s->heads / s->groups * q.own;
    fetch_heads(from, q, d->query, s);
    product(d->query, columns, 1, d->key_across, d->shares, tall(queries), s->width, seen);
    for (int64_t row = 0; row < queries; row++) soften(d->shares + row * seen, q.seen + row % q.own + 1, seen, scale);
}

/* The gradient in the shares → in the scores that they came from. */
static void share_back(desk *d, int64_t queries, int64_t seen, float scale) {
    for (int64_t row = 0; row < queries; row++) {
        vector *here = (vector *)(d->scores + row * seen), *shares = (vector *)(d->shares + row * seen), both = {0};
        for (int64_t i = 0; i < seen / WIDE; i++) both += here[i] * shares[i];
        float along = sum_of(both);
        for (int64_t i = 0; i < seen / WIDE; i++) here[i] = shares[i] * (here[i] - along) * scale;
    }
}

/* Rows of q, k and v → rows of what attention makes of them, `count` with those that are nobody's. */
void attend(const number *rows, const number *cosine, const number *sine, number *out, int64_t out_stride, float scale,
            int64_t count, shape s) {
    int64_t wide = (s.heads + 2 * s.groups) * s.width, columns = whole(s.width), each = s.heads / s.groups;
    table turned = {rows, cosine, sine, wide}, plain = {rows, NULL, NULL, wide};
    for (int64_t token = s.starts[s.examples]; token < count; token++)
        memset(out + token * out_stride, 0, s.heads * s.width * sizeof(number));
#pragma omp parallel
    {
        desk d = desk_for(&s);
#pragma omp for schedule(dynamic)
        for (int64_t at = 0; at < (s.examples + 1) * s.groups; at++) {
            sequence q = sequence_at(at, &s);
            int64_t seen = q.seen + q.own;
            see(&d, &turned, &plain, q, &s);
            share(&d, &turned, q, scale, &s);
            product(d.shares, whole(seen), 1, d.value, d.out, tall(each * q.own), seen, columns);
            number *to = out + q.first * out_stride + q.group * each * s.width;
            for (int64_t head = 0; head < each; head++)
                put(d.out + head * q.own * columns, to + head * s.width, out_stride, q.own, s.width);
        }
        free(d.memory);
    }
}

/* The way back of one sequence, but for its keys and values, which are left at the desk. */
static void attend_one_back(desk *d, const table *turned, const table *plain, const table *back, number *out,
                            sequence q, float scale, const shape *s) {
    int64_t columns = whole(s->width), each = s->heads / s->groups, queries = each * q.own;
    int64_t rows = q.seen + q.own, seen = whole(rows);
    see(d, turned, plain, q, s);
    transposed(d->value, d->value_across, seen, columns);
    share(d, turned, q, scale, s);
    fetch_heads(back, q, d->out, s);
    product(d->out, columns, 1, d->value_across, d->scores, tall(queries), s->width, seen);
    share_back(d, queries, seen, scale);
    product(d->scores, seen, 1, d->key, d->to_query, tall(queries), rows, columns);
    product(d->scores, 1, seen, d->query, d->to_key, seen, queries, columns);
    product(d->shares, 1, seen, d->out, d->to_value, seen, queries, columns);
    number *to = out + q.first * turned->stride + q.group * each * s->width;
    for (int64_t head = 0; head < each; head++)
        put_back(d->to_query + head * q.own * columns, turned, q.first, to + head * s->width, q.own, s->width);
}

/* What every sequence gave a token of the prefix, summed up → its row's key and value of one group. */
static void prefix_back(const float *parts, const table *turned, number *out, int64_t token, int64_t group,
                        const shape *s) {
    int64_t part = s->prefix * s->width;
    float sum[2][s->width];
    memset(sum, 0, sizeof sum);
    for (int64_t i = 0; i <= s->examples; i++) {
        const float *from = parts + (i * s->groups + group) * 2 * part + token * s->width;
        for (int64_t j = 0; j < s->width; j++) sum[0][j] += from[j], sum[1][j] += from[part + j];
    }
    number *to = out + token * turned->stride + (s->heads + group) * s->width;
    put_back(sum[0], turned, token, to, 1, s->width);
    put(sum[1], to + s->groups * s->width, turned->stride, 1, s->width);
}

/* The way back: `back` are the gradients of attention's rows, `out` those of the rows of q, k and v. `parts`
   (1 + examples, groups, 2, prefix, width) has room for what each sequence gives the prefix's keys and values. */
void attend_back(const number *rows, const number *cosine, const number *sine, const number *back, int64_t back_stride,
                 number *out, float *parts, float scale, int64_t count, shape s) {
    int64_t wide = (s.heads + 2 * s.groups) * s.width, columns = whole(s.width), part = s.prefix * s.width;
    table turned = {rows, cosine, sine, wide}, plain = {rows, NULL, NULL, wide}, given = {back, NULL, NULL, back_stride};
    for (int64_t token = s.starts[s.examples]; token < count; token++)
        memset(out + token * wide, 0, wide * sizeof(number));
#pragma omp parallel
    {
        desk d = desk_for(&s);
#pragma omp for schedule(dynamic)
        for (int64_t at = 0; at < (s.examples + 1) * s.groups; at++) {
            sequence q = sequence_at(at, &s);
            attend_one_back(&d, &turned, &plain, &given, out, q, scale, &s);
            float *to_prefix = parts + at * 2 * part, *key = d.to_key, *value = d.to_value;
            for (int64_t i = 0; i < s.prefix; i++, key += columns, value += columns) {
                memcpy(to_prefix + i * s.width, key, s.width * sizeof(float));
                memcpy(to_prefix + part + i * s.width, value, s.width * sizeof(float));
            }
            if (at < s.groups) continue; /* the prefix's own go with what all others give it */
            number *to = out + q.first * wide + (s.heads + q.group) * s.width;
            put_back(key, &turned, q.first, to, q.own, s.width);
            put(value, to + s.groups * s.width, wide, q.own, s.width);
        }
        free(d.memory);
#pragma omp for schedule(static)
        for (int64_t at = 0; at < s.prefix * s.groups; at++)
            prefix_back(parts, &turned, out, at / s.groups, at % s.groups, &s);
    }
}
