/*
 * QEMU plugin: how many instructions a program runs between two getppid() calls, by mnemonic.
 *
 *     cc -O2 -shared -fPIC -o icount.so arm64_icount.c
 *     qemu-aarch64 -plugin ./icount.so,out=FILE ...
 *
 * The first getppid() of the program starts the counting: until then it runs at full speed. Each
 * later one adds a line to FILE, what ran since the one before it: "TOTAL MNEMONIC=COUNT ...", the
 * most frequent first. The counts are exact and repeatable; they say nothing about time. For
 * programs of one thread.
 *
 * Debian 12 (QEMU 7.2) packages no qemu-plugin.h. What is used of its API, version 1, is declared
 * here; the names and types are QEMU's, and nothing else of the header is needed.
 */

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
#define UNUSED __attribute__((unused))

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef void (*translation_cb)(qemu_plugin_id_t, struct qemu_plugin_tb *);
typedef void (*syscall_cb)(qemu_plugin_id_t, unsigned, int64_t, uint64_t, uint64_t, uint64_t,
                           uint64_t, uint64_t, uint64_t, uint64_t, uint64_t);

extern void qemu_plugin_reset(qemu_plugin_id_t, void (*)(qemu_plugin_id_t));
extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, translation_cb);
extern void qemu_plugin_register_vcpu_syscall_cb(qemu_plugin_id_t, syscall_cb);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
extern const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
extern char *qemu_plugin_insn_disas(const struct qemu_plugin_insn *);
extern void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *, int op,
                                                       void *target, uint64_t operand);

EXPORT int qemu_plugin_version = 1;

enum {
    ADD_U64 = 0,   /* QEMU_PLUGIN_INLINE_ADD_U64 */
    GETPPID = 173, /* the number of the system call on aarch64 */
    MNEMONICS = 4096,
    LENGTH = 16,
};

static struct mnemonic {
    char name[LENGTH];
    uint64_t ran;
    uint64_t ran_before; /* when the last line was written */
} mnemonics[MNEMONICS];
static size_t known;
static FILE *out;

/* The counter of a disassembled instruction's mnemonic; the last one is for all that do not fit. */
static struct mnemonic *counter(const char *disassembled)
{
    char name[LENGTH] = "";
    size_t length = strcspn(disassembled, " \t");
    memcpy(name, disassembled, length < LENGTH ? length : LENGTH - 1);
    for (size_t i = 0; i < known; i++)
        if (strcmp(mnemonics[i].name, name) == 0)
            return &mnemonics[i];
    if (known == MNEMONICS)
        return &mnemonics[MNEMONICS - 1];
    memcpy(mnemonics[known].name, name, LENGTH);
    return &mnemonics[known++];
}

/* QEMU 7.2 disassembles integer dot products as ".byte ...". */
static bool is_sdot(const struct qemu_plugin_insn *instruction)
{
    uint32_t word;
    memcpy(&word, qemu_plugin_insn_data(instruction), sizeof word);
    return (word & 0xBFE0FC00) == 0x0E809400    /* of two vectors */
           || (word & 0xBFC0F400) == 0x0F80E000; /* of a vector and four bytes of another */
}

/* When QEMU translates a block of code: count each of its instructions whenever it runs. */
static void translated(qemu_plugin_id_t id UNUSED, struct qemu_plugin_tb *block)
{
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(block); i++) {
        struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(block, i);
        char *text = qemu_plugin_insn_disas(instruction);
        const char *name = is_sdot(instruction) ? "sdot" : text ? text : "?";
        qemu_plugin_register_vcpu_insn_exec_inline(instruction, ADD_U64, &counter(name)->ran, 1);
        free(text);
    }
}

static uint64_t since(const struct mnemonic *m)
{
    return m->ran - m->ran_before;
}

static int more_frequent_first(const void *a, const void *b)
{
    uint64_t left = since(*(struct mnemonic *const *)a);
    uint64_t right = since(*(struct mnemonic *const *)b);
    return (left < right) - (left > right);
}

#define SYSTEM_CALL(name)                                                                         \
    static void name(qemu_plugin_id_t id UNUSED, unsigned vcpu UNUSED, int64_t number,            \
                     uint64_t a1 UNUSED, uint64_t a2 UNUSED, uint64_t a3 UNUSED,                  \
                     uint64_t a4 UNUSED, uint64_t a5 UNUSED, uint64_t a6 UNUSED,                  \
                     uint64_t a7 UNUSED, uint64_t a8 UNUSED)

SYSTEM_CALL(counting)
{
    static struct mnemonic *sorted[MNEMONICS];
    uint64_t total = 0;
    if (number != GETPPID)
        return;
    for (size_t i = 0; i < known; i++) {
        sorted[i] = &mnemonics[i];
        total += since(sorted[i]);
    }
    qsort(sorted, known, sizeof *sorted, more_frequent_first);
    fprintf(out, "%" PRIu64, total);
    for (size_t i = 0; i < known && since(sorted[i]); i++)
        fprintf(out, " %s=%" PRIu64, sorted[i]->name, since(sorted[i]));
    fputc('\n', out);
    fflush(out);
    for (size_t i = 0; i < known; i++)
        mnemonics[i].ran_before = mnemonics[i].ran;
}

static void start_counting(qemu_plugin_id_t id)
{
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_vcpu_syscall_cb(id, counting);
}

/* Until the counting. A reset drops all translated code: what runs next is translated anew. */
SYSTEM_CALL(waiting)
{
    if (number == GETPPID)
        qemu_plugin_reset(id, start_counting);
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const void *info UNUSED, int argc, char **argv)
{
    if (argc != 1 || strncmp(argv[0], "out=", 4) != 0 || !(out = fopen(argv[0] + 4, "w"))) {
        fputs("arm64_icount: out=FILE is missing, or FILE cannot be written\n", stderr);
        return 1;
    }
    qemu_plugin_register_vcpu_syscall_cb(id, waiting);
    return 0;
}
