#include "core/workflow/machine.h"

#include "core/base/hex.h"
#include "core/kernels/gemm.h"
#include "core/run/ort.h"

#include <elf.h>
#include <link.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/utsname.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

enum { BUILD_ID = 64 + 1 };

static size_t round4(size_t n)
{
	return (n + 3) / 4 * 4;
}

/* The build id among the notes of a segment, as hexadecimal digits. */
static bool find_note(const char *p, size_t len, char out[BUILD_ID])
{
	ElfW(Nhdr) h;
	while (len >= sizeof h) {
		memcpy(&h, p, sizeof h);
		size_t name = round4(h.n_namesz), body = round4(h.n_descsz);
		if (len < sizeof h + name + body)
			return false;
		const char *desc = p + sizeof h + name;
		if (h.n_type == NT_GNU_BUILD_ID && h.n_namesz == 4 && memcmp(p + sizeof h, "GNU", 4) == 0) {
			size_t n = h.n_descsz < BUILD_ID / 2 ? h.n_descsz : BUILD_ID / 2;
			hex_encode(desc, n, out);
			return n > 0;
		}
		p += sizeof h + name + body;
		len -= sizeof h + name + body;
	}
	return false;
}

/* The first object is the program itself. */
static int look_at_program(struct dl_phdr_info *info, size_t size, void *out)
{
	(void)size;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *h = &info->dlpi_phdr[i];
		if (h->p_type == PT_NOTE && find_note((const char *)info->dlpi_addr + h->p_vaddr, h->p_memsz, out))
			break;
	}
	return 1;
}

/* Family, model, stepping and the instruction sets; nothing that differs from core to core. */
static void processor(char out[128])
{
#if defined(__x86_64__)
	unsigned a, b, c, d, a7, b7 = 0, c7 = 0, d7 = 0;
	if (__get_cpuid(1, &a, &b, &c, &d)) {
		(void)__get_cpuid_count(7, 0, &a7, &b7, &c7, &d7);
		(void)snprintf(out, 128, "x86_64 %08x %08x %08x %08x %08x %08x", a, c, d, b7, c7, d7);
		return;
	}
#endif
	struct utsname u;
	(void)snprintf(out, 128, "%.64s %lx %lx", uname(&u) == 0 ? u.machine : "?", getauxval(AT_HWCAP), getauxval(AT_HWCAP2));
}

int machine_id(char id[MACHINE_ID], struct err *e)
{
	char build[BUILD_ID] = "", cpu[128];
	(void)dl_iterate_phdr(look_at_program, build);
	if (!build[0])
		return err_set(e, ERR_NOT_FOUND, "the program has no build id");
	const char *runtime = ort_version(e);
	if (!runtime || gemm_open(e) < 0)
		return -1;
	processor(cpu);
	(void)snprintf(id, MACHINE_ID, "build %s, ONNX Runtime %.40s, %.160s, %s", build, runtime, gemm_library(), cpu);
	return 0;
}
