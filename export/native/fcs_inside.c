/* No model inside. This file is compiled alone: `fcs-edge export --weights-inside` replaces its
   object in libfcs.a. In libfcs.so it finds the mark, and writes offset and size behind it. */
#include "fcs_inside.h"

const struct fcs_inside fcs_inside = {
    {'F', 'C', 'S', ' ', 'm', 'o', 'd', 'e', 'l', ' ', 'i', 'n', 's', 'i', 'd', 'e'}, 0, 0};

#if defined(__ELF__) && defined(__GNUC__)
/* The linker gives a note a program header. An export turns it into that of the model. */
static const struct {
    uint32_t name_bytes, bytes, kind;
    char name[4];
} fcs_note __attribute__((section(".note.fcs"), used, aligned(4))) = {4, 0, 1, "FCS"};
#endif
