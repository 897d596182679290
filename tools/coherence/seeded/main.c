// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/coherence-test: runs the cases of wrong.c and right.c, each with a
 * fresh page, and has the program do its part of them. See errand.h.
 *
 * For the coherence checker's own test. Never load it on a machine that
 * matters: most of what it does is wrong, and says so.
 */
#include <linux/completion.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/platform_device.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <asm/cachetype.h>
#include <asm/cputype.h>

#include "case.h"

/*
 * Where the kernel that this was built for keeps what the checker wants to
 * know, so that it need not read debug information.
 */
static const u32 coherence_layout[] __used __section(".coherence") = {
	offsetof(struct module, name),
	offsetof(struct module, mem[MOD_TEXT].base),
	offsetof(struct module, mem[MOD_TEXT].size),
	offsetof(struct module, mem[MOD_INIT_TEXT].base),
	offsetof(struct module, mem[MOD_INIT_TEXT].size),
	offsetof(struct task_struct, comm),
	sizeof(struct page),
	/* Kernels without it for ARM have no arch_sync_dma_for_device() either. */
	BITS_PER_BYTE * offsetof(struct device, flags) + DEV_FLAG_DMA_COHERENT,
};

/* As ARM_CPU_PART_CORTEX_A9, of ARM926EJ-S (ARM DDI 0198E, 2.3.1). */
#define ARM_CPU_PART_ARM926	0x41009260

static struct platform_device *device;

/* One case at a time in the whole system: the label is the system's. */
static DEFINE_MUTEX(running);

static const struct coherence_case *find_case(unsigned long number)
{
	if (number < coherence_faults_count)
		return &coherence_faults[number];
	number -= coherence_faults_count;
	return number < coherence_right_count ? &coherence_right[number] : NULL;
}

/* Asks the program, and returns its answer; 0 if it is about to die. */
static u32 ask(struct run *r, enum coherence_what what, u32 word, u32 value)
{
	r->errand = (struct coherence_errand){ what, word, value };
	complete(&r->asked);
	if (wait_for_completion_killable(&r->answered))
		return 0;
	return r->errand.value;
}

static int map(struct run *r)
{
	ask(r, COHERENCE_MAP, 0, 0);
	return r->program ? 0 : -ENOMEM;
}

int program_map(struct run *r, struct page *page, enum type type)
{
	r->map_page = page;
	r->map_type = type;
	return map(r);
}

int program_map_coherent(struct run *r, void *cpu, dma_addr_t dma)
{
	r->map_coherent = cpu;
	r->map_dma = dma;
	return map(r);
}

int program_map_own(struct run *r)
{
	r->program = ask(r, COHERENCE_MAP_OWN, 0, 0);
	return r->program ? 0 : -ENOMEM;
}

void program_unmap(struct run *r)
{
	ask(r, COHERENCE_UNMAP, 0, 0);
	r->program = 0;
	r->map_page = NULL;
	r->map_coherent = NULL;
}

void program_store(struct run *r, u32 word, u32 value)
{
	ask(r, COHERENCE_STORE, word, value);
}

u32 program_load(struct run *r, u32 word)
{
	return ask(r, COHERENCE_LOAD, word, 0);
}

bool program_does(struct run *r, enum coherence_what what)
{
	return ask(r, what, 0, 0);
}

struct platform_device *snooping_device(void)
{
	const struct platform_device_info info = {
		.name = "coherence-test-snoops",
		.id = PLATFORM_DEVID_AUTO,
		.dma_mask = DMA_BIT_MASK(32),
	};
	struct platform_device *snooping;

	if (cache_is_vivt())
		return ERR_PTR(-EOPNOTSUPP);
	snooping = platform_device_register_full(&info);
	if (!IS_ERR(snooping))
		dev_assign_dma_coherent(&snooping->dev, true);
	return snooping;
}

static int run_case(struct run *r, unsigned long number)
{
	const struct coherence_case *c = find_case(number);
	int ret = -ENOMEM;

	if (!c)
		return -EINVAL;
	mutex_lock(&running);
	coherence_label(c->name);
	r->page = alloc_page(GFP_KERNEL | __GFP_ZERO);
	if (r->page) {
		r->kernel = page_address(r->page);
		r->pa = page_to_phys(r->page);
		flush_lines(r->kernel, r->pa, PAGE_SIZE);
		ret = c->run(r);
		if (r->program)
			program_unmap(r);
		flush_lines(r->kernel, r->pa, PAGE_SIZE);
		__free_page(r->page);
	}
	coherence_label("");
	mutex_unlock(&running);
	ask(r, COHERENCE_END, 0, 0);
	return ret;
}

/* Takes the answer to the last errand, if there is one, and gives the next. */
static int next_errand(struct run *r, struct coherence_errand __user *user)
{
	if (r->outstanding) {
		if (copy_from_user(&r->errand, user, sizeof(r->errand)))
			return -EFAULT;
		r->outstanding = false;
		complete(&r->answered);
	}
	if (wait_for_completion_killable(&r->asked))
		return -EINTR;
	if (copy_to_user(user, &r->errand, sizeof(r->errand)))
		return -EFAULT;
	if (r->errand.what == COHERENCE_END)
		complete(&r->answered);
	else
		r->outstanding = true;
	return 0;
}

static struct run *run_of(struct file *file)
{
	return ((struct seq_file *)file->private_data)->private;
}

static long test_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	switch (cmd) {
	case COHERENCE_RUN:
		return run_case(run_of(file), arg);
	case COHERENCE_NEXT:
		return next_errand(run_of(file), (struct coherence_errand __user *)arg);
	default:
		return -ENOTTY;
	}
}

static int test_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct run *r = run_of(file);
	int ret;

	if (vma->vm_end - vma->vm_start != PAGE_SIZE || vma->vm_pgoff ||
	    !(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	if (r->map_coherent) {
		ret = dma_mmap_coherent(r->dev, vma, r->map_coherent, r->map_dma, PAGE_SIZE);
	} else if (r->map_page) {
		if (r->map_type == WRITE_COMBINED)
			vma->vm_page_prot = pgprot_writecombine(vma->vm_page_prot);
		else if (r->map_type == NONCACHED)
			vma->vm_page_prot = pgprot_noncached(vma->vm_page_prot);
		ret = remap_pfn_range(vma, vma->vm_start, page_to_pfn(r->map_page), PAGE_SIZE,
				      vma->vm_page_prot);
	} else {
		ret = -ENXIO;
	}
	if (!ret)
		r->program = vma->vm_start;
	return ret;
}

static const struct expectation *expected(const struct coherence_case *c)
{
	switch (read_cpuid_part()) {
	case ARM_CPU_PART_ARM926:
		return &c->arm926;
	case ARM_CPU_PART_CORTEX_A9:
		return &c->cortex_a9;
	default:
		return &c->cortex_a15;
	}
}

static void show_set(struct seq_file *seq, u16 set, const char *where, const char **before)
{
	static const char *const names[] = {
		"stale-read", "lost-write", "dirty-over-device", "two-types",
		"owned-touch", "stale-instruction", "not-drained", "wrong-sync",
		"unwritten-read", "stray-dma", "two-mappings", "never-unmapped",
		"shared-line",
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(names); i++) {
		if (set & BIT(i)) {
			seq_printf(seq, "%s%s %s", *before, names[i], where);
			*before = ", ";
		}
	}
}

/* "NAME HAZARD this-core, HAZARD possible", or "NAME none". */
static int show_cases(struct seq_file *seq, void *unused)
{
	const struct coherence_case *c;
	unsigned long i;

	for (i = 0; (c = find_case(i)); i++) {
		const struct expectation *e = expected(c);
		const char *before = " ";

		seq_puts(seq, c->name);
		show_set(seq, e->this_core, "this-core", &before);
		show_set(seq, e->some_core, "some-core", &before);
		show_set(seq, e->possible, "possible", &before);
		if (e->this_core || e->some_core)
			seq_putc(seq, '\n');
		else
			seq_puts(seq, " none\n");
	}
	return 0;
}

static int test_open(struct inode *inode, struct file *file)
{
	struct run *r = kzalloc_obj(*r);
	int ret;

	if (!r)
		return -ENOMEM;
	r->dev = &device->dev;
	init_completion(&r->asked);
	init_completion(&r->answered);
	/* misc_open() has left the miscdevice there. */
	file->private_data = NULL;
	ret = single_open(file, show_cases, r);
	if (ret)
		kfree(r);
	return ret;
}

static int test_release(struct inode *inode, struct file *file)
{
	kfree(run_of(file));
	return single_release(inode, file);
}

static const struct file_operations test_operations = {
	.owner = THIS_MODULE,
	.open = test_open,
	.release = test_release,
	.read = seq_read,
	.unlocked_ioctl = test_ioctl,
	.mmap = test_mmap,
};

static struct miscdevice test_node = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "coherence-test",
	.fops = &test_operations,
	.mode = 0600,
};

/* The cores that the cases have expectations for. */
static bool core_known(void)
{
	switch (read_cpuid_part()) {
	case ARM_CPU_PART_ARM926:
	case ARM_CPU_PART_CORTEX_A9:
	case ARM_CPU_PART_CORTEX_A15:
		return true;
	default:
		return false;
	}
}

/*
 * A fault in a function that is gone afterwards: a device gets the first bytes of
 * a page, and the cache still has them.
 */
static noinline int __init fault_in_init(void)
{
	struct page *page = alloc_page(GFP_KERNEL);

	if (!page)
		return -ENOMEM;
	coherence_label("fault-in-init");
	store_lines(page_address(page), LINE, 42);
	coherence_device_reads(page_to_phys(page), LINE);
	coherence_label("");
	__free_page(page);
	return 0;
}

static int __init test_init(void)
{
	const struct platform_device_info info = {
		.name = "coherence-test",
		.id = PLATFORM_DEVID_NONE,
		.dma_mask = DMA_BIT_MASK(32),
	};
	int ret;

	if (!core_known())
		return -ENODEV;
	ret = fault_in_init();
	if (ret)
		return ret;
	device = platform_device_register_full(&info);
	if (IS_ERR(device))
		return PTR_ERR(device);
	ret = misc_register(&test_node);
	if (ret)
		platform_device_unregister(device);
	return ret;
}

static void __exit test_exit(void)
{
	misc_deregister(&test_node);
	platform_device_unregister(device);
}

module_init(test_init);
module_exit(test_exit);
MODULE_DESCRIPTION("Seeded coherence faults and right sequences, for the coherence checker");
MODULE_LICENSE("GPL");
