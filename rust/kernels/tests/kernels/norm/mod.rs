//! Normalisation over channels and over rows.

mod channel;
mod layer;
