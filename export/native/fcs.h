/*
 * fcs.h: FocalCodec-Stream in C, for one CPU core: speech to tokens, and tokens to speech.
 *
 * A model is a file, `model.fcsm`, which `fcs-edge export` writes. A stream is a state: memory of
 * the caller, aligned to 64 bytes. It holds no pointers: a copy by memcpy is a second stream that
 * continues from the same point, and a stream may move.
 *
 *     static fcs_model model;
 *     fcs_model_open(&model, bytes, size);        (of a whole model.fcsm, which stay)
 *     void *encoder = aligned_alloc(64, fcs_encoder_size(&model, 1));
 *     fcs_encoder_init(&model, encoder, fcs_encoder_size(&model, 1), 1);
 *     fcs_encoder_push(&model, encoder, samples, 1280, tokens, 4, &n_tokens);
 *
 * No function allocates memory, writes a global variable, or calls anything but memcpy, memmove and
 * memset. A call uses at most 16 KB of stack. Threads may share a model; a state belongs to one
 * thread at a time.
 *
 * Functions that can fail return FCS_OK or a negative code, and then have done nothing.
 */
#ifndef FCS_H
#define FCS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The functions of a shared library, however it is compiled. */
#if defined(__GNUC__)
#pragma GCC visibility push(default)
#endif

#define FCS_VERSION "0.1.0"

/* Alignment of states and of a model's bytes. */
#define FCS_ALIGNMENT 64

enum {
    FCS_OK = 0,
    FCS_BAD_ARGUMENT = -1,   /* a null pointer, a model that is not open, or chunks not 1 or 8 */
    FCS_BAD_ALIGNMENT = -2,  /* a state or model off 64 bytes, or numbers off their own size */
    FCS_SMALL_BUFFER = -3,   /* the output has no room for all that the call writes */
    FCS_SMALL_STATE = -4,    /* the memory for a state is smaller than the state */
    FCS_BAD_STATE = -5,      /* no state of this model and kind, or overwritten */
    FCS_BAD_TOKEN = -6,      /* a token is not below 2 to the power of bits_per_token */
    FCS_BAD_RATE = -7,       /* a sample rate that is not supported */
    FCS_NO_PART = -8,        /* half a model: it has no encoder, or no decoder */
    FCS_NO_MODEL = -9,       /* this library has no model inside */
    FCS_NOT_A_MODEL = -10,   /* the bytes are no .fcsm file */
    FCS_BAD_VERSION = -11,   /* a .fcsm file of another version */
    FCS_BAD_CRC = -12,       /* the file is damaged or cut */
    FCS_OTHER_KERNELS = -13, /* the file was exported for another library */
    FCS_BAD_MODEL = -14      /* the file's content is inconsistent */
};

/* One line of English about a code; never NULL. */
const char *fcs_error_text(int code);

/* The version of this library, for example "0.1.0". */
const char *fcs_version(void);

/* What a program of a stream is, inside a model's bytes; the fields are private. */
typedef struct fcs_stream_plan {
    const unsigned char *bytes; /* NULL where the model lacks it */
    size_t size;
    size_t state_size; /* header, waiting input and memory of the kernels */
    size_t image;      /* where the memory of the kernels begins in a state */
} fcs_stream_plan;

/* A model that is open: pointers into its bytes, which must stay where they are. */
typedef struct fcs_model {
    const unsigned char *bytes;
    size_t size;
    const unsigned char *weights;
    size_t weights_size;
    fcs_stream_plan plans[4]; /* encoders of 1 and 8 chunks, decoders of 1 and 8 chunks */
} fcs_model;

/*
 * Open a model. `bytes` are a whole .fcsm file, aligned to 64 bytes, for example of aligned_alloc
 * or mmap. They are checked to the last byte, and must stay, unchanged, while the model is used.
 * The checks find damage, and calls out of bounds. They do not make a stranger's file safe: sizes
 * that a kernel takes from another argument are trusted. Open files of `fcs-edge export` alone.
 */
int fcs_model_open(fcs_model *model, const void *bytes, size_t size);

/* Open the model inside this library: FCS_NO_MODEL where it was exported without one. */
int fcs_model_inside(fcs_model *model);

typedef struct fcs_facts {
    uint32_t sample_rate_in;        /* of what is encoded: 16000 Hz */
    uint32_t sample_rate_out;       /* of what is decoded, Hz */
    uint32_t samples_per_token;     /* that the encoder takes */
    uint32_t samples_out_per_token; /* that the decoder writes */
    uint32_t chunk_samples;         /* of one chunk of the encoder: 1280 are 80 ms */
    uint32_t chunk_tokens;          /* that a chunk of the encoder writes */
    uint32_t decoder_chunk_tokens;  /* that a chunk of the decoder takes */
    uint32_t bits_per_token;        /* at most 16 */
    uint32_t settings;              /* that change tokens: a bitstream's header names them */
    uint32_t has_encoder;           /* 0 or 1 */
    uint32_t has_decoder;           /* 0 or 1 */
    uint8_t fingerprint[8];         /* which model it is: a bitstream's header names it */
    char name[64];                  /* UTF-8 with a zero behind it */
    uint8_t kernels[8];             /* which kernels this library has */
} fcs_facts;

/* Write what a model is. */
void fcs_model_facts(const fcs_model *model, fcs_facts *facts);

/* Parts of a model's file beside weights and programs. */
enum {
    FCS_SECTION_FACTS = 4,  /* JSON */
    FCS_SECTION_PRIOR = 5,  /* of the entropy coder, the newest last: see fcs_prior_open */
    FCS_SECTION_ACCEPTS = 6 /* fingerprints, 8 bytes each, of other models that it decodes */
};

/* A part of the model's file by its kind; NULL and a size of 0 where there is none. */
const void *fcs_model_section(const fcs_model *model, uint32_t kind, uint32_t index, size_t *size);

/*
 * Encoder: float samples at 16 kHz to tokens. Samples that are NaN or infinite count as 0. The
 * tokens do not depend on how the samples are cut into pushes. `chunks` is 1, or 8 for a stream
 * that gets many samples at once: it reads the weights once for up to 8 chunks.
 */

/*
 * Bytes of a state, a multiple of 64; 0 where the model has no encoder, or `chunks` is neither 1
 * nor 8. An array of a fixed size does as well: fcs_encoder_init checks that it is large enough.
 */
size_t fcs_encoder_size(const fcs_model *model, int chunks);

/* Make `size` bytes at `state` a new stream. */
int fcs_encoder_init(const fcs_model *model, void *state, size_t size, int chunks);

/* Tokens that a push of `n_samples` would write; 0 for what is no state of this model. */
size_t fcs_encoder_tokens(const fcs_model *model, const void *state, size_t n_samples);

/*
 * Encode the chunks that these samples complete: any number, 0 included. The rest waits for the
 * next push. `tokens` must not overlap `samples`. Writes the number of tokens to `*n_tokens`; with
 * FCS_SMALL_BUFFER, it is the number that has no room, and no sample was taken.
 */
int fcs_encoder_push(const fcs_model *model, void *state, const float *samples, size_t n_samples,
                     uint16_t *tokens, size_t capacity, size_t *n_tokens);

/*
 * Encode what waits, the last, partial chunk on its own samples, and start a new stream: at most
 * chunk_tokens tokens, and none if no sample waited.
 */
int fcs_encoder_flush(const fcs_model *model, void *state, uint16_t *tokens, size_t capacity,
                      size_t *n_tokens);

/* Drop what waits, and start a new stream. */
int fcs_encoder_reset(const fcs_model *model, void *state);

/* Samples that wait for the rest of their chunk. */
size_t fcs_encoder_n_pending(const fcs_model *model, const void *state);

/* Samples that were NaN or infinite, of whole chunks. A flush or reset sets the count to 0. */
size_t fcs_encoder_n_not_finite(const fcs_model *model, const void *state);

/*
 * Decoder: tokens to float samples at sample_rate_out, within -1 and 1. A token out of range is
 * FCS_BAD_TOKEN, and nothing is decoded. The rest is as for the encoder.
 */
size_t fcs_decoder_size(const fcs_model *model, int chunks);
int fcs_decoder_init(const fcs_model *model, void *state, size_t size, int chunks);

/* Samples that a push of `n_tokens` would write: of all chunks that they complete. */
size_t fcs_decoder_samples(const fcs_model *model, const void *state, size_t n_tokens);

int fcs_decoder_push(const fcs_model *model, void *state, const uint16_t *tokens, size_t n_tokens,
                     float *samples, size_t capacity, size_t *n_samples);

/* Decode what waits, without padding, and start a new stream: less than a chunk. */
int fcs_decoder_flush(const fcs_model *model, void *state, float *samples, size_t capacity,
                      size_t *n_samples);
int fcs_decoder_reset(const fcs_model *model, void *state);
size_t fcs_decoder_n_pending(const fcs_model *model, const void *state);

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif

#ifdef __cplusplus
}
#endif

#endif
