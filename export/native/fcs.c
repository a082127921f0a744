/*
 * fcs.c: streams over the programs of a model's file; see fcs.h for their use, and docs/program.md
 * for the file.
 *
 * A program is a list of calls as words of 32 bits: a kernel's number, how many words follow, and
 * those words. Kernels read words of 64 bits, so that each call is widened on the stack.
 * The kernels are a table of the library. `fcs_model_open` checks each call of each program once:
 * afterwards no word can make a stream read or write outside its memory by its offset or size.
 */
#include "fcs.h"
#include "fcs_inside.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the words and weights of a model file are little endian"
#endif

/* The platform's part: nothing else is called. No <string.h>: a freestanding build lacks it. */
void *memcpy(void *to, const void *from, size_t n);
void *memset(void *to, int value, size_t n);

/* The kernels' part: see scripts/compile_kernels.py. */
typedef void (*fcs_call)(char *const *bases, const int64_t *words);
extern const fcs_call fcs_kernels[] FCS_HIDDEN;
extern const int64_t fcs_n_kernels FCS_HIDDEN;
extern const char *const fcs_kernel_types[] FCS_HIDDEN;
extern const unsigned char fcs_kernels_id[8] FCS_HIDDEN;

enum { WEIGHTS, STATE, IN, OUT, N_BASES };

/* ---- The file: docs/program.md, export/fcsm.py ---- */

enum {
    VERSION = 1,
    AT_VERSION = 8,
    AT_CRC = 12,
    AT_KERNELS = 16,
    AT_FINGERPRINT = 24,
    AT_SIZE = 32,
    AT_NUMBERS = 40,
    AT_NAME = 88,
    NAME_SIZE = 64,
    AT_SECTIONS = 192,
    SECTION_SIZE = 24
};

/* Numbers of 32 bits of the file's head. */
enum {
    SAMPLE_RATE_IN,
    SAMPLE_RATE_OUT,
    SAMPLES_PER_TOKEN,
    SAMPLES_OUT_PER_TOKEN,
    CHUNK_SAMPLES,
    CHUNK_TOKENS,
    DECODER_CHUNK_TOKENS,
    BITS_PER_TOKEN,
    SETTINGS,
    N_SECTIONS
};

enum { SECTION_WEIGHTS = 1, SECTION_ENCODER = 2, SECTION_DECODER = 3 };

/* Words of a plan's head; an index counts words of the plan. */
enum {
    PLAN_VERSION,
    MAX_CHUNKS,
    STATE_BYTES,
    HISTORY_BYTES, /* the state's first ones, which later chunks read */
    NOT_FINITE,    /* offset of the count of bad samples in the state, -1 for none */
    N_INITIAL,
    INITIAL,
    N_PROGRAMS,
    PROGRAMS,
    N_PARAMETERS,
    PARAMETERS,
    N_PATCHES,
    PATCHES,
    TAIL_WORDS,
    TAIL,
    PLAN_WORDS,
    PLAN_HEAD
};

struct plan {
    const int32_t *head;
    const int32_t *initial;    /* offset, value */
    const int32_t *programs;   /* chunks, index, words */
    const int32_t *parameters; /* an earlier one, its factor, divisor */
    const int32_t *patches;    /* word of the tail, parameter, factor; by rising word */
    const int32_t *tail;
};

enum { MAX_WORDS = 128, MAX_PARAMETERS = 32 };

/* One load: a freestanding build calls memcpy even for four bytes. */
static uint32_t get32(const unsigned char *at) {
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static uint64_t get64(const unsigned char *at) {
    return get32(at) | (uint64_t)get32(at + 4) << 32;
}

static int same8(const unsigned char *a, const unsigned char *b) {
    return get64(a) == get64(b);
}

static int is_aligned(const void *at, size_t to) {
    return ((uintptr_t)at & (to - 1)) == 0;
}

/* ---- CRC-32, of zip and PNG: four parts side by side, then joined ---- */

#define CRC_POLYNOMIAL 0xEDB88320u

typedef uint32_t crc_tables[4][256];

static void make_crc_tables(crc_tables tables) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t value = i;
        for (int bit = 0; bit < 8; bit++)
            value = (value >> 1) ^ (value & 1 ? CRC_POLYNOMIAL : 0);
        tables[0][i] = value;
    }
    for (int t = 1; t < 4; t++)
        for (int i = 0; i < 256; i++) {
            uint32_t below = tables[t - 1][i];
            tables[t][i] = (below >> 8) ^ tables[0][below & 255];
        }
}

static uint32_t crc_of_word(crc_tables tables, uint32_t crc, uint32_t word) {
    crc ^= word;
    return tables[3][crc & 255] ^ tables[2][crc >> 8 & 255] ^ tables[1][crc >> 16 & 255] ^
           tables[0][crc >> 24];
}

/* a * b modulo the polynomial; bit 31 is the constant. */
static uint32_t crc_product(uint32_t a, uint32_t b) {
    uint32_t product = 0;
    for (uint32_t bit = 1u << 31; bit != 0; bit >>= 1) {
        if (a & bit) product ^= b;
        b = (b >> 1) ^ (b & 1 ? CRC_POLYNOMIAL : 0);
    }
    return product;
}

/* x to the power of 8 * n_bytes. */
static uint32_t crc_power(size_t n_bytes) {
    uint32_t power = 1u << 31, square = 1u << 23; /* 1, and x^8 */
    for (; n_bytes != 0; n_bytes >>= 1) {
        if (n_bytes & 1) power = crc_product(power, square);
        square = crc_product(square, square);
    }
    return power;
}

static uint32_t crc32_of(const unsigned char *bytes, size_t size) {
    crc_tables tables;
    make_crc_tables(tables);
    size_t part = size / 16 * 4;
    uint32_t whole = 0xFFFFFFFFu, second = 0, third = 0, fourth = 0, power = crc_power(part);
    for (const unsigned char *at = bytes, *end = bytes + part; at < end; at += 4) {
        whole = crc_of_word(tables, whole, get32(at));
        second = crc_of_word(tables, second, get32(at + part));
        third = crc_of_word(tables, third, get32(at + 2 * part));
        fourth = crc_of_word(tables, fourth, get32(at + 3 * part));
    }
    whole = crc_product(power, whole) ^ second;
    whole = crc_product(power, whole) ^ third;
    whole = crc_product(power, whole) ^ fourth;
    for (size_t at = 4 * part; at < size; at++)
        whole = (whole >> 8) ^ tables[0][(whole ^ bytes[at]) & 255];
    return ~whole;
}

/* ---- Sections and plans ---- */

static uint32_t number(const fcs_model *model, int which) {
    return get32(model->bytes + AT_NUMBERS + 4 * which);
}

const void *fcs_model_section(const fcs_model *model, uint32_t kind, uint32_t index,
                              size_t *size) {
    *size = 0;
    if (model == NULL || model->bytes == NULL) return NULL;
    uint32_t n = number(model, N_SECTIONS);
    for (uint32_t i = 0; i < n; i++) {
        const unsigned char *entry = model->bytes + AT_SECTIONS + (size_t)i * SECTION_SIZE;
        if (get32(entry) != kind || get32(entry + 4) != index) continue;
        *size = (size_t)get64(entry + 16);
        return model->bytes + (size_t)get64(entry + 8);
    }
    return NULL;
}

static int check_sections(const fcs_model *model) {
    uint64_t n = number(model, N_SECTIONS);
    if (n > (model->size - AT_SECTIONS) / SECTION_SIZE) return 0;
    for (uint64_t i = 0; i < n; i++) {
        const unsigned char *entry = model->bytes + AT_SECTIONS + i * SECTION_SIZE;
        uint64_t offset = get64(entry + 8), size = get64(entry + 16);
        if (offset % FCS_ALIGNMENT != 0 || offset > model->size || size > model->size - offset)
            return 0;
    }
    return 1;
}

/* What goes into a stream and comes out: samples and tokens, or tokens and samples. */
struct flow {
    uint32_t chunk;           /* items of a chunk */
    uint32_t times, divisor;  /* n items give n * times / divisor, rounded up */
    uint32_t in, out;         /* bytes of an item */
};

static struct flow flow_of(const fcs_model *model, int decoder) {
    struct flow encode = {number(model, CHUNK_SAMPLES), 1, number(model, SAMPLES_PER_TOKEN),
                          sizeof(float), sizeof(uint16_t)};
    struct flow decode = {number(model, DECODER_CHUNK_TOKENS), number(model, SAMPLES_OUT_PER_TOKEN),
                          1, sizeof(uint16_t), sizeof(float)};
    return decoder ? decode : encode;
}

/* Items that come out of so many: fewer than 2 to the power of 32 items go in. */
static size_t items_out(const struct flow *flow, size_t n) {
    return (size_t)(((uint64_t)n * flow->times + flow->divisor - 1) / flow->divisor);
}

/* ---- Checks of programs ---- */

/* Bytes of a number by its letter, 0 for none: letters of NumPy. */
static uint64_t item_size(char letter) {
    switch (letter) {
    case 'b': case 'B': case '?': return 1;
    case 'e': case 'h': case 'H': return 2;
    case 'f': case 'i': case 'I': return 4;
    case 'd': case 'l': case 'L': return 8;
    default: return 0;
    }
}

/* The words of one call, each between a least and a greatest value. */
struct call {
    const int64_t *least, *greatest;
    size_t n, at;
};

/* Bytes of each base that a program may use. */
typedef uint64_t base_sizes[N_BASES];

static int check_array(struct call *call, uint64_t item, size_t n_dims, int written,
                       const base_sizes sizes) {
    if (item == 0 || call->n - call->at < 2 + n_dims) return 0;
    const int64_t *least = call->least + call->at, *greatest = call->greatest + call->at;
    call->at += 2 + n_dims;
    if (least[0] != greatest[0] || least[0] < 0 || least[0] >= N_BASES) return 0;
    if (written && (least[0] == WEIGHTS || least[0] == IN)) return 0;
    uint64_t room = sizes[least[0]];
    if (least[1] < 0 || (uint64_t)greatest[1] > room) return 0;
    if ((uint64_t)least[1] % item != 0 || (uint64_t)greatest[1] % item != 0) return 0;
    uint64_t most = (room - (uint64_t)greatest[1]) / item;
    uint64_t n_items = 1;
    for (size_t i = 0; i < n_dims; i++) {
        if (least[2 + i] < 0) return 0;
        uint64_t rows = (uint64_t)greatest[2 + i];
        if (rows != 0 && n_items > most / rows) return 0;
        n_items *= rows;
    }
    return 1;
}

static int check_number(struct call *call, char kind) {
    if (call->n == call->at) return 0;
    int64_t least = call->least[call->at], greatest = call->greatest[call->at];
    call->at++;
    return kind != 'b' || (least >= 0 && greatest <= 1);
}

/* Whether a call fits the types of its kernel, such as "f2 l1w int", and its arrays their bases. */
static int check_call(const char *types, struct call call, const base_sizes sizes) {
    while (*types != 0) {
        char first = types[0];
        if (types[1] >= '0' && types[1] <= '9') {
            size_t n_dims = (size_t)(types[1] - '0');
            if (!check_array(&call, item_size(first), n_dims, types[2] == 'w', sizes)) return 0;
        } else if (!check_number(&call, first)) {
            return 0;
        }
        while (*types != 0 && *types != ' ') types++;
        while (*types == ' ') types++;
    }
    return call.at == call.n;
}

/* Whether there is a whole call at a word, with a known kernel. */
static int is_call(const int32_t *words, int64_t n_words) {
    return n_words >= 2 && words[0] >= 0 && words[0] < fcs_n_kernels && words[1] >= 0 &&
           words[1] <= n_words - 2 && words[1] <= MAX_WORDS;
}

/* Copy the words of a call's arguments, and return their number. */
static size_t widen(const int32_t *call, int64_t *words) {
    size_t n = (size_t)call[1];
    for (size_t i = 0; i < n; i++) words[i] = call[2 + i];
    return n;
}

static int check_program(const int32_t *at, int64_t n_words, const base_sizes sizes) {
    int64_t words[MAX_WORDS];
    for (const int32_t *end = at + n_words; at < end; at += 2 + at[1]) {
        if (!is_call(at, end - at)) return 0;
        struct call call = {words, words, widen(at, words), 0};
        if (!check_call(fcs_kernel_types[at[0]], call, sizes)) return 0;
    }
    return 1;
}

/* ---- Tails: a program whose words depend on the number of items that wait ---- */

/* The parameters of a chunk that lacks n items: n, then each an earlier one times a / b. */
static void find_parameters(const struct plan *plan, int64_t n, int64_t *parameters) {
    parameters[0] = n;
    for (int64_t i = 1; i < plan->head[N_PARAMETERS]; i++) {
        const int32_t *rule = plan->parameters + 3 * i;
        parameters[i] = parameters[rule[0]] * rule[1] / rule[2];
    }
}

/* Take from words first ... first + n - 1 what the parameters give; return the patches passed. */
static const int32_t *patch(const int32_t *patches, const int32_t *end, int64_t first, int64_t n,
                            const int64_t *parameters, int64_t *words) {
    for (; patches < end && patches[0] < first + n; patches += 3)
        if (patches[0] >= first) words[patches[0] - first] -= patches[2] * parameters[patches[1]];
    return patches;
}

static const int32_t *patches_end(const struct plan *plan) {
    return plan->patches + 3 * plan->head[N_PATCHES];
}

/* The least and the greatest value of each word of a call: factors are positive. */
static void bound_words(const int32_t *patches, const int32_t *end, int64_t first, int64_t n,
                        const int64_t *fewest, const int64_t *most, int64_t *least,
                        int64_t *greatest) {
    for (; patches < end && patches[0] < first + n; patches += 3) {
        int64_t at = patches[0] - first;
        if (at < 0) continue;
        least[at] -= patches[2] * most[patches[1]];
        greatest[at] -= patches[2] * fewest[patches[1]];
    }
}

/* Whether one call is right for each number of waiting items: slow, and seldom needed. */
static int check_each_tail(const struct plan *plan, const struct flow *flow, const int32_t *call,
                           const int32_t *patches, uint64_t weights) {
    int64_t parameters[MAX_PARAMETERS], words[MAX_WORDS];
    int64_t first = call + 2 - plan->tail;
    for (uint32_t n = 1; n < flow->chunk; n++) {
        base_sizes sizes = {weights, (uint64_t)plan->head[STATE_BYTES], 0, 0};
        sizes[IN] = (uint64_t)n * flow->in;
        sizes[OUT] = (uint64_t)items_out(flow, n) * flow->out;
        find_parameters(plan, (int64_t)(flow->chunk - n), parameters);
        struct call exact = {words, words, widen(call, words), 0};
        patch(patches, patches_end(plan), first, call[1], parameters, words);
        if (!check_call(fcs_kernel_types[call[0]], exact, sizes)) return 0;
    }
    return 1;
}

/* So many times a tail's call is checked with one number of items: seconds, not hours. */
enum { MAX_TAIL_CHECKS = 1 << 22 };

/* First with bounds that hold for all numbers of items, then with each number: `checks` are left. */
static int check_tail_call(const struct plan *plan, const struct flow *flow, const int32_t *call,
                           const int32_t *patches, uint64_t weights, int64_t *checks) {
    int64_t fewest[MAX_PARAMETERS], most[MAX_PARAMETERS], least[MAX_WORDS], greatest[MAX_WORDS];
    base_sizes sizes = {weights, (uint64_t)plan->head[STATE_BYTES], flow->in, 0};
    sizes[OUT] = (uint64_t)items_out(flow, 1) * flow->out;
    find_parameters(plan, 1, fewest);
    find_parameters(plan, (int64_t)flow->chunk - 1, most);
    struct call bounds = {least, greatest, widen(call, least), 0};
    widen(call, greatest);
    bound_words(patches, patches_end(plan), call + 2 - plan->tail, call[1], fewest, most, least,
                greatest);
    if (check_call(fcs_kernel_types[call[0]], bounds, sizes)) return 1;
    *checks -= flow->chunk;
    return *checks >= 0 && check_each_tail(plan, flow, call, patches, weights);
}

static int check_tail(const struct plan *plan, const struct flow *flow, uint64_t weights) {
    const int32_t *word = plan->tail, *end = word + plan->head[TAIL_WORDS];
    const int32_t *patches = plan->patches;
    int64_t checks = MAX_TAIL_CHECKS;
    while (word < end) {
        if (!is_call(word, end - word)) return 0;
        while (patches < patches_end(plan) && patches[0] < word - plan->tail) patches += 3;
        if (!check_tail_call(plan, flow, word, patches, weights, &checks)) return 0;
        word += 2 + word[1];
    }
    return 1;
}

/* ---- Checks of a plan ---- */

enum {
    MAX_STATE = 1 << 30, /* bytes */
    MAX_PATCHES = 1 << 14,
    MAX_FACTOR = 1 << 30,
    MAX_ITEMS = 1 << 18 /* of a chunk, in or out: then no patched word overflows */
};

static struct plan plan_of(const fcs_stream_plan *stream) {
    struct plan plan;
    plan.head = (const int32_t *)(const void *)stream->bytes;
    plan.initial = plan.head + plan.head[INITIAL];
    plan.programs = plan.head + plan.head[PROGRAMS];
    plan.parameters = plan.head + plan.head[PARAMETERS];
    plan.patches = plan.head + plan.head[PATCHES];
    plan.tail = plan.head + plan.head[TAIL];
    return plan;
}

/* Whether n entries at an index lie within a plan. */
static int is_in_plan(const int32_t *head, int64_t index, int64_t n, int64_t entry_words) {
    return index >= PLAN_HEAD && index <= head[PLAN_WORDS] && n >= 0 &&
           n <= (head[PLAN_WORDS] - index) / entry_words;
}

static int check_head(const fcs_stream_plan *stream, int chunks) {
    const int32_t *head = (const int32_t *)(const void *)stream->bytes;
    size_t n_words = stream->size / sizeof *head;
    if (n_words < PLAN_HEAD || head[PLAN_VERSION] != VERSION) return 0;
    if (head[PLAN_WORDS] < PLAN_HEAD || (size_t)head[PLAN_WORDS] != n_words) return 0;
    return head[MAX_CHUNKS] == chunks && head[STATE_BYTES] >= 0 &&
           head[STATE_BYTES] < MAX_STATE && is_in_plan(head, head[INITIAL], head[N_INITIAL], 2) &&
           is_in_plan(head, head[PROGRAMS], head[N_PROGRAMS], 3) &&
           is_in_plan(head, head[PARAMETERS], head[N_PARAMETERS], 3) &&
           is_in_plan(head, head[PATCHES], head[N_PATCHES], 3) &&
           is_in_plan(head, head[TAIL], head[TAIL_WORDS], 1) &&
           head[N_PROGRAMS] <= head[MAX_CHUNKS] && head[N_PARAMETERS] <= MAX_PARAMETERS &&
           head[N_PATCHES] <= MAX_PATCHES;
}

/* Whether a number of so many bytes of the state lies at an offset. */
static int is_in_state(const struct plan *plan, int32_t offset, int32_t item) {
    return offset >= 0 && offset % item == 0 && offset <= plan->head[STATE_BYTES] - item;
}

static int check_patches(const struct plan *plan, const struct flow *flow) {
    int64_t before = 0, most[MAX_PARAMETERS] = {flow->chunk};
    for (int64_t i = 1; i < plan->head[N_PARAMETERS]; i++) {
        const int32_t *rule = plan->parameters + 3 * i;
        if (rule[0] < 0 || rule[0] >= i || rule[1] < 0 || rule[1] > MAX_ITEMS || rule[2] < 1 ||
            rule[2] > MAX_ITEMS)
            return 0;
        most[i] = most[rule[0]] * rule[1] / rule[2];
        if (most[i] > MAX_ITEMS) return 0;
    }
    for (const int32_t *at = plan->patches; at < patches_end(plan); at += 3) {
        if (at[0] < before || at[0] >= plan->head[TAIL_WORDS]) return 0;
        if (at[1] < 0 || at[1] >= plan->head[N_PARAMETERS]) return 0;
        if (at[2] < 0 || at[2] > MAX_FACTOR) return 0;
        before = at[0];
    }
    return 1;
}

static int check_programs(const struct plan *plan, const struct flow *flow, uint64_t weights) {
    int has_one_chunk = 0;
    for (int64_t i = 0; i < plan->head[N_PROGRAMS]; i++) {
        const int32_t *row = plan->programs + 3 * i;
        if (row[0] < 1 || row[0] > plan->head[MAX_CHUNKS]) return 0;
        if (!is_in_plan(plan->head, row[1], row[2], 1)) return 0;
        base_sizes sizes = {weights, (uint64_t)plan->head[STATE_BYTES], 0, 0};
        sizes[IN] = (uint64_t)row[0] * flow->chunk * flow->in;
        sizes[OUT] = (uint64_t)row[0] * items_out(flow, flow->chunk) * flow->out;
        if (!check_program(plan->head + row[1], row[2], sizes)) return 0;
        has_one_chunk |= row[0] == 1;
    }
    return has_one_chunk;
}

static int check_plan(const fcs_model *model, const fcs_stream_plan *stream, int decoder,
                      int chunks) {
    if (!check_head(stream, chunks)) return 0;
    struct plan plan = plan_of(stream);
    struct flow flow = flow_of(model, decoder);
    for (int64_t i = 0; i < plan.head[N_INITIAL]; i++)
        if (!is_in_state(&plan, plan.initial[2 * i], sizeof(int32_t))) return 0;
    int32_t count = plan.head[NOT_FINITE];
    if (count != -1 && !is_in_state(&plan, count, sizeof(int64_t))) return 0;
    return (plan.head[TAIL_WORDS] > 0 || flow.chunk == 1) && check_patches(&plan, &flow) &&
           check_programs(&plan, &flow, model->weights_size) &&
           check_tail(&plan, &flow, model->weights_size);
}

/* ---- Models ---- */

/* The memory of a state: a header, the items that wait, and the memory of the kernels. */
struct header {
    uint32_t magic, plan; /* which of the model's four plans */
    uint32_t crc;         /* of the model's file */
    uint32_t n_pending;
    uint8_t kernels[8], fingerprint[8];
    uint8_t unused[32];
};

enum { HEADER_SIZE = 64, MAGIC = 0x53534346 /* "FCSS" */ };

/* Up to a multiple of 64, which C11 wants of aligned_alloc. */
static size_t whole_lines(size_t size) {
    return (size + FCS_ALIGNMENT - 1) / FCS_ALIGNMENT * FCS_ALIGNMENT;
}

static int open_plan(fcs_model *model, int which) {
    fcs_stream_plan *stream = &model->plans[which];
    int decoder = which >= 2, chunks = which % 2 ? 8 : 1;
    uint32_t kind = decoder ? SECTION_DECODER : SECTION_ENCODER;
    stream->bytes =
        (const unsigned char *)fcs_model_section(model, kind, (uint32_t)chunks, &stream->size);
    if (stream->bytes == NULL) return 1;
    if (!check_plan(model, stream, decoder, chunks)) return 0;
    struct flow flow = flow_of(model, decoder);
    stream->image = HEADER_SIZE + whole_lines((size_t)flow.chunk * flow.in);
    stream->state_size = stream->image + whole_lines((size_t)plan_of(stream).head[STATE_BYTES]);
    return 1;
}

static int check_rates(const fcs_model *model) {
    for (int i = SAMPLE_RATE_IN; i <= BITS_PER_TOKEN; i++)
        if (number(model, i) == 0 || number(model, i) >= MAX_ITEMS) return 0;
    struct flow encode = flow_of(model, 0), decode = flow_of(model, 1);
    return number(model, BITS_PER_TOKEN) <= 16 && model->bytes[AT_NAME + NAME_SIZE - 1] == 0 &&
           number(model, CHUNK_TOKENS) * (uint64_t)encode.divisor == encode.chunk &&
           decode.chunk * (uint64_t)decode.times < MAX_ITEMS;
}

static int check_frame(const unsigned char *bytes, size_t size) {
    static const char magic[9] = "FCSMODEL";
    if (bytes == NULL) return FCS_BAD_ARGUMENT;
    if (!is_aligned(bytes, FCS_ALIGNMENT)) return FCS_BAD_ALIGNMENT;
    if (size < 8 || !same8(bytes, (const unsigned char *)magic)) return FCS_NOT_A_MODEL;
    if (size < AT_SECTIONS) return FCS_BAD_CRC;
    if (get32(bytes + AT_VERSION) != VERSION) return FCS_BAD_VERSION;
    if (!same8(bytes + AT_KERNELS, fcs_kernels_id)) return FCS_OTHER_KERNELS;
    if (get64(bytes + AT_SIZE) != size) return FCS_BAD_CRC;
    if (get32(bytes + AT_CRC) != crc32_of(bytes + AT_KERNELS, size - AT_KERNELS))
        return FCS_BAD_CRC;
    return FCS_OK;
}

int fcs_model_open(fcs_model *model, const void *bytes, size_t size) {
    fcs_model opened;
    if (model == NULL) return FCS_BAD_ARGUMENT;
    memset(model, 0, sizeof *model);
    int code = check_frame((const unsigned char *)bytes, size);
    if (code != FCS_OK) return code;
    memset(&opened, 0, sizeof opened);
    opened.bytes = (const unsigned char *)bytes;
    opened.size = size;
    if (!check_rates(&opened) || !check_sections(&opened)) return FCS_BAD_MODEL;
    opened.weights = (const unsigned char *)fcs_model_section(&opened, SECTION_WEIGHTS, 0,
                                                              &opened.weights_size);
    for (int i = 0; i < 4; i++)
        if (!open_plan(&opened, i)) return FCS_BAD_MODEL;
    *model = opened;
    return FCS_OK;
}

int fcs_model_inside(fcs_model *model) {
    if (model == NULL) return FCS_BAD_ARGUMENT;
    memset(model, 0, sizeof *model);
    if (fcs_inside.size == 0) return FCS_NO_MODEL;
    return fcs_model_open(model, (const char *)&fcs_inside + fcs_inside.offset,
                          (size_t)fcs_inside.size);
}

static void copy_name(const unsigned char *from, char *to) {
    memcpy(to, from, NAME_SIZE);
    to[NAME_SIZE - 1] = 0;
}

void fcs_model_facts(const fcs_model *model, fcs_facts *facts) {
    memset(facts, 0, sizeof *facts);
    if (model == NULL || model->bytes == NULL) return;
    facts->sample_rate_in = number(model, SAMPLE_RATE_IN);
    facts->sample_rate_out = number(model, SAMPLE_RATE_OUT);
    facts->samples_per_token = number(model, SAMPLES_PER_TOKEN);
    facts->samples_out_per_token = number(model, SAMPLES_OUT_PER_TOKEN);
    facts->chunk_samples = number(model, CHUNK_SAMPLES);
    facts->chunk_tokens = number(model, CHUNK_TOKENS);
    facts->decoder_chunk_tokens = number(model, DECODER_CHUNK_TOKENS);
    facts->bits_per_token = number(model, BITS_PER_TOKEN);
    facts->settings = number(model, SETTINGS);
    facts->has_encoder = model->plans[0].bytes != NULL;
    facts->has_decoder = model->plans[2].bytes != NULL;
    memcpy(facts->fingerprint, model->bytes + AT_FINGERPRINT, 8);
    copy_name(model->bytes + AT_NAME, facts->name);
    memcpy(facts->kernels, fcs_kernels_id, 8);
}

/* ---- Streams ---- */

/* A state that was checked, opened for one call. */
struct stream {
    const fcs_model *model;
    struct plan plan;
    struct flow flow;
    struct header head;
    unsigned char *state, *waiting, *image;
    size_t image_size;
};

static const fcs_stream_plan *find_plan(const fcs_model *model, int decoder, int chunks) {
    if (model == NULL || (chunks != 1 && chunks != 8)) return NULL;
    const fcs_stream_plan *plan = &model->plans[2 * decoder + (chunks == 8)];
    return plan->bytes == NULL ? NULL : plan;
}

static size_t state_size(const fcs_model *model, int decoder, int chunks) {
    const fcs_stream_plan *plan = find_plan(model, decoder, chunks);
    return plan == NULL ? 0 : plan->state_size;
}

static void attach(struct stream *stream, const fcs_model *model, unsigned char *state) {
    const fcs_stream_plan *plan = &model->plans[stream->head.plan];
    stream->model = model;
    stream->plan = plan_of(plan);
    stream->flow = flow_of(model, stream->head.plan >= 2);
    stream->state = state;
    stream->waiting = state + HEADER_SIZE;
    stream->image = state + plan->image;
    stream->image_size = plan->state_size - plan->image;
}

/* Read and check a state's header: its model, its kind, and how much waits. */
static int open_stream(struct stream *stream, const fcs_model *model, const void *state,
                       int decoder) {
    if (model == NULL || model->bytes == NULL || state == NULL) return FCS_BAD_ARGUMENT;
    if (!is_aligned(state, FCS_ALIGNMENT)) return FCS_BAD_ALIGNMENT;
    struct header *head = &stream->head;
    memcpy(head, state, sizeof *head);
    if (head->magic != MAGIC || head->plan > 3 || (head->plan >= 2) != decoder ||
        head->crc != get32(model->bytes + AT_CRC) || model->plans[head->plan].bytes == NULL ||
        !same8(head->kernels, fcs_kernels_id) ||
        !same8(head->fingerprint, model->bytes + AT_FINGERPRINT))
        return FCS_BAD_STATE;
    /* The state is not written where the caller's is constant. */
    attach(stream, model, (unsigned char *)(uintptr_t)state);
    return head->n_pending < stream->flow.chunk ? FCS_OK : FCS_BAD_STATE;
}

static void start_stream(struct stream *stream) {
    memset(stream->image, 0, stream->image_size);
    for (int64_t i = 0; i < stream->plan.head[N_INITIAL]; i++) {
        const int32_t *entry = stream->plan.initial + 2 * i;
        memcpy(stream->image + entry[0], &entry[1], sizeof entry[1]);
    }
    stream->head.n_pending = 0;
    memcpy(stream->state, &stream->head, sizeof stream->head);
}

static int init(const fcs_model *model, void *state, size_t size, int chunks, int decoder) {
    struct stream stream;
    if (model == NULL || model->bytes == NULL || state == NULL || (chunks != 1 && chunks != 8))
        return FCS_BAD_ARGUMENT;
    if (find_plan(model, decoder, chunks) == NULL) return FCS_NO_PART;
    if (!is_aligned(state, FCS_ALIGNMENT)) return FCS_BAD_ALIGNMENT;
    if (size < state_size(model, decoder, chunks)) return FCS_SMALL_STATE;
    memset(&stream, 0, sizeof stream);
    stream.head.magic = MAGIC;
    stream.head.plan = (uint32_t)(2 * decoder + (chunks == 8));
    stream.head.crc = get32(model->bytes + AT_CRC);
    memcpy(stream.head.kernels, fcs_kernels_id, 8);
    memcpy(stream.head.fingerprint, model->bytes + AT_FINGERPRINT, 8);
    attach(&stream, model, (unsigned char *)state);
    memset(stream.waiting, 0, (size_t)(stream.image - stream.waiting));
    start_stream(&stream);
    return FCS_OK;
}

static int reset(const fcs_model *model, void *state, int decoder) {
    struct stream stream;
    int code = open_stream(&stream, model, state, decoder);
    if (code == FCS_OK) start_stream(&stream);
    return code;
}

static size_t n_pending(const fcs_model *model, const void *state, int decoder) {
    struct stream stream;
    return open_stream(&stream, model, state, decoder) == FCS_OK ? stream.head.n_pending : 0;
}

/* Items that a push of n would write; SIZE_MAX where that is no number of bytes. */
static size_t push_size(const struct stream *stream, size_t n) {
    const struct flow *flow = &stream->flow;
    size_t most = SIZE_MAX / 8;
    if (n > most / flow->in - flow->chunk) return SIZE_MAX;
    size_t chunks = (stream->head.n_pending + n) / flow->chunk;
    size_t out = items_out(flow, flow->chunk);
    return chunks > most / out ? SIZE_MAX : chunks * out;
}

static size_t outputs(const fcs_model *model, const void *state, size_t n, int decoder) {
    struct stream stream;
    return open_stream(&stream, model, state, decoder) == FCS_OK ? push_size(&stream, n) : 0;
}

/* ---- Runs ---- */

static void run(char *const *bases, const int32_t *at, int64_t n_words) {
    int64_t words[MAX_WORDS];
    for (const int32_t *end = at + n_words; at < end; at += 2 + at[1]) {
        widen(at, words);
        fcs_kernels[at[0]](bases, words);
    }
}

/* Run the program of a chunk that lacks n items. */
static void run_tail(char *const *bases, const struct plan *plan, int64_t n) {
    int64_t parameters[MAX_PARAMETERS], words[MAX_WORDS];
    const int32_t *at = plan->tail, *end = at + plan->head[TAIL_WORDS];
    const int32_t *patches = plan->patches;
    find_parameters(plan, n, parameters);
    for (; at < end; at += 2 + at[1]) {
        widen(at, words);
        patches = patch(patches, patches_end(plan), at + 2 - plan->tail, at[1], parameters, words);
        fcs_kernels[at[0]](bases, words);
    }
}

/* The bases of programs are not constant: kernels read weights and input, and write neither. */
static void fill_bases(char **bases, const struct stream *stream, const void *in, void *out) {
    bases[WEIGHTS] = (char *)(uintptr_t)stream->model->weights;
    bases[STATE] = (char *)stream->image;
    bases[IN] = (char *)(uintptr_t)in;
    bases[OUT] = (char *)out;
}

/* Run the largest program of at most n chunks, and return its chunks. */
static size_t run_chunks(const struct stream *stream, const void *in, void *out, size_t n) {
    const int32_t *best = NULL;
    char *bases[N_BASES];
    for (int64_t i = 0; i < stream->plan.head[N_PROGRAMS]; i++) {
        const int32_t *row = stream->plan.programs + 3 * i;
        if ((uint64_t)row[0] <= n && (best == NULL || row[0] > best[0])) best = row;
    }
    fill_bases(bases, stream, in, out);
    run(bases, stream->plan.head + best[1], best[2]);
    return (size_t)best[0];
}

/* Append to the items that wait. */
static void append(struct stream *stream, const unsigned char *in, size_t n) {
    size_t item = stream->flow.in;
    if (n != 0) memcpy(stream->waiting + stream->head.n_pending * item, in, n * item);
    stream->head.n_pending += (uint32_t)n;
}

/* Take n items: first those that complete the chunk that waits, then whole chunks from `in`. */
static void take(struct stream *stream, const unsigned char *in, size_t n, unsigned char *out) {
    const struct flow *flow = &stream->flow;
    size_t out_chunk = items_out(flow, flow->chunk) * flow->out;
    size_t missing = flow->chunk - stream->head.n_pending;
    if (stream->head.n_pending != 0 && n >= missing) {
        append(stream, in, missing);
        in += missing * flow->in;
        n -= missing;
        run_chunks(stream, stream->waiting, out, 1);
        out += out_chunk;
        stream->head.n_pending = 0;
    }
    if (stream->head.n_pending == 0) {
        while (n >= flow->chunk) {
            size_t chunks = run_chunks(stream, in, out, n / flow->chunk);
            in += chunks * flow->chunk * flow->in;
            n -= chunks * flow->chunk;
            out += chunks * out_chunk;
        }
    }
    append(stream, in, n);
    memcpy(stream->state, &stream->head, sizeof stream->head);
}

/* Check the memory of a call: `needed` items come out. */
static int check_buffers(const struct flow *flow, const void *in, size_t n, const void *out,
                         size_t capacity, size_t needed) {
    if (needed == SIZE_MAX || (n != 0 && in == NULL)) return FCS_BAD_ARGUMENT;
    if (needed > capacity) return FCS_SMALL_BUFFER;
    if (needed != 0 && out == NULL) return FCS_BAD_ARGUMENT;
    if ((n != 0 && !is_aligned(in, flow->in)) || (needed != 0 && !is_aligned(out, flow->out)))
        return FCS_BAD_ALIGNMENT;
    return FCS_OK;
}

static int check_tokens(const struct stream *stream, const uint16_t *tokens, size_t n) {
    uint32_t limit = (uint32_t)1 << number(stream->model, BITS_PER_TOKEN);
    for (size_t i = 0; i < n; i++)
        if (tokens[i] >= limit) return FCS_BAD_TOKEN;
    return FCS_OK;
}

static int push(const fcs_model *model, void *state, const void *in, size_t n, void *out,
                size_t capacity, size_t *n_out, int decoder) {
    struct stream stream;
    if (n_out == NULL) return FCS_BAD_ARGUMENT;
    *n_out = 0;
    int code = open_stream(&stream, model, state, decoder);
    if (code != FCS_OK) return code;
    size_t needed = push_size(&stream, n);
    code = check_buffers(&stream.flow, in, n, out, capacity, needed);
    if (code == FCS_OK && decoder) code = check_tokens(&stream, (const uint16_t *)in, n);
    if (code == FCS_OK || code == FCS_SMALL_BUFFER) *n_out = needed;
    if (code == FCS_OK) take(&stream, (const unsigned char *)in, n, (unsigned char *)out);
    return code;
}

static int flush(const fcs_model *model, void *state, void *out, size_t capacity, size_t *n_out,
                 int decoder) {
    struct stream stream;
    char *bases[N_BASES];
    if (n_out == NULL) return FCS_BAD_ARGUMENT;
    *n_out = 0;
    int code = open_stream(&stream, model, state, decoder);
    if (code != FCS_OK) return code;
    size_t needed = items_out(&stream.flow, stream.head.n_pending);
    code = check_buffers(&stream.flow, state, 0, out, capacity, needed);
    if (code == FCS_OK || code == FCS_SMALL_BUFFER) *n_out = needed;
    if (code != FCS_OK) return code;
    if (stream.head.n_pending != 0) {
        fill_bases(bases, &stream, stream.waiting, out);
        run_tail(bases, &stream.plan, stream.flow.chunk - stream.head.n_pending);
    }
    start_stream(&stream);
    return FCS_OK;
}

/* ---- The encoder and the decoder ---- */

size_t fcs_encoder_size(const fcs_model *model, int chunks) { return state_size(model, 0, chunks); }

size_t fcs_decoder_size(const fcs_model *model, int chunks) { return state_size(model, 1, chunks); }

int fcs_encoder_init(const fcs_model *model, void *state, size_t size, int chunks) {
    return init(model, state, size, chunks, 0);
}

int fcs_decoder_init(const fcs_model *model, void *state, size_t size, int chunks) {
    return init(model, state, size, chunks, 1);
}

size_t fcs_encoder_tokens(const fcs_model *model, const void *state, size_t n_samples) {
    return outputs(model, state, n_samples, 0);
}

size_t fcs_decoder_samples(const fcs_model *model, const void *state, size_t n_tokens) {
    return outputs(model, state, n_tokens, 1);
}

int fcs_encoder_push(const fcs_model *model, void *state, const float *samples, size_t n_samples,
                     uint16_t *tokens, size_t capacity, size_t *n_tokens) {
    return push(model, state, samples, n_samples, tokens, capacity, n_tokens, 0);
}

int fcs_decoder_push(const fcs_model *model, void *state, const uint16_t *tokens, size_t n_tokens,
                     float *samples, size_t capacity, size_t *n_samples) {
    return push(model, state, tokens, n_tokens, samples, capacity, n_samples, 1);
}

int fcs_encoder_flush(const fcs_model *model, void *state, uint16_t *tokens, size_t capacity,
                      size_t *n_tokens) {
    return flush(model, state, tokens, capacity, n_tokens, 0);
}

int fcs_decoder_flush(const fcs_model *model, void *state, float *samples, size_t capacity,
                      size_t *n_samples) {
    return flush(model, state, samples, capacity, n_samples, 1);
}

int fcs_encoder_reset(const fcs_model *model, void *state) { return reset(model, state, 0); }

int fcs_decoder_reset(const fcs_model *model, void *state) { return reset(model, state, 1); }

size_t fcs_encoder_n_pending(const fcs_model *model, const void *state) {
    return n_pending(model, state, 0);
}

size_t fcs_decoder_n_pending(const fcs_model *model, const void *state) {
    return n_pending(model, state, 1);
}

size_t fcs_encoder_n_not_finite(const fcs_model *model, const void *state) {
    struct stream stream;
    int64_t count = 0;
    if (open_stream(&stream, model, state, 0) != FCS_OK) return 0;
    int32_t at = stream.plan.head[NOT_FINITE];
    if (at >= 0) memcpy(&count, stream.image + at, sizeof count);
    return (size_t)count;
}

/* ---- Texts ---- */

const char *fcs_version(void) { return FCS_VERSION; }

const char *fcs_error_text(int code) {
    switch (code) {
    case FCS_OK: return "no error";
    case FCS_BAD_ARGUMENT:
        return "a null pointer, a model that is not open, a size too large, or chunks not 1 or 8";
    case FCS_BAD_ALIGNMENT: return "memory is not aligned: states and models to 64 bytes";
    case FCS_SMALL_BUFFER: return "the output has too little room: nothing was done";
    case FCS_SMALL_STATE: return "the memory for the state is too small";
    case FCS_BAD_STATE: return "the state is not one of this model, or was overwritten";
    case FCS_BAD_TOKEN: return "a token is out of the model's range";
    case FCS_BAD_RATE: return "the sample rate is not supported";
    case FCS_NO_PART: return "the model has no encoder, or no decoder";
    case FCS_NO_MODEL: return "this library has no model inside";
    case FCS_NOT_A_MODEL: return "not a model file of C (.fcsm)";
    case FCS_BAD_VERSION: return "a model file of another version: export it again";
    case FCS_BAD_CRC: return "the model file is damaged or cut";
    case FCS_OTHER_KERNELS: return "the model file was exported for another library or target";
    case FCS_BAD_MODEL: return "the model file is inconsistent";
    default: return "unknown error";
    }
}
