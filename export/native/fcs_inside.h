/* Where a library finds the model that an export put inside it. */
#ifndef FCS_INSIDE_H
#define FCS_INSIDE_H

#include <stdint.h>

#if defined(__GNUC__)
#define FCS_HIDDEN __attribute__((visibility("hidden")))
#else
#define FCS_HIDDEN
#endif

/* `offset` counts from this struct to the model; `size` is 0 where there is no model. */
struct fcs_inside {
    char mark[16];
    int64_t offset;
    uint64_t size;
};

/* Hidden: two libraries in one process must not share it. */
extern const struct fcs_inside fcs_inside FCS_HIDDEN;

#endif
