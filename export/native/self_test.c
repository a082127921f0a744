/*
 * Whether this engine computes the products of 4-bit weights exactly. Node 20 computes the
 * instruction of relaxed SIMD wrongly, so fcs.js runs this before it takes the module that has it.
 * The kernels themselves run: an engine's fault may depend on the code around an instruction.
 */
#include <stddef.h>
#include <stdint.h>

#define FCS_EXPORT __attribute__((visibility("default")))
#define FCS_HIDDEN __attribute__((visibility("hidden")))

typedef void (*fcs_call)(char *const *bases, const int64_t *words);
extern const fcs_call fcs_kernels[] FCS_HIDDEN;
extern const int64_t fcs_n_kernels FCS_HIDDEN;
extern const char *const fcs_kernel_types[] FCS_HIDDEN;

enum {
    ROWS = 5, /* four at once, and one */
    DEPTH = 64,
    GROUP = 32,
    LANES = 4, /* outputs of a vector, and inputs of one of its lanes */
    LOAD = LANES * LANES,
    MOST = LANES * FCS_INT4_VECTORS,
    WORK = 1 << 16, /* bytes, more than the kernels need */
    LARGEST = 127 /* of an activation: then its scale is 1 */
};

/* Of the kernels of 4-bit weights: x, step, weights, scales, bias, depth, group, work, out, column,
   epilogue, first panel, last panel. */
static const char types[] = "f1 int B1 f2 f1 int int b1w f2w int int int int";

static struct {
    float x[ROWS * DEPTH];
    unsigned char weights[DEPTH * MOST / 2];
    int64_t work[WORK / 8];
    float scales[DEPTH / GROUP * MOST], bias[MOST], out[ROWS * MOST];
} memory;

static int equal(const char *one, const char *other)
{
    while (*one && *one == *other) {
        ++one;
        ++other;
    }
    return *one == *other;
}

static uint32_t next_number(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 16;
}

static int activation(uint32_t *state, size_t k)
{
    int value = (int)(next_number(state) % (2 * LARGEST + 1)) - LARGEST;
    return k % GROUP == 5 ? -LARGEST : value;
}

/* Where the weight of input k and output n is: of two vectors, one is in the upper four bits. */
static unsigned weight_at(size_t k, size_t n, size_t vectors)
{
    size_t vector = k / LANES * vectors + n / LANES;
    size_t at = vector / 2 * LOAD + n % LANES * LANES + k % LANES;
    return memory.weights[at] >> (vector % 2 * 4) & 15u;
}

static void fill(uint32_t *state, size_t width)
{
    size_t i;
    for (i = 0; i < ROWS * DEPTH; ++i)
        memory.x[i] = (float)activation(state, i);
    for (i = 0; i < DEPTH * width / 2; ++i)
        memory.weights[i] = (unsigned char)next_number(state);
    for (i = 0; i < DEPTH / GROUP * width; ++i)
        memory.scales[i] = 1;
}

static int is_right(size_t vectors)
{
    size_t width = LANES * vectors, m, n, k;
    for (m = 0; m < ROWS; ++m)
        for (n = 0; n < width; ++n) {
            int sum = 0;
            for (k = 0; k < DEPTH; ++k)
                sum += (int)memory.x[m * DEPTH + k] * ((int)weight_at(k, n, vectors) - 8);
            if (memory.out[m * width + n] != (float)sum)
                return 0;
        }
    return 1;
}

static int64_t address(const void *array)
{
    return (int64_t)(uintptr_t)array;
}

static void run(fcs_call call, int64_t width)
{
    char *const bases[4] = {NULL, NULL, NULL, NULL};
    const int64_t words[] = {0, address(memory.x), ROWS * DEPTH, DEPTH,
                             0, address(memory.weights), DEPTH * width / 2,
                             0, address(memory.scales), DEPTH / GROUP, width,
                             0, address(memory.bias), width,
                             DEPTH, GROUP,
                             0, address(memory.work), WORK,
                             0, address(memory.out), ROWS, width,
                             0, 0, 0, 1};
    call(bases, words);
}

/* 0 where all products are exact. Each `seed` gives other numbers. */
FCS_EXPORT int fcs_self_test(uint32_t seed)
{
    static const size_t vectors[2] = {1, FCS_INT4_VECTORS}; /* in the order of the names */
    int64_t i;
    size_t found = 0;
    for (i = 0; i < fcs_n_kernels; ++i) {
        if (!equal(fcs_kernel_types[i], types))
            continue;
        if (found == 2)
            return 2;
        fill(&seed, LANES * vectors[found]);
        run(fcs_kernels[i], (int64_t)(LANES * vectors[found]));
        if (!is_right(vectors[found++]))
            return 1;
    }
    return found == 2 ? 0 : 2;
}
