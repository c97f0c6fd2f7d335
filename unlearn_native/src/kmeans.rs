//! k-means that forgets: a fitted model is a pure function of the live rows, the parameters and the key.
//!
//! Every E-step of Lloyd's algorithm is kept ([`replay`]), so that learning and forgetting rows is pushed through the
//! run instead of repeating it. What the run *is* stands here; how little of it is looked at again is the engine's affair.
//!
//! # Definition
//!
//! *Rows* are the live rows of a weight above 0. Their values and weights are promoted to f64; sums over rows are sums of
//! integers; everything else is a fixed sequence of f64 operations without fused multiply-add. Sums over features and over
//! clusters run in their order.
//!
//! * **Grids.** The exponent of column l is the largest [`draw::exponent`] of `x_l` over the rows under the column's
//!   threshold, and at least -900 (also where all values are 0); its step is `g_l = 2^(exponent - 40)`. The *weighted*
//!   column has the same of `w * x_l`, under the same threshold, the weights that of `w` under theirs; steps `v_l` and
//!   `g_w`. A row enters sums as the integers `x_l / g_l`, `(w * x_l) / v_l` and `w / g_w`, each rounded to the nearest,
//!   ties to even. (Products beyond the finite range are clamped to it.)
//! * **Tolerance.** `tol` times the mean over columns of the unweighted variance `((Q - r * r / n) / n) * (g_l * g_l)`,
//!   where with the sums Z of `x_l / g_l` and Z2 of its squares `q = floor(Z / n)`, `r = Z - q n`, and
//!   `Q = Z2 - 2 q Z + n q^2`: integers, each converted to f64 once. The mean is the sum divided by the number of columns.
//! * **Distance** of a row and a centre: the sum of `(x_l - c_l) * (x_l - c_l)`, from 0.0. A row's label is the centre
//!   of the smallest distance, and of these the first. (Sparse rows are ranked by inner products where a bound of their
//!   error leaves no doubt, which changes no label: [`kernel`].)
//! * **Centre** of a cluster with integer sums S and W: `(S_l * v_l) / (W * g_w)`, the integers converted to f64 first,
//!   then rounded to the type of X. A cluster with W = 0 is empty.
//! * **Relocation.** If clusters are empty after an E-step, they take, in their order, the rows farthest from the centre
//!   of their label (distance, then the smaller tag), those at distance 0 excepted: such a row leaves the sums of its
//!   cluster, and is the only one in the new one's. A cluster without weight afterwards keeps the centre it had.
//! * **Run.** Entry t = 0, 1, ... is an E-step with centres C(t), C(0) the start; C(t + 1) follows from it, and
//!   `shift(t)` is the sum over clusters of the sum over features of the squared steps. Entry t > 0 is the last one if
//!   `shift(t - 1) <= tolerance` or t = `max_iter` (then `n_iter` = t), else if no label differs from those of t - 1 (then
//!   `n_iter` = t + 1): scikit-learn's rules, in its order. C(t) of the last entry are the centres of the model.
//! * **Inertia**, from integer sums alone: `sum_l (P_l g_l v_l) - sum_jl (2 c_jl S_jl v_l - c_jl^2 W_j g_w)`, P the sum of
//!   the products of the integers of `x_l` and `w * x_l`; in double-double, columns outside and clusters inside, rounded
//!   once, and 0 if negative.
//!
//! * **Terms.** `E = 2 + 2 max_l(exponent of column l) + ceil(log2(n_features))`, so that no squared distance of two rows
//!   reaches 2^E. The term of a row at distance D is the integer `floor((w 2^-exponent(w)) * (D 2^-E) * 2^60)`, with the
//!   exponent of the weights. A potential is a sum of terms.
//! * **Seeding** of restart i, greedy k-means++ with 2 + floor(ln k) candidates. Step 0: the row of the smallest
//!   [`draw::race`] of mass w under `RowDraw::seeding(key, i, 0)`. Step t: the candidates are the rows of the smallest
//!   races of mass `w * D`, D the distance to the nearest centre so far; of fewer rows of a mass above 0, all of these; of
//!   none, the one row, among those that are no centre yet, of the smallest race of mass w. The centre is the candidate
//!   of the smallest potential of min(D, distance to the candidate); of these the one of the smallest race. With
//!   `"random"` the centres are the rows of the k smallest races of mass w at step 0, in their order.
//! * **Choice** among restarts: the smallest `floor(ln(inertia) / 0.001 + draw::phase("choice"))`, an inertia of 0 being
//!   the smallest of all; of these the first.
//!
//! The coreset is defined in [`coreset`], all random numbers in [`draw`].

pub mod coreset;
pub mod draw;
pub mod grid;
pub mod inertia;
pub mod kernel;
pub mod model;
pub mod parts;
pub mod replay;
pub mod runs;
pub mod seed;
pub mod slots;
pub mod table;
pub mod watch;
