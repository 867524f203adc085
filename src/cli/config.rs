//! `leafd config check`, `leafd config convert`, and nats-server's `-t`.

use super::args::Args;
use crate::config::{self, Source};
use std::path::Path;

/// Says what is wrong with a file.
pub fn check(file: &Path) -> Result<(), String> {
    let config = config::load(Source::File(file), |_| Ok(())).map_err(|e| e.to_string())?;
    config.warnings.iter().for_each(|warning| println!("Warning: {warning}"));
    println!("{}: the configuration is right", file.display());
    Ok(())
}

/// Prints a file as leafd's TOML.
pub fn convert(file: &Path) -> Result<(), String> {
    let (table, warnings) = config::table(file).map_err(|e| e.to_string())?;
    warnings.iter().for_each(|warning| eprintln!("Warning: {warning}"));
    let text = toml::to_string_pretty(&table).map_err(|e| e.to_string())?;
    println!("# From {}.\n{text}", file.display());
    Ok(())
}

/// As nats-server's `-t`: what is wrong with the file of `-c`, with the flags on top.
pub fn test(args: &Args) -> Result<(), String> {
    let file = args.config.as_deref().ok_or("must specify [-c, --config] option to check configuration file syntax")?;
    let config = args.load()?;
    config.warnings.iter().for_each(|warning| eprintln!("Warning: {warning}"));
    eprintln!("leafd: configuration file {} is valid ({})", file.display(), config.digest);
    Ok(())
}
