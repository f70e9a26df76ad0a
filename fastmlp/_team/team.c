#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <pythread.h>

#include "team.h"

#include <time.h>
#ifndef _WIN32
#include <pthread.h>
#endif
#ifdef __linux__
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

/* Atomic operations, sequentially consistent: all threads see all changes in the same order. */
#ifdef _MSC_VER
#include <intrin.h>
static int load(const int *x) { return _InterlockedOr((volatile long *)x, 0); }
static int exchange(int *x, int y) { return _InterlockedExchange((volatile long *)x, y); }
static int add(int *x, int y) { return _InterlockedExchangeAdd((volatile long *)x, y); }
static int replace(int *x, int from, int to)
{
    return _InterlockedCompareExchange((volatile long *)x, to, from) == from;
}
static ptrdiff_t load_size(const ptrdiff_t *x) { return *(const volatile ptrdiff_t *)x; }
static ptrdiff_t add_size(ptrdiff_t *x, ptrdiff_t y)
{
    return (ptrdiff_t)_InterlockedExchangeAdd64((volatile __int64 *)x, y);
}
#else
static int load(const int *x) { return __atomic_load_n(x, __ATOMIC_SEQ_CST); }
static int exchange(int *x, int y) { return __atomic_exchange_n(x, y, __ATOMIC_SEQ_CST); }
static int add(int *x, int y) { return __atomic_fetch_add(x, y, __ATOMIC_SEQ_CST); }
static int replace(int *x, int from, int to)
{
    return __atomic_compare_exchange_n(x, &from, to, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}
static ptrdiff_t load_size(const ptrdiff_t *x) { return __atomic_load_n(x, __ATOMIC_SEQ_CST); }
static ptrdiff_t add_size(ptrdiff_t *x, ptrdiff_t y)
{
    return __atomic_fetch_add(x, y, __ATOMIC_SEQ_CST);
}
#endif

static void pause_a_little(void)
{
#if defined(_MSC_VER) && (defined(_M_X64) || defined(_M_IX86))
    _mm_pause();
#elif defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__) && defined(__GNUC__)
    __asm__ volatile("isb");
#endif
}

/* A thread of the pool, or a place where the caller of a team sleeps. */
enum { IDLE, CALLED, AT_WORK };

struct fastmlp_member {
    int sleeps;              /* set to 1 before it sleeps, and to 0 by the thread that wakes it */
    int state;               /* of a pool thread: IDLE, CALLED or AT_WORK */
    int patience;            /* how many pauses it spins before it sleeps */
    unsigned n_waits;
    int cpu;                 /* where it was when it last looked, or -1; others read it */
    int thread;              /* the operating system's number of its thread */
#ifdef __linux__
    int is_bound;            /* whether it may only use some CPUs until its work ends */
    cpu_set_t bound_to;
    cpu_set_t allowed;       /* what it may use otherwise */
    double bound_at;         /* when it last bound itself */
#endif
    PyThread_type_lock bell; /* a lock that is held except while the member is being woken */
    fastmlp_member *next;    /* in the list of free members */
    fastmlp_team *team;
    fastmlp_work work;
    void *what;
    int me;
    char apart[128];
};

/* The pool of free threads and of free places for callers. Members are created once and never
   freed. */
static PyThread_type_lock pool_lock;
static fastmlp_member *free_threads, *free_places;

/* The longest spin. A much shorter one slows down small networks on several threads, because every
   barrier then puts threads to sleep (bench/figures.md: spin-time). */
#define PATIENCE 100 /* microseconds */
static int most_pauses;

static time_t second_of_start; /* a double could not tell the nanoseconds of larger numbers */

static double now(void) /* in microseconds */
{
    struct timespec time;
    timespec_get(&time, TIME_UTC);
    return 1e6 * (double)(time.tv_sec - second_of_start) + 1e-3 * (double)time.tv_nsec;
}

/* How many pauses take this many microseconds. The length of a pause differs widely between
   CPUs. */
static int pauses_in(double microseconds)
{
    enum { ROUNDS = 8, PAUSES = 64 };
    double least = 1e9;
    for (int round = 0; round < ROUNDS; round++) {
        double taken = now();
        for (int i = 0; i < PAUSES; i++)
            pause_a_little();
        taken = now() - taken;
        if (taken > 0 && taken < least)
            least = taken;
    }
    return (int)(microseconds * PAUSES / least) + 1;
}

void fastmlp_set_patience(double microseconds)
{
    exchange(&most_pauses, microseconds > 0 ? pauses_in(microseconds) : 0);
}

/* After a long sleep, the thread that this one waited for probably had no CPU, so the next spin is
   shorter. After a short sleep, most of the time went into waking up, so the next spin has full
   length. Every TRIES_EVERY-th spin also has full length, to find out whether the CPUs are free
   again. */
#define LONG_WAIT 300 /* microseconds, well above a wake-up (bench/figures.md: wake-up) */
#define TRIES_EVERY 16

static int spin_of(fastmlp_member *member)
{
    if (++member->n_waits % TRIES_EVERY == 0)
        member->patience = load(&most_pauses);
    return member->patience;
}

static void learn(fastmlp_member *member, double slept)
{
    member->patience = slept > LONG_WAIT ? member->patience / 8 : load(&most_pauses);
}

static void wake(fastmlp_member *member)
{
    if (load(&member->sleeps) && exchange(&member->sleeps, 0))
        PyThread_release_lock(member->bell);
}

static void sleep_until_woken(fastmlp_member *member)
{
    PyThread_acquire_lock(member->bell, WAIT_LOCK);
}

/* Called when the condition has become true just after the member said that it sleeps. If another
   thread has already woken the member, it must consume that ring of the bell, because the next
   sleep would otherwise end at once. */
static void stay_awake(fastmlp_member *member)
{
    if (!exchange(&member->sleeps, 0)) /* woken meanwhile */
        sleep_until_woken(member);
}

/* Where the members are. Two of a team on one CPU take turns, and another CPU may have nothing to do:
   in virtual machines, Linux often wakes a thread on the CPU of the one that wakes it, as if a CPU
   that has halted were not there, and as one of the two sleeps at every barrier, it does not see
   that two want that CPU. So a thread that is called is kept from the CPU of its caller (`send_away`). A
   member that has slept looks where the others are, and if it is with one of them, it keeps away
   from their CPUs (`stay_apart`). When its work ends, a member may use all its CPUs again
   (bench/figures.md: apart). */
#ifdef __linux__
#define BETWEEN_MOVES 2000 /* microseconds: where every CPU has much to do, no place is better */

static int may_bind = 1;
static __thread fastmlp_member *myself; /* the member that this thread is */

void fastmlp_let_bind(int is_allowed) { exchange(&may_bind, is_allowed); }

static void look_where(fastmlp_member *member)
{
    __atomic_store_n(&member->cpu, sched_getcpu(), __ATOMIC_RELAXED);
}

/* Let a member use its CPUs again, unless somebody else has set other ones meanwhile. `thread` is
   its number, or 0 for this thread. */
static void release(fastmlp_member *member, int thread)
{
    cpu_set_t present;
    if (member->is_bound && sched_getaffinity(thread, sizeof present, &present) == 0
        && CPU_EQUAL(&present, &member->bound_to))
        sched_setaffinity(thread, sizeof member->allowed, &member->allowed);
    member->is_bound = 0;
}

static void keep_from(const cpu_set_t *cpus, fastmlp_member *member, int thread)
{
    release(member, thread);
    if (load(&may_bind) && sched_getaffinity(thread, sizeof member->allowed, &member->allowed) == 0) {
        CPU_XOR(&member->bound_to, &member->allowed, cpus);
        CPU_AND(&member->bound_to, &member->bound_to, &member->allowed); /* allowed, and not `cpus` */
        member->is_bound =
            CPU_COUNT(&member->bound_to) > 0
            && sched_setaffinity(thread, sizeof member->bound_to, &member->bound_to) == 0;
    }
}

static void send_away(fastmlp_member *member, const fastmlp_member *caller)
{
    cpu_set_t cpu_of_caller;
    if (!load(&member->sleeps) || caller->cpu < 0 || caller->cpu >= CPU_SETSIZE)
        return;
    CPU_ZERO(&cpu_of_caller);
    CPU_SET(caller->cpu, &cpu_of_caller);
    keep_from(&cpu_of_caller, member, member->thread);
}

static void stay_apart(fastmlp_team *team, int me)
{
    fastmlp_member *member = team->members[me];
    const int cpu = sched_getcpu();
    cpu_set_t others;
    CPU_ZERO(&others);
    for (int i = 0; i < team->n; i++) {
        const int other = __atomic_load_n(&team->members[i]->cpu, __ATOMIC_RELAXED);
        if (i != me && other >= 0 && other < CPU_SETSIZE)
            CPU_SET(other, &others);
    }
    if (cpu >= 0 && cpu < CPU_SETSIZE && CPU_ISSET(cpu, &others)
        && now() - member->bound_at > BETWEEN_MOVES) {
        member->bound_at = now();
        keep_from(&others, member, 0);
    }
    look_where(member);
}

/* Make this thread a member, or none with NULL; returns what it was before. */
static fastmlp_member *become(fastmlp_member *member)
{
    fastmlp_member *before = myself;
    myself = member;
    return before;
}

static int number_of_thread(void) { return (int)syscall(SYS_gettid); }

void fastmlp_go_anywhere(void)
{
    if (myself)
        release(myself, 0);
}
#else
static void look_where(fastmlp_member *member) { (void)member; }
static void release(fastmlp_member *member, int thread) { (void)member, (void)thread; }
static void send_away(fastmlp_member *member, const fastmlp_member *caller)
{
    (void)member, (void)caller;
}
static void stay_apart(fastmlp_team *team, int me) { (void)team, (void)me; }
static fastmlp_member *become(fastmlp_member *member) { return member; }
static int number_of_thread(void) { return 0; }
void fastmlp_go_anywhere(void) {}
void fastmlp_let_bind(int is_allowed) { (void)is_allowed; }
#endif

/* Wait until the condition holds. The thread that makes it true must call `wake` afterwards. The
   condition is checked again after `sleeps` is set, because the other thread may have made it true
   just before and seen no member asleep. `after_sleep` is done if the member has slept. */
#define WAIT_UNTIL(member, condition, after_sleep)                                                        \
    do {                                                                                           \
        for (int i = spin_of(member); !(condition) && i > 0; i--)                                  \
            pause_a_little();                                                                      \
        if (!(condition)) {                                                                        \
            const double began = now();                                                            \
            while (!(condition)) {                                                                 \
                exchange(&(member)->sleeps, 1);                                                    \
                if (condition)                                                                     \
                    stay_awake(member);                                                            \
                else                                                                               \
                    sleep_until_woken(member);                                                     \
            }                                                                                      \
            learn(member, now() - began);                                                          \
            after_sleep;                                                                           \
        }                                                                                          \
    } while (0)

static void wake_all(fastmlp_team *team, int but)
{
    for (int i = 0; i < team->n; i++)
        if (i != but)
            wake(team->members[i]);
}

static void serve(void *argument)
{
    fastmlp_member *me = argument;
    me->thread = number_of_thread();
    become(me);
    for (;;) {
        WAIT_UNTIL(me, load(&me->state) == CALLED, (void)0);
        if (replace(&me->state, CALLED, AT_WORK)) {
            fastmlp_team *team = me->team;
            fastmlp_member *caller = team->members[0];
            release(me, 0); /* it is away from its caller, and may go where it is better */
            stay_apart(team, me->me);
            me->work(me->what, team, me->me);
            fastmlp_go_anywhere();
            exchange(&me->state, IDLE);
            /* This is the thread's last access to the team, which may be gone afterwards. */
            add(&team->n_ended, 1);
            wake(caller);
        }
    }
}

static fastmlp_member *new_member(void)
{
    fastmlp_member *member = PyMem_RawCalloc(1, sizeof *member);
    if (!member)
        return NULL;
    member->bell = PyThread_allocate_lock();
    if (!member->bell) {
        PyMem_RawFree(member);
        return NULL;
    }
    PyThread_acquire_lock(member->bell, WAIT_LOCK);
    member->patience = load(&most_pauses);
    return member;
}

static fastmlp_member *new_thread(void)
{
    fastmlp_member *member = new_member();
    if (member && PyThread_start_new_thread(serve, member) == PYTHREAD_INVALID_THREAD_ID) {
        PyThread_free_lock(member->bell);
        PyMem_RawFree(member);
        return NULL;
    }
    return member;
}

#ifndef _WIN32
/* A forked child has none of these threads, and another thread may have held the lock. */
static void begin_as_child(void)
{
    pool_lock = PyThread_allocate_lock();
    free_threads = free_places = NULL;
}
#endif

int fastmlp_start(void)
{
    second_of_start = time(NULL);
    fastmlp_set_patience(PATIENCE);
    pool_lock = PyThread_allocate_lock();
#ifndef _WIN32
    if (pthread_atfork(NULL, NULL, begin_as_child) != 0)
        return 0;
#endif
    return pool_lock != NULL;
}

static fastmlp_member *take(fastmlp_member **list)
{
    fastmlp_member *member = *list;
    if (member)
        *list = member->next;
    return member;
}

static void give(fastmlp_member **list, fastmlp_member *member)
{
    member->next = *list;
    *list = member;
}

/* Fill the team with up to n members, or fewer if no more threads can be started. */
static void assemble(fastmlp_team *team, int n)
{
    PyThread_acquire_lock(pool_lock, WAIT_LOCK);
    team->members[0] = take(&free_places);
    for (team->n = 1; team->n < n && free_threads; team->n++)
        team->members[team->n] = take(&free_threads);
    PyThread_release_lock(pool_lock);
    if (!team->members[0])
        team->members[0] = new_member();
    for (; team->n < n && team->members[0]; team->n++) {
        team->members[team->n] = new_thread();
        if (!team->members[team->n])
            break;
    }
}

/* Return all members to the pool, the last one first. The next team then gets the same threads in
   the same order, and their caches still hold the data they worked on. */
static void dismiss(fastmlp_team *team, int n)
{
    PyThread_acquire_lock(pool_lock, WAIT_LOCK);
    while (--n > 0)
        give(&free_threads, team->members[n]);
    if (team->members[0])
        give(&free_places, team->members[0]);
    PyThread_release_lock(pool_lock);
}

void fastmlp_run(fastmlp_work work, void *what, int n)
{
    fastmlp_team team;
    fastmlp_member *outside; /* the member of another team from whose work this call comes, or NULL */
    int n_called, i;
    team.n = 1;
    team.times = NULL;
    if (n <= 1) {
        work(what, &team, 0);
        return;
    }
    assemble(&team, n < FASTMLP_MOST_MEMBERS ? n : FASTMLP_MOST_MEMBERS);
    team.n_arrived = team.n_barriers = team.n_ended = 0;
    outside = become(team.members[0]);
    if (team.n > 1)
        look_where(team.members[0]);
    for (i = 1; i < team.n; i++)
        team.members[i]->cpu = -1;
    for (i = 1; i < team.n; i++) {
        fastmlp_member *member = team.members[i];
        member->team = &team;
        member->work = work;
        member->what = what;
        member->me = i;
        send_away(member, team.members[0]);
        exchange(&member->state, CALLED);
        wake(member);
    }
    work(what, &team, 0);
    fastmlp_go_anywhere();
    become(outside);
    n_called = team.n - 1;
    for (i = 1; i < team.n; i++)
        if (replace(&team.members[i]->state, CALLED, IDLE)) {
            release(team.members[i], team.members[i]->thread);
            n_called--;
        }
    if (n_called > 0)
        WAIT_UNTIL(team.members[0], load(&team.n_ended) == n_called, (void)0);
    dismiss(&team, team.n);
}

static void record(fastmlp_team *team)
{
    if (team->n_times-- > 0)
        *team->times++ = 1e-6 * now();
}

void fastmlp_rehearse(fastmlp_work work, void *what, int n, double *times, ptrdiff_t n_times)
{
    fastmlp_team team;
    team.n = n;
    for (int me = 0; me < n; me++) {
        team.times = times + me * n_times;
        team.n_times = n_times;
        record(&team);
        work(what, &team, me);
    }
}

void fastmlp_wait_for_all(fastmlp_team *team, int me)
{
    int n_barriers;
    if (team->times) {
        record(team);
        return;
    }
    if (team->n == 1)
        return;
    n_barriers = load(&team->n_barriers);
    if (add(&team->n_arrived, 1) == team->n - 1) {
        exchange(&team->n_arrived, 0);
        add(&team->n_barriers, 1);
        wake_all(team, me);
    } else {
        look_where(team->members[me]);
        WAIT_UNTIL(team->members[me], load(&team->n_barriers) != n_barriers, stay_apart(team, me));
    }
}

ptrdiff_t fastmlp_next(ptrdiff_t *counter) { return add_size(counter, 1); }

void fastmlp_done(fastmlp_team *team, ptrdiff_t *counter, ptrdiff_t n)
{
    if (add_size(counter, 1) + 1 == n && team->n > 1)
        wake_all(team, -1);
}

void fastmlp_wait_for(fastmlp_team *team, int me, const ptrdiff_t *counter, ptrdiff_t n)
{
    look_where(team->members[me]);
    WAIT_UNTIL(team->members[me], load_size(counter) >= n, stay_apart(team, me));
}
