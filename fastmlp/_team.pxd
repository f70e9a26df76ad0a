"""A team of threads; see _team/team.h."""

cdef extern from "_team/team.h" nogil:
    enum:
        MOST_MEMBERS "FASTMLP_MOST_MEMBERS"

    ctypedef struct Team "fastmlp_team":
        int n

    ctypedef void (*Work)(void* what, Team* team, int me) noexcept nogil

    # Runs the work in all members and returns when they have finished. Members that have not
    # started when the caller finishes are left out.
    void run_team "fastmlp_run"(Work work, void* what, int n) noexcept
    # Runs the members one after the other in this thread, and records when each reaches a barrier.
    void rehearse_team "fastmlp_rehearse"(
        Work work, void* what, int n, double* times, Py_ssize_t n_times) noexcept
    void wait_for_all "fastmlp_wait_for_all"(Team* team, int me) noexcept
    Py_ssize_t next_piece "fastmlp_next"(Py_ssize_t* counter) noexcept
    void piece_is_done "fastmlp_done"(Team* team, Py_ssize_t* counter, Py_ssize_t n) noexcept
    void wait_for_pieces "fastmlp_wait_for"(
        Team* team, int me, const Py_ssize_t* counter, Py_ssize_t n) noexcept
    void go_anywhere "fastmlp_go_anywhere"() noexcept
    void let_bind "fastmlp_let_bind"(bint is_allowed) noexcept
    void set_patience "fastmlp_set_patience"(double microseconds) noexcept
    bint start_teams "fastmlp_start"() noexcept
