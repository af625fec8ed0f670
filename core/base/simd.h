#ifndef SEQMSE_SIMD_H
#define SEQMSE_SIMD_H

/* One source, several instruction sets: SIMD_DISPATCH(name, (parameters), (arguments)) defines name() out of an always-inlined name##_body(), compiled for
 * AVX-512, AVX2 and the baseline, and chosen at the first call by what the processor has. The bodies name every operation and its
 * order (no contraction, fixed lanes), so all variants give the same bits; name##_plain() is the baseline one, for the tests that compare them. An aarch64
 * always has NEON: there name() uses it, and name##_plain() is compiled without. On other processors there is one variant.
 *
 * Vectors have SIMD_FLOATS numbers. Where that is less than the lanes that a body defines, it takes them part by part, so that its sums fit the registers; what
 * a lane adds up is the same. */

#if defined(__aarch64__)
enum { SIMD_FLOATS = 4 };
#else
enum { SIMD_FLOATS = 16 };
#endif

/* A body may be inlined where there are more instructions than it is compiled for, not where there are fewer. So are the functions that it calls. */
#if defined(__aarch64__) && !defined(__clang__)
#define SIMD_PLAIN __attribute__((target("+nosimd")))
#else
#define SIMD_PLAIN
#endif
#define SIMD_INLINE static inline __attribute__((always_inline)) SIMD_PLAIN
#define SIMD_BODY   SIMD_INLINE void

#if defined(__clang__)
#define SIMD_AVX512 "avx512f,avx512bw,avx512vl,avx512dq"
#else
#define SIMD_AVX512 "avx512f,avx512bw,avx512vl,avx512dq,prefer-vector-width=512"
#endif

/* AddressSanitizer's second stack gives variables places aligned to 32 bytes in gcc 12 (its bug 110027), and AVX-512 code needs 64. */
#if defined(__SANITIZE_ADDRESS__)
#define SIMD_MAY_AVX512 0
#else
#define SIMD_MAY_AVX512 1
#endif

#if defined(__x86_64__)
#define SIMD_HAS_AVX512                                                                                \
	(SIMD_MAY_AVX512 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && \
	 __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))

#define SIMD_DISPATCH(name, params, args)                                     \
	static __attribute__((target(SIMD_AVX512))) void name##_avx512 params \
	{                                                                     \
		name##_body args;                                             \
	}                                                                     \
	static __attribute__((target("avx2"))) void name##_avx2 params        \
	{                                                                     \
		name##_body args;                                             \
	}                                                                     \
	void name##_plain params                                              \
	{                                                                     \
		name##_body args;                                             \
	}                                                                     \
	void name params                                                      \
	{                                                                     \
		if (SIMD_HAS_AVX512)                                          \
			name##_avx512 args;                                   \
		else if (__builtin_cpu_supports("avx2"))                      \
			name##_avx2 args;                                     \
		else                                                          \
			name##_plain args;                                    \
	}
#else
#define SIMD_DISPATCH(name, params, args)   \
	SIMD_PLAIN void name##_plain params \
	{                                   \
		name##_body args;           \
	}                                   \
	void name params                    \
	{                                   \
		name##_body args;           \
	}
#endif

#endif
