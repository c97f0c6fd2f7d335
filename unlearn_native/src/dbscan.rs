//! DBSCAN that forgets: which rows are core, and which cores hang together, as a pure function of the live rows.
//!
//! # Definition
//!
//! *Near*: two rows whose distance is at most `eps`. Values are promoted to f64, and the distance is that of
//! [`metric::Metric`], feature after feature; for the Euclidean one its square is compared with `eps * eps`.
//!
//! * **Mass** of a row: its weight, at most `min_samples`, in units of 2^-64, rounded down. A row has the *crowd* of the
//!   masses of all rows near it, its own included: an integer.
//! * **Core** is a row of a weight above 0 whose crowd is at least `min_samples`.
//! * **Clusters** are the connected components of cores under "near". They are numbered by the first core that was
//!   inserted. Any other row near a core belongs to the cluster of the smallest number near it, and else to none.
//!
//! This is scikit-learn's labelling: there, too, clusters are numbered by their first core in the order of rows, and a
//! row at a border is taken by the first cluster that reaches it. But for that order all is free of history.
//!
//! # How rows leave
//!
//! A deletion takes mass from the rows near it. Cores that are lost can only split their own component, and every part
//! of it has a core near a lost one: from these a search spreads in turns ([`model`]), until all fronts have met, or all
//! but one are exhausted. So what is looked at is proportional to the smaller parts, not to the component.

pub mod grid;
pub mod metric;
pub mod model;
