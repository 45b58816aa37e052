/* Serial solves of z_l = A_l z_{l-1} + b_l, dense and diagonal, in float and double.

   Row 0 of z is A_0 z0 + b_0, or b_0 where z0 is NULL (A_0 is then never read). Strides count
   elements and may be negative, which is how the caller runs backwards, transposes and shifts.
   Dense blocks may come as diag(s) A: forwards s multiplies the product, and where `inner` is set,
   for the adjoint, what the block is applied to (d is at most 64 then).
   The order of every sum is fixed by the source: the bytes are the same on every machine.      */
#ifndef REAL

#include <stdint.h>

#if defined(__x86_64__) && defined(__GNUC__) && defined(__linux__) && defined(__GLIBC__)
#define CLONES __attribute__((target_clones("avx2", "default")))
#else
#define CLONES
#endif
#define LANES 8
#define SCALED 64 /* the widest state with a scale inside */
#define PASTE(a, b) a##b
#define JOIN(a, b) PASTE(a, b)
#define INLINE static inline __attribute__((always_inline))

int32_t deeppcr_abi(void) { return 2; }

#define REAL float
#define NAME(x) JOIN(x, _f32)
#include "_kernel.c"
#undef REAL
#undef NAME
#define REAL double
#define NAME(x) JOIN(x, _f64)
#include "_kernel.c"

#else

/* z = b + A x, where the rows of A are contiguous and `si` apart. */
INLINE void NAME(rows)(const REAL *restrict A, int64_t si, const REAL *restrict x,
                       const REAL *restrict b, REAL *restrict z, int64_t d)
{
    for (int64_t i = 0; i < d; i++) {
        const REAL *restrict a = A + i * si;
        REAL s[LANES] = {0}, tail = 0;
        int64_t j = 0;
        for (; j + LANES <= d; j += LANES)
            for (int k = 0; k < LANES; k++)
                s[k] += a[j + k] * x[j + k];
        for (; j < d; j++)
            tail += a[j] * x[j];
        REAL sum = ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
        z[i] = (d < LANES ? tail : sum + tail) + b[i];
    }
}

/* `count` rows of z = b + A x from row `i`, where the columns of A are contiguous, `sj` apart. */
INLINE void NAME(strip)(const REAL *restrict A, int64_t sj, const REAL *restrict x,
                        const REAL *restrict b, REAL *restrict z, int64_t d, int count)
{
    REAL even[LANES], odd[LANES];
    int64_t j = 0;
    for (int k = 0; k < count; k++)
        even[k] = 0, odd[k] = 0;
    for (; j + 2 <= d; j += 2) {
        for (int k = 0; k < count; k++)
            even[k] += A[j * sj + k] * x[j];
        for (int k = 0; k < count; k++)
            odd[k] += A[(j + 1) * sj + k] * x[j + 1];
    }
    if (j < d)
        for (int k = 0; k < count; k++)
            even[k] += A[j * sj + k] * x[j];
    for (int k = 0; k < count; k++)
        z[k] = (even[k] + odd[k]) + b[k];
}

INLINE void NAME(columns)(const REAL *restrict A, int64_t sj, const REAL *restrict x,
                          const REAL *restrict b, REAL *restrict z, int64_t d)
{
    int64_t i = 0;
    for (; i + LANES <= d; i += LANES)
        NAME(strip)(A + i, sj, x, b + i, z + i, d, LANES);
    for (; i + 4 <= d; i += 4)
        NAME(strip)(A + i, sj, x, b + i, z + i, d, 4);
    for (; i < d; i++)
        NAME(strip)(A + i, sj, x, b + i, z + i, d, 1);
}

INLINE void NAME(chain)(const REAL *A, const REAL *b, const REAL *z0, REAL *z, const REAL *s,
                        int64_t L, int64_t B, int64_t d, int64_t Al, int64_t Ab, int64_t Ai,
                        int64_t Aj, int64_t bl, int64_t bb, int64_t zl, int64_t zb, int64_t z0b,
                        int64_t sl, int64_t sb, int64_t inner)
{
    const REAL zeros[SCALED] = {0};
    REAL scaled[SCALED];
    for (int64_t l = 0; l < L; l++)
        for (int64_t n = 0; n < B; n++) {
            const REAL *right = b + l * bl + n * bb, *added = s && !inner ? zeros : right;
            const REAL *x = l ? z + (l - 1) * zl + n * zb : z0 ? z0 + n * z0b : 0;
            const REAL *matrix = A + l * Al + n * Ab, *scale = s + l * sl + n * sb;
            REAL *out = z + l * zl + n * zb;
            if (!x) {
                for (int64_t i = 0; i < d; i++)
                    out[i] = right[i];
                continue;
            }
            if (s && inner) {
                for (int64_t i = 0; i < d; i++)
                    scaled[i] = scale[i] * x[i];
                x = scaled;
            }
            if (Aj == 1)
                NAME(rows)(matrix, Ai, x, added, out, d);
            else
                NAME(columns)(matrix, Aj, x, added, out, d);
            if (s && !inner)
                for (int64_t i = 0; i < d; i++)
                    out[i] = scale[i] * out[i] + right[i];
        }
}

/* Dense blocks; one of Ai, Aj is 1. */
CLONES void NAME(deeppcr_dense)(const REAL *A, const REAL *b, const REAL *z0, REAL *z,
                                const REAL *s, int64_t L, int64_t B, int64_t d, int64_t Al,
                                int64_t Ab, int64_t Ai, int64_t Aj, int64_t bl, int64_t bb,
                                int64_t zl, int64_t zb, int64_t z0b, int64_t sl, int64_t sb,
                                int64_t inner)
{
#define CHAIN(n) \
    NAME(chain)(A, b, z0, z, s, L, B, n, Al, Ab, Ai, Aj, bl, bb, zl, zb, z0b, sl, sb, inner)
#define WIDTH(n) \
    case n: CHAIN(n); return;
    switch (d) {
        WIDTH(2) WIDTH(3) WIDTH(4) WIDTH(5) WIDTH(6) WIDTH(7) WIDTH(8) WIDTH(16) WIDTH(32)
    }
    CHAIN(d);
#undef WIDTH
#undef CHAIN
}

/* Diagonal blocks: Ai is 1, or 0 where one scalar serves all channels. */
CLONES void NAME(deeppcr_diagonal)(const REAL *A, const REAL *b, const REAL *z0, REAL *z,
                                   int64_t L, int64_t B, int64_t d, int64_t Al, int64_t Ab,
                                   int64_t Ai, int64_t bl, int64_t bb, int64_t zl, int64_t zb,
                                   int64_t z0b)
{
    for (int64_t from = 0; from < d; from += 2048) { /* the state stays in the nearest cache */
        const int64_t width = d - from < 2048 ? d - from : 2048;
        for (int64_t l = 0; l < L; l++)
            for (int64_t n = 0; n < B; n++) {
                const REAL *restrict right = b + l * bl + n * bb + from;
                const REAL *restrict x =
                    l ? z + (l - 1) * zl + n * zb + from : z0 ? z0 + n * z0b + from : 0;
                const REAL *restrict a = A + l * Al + n * Ab + from * Ai;
                REAL *restrict out = z + l * zl + n * zb + from;
                if (!x)
                    for (int64_t i = 0; i < width; i++)
                        out[i] = right[i];
                else if (Ai)
                    for (int64_t i = 0; i < width; i++)
                        out[i] = a[i] * x[i] + right[i];
                else
                    for (int64_t i = 0; i < width; i++)
                        out[i] = a[0] * x[i] + right[i];
            }
    }
}

#endif
