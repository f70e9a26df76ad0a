"""Whether the tests see a fault: plant one, run the tests that should fail, take the next.

    python tests/mutate.py                  # all: three quarters of an hour
    python tests/mutate.py race evaluate    # those with one of these words in their name or file
    python tests/mutate.py --list           # their names

Nothing is changed but a copy of the source in a temporary folder. What is built there is built
without optimization (FASTMLP_DEBUG), but for races, which slow code would hide. A mutation that
survives is a fault that somebody could bring in without noticing. To add one, give it a text that
stands in its file exactly once, what is to stand there, and the tests that should kill it.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "fastmlp"
NEEDED = (PACKAGE, "tests", "setup.py", "pyproject.toml", "README.md", "LICENSE")
COMPILED = (".pyx", ".pxd", ".c", ".h")
SECONDS_FOR_TESTS = 300  # a mutation that hangs is killed, too
SETTINGS = {"OMP_WAIT_POLICY": "passive", "PYTHONDONTWRITEBYTECODE": "1"}


class Mutation(NamedTuple):
    """``text``, which stands in ``file`` once, becomes ``other``.

    ``tests``, which are to kill it, are files of tests/ or tests in them, with spaces between.

    ``is_race``: built with optimization, and only to be seen with more than one CPU.
    """

    name: str
    file: str
    text: str
    other: str
    tests: str
    is_race: bool = False


CORE = "_core.pyx"

IN_STRESS = " ".join(
    f"core/test_races.py::test_bits_under_stress[{{0}}-{n_threads}]" for n_threads in (2, 3, 4)
)

MUTATIONS = [
    # The core: the input layer, learned activations, rates
    Mutation(
        "one-hot codes have no scale", CORE,
        "                values[n], indices[n] = a[one.place], one.row + code\n",
        "                values[n], indices[n] = 1, one.row + code\n",
        "engine/test_input_layer.py::test_outputs_are_those_of_the_reference",
    ),
    Mutation(
        "what was dropped of the inputs has a slope", CORE,
        "            dropout(random_bits(key_of_row(rows, 0, i), -1), rows.dropout_factor"
        " * layer.dropout,\n                    delta_a, delta_a, layer.n_out)\n",
        "            pass\n",
        "engine/test_input_layer.py::test_gradients_behind_dropout_and_noise",
    ),
    Mutation(
        "embeddings of a code of no category", CORE,
        "            memset(e, 0, column.n * sizeof(real))\n",
        "            memcpy(e, E + column.row * of_E, column.n * sizeof(real))\n",
        "engine/test_input_layer.py::test_outputs_are_those_of_the_reference",
    ),
    Mutation(
        "the inputs' phase begins without a barrier", CORE,
        "        begin_phase(&it, False)\n        backward_inputs(net, work, &it.mine)\n",
        "        backward_inputs(net, work, &it.mine)\n",
        IN_STRESS.format("inputs"), is_race=True,
    ),
    Mutation(
        "the gradient of cosines begins anew with each part", CORE,
        "    if rows.before == 0:\n        memset(dW, 0, (block.last - block.first)",
        "    if True:\n        memset(dW, 0, (block.last - block.first)",
        "engine/test_input_layer.py::test_gradients_are_added_up_over_parts",
    ),
    Mutation(
        "mixed activations have the slope of f", "_simd/elementwise.h",
        "delta_z[i] = NAME(fma)(mix[i], delta_z[i] - delta_f[i], delta_f[i]);",
        "delta_z[i] = delta_z[i];",
        "training/test_rates.py::test_training_is_that_of_pytorch",
    ),
    Mutation(
        "the NTK gradient is that of the weights", CORE,
        "    if ntk != 1:\n        scale_by(<real> ntk, dW, n)\n", "",
        "training/test_rates.py::test_the_ntk_step_of_every_solver_is_that_of_the_numbers_that_move",
    ),
    Mutation(
        "weight decay does not follow its schedule", CORE,
        "* it.rules.weight_decay * it.schedule[3 * step + 2]\n", "* it.rules.weight_decay\n",
        "training/test_rates.py::test_training_is_that_of_pytorch",
    ),
    # The core: parts, clipping, structure
    Mutation(
        "only the first row is checked", CORE,
        "all_finite(<const real*> source.values, n * source.stride)",
        "all_finite(<const real*> source.values, source.stride)",
        "engine/test_network.py::test_every_row_is_checked",
    ),
    Mutation(
        "bias of sparse rows: the last part only", CORE,
        "        if not adds_up:\n            memset(db", "        if True:\n            memset(db",
        "core/test_parts.py",
    ),
    Mutation(
        "parts are clipped by value", CORE,
        "        if mine.is_last:\n            clip_or_move(it, mine, dW, i, end)\n",
        "        clip(<real> (it.rules.clip_value if it.rules.clip_value > 0 else 1e30), dW,\n"
        "             size_of(joined(&it.net, i, end), it.net.layers))\n"
        "        if mine.is_last:\n            clip_or_move(it, mine, dW, i, end)\n",
        "core/test_parts.py "
        "training/test_regularization.py::test_large_batches_come_to_the_same_in_parts",
    ),
    Mutation(
        "penalties count once for each part of a batch", CORE,
        "mine.rows.scale if mine.is_last else 0",
        "mine.rows.scale",
        "core/test_parts.py",
    ),
    Mutation(
        "evaluate: the loss of the last part only", CORE,
        "            row_loss[first + i] += rows.loss_factor",
        "            row_loss[first + i] = rows.loss_factor",
        "core/test_parts.py::test_loss_of_many_validation_rows",
    ),
    Mutation(
        "random numbers do not know their part", CORE,
        "rows.before + rows.first + i)", "rows.first + i)",
        "training/test_regularization.py::test_large_batches_come_to_the_same_in_parts",
    ),
    Mutation(
        "denormals stay flushed after a fit", CORE,
        "    if me == 0:     # all members have the same solver state\n"
        "        it.solver[0] = mine.solver\n"
        "    restore_denormals(denormals)",
        "    if me == 0:     # all members have the same solver state\n"
        "        it.solver[0] = mine.solver",
        "core/test_kernels.py::test_denormals_are_restored_by_all_that_the_core_does",
    ),
    Mutation(
        "gradient of the shift for the gain", CORE,
        "delta_z[k] * s[k] if is_gain else delta_z[k]", "delta_z[k]",
        "training/test_regularization.py::test_layer_norm_and_residual",
    ),
    Mutation(
        "no gradient through the residual connection", CORE,
        "    if layer.is_residual:\n        add_multiple(", "    if False:\n        add_multiple(",
        "training/test_regularization.py::test_layer_norm_and_residual",
    ),
    Mutation(
        "what was dropped has a slope", CORE,
        "            dropout(key_of_row(rows, l, i), rows.dropout_factor * layer.dropout,"
        " delta_a,\n"
        "                    delta_f, layer.n_out)",
        "            memcpy(delta_f, delta_a, layer.n_out * sizeof(real))",
        "training/test_regularization.py::test_dropout",
    ),
    Mutation(
        "missing connections have a gradient", CORE,
        "            dW[j] *= connections[of_W + j]", "            dW[j] *= 1",
        "training/test_regularization.py::test_gradient_of_connections_is_that_of_the_others "
        "training/test_regularization.py::test_where_no_connection_is_the_weight_stays_zero",
    ),
    Mutation(
        "sparse columns at the beginning of a block are left out", "_simd/sparse.h",
        "        if (j < 0)\n",
        "        if (j <= 0)\n",
        "estimators/test_data.py::test_sparse_rows_give_what_dense_ones_give",
    ),
    Mutation(
        "weights of rows do not count in a batch's sum", CORE,
        "total += sample_weight[source.order[i]]",
        "total += 1",
        "training/test_weights.py::test_mini_batches",
    ),
    Mutation(
        "label smoothing forgets the true class", CORE,
        "delta[k] -= <real> (1 - smoothing)", "delta[k] -= 1",
        "training/test_losses.py",
    ),
    # The core: threads that do not wait
    Mutation(
        "race: before the gradient", CORE,
        "            stage_of_rows(&it.net, <real*> it.work, &mine.rows, team, me)\n"
        "            wait_for_all(team, me)\n",
        "            stage_of_rows(&it.net, <real*> it.work, &mine.rows, team, me)\n",
        IN_STRESS.format("nothing"),
        is_race=True,
    ),
    Mutation(
        "race: after the moves of a clipped gradient", CORE,
        "        move_clipped(it, mine, any)\n        wait_for_all(team, me)\n",
        "        move_clipped(it, mine, any)\n",
        IN_STRESS.format("clip_norm"),
        is_race=True,
    ),
    Mutation(
        "a step apart counts penalties once for each part", "_training/parts.py",
        "is_last = start + len(rows) == len(part.rows)", "is_last = True",
        "core/test_parts.py::test_gradient_and_step_apart_are_the_fused_step",
    ),
    Mutation(
        "a step apart draws the random numbers of the step before", CORE,
        "random_bits(self.regularizer[0].seed, self.solver[0].t + 1)",
        "random_bits(self.regularizer[0].seed, self.solver[0].t)",
        "core/test_parts.py::test_gradient_and_step_apart_are_the_fused_step",
    ),
    Mutation(
        "race: after shortening weights", CORE,
        "        limit_norms(it, mine, any)\n        wait_for_all(team, me)\n",
        "        limit_norms(it, mine, any)\n",
        IN_STRESS.format("max_norm"),
        is_race=True,
    ),
    Mutation(
        "race: after the gradient", CORE,
        "            train_parameters(it, &mine, any)\n"
        "            wait_for_all(team, me)\n",
        "            train_parameters(it, &mine, any)\n",
        IN_STRESS.format("nothing"),
        is_race=True,
    ),
    Mutation(
        "race: rows follow columns at once", CORE,
        "        take_rows(it, any, l, team, counters + 2)\n"
        "        wait_for_pieces(team, me, &counters[3], ceil_div(it.rows.n, ROWS_TO_FINISH))\n",
        "        take_rows(it, any, l, team, counters + 2)\n",
        IN_STRESS.format("single_rows"),
        is_race=True,
    ),
    # The core: what is checked, and outputs
    Mutation(
        "a class that changed is taken as it is", CORE,
        "<Py_ssize_t> y if 0 <= y < n else 0",
        "<Py_ssize_t> y",
        "core/test_changed_arrays.py::test_classes_that_change_under_the_core",
    ),
    Mutation(
        "an indptr that changed is taken as it is", CORE,
        "min(max(read_once(&source.indptr[j]), 0), source.n_nonzero)",
        "source.indptr[j]",
        "core/test_changed_arrays.py::test_sparse_indices_that_change_under_the_core",
    ),
    Mutation(
        "a column that changed is taken as it is", "_simd/sparse.h",
        "        if (j < 0 || j >= n_in)\n            continue;\n",
        "",
        "core/test_changed_arrays.py::test_sparse_indices_that_change_under_the_core",
    ),
    Mutation(
        "the state is not checked", CORE,
        "n_needed == 0 or n_states < n_needed",
        "n_needed == 0",
        "core/test_changed_arrays.py::test_every_solver_needs_the_arrays_that_it_is_said_to_need",
    ),
    Mutation(
        "the order is not checked", CORE,
        "if not 0 <= order[i] < self.n_rows:",
        "if False:",
        "core/test_changed_arrays.py::test_tables_and_arrays_that_do_not_fit",
    ),
    Mutation(
        "outputs for float64: the last of some rows is left out", CORE,
        "softmax(i - k + 1, last.n_out, a, a,",
        "softmax(i - k, last.n_out, a, a,",
        "engine/test_predictions.py::test_outputs_for_float64_are_those_of_float32_sums",
    ),
    Mutation(
        "strides of columns are ignored", CORE,
        "(<const char*> row + j * column_bytes)",
        "(<const char*> row + j * sizeof(number))",
        "engine/test_predictions.py::test_rows_of_any_type_and_order",
    ),
    Mutation(
        "pieces of all layers share counters", CORE,
        "        counters += 4\n",
        "        counters += 0\n",
        "engine/test_threads.py::test_bits_of_few_rows_do_not_depend_on_threads",
    ),
    # The team of threads, and who is inside
    Mutation(
        "whoever waits at a barrier is not woken", "_team/team.c",
        "        wake_all(team, me);",
        "        (void)me;",
        "engine/test_threads.py::test_bits_do_not_depend_on_how_long_threads_spin",
    ),
    Mutation(
        "threads on one CPU stay there", "_team/team.c",
        "            CPU_COUNT(&member->bound_to) > 0\n",
        "            CPU_COUNT(&member->bound_to) > CPU_SETSIZE\n",
        "engine/test_threads.py::test_threads_on_one_cpu_part",
        is_race=True,
    ),
    Mutation(
        "a thread that is called stays with its caller", "_team/team.c",
        "        send_away(member, team.members[0]);\n", "",
        "engine/test_threads.py::test_a_thread_that_is_called_leaves_the_cpu_of_its_caller",
        is_race=True,
    ),
    Mutation(
        "who is left out stays bound", "_team/team.c",
        "            release(team.members[i], team.members[i]->thread);\n", "",
        "engine/test_threads.py::test_threads_may_use_all_cpus_afterwards",
        is_race=True,
    ),
    Mutation(
        "threads stay bound", "_team/team.c",
        "        sched_setaffinity(thread, sizeof member->allowed, &member->allowed);\n",
        "        member->is_bound = 0;\n",
        "engine/test_threads.py::test_threads_may_use_all_cpus_afterwards",
        is_race=True,
    ),
    Mutation(
        "a loss in Python is bound to a CPU", CORE,
        "    go_anywhere()\n", "    pass\n",
        "engine/test_threads.py::test_a_loss_in_python_sees_all_cpus",
        is_race=True,
    ),
    Mutation(
        "who never came is waited for", "_team/team.c",
        "            n_called--;\n",
        "",
        "engine/test_threads.py::test_bits_do_not_depend_on_threads core/test_races.py",
    ),
    Mutation(
        "a forked child calls its parent's threads", "_team/team.c",
        "    free_threads = free_places = NULL;\n",
        "",
        "engine/test_threads.py::test_forked_child_neither_hangs_nor_differs",
    ),
    Mutation(
        "an interrupt cuts a guard in two", "_guard.pyx",
        "if i == MOST_TRIES - 1:",
        "if True:",
        "engine/test_threads.py::test_an_interrupt_anywhere_leaves_no_guard",
    ),
    Mutation(
        "leaving a guard takes memory", "_guard.pyx",
        "            key = self.key_of(who)\n",
        "            key = who\n",
        "engine/test_threads.py::test_a_lack_of_memory_anywhere_leaves_no_guard",
    ),
    # Kernels
    Mutation(
        "a term is lost in long sums", "_simd/products.h",
        "            const ptrdiff_t size = least(SUM_BLOCK, n_terms - p);",
        "            const ptrdiff_t size = least(SUM_BLOCK, n_terms - p) - (p >= 512);",
        "core/test_parts.py::test_long_sums core/test_kernels.py::test_products_at_every_edge",
    ),
    Mutation(
        "a packed tile misses its last column of x", "_simd/products.h",
        "        COPY(MOST_ROWS)\n", "        COPY(MOST_ROWS - 1)\n",
        "core/test_kernels.py::test_products_at_every_edge",
    ),
    Mutation(
        "softmax is not held below overflow", "_simd/rows.h",
        "NAME(exp)(T[k * SQUARE + r] - most[r])", "NAME(exp)(T[k * SQUARE + r])",
        "core/test_kernels.py::test_softmax_at_every_edge "
        "core/test_core.py::test_core_is_the_reference",
    ),
    Mutation(
        "rprop remembers a slope that has changed", "_simd/solvers.h",
        "g = changed ? 0 : g;", "g = g;",
        "training/test_training.py::test_solver_is_the_reference_for_20_steps",
    ),
    Mutation(
        "amsgrad forgets the largest", "_simd/solvers.h",
        "largest_v[i] = largest_v[i] < v[i] ? v[i] : largest_v[i];", "largest_v[i] = v[i];",
        "training/test_training.py::test_solver_is_the_reference_for_20_steps",
    ),
    # Networks
    Mutation(
        "loss of rows set aside: by all rows' weights", "_engine/passes.py",
        "scale = 1 / data.sample_weight[order].sum(", "scale = 1 / data.sample_weight.sum(",
        "training/test_weights.py::test_loss_and_score_of_rows_set_aside",
    ),
    Mutation(
        "lbfgs: penalties count once for each part", "_engine/passes.py",
        "samples, part, gradient, part is parts[0],", "samples, part, gradient, True,",
        "core/test_parts.py",
    ),
    Mutation(
        "a copy in float64 has no gains", "_engine/parameters.py",
        "            view[...] = state[name]",
        '            view[...] = state[name] if name[0] in "Wb" else 0',
        "inspection/test_diagnostics.py::test_check_gradients_looks_at_the_network_that_was_fitted",
    ),
    Mutation(
        "the inputs are added to a layer as wide", "_engine/layout.py",
        "residual and l > 1 and", "residual and",
        "core/test_rows_alone.py::test_a_row_alone_is_the_reference[baseline-as-wide-as-X-float32]",
    ),
    # Training
    Mutation(
        "another averaging goes on with the old state", "_training/descent.py",
        'KEPT = ("amsgrad", "averaging")', 'KEPT = ("amsgrad",)',
        "training/test_regularization.py::test_a_solver_that_cannot_go_on_begins_anew",
    ),
    Mutation(
        "another input_noise is ignored", "_training/descent.py",
        '("dropout", "input_noise", "clip_norm")', '("dropout", "clip_norm")',
        "training/test_regularization.py::test_changed_options_act_in_the_next_call",
    ),
    Mutation(
        "columns of a failed fit stay", "_training/history.py",
        '            del self.columns[name]', "            pass",
        "training/test_regularization.py::test_history_after_a_failed_call_with_validation_rows",
    ),
    Mutation(
        "seconds without validation", "_training/epochs.py",
        "        measured = self.validate() if self.validate else {}\n",
        "        now = time.perf_counter()\n"
        "        measured = self.validate() if self.validate else {}\n"
        "        began += time.perf_counter() - now\n",
        "training/test_progress.py",
    ),
    Mutation(
        "the last weights instead of the best", "_training/epochs.py",
        "descent.network.restore(history.best_params)", "pass",
        "training/test_training.py::test_early_stopping_keeps_the_best_weights",
    ),
    Mutation(
        "a plateau lowers the rate too early", "_training/descent.py",
        'if self._n_bad_epochs <= settings["schedule_params"]["patience"]:',
        'if self._n_bad_epochs < settings["schedule_params"]["patience"]:',
        "training/test_schedules.py",
    ),
    Mutation(
        "warmup takes from the end of a schedule", "_training/schedules.py",
        "np.maximum(epochs - warmup, 0), n_epochs - warmup,",
        "np.maximum(epochs - warmup, 0), n_epochs,",
        "training/test_schedules.py",
    ),
    # L-BFGS
    Mutation(
        "curvature: products of a newer y with older pairs only", CORE,
        "y[at, 1, other] if i <= j else y[other, 1, at])", "y[at, 1, other])",
        "training/test_lbfgs.py::test_direction",
    ),
    Mutation(
        "curvature: the oldest pair is never replaced", CORE,
        "            self.oldest = self.place_of(1)\n", "            pass\n",
        "training/test_lbfgs.py::test_direction",
    ),
    Mutation(
        "curvature: pairs are forgotten, their order is not", CORE,
        "self.n_pairs, self.oldest, self.is_new = 0, 0, False", "self.n_pairs = 0",
        "training/test_lbfgs.py",
    ),
    Mutation(
        "curvature: a part that a late member has taken is computed by nobody", CORE,
        "    cdef double* sums\n    while part < it.n_parts:\n",
        "    cdef double* sums\n    part = me if team.n > 1 else part\n"
        "    while part < it.n_parts:\n",
        "training/test_lbfgs.py::test_direction_has_the_same_bits_for_any_number_of_threads",
    ),
    Mutation(
        "lbfgs learns where the slope falls", "_training/lbfgs.py",
        "if slope_there - slope > EPSILON * -slope:", "if True:",
        "training/test_lbfgs.py::test_steps_are_those_of_scipy",
    ),
    Mutation(
        "lbfgs goes on with the memory that led astray", "_training/lbfgs.py",
        "            self._curvature.forget()  # and", "            break  # and",
        "training/test_lbfgs.py::test_a_search_that_fails_begins_anew_without_memory",
    ),
    Mutation(
        "a search takes the secant for the cubic", "_training/line_search.py",
        "step = cubic if is_nearer == is_bracketed else secant", "step = secant",
        "training/test_lbfgs.py::test_steps_of_a_search_are_those_of_scipy",
    ),
    # Estimators and what is beside them
    Mutation(
        "a schedule's end is no convergence", "_estimators/training.py",
        "is_partial or self.learning_rate in SCHEDULES_WITH_END",
        "is_partial",
        "training/test_schedules.py",
    ),
    Mutation(
        "ties go to the second class", "_estimators/classifier.py",
        "(output > 0.5)", "(output >= 0.5)",
        "estimators/test_estimators.py::test_ties_are_decided_as_in_scikit_learn",
    ),
    Mutation(
        "class weights replace sample weights", "_estimators/inputs.py",
        "class_weight if weight is None else weight * class_weight", "class_weight",
        "estimators/test_requests.py::test_class_weight_is_a_sample_weight",
    ),
    Mutation(
        "scorers get no weights", "_estimators/validation.py",
        "scorer(estimator, part.X, part.y, **weight)",
        "scorer(estimator, part.X, part.y)",
        "training/test_weights.py::test_scoring_of_validation_rows_is_weighted",
    ),
    Mutation(
        "scorers get no weights of rows set aside", "_estimators/validation.py",
        "_safe_indexing(X, rows), y[rows], weight)", "_safe_indexing(X, rows), y[rows], None)",
        "training/test_weights.py::test_scoring_of_validation_rows_is_weighted",
    ),
    Mutation(
        "two classes are not stratified", "_estimators/validation.py",
        "stratify=data.y.astype(bool) if is_binary else None", "stratify=None",
        "training/test_losses.py::test_validation_rows_of_two_classes_are_stratified",
    ),
    Mutation(
        "rows without weight are probed", "_training/probe.py",
        "order[data.sample_weight[order] > 0]", "order",
        "inspection/test_diagnostics.py::test_rows_without_weight_are_not_probed",
    ),
    Mutation(
        "diagnose looks at the first epoch", "_inspection/diagnostics.py",
        "shares[~np.isnan(shares).any(axis=1)][-1]", "shares[~np.isnan(shares).any(axis=1)][0]",
        "inspection/test_diagnostics.py::test_diagnose_looks_at_the_last_epoch",
    ),
    Mutation(
        "a loss that creeps up is not seen", "_inspection/diagnostics.py",
        "if rises > OFTEN or loss[-1] > loss[0]:", "if rises > OFTEN:",
        "inspection/test_diagnostics.py::test_diagnose_sees_a_loss_that_creeps_up",
    ),
    Mutation(
        "callbacks after one that stops are left out", "_estimators/callbacks.py",
        "any([function(self._estimator, epoch) for function in self._functions])",
        "any(function(self._estimator, epoch) for function in self._functions)",
        "training/test_progress.py",
    ),
    Mutation(
        "time left: the time of all epochs", "_training/progress.py",
        "(epoch.max_iter / epoch.epoch - 1)", "(epoch.max_iter / epoch.epoch)",
        "training/test_progress.py",
    ),
    # Threads
    Mutation(
        "the limit of a cgroup is ignored", "_engine/threads.py",
        "return _cpus_of_joblib(len(os.sched_getaffinity(0)))",
        "return len(os.sched_getaffinity(0))",
        "engine/test_threads.py::test_a_cgroup_limits_threads",
    ),
    Mutation(
        "who closes the core has to be who has opened it", "_guard.pyx",
        "self._beneath.leave(who) or", "self._beneath.leave(PyThread_get_thread_ident()) or",
        "engine/test_threads.py::test_the_last_to_leave_may_be_another_thread",
    ),
    Mutation(
        "a forked child counts its parent's threads", "_guard.pyx",
        "            self._depths.clear()\n"
        "            if self._end",
        "            if self._end",
        "engine/test_threads.py::test_forked_child_is_in_no_guard_of_its_parent",
    ),
    Mutation(
        "fits at the same time take all CPUs each", "_engine/threads.py",
        "available_threads() // max(1, core_in_use.n_users)",
        "available_threads()",
        "engine/test_threads.py::test_fits_at_the_same_time_share_out_the_cpus",
    ),
    Mutation(
        "few rows: no residual connections by columns", CORE,
        "        activate_rows(l, layers, params, work, rows)\n"
        "    finish_rows(l, layers, params, work, rows)\n",
        "        activate_rows(l, layers, params, work, rows)\n",
        "core/test_rows_alone.py::test_rows_stand_alone[wide-float32]",
    ),
    Mutation(
        "training by columns: no activation but relu", CORE,
        "return is_relu_fused(layer) and not is_changed(layer)", "return True",
        "core/test_cuts.py",
    ),
    Mutation(
        "training by columns: no derivative but that of relu", CORE,
        "if before.is_normalized or not is_gated(l, net.layers, any):",
        "if before.is_normalized:",
        "core/test_cuts.py",
    ),
    Mutation(
        "race: between layers that are cut by columns", CORE,
        "        wait_for_all(it.team, it.me)\n    it.is_by_columns",
        "        pass\n    it.is_by_columns",
        "core/test_cuts.py",
        is_race=True,
    ),
    Mutation(
        "sparse rows lose the first number of a share", CORE,
        "(indices[p + half - 1] < column)", "(indices[p + half - 1] <= column)",
        "core/test_cuts.py::test_activations_and_rows",
    ),
    Mutation(
        "unsorted sparse rows are not sorted", "_engine/rows.py",
        "            X = X.sorted_indices()", "            pass",
        "estimators/test_data.py",
    ),
    Mutation(
        "a failed call moves the solver that was there", "_training/descent.py",
        "        twin = object.__new__(type(self))\n        vars(twin).update(vars(self))\n",
        "        twin = self\n",
        "training/test_regularization.py::test_a_failed_call_is_no_epoch_of_a_schedule "
        "training/test_regularization.py::test_a_failed_call_is_no_bad_epoch_of_a_plateau",
    ),
    Mutation(
        "a failed call counts the solver's steps", "_training/descent.py",
        "self._solver, self._regularizer = self._solver.copy(), self._regularizer.copy()",
        "self._regularizer = self._regularizer.copy()",
        "training/test_training.py estimators/test_refit.py",
    ),
    Mutation(
        "partial_fit takes changed parameters unseen", "_estimators/checked.py",
        "all(map(operator.is_, checked, self._parameters()))", "checked",
        "estimators/test_streams.py",
    ),
    Mutation(
        "partial_fit takes equal parameters for the same", "_estimators/checked.py",
        "all(map(operator.is_, checked, self._parameters()))", "checked == self._parameters()",
        "estimators/test_streams.py",
    ),
    Mutation(
        "partial_fit takes a list changed in place unseen", "_estimators/checked.py",
        "            hash(parameters)", "            len(parameters)",
        "estimators/test_streams.py",
    ),
    Mutation(
        "partial_fit takes rows that are not finite", "_estimators/inputs.py",
        "if _core.largest_of(rows) < np.inf:", "if len(rows):",
        "estimators/test_streams.py",
    ),
    Mutation(
        "partial_fit shuffles by the numbers of the call before", "_estimators/base.py",
        "        self._generator.seed(self.random_state)", "        pass",
        "estimators/test_streams.py",
    ),
    # The estimators for tables
    Mutation(
        "a member keeps its last weights, not its best", "_tabular/member.py",
        "        self.network.restore(self.best)", "        pass",
        "tabular/test_tabular_mlp.py::test_loss_of_the_leaderboard_is_that_of_the_network",
    ),
    Mutation(
        "networks are trained on the rows that judge them", "_tabular/base.py",
        "np.setdiff1d(rows, fold, assume_unique=True)", "rows",
        "tabular/test_tabular_mlp.py",
    ),
    Mutation(
        "the selection goes on when nothing improves it", "_tabular/selection.py",
        "if not losses[added] < best:", "if False:",
        "tabular/test_selection.py",
    ),
    Mutation(
        "probabilities are not calibrated", "_tabular/classifier.py",
        "return at_temperature(self._outputs(X), self.temperature_)", "return self._outputs(X)",
        "tabular/test_tabular_mlp.py",
    ),
    Mutation(
        "every split counts as the whole", "_tabular/base.py",
        "part.weight / len(known)", "part.weight",
        "tabular/test_tabular_mlp.py",
    ),
    Mutation(
        "a missing number counts as the middle without a sign", "_tabular/columns.py",
        "numbers[:, int(self.map is not None)] = column.missing",
        "numbers[:, int(self.map is not None)] = 0",
        "tabular/test_table.py",
    ),
    Mutation(
        "an interrupted fit says that it has converged", "_training/epochs.py",
        'reason = "interrupted"', 'reason = "converged"',
        "training/test_training.py estimators/test_requests.py",
    ),
    Mutation(
        "threadpoolctl's limit stays", "_engine/threads.py",
        "num_threads if num_threads < _unlimited() else math.inf",
        "num_threads",
        "engine/test_threads.py::test_threadpoolctl_limits_threads",
    ),
    # ONNX
    Mutation(
        "layers are not normalized in ONNX by their own mean", "_onnx/network.py",
        "        W, b = _without_mean(W), _without_mean(b)\n", "        pass\n",
        "export/test_onnx.py::test_a_shared_shift_does_not_cancel",
    ),
    Mutation(
        "residual connections in ONNX come from nowhere", "_onnx/network.py",
        "    if network.parameters.rows[l].is_residual:\n", "    if False:\n",
        "export/test_onnx.py::test_structures",
    ),
    Mutation(
        "a code of no category is the last one in ONNX", "_onnx/input_layer.py",
        "np.zeros((1, table.shape[1]), table.dtype)", "table[-1:]",
        "export/test_onnx.py::test_codes_of_no_category",
    ),
    Mutation(
        "one-hot codes in ONNX have no scale", "_onnx/input_layer.py",
        "                weights = weights * np.ravel", "                np.ravel",
        "export/test_onnx.py::test_input_layers",
    ),
    Mutation(
        "cosines in ONNX have unrounded phases", "_onnx/input_layer.py",
        'turns = add("Clip", cast(turns, dtype), ', 'turns = add("Clip", cast(x, dtype), ',
        "export/test_onnx.py::test_input_layers",
    ),
    Mutation(
        "gelu in ONNX is rounded to float32", "_onnx/activations.py",
        "        terms = polynomial_of_erfc()\n",
        "        terms = polynomial_of_erfc().astype(np.float32)\n",
        "export/test_onnx.py::test_gelu_of_float64_is_that_of_the_normal_distribution",
    ),
    Mutation(
        "a knot belongs to the piece before it in ONNX", "_onnx/search.py",
        '"LessOrEqual"', '"Less"',
        "export/test_onnx_tables.py::test_what_the_networks_read",
    ),
    Mutation(
        "an unknown number is the next category in ONNX", "_onnx/table.py",
        'code = add("Where", add("Equal", nearest, x), code, np.array(-1))',
        'code = add("Where", add("Equal", x, x), code, np.array(-1))',
        "export/test_onnx_tables.py::test_what_the_networks_read",
    ),
    Mutation(
        "an unknown string is the first category in ONNX", "_onnx/table.py",
        "default_int64=-1", "default_int64=0",
        "export/test_onnx_tables.py::test_what_the_networks_read",
    ),
    Mutation(
        "dates in ONNX have the hours of UTC", "_onnx/columns.py",
        'self.graph.add("Add", seconds, offset) if offset else seconds', "seconds",
        "export/test_onnx_tables.py::test_what_the_networks_read",
    ),
    Mutation(
        "the century is a leap year in ONNX", "_onnx/table.py",
        'add("Div", day_of_era, 36_524)', 'add("Div", day_of_era, 146_096)',
        "export/test_onnx_tables.py::test_calendar",
    ),
    Mutation(
        "the ensemble in ONNX is not calibrated", "_onnx/tabular.py",
        "np.array(1 / temperature)", "np.array(1.0)",
        "export/test_onnx_tables.py::test_arrays",
    ),
    Mutation(
        "predictions in ONNX leave the range of the targets", "_onnx/tabular.py",
        'graph.add("Clip", outputs, np.array(scale.smallest), np.array(scale.largest))', "outputs",
        "export/test_onnx_tables.py",
    ),
    Mutation(
        "a failed write leaves no file", "_engine/whole_file.py",
        """    beside = os.path.join(folder, f".{name}.{secrets.token_hex(8)}.part")
    try:
        with open(beside, "xb") as file:
""",
        """    beside = path
    try:
        with open(beside, "wb") as file:
""",
        "export/test_onnx.py::test_failed_write_leaves_the_old_file"
        " files/test_model_files.py::test_full_disk_leaves_the_old_file",
    ),
    # Model files and checkpoints
    Mutation(
        "weights of a file are copied", "_engine/model_file.py",
        "if places[0] % CACHE_LINE or ends[:-1] != places[1:]:", "if True:",
        "files/test_model_files.py::test_weights_are_used_where_they_are",
    ),
    Mutation(
        "tensors of a file are taken for ordered", "_engine/model_file.py",
        "if places[0] % CACHE_LINE or ends[:-1] != places[1:]:", "if False:",
        "files/test_model_files.py::test_tensors_in_another_order_are_copied",
    ),
    Mutation(
        "a newer version is read", "_engine/model_file.py",
        "        if version > VERSION:\n", "        if version > VERSION + 1:\n",
        "files/test_model_files.py::test_file_of_a_newer_version",
    ),
    Mutation(
        "a file has no rate of the solver", "_training/descent.py",
        '        self.rate = fields.number("rate", 0, finite=False)\n', "",
        "files/test_checkpoints.py",
    ),
    Mutation(
        "a resumed fit has its own order of rows", "_training/epochs.py",
        "        self._order = order\n", "",
        "files/test_checkpoints.py::test_resumed_fit_is_the_one_that_never_stopped",
    ),
    Mutation(
        "a resumed fit has its own random numbers", "_estimators/checkpoints.py",
        "        self._random_state.set_state(now.get_state())\n", "",
        "files/test_checkpoints.py::test_resumed_fit_is_the_one_that_never_stopped",
    ),
    Mutation(
        "a resumed fit may have other data", "_estimators/checkpoints.py",
        "if before.get(name) != digest]", "if before.get(name) is None]",
        "files/test_checkpoints.py::test_other_data_or_parameters_are_an_error",
    ),
    Mutation(
        "a stream trains on the rows set aside", "_estimators/streamed_rows.py",
        "kept = ~aside.mask(first, len(batch.X))", "kept = np.full(len(batch.X), True)",
        "estimators/test_fit_stream.py::"
        "test_rows_that_early_stopping_sets_aside_are_not_trained_on",
    ),
    Mutation(
        "a buffer ends within a mini-batch", "_estimators/streamed_rows.py",
        "max(self._buffer_rows // batch_size, 1) * batch_size", "self._buffer_rows",
        "estimators/test_fit_stream.py::test_without_shuffling_it_is_fit",
    ),
    Mutation(
        "schedules count the steps of a buffer", "_training/descent.py",
        "self.schedule_of(n_steps, steps_in_epoch or n_steps)",
        "self.schedule_of(n_steps, n_steps)",
        "estimators/test_fit_stream.py::test_without_shuffling_it_is_fit",
    ),
    Mutation(
        "row groups keep their places", "_estimators/streamed_rows.py",
        "units = self._random_state.permutation(n_units)", "pass",
        "estimators/test_fit_stream.py::"
        "test_every_row_is_seen_once_an_epoch_and_the_order_changes",
    ),
    Mutation(
        "a lost worker ends the fit", "_tabular/training.py",
        "if n_failures == MOST_FAILURES or not is_of_worker(error):", "if True:",
        "clusters/test_many_networks.py::test_a_worker_of_joblib_that_dies_is_replaced",
    ),
    Mutation(
        "rows of another memory are not aligned", "_tabular/training.py",
        'np.require(array, requirements=["C", "A"])', "array",
        "clusters/test_many_networks.py::"
        "test_dask_gives_the_same_bits_and_sends_the_rows_once",
    ),
    Mutation(
        "Ray stores the rows for each fit", "_distributed/ray.py",
        "if id(value) not in self._stored:", "if True:",
        "clusters/test_many_networks.py::test_searches_on_ray_store_the_rows_once",
    ),
    Mutation(
        "sums of slots have the order of the ranks", "_distributed/tree.py",
        "if first <= node[0] and node[1] <= last:", "if node[1] - node[0] == 1:",
        "clusters/test_mpi_sums.py::test_subtrees_are_the_largest_nodes_in_a_range",
    ),
    Mutation(
        "every slot counts the penalties", "_distributed/rows.py",
        "penalized == slot,", "penalized >= 0,",
        "clusters/test_mpi_sums.py::test_weights_are_those_of_plain_numpy",
    ),
    Mutation(
        "random numbers of dropout begin anew in every slot", "_distributed/rows.py",
        "self._places = np.cumsum(counts, axis=0) - counts", "self._places = 0 * counts",
        "clusters/test_mpi_sums.py::test_mini_batches_have_about_as_many_rows_as_asked_for",
    ),
    Mutation(
        "rows are weighted by the sum of their slot", "_distributed/rows.py",
        "totals = sum_of_slots(self._ranks.slot_values(np.stack(weights)))",
        "totals = sum_of_slots(np.stack(weights))",
        "clusters/test_mpi.py::test_bits_do_not_depend_on_the_number_of_ranks",
    ),
    Mutation(
        "orders do not depend on the slot", "_distributed/slots.py",
        "return [seed & 0xFFFFFFFF, seed >> 32, slot, epoch]",
        "return [seed & 0xFFFFFFFF, seed >> 32, 0, epoch]",
        "clusters/test_mpi_sums.py::test_orders_are_permutations_that_depend_on_all_that_they_are_drawn_by",
    ),
    Mutation(
        "survivors are chosen anew", "_tabular/checkpoints.py",
        "        self._n_rounds += 1\n        return ", "        return choose() if self.run else ",
        "files/test_checkpoints.py::test_survivors_of_a_round_are_not_chosen_again",
    ),
    Mutation(
        "an export sees a fit under way", "_onnx/export.py",
        "model if isinstance(model, Network) else model.__published__()", "model",
        "export/test_onnx.py::test_while_another_thread_fits",
    ),
    Mutation(
        "ZipMap gets float64", "_onnx/converters.py",
        "_is_wide(operator) and not is_mapped", "_is_wide(operator)",
        "export/test_skl2onnx.py::test_zipmap",
    ),
    Mutation(
        "skl2onnx is not told of our converters", "_onnx/registration.py",
        "            load(module)\n            register_converters()\n",
        "            load(module)\n",
        "export/test_skl2onnx.py::test_registered_by_imports",
    ),
    # The command line
    Mutation(
        "lines that are too short are filled up", "_cli/csv_rows.py",
        "        if frame[last].null_count():\n", "        if False:\n",
        "cli/test_cli_train.py::test_bad_files",
    ),
    Mutation(
        "line breaks in quotes end a line", "_cli/blocks.py",
        "        if newline < 0 or n_quotes % 2 == 0:\n", "        if True:\n",
        "cli/test_cli_blocks.py::test_pieces_are_whole_rows",
    ),
    Mutation(
        "digits in a column of strings are numbers", "_cli/csv_rows.py",
        'pl.Float64 if kind == "numbers" else pl.String for',
        'pl.Float64 if kind != "dates" else pl.String for',
        "cli/test_cli_train.py::test_validation_rows_have_the_kinds_of_the_training",
    ),
    Mutation(
        "the output is written over the old one", "_cli/replacing.py",
        "whole_file(path) if is_file else open", "open(path, 'wb') if is_file else open",
        "cli/test_cli_predict.py::test_errors_write_nothing",
    ),
    Mutation(
        "a pipe is answered at its end", "_cli/sinks.py",
        "        self._file.flush()  # for who waits at the other end of a pipe\n", "",
        "cli/test_cli_predict.py::test_pipe_is_answered_row_by_row",
    ),
    Mutation(
        "work ahead goes on when its user has gone", "_cli/tables.py",
        "                if done.is_set():\n                    return\n", "",
        "cli/test_cli_blocks.py::test_work_ahead_stops_with_its_user",
    ),
    Mutation(
        "unseen numbers have the code of a neighbor", "_tabular/reading.py",
        "np.where(known[codes] == self.values, codes, -1)", "codes",
        "tabular/test_table.py::test_unseen_values_of_many_rows",
    ),
    Mutation(
        "unseen strings of polars have the first code", "_tabular/reading.py",
        "replace_strict(code_of, default=-1)", "replace_strict(code_of, default=0)",
        "tabular/test_table.py::test_unseen_values_of_many_rows",
    ),
]  # fmt: skip


class Copy:
    """A copy of the source in a folder, where mutations are planted and the tests run."""

    def __init__(self, folder):
        self.folder = folder
        for name in NEEDED:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, folder / name)
        for leftover in (folder / PACKAGE).glob("_*.so"):
            leftover.unlink()

    def path(self, mutation):
        return self.folder / PACKAGE / mutation.file

    def build(self, *, optimised):
        """Compile in place; returns whether that worked."""
        done = self._run(
            [sys.executable, "setup.py", "-q", "build_ext", "--inplace", "--force"],
            FASTMLP_DEBUG=str(int(not optimised)),
        )
        if done.returncode != 0:
            print(done.stdout[-3000:])
        return done.returncode == 0

    def test(self, tests, seconds=None):
        """Returns 'passed', 'failed' or, where the tests did not run, what pytest said."""
        options = ["-q", "-x", "-p", "no:cacheprovider", "--rootdir", ".", "--no-header"]
        try:
            done = self._run(
                [sys.executable, "-P", "-m", "pytest", *options, *(f"tests/{t}" for t in tests)],
                seconds,
                PYTHONPATH=str(self.folder),
            )
        except subprocess.TimeoutExpired:
            return "failed"
        if done.returncode in (0, 1):
            return ("passed", "failed")[done.returncode]
        has_crashed = done.returncode < 0 or done.returncode > 128  # by a signal
        return "failed" if has_crashed else done.stdout[-3000:]

    def _run(self, command, seconds=None, **environment):
        return subprocess.run(
            command,
            cwd=self.folder,
            env={**os.environ, **SETTINGS, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )


def outcome_of(copy, mutation):
    """'killed', 'SURVIVED', or 'BROKEN' with what has been said."""
    path = copy.path(mutation)
    original = path.read_text(encoding="utf-8")
    is_compiled = path.suffix in COMPILED
    if original.count(mutation.text) != 1:
        return f"BROKEN: its text stands {original.count(mutation.text)} times in {mutation.file}"
    path.write_text(original.replace(mutation.text, mutation.other), encoding="utf-8")
    try:
        if is_compiled and not copy.build(optimised=mutation.is_race):
            return "BROKEN: does not build"
        outcome = copy.test(mutation.tests.split(), SECONDS_FOR_TESTS)
    finally:
        path.write_text(original, encoding="utf-8")
    return {"passed": "SURVIVED", "failed": "killed"}.get(outcome, f"BROKEN: {outcome}")


def outcomes_of(mutations, copy, *, optimised):
    """What becomes of each mutation, once the tests have passed without any."""
    if not mutations:
        return []
    print(f"nothing planted, {'with' if optimised else 'no'} optimization", end=" ... ", flush=True)
    if not copy.build(optimised=optimised):
        sys.exit("the source does not build")
    tests = dict.fromkeys(test for mutation in mutations for test in mutation.tests.split())
    if (outcome := copy.test(list(tests))) != "passed":
        sys.exit(f"the tests must pass before anything is planted: {outcome}")
    print("the tests pass")
    outcomes = []
    # those first that need no build: the last one would be that of another mutation
    for mutation in sorted(mutations, key=lambda m: Path(m.file).suffix in COMPILED):
        began = time.perf_counter()
        print(f"{mutation.file:18} {mutation.name}", end=" ... ", flush=True)
        outcomes.append(outcome_of(copy, mutation))
        print(f"{outcomes[-1]} ({time.perf_counter() - began:.0f} s)", flush=True)
    return outcomes


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", help="run those with one of these in name or file")
    parser.add_argument("--list", action="store_true", help="show the names and end")
    arguments = parser.parse_args()
    chosen = [
        mutation
        for mutation in MUTATIONS
        if not arguments.words
        or any(word in f"{mutation.file} {mutation.name}" for word in arguments.words)
    ]
    if arguments.list or not chosen:
        print(*(f"{mutation.file:18} {mutation.name}" for mutation in MUTATIONS), sep="\n")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Copy(Path(folder))
        outcomes = outcomes_of([m for m in chosen if not m.is_race], copy, optimised=False)
        outcomes += outcomes_of([m for m in chosen if m.is_race], copy, optimised=True)
    n_killed = outcomes.count("killed")
    print(f"{n_killed} of {len(chosen)} killed")
    return int(n_killed < len(chosen))


if __name__ == "__main__":
    sys.exit(main())
