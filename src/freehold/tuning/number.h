/* What the kernels read and write: bf16, or float32 where FLOAT32 is defined. They compute in float32. */

#pragma once

#include <stdint.h>

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
