/* Kernels of a codec that is small enough to check by hand: for tests of fcs.c without a compiler
   of kernels. tests/export/toy_codec.py has the same arithmetic. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include "fcs_inside.h"

typedef void (*fcs_call)(char *const *bases, const int64_t *words);

static void *array(char *const *bases, const int64_t *words) { return bases[words[0]] + words[1]; }

/* f1 x, f1w out, l1w count: x without numbers that are not finite, and zeros behind it. */
static void clean(char *const *bases, const int64_t *words) {
    const float *x = (const float *)array(bases, words);
    float *out = (float *)array(bases, words + 3);
    int64_t *count = (int64_t *)array(bases, words + 6);
    for (int64_t i = 0; i < words[5]; i++) {
        int is_finite = i < words[2] && isfinite(x[i]);
        count[0] += i < words[2] && !is_finite;
        out[i] = is_finite ? x[i] : 0.0f;
    }
}

/* f1 x, f1 scale, f1w past, H1w out, int hop: out = past = (past + scale * sum(hop of x)) / 2. */
static void encode(char *const *bases, const int64_t *words) {
    const float *x = (const float *)array(bases, words), *scale = (const float *)array(bases, words + 3);
    float *past = (float *)array(bases, words + 6);
    uint16_t *out = (uint16_t *)array(bases, words + 9);
    int64_t hop = words[12];
    for (int64_t i = 0; i < words[11]; i++) {
        float sum = 0;
        for (int64_t k = 0; k < hop; k++) sum += x[i * hop + k];
        past[0] = (past[0] + scale[i % words[5]] * sum) / 2;
        out[i] = (uint16_t)((uint32_t)(int32_t)(past[0] * 1000) & 2047);
    }
}

/* H1 x, f1w past, f1w out, int hop, bool gains: out = past = (past + x) / 4, hop times. */
static void decode(char *const *bases, const int64_t *words) {
    const uint16_t *x = (const uint16_t *)array(bases, words);
    float *past = (float *)array(bases, words + 3), *out = (float *)array(bases, words + 6);
    int64_t hop = words[9];
    for (int64_t i = 0; i < words[2]; i++)
        for (int64_t k = 0; k < hop; k++) {
            past[0] = (past[0] + (float)x[i]) / 4;
            out[i * hop + k] = words[10] ? past[0] : 0.0f;
        }
}

extern const fcs_call fcs_kernels[] FCS_HIDDEN;
extern const int64_t fcs_n_kernels FCS_HIDDEN;
extern const char *const fcs_kernel_types[] FCS_HIDDEN;
extern const unsigned char fcs_kernels_id[8] FCS_HIDDEN;

const fcs_call fcs_kernels[] = {clean, encode, decode};
const int64_t fcs_n_kernels = 3;
const char *const fcs_kernel_types[] = {"f1 f1w l1w", "f1 f1 f1w H1w int", "H1 f1w f1w int bool"};
const unsigned char fcs_kernels_id[8] = {'t', 'o', 'y', 'k', 'e', 'r', 'n', 's'};
