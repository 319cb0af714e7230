//! Hermetic tests, in one binary: nothing outside this machine, and no service.

mod tidy;
