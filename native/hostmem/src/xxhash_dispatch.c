// Picks among SSE2, AVX2 and AVX-512 at run time; other architectures have one form only.
#if defined(__x86_64__)
#include <xxh_x86dispatch.c>
#endif
