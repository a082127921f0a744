/*
 * What the WebAssembly module has beside the library: memory that grows and never shrinks, the
 * resampler, and `.fcs` files by the piece. web/fcs.js calls it. Everything that crosses is a
 * number of 32 bits, a double or an address.
 */
#include "fcs.h"

#define FCS_EXPORT __attribute__((visibility("default")))

#define FCS_RESAMPLE_API FCS_EXPORT
#include "resample.h"

#define FCS_FILE_IMPLEMENTATION
#include "fcs_file.h"

/* ---- What C needs, and a module has not: each is one instruction of bulk memory ---- */

void *memcpy(void *to, const void *from, size_t n)
{
    return __builtin_memcpy(to, from, n);
}

void *memmove(void *to, const void *from, size_t n)
{
    return __builtin_memmove(to, from, n);
}

void *memset(void *to, int value, size_t n)
{
    return __builtin_memset(to, value, n);
}

/* ---- Memory ---- */

enum { FCS_PAGE = 65536 };

extern unsigned char __heap_base;

/* `bytes` at 64 bytes, which are never given back; NULL where the engine refuses. */
FCS_EXPORT void *fcs_alloc(size_t bytes)
{
    static uintptr_t next;
    uintptr_t at = next ? next : ((uintptr_t)&__heap_base + 63) & ~(uintptr_t)63;
    uintptr_t size = (bytes + 63) & ~(uintptr_t)63;
    uintptr_t have = (uintptr_t)__builtin_wasm_memory_size(0) * FCS_PAGE;
    if (size < bytes || at + size < at)
        return NULL;
    if (at + size > have) {
        size_t pages = (at + size - have + FCS_PAGE - 1) / FCS_PAGE;
        if (__builtin_wasm_memory_grow(0, pages) == (size_t)-1)
            return NULL;
    }
    next = at + size;
    return (void *)at;
}

FCS_EXPORT size_t fcs_model_size(void)
{
    return sizeof(fcs_model);
}

/* Facts, flat. */
typedef struct fcs_module_facts {
    uint32_t numbers[11];
    uint8_t fingerprint[8];
    char name[64];
} fcs_module_facts;

FCS_EXPORT size_t fcs_module_facts_size(void)
{
    return sizeof(fcs_module_facts);
}

FCS_EXPORT void fcs_module_facts_read(const fcs_model *model, fcs_module_facts *flat)
{
    fcs_facts facts;
    uint32_t *number = flat->numbers;
    fcs_model_facts(model, &facts);
    *number++ = facts.sample_rate_in;
    *number++ = facts.sample_rate_out;
    *number++ = facts.samples_per_token;
    *number++ = facts.samples_out_per_token;
    *number++ = facts.bits_per_token;
    *number++ = facts.chunk_samples;
    *number++ = facts.chunk_tokens;
    *number++ = facts.decoder_chunk_tokens;
    *number++ = facts.has_encoder;
    *number++ = facts.has_decoder;
    *number++ = facts.settings;
    memcpy(flat->fingerprint, facts.fingerprint, sizeof flat->fingerprint);
    memcpy(flat->name, facts.name, sizeof flat->name);
}

/* ---- Files ---- */

enum {
    FCS_MODULE_PRIORS = 8,  /* of a model, at most */
    FCS_MODULE_BYTES = 2048 /* that one call of the writer may give */
};

static void fcs_module_header(const fcs_model *model, fcs_file_header *header)
{
    fcs_facts facts;
    fcs_model_facts(model, &facts);
    memset(header, 0, sizeof *header);
    header->bits_per_token = facts.bits_per_token;
    header->samples_per_token = facts.samples_per_token;
    header->sample_rate_in = facts.sample_rate_in;
    header->sample_rate_out = facts.sample_rate_out;
    header->settings = facts.settings;
    memcpy(header->fingerprint, facts.fingerprint, sizeof header->fingerprint);
}

/* Open all priors of a model; return how many can be used. */
static size_t fcs_module_priors(const fcs_model *model, fcs_prior *priors)
{
    size_t n = 0, size;
    uint32_t index;
    for (index = 0; index < FCS_MODULE_PRIORS; ++index) {
        const void *bytes = fcs_model_section(model, FCS_SECTION_PRIOR, index, &size);
        if (bytes && fcs_prior_open(&priors[n], bytes, size) == FCS_FILE_OK)
            ++n;
    }
    return n;
}

typedef struct fcs_module_writer {
    fcs_writer writer;
    fcs_prior priors[FCS_MODULE_PRIORS];
    fcs_buffer buffer;
    uint8_t bytes[FCS_MODULE_BYTES];
} fcs_module_writer;

FCS_EXPORT size_t fcs_module_writer_size(void)
{
    return sizeof(fcs_module_writer);
}

/* Begin a file of this model's tokens, coded with its newest prior. Its bytes: writer_take. */
FCS_EXPORT int fcs_module_writer_init(fcs_module_writer *writer, const fcs_model *model)
{
    fcs_file_header header;
    fcs_writer_options options;
    uint32_t per_block;
    size_t n = fcs_module_priors(model, writer->priors);
    fcs_module_header(model, &header);
    memset(&options, 0, sizeof options);
    options.prior = n ? &writer->priors[n - 1] : NULL;
    /* Two seconds, as `fcs-edge encode` writes. */
    per_block = (2 * header.sample_rate_in + header.samples_per_token / 2) / header.samples_per_token;
    options.block_tokens = per_block < 1 ? 1 : per_block > 255 ? 255 : per_block;
    writer->buffer.bytes = writer->bytes;
    writer->buffer.capacity = FCS_MODULE_BYTES;
    writer->buffer.size = 0;
    return fcs_writer_init(&writer->writer, &header, &options, NULL, &writer->buffer);
}

/* Append at most 255 tokens. */
FCS_EXPORT int fcs_module_writer_put(fcs_module_writer *writer, const uint16_t *tokens, size_t n)
{
    return n > 255 ? FCS_FILE_BAD_ARGUMENT : fcs_writer_put(&writer->writer, tokens, n);
}

FCS_EXPORT int fcs_module_writer_close(fcs_module_writer *writer, double n_samples)
{
    return fcs_writer_close(&writer->writer, (uint64_t)n_samples);
}

FCS_EXPORT const uint8_t *fcs_module_writer_bytes(const fcs_module_writer *writer)
{
    return writer->bytes;
}

/* How many bytes the last calls wrote; the next call writes anew. */
FCS_EXPORT size_t fcs_module_writer_take(fcs_module_writer *writer)
{
    size_t size = writer->buffer.size;
    writer->buffer.size = 0;
    return size;
}

typedef struct fcs_module_reader {
    fcs_reader reader;
    fcs_reader_options options;
    fcs_file_header header;
    fcs_prior priors[FCS_MODULE_PRIORS];
} fcs_module_reader;

/* An event, flat. */
typedef struct fcs_module_event {
    int32_t kind, code, whole;
    uint32_t n_tokens;
    const uint16_t *tokens;
    double n_samples, n_samples_out, n_missing;
} fcs_module_event;

FCS_EXPORT size_t fcs_module_reader_size(void)
{
    return sizeof(fcs_module_reader);
}

FCS_EXPORT size_t fcs_module_event_size(void)
{
    return sizeof(fcs_module_event);
}

/* Begin to read a whole file in memory, which must stay. */
FCS_EXPORT int fcs_module_reader_init(fcs_module_reader *reader, const fcs_model *model,
                                      const uint8_t *bytes, size_t size)
{
    int code;
    fcs_module_header(model, &reader->header);
    reader->options.priors = reader->priors;
    reader->options.n_priors = fcs_module_priors(model, reader->priors);
    if (reader->options.n_priors) /* a joined file names none */
        reader->header.prior = reader->priors[reader->options.n_priors - 1].check;
    reader->options.model = &reader->header;
    reader->options.live = 0;
    code = fcs_reader_init(&reader->reader, &reader->options);
    if (code == FCS_FILE_OK)
        code = fcs_reader_feed(&reader->reader, bytes, size);
    return code;
}

/* The next event; a negative code refuses the file, or says that it is another model's. */
FCS_EXPORT int fcs_module_reader_next(fcs_module_reader *reader, const fcs_model *model,
                                      fcs_module_event *flat)
{
    fcs_event event;
    size_t n_accepts = 0;
    int kind = fcs_reader_next(&reader->reader, &event);
    while (kind == FCS_READ_MORE) {
        fcs_reader_end(&reader->reader);
        kind = fcs_reader_next(&reader->reader, &event);
    }
    memset(flat, 0, sizeof *flat);
    if (kind < 0)
        return kind;
    flat->kind = kind;
    flat->code = event.code;
    flat->whole = event.whole;
    flat->n_tokens = event.n_tokens;
    flat->tokens = event.tokens;
    flat->n_samples = (double)event.n_samples;
    flat->n_missing = (double)event.n_missing;
    if (kind == FCS_READ_END)
        flat->n_samples_out = (double)fcs_file_output_samples(&event.header, event.n_samples);
    if (kind == FCS_READ_HEADER) {
        const uint8_t *accepts =
            (const uint8_t *)fcs_model_section(model, FCS_SECTION_ACCEPTS, 0, &n_accepts);
        return fcs_file_check(&event.header, &reader->header, accepts, n_accepts / 8);
    }
    return FCS_FILE_OK;
}

FCS_EXPORT const char *fcs_module_text(int code)
{
    return code <= -100 ? fcs_file_text(code) : fcs_error_text(code);
}
