/* (5) The solvers: one function each on a range of parameters. */

/* v = mu v - rate g; W += v, or with Nesterov's momentum W += mu v - rate g.

   Sutskever, Martens, Dahl and Hinton, ICML 2013, in scikit-learn's form. */
static void NAME(sgd)(const fastmlp_solver *solver, REAL *__restrict__ params,
                      const REAL *__restrict__ gradient, REAL *__restrict__ velocity, ptrdiff_t n)
{
    const REAL mu = (REAL)solver->momentum, rate = (REAL)solver->step_rate;
    ptrdiff_t i;
    for (i = 0; i < n; i++)
        velocity[i] = mu * velocity[i] - rate * gradient[i];
    if (solver->nesterov)
        for (i = 0; i < n; i++)
            params[i] += mu * velocity[i] - rate * gradient[i];
    else
        for (i = 0; i < n; i++)
            params[i] += velocity[i];
}

/* W -= rate m / (sqrt(v) + epsilon), with both bias corrections in the rate.

   Kingma and Ba, ICLR 2015, the form at the end of its section 2. */
static void NAME(adam)(const fastmlp_solver *solver, REAL *__restrict__ params,
                       const REAL *__restrict__ gradient, REAL *__restrict__ m,
                       REAL *__restrict__ v, ptrdiff_t n)
{
    const REAL rate = (REAL)solver->step_rate, epsilon = (REAL)solver->epsilon;
    const REAL beta_1 = (REAL)solver->beta_1, one_less_1 = (REAL)(1 - solver->beta_1);
    const REAL beta_2 = (REAL)solver->beta_2, one_less_2 = (REAL)(1 - solver->beta_2);
    for (ptrdiff_t i = 0; i < n; i++) {
        REAL g = gradient[i];
        m[i] = beta_1 * m[i] + one_less_1 * g;
        v[i] = beta_2 * v[i] + one_less_2 * g * g;
#if IS_FLOAT
        params[i] -= rate * m[i] / (sqrtf(v[i]) + epsilon);
#else
        params[i] -= rate * m[i] / (sqrt(v[i]) + epsilon);
#endif
    }
}
