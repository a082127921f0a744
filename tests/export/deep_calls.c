/* A module that runs out of stack: for a test of what an overflow does. */
#include <stdint.h>

#define FCS_EXPORT __attribute__((visibility("default")))

static volatile uint32_t data[64] = {1234567};

FCS_EXPORT uint32_t sum_of_data(void)
{
    uint32_t sum = 0;
    for (int i = 0; i < 64; i++)
        sum += data[i];
    return sum;
}

/* Each level takes a kilobyte of stack. */
FCS_EXPORT uint32_t descend(uint32_t levels)
{
    volatile uint32_t frame[256];
    for (uint32_t i = 0; i < 256; i++)
        frame[i] = levels;
    return levels ? descend(levels - 1) + frame[levels % 256] : frame[0];
}
