/* What stands between a layer's matrix products, each in one pass over memory; compiled where it runs by `kernels.py`.

   Rows may lie `..._stride` elements apart. Every result is written by one thread alone, in one order: the number of
   threads changes no bit. */

#include <math.h>

#include "number.h"

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
