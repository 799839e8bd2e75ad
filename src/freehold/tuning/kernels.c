/* What stands between a layer's matrix products, each in one pass over memory; compiled where it runs by `kernels.py`.

   Numbers come in and go out as bf16, or as float32 where FLOAT32 is defined; float32 is computed in. Rows may lie
   `..._stride` elements apart. A packed row of tokens is `prefix` tokens, then the `rests` of the examples (see
   forward.py), each token with its seat among `examples` times `length`; heads that share a key head lie together:
   (examples, groups, heads / groups, length, width), with the prefix's queries apart and its keys before every example's
   own. Empty seats are 0. Rows after the last token are nobody's: what attention says of them is 0. Every result is
   written by one thread alone, in one order: the number of threads changes no bit. */

#include <math.h>
#include <stdint.h>
#include <string.h>

#ifdef FLOAT32

typedef float number;

static inline float up(number x) { return x; }

static inline number down(float x) { return x; }

#else

typedef uint16_t number;

static inline float up(number x) {
    union { uint32_t bits; float value; } it = {(uint32_t)x << 16};
    return it.value;
}

static inline number down(float x) { /* to the nearest, ties to even; what is not a number is not met here */
    union { float value; uint32_t bits; } it = {x};
    return (number)((it.bits + 0x7fff + ((it.bits >> 16) & 1)) >> 16);
}

#endif

typedef struct {
    int64_t prefix, examples, length, rests, heads, groups, width;
    const int64_t *seats;
} shape;

/* RMSNorm of x, or of x + more, which is then kept in `sum`; `inverse` is 1 / the root of the mean square. */
void norm(const number *restrict x, const number *restrict more, number *restrict sum, const number *restrict weight,
          number *restrict out, int64_t out_stride, float *restrict inverse, float epsilon, int64_t rows,
          int64_t width) {
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < rows; row++) {
        const number *in = x + row * width;
        if (more) {
            const number *other = more + row * width;
            number *both = sum + row * width;
            for (int64_t i = 0; i < width; i++) both[i] = down(up(in[i]) + up(other[i]));
            in = both;
        }
        float square = 0;
        for (int64_t i = 0; i < width; i++) square += up(in[i]) * up(in[i]);
        float scale = inverse[row] = 1 / sqrtf(square / width + epsilon);
        number *to = out + row * out_stride;
        for (int64_t i = 0; i < width; i++) to[i] = down(up(in[i]) * scale * up(weight[i]));
    }
}

/* The way back through RMSNorm, and what came back past it (`past`) added. */
void norm_back(const number *restrict gradient, int64_t gradient_stride, const number *restrict x,
               const number *restrict weight, const float *restrict inverse, const number *restrict past,
               number *restrict out, int64_t rows, int64_t width) {
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < rows; row++) {
        const number *in = x + row * width, *back = gradient + row * gradient_stride, *other = past + row * width;
        float along = 0, scale = inverse[row];
        for (int64_t i = 0; i < width; i++) along += up(back[i]) * up(weight[i]) * up(in[i]);
        along *= scale * scale / width;
        number *to = out + row * width;
        for (int64_t i = 0; i < width; i++)
            to[i] = down(up(other[i]) + scale * (up(back[i]) * up(weight[i]) - along * up(in[i])));
    }
}

/* silu(gate) · up, where a row of `both` is gate, then up. */
void gate(const number *restrict both, number *restrict out, int64_t out_stride, int64_t rows, int64_t inner) {
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < rows; row++) {
        const number *opens = both + row * 2 * inner, *value = opens + inner;
        number *to = out + row * out_stride;
        for (int64_t i = 0; i < inner; i++) {
            float x = up(opens[i]);
            to[i] = down(x / (1 + expf(-x)) * up(value[i]));
        }
    }
}

void gate_back(const number *restrict gradient, int64_t gradient_stride, const number *restrict both,
               number *restrict out, int64_t rows, int64_t inner) {
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < rows; row++) {
        const number *opens = both + row * 2 * inner, *value = opens + inner, *back = gradient + row * gradient_stride;
        number *to = out + row * 2 * inner, *to_value = to + inner;
        for (int64_t i = 0; i < inner; i++) {
            float x = up(opens[i]), share = 1 / (1 + expf(-x)), come = up(back[i]);
            to[i] = down(come * up(value[i]) * share * (1 + x * (1 - share)));
            to_value[i] = down(come * x * share);
        }
    }
}

/* Where a token's row lies in the arrangement by heads: in the prefix's part, or in its example's; and how many seats
   are empty after it. */
typedef struct {
    int64_t example, place, empty; /* example −1: the prefix */
} seat;

static inline seat seated(int64_t token, const shape *s) {
    if (token < s->prefix) return (seat){-1, token, 0};
    int64_t at = token - s->prefix, own = s->seats[at];
    int64_t next = at + 1 < s->rests ? s->seats[at + 1] : s->examples * s->length;
    return (seat){own / s->length, own % s->length, next - own - 1};
}

static inline int64_t query_at(seat at, int64_t head, const shape *s) { /* heads are in the order of their groups */
    int64_t long_ = at.example < 0 ? s->prefix : s->length, example = at.example < 0 ? 0 : at.example;
    return ((example * s->heads + head) * long_ + at.place) * s->width;
}

static inline int64_t key_at(int64_t example, int64_t group, int64_t place, const shape *s) {
    return ((example * s->groups + group) * (s->prefix + s->length) + place) * s->width;
}

static inline void rotated(const number *restrict x, const number *restrict cosine, const number *restrict sine,
                           number *restrict out, int64_t width) {
    int64_t half = width / 2;
    for (int64_t i = 0; i < half; i++) {
        float low = up(x[i]), high = up(x[i + half]);
        out[i] = down(low * up(cosine[i]) - high * up(sine[i]));
        out[i + half] = down(high * up(cosine[i + half]) + low * up(sine[i + half]));
    }
}

static inline void rotated_back(const float *restrict x, const number *restrict cosine, const number *restrict sine,
                                number *restrict out, int64_t width) {
    int64_t half = width / 2;
    for (int64_t i = 0; i < half; i++) {
        out[i] = down(x[i] * up(cosine[i]) + x[i + half] * up(sine[i + half]));
        out[i + half] = down(x[i + half] * up(cosine[i + half]) - x[i] * up(sine[i]));
    }
}

/* Rows of q, k and v → by heads, q and k rotated to their positions, the prefix's keys and values in every example. */
void arrange(const number *restrict rows, const number *restrict cosine, const number *restrict sine,
             number *restrict query, number *restrict first_query, number *restrict key, number *restrict value,
             shape s) {
    int64_t tokens = s.prefix + s.rests, wide = (s.heads + 2 * s.groups) * s.width;
#pragma omp parallel for schedule(static)
    for (int64_t token = 0; token < tokens; token++) {
        const number *row = rows + token * wide, *cos_ = cosine + token * s.width, *sin_ = sine + token * s.width;
        seat at = seated(token, &s);
        number *queries = at.example < 0 ? first_query : query;
        for (int64_t head = 0; head < s.heads; head++) {
            number *to = queries + query_at(at, head, &s);
            rotated(row + head * s.width, cos_, sin_, to, s.width);
            memset(to + s.width, 0, at.empty * s.width * sizeof(number));
        }
        int64_t place = at.example < 0 ? at.place : s.prefix + at.place, own = at.example < 0 ? 0 : at.example;
        int64_t last = at.example < 0 ? s.examples : own + 1;
        for (int64_t group = 0; group < s.groups; group++) {
            number turned[s.width];
            rotated(row + (s.heads + group) * s.width, cos_, sin_, turned, s.width);
            const number *values = row + (s.heads + s.groups + group) * s.width;
            for (int64_t example = own; example < last; example++) {
                number *to_key = key + key_at(example, group, place, &s);
                number *to_value = value + key_at(example, group, place, &s);
                memcpy(to_key, turned, s.width * sizeof(number));
                memcpy(to_value, values, s.width * sizeof(number));
                memset(to_key + s.width, 0, at.empty * s.width * sizeof(number));
                memset(to_value + s.width, 0, at.empty * s.width * sizeof(number));
            }
        }
    }
}

/* The way back: gradients by heads → of the rows of q, k and v. What the examples give the prefix is summed up. */
void arrange_back(const number *restrict query, const number *restrict first_query, const number *restrict key,
                  const number *restrict value, const number *restrict first_key, const number *restrict first_value,
                  const number *restrict cosine, const number *restrict sine, number *restrict rows, int64_t count,
                  shape s) {
    int64_t tokens = s.prefix + s.rests, wide = (s.heads + 2 * s.groups) * s.width;
#pragma omp parallel for schedule(dynamic, 8)
    for (int64_t token = 0; token < count; token++) {
        number *row = rows + token * wide;
        if (token >= tokens) {
            memset(row, 0, wide * sizeof(number));
            continue;
        }
        const number *cos_ = cosine + token * s.width, *sin_ = sine + token * s.width;
        seat at = seated(token, &s);
        int in_prefix = at.example < 0;
        const number *queries = in_prefix ? first_query : query;
        float whole[s.width], other[s.width];
        for (int64_t head = 0; head < s.heads; head++) {
            const number *from = queries + query_at(at, head, &s);
            for (int64_t i = 0; i < s.width; i++) whole[i] = up(from[i]);
            rotated_back(whole, cos_, sin_, row + head * s.width, s.width);
        }
        int64_t place = in_prefix ? at.place : s.prefix + at.place, own = in_prefix ? 0 : at.example;
        int64_t last = in_prefix ? s.examples : own + 1;
        for (int64_t group = 0; group < s.groups; group++) {
            int64_t first = (group * s.prefix + at.place) * s.width;
            for (int64_t i = 0; i < s.width; i++) {
                whole[i] = in_prefix ? up(first_key[first + i]) : 0;
                other[i] = in_prefix ? up(first_value[first + i]) : 0;
            }
            for (int64_t example = own; example < last; example++) {
                const number *keys = key + key_at(example, group, place, &s);
                const number *values = value + key_at(example, group, place, &s);
                for (int64_t i = 0; i < s.width; i++) {
                    whole[i] += up(keys[i]);
                    other[i] += up(values[i]);
                }
            }
            rotated_back(whole, cos_, sin_, row + (s.heads + group) * s.width, s.width);
            number *values = row + (s.heads + s.groups + group) * s.width;
            for (int64_t i = 0; i < s.width; i++) values[i] = down(other[i]);
        }
    }
}

/* What attention gave, by heads → rows of tokens, `count` with those that are nobody's. */
void ungroup(const number *restrict grouped, const number *restrict first, number *restrict rows, int64_t stride,
             int64_t count, shape s) {
    int64_t tokens = s.prefix + s.rests;
#pragma omp parallel for schedule(static)
    for (int64_t token = 0; token < count; token++) {
        if (token >= tokens) {
            memset(rows + token * stride, 0, s.heads * s.width * sizeof(number));
            continue;
        }
        seat at = seated(token, &s);
        const number *from = at.example < 0 ? first : grouped;
        for (int64_t head = 0; head < s.heads; head++)
            memcpy(rows + token * stride + head * s.width, from + query_at(at, head, &s), s.width * sizeof(number));
    }
}

void group(const number *restrict rows, int64_t stride, number *restrict grouped, number *restrict first, shape s) {
#pragma omp parallel for schedule(static)
    for (int64_t token = 0; token < s.prefix + s.rests; token++) {
        seat at = seated(token, &s);
        number *to = at.example < 0 ? first : grouped;
        const number *from = rows + token * stride;
        for (int64_t head = 0; head < s.heads; head++) {
            number *here = to + query_at(at, head, &s);
            memcpy(here, from + head * s.width, s.width * sizeof(number));
            memset(here + s.width, 0, at.empty * s.width * sizeof(number));
        }
    }
}

/* Softmax in place over scores (rows, seen + length), where row r is token r modulo length and sees `seen` and its own. */
void softmax(number *restrict scores, float scale, int64_t rows, int64_t length, int64_t seen) {
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < rows; row++) {
        int64_t columns = seen + length, open = seen + row % length + 1;
        number *here = scores + row * columns;
        float share[columns], top = -3e38f, sum = 0;
        for (int64_t i = 0; i < open; i++) {
            float score = up(here[i]) * scale;
            top = score > top ? score : top;
        }
        for (int64_t i = 0; i < open; i++) sum += share[i] = expf(up(here[i]) * scale - top);
        sum = 1 / sum;
        for (int64_t i = 0; i < open; i++) here[i] = down(share[i] * sum);
        memset(here + open, 0, (columns - open) * sizeof(number));
    }
}

/* The way back, in place over the shares' gradients. */
void softmax_back(number *restrict gradient, const number *restrict shares, float scale, int64_t rows,
                  int64_t columns) {
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < rows; row++) {
        number *here = gradient + row * columns;
        const number *share = shares + row * columns;
        float along = 0;
        for (int64_t i = 0; i < columns; i++) along += up(here[i]) * up(share[i]);
        for (int64_t i = 0; i < columns; i++) here[i] = down(up(share[i]) * (up(here[i]) - along) * scale);
    }
}

/* Logits → in place, the gradient that their cross-entropy has in them; the loss of every row. */
void cross_entropy(number *restrict logits, const int64_t *restrict targets, float *restrict loss, int64_t rows,
                   int64_t columns) {
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < rows; row++) {
        number *here = logits + row * columns;
        float top = -3e38f, sum = 0, own = up(here[targets[row]]);
        for (int64_t i = 0; i < columns; i++) top = up(here[i]) > top ? up(here[i]) : top;
        for (int64_t i = 0; i < columns; i++) sum += expf(up(here[i]) - top);
        loss[row] = top + logf(sum) - own;
        float share = 1 / sum, mine = expf(own - top) * share - 1;
        for (int64_t i = 0; i < columns; i++) here[i] = down(expf(up(here[i]) - top) * share);
        here[targets[row]] = down(mine);
    }
}
