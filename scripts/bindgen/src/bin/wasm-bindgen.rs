//! `wasm-bindgen`, as wasm-pack looks for it.

use std::{env, error::Error};

fn main() -> Result<(), Box<dyn Error>> {
    env_logger::init();
    wasm_bindgen_cli::wasm_bindgen::run_cli_with_args(env::args_os())?;
    Ok(())
}
