/*
 * What ThreadSanitizer is told about DPDK's rings; linked into every unit test, empty in other
 * builds. Needs a build with RTE_USE_C11_MEM_MODEL: without it rings order by barriers, which TSan
 * does not see.
 *
 * rte_ring_count() reads both tails plainly: a hint, as its users treat it. With several producers,
 * a later one publishes the slots of an earlier one after waiting for its tail with a relaxed load
 * (DPDK 22.11, rte_ring_c11_pvt.h): ordered on x86, not in the C model.
 */
#if defined(__SANITIZE_THREAD__)
const char *__tsan_default_suppressions(void);

const char *__tsan_default_suppressions(void)
{
    return "race:rte_ring_count\n"
           "race:__rte_ring_dequeue_elems_64\n";
}
#else
typedef int tcore_tsan_unused;
#endif
