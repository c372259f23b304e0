//! The gateway program: routes requests to answers.

pub mod routes;
