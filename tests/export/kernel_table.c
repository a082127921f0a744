/* What a test sees of the kernels in libfcs.a, whose symbols are hidden. */
#include <stdint.h>

typedef void (*fcs_call)(char *const *bases, const int64_t *words);
extern const fcs_call fcs_kernels[];
extern const int64_t fcs_n_kernels;
extern const char *const fcs_kernel_types[];
extern const unsigned char fcs_kernels_id[8];

int64_t table_size(void);
const char *table_types(int64_t kernel);
const unsigned char *table_id(void);
void table_call(int64_t kernel, char *const *bases, const int64_t *words);

int64_t table_size(void) { return fcs_n_kernels; }

const char *table_types(int64_t kernel) { return fcs_kernel_types[kernel]; }

const unsigned char *table_id(void) { return fcs_kernels_id; }

void table_call(int64_t kernel, char *const *bases, const int64_t *words) {
    fcs_kernels[kernel](bases, words);
}
