/* The kernels for one type, REAL. kernels.c includes this file for float and for double. */

#ifdef HAS_VECTORS
/* The types do not require alignment: unaligned loads from aligned addresses are just as fast. */
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
#include "sparse.h"
#include "inputs.h"
#include "solvers.h"
