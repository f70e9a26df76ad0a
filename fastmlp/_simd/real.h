/* The kernels for one type, REAL; kernels.c includes this for float and for double. */

#ifdef __GNUC__
/* Alignment is not asked for: where it is there, loads are as fast without asking. */
#define VECTOR_OF(bytes) __attribute__((vector_size(bytes), aligned(sizeof(REAL)), may_alias))
typedef REAL NAME(vector) VECTOR_OF(VECTOR_BYTES);
typedef REAL NAME(half_vector) VECTOR_OF(VECTOR_BYTES / 2);
typedef INTEGER NAME(mask) __attribute__((vector_size(VECTOR_BYTES)));
typedef INTEGER NAME(half_mask) __attribute__((vector_size(VECTOR_BYTES / 2)));
#undef VECTOR_OF
#endif

#include "fma.h"
#include "elementwise.h"
#include "transpose.h"
#include "products.h"
#include "rows.h"
#include "solvers.h"
