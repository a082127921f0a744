/*
 * fcs_file.h: `.fcs` files in C, written and read piece by piece. One file, which needs no library:
 * in one .c or .cpp file of a program, write
 *
 *     #define FCS_FILE_IMPLEMENTATION
 *     #include "fcs_file.h"
 *
 * A `.fcs` file holds tokens of speech, with checks. Its format is version 2, which is frozen:
 * docs/reference/bitstream.md. Tokens are coded by a prior, which is a part of a model's file, or
 * by the neutral coder. Both coders are in here, in integers: docs/reference/entropy-coding.md.
 *
 * Writer:                                       Reader:
 *
 *     fcs_writer writer;                            fcs_reader reader;
 *     fcs_writer_init(&writer, &header,             fcs_reader_init(&reader, NULL);
 *         NULL, write_bytes, file);                 while ((kind = fcs_reader_next(&reader,
 *     fcs_writer_put(&writer, tokens, n);               &event)) > FCS_READ_DONE)
 *     fcs_writer_close(&writer, n_samples);             if (kind == FCS_READ_MORE) ... feed
 *
 * No function allocates memory, writes a global variable, or calls anything but memcpy and memset.
 * A call uses at most 6 KB of stack. A writer has 2 KB and a reader 10 KB, in the caller's memory.
 * Each belongs to one thread at a time.
 */
#ifndef FCS_FILE_H
#define FCS_FILE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Codes. Functions that can fail return FCS_FILE_OK or a negative code. */
enum {
    FCS_FILE_OK = 0,

    /* Wrong use. */
    FCS_FILE_BAD_ARGUMENT = -101,   /* a null pointer, or a number out of its range */
    FCS_FILE_BAD_TOKEN = -102,      /* a token has more bits than the header states */
    FCS_FILE_BAD_COUNT = -103,      /* the tokens do not represent so many samples */
    FCS_FILE_BAD_TAG = -104,        /* a key or a text that metadata cannot hold */
    FCS_FILE_CLOSED = -105,         /* the writer is closed */
    FCS_FILE_NO_ROOM = -106,        /* the buffer is full */
    FCS_FILE_BAD_PRIOR = -107,      /* the bytes are no prior that can be used */

    /* The input is refused: it is no `.fcs` file, or none that can be read. */
    FCS_FILE_EMPTY = -121,          /* no bytes */
    FCS_FILE_NOT_FCS = -122,        /* something else */
    FCS_FILE_OLD = -123,            /* version 1, which was never released */
    FCS_FILE_NEWER = -124,          /* of a later version of the format */
    FCS_FILE_CUT_HEADER = -125,     /* the header is cut, and nothing follows */
    FCS_FILE_BAD_HEADER = -126,     /* the header is damaged, and nothing else tells what it had */
    FCS_FILE_NO_RECORD = -127,      /* no record can be read */
    FCS_FILE_PROTECTED = -128,      /* a protected file: `fcs-edge encode IN.fcs OUT.fcs` takes it out */

    /* A part does not fit a model: see `fcs_file_check`. */
    FCS_FILE_OTHER_MODEL = -131,    /* its tokens are another model's */
    FCS_FILE_OTHER_RATES = -132,    /* the model's fingerprint, but other rates or bits */

    /* What an event of damage reports. */
    FCS_LOST_HEADER = -141,         /* the header is damaged; the model's is assumed */
    FCS_LOST_START = -142,          /* the start is missing; reading begins later */
    FCS_LOST_HEADER_BIT = -143,     /* one bit of the header was wrong, and is corrected */
    FCS_LOST_BYTES = -144,          /* bytes that are no record are skipped */
    FCS_LOST_TOKENS = -145,         /* tokens are missing */
    FCS_LOST_ORDER = -146,          /* a block is repeated or out of order, and left out */
    FCS_LOST_END = -147,            /* a part has no end record */
    FCS_LOST_REST = -148,           /* the stream is cut */
    FCS_LOST_PRIOR = -149,          /* tokens are coded with a prior that is not here */
    FCS_LOST_CHECK = -150,          /* tokens that were played early fail their check */
    FCS_LOST_NEWER = -151,          /* the rest needs a later version */
    FCS_LOST_BEHIND = -152          /* bytes behind the last part are ignored */
};

/* One line of English about a code; never NULL. */
const char *fcs_file_text(int code);

/* What a decoder must know before the first token. */
typedef struct fcs_file_header {
    uint32_t bits_per_token;        /* 1 to 16 */
    uint32_t samples_per_token;     /* input samples, 1 to 65535 */
    uint32_t sample_rate_in;        /* Hz, below 2 to the power of 24 */
    uint32_t sample_rate_out;
    uint32_t settings;              /* that change tokens, 16 bits; 0 states nothing */
    uint32_t prior;                 /* check of the prior that coded blocks use, or 0 */
    uint8_t fingerprint[8];         /* of the model that made the tokens */
} fcs_file_header;

/* The bit of `settings` of a model that is not causal: its last token may represent more. */
#define FCS_FILE_NOT_CAUSAL 0x8000u

/*
 * Whether a model can decode a part. `model` has the model's sizes and fingerprint. `accepts` has
 * the fingerprints, of 8 bytes each, of `n_accepts` other models whose tokens it decodes.
 * FCS_FILE_OK, FCS_FILE_OTHER_MODEL or FCS_FILE_OTHER_RATES.
 */
int fcs_file_check(const fcs_file_header *part, const fcs_file_header *model,
                   const uint8_t *accepts, size_t n_accepts);

/* Output samples of so many input samples: rounded, halves to the even number. */
uint64_t fcs_file_output_samples(const fcs_file_header *header, uint64_t n_samples);

/*
 * A prior: a small network of integers, which predicts tokens. It points into its bytes, which are
 * those of the model's file, and must stay. The fields are private.
 */
typedef struct fcs_prior {
    uint32_t bits, hidden, check;
    const int8_t *context, *step, *output;
    const uint8_t *bias, *context_skip, *bias_skip, *step_skip; /* 16 bits, little-endian */
} fcs_prior;

/* Open a prior from the bytes that its check covers, of any alignment: FCS_FILE_BAD_PRIOR. */
int fcs_prior_open(fcs_prior *prior, const void *bytes, size_t size);

/*
 * Code a block of up to 65535 tokens, each below 2 to the power of `bits`, or decode it. A prior of
 * NULL is the neutral coder. The size that coding returns may exceed `capacity`: then the bytes
 * beyond it are not written. Decoding takes any bytes, and reads zeros behind them.
 */
size_t fcs_code_tokens(const fcs_prior *prior, uint32_t bits, const uint16_t *tokens, size_t n,
                       uint8_t *bytes, size_t capacity);
void fcs_decode_tokens(const fcs_prior *prior, uint32_t bits, const uint8_t *bytes, size_t size,
                       uint16_t *tokens, size_t n);

/* ---- Writing ---- */

/* Takes bytes. What it returns, if it is not 0, is what the writer's function returns. */
typedef int (*fcs_write_bytes)(void *context, const uint8_t *bytes, size_t n);

/* Memory that takes bytes: a writer whose `write` is NULL has a pointer to one as `context`. */
typedef struct fcs_buffer {
    uint8_t *bytes;
    size_t capacity;
    size_t size; /* bytes that are written; 0 at first */
} fcs_buffer;

/* Metadata: a key of 1 to 32 of a-z, 0-9, - and _, and a text in UTF-8. */
typedef struct fcs_tag {
    const char *key;
    const char *value;
} fcs_tag;

/* How a file is written; zeros are what `fcs-edge encode` does. */
typedef struct fcs_writer_options {
    const fcs_prior *prior; /* of the model, the newest; NULL: the neutral coder */
    int raw;                /* 1: code nothing, so that damage costs less */
    uint32_t block_tokens;  /* of a block, 1 to 255; 0: 100 */
    uint32_t live_tokens;   /* of a chunk, 1 to 255: each goes out at once, raw; 0: a file */
    const fcs_tag *tags;
    size_t n_tags;
} fcs_writer_options;

/* Fields are private. It holds no pointers but those of the options' prior and of the output. */
typedef struct fcs_writer {
    fcs_file_header header;
    const fcs_prior *prior;
    fcs_write_bytes write;
    void *context;
    uint64_t n_tokens, position, repeat_at, repeat_tokens;
    uint32_t block_tokens, chunk_tokens, n_held, stream_left, crc;
    uint8_t coded, live, closed;
    uint16_t held[255];
    uint8_t bytes[1152];
} fcs_writer;

/*
 * Begin a file, and write its header and metadata. `header->prior` is not read: the writer names
 * the prior that it uses. `options` may be NULL.
 */
int fcs_writer_init(fcs_writer *writer, const fcs_file_header *header,
                    const fcs_writer_options *options, fcs_write_bytes write, void *context);

/* Append any number of tokens. Each block that they complete is one call of `write`. */
int fcs_writer_put(fcs_writer *writer, const uint16_t *tokens, size_t n_tokens);

/* Write the last block and the end record: `n_samples` input samples, as many as were encoded. */
int fcs_writer_close(fcs_writer *writer, uint64_t n_samples);

/* ---- Reading ---- */

/* What `fcs_reader_next` returns; a negative code refuses the input. */
enum {
    FCS_READ_DONE = 0,      /* nothing follows */
    FCS_READ_MORE = 1,      /* give more bytes: fcs_reader_feed or fcs_reader_end */
    FCS_READ_HEADER = 2,    /* a part begins: `header`; check whether it fits the model */
    FCS_READ_METADATA = 3,  /* `bytes`: see fcs_metadata_next */
    FCS_READ_TOKENS = 4,    /* the next tokens */
    FCS_READ_DAMAGE = 5,    /* something is lost: play `n_tokens` of silence for it */
    FCS_READ_END = 6,       /* a part ends: cut its sound to `n_samples` */
    FCS_READ_RECORD = 7     /* a record of a type that this reader does not know; nothing is lost */
};

/* An event. Pointers hold until the next call with this reader. */
typedef struct fcs_event {
    int kind;               /* as returned */
    int code;               /* of damage: FCS_LOST_... */
    uint32_t n_tokens;      /* tokens; of damage: tokens of silence in their place, often 0 */
    uint32_t chunk_tokens;  /* of tokens of a live stream, whose last block may end in filler */
    const uint16_t *tokens;
    const uint8_t *bytes;   /* of metadata, or the body of another record */
    size_t n_bytes;         /* of these; of damage: bytes that are skipped */
    uint64_t offset;        /* of damage: where in the input */
    uint64_t n_missing;     /* of damage: tokens that are lost, those without silence included */
    uint64_t n_samples;     /* of an end: input samples from where reading of the part began */
    uint32_t type;          /* of another record */
    int whole;              /* of the end of all: 1 if nothing was damaged or missing */
    fcs_file_header header; /* the part's */
} fcs_event;

/* What a reader knows; zeros know nothing. Pointers must stay as long as the reader. */
typedef struct fcs_reader_options {
    const fcs_prior *priors;       /* of the model, all: a file names one */
    size_t n_priors;
    const fcs_file_header *model;  /* assumed where a file has lost its start; may be NULL */
    int live;                      /* 1: give chunks of a live stream before their check */
} fcs_reader_options;

#define FCS_READER_BYTES 8704

/* Fields are private. */
typedef struct fcs_reader {
    fcs_reader_options options;
    const uint8_t *input;
    size_t input_left;
    fcs_file_header header;
    fcs_event events[6];
    uint64_t base, start, limit, expected, first, mark, reported, failed, silent, n_tokens;
    uint64_t n_damage, attempt_end;
    uint32_t pos, end, n_events, next_event, played, attempt_tokens;
    int state, refusal;
    uint8_t closed, has_header, has_expected, has_mark, assumed, ended, near_start, has_limit;
    uint8_t is_playing, is_tried, begun;
    uint16_t tokens[256];
    uint8_t bytes[FCS_READER_BYTES];
} fcs_reader;

/* Begin an input. `options` may be NULL. */
int fcs_reader_init(fcs_reader *reader, const fcs_reader_options *options);

/*
 * The next event. After FCS_READ_MORE, give bytes and call it again; after FCS_READ_DONE or a
 * negative code it returns the same for ever. Never FCS_READ_MORE once the input has ended.
 */
int fcs_reader_next(fcs_reader *reader, fcs_event *event);

/* Give the next bytes, any number. They must stay until the reader asks for more. */
int fcs_reader_feed(fcs_reader *reader, const void *bytes, size_t n_bytes);

/* The input ends here. */
int fcs_reader_end(fcs_reader *reader);

/*
 * The next entry of a metadata event: 1, or 0 where there is none. `*at` is 0 at first. Key and
 * value have no zero behind them. They are foreign: remove control characters before printing.
 */
int fcs_metadata_next(const fcs_event *event, size_t *at, const char **key, size_t *key_size,
                      const char **value, size_t *value_size);

#ifdef __cplusplus
}
#endif

#endif /* FCS_FILE_H */
