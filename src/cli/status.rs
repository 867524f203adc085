//! `leafd status` and `leafd reload`: ask the running daemon.

use super::args::Args;
use crate::monitor;
use crate::system::control::{self, Request};

/// Shows the state of the running daemon.
pub fn status(args: &Args, json: bool) -> Result<(), String> {
    let answer = ask(args, Request::Status)?;
    match json {
        true => println!("{answer:#}"),
        false => print!("{}", monitor::render(&answer)),
    }
    Ok(())
}

/// Has the running daemon read its configuration again.
pub fn reload(args: &Args) -> Result<(), String> {
    let answer = ask(args, Request::Reload)?;
    println!("{}", answer["result"].as_str().unwrap_or("reloaded"));
    Ok(())
}

fn ask(args: &Args, request: Request) -> Result<serde_json::Value, String> {
    let answer = control::ask(&args.find_data_dir()?, request)?;
    match answer["error"].as_str() {
        Some(error) => Err(error.to_owned()),
        None => Ok(answer),
    }
}
