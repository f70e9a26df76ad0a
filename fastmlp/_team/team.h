/* Threads that work together: who calls `fastmlp_run` is member 0, the others are kept asleep for it.

   Whoever waits spins for some microseconds and then sleeps in the kernel, so that whoever is waited
   for gets the CPU: where other programs keep the CPUs busy, spinning alone would take from the team
   the time that it waits for. */

#ifndef FASTMLP_TEAM_H
#define FASTMLP_TEAM_H

#include <stddef.h>

enum { FASTMLP_MOST_MEMBERS = 1024 };

typedef struct fastmlp_member fastmlp_member;

/* What many members write lies in cache lines of its own. */
typedef struct {
    int n;          /* members: as many as were asked for, or as many threads as there could be */
    fastmlp_member *members[FASTMLP_MOST_MEMBERS];
    char apart_1[128];
    int n_arrived;  /* at the barrier */
    char apart_2[124];
    int n_barriers; /* that all members have reached */
    char apart_3[124];
    int n_ended;    /* members but the first that have ended their work */
    char apart_4[124];
} fastmlp_team;

/* What a member, `me` from 0 to n - 1, does. */
typedef void (*fastmlp_work)(void *what, fastmlp_team *team, int me);

/* Do the work in a team of n threads, and return when all have ended. A member that has not begun
   when the first has ended is left out: on a busy machine it may be long before it gets a CPU. So
   work either waits for all, or is taken piece by piece by whoever is there (`fastmlp_next`). */
void fastmlp_run(fastmlp_work work, void *what, int n);

/* A barrier: go on when all members have come here. */
void fastmlp_wait_for_all(fastmlp_team *team, int me);

/* The next piece of those that members count in `counter`, which began with 0. */
ptrdiff_t fastmlp_next(ptrdiff_t *counter);

/* Count one more piece as done, and with the last of n wake up who waits for them. */
void fastmlp_done(fastmlp_team *team, ptrdiff_t *counter, ptrdiff_t n);

/* Go on when n pieces are done. */
void fastmlp_wait_for(fastmlp_team *team, int me, const ptrdiff_t *counter, ptrdiff_t n);

/* Call once, before anything else; returns whether that has worked. */
int fastmlp_start(void);

/* For how many microseconds who waits spins before sleeping; 0 for not at all. */
void fastmlp_set_patience(double microseconds);

#endif
