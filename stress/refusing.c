/* A module that refuses memory and threads, for `allocations.py`, which compiles it.

   Two kinds of allocations are counted and refused: the numbers of arrays (a handler of NumPy, see
   NEP 49), and what Python's own functions give (PyMem_RawMalloc, PyMem_Malloc and
   PyObject_Malloc), which is all that the core itself asks for. */

#define _GNU_SOURCE
#define PY_SSIZE_T_CLEAN
#define NPY_NO_DEPRECATED_API NPY_1_22_API_VERSION
#include <Python.h>
#include <numpy/arrayobject.h>
#include <dlfcn.h>
#include <execinfo.h>
#include <pthread.h>
#include <string.h>

/* Threads allocate, too, and those of the core do so without the GIL. */
#define ADD(x, n) __atomic_add_fetch(&(x), n, __ATOMIC_SEQ_CST)

typedef struct {
    Py_ssize_t n_asked, n_refused; /* since `refuse` */
    Py_ssize_t first, end;         /* those that are refused, counted from 1 */
    Py_ssize_t n_live;
} Memory;

static Memory arrays, objects;

static int is_next(Memory *memory)
{
    const Py_ssize_t n = ADD(memory->n_asked, 1);
    return memory->first <= n && n < memory->end;
}

static int is_refused(Memory *memory)
{
    if (!is_next(memory))
        return 0;
    ADD(memory->n_refused, 1);
    return 1;
}

/* Arrays ----------------------------------------------------------------------------------------*/

static void *counted(void *given)
{
    if (given)
        ADD(arrays.n_live, 1);
    return given;
}

static void *array_malloc(void *ctx, size_t size)
{
    return is_refused(&arrays) ? NULL : counted(malloc(size ? size : 1));
}

static void *array_calloc(void *ctx, size_t n, size_t size)
{
    return is_refused(&arrays) ? NULL : counted(calloc(n ? n : 1, size ? size : 1));
}

static void *array_realloc(void *ctx, void *old, size_t size)
{
    if (is_refused(&arrays))
        return NULL;
    return old ? realloc(old, size ? size : 1) : counted(malloc(size ? size : 1));
}

static void array_free(void *ctx, void *given, size_t size)
{
    if (given)
        ADD(arrays.n_live, -1);
    free(given);
}

static PyDataMem_Handler handler = {
    "refusing", 1, {NULL, array_malloc, array_calloc, array_realloc, array_free}};

/* Objects ---------------------------------------------------------------------------------------*/

enum { N_DOMAINS = 3 };
static const PyMemAllocatorDomain domains[] = {PYMEM_DOMAIN_RAW, PYMEM_DOMAIN_MEM, PYMEM_DOMAIN_OBJ};
static PyMemAllocatorEx before[N_DOMAINS];

/* Who asks: our compiled code, Python's interpreter, or the compiled code of another library. */
typedef enum { WE, PYTHON, OTHERS } Asking;
enum { MOST_FRAMES = 64 };
static Py_ssize_t n_of_python; /* refused to the interpreter */
static int spares_python;

static Asking who_asks(void)
{
    void *frames[MOST_FRAMES];
    const int n = backtrace(frames, MOST_FRAMES);
    Dl_info here, it;
    dladdr((void *)who_asks, &here);
    for (int i = 0; i < n; i++) {
        if (!dladdr(frames[i], &it) || it.dli_fbase == here.dli_fbase)
            continue;
        if (it.dli_saddr == (void *)_PyEval_EvalFrameDefault)
            return PYTHON;
        if (strstr(it.dli_fname, "fastmlp/_"))
            return WE;
        if (strstr(it.dli_fname, "site-packages"))
            return OTHERS;
    }
    return PYTHON;
}

static int is_object_refused(void)
{
    Asking asking;
    if (!is_next(&objects))
        return 0;
    asking = who_asks();
    if (asking == OTHERS || (asking == PYTHON && spares_python))
        return 0;
    ADD(n_of_python, asking == PYTHON);
    ADD(objects.n_refused, 1);
    return 1;
}

static void *object_malloc(void *ctx, size_t size)
{
    const PyMemAllocatorEx *it = ctx;
    return is_object_refused() ? NULL : it->malloc(it->ctx, size);
}

static void *object_calloc(void *ctx, size_t n, size_t size)
{
    const PyMemAllocatorEx *it = ctx;
    return is_object_refused() ? NULL : it->calloc(it->ctx, n, size);
}

static void *object_realloc(void *ctx, void *old, size_t size)
{
    const PyMemAllocatorEx *it = ctx;
    return is_object_refused() ? NULL : it->realloc(it->ctx, old, size);
}

static void object_free(void *ctx, void *given)
{
    const PyMemAllocatorEx *it = ctx;
    it->free(it->ctx, given);
}

/* What Python calls -----------------------------------------------------------------------------*/

static PyObject *refuse(PyObject *self, PyObject *arguments)
{
    const char *name;
    Py_ssize_t first, n;
    Memory *memory;
    if (!PyArg_ParseTuple(arguments, "snn", &name, &first, &n))
        return NULL;
    memory = strcmp(name, "arrays") == 0 ? &arrays : &objects;
    arrays.n_asked = arrays.n_refused = objects.n_refused = n_of_python = 0;
    memory->end = first + n;
    memory->first = first; /* nothing is allocated from here to the return */
    objects.n_asked = 0;
    Py_RETURN_NONE;
}

static PyObject *stop(PyObject *self, PyObject *nothing)
{
    const Py_ssize_t n_arrays = arrays.n_asked, n_objects = objects.n_asked;
    arrays.first = arrays.end = objects.first = objects.end = 0;
    return Py_BuildValue("{s:n,s:n,s:n,s:n}", "arrays", n_arrays, "objects", n_objects, "refused",
                         arrays.n_refused + objects.n_refused, "of Python", n_of_python);
}

static PyObject *n_live_arrays(PyObject *self, PyObject *nothing)
{
    return PyLong_FromSsize_t(arrays.n_live);
}

/* No address space has room for such a stack. */
static PyObject *refuse_threads(PyObject *self, PyObject *nothing)
{
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    if (pthread_attr_setstacksize(&attributes, (size_t)1 << 47) != 0
        || pthread_setattr_default_np(&attributes) != 0) {
        PyErr_SetString(PyExc_RuntimeError, "this C library has no default size of a stack");
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *spare_python(PyObject *self, PyObject *nothing)
{
    spares_python = 1;
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"refuse", refuse, METH_VARARGS, "refuse(memory, first, n): n allocations from the first on"},
    {"stop", stop, METH_NOARGS, "Refuse nothing more; return what was asked for"},
    {"n_live_arrays", n_live_arrays, METH_NOARGS, "How many arrays have memory of this handler"},
    {"refuse_threads", refuse_threads, METH_NOARGS, "Refuse all threads, for good"},
    {"spare_python", spare_python, METH_NOARGS, "Refuse objects only to our compiled code"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "refusing", "Refuses memory and threads", -1, methods};

PyMODINIT_FUNC PyInit_refusing(void)
{
    PyObject *capsule, *old;
    void *frame;
    backtrace(&frame, 1); /* loads what it needs, the first time */
    import_array();
    capsule = PyCapsule_New(&handler, "mem_handler", NULL);
    old = capsule ? PyDataMem_SetHandler(capsule) : NULL;
    Py_XDECREF(capsule);
    if (!old)
        return NULL;
    Py_DECREF(old);
    for (int i = 0; i < N_DOMAINS; i++) {
        PyMemAllocatorEx ours = {
            &before[i], object_malloc, object_calloc, object_realloc, object_free};
        PyMem_GetAllocator(domains[i], &before[i]);
        PyMem_SetAllocator(domains[i], &ours);
    }
    return PyModule_Create(&module);
}
