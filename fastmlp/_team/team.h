/* A team of threads. The thread that calls `fastmlp_run` is member 0; the others come from a pool
   of sleeping threads.

   A waiting member spins for some microseconds and then sleeps in the kernel, so that the member it
   waits for can have the CPU. If it only spun while other programs keep the CPUs busy, it would
   take CPU time from the very member it waits for. */

#ifndef FASTMLP_TEAM_H
#define FASTMLP_TEAM_H

#include <stddef.h>

enum { FASTMLP_MOST_MEMBERS = 1024 };

typedef struct fastmlp_member fastmlp_member;

/* Fields that many members write have cache lines of their own. */
typedef struct {
    int n;          /* number of members; fewer than asked for if threads are refused */
    fastmlp_member *members[FASTMLP_MOST_MEMBERS];
    char apart_1[128];
    int n_arrived;  /* members that have reached the barrier */
    char apart_2[124];
    int n_barriers; /* barriers that all members have reached */
    char apart_3[124];
    int n_ended;    /* members other than member 0 that have finished */
    char apart_4[124];
    double *times;  /* of a rehearsal: where the time of the next barrier goes; otherwise NULL */
    ptrdiff_t n_times;
} fastmlp_team;

/* The work of one member, with `me` from 0 to n - 1. */
typedef void (*fastmlp_work)(void *what, fastmlp_team *team, int me);

/* Run the work in a team of n threads, and return when all have finished. A member that has not
   started when member 0 finishes is left out, because it may take long to get a CPU on a busy
   machine. The work must therefore either wait for all members at barriers, or be divided into
   pieces that any member can take (`fastmlp_next`). */
void fastmlp_run(fastmlp_work work, void *what, int n);

/* Run the work of all n members in this thread, one after the other, to see how long each would take
   by itself. Nobody waits at barriers. times (n, n_times): when a member began, in seconds, and when
   it reached each barrier. Barriers without room are not recorded. */
void fastmlp_rehearse(fastmlp_work work, void *what, int n, double *times, ptrdiff_t n_times);

/* A barrier: returns when all members have reached it. */
void fastmlp_wait_for_all(fastmlp_team *team, int me);

/* The next piece of work. `counter` must start at 0. */
ptrdiff_t fastmlp_next(ptrdiff_t *counter);

/* Count one more piece as done. The last of n pieces wakes the members that wait for them. */
void fastmlp_done(fastmlp_team *team, ptrdiff_t *counter, ptrdiff_t n);

/* Returns when n pieces are done. */
void fastmlp_wait_for(fastmlp_team *team, int me, const ptrdiff_t *counter, ptrdiff_t n);

/* Let this thread use all its CPUs again. A member may be kept away from those of the others while it
   is at work; what it does in Python must not see that, and threads that Python starts would
   inherit it. */
void fastmlp_go_anywhere(void);

/* Whether threads may be kept from some CPUs, which needs a call that some systems forbid. */
void fastmlp_let_bind(int is_allowed);

/* Call once, before anything else. Returns 0 on failure. */
int fastmlp_start(void);

/* How many microseconds a waiting member spins before it sleeps; 0 means no spinning. */
void fastmlp_set_patience(double microseconds);

#endif
