/*
 * memory MODEL.fcsm: run streams of noise in memory of their exact sizes, and print the most stack
 * that opening and they take. memory MODEL.fcsm plain: run them on the stack that is there, for
 * valgrind, which sees each read and write of the kernels too.
 */
#define _POSIX_C_SOURCE 200112L
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fcs.h"

enum { STACK = 1 << 18, PAINT = 0xA5, PUSHES = 4 };

static fcs_model model;
static fcs_facts facts;
static unsigned char *bytes;
static size_t size;
static int failed, is_plain;

static void *new_memory(size_t n, size_t alignment) {
    void *memory = NULL;
    if (posix_memalign(&memory, alignment < 16 ? 16 : alignment, n + (n == 0)) != 0) exit(2);
    return memory;
}

static void check(int code) {
    if (code != FCS_OK) failed = code;
}

/* The stack below the frame of a thread that does nothing else. */
static void *nothing(void *data) { return data; }

static void *open_model(void *data) {
    check(fcs_model_open(&model, bytes, size));
    return data;
}

static void encode(void *encoder, size_t n, int ends, void *decoder) {
    float *samples = (float *)new_memory(n * sizeof(float), 4);
    for (size_t i = 0; i < n; i++) samples[i] = (float)(rand() % 2000 - 1000) / 4000.0f;
    size_t room = fcs_encoder_tokens(&model, encoder, n), n_tokens, n_samples;
    uint16_t *tokens = (uint16_t *)new_memory(room * sizeof *tokens, 2);
    check(fcs_encoder_push(&model, encoder, samples, n, tokens, room, &n_tokens));
    size_t out = fcs_decoder_samples(&model, decoder, n_tokens);
    float *sound = (float *)new_memory(out * sizeof *sound, 4);
    check(fcs_decoder_push(&model, decoder, tokens, n_tokens, sound, out, &n_samples));
    free(samples);
    free(tokens);
    free(sound);
    if (!ends) return;
    room = (fcs_encoder_n_pending(&model, encoder) + facts.samples_per_token - 1) /
           facts.samples_per_token;
    tokens = (uint16_t *)new_memory(room * sizeof *tokens, 2);
    check(fcs_encoder_flush(&model, encoder, tokens, room, &n_tokens));
    check(fcs_decoder_push(&model, decoder, tokens, 1, NULL, 0, &n_samples));
    out = fcs_decoder_n_pending(&model, decoder) * facts.samples_out_per_token;
    sound = (float *)new_memory(out * sizeof *sound, 4);
    check(fcs_decoder_flush(&model, decoder, sound, out, &n_samples));
    free(tokens);
    free(sound);
}

static void *run_streams(void *data) {
    for (int chunks = 1; chunks <= 8; chunks += 7) {
        size_t n_encoder = fcs_encoder_size(&model, chunks);
        size_t n_decoder = fcs_decoder_size(&model, chunks);
        void *encoder = new_memory(n_encoder, FCS_ALIGNMENT);
        void *decoder = new_memory(n_decoder, FCS_ALIGNMENT);
        check(fcs_encoder_init(&model, encoder, n_encoder, chunks));
        check(fcs_decoder_init(&model, decoder, n_decoder, chunks));
        for (int i = 0; i < PUSHES; i++) {
            size_t n = (size_t)rand() % (3 * facts.chunk_samples);
            encode(encoder, i % 3 == 0 ? 9 * facts.chunk_samples + n : n + 1, i % 3 == 2, decoder);
        }
        free(encoder);
        free(decoder);
    }
    return data;
}

/* Run a function on a stack that is painted before, and return how much of it was used. */
static size_t stack_of(void *(*run)(void *)) {
    unsigned char *stack = (unsigned char *)new_memory(STACK, 4096);
    pthread_attr_t attributes;
    pthread_t thread;
    size_t unused = 0;
    if (is_plain) {
        run(NULL);
        return 0;
    }
    memset(stack, PAINT, STACK);
    if (pthread_attr_init(&attributes) != 0 ||
        pthread_attr_setstack(&attributes, stack, STACK) != 0 ||
        pthread_create(&thread, &attributes, run, NULL) != 0 || pthread_join(thread, NULL) != 0)
        exit(2);
    while (unused < STACK && stack[unused] == PAINT) unused++;
    return STACK - unused;
}

int main(int n, char **words) {
    FILE *file = n >= 2 ? fopen(words[1], "rb") : NULL;
    if (file == NULL || fseek(file, 0, SEEK_END) != 0) return 2;
    size = (size_t)ftell(file);
    rewind(file);
    bytes = (unsigned char *)new_memory(size, FCS_ALIGNMENT);
    if (fread(bytes, 1, size, file) != size) return 2;
    is_plain = n > 2;
    size_t least = stack_of(nothing), opening = stack_of(open_model);
    if (failed == FCS_OK) fcs_model_facts(&model, &facts);
    size_t running = failed == FCS_OK ? stack_of(run_streams) : 0;
    printf("%lu %lu\n", (unsigned long)(opening - least), (unsigned long)(running - least));
    if (failed != FCS_OK) fputs(fcs_error_text(failed), stderr);
    return failed != FCS_OK;
}
