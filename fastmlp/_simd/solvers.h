/* (5) The solvers: one function each, for a range of parameters. */

/* v = mu v - rate g; W += v, or with Nesterov's momentum W += mu v - rate g.

   Sutskever, Martens, Dahl and Hinton, ICML 2013, in the form that scikit-learn uses. */
static void NAME(sgd)(const fastmlp_solver *solver, REAL *__restrict__ params,
                      const REAL *__restrict__ gradient, REAL *__restrict__ velocity, ptrdiff_t n)
{
    const REAL mu = (REAL)solver->momentum, rate = (REAL)solver->step_rate;
    ptrdiff_t i;
    for (i = 0; i < n; i++)
        velocity[i] = NAME(fma)(mu, velocity[i], -(rate * gradient[i]));
    if (solver->nesterov)
        for (i = 0; i < n; i++)
            params[i] += NAME(fma)(mu, velocity[i], -(rate * gradient[i]));
    else
        for (i = 0; i < n; i++)
            params[i] += velocity[i];
}

/* W -= rate m / (sqrt(v) + epsilon), with both bias corrections in the rate. With amsgrad, v is
   the largest v so far.

   Kingma and Ba, ICLR 2015, in the form at the end of section 2; Reddi, Kale and Kumar, ICLR
   2018. */
static void NAME(adam)(const fastmlp_solver *solver, REAL *__restrict__ params,
                       const REAL *__restrict__ gradient, REAL *__restrict__ m,
                       REAL *__restrict__ v, REAL *__restrict__ largest_v, ptrdiff_t n)
{
    const REAL rate = (REAL)solver->step_rate, epsilon = (REAL)solver->epsilon;
    const REAL beta_1 = (REAL)solver->beta_1, one_less_1 = (REAL)(1 - solver->beta_1);
    const REAL beta_2 = (REAL)solver->beta_2, one_less_2 = (REAL)(1 - solver->beta_2);
    ptrdiff_t i;
    if (!solver->amsgrad)
        for (i = 0; i < n; i++) {
            const REAL g = gradient[i];
            m[i] = NAME(fma)(beta_1, m[i], one_less_1 * g);
            v[i] = NAME(fma)(beta_2, v[i], one_less_2 * g * g);
            params[i] -= rate * m[i] / (ROOT(v[i]) + epsilon);
        }
    else
        for (i = 0; i < n; i++) {
            const REAL g = gradient[i];
            m[i] = NAME(fma)(beta_1, m[i], one_less_1 * g);
            v[i] = NAME(fma)(beta_2, v[i], one_less_2 * g * g);
            largest_v[i] = largest_v[i] < v[i] ? v[i] : largest_v[i];
            params[i] -= rate * m[i] / (ROOT(largest_v[i]) + epsilon);
        }
}

/* W -= rate (mu g / (1 - product) + mu' m / (1 - product mu')) / (sqrt(v / (1 - beta_2^t)) + eps).
   mu and mu' are the momenta of this step and of the next, and product is the product of all
   momenta so far.

   Dozat, Incorporating Nesterov momentum into Adam, ICLR workshop 2016. */
static void NAME(nadam)(const fastmlp_solver *solver, REAL *__restrict__ params,
                        const REAL *__restrict__ gradient, REAL *__restrict__ m,
                        REAL *__restrict__ v, ptrdiff_t n)
{
    const REAL rate = (REAL)solver->step_rate, epsilon = (REAL)solver->epsilon;
    const REAL now = (REAL)solver->momentum_now, next = (REAL)solver->momentum_next;
    const REAL beta_1 = (REAL)solver->beta_1, one_less_1 = (REAL)(1 - solver->beta_1);
    const REAL beta_2 = (REAL)solver->beta_2, one_less_2 = (REAL)(1 - solver->beta_2);
    for (ptrdiff_t i = 0; i < n; i++) {
        const REAL g = gradient[i];
        m[i] = NAME(fma)(beta_1, m[i], one_less_1 * g);
        v[i] = NAME(fma)(beta_2, v[i], one_less_2 * g * g);
        params[i] -= rate * NAME(fma)(next, m[i], now * g) / (ROOT(v[i]) + epsilon);
    }
}

/* v = rho v + (1 - rho) g^2; W -= rate g / (sqrt(v) + epsilon)

   Tieleman and Hinton, Coursera: Neural networks for machine learning, lecture 6.5, 2012. */
static void NAME(rmsprop)(const fastmlp_solver *solver, REAL *__restrict__ params,
                          const REAL *__restrict__ gradient, REAL *__restrict__ v, ptrdiff_t n)
{
    const REAL rate = (REAL)solver->step_rate, epsilon = (REAL)solver->epsilon;
    const REAL rho = (REAL)solver->rho, one_less = (REAL)(1 - solver->rho);
    for (ptrdiff_t i = 0; i < n; i++) {
        const REAL g = gradient[i];
        v[i] = NAME(fma)(rho, v[i], one_less * g * g);
        params[i] -= rate * g / (ROOT(v[i]) + epsilon);
    }
}

/* v += g^2; W -= rate g / (sqrt(v) + epsilon)

   Duchi, Hazan and Singer, JMLR 12, 2011. */
static void NAME(adagrad)(const fastmlp_solver *solver, REAL *__restrict__ params,
                          const REAL *__restrict__ gradient, REAL *__restrict__ v, ptrdiff_t n)
{
    const REAL rate = (REAL)solver->step_rate, epsilon = (REAL)solver->epsilon;
    for (ptrdiff_t i = 0; i < n; i++) {
        const REAL g = gradient[i];
        v[i] = NAME(fma)(g, g, v[i]);
        params[i] -= rate * g / (ROOT(v[i]) + epsilon);
    }
}

/* v = rho v + (1 - rho) g^2; d = g sqrt(u + eps) / sqrt(v + eps); u = rho u + (1 - rho) d^2;
   W -= rate d

   Zeiler, ADADELTA: an adaptive learning rate method, 2012. */
static void NAME(adadelta)(const fastmlp_solver *solver, REAL *__restrict__ params,
                           const REAL *__restrict__ gradient, REAL *__restrict__ v,
                           REAL *__restrict__ u, ptrdiff_t n)
{
    const REAL rate = (REAL)solver->step_rate, epsilon = (REAL)solver->epsilon;
    const REAL rho = (REAL)solver->rho, one_less = (REAL)(1 - solver->rho);
    for (ptrdiff_t i = 0; i < n; i++) {
        const REAL g = gradient[i];
        REAL d;
        v[i] = NAME(fma)(rho, v[i], one_less * g * g);
        d = g * ROOT(u[i] + epsilon) / ROOT(v[i] + epsilon);
        u[i] = NAME(fma)(rho, u[i], one_less * d * d);
        params[i] = NAME(fma)(-rate, d, params[i]);
    }
}

/* Each parameter has its own step size, which starts at the learning rate. It grows while the slope
   keeps its sign. When the sign changes, the step size shrinks and the parameter skips one step.

   Riedmiller and Braun, ICNN 1993, in the form of Igel and Huesken, 2000 (iRprop-). */
static void NAME(rprop)(const fastmlp_solver *solver, REAL *__restrict__ params,
                        const REAL *__restrict__ gradient, REAL *__restrict__ before,
                        REAL *__restrict__ size, ptrdiff_t n)
{
    const REAL plus = (REAL)solver->eta_plus, minus = (REAL)solver->eta_minus;
    const REAL smallest = (REAL)solver->smallest_step, largest = (REAL)solver->largest_step;
    const REAL first = (REAL)solver->learning_rate;
    const int is_first = solver->t == 1;
    for (ptrdiff_t i = 0; i < n; i++) {
        REAL g = gradient[i], step = is_first ? first : size[i];
        const int same = (g > 0 && before[i] > 0) || (g < 0 && before[i] < 0);
        const int changed = (g > 0 && before[i] < 0) || (g < 0 && before[i] > 0);
        step *= same ? plus : changed ? minus : 1;
        step = step < smallest ? smallest : step > largest ? largest : step;
        g = changed ? 0 : g;
        params[i] -= g > 0 ? step : g < 0 ? -step : g; /* NaN stays NaN */
        before[i] = g;
        size[i] = step;
    }
}

static void NAME(move)(const fastmlp_solver *solver, REAL *params, const REAL *gradient, REAL *state,
                       ptrdiff_t stride, ptrdiff_t n)
{
    REAL *second = state + stride;
    switch (solver->kind) {
        case FASTMLP_SGD:
            NAME(sgd)(solver, params, gradient, state, n);
            break;
        case FASTMLP_ADAM:
            NAME(adam)(solver, params, gradient, state, second, second + stride, n);
            break;
        case FASTMLP_NADAM:
            NAME(nadam)(solver, params, gradient, state, second, n);
            break;
        case FASTMLP_RMSPROP:
            NAME(rmsprop)(solver, params, gradient, state, n);
            break;
        case FASTMLP_ADAGRAD:
            NAME(adagrad)(solver, params, gradient, state, n);
            break;
        case FASTMLP_ADADELTA:
            NAME(adadelta)(solver, params, gradient, state, second, n);
            break;
        case FASTMLP_RPROP:
            NAME(rprop)(solver, params, gradient, state, second, n);
            break;
    }
}
