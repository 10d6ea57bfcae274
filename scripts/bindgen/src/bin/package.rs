//! `package FROM.wasm FOLDER [--dev]`: makes the module and the glue that the JavaScript package has.

use std::{env, error::Error};
use wasm_bindgen_cli_support::Bindgen;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (from, folder, dev) = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [from, folder] => (from, folder, false),
        [from, folder, "--dev"] => (from, folder, true),
        _ => return Err("usage: package FROM.wasm FOLDER [--dev]".into()),
    };
    Bindgen::new()
        .input_path(from)
        .out_name("lakeshore")
        .web(true)?
        .typescript(true)
        // The package says where its module is.
        .omit_default_module_path(true)
        .keep_debug(dev)
        .remove_name_section(!dev)
        .remove_producers_section(!dev)
        .generate(folder)?;
    Ok(())
}
