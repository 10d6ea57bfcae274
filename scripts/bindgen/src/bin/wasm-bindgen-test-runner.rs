//! `wasm-bindgen-test-runner`, as cargo and wasm-pack run it.

use std::{env, error::Error};

fn main() -> Result<(), Box<dyn Error>> {
    env_logger::init();
    wasm_bindgen_cli::wasm_bindgen_test_runner::run_cli_with_args(env::args_os())?;
    Ok(())
}
