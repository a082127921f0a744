/*
 * A whole encoder and decoder of speech:
 *
 *     example encode IN.wav OUT.fcs      IN: 16 kHz, mono, 16 bits or float
 *     example decode IN.fcs OUT.wav      OUT: 16 bits
 *
 * IN as - is standard input: a WAV, or bare 16-bit samples. OUT as - is standard output.
 * `-m MODEL.fcsm` before IN names a model. By default it is the one inside the library, or
 * model.fcsm in this folder.
 * Build it with libfcs.a or libfcs.so:
 *
 *     cc -O2 example.c libfcs.a -o example
 *
 * `encode_sound` and `decode_tokens` show what a program needs of the codec: memory, a state, push
 * and flush. The rest is files.
 */
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define FCS_FILE_IMPLEMENTATION
#include "fcs.h"
#include "fcs_file.h"

enum { MAX_PRIORS = 16, PIECE = 4096, GAP_TOKENS = 100 };

static fcs_model model;
static fcs_facts facts;
static fcs_prior priors[MAX_PRIORS];
static size_t n_priors;

/* ---- Errors and memory ---- */

static const char *unfinished; /* a file that an error removes */
static int n_problems;

static void fail(const char *format, ...) {
    va_list values;
    va_start(values, format);
    fputs("example: ", stderr);
    vfprintf(stderr, format, values);
    fputc('\n', stderr);
    va_end(values);
    if (unfinished != NULL) remove(unfinished);
    exit(1);
}

static void check(int code) {
    if (code != FCS_OK) fail("%s", fcs_error_text(code));
}

static void check_file(int code, const char *name) {
    if (code < FCS_FILE_OK) fail("%s: %s", name, fcs_file_text(code));
}

/* Memory aligned to 64 bytes; it lives as long as the program. */
static void *new_memory(size_t size) {
    char *memory = (char *)malloc(size + FCS_ALIGNMENT);
    if (memory == NULL) fail("not enough memory");
    return memory + (FCS_ALIGNMENT - (size_t)memory % FCS_ALIGNMENT);
}

/* ---- The model ---- */

static void read_model(const char *path) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) fail("%s: cannot be opened; give a model with -m MODEL.fcsm", path);
    if (fseek(file, 0, SEEK_END) != 0) fail("%s: cannot be read", path);
    long size = ftell(file);
    /* A folder states the largest number. */
    if (size < 0 || size == LONG_MAX) fail("%s: cannot be read", path);
    rewind(file);
    void *bytes = new_memory((size_t)size);
    if (fread(bytes, 1, (size_t)size, file) != (size_t)size)
        fail("%s: cannot be read", path);
    fclose(file);
    int code = fcs_model_open(&model, bytes, (size_t)size);
    if (code != FCS_OK) fail("%s: %s", path, fcs_error_text(code));
}

static void open_model(const char *path) {
    if (path != NULL || fcs_model_inside(&model) != FCS_OK)
        read_model(path != NULL ? path : "model.fcsm");
    fcs_model_facts(&model, &facts);
    while (n_priors < MAX_PRIORS) {
        size_t size;
        const void *bytes =
            fcs_model_section(&model, FCS_SECTION_PRIOR, (uint32_t)n_priors, &size);
        if (bytes == NULL) break;
        check_file(fcs_prior_open(&priors[n_priors], bytes, size), "the model's prior");
        n_priors++;
    }
}

static fcs_file_header header_of_model(void) {
    fcs_file_header header;
    memset(&header, 0, sizeof header);
    header.bits_per_token = facts.bits_per_token;
    header.samples_per_token = facts.samples_per_token;
    header.sample_rate_in = facts.sample_rate_in;
    header.sample_rate_out = facts.sample_rate_out;
    header.settings = facts.settings;
    header.prior = n_priors != 0 ? priors[n_priors - 1].check : 0;
    memcpy(header.fingerprint, facts.fingerprint, sizeof header.fingerprint);
    return header;
}

/* ---- Files ---- */

static const char *input_name, *output_name;
static char output_part[4096];

static FILE *open_input(const char *name) {
    input_name = strcmp(name, "-") == 0 ? "standard input" : name;
    FILE *file = strcmp(name, "-") == 0 ? stdin : fopen(name, "rb");
    if (file == NULL) fail("%s: cannot be opened", name);
    return file;
}

/* Whether a name is that of a pipe or a device: it is written, and never replaced by a file. */
static int is_device(const char *name) {
    struct stat facts;
    return stat(name, &facts) == 0 && !S_ISREG(facts.st_mode);
}

/* The output gets its name at the end: nothing half-written has it. */
static FILE *open_output(const char *name) {
    output_name = strcmp(name, "-") == 0 ? "standard output" : name;
    if (output_name != name) return stdout;
    if (is_device(name)) {
        FILE *device = fopen(name, "wb");
        if (device == NULL) fail("%s: cannot be written", name);
        return device;
    }
    int n = snprintf(output_part, sizeof output_part, "%s.part", name);
    if (n < 0 || (size_t)n >= sizeof output_part) fail("%s: the name is too long", name);
    FILE *file = fopen(output_part, "wb");
    if (file == NULL) fail("%s: cannot be written", output_part);
    unfinished = output_part;
    return file;
}

static void write_all(FILE *file, const void *bytes, size_t n) {
    if (fwrite(bytes, 1, n, file) != n) fail("%s: cannot be written: is the disk full?", output_name);
}

static void close_output(FILE *file) {
    if (fclose(file) != 0) fail("%s: cannot be written: is the disk full?", output_name);
    if (unfinished == NULL) return;
    if (rename(output_part, output_name) != 0) fail("%s: cannot be written", output_name);
    unfinished = NULL;
}

/* ---- WAV ---- */

static uint32_t get(const unsigned char *at, int n_bytes) {
    uint32_t value = 0;
    for (int i = n_bytes - 1; i >= 0; i--) value = value << 8 | at[i];
    return value;
}

static void put(unsigned char *at, int n_bytes, uint32_t value) {
    for (int i = 0; i < n_bytes; i++) at[i] = (unsigned char)(value >> 8 * i);
}

struct sound {
    FILE *file;
    int is_float;
    uint64_t left; /* bytes of samples */
    unsigned char first[4];
    size_t n_first; /* bytes of bare samples that were read to see whether they are a WAV */
};

static void read_exactly(FILE *file, unsigned char *bytes, size_t n) {
    if (fread(bytes, 1, n, file) != n) fail("%s: the WAV ends in its header", input_name);
}

static void skip(FILE *file, uint32_t n) {
    unsigned char bytes[256];
    for (; n != 0; n -= n < 256 ? n : 256) read_exactly(file, bytes, n < 256 ? n : 256);
}

static void check_format(struct sound *sound, const unsigned char *format, uint32_t size) {
    uint32_t kind = get(format, 2), bits = get(format + 14, 2);
    if (kind == 0xFFFE && size >= 26) kind = get(format + 24, 2);
    sound->is_float = kind == 3;
    if (!(kind == 1 && bits == 16) && !(kind == 3 && bits == 32))
        fail("%s: samples must have 16 bits, or be float of 32", input_name);
    if (get(format + 2, 2) != 1) fail("%s: has %u channels; use a mono file", input_name,
                                      (unsigned)get(format + 2, 2));
    if (get(format + 4, 4) != facts.sample_rate_in)
        fail("%s: has %u Hz; the model takes %u", input_name, (unsigned)get(format + 4, 4),
             (unsigned)facts.sample_rate_in);
}

/* Writers into pipes do not know a length: they state 0, or about the largest number. */
static int is_unknown(uint32_t size) {
    return size == 0 || size >= 0xFFFF0000u || (size >= 0x7FFF0000u && size <= 0x80000000u);
}

/* Read chunks of a WAV up to its samples. */
static void read_wav_header(struct sound *sound) {
    unsigned char chunk[8], format[40];
    int has_format = 0;
    read_exactly(sound->file, format, 8);
    if (memcmp(format + 4, "WAVE", 4) != 0) fail("%s: is no WAV", input_name);
    for (;;) {
        read_exactly(sound->file, chunk, 8);
        uint32_t size = get(chunk + 4, 4), read = 0;
        if (memcmp(chunk, "data", 4) == 0) {
            if (!has_format) fail("%s: the WAV has no format", input_name);
            sound->left = is_unknown(size) ? UINT64_MAX : size;
            return;
        }
        if (memcmp(chunk, "fmt ", 4) == 0) {
            if (size < 16) fail("%s: the WAV's format is cut", input_name);
            read = size < sizeof format ? size : (uint32_t)sizeof format;
            read_exactly(sound->file, format, read);
            check_format(sound, format, read);
            has_format = 1;
        }
        skip(sound->file, size - read);
        if (size % 2 != 0) skip(sound->file, 1);
    }
}

/* Bare samples are read as they come: a compressed file would become noise. */
static int is_other_format(const unsigned char *first) {
    static const char names[5][5] = {"fLaC", "OggS", "RF64", "FORM", "ID3"};
    for (int i = 0; i < 5; i++)
        if (memcmp(first, names[i], strlen(names[i])) == 0) return 1;
    return 0;
}

static void open_sound(struct sound *sound, const char *name) {
    memset(sound, 0, sizeof *sound);
    sound->file = open_input(name);
    sound->n_first = fread(sound->first, 1, 4, sound->file);
    sound->left = UINT64_MAX;
    if (sound->n_first == 4 && memcmp(sound->first, "RIFF", 4) == 0) {
        sound->n_first = 0;
        read_wav_header(sound);
    } else if (sound->file != stdin || (sound->n_first == 4 && is_other_format(sound->first))) {
        fail("%s: is no WAV; convert it, for example by ffmpeg -i IN -ac 1 -ar %u OUT.wav",
             input_name, (unsigned)facts.sample_rate_in);
    }
}

/* Read up to PIECE samples; 0 at the end. */
static size_t read_samples(struct sound *sound, float *samples) {
    static unsigned char bytes[4 * PIECE];
    size_t item = sound->is_float ? 4 : 2, n = item * PIECE, begun = sound->n_first;
    if (n > sound->left) n = (size_t)sound->left;
    memcpy(bytes, sound->first, begun);
    sound->n_first = 0;
    n = (n > begun ? fread(bytes + begun, 1, n - begun, sound->file) : 0) + begun;
    if (ferror(sound->file)) fail("%s: cannot be read", input_name);
    if (sound->left != UINT64_MAX) {
        sound->left -= n;
        if (feof(sound->file) && sound->left != 0) {
            fprintf(stderr, "example: %s: ends before its header says\n", input_name);
            n_problems++;
            sound->left = 0;
        }
    }
    for (size_t i = 0; i < n / item; i++) {
        uint32_t value = get(bytes + i * item, (int)item);
        if (sound->is_float) memcpy(&samples[i], &value, sizeof value);
        else samples[i] = (float)(int16_t)value / 32768.0f;
    }
    return n / item;
}

/* More samples than a WAV can count stand for an unknown number, as in a pipe. */
static void write_wav_header(FILE *file, uint64_t n_samples) {
    unsigned char header[44];
    uint32_t bytes = n_samples < 0x7FFFFFE0u ? (uint32_t)(2 * n_samples) : 0xFFFFFFFFu;
    memcpy(header, "RIFF....WAVEfmt ................data", 36);
    put(header + 4, 4, bytes == 0xFFFFFFFFu ? bytes : bytes + 36);
    put(header + 16, 4, 16);
    put(header + 20, 2, 1); /* integers */
    put(header + 22, 2, 1); /* channel */
    put(header + 24, 4, facts.sample_rate_out);
    put(header + 28, 4, 2 * facts.sample_rate_out);
    put(header + 32, 2, 2); /* bytes of a sample */
    put(header + 34, 2, 16);
    memcpy(header + 36, "data", 4);
    put(header + 40, 4, bytes);
    write_all(file, header, sizeof header);
}

/* As libsndfile does: the upper 16 bits of a sample in 32. */
static int16_t pcm16(float sample) {
    double scaled = (double)sample * 2147483648.0 + 0.5;
    if (!(scaled > -2147483648.0)) scaled = -2147483648.0;
    if (scaled > 2147483647.0) scaled = 2147483647.0;
    int64_t whole = (int64_t)(scaled + 4294967296.0) - 4294967296; /* floor */
    return (int16_t)((whole + 4294967296) / 65536 - 65536);
}

static void write_samples(FILE *file, const float *samples, size_t n) {
    for (size_t i = 0; i < n; i++) {
        unsigned char bytes[2];
        put(bytes, 2, (uint16_t)pcm16(samples[i]));
        write_all(file, bytes, 2);
    }
}

/* ---- Encoding ---- */

static int write_to_file(void *file, const uint8_t *bytes, size_t n) {
    write_all((FILE *)file, bytes, n);
    return 0;
}

static uint64_t encode_sound(struct sound *sound, fcs_writer *writer) {
    static float samples[PIECE];
    size_t size = fcs_encoder_size(&model, 8), n, n_tokens;
    void *encoder = new_memory(size);
    uint64_t n_samples = 0;

    check(fcs_encoder_init(&model, encoder, size, 8));
    size_t room = fcs_encoder_tokens(&model, encoder, PIECE) + facts.chunk_tokens;
    uint16_t *tokens = (uint16_t *)new_memory(room * sizeof *tokens);
    while ((n = read_samples(sound, samples)) != 0) {
        check(fcs_encoder_push(&model, encoder, samples, n, tokens, room, &n_tokens));
        check_file(fcs_writer_put(writer, tokens, n_tokens), output_name);
        n_samples += n;
    }
    check(fcs_encoder_flush(&model, encoder, tokens, room, &n_tokens));
    check_file(fcs_writer_put(writer, tokens, n_tokens), output_name);
    return n_samples;
}

static void encode(const char *in, const char *out) {
    struct sound sound;
    static fcs_writer writer;
    fcs_writer_options options;
    memset(&options, 0, sizeof options);
    options.prior = n_priors != 0 ? &priors[n_priors - 1] : NULL;
    if (!facts.has_encoder) fail("the model has no encoder");
    open_sound(&sound, in);
    FILE *file = open_output(out);
    fcs_file_header header = header_of_model();
    check_file(fcs_writer_init(&writer, &header, &options, write_to_file, file), out);
    check_file(fcs_writer_close(&writer, encode_sound(&sound, &writer)), out);
    close_output(file);
}

/* ---- Decoding ---- */

/* The part of a file that is decoded. */
struct part {
    void *decoder;
    float *samples;
    unsigned char *is_lost; /* of each token that waits */
    size_t room, n_waiting;
    uint64_t n_tokens, n_written, limit; /* of the part: tokens, samples, most samples */
    FILE *file;
    uint64_t n_samples; /* of the file */
    int is_left_out;    /* another model's */
    uint16_t last;
    uint16_t pending[256]; /* the newest tokens, until it is known whether the part ends in them */
    size_t n_pending;
};

static void write_decoded(struct part *part, size_t n) {
    for (size_t i = 0; i < part->n_waiting && n != 0; i++)
        if (part->is_lost[i])
            memset(part->samples + i * facts.samples_out_per_token, 0,
                   facts.samples_out_per_token * sizeof *part->samples);
    if (n != 0) part->n_waiting = 0;
    if (n > part->limit - part->n_written) n = (size_t)(part->limit - part->n_written);
    write_samples(part->file, part->samples, n);
    part->n_written += n;
    part->n_samples += n;
}

/* Lost tokens decode too, so that the stream goes on, but are silent. */
static void decode_tokens(struct part *part, const uint16_t *tokens, size_t n, int is_lost) {
    for (size_t i = 0; i < n; i++) {
        size_t n_samples;
        uint16_t token = is_lost ? part->last : tokens[i];
        part->is_lost[part->n_waiting++] = (unsigned char)is_lost;
        check(fcs_decoder_push(&model, part->decoder, &token, 1, part->samples, part->room,
                               &n_samples));
        write_decoded(part, n_samples);
        part->last = token;
        part->n_tokens++;
    }
}

/*
 * A gap: the decoder runs through its start, and rests in what is left, in whole chunks, so that
 * chunks begin where they would without the gap.
 */
static void decode_gap(struct part *part, uint64_t n_tokens) {
    static const float silence[PIECE] = {0};
    uint64_t chunk = facts.decoder_chunk_tokens, run = chunk > GAP_TOKENS ? chunk : GAP_TOKENS;
    uint64_t rest = n_tokens > run ? (n_tokens - run) / chunk * chunk : 0;
    decode_tokens(part, NULL, (size_t)(n_tokens - rest), 1);
    part->n_tokens += rest;
    for (uint64_t left = rest * facts.samples_out_per_token; left != 0;) {
        size_t n = left < PIECE ? (size_t)left : PIECE;
        write_samples(part->file, silence, n);
        part->n_written += n;
        part->n_samples += n;
        left -= n;
    }
}

static void release_pending(struct part *part) {
    decode_tokens(part, part->pending, part->n_pending, 0);
    part->n_pending = 0;
}

static void end_part(struct part *part) {
    size_t n_samples;
    release_pending(part);
    check(fcs_decoder_flush(&model, part->decoder, part->samples, part->room, &n_samples));
    write_decoded(part, n_samples);
    part->n_waiting = 0;
    part->n_tokens = part->n_written = 0;
    part->limit = UINT64_MAX;
    part->last = 0;
}

/* A part ends: leave out what is behind its last sample. */
static void finish_part(struct part *part, const fcs_event *event) {
    uint64_t most = (event->n_samples + facts.samples_per_token - 1) / facts.samples_per_token;
    uint64_t left = most > part->n_tokens ? most - part->n_tokens : 0;
    if (part->n_pending > left) part->n_pending = (size_t)left;
    if (part->n_tokens + part->n_pending < most) {
        fprintf(stderr, "example: %s: the last tokens are missing\n", input_name);
        n_problems++;
    }
    part->limit = fcs_file_output_samples(&event->header, event->n_samples);
    if (part->limit < part->n_written) part->limit = part->n_written;
    end_part(part);
}

static void begin_part(struct part *part, const fcs_event *event) {
    size_t size;
    fcs_file_header header = header_of_model();
    const void *accepts = fcs_model_section(&model, FCS_SECTION_ACCEPTS, 0, &size);
    end_part(part);
    int code = fcs_file_check(&event->header, &header, (const uint8_t *)accepts, size / 8);
    part->is_left_out = code != FCS_FILE_OK;
    if (code == FCS_FILE_OK) return;
    fprintf(stderr, "example: %s: a part is left out: %s\n", input_name, fcs_file_text(code));
    n_problems++;
}

static void take_event(struct part *part, const fcs_event *event) {
    switch (event->kind) {
    case FCS_READ_HEADER: begin_part(part, event); return;
    case FCS_READ_TOKENS:
        if (part->is_left_out) return;
        release_pending(part);
        memcpy(part->pending, event->tokens, event->n_tokens * sizeof *event->tokens);
        part->n_pending = event->n_tokens;
        return;
    case FCS_READ_DAMAGE:
        fprintf(stderr, "example: %s: %s\n", input_name, fcs_file_text(event->code));
        n_problems++;
        if (part->is_left_out || event->n_tokens == 0) return;
        release_pending(part);
        decode_gap(part, event->n_tokens);
        return;
    case FCS_READ_END:
        if (!part->is_left_out) finish_part(part, event);
        return;
    default: return;
    }
}

static void read_events(FILE *input, struct part *part) {
    static fcs_reader reader;
    static unsigned char bytes[PIECE];
    fcs_file_header header = header_of_model();
    fcs_reader_options options;
    fcs_event event;
    int kind;
    memset(&options, 0, sizeof options);
    options.priors = priors;
    options.n_priors = n_priors;
    options.model = &header;
    check_file(fcs_reader_init(&reader, &options), input_name);
    while ((kind = fcs_reader_next(&reader, &event)) != FCS_READ_DONE) {
        check_file(kind, input_name);
        if (kind != FCS_READ_MORE) {
            take_event(part, &event);
            continue;
        }
        size_t n = fread(bytes, 1, sizeof bytes, input);
        if (ferror(input)) fail("%s: cannot be read", input_name);
        check_file(n != 0 ? fcs_reader_feed(&reader, bytes, n) : fcs_reader_end(&reader),
                   input_name);
    }
    if (!event.whole) n_problems++;
}

static void decode(const char *in, const char *out) {
    struct part part;
    size_t size = fcs_decoder_size(&model, 1);
    if (!facts.has_decoder) fail("the model has no decoder");
    memset(&part, 0, sizeof part);
    part.limit = UINT64_MAX;
    part.decoder = new_memory(size);
    check(fcs_decoder_init(&model, part.decoder, size, 1));
    part.room = (size_t)facts.decoder_chunk_tokens * facts.samples_out_per_token;
    part.samples = (float *)new_memory(part.room * sizeof *part.samples);
    part.is_lost = (unsigned char *)new_memory(facts.decoder_chunk_tokens);
    FILE *input = open_input(in);
    part.file = open_output(out);
    write_wav_header(part.file, UINT64_MAX);
    read_events(input, &part);
    end_part(&part);
    if (unfinished != NULL) {
        if (fseek(part.file, 0, SEEK_SET) != 0) fail("%s: cannot be written", out);
        write_wav_header(part.file, part.n_samples);
    }
    close_output(part.file);
}

static void refuse_usage(void) {
    fail("use: example encode [-m MODEL.fcsm] IN.wav OUT.fcs\n"
         "     or: example decode [-m MODEL.fcsm] IN.fcs OUT.wav");
}

int main(int n, char **words) {
    const char *path = NULL;
    if (n < 4) refuse_usage();
    int first = 2;
    if (strcmp(words[2], "-m") == 0) {
        path = words[3];
        first = 4;
    }
    if (n != first + 2) refuse_usage();
    int encodes = strcmp(words[1], "encode") == 0;
    if (!encodes && strcmp(words[1], "decode") != 0) refuse_usage();
    open_model(path);
    if (encodes) encode(words[first], words[first + 1]);
    else decode(words[first], words[first + 1]);
    return n_problems != 0;
}
