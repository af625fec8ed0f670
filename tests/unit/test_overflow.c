/* Raised scales, against numbers that the reference's own functions gave for random scales, biases and outputs. */

#include "core/simulate/overflow.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct {
	float sw, sx, bias[3];
	size_t n;
	float sy, oy, least, want;
} cases[] = {
	{0x1.4cde6ep-28f, 0x1.311b9ep-18f, {0x1.4d0936p+0f, 0, 0}, 1, 0, -10, 0, 0x1.176ffp-13f},
	{0x1.87959cp-19f,
         0x1.d923a8p-13f,
         {-0x1.7b5196p+2f, 0x1.1c7d3p+3f, -0x1.7b5196p+1f},
         3,
         0x1.f83bep-12f,
         -24,
         0,
         0x1.33dc2p-16f},
	{0x1.69f6cap-20f, 0x1.b24a96p-12f, {-0x1.ddc31ap-1f, 0, 0}, 1, 0x1.562a76p+1f, -193, 0, 0x1.30ac52p-11f},
	{0x1.9337a2p-23f, 0x1.c64c2ap-9f, {0x1.bfaed6p-5f, 0, 0}, 1, 0, -244, 0, 0x1.9337a2p-23f},
	{0x1.1a87p-30f, 0x1.4dcde4p-1f, {0x1.55cfb8p-5f, 0, 0}, 1, 0x1.666a4ap+4f, -169, 0x1p-14f, 0x1.88a948p-14f},
	{0x1.8b99dp-18f,
         0x1.a7fe4ap-6f,
         {-0x1.1000d8p+2f, 0x1.980144p+2f, -0x1.1000d8p+1f},
         3,
         0x1.20535p-6f,
         -149,
         0,
         0x1.8b99dp-18f},
	{0x1.6e5ac2p-28f, 0x1.136912p-8f, {0x1.fa35ccp-7f, 0, 0}, 1, 0, -155, 0, 0x1.6e5ac2p-28f},
	{0x1.04bcf8p-22f, 0x1.fe3514p-7f, {0x1.57744p-6f, 0, 0}, 1, 0x1.311ed2p+3f, -161, 0, 0x1.b10582p-15f},
	{0x1.7eb0cp-13f, 0x1.8a85ep-8f, {-0x1.538c2p-3f, 0, 0}, 1, 0x1.c88086p+1f, -83, 0, 0x1.7eb0cp-13f},
	{0x1.c48582p-28f, 0x1.6bb222p-4f, {0x1.2bcb28p-3f, -0x1.c1b0bcp-3f, 0x1.2bcb28p-4f}, 3, 0, -224, 0x1p-14f, 0x1.68639ap-11f},
	{0x1.fd0296p-27f, 0x1.fb8878p-8f, {0x1.89de4ep+6f, 0, 0}, 1, 0x1.2641bp-8f, -134, 0, 0x1.8d574ap-18f},
	{0x1.a6c18p-20f, 0x1.ff925p-10f, {0x1.10f65ep-7f, 0, 0}, 1, 0x1.8396fap+1f, -143, 0, 0x1.124c02p-13f},
	{0x1.111a8p-10f, 0x1.e7feap-11f, {0x1.a9ea3cp-7f, 0, 0}, 1, 0, -64, 0, 0x1.111a8p-10f},
	{0x1.824b5ap-26f,
         0x1.2040ccp-1f,
         {-0x1.c74fcap+6f, 0x1.557bd8p+7f, -0x1.c74fcap+5f},
         3,
         0x1.5f4e2ep+2f,
         -217,
         0,
         0x1.21be64p-20f},
	{0x1.744588p-29f, 0x1.429f3ep-15f, {-0x1.1add8cp-6f, 0, 0}, 1, 0x1.f7339p-10f, -160, 0x1p-14f, 0x1.1a571ap-18f},
	{0x1.62e2fcp-27f, 0x1.90eab4p-17f, {-0x1.ad667cp+7f, 0, 0}, 1, 0, -219, 0, 0x1.123124p-7f},
	{0x1.afc248p-5f, 0x1.28ccb4p-7f, {0x1.0f2558p+1f, 0, 0}, 1, 0x1.b88c8cp+0f, -209, 0, 0x1.afc248p-5f},
	{0x1.202faep-12f,
         0x1.3d70d8p-15f,
         {-0x1.e63378p+3f, 0x1.6ca69ap+4f, -0x1.e63378p+2f},
         3,
         0x1.08da6p+0f,
         -13,
         0,
         0x1.2e101p-9f},
	{0x1.0084a6p-16f, 0x1.909e9p-11f, {-0x1.2b3302p+0f, 0, 0}, 1, 0, -158, 0, 0x1.0084a6p-16f},
	{0x1.d6b672p-18f, 0x1.295c7cp-11f, {0x1.969094p-5f, 0, 0}, 1, 0x1.12efcp-13f, -32, 0x1p-14f, 0x1.b8c8ap-4f},
	{0x1.17b7a2p-16f, 0x1.6ece88p-19f, {-0x1.5d9b0cp-3f, 0, 0}, 1, 0x1.3a3cf8p-6f, -78, 0, 0x1.362746p-11f},
	{0x1.75c4e6p-20f, 0x1.d02c94p-16f, {0x1.262088p+0f, -0x1.b930ccp+0f, 0x1.262088p-1f}, 3, 0, -232, 0, 0x1.e6a7e4p-16f},
	{0x1.7f3138p-28f, 0x1.6035c8p-11f, {-0x1.73a186p+0f, 0, 0}, 1, 0x1.741c22p+1f, -2, 0, 0x1.7e7e6ap-12f},
	{0x1.659ac4p-8f, 0x1.088608p-6f, {-0x1.4631cap+6f, 0, 0}, 1, 0x1.b48eap-9f, -242, 0, 0x1.659ac4p-8f},
	{0x1.e16036p-18f, 0x1.a478dap-16f, {-0x1.0fa918p-1f, 0, 0}, 1, 0, -117, 0x1p-14f, 0x1.4acce4p-17f},
	{0x1.752cbep-14f,
         0x1.38efa2p-10f,
         {0x1.3c4126p-1f, -0x1.da61b8p-1f, 0x1.3c4126p-2f},
         3,
         0x1.65b994p-6f,
         -81,
         0,
         0x1.752cbep-14f},
	{0x1.d7ddd6p-12f, 0x1.bc75p-22f, {0x1.90b8cp-1f, 0, 0}, 1, 0x1.b6834ap-6f, -225, 0, 0x1.824908p-8f},
	{0x1.ee07b2p-22f, 0x1.425c2ep-19f, {0x1.ca6038p-7f, 0, 0}, 1, 0, -170, 0, 0x1.6c0584p-19f},
	{0x1.01f304p-26f, 0x1.317f98p-17f, {-0x1.ae428ep-6f, 0, 0}, 1, 0x1.523e2ep-3f, -168, 0, 0x1.90d7e6p-10f},
	{0x1.5e1b5ep-27f,
         0x1.51eb2ep-14f,
         {0x1.792f96p+4f, -0x1.1ae3bp+5f, 0x1.792f96p+3f},
         3,
         0x1.8ee9b8p+6f,
         -239,
         0x1p-14f,
         0x1.83e15cp-1f},
	{0x1.e455a2p-27f, 0x1.2e7346p-11f, {0x1.e668e2p-13f, 0, 0}, 1, 0, -220, 0, 0x1.e455a2p-27f},
	{0x1.a6f898p-26f, 0x1.845b8ap-6f, {0x1.72a86cp+0f, 0, 0}, 1, 0x1.dabe42p-14f, -150, 0, 0x1.e8ac36p-26f},
	{0x1.c0dc9p-29f, 0x1.54dbap-14f, {0x1.6dc67ap-5f, 0, 0}, 1, 0x1.08e3dp+0f, -188, 0, 0x1.24231cp-10f},
	{0x1.1be768p-23f, 0x1.151facp-7f, {0x1.79df6ep-3f, -0x1.1b6792p-2f, 0x1.79df6ep-4f}, 3, 0, -103, 0, 0x1.1be768p-23f},
	{0x1.5b8dd8p-10f, 0x1.32e6d4p-12f, {-0x1.6af3e4p-2f, 0, 0}, 1, 0x1.ddf81ep-11f, -61, 0x1p-14f, 0x1.ab14d8p-3f},
	{0x1.3a76b2p-7f, 0x1.d80eb4p-11f, {0x1.21b7a6p-9f, 0, 0}, 1, 0x1.691e2p-7f, -113, 0, 0x1.3a76b2p-7f},
	{0x1.74575cp-10f, 0x1.a06cc4p-8f, {-0x1.69122ap+2f, 0, 0}, 1, 0, -214, 0, 0x1.74575cp-10f},
	{0x1.3453b2p-12f,
         0x1.62f3c2p-11f,
         {0x1.4d6f34p+3f, -0x1.f426cep+3f, 0x1.4d6f34p+2f},
         3,
         0x1.1fb05cp-7f,
         -224,
         0,
         0x1.3453b2p-12f},
	{0x1.db7514p-13f, 0x1.089638p-9f, {0x1.c8259p-4f, 0, 0}, 1, 0x1.3090f8p-13f, -61, 0, 0x1.db7514p-13f},
	{0x1.dc6a7ap-8f, 0x1.8bf3cap-9f, {0x1.626346p-5f, 0, 0}, 1, 0, -137, 0x1p-14f, 0x1.4b07ap-6f},
};

static void scales_are_the_references(void **state)
{
	(void)state;
	int raised = 0;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		float got = overflow_scale(cases[i].sw, cases[i].sx, cases[i].bias, cases[i].n, cases[i].sy, cases[i].oy,
		                           cases[i].least);
		if (got != cases[i].want)
			fail_msg("case %zu: %a instead of %a", i, (double)got, (double)cases[i].want);
		raised += got > cases[i].sw;
	}
	assert_true(raised > 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(scales_are_the_references)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
