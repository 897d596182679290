// SPDX-License-Identifier: GPL-2.0
/*
 * A QEMU plugin: WFE does not sleep.
 *
 * Since QEMU 11.1 a CPU that executes WFE sleeps until an event. Linux for 32-bit
 * ARM waits for a spinlock in WFE with interrupts masked, and the event is the
 * SEV of the unlock. With a thread for each CPU, all CPUs were found asleep there
 * for good; most likely an event was lost.
 *
 * The architecture lets WFE end at any time (DDI 0406C, B1.8.13), and before
 * 11.1 it did. With this plugin it is a branch to what follows, which also ends
 * the block, so that other work of the CPU's thread has its turn.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* No package has qemu-plugin.h: what is used of API 7, that of QEMU 11. */
enum { API_VERSION = 7, QEMU_PLUGIN_CB_RW_REGS_PC = 3 };

struct qemu_plugin_tb;
struct qemu_plugin_insn;

struct qemu_info {
	const char *target_name;
	struct {
		int min, cur;
	} version;
};

typedef void translation_fn(struct qemu_plugin_tb *tb, void *userdata);
typedef void execution_fn(unsigned int vcpu, void *userdata);

void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, translation_fn *cb, void *userdata);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn, execution_fn *cb,
					    int flags, void *userdata);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *insn, void *dest, size_t len);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
void qemu_plugin_set_pc(uint64_t vaddr);

extern int qemu_plugin_version;
int qemu_plugin_version = API_VERSION;

/* Where the modules begin, and above them the kernel. */
#define KERNEL 0xbf000000

/*
 * With any condition. Only the kernel's: it has no Thumb code, and in a
 * program's these bytes may be another instruction.
 */
static bool is_wfe(uint32_t insn, uint64_t vaddr)
{
	return (insn & 0x0fffffff) == 0x0320f002 && vaddr >= KERNEL;
}

static void skip(unsigned int vcpu, void *next)
{
	(void)vcpu;
	/* Does not return here. */
	qemu_plugin_set_pc((uintptr_t)next);
}

static void translated(struct qemu_plugin_tb *tb, void *userdata)
{
	(void)userdata;
	for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		uint64_t vaddr = qemu_plugin_insn_vaddr(insn);
		uintptr_t next = vaddr + sizeof(uint32_t);
		uint32_t word;

		if (qemu_plugin_insn_data(insn, &word, sizeof(word)) == sizeof(word) &&
		    is_wfe(word, vaddr))
			qemu_plugin_register_vcpu_insn_exec_cb(insn, skip,
							       QEMU_PLUGIN_CB_RW_REGS_PC,
							       (void *)next);
	}
}

int qemu_plugin_install(uint64_t id, const struct qemu_info *info, int argc, char **argv);
int qemu_plugin_install(uint64_t id, const struct qemu_info *info, int argc, char **argv)
{
	(void)argc;
	(void)argv;
	if (info->version.min > API_VERSION || info->version.cur < API_VERSION) {
		fprintf(stderr, "wfe: this QEMU has plugin API %d and takes plugins from API %d on, but this one was written for API %d, that of QEMU 11.\n",
			info->version.cur, info->version.min, API_VERSION);
		return -1;
	}
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated, NULL);
	return 0;
}
