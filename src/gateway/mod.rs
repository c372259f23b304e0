//! The gateway program: routes requests to answers.
