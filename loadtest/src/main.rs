//! The bundled load test.

fn main() {}
