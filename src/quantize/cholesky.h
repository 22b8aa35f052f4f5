// cholesky.h: the triangular factor of a large symmetric matrix, on all threads and interruptible.
//
// An 8B's widest layer has 12,288 inputs: 6·10¹¹ multiplications, which one thread needs a minute
// for. Blocked, right-looking (Golub and Van Loan, "Matrix Computations", §4.2.6): the order of the
// sums does not depend on the number of threads.
#pragma once

#include <Eigen/Core>
#include <functional>

#include "base/thread_pool.h"

namespace squint::quantize {

// The lower triangle of m becomes L with m = L Lᵀ; what stands above the diagonal is not used and
// not changed. False where m is not positive definite; then its contents are nobody's.
// `between_blocks` is called about every second at most and may throw to stop.
bool factor_cholesky(
    Eigen::MatrixXd& m, ThreadPool& threads, const std::function<void()>& between_blocks = [] {});

// x becomes (L Lᵀ)⁻¹ x, with L in the lower triangle of `factor`.
void solve_cholesky(const Eigen::MatrixXd& factor, Eigen::MatrixXd& x);

}  // namespace squint::quantize
