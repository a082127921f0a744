/*
 * resample.h: a streaming resampler between a sound card's rate and the codec's.
 *
 * Any whole rates from 8 to 192 kHz. Output n is the sound at the input's time n * from / to,
 * exactly: the ratio is a fraction of whole numbers, so nothing drifts. The filter is a sinc under a
 * Kaiser window, 64 crossings of zero on each side at the lower rate. Up to 0.91 of half the lower
 * rate it is flat within 0.001 dB; from half the lower rate on it is 90 dB down.
 *
 *     size_t size = fcs_resampler_size(44100, 16000);
 *     void *memory = malloc(size);
 *     fcs_resampler_init(memory, size, 44100, 16000);
 *     capacity = fcs_resampler_outputs(memory, n);
 *     fcs_resampler_push(memory, in, n, out, capacity, &n_out);
 *
 * The memory is the caller's, aligned to 8 bytes, and holds no pointers: a copy by memcpy continues
 * from the same point. An output waits for fcs_resampler_delay() input samples behind its own
 * time: 4 ms for 16 kHz, 2.7 ms for 24 kHz. The output itself is not shifted.
 *
 * Nothing is called but memset. Define FCS_RESAMPLE_API before the first #include for
 * functions that are not static. Compile without fused multiply-adds (-ffp-contract=off) where all
 * machines must give the same bits.
 */
#ifndef FCS_RESAMPLE_H
#define FCS_RESAMPLE_H

#include "fcs.h"

#ifndef FCS_RESAMPLE_API
#define FCS_RESAMPLE_API static inline
#endif

#ifdef __cplusplus
extern "C" {
#endif

void *memset(void *to, int value, size_t n);

enum {
    FCS_RESAMPLE_LEAST = 8000,
    FCS_RESAMPLE_MOST = 192000,
    FCS_RESAMPLE_CROSSINGS = 64, /* of the sinc, on each side, at the lower rate */
    FCS_RESAMPLE_EXACT = 640,    /* most phases with a row of their own */
    FCS_RESAMPLE_ROWS = 256,     /* rows to interpolate between where there are more phases */
    FCS_RESAMPLE_LANES = 16,     /* partial sums, the same on every machine */
    FCS_RESAMPLE_BLOCK = 512,    /* room behind the window in the history */
    FCS_RESAMPLE_TERMS = 30      /* of the series of a Bessel function */
};

/* The memory begins with this; the filter's rows and the history stand behind it. */
typedef struct fcs_resampler {
    uint64_t taken;  /* input samples of this stream */
    uint64_t given;  /* output samples of this stream */
    uint32_t magic;
    uint32_t from, to;
    uint32_t up, down; /* to / from, in lowest terms */
    uint32_t half;     /* input samples on each side of an output */
    uint32_t taps;     /* of a row: 2 * half, filled up to whole lanes */
    uint32_t rows;
    uint32_t filled; /* input samples in the history */
    uint32_t at;     /* where the next output's window begins, in the history */
    uint32_t phase;  /* of the next output: 0 ... up - 1 */
    uint32_t spare;
} fcs_resampler;

/* The check of memory that is initialised. */
#define FCS_RESAMPLE_MAGIC 0x52534346u

static inline float *fcs_resampler_row(fcs_resampler *r, uint32_t row)
{
    return (float *)(void *)(r + 1) + (size_t)row * r->taps;
}

static inline float *fcs_resampler_history(fcs_resampler *r)
{
    return fcs_resampler_row(r, r->rows);
}

/* Fill the header for two rates; 0 where a rate is not accepted. */
static inline int fcs_resampler_plan(fcs_resampler *r, uint32_t from, uint32_t to)
{
    uint32_t a = from, b = to, lanes = FCS_RESAMPLE_LANES;
    if (from < FCS_RESAMPLE_LEAST || from > FCS_RESAMPLE_MOST || to < FCS_RESAMPLE_LEAST ||
        to > FCS_RESAMPLE_MOST)
        return 0;
    while (b) {
        uint32_t rest = a % b;
        a = b;
        b = rest;
    }
    memset(r, 0, sizeof *r);
    r->magic = FCS_RESAMPLE_MAGIC;
    r->from = from;
    r->to = to;
    r->up = to / a;
    r->down = from / a;
    r->half = FCS_RESAMPLE_CROSSINGS;
    if (r->down > r->up)
        r->half = (FCS_RESAMPLE_CROSSINGS * r->down + r->up - 1) / r->up;
    if (from == to)
        r->half = 1;
    r->taps = (2 * r->half + lanes - 1) / lanes * lanes;
    r->rows = r->up <= FCS_RESAMPLE_EXACT ? r->up : FCS_RESAMPLE_ROWS + 1;
    return 1;
}

/* Floats of the history. The zeros that fill a row up to whole lanes may stand behind its end. */
static inline size_t fcs_resampler_room(const fcs_resampler *r)
{
    return (size_t)r->taps + FCS_RESAMPLE_BLOCK + FCS_RESAMPLE_LANES;
}

static inline size_t fcs_resampler_bytes(const fcs_resampler *r)
{
    return sizeof *r + ((size_t)r->rows * r->taps + fcs_resampler_room(r)) * sizeof(float);
}

/* Bytes of memory for these rates; 0 where a rate is not from 8 to 192 kHz. */
FCS_RESAMPLE_API size_t fcs_resampler_size(uint32_t from, uint32_t to)
{
    fcs_resampler plan;
    return fcs_resampler_plan(&plan, from, to) ? fcs_resampler_bytes(&plan) : 0;
}

/* sin(pi t) / (pi t) for t of any size. */
static inline double fcs_resampler_sinc(double t)
{
    const double pi = 3.14159265358979323846;
    double whole, rest, square, sum = 1.0;
    int k;
    if (t < 0)
        t = -t;
    if (t < 1e-9)
        return 1.0;
    whole = (double)(long)(t + 0.5);
    rest = pi * (t - whole);
    square = rest * rest;
    for (k = 23; k > 1; k -= 2) /* the Taylor series of the sine, its smallest term first */
        sum = 1.0 - sum * square / (double)(k * (k - 1));
    rest *= sum;
    return ((long)whole & 1 ? -rest : rest) / (pi * t);
}

/* The Kaiser window of shape 8.96, not scaled, at x^2 of its half width. */
static inline double fcs_resampler_kaiser(const double *inverse, double x2)
{
    double sum = 1.0, term = 1.0, q = 0.25 * 8.96 * 8.96 * (1.0 - x2);
    int k;
    if (x2 >= 1.0)
        return 0.0;
    for (k = 1; k <= FCS_RESAMPLE_TERMS; ++k) {
        term *= q * inverse[k - 1];
        sum += term;
    }
    return sum;
}

/* One row: the filter at `fraction` of an input sample. Its sum is 1. */
static inline void fcs_resampler_fill(fcs_resampler *r, const double *inverse, float *row,
                                      double fraction)
{
    /* The transition ends at half the lower rate: its middle is half its width below. */
    double cut = r->down > r->up ? (double)r->up / (double)r->down : 1.0;
    double half = (double)r->half, sum = 0.0;
    uint32_t k, pass;
    cut *= 1.0 - 0.0446;
    for (pass = 0; pass < 2; ++pass) {
        double total = sum;
        for (k = 0; k < 2 * r->half; ++k) {
            double t = (double)k - half + 1.0 - fraction;
            double x = t / half;
            double value = fcs_resampler_sinc(cut * t) * fcs_resampler_kaiser(inverse, x * x);
            if (pass)
                row[k] = (float)(value / total);
            sum += value;
        }
    }
}

static inline fcs_resampler *fcs_resampler_checked(const void *memory)
{
    fcs_resampler *r = (fcs_resampler *)(uintptr_t)memory;
    if (!r || (uintptr_t)r % 8 || r->magic != FCS_RESAMPLE_MAGIC)
        return NULL;
    return r;
}

/* Drop what waits, and start a new stream. */
FCS_RESAMPLE_API int fcs_resampler_reset(void *memory)
{
    fcs_resampler *r = fcs_resampler_checked(memory);
    if (!r)
        return FCS_BAD_STATE;
    r->taken = r->given = 0;
    r->at = r->phase = 0;
    r->filled = r->half - 1; /* silence before the first sample */
    memset(fcs_resampler_history(r), 0, fcs_resampler_room(r) * sizeof(float));
    return FCS_OK;
}

/* Make `size` bytes at `memory` a resampler. It computes the filter: some milliseconds. */
FCS_RESAMPLE_API int fcs_resampler_init(void *memory, size_t size, uint32_t from, uint32_t to)
{
    double inverse[FCS_RESAMPLE_TERMS];
    fcs_resampler plan, *r = (fcs_resampler *)memory;
    uint32_t k, steps;
    if (!memory)
        return FCS_BAD_ARGUMENT;
    if (!fcs_resampler_plan(&plan, from, to))
        return FCS_BAD_RATE;
    if ((uintptr_t)memory % 8)
        return FCS_BAD_ALIGNMENT;
    if (size < fcs_resampler_bytes(&plan))
        return FCS_SMALL_STATE;
    *r = plan;
    for (k = 0; k < FCS_RESAMPLE_TERMS; ++k)
        inverse[k] = 1.0 / ((double)(k + 1) * (double)(k + 1));
    memset(fcs_resampler_row(r, 0), 0, (size_t)r->rows * r->taps * sizeof(float));
    steps = r->rows == r->up ? r->up : (uint32_t)FCS_RESAMPLE_ROWS;
    for (k = 0; k < r->rows; ++k) {
        if (from == to)
            fcs_resampler_row(r, k)[0] = 1.0f; /* equal rates: the samples, unchanged */
        else
            fcs_resampler_fill(r, inverse, fcs_resampler_row(r, k), (double)k / (double)steps);
    }
    return fcs_resampler_reset(memory);
}

/* Input samples that an output waits for, behind its own time; 1 for equal rates. */
FCS_RESAMPLE_API size_t fcs_resampler_delay(const void *memory)
{
    const fcs_resampler *r = fcs_resampler_checked(memory);
    return r ? r->half : 0;
}

/* Outputs whose windows end within the first `filled` samples of the history. */
static inline uint64_t fcs_resampler_ready(const fcs_resampler *r, uint64_t filled)
{
    uint64_t last;
    if (filled < (uint64_t)r->at + 2 * r->half)
        return 0;
    last = filled - r->at - 2 * r->half + 1;
    return (last * r->up - r->phase + r->down - 1) / r->down;
}

/* Samples that a push of `n` would write. */
FCS_RESAMPLE_API size_t fcs_resampler_outputs(const void *memory, size_t n)
{
    const fcs_resampler *r = fcs_resampler_checked(memory);
    return r ? (size_t)fcs_resampler_ready(r, (uint64_t)r->filled + n) : 0;
}

/* Samples of the whole stream so far: as many as have their time before the input's end. */
static inline uint64_t fcs_resampler_total(const fcs_resampler *r)
{
    uint64_t whole = r->taken / r->down, rest = r->taken % r->down;
    return whole * r->up + (rest * r->up + r->down - 1) / r->down;
}

/* Samples that a flush would write. */
FCS_RESAMPLE_API size_t fcs_resampler_remains(const void *memory)
{
    const fcs_resampler *r = fcs_resampler_checked(memory);
    return r ? (size_t)(fcs_resampler_total(r) - r->given) : 0;
}

/* The next output: the history under one row, or between two. Sums stand in lanes. */
static inline float fcs_resampler_one(fcs_resampler *r)
{
    const float *x = fcs_resampler_history(r) + r->at, *a, *b;
    float sums[FCS_RESAMPLE_LANES] = {0}, share = 0.0f;
    uint32_t row = r->phase, k, j;
    if (r->rows != r->up) {
        uint64_t place = (uint64_t)r->phase * FCS_RESAMPLE_ROWS;
        row = (uint32_t)(place / r->up);
        share = (float)(place % r->up) / (float)r->up;
    }
    a = fcs_resampler_row(r, row);
    if (share == 0.0f) {
        for (k = 0; k < r->taps; k += FCS_RESAMPLE_LANES)
            for (j = 0; j < FCS_RESAMPLE_LANES; ++j)
                sums[j] += a[k + j] * x[k + j];
    } else {
        b = fcs_resampler_row(r, row + 1);
        for (k = 0; k < r->taps; k += FCS_RESAMPLE_LANES)
            for (j = 0; j < FCS_RESAMPLE_LANES; ++j)
                sums[j] += (a[k + j] + share * (b[k + j] - a[k + j])) * x[k + j];
    }
    for (k = FCS_RESAMPLE_LANES / 2; k; k /= 2)
        for (j = 0; j < k; ++j)
            sums[j] += sums[j + k];
    return sums[0];
}

/* Forget what lies before the next window, so that the history has room. */
static inline void fcs_resampler_slide(fcs_resampler *r)
{
    float *history = fcs_resampler_history(r);
    uint32_t gone = r->at < r->filled ? r->at : r->filled, k;
    uint32_t rest = r->filled - gone;
    for (k = 0; k < rest; ++k)
        history[k] = history[gone + k];
    r->filled = rest;
    r->at -= gone;
}

/* Append samples to the history, zeros where `in` is NULL. */
static inline void fcs_resampler_take(fcs_resampler *r, const float *in, uint32_t n)
{
    float *history = fcs_resampler_history(r) + r->filled;
    uint32_t k;
    for (k = 0; k < n; ++k) {
        /* NaN and infinity less themselves are NaN. */
        history[k] = in && in[k] - in[k] == 0.0f ? in[k] : 0.0f;
    }
    r->filled += n;
}

/* Take `n` samples, zeros where `in` is NULL, and write at most `most` outputs. */
static inline size_t fcs_resampler_feed(fcs_resampler *r, const float *in, size_t n, float *out,
                                        size_t most)
{
    size_t made = 0;
    while (n) {
        uint32_t room, part;
        fcs_resampler_slide(r);
        room = r->taps + FCS_RESAMPLE_BLOCK - r->filled;
        part = n < room ? (uint32_t)n : room;
        fcs_resampler_take(r, in, part);
        in = in ? in + part : in;
        n -= part;
        while (made < most && r->at + 2 * r->half <= r->filled) {
            out[made++] = fcs_resampler_one(r);
            r->phase += r->down;
            r->at += r->phase / r->up;
            r->phase %= r->up;
        }
    }
    r->given += made;
    return made;
}

/*
 * Take `n` samples, and write the outputs that they complete. Samples that are NaN or infinite
 * count as 0. FCS_SMALL_BUFFER takes nothing; `*n_out` is then the number that has no room.
 */
FCS_RESAMPLE_API int fcs_resampler_push(void *memory, const float *in, size_t n, float *out,
                                        size_t capacity, size_t *n_out)
{
    fcs_resampler *r = fcs_resampler_checked(memory);
    size_t makes;
    if (!r)
        return FCS_BAD_STATE;
    if (!n_out || (n && !in))
        return FCS_BAD_ARGUMENT;
    makes = *n_out = fcs_resampler_outputs(memory, n);
    if (makes && !out)
        return FCS_BAD_ARGUMENT;
    if (makes > capacity)
        return FCS_SMALL_BUFFER;
    r->taken += n;
    *n_out = fcs_resampler_feed(r, in, n, out, makes);
    return FCS_OK;
}

/* Write the outputs up to the input's end, as if silence followed, and start a new stream. */
FCS_RESAMPLE_API int fcs_resampler_flush(void *memory, float *out, size_t capacity, size_t *n_out)
{
    fcs_resampler *r = fcs_resampler_checked(memory);
    size_t makes;
    if (!r)
        return FCS_BAD_STATE;
    if (!n_out)
        return FCS_BAD_ARGUMENT;
    makes = *n_out = fcs_resampler_remains(memory);
    if (makes && !out)
        return FCS_BAD_ARGUMENT;
    if (makes > capacity)
        return FCS_SMALL_BUFFER;
    *n_out = fcs_resampler_feed(r, NULL, r->half, out, makes);
    return fcs_resampler_reset(memory);
}

#ifdef __cplusplus
}
#endif

#endif
