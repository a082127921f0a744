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
 * A call uses at most 4 KB of stack. A writer has 2 KB and a reader 10 KB, in the caller's memory.
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
    FCS_FILE_PROTECTED = -128,      /* with error correction, which is not in here */

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

/*
 * Open a prior from its bytes, which may have any alignment. Those of a model are the sections
 * FCS_SECTION_PRIOR, of index 0 upwards: see fcs_model_section of fcs.h. FCS_FILE_BAD_PRIOR.
 */
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
    const fcs_prior *priors;       /* of the model, all: a file names one. See fcs_prior_open. */
    size_t n_priors;
    const fcs_file_header *model;  /* with the newest prior's check: assumed where a file has lost
                                      its start; may be NULL */
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
    uint64_t base, start, limit, mark, reported, expected, first, silent, n_failed, attempt_end;
    uint32_t pos, end, n_events, next_event, n_damage, n_played, attempt_tokens;
    int state, refusal, why;
    uint8_t closed, has_header, has_expected, has_limit, has_mark, assumed, is_near, is_tried;
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

/* ================================ implementation ================================ */

#if defined(FCS_FILE_IMPLEMENTATION) && !defined(FCS_FILE_IMPLEMENTED)
#define FCS_FILE_IMPLEMENTED

#if defined(__GNUC__) /* no header of a C library is needed */
#define FCSF_COPY __builtin_memcpy
#define FCSF_FILL __builtin_memset
#else
#include <string.h>
#define FCSF_COPY memcpy
#define FCSF_FILL memset
#endif

#if defined(__GNUC__) && !defined(__clang__) /* clang does so by itself */
#define FCSF_VECTORS __attribute__((optimize("O3")))
#else
#define FCSF_VECTORS
#endif

#ifdef __cplusplus
extern "C" {
#endif

enum { FCSF_NO = 0, FCSF_YES = 1, FCSF_WAIT = 2 }; /* answers; the last one: for more bytes */

enum {
    FCSF_MAX_BITS = 16,
    FCSF_MAX_HIDDEN = 512,
    FCSF_HEADER_MIN = 19,
    FCSF_HEADER_MAX = 31,
    FCSF_END_BYTES = 8,
    FCSF_MAX_BODY = 4096,
    FCSF_END_TAG = 0xE5,
    FCSF_METADATA_TAG = 0xC1,
    FCSF_STREAMED_TAG = 0xAF,
    FCSF_PAUSES = 0x10, /* the tag's bit of a payload that opens with a list of pauses */
    FCSF_RAW = 0,
    FCSF_NEUTRAL = 1,
    FCSF_PRIOR = 2,
    FCSF_STREAMED = 3,
    FCSF_WIDE = 2,    /* the class of blocks whose length counts pairs of bytes */
    FCSF_WRITTEN = 3, /* the class of blocks whose count is written */
    FCSF_MAX_COUNT = 255,
    FCSF_MAX_PAYLOAD = 510,
    FCSF_PROTECTED_BYTES = 4096 /* a protected file shows in so many */
};

static const uint8_t fcsf_magic[4] = {0x46, 0x43, 0x53, 0x1A};

const char *fcs_file_text(int code) {
    switch (code) {
    case FCS_FILE_OK: return "no error";
    case FCS_FILE_BAD_ARGUMENT: return "an argument is missing or out of range";
    case FCS_FILE_BAD_TOKEN: return "a token has more bits than the header states";
    case FCS_FILE_BAD_COUNT: return "the tokens do not represent so many samples";
    case FCS_FILE_BAD_TAG: return "metadata cannot hold this key or text";
    case FCS_FILE_CLOSED: return "the writer is closed";
    case FCS_FILE_NO_ROOM: return "the buffer is full";
    case FCS_FILE_BAD_PRIOR: return "the prior cannot be used: export the model again";
    case FCS_FILE_EMPTY: return "the input is empty, not an .fcs file";
    case FCS_FILE_NOT_FCS: return "not an .fcs file: it does not start with 'FCS'";
    case FCS_FILE_OLD: return "a version of .fcs that was never released: encode the sound again";
    case FCS_FILE_NEWER: return "this .fcs file needs a newer version of this program";
    case FCS_FILE_CUT_HEADER: return "the .fcs header is cut";
    case FCS_FILE_BAD_HEADER: return "the .fcs header is damaged, and nothing says what it had";
    case FCS_FILE_NO_RECORD: return "the .fcs file holds nothing that can be read";
    case FCS_FILE_PROTECTED: return "a protected .fcs file, which fcs-edge reads";
    case FCS_FILE_OTHER_MODEL: return "encoded with another model";
    case FCS_FILE_OTHER_RATES: return "its bits or sample rates do not fit the model";
    case FCS_LOST_HEADER: return "the header is damaged, and that of the model is assumed";
    case FCS_LOST_START: return "the start is missing";
    case FCS_LOST_HEADER_BIT: return "one bit of the header was wrong, and is corrected";
    case FCS_LOST_BYTES: return "bytes are skipped";
    case FCS_LOST_TOKENS: return "tokens are missing, and silence replaces them";
    case FCS_LOST_ORDER: return "a block is repeated or out of order, and left out";
    case FCS_LOST_END: return "a part has no end record";
    case FCS_LOST_REST: return "the stream is cut";
    case FCS_LOST_PRIOR: return "tokens are coded with a prior that the reader was not given";
    case FCS_LOST_CHECK: return "the check of a block fails, whose tokens were already played";
    case FCS_LOST_NEWER: return "the rest needs a newer version of this program";
    case FCS_LOST_BEHIND: return "bytes after the end record are ignored";
    default: return "an unknown code";
    }
}

/* ---- Numbers and checks ---- */

static uint32_t fcsf_number(const uint8_t *bytes, uint32_t n) {
    uint32_t i, value = 0;
    for (i = 0; i < n; i++) value |= (uint32_t)bytes[i] << (8 * i);
    return value;
}

static uint32_t fcsf_put_number(uint8_t *bytes, uint64_t value, uint32_t n) {
    uint32_t i;
    for (i = 0; i < n; i++) bytes[i] = (uint8_t)(value >> (8 * i));
    return n;
}

static int32_t fcsf_int16(const uint8_t *bytes) {
    int32_t value = bytes[0] | bytes[1] << 8;
    return value < 0x8000 ? value : value - 0x10000;
}

/* floor(value / 2^n): what `>>` gives of a negative number is the compiler's choice. */
static int32_t fcsf_shift(int32_t value, int n) {
    if ((-1 >> 1) == -1) return value >> n;
    return value >= 0 ? value >> n : ~(~value >> n);
}

static uint32_t fcsf_crc(const uint8_t *bytes, size_t n, uint32_t crc) {
    size_t i;
    for (i = 0; i < n; i++) {
        uint32_t x = (crc >> 8) ^ bytes[i];
        x ^= x >> 4;
        crc = ((crc << 8) ^ (x << 12) ^ (x << 5) ^ x) & 0xFFFF;
    }
    return crc;
}

/* Whether the last two bytes of a record are the CRC of the others. */
static int fcsf_crc_holds(const uint8_t *bytes, size_t n) {
    return fcsf_crc(bytes, n - 2, 0xFFFF) == fcsf_number(bytes + n - 2, 2);
}

static uint32_t fcsf_add_crc(uint8_t *bytes, uint32_t n) {
    return n + fcsf_put_number(bytes + n, fcsf_crc(bytes, n, 0xFFFF), 2);
}

/* Bytes of tokens, each of `bits` bits. */
static uint32_t fcsf_packed(uint32_t n_tokens, uint32_t bits) {
    return (n_tokens * bits + 7) / 8;
}

static uint32_t fcsf_pack(const uint16_t *tokens, uint32_t n, uint32_t bits, uint8_t *bytes) {
    uint32_t i, n_bytes = 0, waiting = 0, n_waiting = 0;
    for (i = 0; i < n; i++) {
        waiting = waiting << bits | tokens[i];
        n_waiting += bits;
        while (n_waiting >= 8) {
            n_waiting -= 8;
            bytes[n_bytes++] = (uint8_t)(waiting >> n_waiting);
        }
    }
    if (n_waiting) bytes[n_bytes++] = (uint8_t)(waiting << (8 - n_waiting));
    return n_bytes;
}

static void fcsf_unpack(const uint8_t *bytes, uint32_t bits, uint16_t *tokens, uint32_t n) {
    uint32_t i, waiting = 0, n_waiting = 0;
    for (i = 0; i < n; i++) {
        while (n_waiting < bits) {
            waiting = waiting << 8 | *bytes++;
            n_waiting += 8;
        }
        n_waiting -= bits;
        tokens[i] = (uint16_t)(waiting >> n_waiting & ((1u << bits) - 1));
    }
}

/* ---- The coders of tokens ---- */

typedef struct fcsf_coder {
    uint32_t low, high, value;
    int is_coding;
    const uint8_t *in;
    uint8_t *out;
    size_t place, size; /* bytes so far, and bytes that there are, or have room */
    size_t n_used;      /* bytes up to the last one that is not 0 */
} fcsf_coder;

static void fcsf_start_coder(fcsf_coder *coder, uint8_t *out, size_t size) {
    FCSF_FILL(coder, 0, sizeof *coder);
    coder->high = 0xFFFFFFFFu;
    coder->out = out;
    coder->size = size;
    coder->is_coding = 1;
}

/* Take the next byte of what is decoded. */
static void fcsf_read_byte(fcsf_coder *coder) {
    uint32_t byte = coder->place < coder->size ? coder->in[coder->place] : 0;
    coder->value = coder->value << 8 | byte;
    coder->place++;
}

static void fcsf_start_decoder(fcsf_coder *coder, const uint8_t *in, size_t size) {
    int i;
    fcsf_start_coder(coder, NULL, size);
    coder->in = in;
    coder->is_coding = 0;
    for (i = 0; i < 4; i++) fcsf_read_byte(coder);
}

static void fcsf_write_byte(fcsf_coder *coder, uint32_t byte) {
    if (coder->place < coder->size) coder->out[coder->place] = (uint8_t)byte;
    coder->place++;
    if (byte) coder->n_used = coder->place;
}

/* Of 1 / (1 + exp(-logit / 256)), in 65536ths: data of the format. */
static uint32_t fcsf_probability(int32_t logit) {
    /* exp(-2^k / 256) in 2^-32: with these each of the 4096 numbers is rounded right. */
    static const uint32_t powers[12] = {0xFF007FD5u, 0xFE01FEABu, 0xFC07F560u, 0xF81FAB54u,
                                        0xF07D5FDEu, 0xE1EB5127u, 0xC75F7CF5u, 0x9B4597E3u,
                                        0x5E2D58D9u, 0x22A55547u, 0x04B0556Eu, 0x0015FC21u};
    const uint64_t one = (uint64_t)1 << 32;
    uint64_t power = one;
    uint32_t k, n, low;
    logit = logit < -2048 ? -2048 : logit > 2047 ? 2047 : logit;
    n = (uint32_t)(logit < 0 ? -logit : logit);
    for (k = 0; k < 12; k++)
        if (n >> k & 1) power = (power * powers[k] + (one >> 1)) >> 32;
    low = (uint32_t)(((power << 17) + one + power) / (2 * (one + power)));
    return logit < 0 ? low : 65536 - low;
}

/* Code a decision that is 1 with a probability, or decode it; return it. */
static uint32_t fcsf_decide(fcsf_coder *coder, uint32_t probability, uint32_t bit) {
    uint64_t range = coder->high - coder->low;
    uint32_t middle = coder->low + (uint32_t)(range * probability >> 16);
    if (!coder->is_coding) bit = coder->value <= middle;
    if (bit)
        coder->high = middle;
    else
        coder->low = middle + 1;
    while ((coder->low ^ coder->high) < 0x1000000u) {
        if (coder->is_coding)
            fcsf_write_byte(coder, coder->high >> 24);
        else
            fcsf_read_byte(coder);
        coder->low <<= 8;
        coder->high = coder->high << 8 | 0xFF;
    }
    return bit;
}

/* Write the fewest bytes that end the code; return how many it has. */
static size_t fcsf_finish_coder(fcsf_coder *coder) {
    uint64_t number = 0;
    int i, n;
    for (n = 0; n < 5; n++) {
        uint64_t unit = (uint64_t)1 << (32 - 8 * n);
        number = (coder->low + unit - 1) / unit * unit;
        if (number <= coder->high) break;
    }
    for (i = 0; i < n; i++) fcsf_write_byte(coder, (uint32_t)(number >> (24 - 8 * i)) & 0xFF);
    if (coder->n_used) return coder->n_used;
    if (coder->size) coder->out[0] = 0;
    return 1;
}

static uint32_t fcsf_bit(uint32_t token, uint32_t i, uint32_t bits) {
    return token >> (bits - 1 - i) & 1;
}

/* Weights of the neutral coder: for each bit 1, the bit one and two tokens ago, earlier bits. */
typedef struct fcsf_neutral {
    int32_t weights[FCSF_MAX_BITS][3 + FCSF_MAX_BITS];
} fcsf_neutral;

static void fcsf_start_neutral(fcsf_neutral *neutral) {
    int i;
    FCSF_FILL(neutral, 0, sizeof *neutral);
    for (i = 0; i < FCSF_MAX_BITS; i++) {
        neutral->weights[i][1] = 40960;
        neutral->weights[i][2] = 8192;
    }
}

/* Code or decode token `t`, of which `n_coded` came before, and learn from it. */
static uint16_t fcsf_neutral_token(fcsf_neutral *neutral, fcsf_coder *coder, uint32_t bits,
                                   const uint16_t *tokens, size_t t, uint32_t n_coded) {
    int32_t x[3 + FCSF_MAX_BITS], rate = (int32_t)(262144 / (n_coded + 28));
    uint32_t i, j, token = 0;
    if (rate < 5120) rate = 5120;
    x[0] = 1;
    for (i = 0; i < bits; i++) {
        int32_t *weights = neutral->weights[i], change;
        int64_t sum = 0;
        uint32_t probability, bit;
        x[1] = t > 0 ? (fcsf_bit(tokens[t - 1], i, bits) ? 1 : -1) : 0;
        x[2] = t > 1 ? (fcsf_bit(tokens[t - 2], i, bits) ? 1 : -1) : 0;
        for (j = 0; j < 3 + i; j++) sum += (int64_t)weights[j] * x[j];
        sum = sum >= 0 ? sum >> 8 : ~(~sum >> 8);
        probability = fcsf_probability((int32_t)(sum < -4096 ? -4096 : sum > 4096 ? 4096 : sum));
        bit = fcsf_decide(coder, probability, fcsf_bit(tokens[t], i, bits));
        change = fcsf_shift((int32_t)((bit << 16) - probability) * rate, 16);
        for (j = 0; j < 3 + i; j++) weights[j] += x[j] * (j < 3 ? change : fcsf_shift(change, 1));
        x[3 + i] = bit ? 1 : -1;
        token = token << 1 | bit;
    }
    return (uint16_t)token;
}

/* What a prior computes for a token, and what it remembers of a block. */
typedef struct fcsf_network {
    int16_t hidden[FCSF_MAX_HIDDEN];
    int32_t logits[FCSF_MAX_BITS];
    int32_t totals[FCSF_MAX_BITS];   /* of each bit's signs */
    int32_t averages[FCSF_MAX_BITS]; /* of each bit's signs, decaying */
} fcsf_network;

/* Add four rows, each times 1 or -1. */
FCSF_VECTORS static void fcsf_add_four(int16_t *hidden, uint32_t n_hidden,
                                       const int8_t *const *rows, const int16_t *signs) {
    const int8_t *a = rows[0], *b = rows[1], *c = rows[2], *d = rows[3];
    const int16_t x = signs[0], y = signs[1], z = signs[2], w = signs[3];
    uint32_t n;
    for (n = 0; n < n_hidden; n++)
        hidden[n] = (int16_t)(hidden[n] + (int16_t)(a[n] * x) + (int16_t)(b[n] * y) +
                              (int16_t)(c[n] * z) + (int16_t)(d[n] * w));
}

/* Add a row to hidden values and logits, times 1 or -1. */
FCSF_VECTORS static void fcsf_add_row(const fcs_prior *prior, const int8_t *row,
                                      const uint8_t *skip, int sign, fcsf_network *network) {
    uint32_t n;
    int16_t *hidden = network->hidden;
    if (sign > 0)
        for (n = 0; n < prior->hidden; n++) hidden[n] = (int16_t)(hidden[n] + row[n]);
    else
        for (n = 0; n < prior->hidden; n++) hidden[n] = (int16_t)(hidden[n] - row[n]);
    for (n = 0; n < prior->bits; n++) network->logits[n] += sign * fcsf_int16(skip + 2 * n);
}

static void fcsf_add_input(const fcs_prior *prior, uint32_t input, int sign,
                           fcsf_network *network) {
    fcsf_add_row(prior, prior->context + (size_t)input * prior->hidden,
                 prior->context_skip + 2 * (size_t)input * prior->bits, sign, network);
}

/* Add a row times a mean or an average, in 64ths. */
FCSF_VECTORS static void fcsf_add_scaled(const fcs_prior *prior, uint32_t input, int32_t scale,
                                         fcsf_network *network) {
    const int8_t *row = prior->context + (size_t)input * prior->hidden;
    const uint8_t *skip = prior->context_skip + 2 * (size_t)input * prior->bits;
    int16_t *hidden = network->hidden;
    uint32_t n;
    for (n = 0; n < prior->hidden; n++) {
        int16_t product = (int16_t)(row[n] * scale + 32); /* at most 127 * 64 + 32 */
        hidden[n] = (int16_t)(hidden[n] + (int16_t)fcsf_shift(product, 6));
    }
    for (n = 0; n < prior->bits; n++)
        network->logits[n] += fcsf_shift(fcsf_int16(skip + 2 * n) * scale + 32, 6);
}

/* Add the rows of the bits of up to 8 tokens before token `t`. */
static void fcsf_add_history(const fcs_prior *prior, const uint16_t *tokens, size_t t,
                             fcsf_network *network) {
    uint32_t bits = prior->bits, n_rows = bits * (t < 8 ? (uint32_t)t : 8), r, i, n;
    const int8_t *rows[4];
    int16_t signs[4];
    for (r = 0; r < n_rows; r++) {
        const uint8_t *skip = prior->context_skip + 2 * (size_t)r * bits;
        i = r % 4;
        rows[i] = prior->context + (size_t)r * prior->hidden;
        signs[i] = fcsf_bit(tokens[t - 1 - r / bits], r % bits, bits) ? 1 : -1;
        for (n = 0; n < bits; n++) network->logits[n] += signs[i] * fcsf_int16(skip + 2 * n);
        if (i < 3 && r + 1 < n_rows) continue;
        for (n = i + 1; n < 4; n++) {
            rows[n] = rows[i];
            signs[n] = 0;
        }
        fcsf_add_four(network->hidden, prior->hidden, rows, signs);
    }
}

/* Sum what stands before token `t` of a block. */
static void fcsf_start_token(const fcs_prior *prior, const uint16_t *tokens, size_t t,
                             fcsf_network *network) {
    uint32_t n, j, bits = prior->bits;
    for (n = 0; n < prior->hidden; n++)
        network->hidden[n] = (int16_t)fcsf_int16(prior->bias + 2 * n);
    for (n = 0; n < bits; n++) network->logits[n] = fcsf_int16(prior->bias_skip + 2 * n);
    fcsf_add_history(prior, tokens, t, network);
    fcsf_add_input(prior, 8 * bits + (uint32_t)(t % 4), 1, network);
    for (j = 0; j < bits; j++) {
        int32_t total = network->totals[j], size = (int32_t)t + 8;
        fcsf_add_scaled(prior, 8 * bits + 4 + j, 64 * total / size, network);
    }
    for (j = 0; j < bits; j++)
        fcsf_add_scaled(prior, 9 * bits + 4 + j, fcsf_shift(network->averages[j], 6), network);
}

/* The sum of max(hidden, 0) times weights. */
FCSF_VECTORS static int32_t fcsf_rectified_dot(const int16_t *hidden, const int8_t *weights,
                                               uint32_t n_hidden) {
    int32_t sum = 0;
    uint32_t n;
    for (n = 0; n < n_hidden; n++) {
        int16_t active = hidden[n] > 0 ? hidden[n] : 0;
        sum += active * weights[n];
    }
    return sum;
}

static uint16_t fcsf_network_token(const fcs_prior *prior, fcsf_network *network,
                                   fcsf_coder *coder, const uint16_t *tokens, size_t t) {
    uint32_t i, token = 0, bits = prior->bits, hidden = prior->hidden;
    fcsf_start_token(prior, tokens, t, network);
    for (i = 0; i < bits; i++) {
        int32_t sum = fcsf_rectified_dot(network->hidden, prior->output + (size_t)i * hidden,
                                         hidden);
        uint32_t bit;
        bit = fcsf_decide(coder, fcsf_probability(fcsf_shift(sum, 4) + network->logits[i]),
                          fcsf_bit(tokens[t], i, bits));
        fcsf_add_row(prior, prior->step + (size_t)i * hidden,
                     prior->step_skip + 2 * (size_t)i * bits, bit ? 1 : -1, network);
        token = token << 1 | bit;
    }
    return (uint16_t)token;
}

static void fcsf_remember(fcsf_network *network, uint32_t token, uint32_t bits) {
    uint32_t j;
    for (j = 0; j < bits; j++) {
        int32_t sign = fcsf_bit(token, j, bits) ? 1 : -1, *average = &network->averages[j];
        network->totals[j] += sign;
        *average += fcsf_shift((sign * 4096 - *average) * 10, 6);
    }
}

/* Code or decode the tokens of a block that are not known (1 in `known`); return their number. */
static uint32_t fcsf_neutral_block(fcsf_coder *coder, uint32_t bits, uint16_t *tokens, size_t n,
                                   const uint8_t *known) {
    fcsf_neutral neutral;
    uint32_t n_coded = 0;
    size_t t;
    fcsf_start_neutral(&neutral);
    for (t = 0; t < n; t++) {
        uint16_t token;
        if (known && known[t]) continue;
        token = fcsf_neutral_token(&neutral, coder, bits, tokens, t, n_coded++);
        if (!coder->is_coding) tokens[t] = token;
    }
    return n_coded;
}

static uint32_t fcsf_network_block(const fcs_prior *prior, fcsf_coder *coder, uint16_t *tokens,
                                   size_t n, const uint8_t *known) {
    fcsf_network network;
    uint32_t n_coded = 0;
    size_t t;
    FCSF_FILL(&network, 0, sizeof network);
    for (t = 0; t < n; t++) {
        if (!known || !known[t]) {
            uint16_t token = fcsf_network_token(prior, &network, coder, tokens, t);
            if (!coder->is_coding) tokens[t] = token;
            n_coded++;
        }
        fcsf_remember(&network, tokens[t], prior->bits);
    }
    return n_coded;
}

size_t fcs_code_tokens(const fcs_prior *prior, uint32_t bits, const uint16_t *tokens, size_t n,
                       uint8_t *bytes, size_t capacity) {
    fcsf_coder coder;
    uint16_t *same = (uint16_t *)(uintptr_t)tokens; /* a coder does not write them */
    if (n == 0) return 0;
    fcsf_start_coder(&coder, bytes, capacity);
    if (prior)
        fcsf_network_block(prior, &coder, same, n, NULL);
    else
        fcsf_neutral_block(&coder, bits, same, n, NULL);
    return fcsf_finish_coder(&coder);
}

static void fcsf_decode(const fcs_prior *prior, uint32_t bits, const uint8_t *bytes, size_t size,
                        uint16_t *tokens, size_t n, const uint8_t *known) {
    fcsf_coder coder;
    fcsf_start_decoder(&coder, bytes, size);
    if (prior)
        fcsf_network_block(prior, &coder, tokens, n, known);
    else
        fcsf_neutral_block(&coder, bits, tokens, n, known);
}

void fcs_decode_tokens(const fcs_prior *prior, uint32_t bits, const uint8_t *bytes, size_t size,
                       uint16_t *tokens, size_t n) {
    FCSF_FILL(tokens, 0, n * sizeof *tokens);
    fcsf_decode(prior, bits, bytes, size, tokens, n, NULL);
}

/* The CRC-32 of zlib. */
static uint32_t fcsf_crc32(const uint8_t *bytes, size_t n) {
    uint32_t table[256], crc = 0xFFFFFFFFu, byte, bit;
    size_t i;
    for (byte = 0; byte < 256; byte++) {
        table[byte] = byte;
        for (bit = 0; bit < 8; bit++)
            table[byte] = table[byte] >> 1 ^ (table[byte] & 1 ? 0xEDB88320u : 0);
    }
    for (i = 0; i < n; i++) crc = crc >> 8 ^ table[(crc ^ bytes[i]) & 255];
    return ~crc;
}

static int32_t fcsf_size_of(int32_t value) {
    return value < 0 ? -value : value;
}

/* A bound of the magnitude of a hidden value, for any tokens. */
static int32_t fcsf_largest_sum(const fcs_prior *prior, uint32_t n) {
    uint32_t bits = prior->bits, rows = 10 * bits + 4, r;
    int32_t most = 0, sum = fcsf_size_of(fcsf_int16(prior->bias + 2 * n));
    for (r = 0; r < rows; r++) {
        int32_t size = fcsf_size_of(prior->context[(size_t)r * prior->hidden + n]);
        if (r < 8 * bits || r >= 8 * bits + 4)
            sum += size;
        else if (size > most)
            most = size;
    }
    for (r = 0; r < bits; r++) sum += fcsf_size_of(prior->step[(size_t)r * prior->hidden + n]);
    return sum + most;
}

int fcs_prior_open(fcs_prior *prior, const void *bytes, size_t size) {
    static const uint8_t kind[4] = {8, 4, 2, 4};
    const uint8_t *data = (const uint8_t *)bytes;
    uint32_t i, rows, bits, hidden;
    size_t at = 8;
    if (!prior || !data) return FCS_FILE_BAD_ARGUMENT;
    FCSF_FILL(prior, 0, sizeof *prior);
    if (size < 8 || data[0] != 1) return FCS_FILE_BAD_PRIOR;
    for (i = 0; i < 4; i++)
        if (data[4 + i] != kind[i]) return FCS_FILE_BAD_PRIOR;
    bits = data[1];
    hidden = fcsf_number(data + 2, 2);
    rows = 10 * bits + 4;
    if (bits < 1 || bits > FCSF_MAX_BITS || hidden < 1 || hidden > FCSF_MAX_HIDDEN)
        return FCS_FILE_BAD_PRIOR;
    if (size != 8 + (size_t)hidden * (rows + 2 + 2 * bits) + 2 * bits * (rows + 1 + bits))
        return FCS_FILE_BAD_PRIOR;
    prior->bits = bits;
    prior->hidden = hidden;
    prior->context = (const int8_t *)data + at;
    prior->bias = data + (at += (size_t)rows * hidden);
    prior->step = (const int8_t *)data + (at += 2 * (size_t)hidden);
    prior->output = (const int8_t *)data + (at += (size_t)bits * hidden);
    prior->context_skip = data + (at += (size_t)bits * hidden);
    prior->bias_skip = data + (at += 2 * (size_t)rows * bits);
    prior->step_skip = data + (at + 2 * (size_t)bits);
    for (i = 0; i < rows * hidden; i++)
        if (prior->context[i] == -128) return FCS_FILE_BAD_PRIOR;
    for (i = 0; i < 2 * bits * hidden; i++) /* step, and output behind it */
        if (prior->step[i] == -128) return FCS_FILE_BAD_PRIOR;
    for (i = 0; i < hidden; i++)
        if (fcsf_largest_sum(prior, i) > 32767) return FCS_FILE_BAD_PRIOR;
    prior->check = fcsf_crc32(data, size);
    if (prior->check == 0) prior->check = 1;
    return FCS_FILE_OK;
}

/* ---- Headers ---- */

static const uint16_t fcsf_spt[3] = {320, 640, 1280};

static uint32_t fcsf_rates_code(const fcs_file_header *header) {
    uint32_t i;
    if (header->sample_rate_in != 16000) return 0;
    for (i = 0; i < 3; i++) {
        if (header->samples_per_token != fcsf_spt[i]) continue;
        if (header->sample_rate_out == 24000) return i + 1;
        if (header->sample_rate_out == 16000) return i + 4;
    }
    return 0;
}

static int fcsf_header_is_valid(const fcs_file_header *header) {
    return header->bits_per_token >= 1 && header->bits_per_token <= FCSF_MAX_BITS &&
           header->samples_per_token >= 1 && header->samples_per_token <= 0xFFFF &&
           header->sample_rate_in >= 1 && header->sample_rate_in < 1u << 24 &&
           header->sample_rate_out >= 1 && header->sample_rate_out < 1u << 24 &&
           header->settings <= 0xFFFF;
}

static uint32_t fcsf_write_header(const fcs_file_header *header, int is_copy, uint8_t *bytes) {
    uint32_t code = fcsf_rates_code(header), n = 17;
    FCSF_COPY(bytes, fcsf_magic, 4);
    bytes[4] = 2;
    bytes[5] = (uint8_t)((header->bits_per_token - 1) | (header->prior ? 0x10u : 0) |
                         (is_copy ? 0x20u : 0));
    bytes[6] = (uint8_t)code;
    fcsf_put_number(bytes + 7, header->settings, 2);
    FCSF_COPY(bytes + 9, header->fingerprint, 8);
    if (header->prior) n += fcsf_put_number(bytes + n, header->prior, 4);
    if (code == 0) {
        n += fcsf_put_number(bytes + n, header->samples_per_token, 2);
        n += fcsf_put_number(bytes + n, header->sample_rate_in, 3);
        n += fcsf_put_number(bytes + n, header->sample_rate_out, 3);
    }
    return fcsf_add_crc(bytes, n);
}

/* The size of a header whose first seven bytes are there. */
static uint32_t fcsf_header_size(const uint8_t *bytes) {
    return FCSF_HEADER_MIN + (bytes[5] & 0x10 ? 4u : 0) + (bytes[6] == 0 ? 8u : 0);
}

static int fcsf_is_magic(const uint8_t *bytes) {
    uint32_t i;
    for (i = 0; i < 4; i++)
        if (bytes[i] != fcsf_magic[i]) return 0;
    return 1;
}

/* Whether four bytes are the magic but for at most four bits. */
static int fcsf_is_near_magic(const uint8_t *bytes) {
    uint32_t i, n_wrong = 0;
    for (i = 0; i < 32; i++)
        n_wrong += (uint32_t)(bytes[i / 8] ^ fcsf_magic[i / 8]) >> i % 8 & 1;
    return n_wrong <= 4;
}

/* Read a header whose CRC holds: FCS_FILE_OK, FCS_FILE_NEWER or FCS_FILE_BAD_HEADER. */
static int fcsf_read_header(const uint8_t *bytes, fcs_file_header *header) {
    uint32_t code = bytes[6], n = fcsf_header_size(bytes) - 2;
    if (bytes[5] >> 6 || code > 6) return FCS_FILE_NEWER;
    FCSF_FILL(header, 0, sizeof *header);
    header->bits_per_token = (bytes[5] & 15u) + 1;
    header->settings = fcsf_number(bytes + 7, 2);
    FCSF_COPY(header->fingerprint, bytes + 9, 8);
    if (bytes[5] & 0x10) header->prior = fcsf_number(bytes + 17, 4);
    if (code) {
        header->samples_per_token = fcsf_spt[(code - 1) % 3];
        header->sample_rate_in = 16000;
        header->sample_rate_out = code <= 3 ? 24000 : 16000;
    } else {
        header->samples_per_token = fcsf_number(bytes + n - 8, 2);
        header->sample_rate_in = fcsf_number(bytes + n - 6, 3);
        header->sample_rate_out = fcsf_number(bytes + n - 3, 3);
    }
    return fcsf_header_is_valid(header) ? FCS_FILE_OK : FCS_FILE_BAD_HEADER;
}

static int fcsf_same_fingerprint(const uint8_t *a, const uint8_t *b) {
    uint32_t i;
    for (i = 0; i < 8; i++)
        if (a[i] != b[i]) return 0;
    return 1;
}

/* Whether two headers are the same; `but` 1: but for prior and settings. */
static int fcsf_same_header(const fcs_file_header *a, const fcs_file_header *b, int but) {
    return a->bits_per_token == b->bits_per_token &&
           a->samples_per_token == b->samples_per_token &&
           a->sample_rate_in == b->sample_rate_in && a->sample_rate_out == b->sample_rate_out &&
           fcsf_same_fingerprint(a->fingerprint, b->fingerprint) &&
           (but || (a->prior == b->prior && a->settings == b->settings));
}

int fcs_file_check(const fcs_file_header *part, const fcs_file_header *model,
                   const uint8_t *accepts, size_t n_accepts) {
    size_t i;
    int fits = fcsf_same_fingerprint(part->fingerprint, model->fingerprint);
    for (i = 0; i < n_accepts && !fits; i++)
        fits = fcsf_same_fingerprint(part->fingerprint, accepts + 8 * i);
    if (!fits) return FCS_FILE_OTHER_MODEL;
    if (part->bits_per_token != model->bits_per_token ||
        part->samples_per_token != model->samples_per_token ||
        part->sample_rate_in != model->sample_rate_in)
        return FCS_FILE_OTHER_RATES;
    return FCS_FILE_OK;
}

uint64_t fcs_file_output_samples(const fcs_file_header *header, uint64_t n_samples) {
    uint64_t in = header->sample_rate_in, out = header->sample_rate_out, rest;
    if (in == 0) return 0;
    rest = n_samples % in * out;
    n_samples = n_samples / in * out + rest / in;
    rest = 2 * (rest % in);
    return n_samples + (rest > in || (rest == in && (n_samples & 1)));
}

/* Samples by which a count may exceed what the tokens represent. */
static uint64_t fcsf_slack(const fcs_file_header *header) {
    return header->settings & FCS_FILE_NOT_CAUSAL ? 2 * (uint64_t)header->samples_per_token - 1 : 0;
}

/* ---- Blocks ---- */

static const uint8_t fcsf_class_tokens[3] = {100, 50, 200};

typedef struct fcsf_block {
    uint32_t tag, place, count, head, length, chunk; /* `length` bytes behind `head` bytes */
} fcsf_block;

static uint32_t fcsf_class(uint32_t tag) {
    return tag >> 2 & 3;
}

/* Bytes of a block's head; 0 for a tag of no block. */
static uint32_t fcsf_head_size(uint32_t tag) {
    if (tag >> 5 != 5 || ((tag & 3) == FCSF_STREAMED && tag != FCSF_STREAMED_TAG)) return 0;
    if (fcsf_class(tag) == FCSF_WRITTEN) return 6;
    return tag & (FCSF_PAUSES | 3) ? 4 : 3;
}

static uint32_t fcsf_block_size(const fcsf_block *block) {
    return block->head + block->length + 2;
}

static uint64_t fcsf_modulus(const fcsf_block *block) {
    return fcsf_class(block->tag) == FCSF_WRITTEN ? 1u << 24 : (uint64_t)block->count << 16;
}

/* Read the head of a block, all of whose bytes are there; 0 if it is not valid. */
static int fcsf_read_head(const uint8_t *bytes, uint32_t bits, fcsf_block *block) {
    uint32_t kind;
    block->tag = bytes[0];
    block->head = fcsf_head_size(block->tag);
    block->chunk = 0;
    kind = fcsf_class(block->tag);
    if (kind != FCSF_WRITTEN) {
        block->count = fcsf_class_tokens[kind];
        block->place = fcsf_number(bytes + 1, 2) * block->count;
        block->length = block->head == 3 ? fcsf_packed(block->count, bits)
                                         : bytes[3] * (kind == FCSF_WIDE ? 2u : 1u);
        return block->length > 0;
    }
    block->place = fcsf_number(bytes + 1, 3);
    block->count = bytes[4];
    block->length = bytes[5];
    if (!block->count || !block->length) return 0;
    if (block->tag == FCSF_STREAMED_TAG) {
        block->chunk = block->length;
        block->length = block->count / block->chunk * fcsf_packed(block->chunk, bits);
        return block->count % block->chunk == 0;
    }
    return (block->tag & (FCSF_PAUSES | 3)) != FCSF_RAW ||
           block->length == fcsf_packed(block->count, bits);
}

/* Whether the head of a block, four bytes of which are there, states a position. */
static int fcsf_place_matches(const uint8_t *bytes, uint64_t position) {
    uint32_t kind = fcsf_class(bytes[0]), count;
    if (kind == FCSF_WRITTEN) return fcsf_number(bytes + 1, 3) == (position & 0xFFFFFF);
    count = fcsf_class_tokens[kind];
    return position % count == 0 && fcsf_number(bytes + 1, 2) == (position / count & 0xFFFF);
}

/*
 * Read the list of pauses that opens a payload: 1 in `known` and the comfort token in `tokens` for
 * each token of a pause. Return the list's size; 0 if list or payload are not valid.
 */
static uint32_t fcsf_read_pauses(const fcsf_block *block, const uint8_t *payload, uint32_t bits,
                                 uint8_t *known, uint16_t *tokens) {
    uint32_t width = bits <= 8 ? 1 : 2, at = 0, i, size, comfort, spare, n_coded = 0;
    if (block->length < 1 + width || payload[0] > 15) return 0;
    size = 1 + width + 2u * payload[0];
    comfort = fcsf_number(payload + 1, width);
    if (comfort >> bits || block->length < size) return 0;
    FCSF_FILL(known, payload[0] == 0, block->count);
    for (i = 1 + width; i < size; i += 2) {
        at += payload[i];
        if (!payload[i + 1] || at + payload[i + 1] > block->count) return 0;
        FCSF_FILL(known + at, 1, payload[i + 1]);
        at += payload[i + 1];
    }
    for (i = 0; i < block->count; i++) {
        tokens[i] = (uint16_t)(known[i] ? comfort : 0);
        n_coded += !known[i];
    }
    if (n_coded && (block->tag & 3) != FCSF_RAW) return size;
    if (block->length < size + fcsf_packed(n_coded, bits)) return 0;
    spare = block->length - size - fcsf_packed(n_coded, bits);
    if (spare == 0) return size;
    return spare == 1 && block->length % 2 == 0 && fcsf_class(block->tag) == FCSF_WIDE ? size : 0;
}

/* Write the tokens of a valid block, which is not coded by an unknown prior. */
static void fcsf_block_tokens(const fcsf_block *block, const uint8_t *payload, uint32_t bits,
                              const fcs_prior *prior, uint16_t *tokens) {
    uint8_t known[FCSF_MAX_COUNT + 1];
    uint32_t coding = block->tag & 3, i, size = 0, n = 0;
    FCSF_FILL(known, 0, sizeof known);
    FCSF_FILL(tokens, 0, block->count * sizeof *tokens);
    if (coding == FCSF_STREAMED) {
        for (i = 0; i < block->count; i += block->chunk, payload += fcsf_packed(block->chunk, bits))
            fcsf_unpack(payload, bits, tokens + i, block->chunk);
        return;
    }
    if (block->tag & FCSF_PAUSES) size = fcsf_read_pauses(block, payload, bits, known, tokens);
    if (coding == FCSF_RAW) {
        uint16_t others[FCSF_MAX_COUNT + 1];
        for (i = 0; i < block->count; i++) n += !known[i];
        fcsf_unpack(payload + size, bits, others, n);
        for (i = n = 0; i < block->count; i++)
            if (!known[i]) tokens[i] = others[n++];
        return;
    }
    fcsf_decode(coding == FCSF_PRIOR ? prior : NULL, bits, payload + size, block->length - size,
                tokens, block->count, known);
}

/* ---- Writer ---- */

static int fcsf_send(fcs_writer *writer, const void *bytes, size_t n) {
    fcs_buffer *buffer = (fcs_buffer *)writer->context;
    int code = FCS_FILE_OK;
    if (writer->write) {
        code = writer->write(writer->context, (const uint8_t *)bytes, n);
    } else if (n > buffer->capacity - buffer->size) {
        code = FCS_FILE_NO_ROOM;
    } else {
        FCSF_COPY(buffer->bytes + buffer->size, bytes, n);
        buffer->size += n;
    }
    if (code) writer->closed = 1;
    return code;
}

/* The header again before every so many tokens, for those who join. */
static uint32_t fcsf_repeated_header(fcs_writer *writer, uint8_t *bytes) {
    if (writer->position < writer->repeat_at) return 0;
    writer->repeat_at = writer->position + writer->repeat_tokens;
    return fcsf_write_header(&writer->header, 1, bytes);
}

static uint32_t fcsf_write_head(uint8_t *bytes, uint32_t tag, uint64_t position, uint32_t count,
                                uint32_t last) {
    uint32_t kind = fcsf_class(tag);
    bytes[0] = (uint8_t)tag;
    if (kind == FCSF_WRITTEN) {
        fcsf_put_number(bytes + 1, position, 3);
        bytes[4] = (uint8_t)count;
        bytes[5] = (uint8_t)last;
    } else {
        fcsf_put_number(bytes + 1, position / count, 2);
        if (tag & 3) bytes[3] = (uint8_t)(kind == FCSF_WIDE ? last / 2 : last);
    }
    return fcsf_head_size(tag);
}

/* Write the shortest record of some tokens, raw or coded; return its size. */
static uint32_t fcsf_write_block(const fcs_writer *writer, const uint16_t *tokens, uint32_t count,
                                 uint8_t *bytes) {
    uint32_t bits = writer->header.bits_per_token, kind = FCSF_WRITTEN, tag, i, head;
    uint32_t raw = fcsf_packed(count, bits), coded = 0;
    for (i = 0; i < 3; i++)
        if (count == fcsf_class_tokens[i] && writer->position % count == 0) kind = i;
    if (writer->coded) {
        tag = 0xA0u | kind << 2 | (writer->prior ? FCSF_PRIOR : FCSF_NEUTRAL);
        head = fcsf_head_size(tag);
        coded = (uint32_t)fcs_code_tokens(writer->prior, bits, tokens, count, bytes + head,
                                          FCSF_MAX_PAYLOAD);
        if (kind == FCSF_WIDE && coded % 2 && coded < FCSF_MAX_PAYLOAD) bytes[head + coded++] = 0;
        if (head + coded < fcsf_head_size(0xA0u | kind << 2) + raw) {
            fcsf_write_head(bytes, tag, writer->position, count, coded);
            return fcsf_add_crc(bytes, head + coded);
        }
    }
    head = fcsf_write_head(bytes, 0xA0u | kind << 2, writer->position, count, raw);
    return fcsf_add_crc(bytes, head + fcsf_pack(tokens, count, bits, bytes + head));
}

/* Send the tokens that are held: a whole block, or at the end blocks of at most 100. */
static int fcsf_send_blocks(fcs_writer *writer) {
    uint32_t from, count, n;
    uint32_t most = writer->n_held < writer->block_tokens ? 100 : writer->block_tokens;
    int code = FCS_FILE_OK;
    for (from = 0; from < writer->n_held && !code; from += count) {
        count = writer->n_held - from < most ? writer->n_held - from : most;
        n = fcsf_repeated_header(writer, writer->bytes);
        n += fcsf_write_block(writer, writer->held + from, count, writer->bytes + n);
        writer->position += count;
        code = fcsf_send(writer, writer->bytes, n);
    }
    writer->n_held = 0;
    return code;
}

/* Tokens of the streamed block that begins at a position: whole chunks. */
static uint32_t fcsf_streamed_count(uint64_t position, uint32_t chunk) {
    uint32_t least = (24 + chunk - 1) / chunk, most = 200 / chunk ? 200 / chunk : 1;
    uint64_t n = position / 8 / chunk;
    if (n > most) n = most;
    if (least > most) least = most;
    return (uint32_t)(n > least ? n : least) * chunk;
}

/* Write the chunk that is held, and the block's head or CRC where they are due. */
static uint32_t fcsf_write_chunk(fcs_writer *writer, uint8_t *bytes) {
    uint32_t bits = writer->header.bits_per_token, chunk = writer->chunk_tokens, n = 0, from;
    if (!writer->stream_left) {
        n = fcsf_repeated_header(writer, bytes);
        writer->stream_left = fcsf_streamed_count(writer->position, chunk);
        from = n;
        n += fcsf_write_head(bytes + n, FCSF_STREAMED_TAG, writer->position, writer->stream_left,
                             chunk);
        writer->crc = fcsf_crc(bytes + from, n - from, 0xFFFF);
    }
    from = n;
    n += fcsf_pack(writer->held, chunk, bits, bytes + n);
    writer->crc = fcsf_crc(bytes + from, n - from, writer->crc);
    FCSF_FILL(writer->held, 0, sizeof writer->held);
    writer->n_held = 0;
    writer->position += chunk;
    writer->stream_left -= chunk;
    return writer->stream_left ? n : n + fcsf_put_number(bytes + n, writer->crc, 2);
}

static int fcsf_send_chunk(fcs_writer *writer) {
    uint32_t n = fcsf_write_chunk(writer, writer->bytes);
    return fcsf_send(writer, writer->bytes, n);
}

static int fcsf_key_is_valid(const char *key, size_t n) {
    size_t i;
    for (i = 0; i < n; i++) {
        char c = key[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_')) return 0;
    }
    return n >= 1 && n <= 32;
}

/* The length of a text, or more than any tag may have. */
static size_t fcsf_length(const char *text) {
    size_t n = 0;
    while (n <= FCSF_MAX_BODY && text[n]) n++;
    return n;
}

/* Bytes of a tag's entry; 0 if metadata cannot hold it. */
static size_t fcsf_entry_size(const fcs_tag *tag) {
    size_t key, size;
    if (!tag->key || !tag->value) return 0;
    key = fcsf_length(tag->key);
    size = key + 1 + fcsf_length(tag->value);
    return fcsf_key_is_valid(tag->key, key) && size <= FCSF_MAX_BODY ? size : 0;
}

/* Send a part of a record; `crc` goes on over it. */
static int fcsf_send_text(fcs_writer *writer, const char *text, size_t n, uint32_t *crc) {
    *crc = fcsf_crc((const uint8_t *)text, n, *crc);
    return n ? fcsf_send(writer, text, n) : FCS_FILE_OK;
}

/* Send tags as a record of `body` bytes. */
static int fcsf_send_tags(fcs_writer *writer, const fcs_tag *tags, size_t n_tags, uint32_t body) {
    uint8_t head[3];
    uint32_t crc;
    size_t i;
    int code;
    head[0] = FCSF_METADATA_TAG;
    fcsf_put_number(head + 1, body, 2);
    crc = fcsf_crc(head, 3, 0xFFFF);
    code = fcsf_send(writer, head, 3);
    for (i = 0; i < n_tags && !code; i++) {
        if (i) code = fcsf_send_text(writer, "", 1, &crc);
        if (!code) code = fcsf_send_text(writer, tags[i].key, fcsf_length(tags[i].key), &crc);
        if (!code) code = fcsf_send_text(writer, "=", 1, &crc);
        if (!code) code = fcsf_send_text(writer, tags[i].value, fcsf_length(tags[i].value), &crc);
    }
    fcsf_put_number(head, crc, 2);
    return code ? code : fcsf_send(writer, head, 2);
}

/* Send all tags, as many in a record as fit. */
static int fcsf_send_metadata(fcs_writer *writer, const fcs_tag *tags, size_t n_tags) {
    size_t first, next;
    for (first = 0; first < n_tags; first = next) {
        size_t body = fcsf_entry_size(&tags[first]);
        int code;
        for (next = first + 1; next < n_tags; next++) {
            size_t more = 1 + fcsf_entry_size(&tags[next]);
            if (body + more > FCSF_MAX_BODY) break;
            body += more;
        }
        code = fcsf_send_tags(writer, tags + first, next - first, (uint32_t)body);
        if (code) return code;
    }
    return FCS_FILE_OK;
}

static int fcsf_check_options(const fcs_file_header *header, const fcs_writer_options *options) {
    size_t i;
    if (!fcsf_header_is_valid(header)) return FCS_FILE_BAD_ARGUMENT;
    if (options->block_tokens > FCSF_MAX_COUNT || options->live_tokens > FCSF_MAX_COUNT)
        return FCS_FILE_BAD_ARGUMENT;
    if (options->prior && options->prior->bits != header->bits_per_token)
        return FCS_FILE_BAD_PRIOR;
    if (options->n_tags && !options->tags) return FCS_FILE_BAD_ARGUMENT;
    for (i = 0; i < options->n_tags; i++)
        if (!fcsf_entry_size(&options->tags[i])) return FCS_FILE_BAD_TAG;
    return FCS_FILE_OK;
}

/* Tokens that a block is made from: those of a written count fit it raw. */
static uint32_t fcsf_block_tokens_of(uint32_t stated, uint32_t bits) {
    uint32_t most = 255 * 8 / bits;
    if (stated == 0) stated = 100;
    if (stated == 50 || stated == 100 || stated == 200 || stated < most) return stated;
    return most;
}

int fcs_writer_init(fcs_writer *writer, const fcs_file_header *header,
                    const fcs_writer_options *options, fcs_write_bytes write, void *context) {
    fcs_writer_options none;
    int code;
    FCSF_FILL(&none, 0, sizeof none);
    if (!options) options = &none;
    if (!writer || !header || (!write && !context)) return FCS_FILE_BAD_ARGUMENT;
    code = fcsf_check_options(header, options);
    if (code) return code;
    FCSF_FILL(writer, 0, sizeof *writer);
    writer->header = *header;
    writer->write = write;
    writer->context = context;
    writer->live = options->live_tokens > 0;
    writer->coded = !options->raw && !writer->live;
    writer->prior = writer->coded ? options->prior : NULL;
    writer->header.prior = writer->prior ? writer->prior->check : 0;
    writer->chunk_tokens = options->live_tokens;
    writer->block_tokens = fcsf_block_tokens_of(options->block_tokens, header->bits_per_token);
    writer->repeat_tokens = (writer->live ? 10u : 64u) * (uint64_t)header->sample_rate_in /
                            header->samples_per_token;
    if (writer->repeat_tokens == 0) writer->repeat_tokens = 1;
    writer->repeat_at = writer->repeat_tokens;
    code = fcsf_send(writer, writer->bytes, fcsf_write_header(&writer->header, 0, writer->bytes));
    return code ? code : fcsf_send_metadata(writer, options->tags, options->n_tags);
}

int fcs_writer_put(fcs_writer *writer, const uint16_t *tokens, size_t n_tokens) {
    uint32_t limit = writer->live ? writer->chunk_tokens : writer->block_tokens;
    size_t i;
    int code = FCS_FILE_OK;
    if (writer->closed) return FCS_FILE_CLOSED;
    if (n_tokens && !tokens) return FCS_FILE_BAD_ARGUMENT;
    for (i = 0; i < n_tokens; i++)
        if (tokens[i] >> writer->header.bits_per_token) return FCS_FILE_BAD_TOKEN;
    for (i = 0; i < n_tokens && !code; i++) {
        writer->held[writer->n_held++] = tokens[i];
        writer->n_tokens++;
        if (writer->n_held < limit) continue;
        code = writer->live ? fcsf_send_chunk(writer) : fcsf_send_blocks(writer);
    }
    return code;
}

int fcs_writer_close(fcs_writer *writer, uint64_t n_samples) {
    uint64_t covered = writer->n_tokens * writer->header.samples_per_token;
    uint32_t n = 0;
    int code = FCS_FILE_OK;
    if (writer->closed) return FCS_FILE_CLOSED;
    if (n_samples > covered + fcsf_slack(&writer->header) || n_samples >> 40)
        return FCS_FILE_BAD_COUNT;
    if (writer->live) {
        /* In one call with the end record: who plays must see it before the filler. */
        while (writer->n_held || writer->stream_left)
            n += fcsf_write_chunk(writer, writer->bytes + n);
    } else {
        code = fcsf_send_blocks(writer);
    }
    if (code) return code;
    writer->bytes[n] = FCSF_END_TAG;
    fcsf_put_number(writer->bytes + n + 1, n_samples, 5);
    n += FCSF_END_BYTES - 2;
    fcsf_put_number(writer->bytes + n, fcsf_crc(writer->bytes + n - 6, 6, 0xFFFF), 2);
    code = fcsf_send(writer, writer->bytes, n + 2);
    writer->closed = 1;
    return code;
}

/* ---- Reader: bytes ---- */

enum {
    FCSF_FIRST = 0, /* at the start of the input */
    FCSF_ASSUME,    /* a part's header is missing or damaged */
    FCSF_PART,      /* in a part */
    FCSF_NEXT,      /* behind an end record */
    FCSF_SINK,      /* nothing more is read */
    FCSF_OVER
};

/* A valid record. */
enum { FCSF_HEADER = 1, FCSF_LATER, FCSF_BLOCK, FCSF_END, FCSF_GENERAL };

typedef struct fcsf_found {
    int kind, is_copy;
    uint32_t size, type;
    fcsf_block block;
    int64_t ahead; /* tokens from the expected position to the block's; negative behind it */
    uint64_t n_samples;
    fcs_file_header header;
} fcsf_found;

static const uint8_t *fcsf_here(const fcs_reader *r) {
    return r->bytes + r->pos;
}

static uint64_t fcsf_offset(const fcs_reader *r) {
    return r->base + r->pos;
}

/* Whether `size` bytes are at the current position. The buffer holds two of the longest records. */
static int fcsf_need(fcs_reader *r, uint32_t size) {
    size_t n;
    if (r->end - r->pos >= size) return FCSF_YES;
    if (r->pos + size > FCS_READER_BYTES) { /* what is left is less than half of the buffer */
        FCSF_COPY(r->bytes, r->bytes + r->pos, r->end - r->pos);
        r->base += r->pos;
        r->end -= r->pos;
        r->pos = 0;
    }
    n = FCS_READER_BYTES - r->end;
    if (n > r->input_left) n = r->input_left;
    if (n) {
        FCSF_COPY(r->bytes + r->end, r->input, n);
        r->end += (uint32_t)n;
        r->input += n;
        r->input_left -= n;
    }
    if (r->end - r->pos >= size) return FCSF_YES;
    return r->closed ? FCSF_NO : FCSF_WAIT;
}

/* Whether all of a record is there, and its CRC holds. */
static int fcsf_is_whole(fcs_reader *r, uint32_t size) {
    int answer = fcsf_need(r, size);
    return answer == FCSF_YES ? fcsf_crc_holds(fcsf_here(r), size) : answer;
}

/* ---- Reader: records ---- */

static int fcsf_header_here(fcs_reader *r, fcsf_found *found) {
    int answer = fcsf_need(r, FCSF_HEADER_MIN);
    if (answer != FCSF_YES) return answer;
    if (!fcsf_is_magic(fcsf_here(r)) || fcsf_here(r)[4] != 2) return FCSF_NO;
    found->size = fcsf_header_size(fcsf_here(r));
    answer = fcsf_is_whole(r, found->size);
    if (answer != FCSF_YES) return answer;
    found->is_copy = fcsf_here(r)[5] >> 5 & 1;
    switch (fcsf_read_header(fcsf_here(r), &found->header)) {
    case FCS_FILE_OK: found->kind = FCSF_HEADER; return FCSF_YES;
    case FCS_FILE_NEWER: found->kind = FCSF_LATER; return FCSF_YES;
    default: return FCSF_NO;
    }
}

/* Whether a record is followed by what fits it: the input's end, a header, or for a block's
   `position` the block that is due, or an end record. */
static int fcsf_is_confirmed(fcs_reader *r, uint32_t size, int is_block, uint64_t position) {
    int answer = fcsf_need(r, size + 1);
    uint32_t tag;
    if (answer == FCSF_WAIT) return FCSF_WAIT;
    if (answer == FCSF_NO) return FCSF_YES;
    tag = fcsf_here(r)[size];
    if (fcsf_head_size(tag) && is_block) {
        answer = fcsf_need(r, size + 4);
        return answer == FCSF_YES ? fcsf_place_matches(fcsf_here(r) + size, position) : answer;
    }
    if (tag == fcsf_magic[0]) {
        answer = fcsf_need(r, size + 4);
        return answer == FCSF_YES ? fcsf_is_magic(fcsf_here(r) + size) : answer;
    }
    if (tag == FCSF_END_TAG && is_block) {
        answer = fcsf_need(r, size + FCSF_END_BYTES);
        if (answer != FCSF_YES) return answer;
        return fcsf_crc_holds(fcsf_here(r) + size, FCSF_END_BYTES);
    }
    return FCSF_NO;
}

/* Whether a block's list of pauses, if it has one, is valid. */
static int fcsf_list_is_valid(const fcs_reader *r, const fcsf_block *block) {
    uint8_t known[FCSF_MAX_COUNT + 1];
    uint16_t tokens[FCSF_MAX_COUNT + 1];
    if (!(block->tag & FCSF_PAUSES)) return 1;
    return fcsf_read_pauses(block, fcsf_here(r) + block->head, r->header.bits_per_token, known,
                            tokens) > 0;
}

static int fcsf_block_here(fcs_reader *r, fcsf_found *found) {
    fcsf_block *block = &found->block;
    uint64_t modulus, ahead, skipped = fcsf_offset(r) - r->start;
    int answer = fcsf_need(r, fcsf_head_size(fcsf_here(r)[0])), is_near = 0;
    if (answer != FCSF_YES) return answer;
    if (!fcsf_read_head(fcsf_here(r), r->header.bits_per_token, block)) return FCSF_NO;
    found->kind = FCSF_BLOCK;
    found->size = fcsf_block_size(block);
    found->ahead = 0;
    answer = fcsf_is_whole(r, found->size);
    if (answer != FCSF_YES) return answer;
    if (!fcsf_list_is_valid(r, block)) return FCSF_NO;
    if (r->has_expected) {
        modulus = fcsf_modulus(block);
        ahead = (block->place + modulus - r->expected % modulus) % modulus;
        is_near = ahead <= modulus / 2 ? ahead <= 3000 + 64 * skipped : !skipped;
        found->ahead = ahead <= modulus / 2 ? (int64_t)ahead : (int64_t)ahead - (int64_t)modulus;
    }
    if (is_near) return FCSF_YES;
    return fcsf_is_confirmed(r, found->size, 1, (uint64_t)block->place + block->count);
}

/* ceil(n_samples / samples per token) */
static uint64_t fcsf_tokens_of(const fcs_reader *r, uint64_t n_samples) {
    return (n_samples + r->header.samples_per_token - 1) / r->header.samples_per_token;
}

static int fcsf_end_here(fcs_reader *r, fcsf_found *found) {
    uint64_t skipped = fcsf_offset(r) - r->start, needed;
    int answer = fcsf_is_whole(r, FCSF_END_BYTES);
    const uint8_t *bytes;
    if (answer != FCSF_YES) return answer;
    bytes = fcsf_here(r);
    found->kind = FCSF_END;
    found->size = FCSF_END_BYTES;
    found->n_samples = fcsf_number(bytes + 1, 4) | (uint64_t)bytes[5] << 32;
    needed = fcsf_tokens_of(r, found->n_samples);
    if (r->has_expected && needed + 256 >= r->expected &&
        needed <= r->expected + 3000 + 64 * skipped)
        return FCSF_YES;
    return fcsf_is_confirmed(r, FCSF_END_BYTES, 0, 0);
}

static int fcsf_general_here(fcs_reader *r, fcsf_found *found) {
    uint32_t body;
    int answer = fcsf_need(r, 3);
    if (answer != FCSF_YES) return answer;
    body = fcsf_number(fcsf_here(r) + 1, 2);
    found->kind = FCSF_GENERAL;
    found->type = fcsf_here(r)[0];
    found->size = 3 + body + 2;
    return body > FCSF_MAX_BODY ? FCSF_NO : fcsf_is_whole(r, found->size);
}

/* The valid record at the current position, of a search that began at `start`. */
static int fcsf_record_here(fcs_reader *r, int with_general, fcsf_found *found) {
    int answer = fcsf_need(r, 1);
    uint32_t tag;
    if (answer != FCSF_YES) return answer;
    tag = fcsf_here(r)[0];
    if (tag == fcsf_magic[0]) return fcsf_header_here(r, found);
    if (!r->has_header) return FCSF_NO;
    if (fcsf_head_size(tag)) return fcsf_block_here(r, found);
    if (tag == FCSF_END_TAG) return fcsf_end_here(r, found);
    if (tag >> 5 == 6 && with_general && fcsf_offset(r) == r->start)
        return fcsf_general_here(r, found);
    return FCSF_NO;
}

/* Move to the next valid record. */
static int fcsf_find(fcs_reader *r, int with_general, fcsf_found *found) {
    for (;;) {
        int answer;
        if (r->has_limit && fcsf_offset(r) >= r->limit) return FCSF_NO;
        answer = fcsf_need(r, 1);
        if (answer != FCSF_YES) return answer;
        answer = fcsf_record_here(r, with_general, found);
        if (answer != FCSF_NO) return answer;
        r->pos++;
    }
}

/* ---- Reader: events ---- */

static fcs_event *fcsf_event(fcs_reader *r, int kind) {
    fcs_event *event = &r->events[r->n_events++];
    FCSF_FILL(event, 0, sizeof *event);
    event->kind = kind;
    event->header = r->header;
    return event;
}

static fcs_event *fcsf_damage(fcs_reader *r, int code, uint64_t offset, uint64_t n_bytes) {
    fcs_event *event = fcsf_event(r, FCS_READ_DAMAGE);
    event->code = code;
    event->offset = offset;
    event->n_bytes = (size_t)n_bytes;
    r->n_damage++;
    return event;
}

static void fcsf_give_tokens(fcs_reader *r, uint32_t n, uint32_t chunk) {
    fcs_event *event = fcsf_event(r, FCS_READ_TOKENS);
    event->tokens = r->tokens;
    event->n_tokens = n;
    event->chunk_tokens = chunk;
}

/* Begin a part; its first token's position is 0, or not known. */
static void fcsf_begin(fcs_reader *r, const fcs_file_header *header, int has_expected) {
    fcs_file_header copy = *header;
    r->header = copy;
    r->has_header = 1;
    r->has_expected = (uint8_t)has_expected;
    r->expected = r->first = 0;
    r->assumed = r->has_mark = r->is_tried = 0;
    r->state = FCSF_PART;
    fcsf_event(r, FCS_READ_HEADER);
}

static void fcsf_mark(fcs_reader *r, uint64_t offset) {
    r->has_mark = 1;
    r->mark = offset;
}

/* Begin a part with a valid header, behind `start`; `near`: another one is damaged there. */
static void fcsf_take_header(fcs_reader *r, const fcsf_found *found, uint64_t start, int near) {
    uint64_t skipped = fcsf_offset(r) - start;
    r->pos += found->size;
    fcsf_begin(r, &found->header, near || !found->is_copy);
    if (skipped || found->is_copy) fcsf_damage(r, FCS_LOST_START, start, skipped);
    if (near && found->is_copy) fcsf_mark(r, start);
}

/* How many bytes are here, at most those of the longest header. */
static uint32_t fcsf_start_bytes(const fcs_reader *r) {
    uint32_t n = r->end - r->pos;
    return n < FCSF_HEADER_MAX ? n : (uint32_t)FCSF_HEADER_MAX;
}

/* Begin a part with the header that one wrong bit damages, if there is one. */
static int fcsf_take_mended(fcs_reader *r) {
    uint8_t bytes[FCSF_HEADER_MAX];
    fcs_file_header header;
    uint64_t start = fcsf_offset(r);
    uint32_t bit, size, n = fcsf_start_bytes(r);
    if (n < FCSF_HEADER_MIN) return 0;
    for (bit = 0; bit < 8 * n; bit++) {
        FCSF_COPY(bytes, fcsf_here(r), n);
        bytes[bit / 8] = (uint8_t)(bytes[bit / 8] ^ 1u << bit % 8);
        size = fcsf_header_size(bytes);
        if (bit >= 8 * size || n < size || !fcsf_is_magic(bytes) || bytes[4] != 2) continue;
        if (!fcsf_crc_holds(bytes, size)) continue;
        if (fcsf_read_header(bytes, &header) != FCS_FILE_OK) continue;
        r->pos += size;
        fcsf_begin(r, &header, 1);
        fcsf_damage(r, FCS_LOST_HEADER_BIT, start, 0);
        return 1;
    }
    return 0;
}

/* ---- Reader: the start of a part ---- */

/* Why an input is refused that starts with these bytes. */
static int fcsf_why_refused(const uint8_t *bytes, uint32_t n) {
    fcs_file_header header;
    uint32_t i, size = n < 7 ? (uint32_t)FCSF_HEADER_MIN : fcsf_header_size(bytes);
    int code;
    if (n == 0) return FCS_FILE_EMPTY;
    for (i = 0; i < 4 && i < n; i++)
        if (bytes[i] != fcsf_magic[i]) return FCS_FILE_NOT_FCS;
    if (n > 4 && bytes[4] != 2) return bytes[4] < 2 ? FCS_FILE_OLD : FCS_FILE_NEWER;
    if (n < size) return FCS_FILE_CUT_HEADER;
    if (!fcsf_crc_holds(bytes, size)) return FCS_FILE_BAD_HEADER;
    code = fcsf_read_header(bytes, &header);
    return code ? code : FCS_FILE_NO_RECORD;
}

/* Whether marks of a protected file stand at equal distances. */
static int fcsf_is_protected(const uint8_t *bytes, uint32_t n) {
    uint32_t size, at, n_fit, mark, next;
    for (size = 16; size < 256; size++) {
        n_fit = 0;
        mark = 0x4643;
        for (at = 4; at + size + 2 <= n; at += size) {
            next = (mark ^ mark << 7) & 0xFFFF;
            next ^= next >> 9;
            next = (next ^ next << 8) & 0xFFFF;
            n_fit += (fcsf_number(bytes + at, 2) ^ fcsf_number(bytes + at + size, 2)) ==
                     (mark ^ next);
            mark = next;
        }
        if (n_fit >= 3) return 1;
    }
    return 0;
}

/* Whether a header of another version at the start is whole, so that nothing is damaged. */
static int fcsf_is_other_version(const fcs_reader *r, uint32_t n) {
    const uint8_t *bytes = fcsf_here(r);
    uint32_t size;
    if (!r->options.model || bytes[4] == 1) return 1;
    for (size = FCSF_HEADER_MIN; size <= FCSF_HEADER_MAX && size <= n; size += 4)
        if (fcsf_crc_holds(bytes, size)) return 1;
    return 0;
}

static int fcsf_refuse(fcs_reader *r, int code) {
    r->refusal = code;
    return FCSF_YES;
}

/* Search for a part whose header is missing or, if `near`, damaged. */
static int fcsf_begin_assuming(fcs_reader *r, int near) {
    r->start = fcsf_offset(r);
    r->is_near = (uint8_t)near;
    r->has_expected = (uint8_t)near;
    r->expected = 0;
    r->state = FCSF_ASSUME;
    return FCSF_YES;
}

/* A start without a valid header: it is refused, or a search begins. */
static int fcsf_search_first(fcs_reader *r, int near, int is_newer) {
    uint32_t n = fcsf_start_bytes(r);
    r->why = fcsf_why_refused(fcsf_here(r), n);
    r->has_limit = 1;
    r->limit = 1u << 16;
    if (n > 4 && fcsf_is_magic(fcsf_here(r)) && fcsf_here(r)[4] != 2) {
        if (fcsf_is_other_version(r, n)) return fcsf_refuse(r, r->why);
        r->limit = FCSF_HEADER_MAX + 1;
    }
    if (is_newer) return fcsf_refuse(r, r->why);
    if (r->options.model) {
        r->has_header = 1;
        r->header = *r->options.model;
    }
    return fcsf_begin_assuming(r, near);
}

static int fcsf_first_part(fcs_reader *r) {
    fcsf_found found;
    int answer = fcsf_record_here(r, 0, &found), near;
    if (answer == FCSF_WAIT) return FCSF_WAIT;
    if (answer == FCSF_YES && found.kind == FCSF_HEADER) {
        fcsf_take_header(r, &found, 0, 0);
        return FCSF_YES;
    }
    if (fcsf_need(r, FCSF_HEADER_MAX) == FCSF_WAIT) return FCSF_WAIT;
    near = fcsf_start_bytes(r) >= 4 && fcsf_is_near_magic(fcsf_here(r));
    if (near) {
        if (fcsf_take_mended(r)) return FCSF_YES;
        if (fcsf_need(r, FCSF_PROTECTED_BYTES) == FCSF_WAIT) return FCSF_WAIT;
        if (fcsf_is_protected(fcsf_here(r), r->end - r->pos))
            return fcsf_refuse(r, FCS_FILE_PROTECTED);
    }
    return fcsf_search_first(r, near, answer == FCSF_YES);
}

/* Begin the part that follows an end record. */
static int fcsf_next_part(fcs_reader *r) {
    fcsf_found found;
    uint64_t start = fcsf_offset(r);
    int answer = fcsf_need(r, 1), near;
    if (answer == FCSF_NO) {
        r->state = FCSF_SINK;
        return FCSF_YES;
    }
    r->start = start;
    if (answer == FCSF_YES) answer = fcsf_record_here(r, 0, &found);
    if (answer == FCSF_WAIT) return FCSF_WAIT;
    if (answer == FCSF_YES && found.kind == FCSF_HEADER) {
        fcsf_take_header(r, &found, start, 0);
        return FCSF_YES;
    }
    if (answer == FCSF_YES && found.kind == FCSF_LATER) {
        fcsf_damage(r, FCS_LOST_NEWER, start, 0);
        r->state = FCSF_SINK;
        return FCSF_YES;
    }
    if (fcsf_need(r, FCSF_HEADER_MAX) == FCSF_WAIT) return FCSF_WAIT;
    near = fcsf_start_bytes(r) >= 4 && fcsf_is_near_magic(fcsf_here(r));
    if (near && fcsf_take_mended(r)) return FCSF_YES;
    r->has_limit = 0;
    return fcsf_begin_assuming(r, near);
}

/* Begin a part with an assumed header; `has_expected`: where its own header is damaged. */
static void fcsf_begin_assumed(fcs_reader *r, int has_expected) {
    fcsf_begin(r, &r->header, has_expected);
    r->assumed = 1;
}

/* Begin a part with the first header or block that is found; refuse an input without one. */
static int fcsf_assume(fcs_reader *r) {
    fcsf_found found;
    uint64_t start = r->start;
    int answer = fcsf_find(r, 0, &found);
    if (answer == FCSF_WAIT) return FCSF_WAIT;
    if (answer == FCSF_NO && r->why) return fcsf_refuse(r, r->why);
    if (answer == FCSF_NO) {
        fcsf_damage(r, FCS_LOST_BEHIND, start, fcsf_offset(r) - start);
        r->state = FCSF_SINK;
        return FCSF_YES;
    }
    if (found.kind == FCSF_END || found.kind == FCSF_LATER) {
        r->pos += found.size; /* of no part */
        return FCSF_YES;
    }
    r->has_limit = 0;
    r->why = 0;
    if (found.kind == FCSF_HEADER) {
        fcsf_take_header(r, &found, start, r->is_near);
        return FCSF_YES;
    }
    fcsf_begin_assumed(r, r->is_near);
    fcsf_damage(r, r->is_near ? FCS_LOST_HEADER : FCS_LOST_START, start, fcsf_offset(r) - start);
    if (r->is_near) {
        fcsf_mark(r, start);
        r->reported = fcsf_offset(r);
    }
    return FCSF_YES;
}

/* ---- Reader: the records of a part ---- */

/* The silence that is left, once the input was read up to `end`. */
static uint64_t fcsf_affordable(const fcs_reader *r, uint64_t end) {
    uint64_t most = 180000 + end * 8 / r->header.bits_per_token;
    return most > r->silent ? most - r->silent : 0;
}

/* Report skipped bytes and missing tokens, unless that is done and nothing is missing. */
static void fcsf_skip(fcs_reader *r, uint64_t offset, uint64_t ahead) {
    uint64_t missing = ahead > r->attempt_tokens ? ahead - r->attempt_tokens : 0;
    uint64_t skipped = offset - r->start, silence = fcsf_affordable(r, offset);
    fcs_event *event;
    if (silence > missing) silence = missing;
    if (!missing && (!skipped || offset == r->attempt_end)) return;
    r->silent += silence;
    event = fcsf_damage(r, missing ? FCS_LOST_TOKENS : FCS_LOST_BYTES, r->start, skipped);
    event->n_tokens = (uint32_t)silence;
    event->n_missing = missing;
}

static const fcs_prior *fcsf_prior_of(const fcs_reader *r) {
    size_t i;
    for (i = 0; i < r->options.n_priors; i++) {
        const fcs_prior *prior = &r->options.priors[i];
        if (r->header.prior && prior->check == r->header.prior &&
            prior->bits == r->header.bits_per_token)
            return prior;
    }
    return NULL;
}

/* Give a block's tokens, or report their loss where the prior is unknown. */
static void fcsf_give_block(fcs_reader *r, const fcsf_block *block, const uint8_t *payload,
                            uint64_t offset) {
    const fcs_prior *prior = NULL;
    if ((block->tag & 3) == FCSF_PRIOR) {
        prior = fcsf_prior_of(r);
        if (!prior) {
            fcs_event *event = fcsf_damage(r, FCS_LOST_PRIOR, offset, 0);
            event->n_tokens = block->count;
            event->n_missing = block->count;
            return;
        }
    }
    fcsf_block_tokens(block, payload, r->header.bits_per_token, prior, r->tokens);
    fcsf_give_tokens(r, block->count, block->chunk);
}

static void fcsf_take_block(fcs_reader *r, const fcsf_found *found) {
    const fcsf_block *block = &found->block;
    const uint8_t *payload = fcsf_here(r) + block->head;
    uint64_t offset = fcsf_offset(r), skipped = offset - r->start, modulus = fcsf_modulus(block);
    uint64_t ahead;
    r->pos += found->size;
    if (!r->has_expected) {
        r->has_expected = 1;
        r->expected = r->first = block->place;
    } else if (found->ahead < 0 && skipped && block->place <= 100 + 2 * skipped) {
        /* An end record and a header are lost. */
        fcsf_damage(r, FCS_LOST_END, r->start, 0);
        fcsf_begin_assumed(r, 1);
    } else if (found->ahead < 0) {
        if (skipped) fcsf_mark(r, r->start);
        fcsf_damage(r, FCS_LOST_ORDER, offset, 0);
        return;
    }
    ahead = (block->place + modulus - r->expected % modulus) % modulus;
    fcsf_skip(r, offset, ahead);
    r->expected += ahead + block->count;
    fcsf_give_block(r, block, payload, offset);
}

static void fcsf_take_end(fcs_reader *r, const fcsf_found *found) {
    uint64_t spt = r->header.samples_per_token, slack = fcsf_slack(&r->header), missing = 0;
    uint64_t n_samples = found->n_samples;
    if (r->has_expected && n_samples > r->expected * spt + slack)
        missing = fcsf_tokens_of(r, n_samples) - r->expected;
    fcsf_skip(r, fcsf_offset(r), missing);
    r->pos += found->size;
    n_samples = n_samples > r->first * spt ? n_samples - r->first * spt : 0;
    fcsf_event(r, FCS_READ_END)->n_samples = r->has_expected ? n_samples : 0;
    r->state = FCSF_NEXT;
}

/* Pass a copy of the header, or begin a part whose forerunner has no end record. */
static void fcsf_take_inner_header(fcs_reader *r, const fcsf_found *found) {
    uint64_t offset = fcsf_offset(r);
    if (found->is_copy && fcsf_same_header(&found->header, &r->header, r->assumed)) {
        if (!fcsf_same_header(&found->header, &r->header, 0)) {
            r->header = found->header;
            r->assumed = 0;
        }
        if (offset > r->start) fcsf_mark(r, r->start);
        r->pos += found->size;
        return;
    }
    fcsf_damage(r, FCS_LOST_END, offset, 0);
    fcsf_take_header(r, found, offset, 0);
}

static void fcsf_take_general(fcs_reader *r, const fcsf_found *found) {
    const char *key, *value;
    size_t at = 0, key_size, value_size;
    fcs_event *event = fcsf_event(r, FCS_READ_METADATA);
    event->bytes = fcsf_here(r) + 3;
    event->n_bytes = found->size - 5;
    event->type = found->type;
    r->pos += found->size;
    if (found->type != FCSF_METADATA_TAG)
        event->kind = FCS_READ_RECORD;
    else if (!fcs_metadata_next(event, &at, &key, &key_size, &value, &value_size))
        r->n_events--;
}

/* Give the chunks of a streamed block that are there; 0 while more of it may come. */
static int fcsf_play_chunks(fcs_reader *r, const fcsf_block *block) {
    uint32_t bits = r->header.bits_per_token, size = fcsf_packed(block->chunk, bits), i, ready;
    const uint8_t *bytes;
    int answer = fcsf_need(r, fcsf_block_size(block));
    uint32_t n_chunks = block->count / block->chunk, first = r->n_played / block->chunk;
    ready = (r->end - r->pos - block->head) / size;
    if (ready > n_chunks) ready = n_chunks;
    bytes = fcsf_here(r) + block->head;
    for (i = first; i < ready; i++)
        fcsf_unpack(bytes + i * size, bits, r->tokens + (i - first) * block->chunk, block->chunk);
    if (ready > first) fcsf_give_tokens(r, (ready - first) * block->chunk, block->chunk);
    r->n_played = ready * block->chunk;
    return answer != FCSF_WAIT;
}

/* Whether a streamed block stands here that may be played before its check: yes, no or wait. */
static int fcsf_may_play(fcs_reader *r, fcsf_block *block) {
    uint64_t end;
    int answer = fcsf_need(r, 1);
    if (answer != FCSF_YES) return answer;
    if (fcsf_here(r)[0] != FCSF_STREAMED_TAG) return FCSF_NO;
    answer = fcsf_need(r, 6);
    if (answer != FCSF_YES) return answer;
    if (!fcsf_read_head(fcsf_here(r), r->header.bits_per_token, block)) return FCSF_NO;
    if (!r->has_expected || block->place != (r->expected & 0xFFFFFF)) return FCSF_NO;
    /* Without this limit, overlapping blocks in damaged ones would play bytes again for ever. */
    end = fcsf_offset(r) + fcsf_block_size(block);
    return r->n_failed + block->count <= end * 8 / r->header.bits_per_token;
}

/* Give a streamed block as it arrives. Where its check fails, it stays in the buffer. */
static int fcsf_play_block(fcs_reader *r) {
    fcsf_block block;
    uint32_t size;
    int answer;
    r->attempt_tokens = 0;
    r->attempt_end = 0;
    answer = fcsf_may_play(r, &block);
    if (answer == FCSF_WAIT) return FCSF_WAIT;
    r->is_tried = 1;
    if (answer == FCSF_NO) return FCSF_YES;
    r->is_tried = 0;
    if (!fcsf_play_chunks(r, &block)) return r->n_events ? FCSF_YES : FCSF_WAIT;
    size = fcsf_block_size(&block);
    if (fcsf_is_whole(r, size) == FCSF_YES) {
        r->expected += block.count;
        r->pos += size;
        r->n_played = 0;
        return FCSF_YES;
    }
    r->is_tried = 1;
    r->attempt_tokens = r->n_played;
    r->n_failed += r->n_played;
    r->n_played = 0;
    if (fcsf_need(r, size) == FCSF_YES) {
        r->attempt_end = fcsf_offset(r) + size;
        fcsf_damage(r, FCS_LOST_CHECK, fcsf_offset(r), 0);
    }
    return FCSF_YES;
}

/* Read the next record of a part. */
static int fcsf_part(fcs_reader *r) {
    fcsf_found found;
    int answer;
    if (!r->is_tried) {
        r->start = r->has_mark ? r->mark : fcsf_offset(r);
        if (r->options.live && !r->has_mark) return fcsf_play_block(r);
        r->attempt_tokens = 0;
        r->attempt_end = r->reported;
        r->is_tried = 1;
    }
    answer = fcsf_find(r, 1, &found);
    if (answer == FCSF_WAIT) return FCSF_WAIT;
    r->is_tried = 0;
    if (answer == FCSF_NO) {
        fcsf_damage(r, FCS_LOST_REST, r->start, fcsf_offset(r) - r->start);
        r->state = FCSF_SINK;
        return FCSF_YES;
    }
    r->has_mark = 0;
    if (found.kind == FCSF_LATER || (found.kind == FCSF_GENERAL && found.type % 2 == 0)) {
        fcsf_damage(r, FCS_LOST_NEWER, fcsf_offset(r), 0);
        r->state = FCSF_SINK;
        return FCSF_YES;
    }
    if (found.kind == FCSF_HEADER) fcsf_take_inner_header(r, &found);
    if (found.kind == FCSF_GENERAL) fcsf_take_general(r, &found);
    if (found.kind == FCSF_END) fcsf_take_end(r, &found);
    if (found.kind == FCSF_BLOCK) fcsf_take_block(r, &found);
    return FCSF_YES;
}

/* Read nothing more, to the input's end. */
static int fcsf_sink(fcs_reader *r) {
    r->pos = r->end;
    r->base += r->input_left;
    r->input_left = 0;
    if (!r->closed) return FCSF_WAIT;
    r->state = FCSF_OVER;
    return FCSF_YES;
}

static int fcsf_step(fcs_reader *r) {
    switch (r->state) {
    case FCSF_FIRST: return fcsf_first_part(r);
    case FCSF_ASSUME: return fcsf_assume(r);
    case FCSF_PART: return fcsf_part(r);
    case FCSF_NEXT: return fcsf_next_part(r);
    default: return fcsf_sink(r);
    }
}

int fcs_reader_init(fcs_reader *reader, const fcs_reader_options *options) {
    if (!reader) return FCS_FILE_BAD_ARGUMENT;
    FCSF_FILL(reader, 0, sizeof *reader);
    if (options) reader->options = *options;
    if (reader->options.n_priors && !reader->options.priors) return FCS_FILE_BAD_ARGUMENT;
    if (reader->options.model && !fcsf_header_is_valid(reader->options.model))
        return FCS_FILE_BAD_ARGUMENT;
    return FCS_FILE_OK;
}

int fcs_reader_feed(fcs_reader *reader, const void *bytes, size_t n_bytes) {
    if (!reader || (n_bytes && !bytes)) return FCS_FILE_BAD_ARGUMENT;
    if (reader->input_left || reader->closed) return FCS_FILE_CLOSED;
    reader->input = (const uint8_t *)bytes;
    reader->input_left = n_bytes;
    return FCS_FILE_OK;
}

int fcs_reader_end(fcs_reader *reader) {
    if (!reader) return FCS_FILE_BAD_ARGUMENT;
    reader->closed = 1;
    return FCS_FILE_OK;
}

int fcs_reader_next(fcs_reader *reader, fcs_event *event) {
    while (reader->next_event >= reader->n_events) {
        reader->next_event = reader->n_events = 0;
        if (reader->refusal || reader->state == FCSF_OVER) {
            FCSF_FILL(event, 0, sizeof *event);
            event->kind = event->code = reader->refusal;
            event->header = reader->header;
            event->whole = !reader->refusal && reader->n_damage == 0;
            return reader->refusal;
        }
        if (fcsf_step(reader) == FCSF_WAIT) return FCS_READ_MORE;
    }
    *event = reader->events[reader->next_event++];
    return event->kind;
}

int fcs_metadata_next(const fcs_event *event, size_t *at, const char **key, size_t *key_size,
                      const char **value, size_t *value_size) {
    const char *text = (const char *)event->bytes;
    while (*at <= event->n_bytes) {
        size_t first = *at, end = first, equals;
        while (end < event->n_bytes && text[end]) end++;
        *at = end + 1;
        for (equals = first; equals < end && text[equals] != '=';) equals++;
        if (equals == end || !fcsf_key_is_valid(text + first, equals - first)) continue;
        *key = text + first;
        *key_size = equals - first;
        *value = text + equals + 1;
        *value_size = end - equals - 1;
        return 1;
    }
    return 0;
}

#ifdef __cplusplus
}
#endif

#endif /* FCS_FILE_IMPLEMENTATION */
