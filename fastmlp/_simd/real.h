/* The kernels for one type, REAL; kernels.c includes this for float and for double. */

#include "elementwise.h"
#include "products.h"
#include "rows.h"
#include "solvers.h"
